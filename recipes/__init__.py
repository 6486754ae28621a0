"""Runnable scripts, one job each: `python -m recipes.<name>` in a checkout."""

import os

# TensorFlow reads this once, when it is imported. Errors still show; its start-up notices, which
# would drown the recipe's own lines, do not.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
