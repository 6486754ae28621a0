"""Which features each task depends on: by permuting them, and by SHAP values."""
