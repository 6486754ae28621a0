"""How good a model is, task by task."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from mtlzoo import MultiTaskModel, data
from mtlzoo.command_line.tables import aligned, number


def evaluate(
    model: MultiTaskModel, part: tf.data.Dataset, verbose: int = 0
) -> dict[str, dict[str, Any]]:
    """By task its loss and metrics, by name.

    Args:
        model: a compiled model.
        part: rows, with labels of the model's tasks at least.
        verbose: as for Keras. Defaults to 0.
    """
    logs = model.evaluate(data.labels_of(part, model.task_names), return_dict=True, verbose=verbose)
    found: dict[str, dict[str, Any]] = {name: {} for name in model.task_names}
    for key, value in logs.items():
        # Of two names that begin alike, such as `buy` and `buy_again`, the longer one.
        owners = [name for name in found if key.startswith(f"{name}_")]
        if owners:
            owner = max(owners, key=len)
            array = np.asarray(value)
            found[owner][key[len(owner) + 1 :]] = array.tolist()
    return found


def by_task(model: MultiTaskModel, scores: Mapping[str, Mapping]) -> dict[str, dict[str, Any]]:
    """What there is to say of each task: its kind, its deciding metric, its metrics."""
    return {
        name: {
            "kind": type(task).__name__,
            "monitor": task.monitor,
            "mode": task.mode,
            "metrics": dict(scores[name]),
        }
        for name, task in model.tasks.items()
    }


def table(tasks: Mapping[str, Mapping[str, Any]], beside: tuple[str, str] = ("", "")) -> str:
    """Metrics in lines, the deciding one of each task first and with a star.

    Args:
        tasks: as of `by_task`.
        beside: the key of other metrics that stand beside, where they are there, and what they are
            called. Defaults to `("", "")`, none.
    """
    key, title = beside
    compared = any(key in entry for entry in tasks.values())
    rows = [["task", "metric", "value", *([title] if compared else [])]]
    for name, entry in tasks.items():
        metrics = entry["metrics"]
        first = [entry["monitor"]] if entry["monitor"] in metrics else []
        for metric in [*first, *(each for each in metrics if each not in first)]:
            star = " *" if metric == entry["monitor"] else ""
            row = [name, metric + star, number(metrics[metric])]
            rows.append(
                row + ([number(entry[key].get(metric))] if key in entry else [""] * compared)
            )
    return aligned(rows, left=2)
