"""Predictions before learning, and the metrics that come of them."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.online.batches import StreamBatch
from mtlzoo.online.slots import joined
from mtlzoo.training import Distillation


def answering(model: Any) -> Any:
    """The model whose tasks are predicted and served: of a distillation, the student.

    Args:
        model: a compiled multi-task model.
    """
    return model.student if isinstance(model, Distillation) else model


class Prequential:
    """Predicts with the weights of now, and scores labels by task: in the window and in all.

    All rows go through a few functions that are traced once, for `batch_size` rows: what is fewer
    is filled up with copies of the first row, which count nowhere.

    Args:
        model: a compiled multi-task model.
        batch_size: the most rows of one call.
    """

    def __init__(self, model: Any, batch_size: int) -> None:
        self._model, self._batch_size = model, batch_size
        self._tasks = answering(model).tasks
        self.names = list(self._tasks)
        self._metrics = {
            kind: {name: task.metrics() for name, task in self._tasks.items()}
            for kind in ("window", "total")
        }
        self._sums = {kind: np.zeros((2, len(self.names))) for kind in self._metrics}
        self._predict = tf.function(lambda x: self._model.predict_step((x,)))
        self._present = tf.function(self._read_present)
        self._score = tf.function(self._score_rows)
        self._build()

    def _build(self) -> None:
        """Have every metric create its variables, which some do at their first update."""
        for metrics in self._metrics.values():
            for name, task in self._tasks.items():
                read = task.read_labels(task.missing_labels(1), task.loss)
                outputs = tf.zeros([1, *(size or 1 for size in task.output_shape)])
                nothing = tf.zeros_like(read.present, keras.backend.floatx())
                for metric in metrics[name]:
                    task.update_metric(metric, read.values, outputs, nothing)

    def predict(self, x: Any) -> dict[str, np.ndarray]:
        """The raw outputs by task.

        Args:
            x: the inputs, any number of rows.
        """
        rows = len(keras.tree.flatten(x)[0])
        found = []
        for begin in range(0, rows, self._batch_size):
            part = keras.tree.map_structure(lambda a: a[begin : begin + self._batch_size], x)  # noqa: B023
            size = min(self._batch_size, rows - begin)
            outputs = self._predict(self._filled(part, size))
            found.append({name: outputs[name].numpy()[:size] for name in self.names})
        return joined(found)

    def present(self, batch: StreamBatch) -> np.ndarray:
        """Which labels are there, `(B, T)` bool.

        Args:
            batch: at most `batch_size` rows, with labels of all tasks.
        """
        y, weights = self._filled((batch.y, batch.sample_weight), batch.rows)
        return self._present(y, weights).numpy()[: batch.rows]

    def score(
        self, batch: StreamBatch, outputs: dict[str, np.ndarray], counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Score predictions, and count them into the metrics.

        Args:
            batch: at most `batch_size` rows, with labels of all tasks.
            outputs: the predictions.
            counts: `(B, T)` bool, which labels are scored now, if they are there.

        Returns:
            The loss of each of these, `(B, T)`, NaN elsewhere; which labels are there and are
            scored now, `(B, T)`; and which rows are sound, `(B,)`: those whose outputs and losses
            are finite. Others do not count in the metrics.
        """
        chosen = np.zeros((self._batch_size, len(self.names)), bool)
        chosen[: batch.rows] = counts
        y, weights, filled = self._filled((batch.y, batch.sample_weight, outputs), batch.rows)
        results = self._score(y, weights, filled, chosen)
        losses, there, sound = (t.numpy()[: batch.rows] for t in results)
        scored = there & sound[:, None]
        sums = np.stack([np.where(scored, losses, 0).sum(0, "float64"), scored.sum(0)])
        for total in self._sums.values():
            total += sums
        return np.where(there, losses, np.nan), there, sound

    def results(self, kind: str) -> dict[str, dict[str, float]]:
        """By task the mean loss, the number of labels and the metrics, NaN where there is none.

        Args:
            kind: `"window"` or `"total"`.
        """
        found = {}
        for name, total, labels in zip(self.names, *self._sums[kind], strict=True):
            mean = float(total / labels) if labels else float("nan")
            values = {"loss": mean, "labels": float(labels)}
            for metric in self._metrics[kind][name]:
                result = metric.result()
                named = result if isinstance(result, dict) else {metric.name: result}
                for key, value in named.items():
                    values[key] = float(value) if labels else float("nan")
            found[name] = values
        return found

    def reset(self) -> None:
        """Begin a new window."""
        self._sums["window"][:] = 0
        for metrics in self._metrics["window"].values():
            for metric in metrics:
                metric.reset_state()

    def get_state(self) -> dict[str, Any]:
        """The sums of losses and the variables of the metrics."""
        return {
            "sums": self._sums,
            "metrics": [keras.ops.convert_to_numpy(v) for v in self._variables()],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self._sums = {kind: np.array(sums) for kind, sums in state["sums"].items()}
        for variable, value in zip(self._variables(), state["metrics"], strict=True):
            variable.assign(value)

    def _variables(self) -> list[Any]:
        by_task = [metrics for kind in self._metrics.values() for metrics in kind.values()]
        return [v for metrics in by_task for metric in metrics for v in metric.variables]

    def _filled(self, parts: Any, rows: int) -> Any:
        missing = self._batch_size - rows
        if not missing:
            return parts
        return keras.tree.map_structure(
            lambda a: np.concatenate([a, np.repeat(a[:1], missing, 0)]), parts
        )

    def _read(self, y: Any, weights: Any) -> Any:
        return self._model._step.objectives.read(y, weights, self._batch_size)

    def _read_present(self, y: Any, weights: Any) -> tf.Tensor:
        read = self._read(y, weights)
        return tf.stack([_any(read[name].present) for name in self.names], 1)

    def _score_rows(self, y: Any, weights: Any, outputs: Any, chosen: tf.Tensor) -> Any:
        objectives, tasks = self._model._step.objectives, self._tasks
        read = self._read(y, weights)
        sound = tf.ones([self._batch_size], bool)
        losses, labelled = [], []
        for t, name in enumerate(self.names):
            sound &= ~_any(~tf.math.is_finite(outputs[name]))
            values = tasks[name].loss_values(
                objectives.losses[name], read[name].values, outputs[name]
            )
            there = read[name].present
            axes = list(range(1, len(there.shape)))
            number = tf.reduce_sum(tf.cast(there, values.dtype), axes)
            total = tf.reduce_sum(tf.where(there, values, tf.zeros_like(values)), axes)
            losses.append(tf.cast(total / tf.maximum(number, 1), "float32"))
            labelled.append(_any(there) & chosen[:, t])
            sound &= tf.math.is_finite(losses[-1]) | ~labelled[-1]
        for t, name in enumerate(self.names):
            there = read[name].present
            counted = _like(chosen[:, t] & sound, there) & there
            kept = tf.where(_like(sound, outputs[name]), outputs[name], 0)
            for kind in self._metrics.values():
                for metric in kind[name]:
                    tasks[name].update_metric(
                        metric, read[name].values, kept, tf.cast(counted, keras.backend.floatx())
                    )
        return tf.stack(losses, 1), tf.stack(labelled, 1), sound


def _any(there: tf.Tensor) -> tf.Tensor:
    return tf.reduce_any(there, list(range(1, len(there.shape))))


def _like(rows: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """One bool a row, with as many axes as another tensor."""
    return tf.reshape(rows, [-1, *[1] * (len(other.shape) - 1)])
