"""What the recipe on fusion of models measures of them."""

import pathlib
import tempfile
import time

import numpy as np
import tensorflow as tf

from mtlzoo import MultiTaskModel, data
from mtlzoo.data.multi_fashion.original import CLASSES
from mtlzoo.ensembles import average_weights
from mtlzoo.ensembles.members import weights_of
from mtlzoo.metrics import ExpectedCalibrationError
from recipes.parts import served, strategies


def evaluate(model: MultiTaskModel, part: tf.data.Dataset) -> dict[str, float]:
    """Accuracy and calibration error by task, and their means."""
    names = model.task_names
    with strategies.scope():
        model.compile(
            "sgd",
            jit_compile=False,
            weighted_metrics={
                n: [ExpectedCalibrationError(len(CLASSES), class_ids=True)] for n in names
            },
        )
    logs = model.evaluate(data.labels_of(part, model.task_names), return_dict=True, verbose=0)
    scores = {f"{n}, {m}": float(logs[f"{n}_{m}"]) for m in ("accuracy", "ece") for n in names}
    for metric, name in (("accuracy", "accuracy"), ("ece", "calibration error")):
        scores[name] = float(np.mean([logs[f"{task}_{metric}"] for task in names]))
    return scores


def between(
    one: MultiTaskModel, other: MultiTaskModel, part: tf.data.Dataset, steps: int
) -> list[float]:
    """The accuracy of averages of the weights of two models, from one to the other.

    Args:
        one: the first model.
        other: another one of the same architecture.
        part: rows to score on.
        steps: how many averages, both models among them.
    """
    model = average_weights([one, other])
    model.compile("sgd", jit_compile=False)
    part = data.labels_of(part, model.task_names)
    accuracies = []
    for share in np.linspace(0, 1, steps):
        found = average_weights([one, other], [1 - share, share])
        for variable, value in zip(
            model.trainable_variables, found.trainable_variables, strict=True
        ):
            variable.assign(value)
        logs = model.evaluate(part, return_dict=True, verbose=0)
        accuracies.append(float(np.mean([logs[f"{t}_accuracy"] for t in model.task_names])))
    return accuracies


def cost(model: MultiTaskModel, one: MultiTaskModel, rows: tf.Tensor) -> dict[str, float]:
    """Parameters, the CPU time of a prediction in that of one model, bytes of the SavedModel.

    Args:
        model: the model.
        one: the one model.
        rows: what both answer.
    """
    calls = [tf.function(lambda x, m=m: m(x, training=False)) for m in (model, one)]
    times: list[list[float]] = [[], []]
    for call in calls:
        call(rows)
    for _ in range(7):  # in turns, since another job may slow any of them down
        for call, taken in zip(calls, times, strict=True):
            started = time.process_time()
            for _ in range(3):
                call(rows)["left"].numpy()
            taken.append(time.process_time() - started)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "served"
        model.export(path, verbose=False)
        size = served.size(path)
    return {
        "parameters": int(sum(np.prod(v.shape) for v in weights_of(model))),
        "time": float(np.median(times[0]) / np.median(times[1])),
        "bytes": size,
    }
