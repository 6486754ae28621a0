"""Rows of a stream in the one form in which they are kept and trained on."""

from typing import Any

import keras
import numpy as np

from mtlzoo.online.batches import StreamBatch
from mtlzoo.online.reading import Fault


class RowForm:
    """Gives rows labels and weights of all tasks, and one shape, so that nothing is traced again.

    Labels that are not there have the task's missing value, weights are 1. The first rows say what
    shape the inputs have, where a size is not known. The first labels of a task say what shape its
    labels have, where the task allows several; while there are none, sizes that are not known are
    those of the task's output.

    Args:
        model: a compiled multi-task model.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._tasks = model, model.tasks
        # Ids are integers; probabilities in place of them, which have another shape, are not.
        kinds = {
            name: np.asarray(t.missing_labels(1)).dtype.kind for name, t in model.tasks.items()
        }
        self._of_ids = {name for name, kind in kinds.items() if kind == "i"}
        self.inputs: list[list[int]] | None = None
        self.labels: dict[str, list[int]] = {}
        self.weights: dict[str, list[int]] = {}

    def complete(self, batch: StreamBatch) -> tuple[StreamBatch | None, list[Fault]]:
        """Rows with labels and weights of all tasks.

        Args:
            batch: what was read.

        Returns:
            The rows and no faults; or `None` and a fault for each row, if they cannot be brought
            into this form.
        """
        dtype = "float64" if keras.backend.floatx() == "float64" else "float32"
        y, weights = {}, {}
        x = keras.tree.map_structure(
            lambda part: None if part is None else np.asarray(part), batch.x
        )
        if x is not None:
            shapes = [list(part.shape[1:]) for part in keras.tree.flatten(x)]
            self.inputs = shapes if self.inputs is None else self.inputs
            if shapes != self.inputs:
                reason = (
                    f"The inputs should have the shapes {self.inputs} by row, as those before; pad "
                    f"them. Received: {shapes}"
                )
                return None, faults(batch, reason)
        for name, task in self._tasks.items():
            labels, weight = batch.y.get(name), batch.sample_weight.get(name)
            one_number = task.label_shape in {(), (1,)}
            # Where labels come alone, those that do not come say nothing about their shape.
            known = labels is not None or x is not None
            if labels is None:
                usual = [] if one_number else list(task.label_shape)
                if name not in self.labels and None in usual:
                    usual = self._sizes(name, x)
                shape = self.labels.get(name, usual)
                whole = name in self._of_ids and len(shape) == len(usual)
                labels = np.full((batch.rows, *shape), task.missing, "int32" if whole else dtype)
            else:  # in the type that the reader gives the labels of the task
                labels = np.asarray(labels)
                if one_number and labels.shape[1:] == (1,):
                    labels = labels[:, 0]
            if weight is None:
                shape = self.weights.setdefault(name, [])
                weight = np.ones((batch.rows, *shape), dtype)
            else:
                weight = np.asarray(weight).astype(dtype)
                if one_number and weight.shape[1:] == (1,):
                    weight = weight[:, 0]
            for what, kept, given in (
                ("labels", self.labels, labels),
                ("sample weights", self.weights, weight),
            ):
                shape = kept.get(name, list(given.shape[1:]))
                if known:
                    kept[name] = shape
                if list(given.shape[1:]) != shape:
                    reason = (
                        f"The {what} of task `{name}` should have the shape {tuple(shape)} by row, "
                        f"as those before. Received: shape={given.shape[1:]}"
                    )
                    return None, faults(batch, reason)
            y[name], weights[name] = labels, weight
        return StreamBatch(x, y, weights, batch.ids, batch.times), []

    def _sizes(self, name: str, x: Any) -> list[int]:
        """The shape of a task's labels, with the sizes of its output where they are not known."""
        given = self._tasks[name].label_shape
        if x is None:
            return [size or 0 for size in given]
        outputs = self._model.predict_step((keras.tree.map_structure(lambda part: part[:1], x),))
        made = outputs[name].shape[1:]
        return [size or int(made[axis]) for axis, size in enumerate(given)]

    def get_state(self) -> dict[str, Any]:
        """The shapes of inputs, labels and weights."""
        return {"inputs": self.inputs, "labels": self.labels, "weights": self.weights}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self.inputs = state["inputs"]
        self.labels, self.weights = dict(state["labels"]), dict(state["weights"])


def faults(batch: StreamBatch, reason: str) -> list[Fault]:
    """Rows that something is wrong with.

    Args:
        batch: the rows.
        reason: what it is.
    """
    parts = {"x": batch.x, "y": batch.y, "sample_weight": batch.sample_weight, "id": batch.ids}
    given = {key: part for key, part in parts.items() if part is not None}
    return [
        Fault(keras.tree.map_structure(lambda a: a[i], given), reason)  # noqa: B023
        for i in range(batch.rows)
    ]
