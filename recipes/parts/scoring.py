"""Scores of answers that no compiled model gave."""

from collections.abc import Mapping
from typing import Any

import keras

from mtlzoo.tasks import Task


def deciding_metrics(tasks: Mapping[str, Task], raw: Mapping, labels: Mapping) -> dict[str, float]:
    """The deciding metric of each task.

    Args:
        tasks: by name; that they have no metrics themselves does not matter.
        raw: by task raw answers.
        labels: by task labels, some of which may be missing.
    """
    found = {}
    for name, task in tasks.items():
        whole: Any = type(task).from_config({**task.get_config(), "metrics": None})
        (metric,) = [m for m in whole.metrics() if m.name == whole.monitor]
        read = whole.read_labels(labels[name])
        whole.update_metric(metric, read.values, raw[name], keras.ops.cast(read.present, "float32"))
        found[name] = float(metric.result())
    return found
