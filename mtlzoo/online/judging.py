"""Which of two models is better on the same rows, by task."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.online.batches import StreamBatch
from mtlzoo.online.prequential import answering

# Parts of the rows that are left out one after the other, for the standard error.
BLOCKS = 10


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How a candidate compares with another model in one task.

    Attributes:
        metric: the deciding metric of the task.
        candidate: its value.
        other: that of the other model.
        better: how much better the candidate is; negative where it is worse.
        standard_error: of `better`, by the jackknife over ten parts of the rows.
        labels: how many rows with a label there were.
    """

    metric: str
    candidate: float
    other: float
    better: float
    standard_error: float
    labels: int

    def is_worse(self, tolerance: float, standard_errors: float) -> bool:
        """Whether the candidate is worse by more than is allowed.

        Args:
            tolerance: how much worse it may be.
            standard_errors: how many standard errors more.
        """
        # Of a NaN on either side nothing is known to be "not worse".
        return not self.better >= -(tolerance + standard_errors * self.standard_error)


class Judge:
    """Computes the deciding metrics of the tasks for given outputs.

    Args:
        model: a compiled multi-task model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._tasks = answering(model).tasks
        self.names = list(self._tasks)
        self._metrics = {}
        for name, task in self._tasks.items():
            own = [metric for metric in task.metrics() if metric.name == task.monitor]
            self._metrics[name] = own[0] if own else None
        self._values = tf.function(self._read_values, reduce_retracing=True)

    def compare(
        self,
        rows: tuple[StreamBatch, np.ndarray, np.ndarray],
        candidate: dict[str, np.ndarray],
        other: dict[str, np.ndarray],
        least: int,
    ) -> dict[str, Comparison]:
        """Compare two models in the tasks that have enough labels.

        Args:
            rows: the rows, which labels are there, and numbers of the rows.
            candidate: the outputs of one.
            other: the outputs of the other.
            least: how many labels are enough.
        """
        batch, has, numbers = rows
        # The whole, and then without each of the parts.
        left = np.concatenate([np.ones((1, len(numbers)), bool), _blocks(numbers)])
        chosen = left[:, :, None] & has
        one, two = (self._values_of(batch, outputs, chosen) for outputs in (candidate, other))
        found = {}
        for t, name in enumerate(self.names):
            labels = int(has[:, t].sum())
            # Of a NaN in both, such as R2 of equal labels, nothing is to be compared.
            if labels < least or np.isnan([one[t, 0], two[t, 0]]).all():
                continue
            metric = self._metrics[name]
            is_max = metric is not None and self._tasks[name].mode == "max"
            better = (1 if is_max else -1) * (one[t] - two[t])
            if np.isnan(two[t, 0]):  # anything is better
                better[:] = np.inf
            # Where a part has no labels, or all, leaving it out says nothing.
            counts = chosen[:, :, t].sum(1)
            parts = better[1:][(counts[1:] > 0) & (counts[1:] < labels)]
            error = 0.0
            if len(parts) > 1 and np.isfinite(parts).all():
                spread = ((parts - parts.mean()) ** 2).sum()
                error = float(np.sqrt((len(parts) - 1) / len(parts) * spread))
            found[name] = Comparison(
                "loss" if metric is None else metric.name,
                float(one[t, 0]),
                float(two[t, 0]),
                float(better[0]),
                error,
                labels,
            )
        return found

    def _values_of(
        self, batch: StreamBatch, outputs: dict[str, np.ndarray], chosen: np.ndarray
    ) -> np.ndarray:
        """The metrics `(T, 1 + BLOCKS)`, NaN of a task with an output that is not finite."""
        finite = np.array([np.isfinite(outputs[name]).all() for name in self.names])
        given = {name: np.nan_to_num(outputs[name], posinf=0, neginf=0) for name in self.names}
        values = self._values(batch.y, batch.sample_weight, given, chosen).numpy()
        return np.where(finite, values.astype("float64"), np.nan).T

    def _read_values(self, y: Any, weights: Any, outputs: Any, chosen: Any) -> tf.Tensor:
        objectives = self._model._step.objectives
        read = objectives.read(y, weights, tf.shape(chosen)[1])

        def value(name: str, rows: tf.Tensor) -> tf.Tensor:
            task, metric, batch = self._tasks[name], self._metrics[name], read[name]
            axes = [1] * (len(batch.present.shape) - 1)
            there = batch.present & tf.reshape(rows, [-1, *axes])
            counted = tf.cast(there, keras.backend.floatx())
            if metric is None:
                losses = task.loss_values(objectives.losses[name], batch.values, outputs[name])
                total = tf.reduce_sum(tf.where(there, losses, tf.zeros_like(losses)))
                return tf.cast(total, "float32") / tf.cast(tf.reduce_sum(counted), "float32")
            metric.reset_state()
            task.update_metric(metric, batch.values, outputs[name], counted)
            return tf.cast(metric.result(), "float32")

        def values(rows: tf.Tensor) -> tf.Tensor:
            return tf.stack([value(name, rows[:, t]) for t, name in enumerate(self.names)])

        return tf.map_fn(values, chosen, fn_output_signature="float32", parallel_iterations=1)


def _blocks(numbers: np.ndarray) -> np.ndarray:
    return np.stack([numbers % BLOCKS != block for block in range(BLOCKS)])
