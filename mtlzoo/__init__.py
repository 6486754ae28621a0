"""A model zoo for multi-task learning on Keras 3 and TensorFlow."""

import importlib

__version__ = "0.1.0"

# Public name -> the module that defines it. Names are resolved when first used (PEP 562), so that
# the Keras-only parts can be used with another backend than TensorFlow.
_WHERE = {
    "BinaryClassification": "tasks",
    "Classification": "tasks",
    "MultiLabelClassification": "tasks",
    "ObjectDetection": "tasks",
    "Regression": "tasks",
    "DepthEstimation": "tasks",
    "SemanticSegmentation": "tasks",
    "SequenceTagging": "tasks",
    "SpanExtraction": "tasks",
    "SurfaceNormalEstimation": "tasks",
    "Task": "tasks",
    "AlignedMTL": "balancing",
    "AutoLambda": "balancing",
    "CAGrad": "balancing",
    "COSMOS": "balancing",
    "Combined": "balancing",
    "ConFIG": "balancing",
    "DBMTL": "balancing",
    "DWA": "balancing",
    "DualProj": "balancing",
    "EMA": "balancing",
    "Equal": "balancing",
    "ExcessMTL": "balancing",
    "FAMO": "balancing",
    "FairGrad": "balancing",
    "GLS": "balancing",
    "GradDrop": "balancing",
    "GradNorm": "balancing",
    "GradVac": "balancing",
    "IMTLG": "balancing",
    "IMTLL": "balancing",
    "InitialLossScale": "balancing",
    "Krum": "balancing",
    "MGDA": "balancing",
    "MoCo": "balancing",
    "MoDo": "balancing",
    "NashMTL": "balancing",
    "PBI": "balancing",
    "PCD": "balancing",
    "PCGrad": "balancing",
    "RLW": "balancing",
    "SDMGrad": "balancing",
    "STCH": "balancing",
    "ScaleInvariant": "balancing",
    "TaskPrioritization": "balancing",
    "TrimmedMean": "balancing",
    "UPGrad": "balancing",
    "Uncertainty": "balancing",
    "WarmUp": "balancing",
    "AITM": "models",
    "CrossModalFusion": "models",
    "DBMTLNet": "models",
    "ESMM": "models",
    "TaskQueryAttention": "models",
    "HardSharing": "models",
    "LearningToBranch": "models",
    "DynamicSharing": "models",
    "AdapterSharing": "models",
    "SoftSharing": "models",
    "CrossStitch": "models",
    "Sluice": "models",
    "NDDR": "models",
    "MTAN": "models",
    "MMoE": "models",
    "MultiTaskModel": "models",
    "OMoE": "models",
    "PLE": "models",
    "SNR": "models",
    "report": "reporting",
}
_ROOMS = [
    *("analysis", "backbones", "balancing", "data", "distribution", "ensembles", "export"),
    *("layers", "metrics", "models", "online", "presets", "pretrained", "reporting"),
    *("serving", "tasks", "training", "tuning"),
]

__all__ = ["__version__", *sorted(_WHERE), *_ROOMS]


def __getattr__(name: str):
    if name in _WHERE:
        value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)


def _register() -> None:
    """Import what saved files name, so that `keras.saving.load_model` finds it after this."""
    try:
        import keras
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise ModuleNotFoundError(
            'mtlzoo needs TensorFlow: pip install "mtlzoo[cpu]", or one of [tensorflow] and [gpu].',
            name="tensorflow",
        ) from None

    for room in ["backbones", "balancing", "layers", "metrics", "tasks"]:
        importlib.import_module(f"{__name__}.{room}")
    if keras.backend.backend() == "tensorflow":
        importlib.import_module(f"{__name__}.models")
        importlib.import_module(f"{__name__}.ensembles")
        importlib.import_module(f"{__name__}.training")


_register()
