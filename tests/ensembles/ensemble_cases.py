"""Small models, and fusion written in NumPy's float64, that tests of ensembles share."""

import keras
import numpy as np
from scipy.special import expit, log_softmax

from mtlzoo import (
    BinaryClassification,
    Classification,
    DepthEstimation,
    HardSharing,
    MultiLabelClassification,
    ObjectDetection,
    Regression,
    SemanticSegmentation,
    SequenceTagging,
    SpanExtraction,
    SurfaceNormalEstimation,
    Task,
)

KINDS = {
    "binary": (BinaryClassification("t"), (1,)),
    "binary, probabilities": (BinaryClassification("t", from_logits=False), (1,)),
    "classes": (Classification("t", 3), (3,)),
    "classes, probabilities": (Classification("t", 3, from_logits=False), (3,)),
    "labels": (MultiLabelClassification("t", 4), (4,)),
    "pixels": (SemanticSegmentation("t", 3, size=(2, 3)), (2, 3, 3)),
    "tags": (SequenceTagging("t", 3), (5, 3)),
    "spans": (SpanExtraction("t"), (5, 2)),
    "values": (Regression("t", 2), (2,)),
    "depths": (DepthEstimation("t", size=(2, 3)), (2, 3, 1)),
    "normals": (SurfaceNormalEstimation("t", size=(2, 3)), (2, 3, 3)),
    "boxes": (ObjectDetection("t", 2, 3), (2, 2, 7)),
    "own kind": (Task("t", loss="mean_squared_error", output_shape=(2,)), (2,)),
}
WITH_CLASSES = list(KINDS)[:8]
BINARY = ("binary", "binary, probabilities", "labels")


def raw_outputs(kind, rows=6, models=3, size=3.0, seed=0):
    """Raw outputs of some models, float32."""
    raw = size * np.random.default_rng(seed).normal(size=(models, rows, *KINDS[kind][1]))
    if "probabilities" in kind:
        raw = expit(raw) if "binary" in kind else np.exp(log_softmax(raw, -1))
    return raw.astype("float32")


def log_probabilities(kind, raw):
    """By NumPy; those of no and yes on a last axis. And the axis of the classes."""
    raw = raw.astype("float64")
    with np.errstate(divide="ignore"):
        if kind == "binary, probabilities":
            return np.stack([np.log1p(-raw), np.log(raw)], -1), -1
        if kind in BINARY:
            return np.stack([-np.logaddexp(0, raw), -np.logaddexp(0, -raw)], -1), -1
        if "probabilities" in kind:
            return np.log(raw), -1
    axis = -2 if kind == "spans" else -1
    return log_softmax(raw, axis), axis


def served(kind, logs, axis):
    """The probabilities that a task serves, from unnormalized logarithms."""
    probabilities = np.exp(log_softmax(logs, axis))
    return probabilities[..., 1] if kind in BINARY else probabilities


# With few metrics, which take most of the time that tracing takes.
TASKS = [
    BinaryClassification("click", metrics=["accuracy"]),
    Classification("colour", 3, metrics=[]),
    MultiLabelClassification("tags", 2, metrics=[]),
    Regression("stay", metrics=["rmse"]),
]


def model(tasks=TASKS, units=(8,), name="small", **arguments):
    """A small network of its own."""
    inputs = keras.Input((4,), name="features")
    return HardSharing(inputs, tasks, shared_units=units, name=name, **arguments)


def rows(count=48, seed=0, missing=False):
    """Inputs, and labels of `TASKS`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4)).astype("float32")
    y = {
        "click": (x[:, 0] > 0).astype("float32"),
        "colour": np.argmax(x[:, :3], 1).astype("int32"),
        "tags": (x[:, 1:3] > 0).astype("float32"),
        "stay": (x[:, :1] * 2 + 1).astype("float32"),
    }
    if missing:
        y["click"][::2], y["colour"][::3] = -1, -1
        y["tags"][::4, 0], y["stay"][1::2] = -1, np.nan
    return x, y
