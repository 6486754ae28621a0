"""What a compiled model is trained towards: losses, loss weights and metrics, by task."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from mtlzoo.tasks import Task
from mtlzoo.tasks.labels import dtype_of


class TaskBatch(NamedTuple):
    """One task's labels in a batch.

    Attributes:
        values: the labels, with a harmless value wherever one is missing.
        present: bool, shape of the loss values: where there is a label whose weight is not 0.
        invalid: bool, same shape: where there is something that is no label of this task.
        weights: float, same shape, or `None` for ones: the sample weights.
        labels: the labels as they came.
    """

    values: Any
    present: Any
    invalid: Any
    weights: Any
    labels: Any

    def masked(self, active: tf.Tensor) -> "TaskBatch":
        """The same, without any label where the scalar `active` is False."""
        values, weights = (
            None if t is None else tf.where(active, t, tf.zeros_like(t))
            for t in (self.values, self.weights)
        )
        present, invalid = self.present & active, self.invalid & active
        return self._replace(values=values, present=present, invalid=invalid, weights=weights)


class Objectives:
    """Losses, loss weights and metrics of each task.

    Args:
        tasks: dict of tasks in sorted-name order.
        loss: dict of losses that replace the tasks' own, or `None`.
        loss_weights: dict of factors by task; missing tasks have 1.
        metrics: dict by task of metrics that replace the task's own. They ignore sample weights.
        weighted_metrics: dict by task of further metrics that use the sample weights.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        loss: Mapping | None = None,
        loss_weights: Mapping | None = None,
        metrics: Mapping | None = None,
        weighted_metrics: Mapping | None = None,
    ) -> None:
        self.tasks = dict(tasks)
        self.names = tuple(self.tasks)
        loss = self._by_task("loss", loss)
        self.losses = {
            n: t.resolve_loss(loss[n]) if n in loss else t.loss for n, t in tasks.items()
        }
        self.loss_weights = self._weights(loss_weights)
        chosen = self._by_task("metrics", metrics)
        self.metrics = {
            n: self._metrics(n, chosen[n]) if n in chosen else t.metrics() for n, t in tasks.items()
        }
        chosen = self._by_task("weighted_metrics", weighted_metrics)
        self.weighted_metrics = {n: self._metrics(n, chosen.get(n, [])) for n in tasks}
        self.tracker = LossTracker(len(self.tasks))
        for name in self.names:
            self._check_metric_names(name)
        self._announced: set[str] = set()

    def _by_task(self, argument: str, given: Mapping | None) -> Mapping:
        given = {} if given is None else given
        if not isinstance(given, Mapping):
            raise ValueError(
                f"`{argument}` should be a dict by task name. Received: {argument}={given!r}"
            )
        for name in given:
            if name not in self.tasks:
                raise ValueError(
                    f"`{argument}` should have only the tasks {list(self.names)} as keys. "
                    f"Received: {name!r} in {argument}={dict(given)!r}"
                )
        return given

    def _weights(self, given: Mapping | None) -> list[float] | None:
        weights = [1.0] * len(self.names)
        for name, weight in self._by_task("loss_weights", given).items():
            try:
                number = float("nan" if isinstance(weight, bool | np.bool_ | str) else weight)
            except (TypeError, ValueError):
                number = float("nan")
            if not 0 <= number < float("inf"):
                raise ValueError(
                    f"The loss weight of task `{name}` should be a number that is not negative. "
                    f"Received: {weight!r}"
                )
            weights[self.names.index(name)] = number
        return None if all(w == 1.0 for w in weights) else weights

    def _metrics(self, name: str, given) -> list[keras.metrics.Metric]:
        given = given if isinstance(given, list | tuple) else [given]
        return [self.tasks[name].resolve_metric(metric) for metric in given]

    @property
    def metric_names(self) -> dict[str, list[str]]:
        """The names of each task's metrics, as in the logs after the task's."""
        return {n: [m.name for m in self.metrics[n] + self.weighted_metrics[n]] for n in self.names}

    def _check_metric_names(self, name: str) -> None:
        names = ["loss", *self.metric_names[name]]
        for metric in set(names):
            if names.count(metric) > 1:
                raise ValueError(
                    f"The metrics of task `{name}` should have different names, none of them "
                    f"'loss'. Received: {metric!r} twice"
                )

    def all_metrics(self) -> list[keras.metrics.Metric]:
        """Every metric object, for resetting and saving."""
        found = [self.tracker]
        for name in self.names:
            found += [*self.metrics[name], *self.weighted_metrics[name]]
        return found

    def build_metrics(self) -> None:
        """Have every metric create its variables now.

        Some of Keras's create them at their first update, which on several replicas must not be
        inside the traced step.
        """
        for name, task in self.tasks.items():
            labels = task.missing_labels(1)
            read = task.read_labels(labels, self.losses[name])
            outputs = tf.zeros([1, *(size or 1 for size in task.output_shape)])
            nothing = tf.zeros_like(read.present, keras.backend.floatx())
            for metric in self.metrics[name] + self.weighted_metrics[name]:
                task.update_metric(metric, read.values, outputs, nothing)

    def results(self) -> dict[str, Any]:
        """The metrics' values under their log keys, `<task>_loss` and `<task>_<metric>`."""
        logs = {}
        for name, loss in zip(self.names, tf.unstack(self.tracker.result()), strict=True):
            logs[f"{name}_loss"] = loss
            for metric in self.metrics[name] + self.weighted_metrics[name]:
                result = metric.result()
                if isinstance(result, dict):
                    logs.update({f"{name}_{key}": value for key, value in result.items()})
                else:
                    logs[f"{name}_{metric.name}"] = result
        return logs

    def arrays(self, y: Any, sample_weight: Any) -> Any:
        """Labels and weights of `fit` or `evaluate` given as arrays, in the form Keras wants.

        Raises:
            ValueError: for anything but dicts by task.
        """
        self._check_labels_are_named(y)
        y = {name: _as_array(f"Labels of task `{name}`", v) for name, v in y.items()}
        for name, labels in y.items():
            self.tasks[name].check_labels(labels)
            # In one form, or steps of several forms are traced as one of an unknown shape.
            if self.tasks[name].label_shape == () and tuple(labels.shape[1:]) == (1,):
                y[name] = labels[:, 0]
        if sample_weight is None:
            return y, None
        given = self._weights_by_name(sample_weight)
        given = {
            name: _as_array(f"Sample weights of task `{name}`", weights)
            for name, weights in given.items()
            if weights is not None
        }
        for name, weights in given.items():
            _check_numbers(name, weights)
            _check_values(name, weights)
        ones = np.ones(len(next(iter(y.values()))), keras.backend.floatx())
        return y, {name: given.get(name, ones) for name in y}

    def check_batches(self, element: Any) -> None:
        """Check the labels of a batch, or of its specification, as tracing would do later.

        Args:
            element: `(x, y)` or `(x, y, sample_weight)`, of anything with `shape` and `dtype`.

        Raises:
            ValueError: for anything but dicts by task, or labels of a wrong shape or dtype.
        """
        _, y, sample_weight = keras.utils.unpack_x_y_sample_weight(element)
        self._check_labels_are_named(y)
        for name, labels in y.items():
            if labels is not None:
                self.tasks[name].check_labels(labels)
        if sample_weight is not None:
            for name, weights in self._weights_by_name(sample_weight).items():
                if weights is not None:
                    _check_numbers(name, weights)

    def read(self, y: Any, sample_weight: Any, batch_size: Any) -> dict[str, TaskBatch]:
        """Check labels and weights and bring them into one form.

        Raises:
            ValueError: for anything but a dict, unknown keys, or labels of a wrong shape or dtype;
                at tracing, so before any training step.
        """
        self._check_labels_are_named(y)
        given = {} if sample_weight is None else self._weights_by_name(sample_weight)
        return {
            name: self._read_task(task, y.get(name), given.get(name), batch_size)
            for name, task in self.tasks.items()
        }

    def _check_labels_are_named(self, y) -> None:
        if not isinstance(y, Mapping):
            raise ValueError(
                "Labels should be a dict by task name, since only names tell which labels belong "
                f"to which of the tasks {list(self.names)}. Received: labels of type "
                f"{type(y).__name__}"
            )
        self._check_keys("Labels", y)
        if not y:
            raise ValueError(
                f"Labels should be there for one of the tasks {list(self.names)} at least. "
                "Received: an empty dict"
            )

    def _weights_by_name(self, sample_weight) -> Mapping:
        if isinstance(sample_weight, list | tuple):
            raise ValueError(
                "Sample weights should be a dict by task name, or one tensor for all tasks. "
                f"Received: sample weights of type {type(sample_weight).__name__}"
            )
        if not isinstance(sample_weight, Mapping):
            return dict.fromkeys(self.names, sample_weight)
        self._check_keys("Sample weights", sample_weight)
        return sample_weight

    def _check_keys(self, what: str, given: Mapping) -> None:
        for name in given:
            if name not in self.tasks:
                raise ValueError(
                    f"{what} should have only the tasks {list(self.names)} as keys; "
                    "`mtlzoo.data.labels_of(dataset, model.task_names)` leaves others out. "
                    f"Received: {name!r}"
                )

    def _read_task(self, task: Task, labels, weights, batch_size) -> TaskBatch:
        if labels is None:
            if task.name not in self._announced:
                self._announced.add(task.name)
                logging.warning(
                    "The data have no labels of task `%s`: it counts as absent.", task.name
                )
            labels = task.missing_labels(batch_size)
        else:
            task.check_labels(labels)
        read = task.read_labels(labels, self.losses[task.name])
        if weights is not None:
            # A zero weight means that there is no label, whatever stands in its place.
            weights = _align(task.name, weights, read.present)
            there = weights != 0
            present = tf.logical_and(read.present, there)
            # One that is negative or not finite makes the loss NaN, which ends the training before
            # this batch is applied. Where there is no label, not even its gradient may be NaN.
            legal = tf.logical_and(weights >= 0, weights < float("inf"))
            weights = tf.where(legal, weights, float("nan"))
            weights = tf.where(present, weights, tf.zeros_like(weights))
            rank = len(read.values.shape) - len(present.shape)
            mask = tf.reshape(present, tf.concat([tf.shape(present), [1] * rank], 0))
            values = tf.where(mask, read.values, tf.zeros_like(read.values))
            return TaskBatch(values, present, read.invalid & there, weights, labels)
        return TaskBatch(read.values, read.present, read.invalid, None, labels)

    def loss_share(self, name: str, batch: TaskBatch, outputs: Any, count: Any) -> tf.Tensor:
        """`sum_n w_n l_n / count` over the labels present here; `count` is at least 1."""
        values = self.tasks[name].loss_values(self.losses[name], batch.values, outputs)
        if batch.weights is not None:
            values = values * tf.cast(batch.weights, values.dtype)
        values = tf.where(batch.present, values, tf.zeros_like(values))
        return tf.reduce_sum(values) / tf.cast(count, values.dtype)

    def update_metrics(self, batches: Any, outputs: Any, losses: Any, counts: Any) -> None:
        """Update every metric with one batch.

        Args:
            batches: the labels by task.
            outputs: the outputs by task, of those that were computed.
            losses: `(T,)`, the losses of the global batch.
            counts: `(T,)`, this replica's part of the global count of labels.
        """
        self.tracker.update_state(losses, counts)
        for name, task in self.tasks.items():
            if name not in outputs or not (self.metrics[name] or self.weighted_metrics[name]):
                continue
            batch = batches[name]
            present = tf.cast(batch.present, keras.backend.floatx())
            for metric in self.metrics[name]:
                task.update_metric(metric, batch.values, outputs[name], present)
            if self.weighted_metrics[name]:
                weights = present
                if batch.weights is not None:
                    weights = present * tf.cast(batch.weights, present.dtype)
                for metric in self.weighted_metrics[name]:
                    task.update_metric(metric, batch.values, outputs[name], weights)


class LossTracker(keras.metrics.Metric):
    """The mean loss of each task over all labels seen, `(T,)`: one metric for all tasks."""

    def __init__(self, tasks: int) -> None:
        super().__init__(name="task_losses")
        self.total = self.add_variable((tasks,), "zeros", name="total")
        self.count = self.add_variable((tasks,), "zeros", name="count")
        self.resets = 0  # how often the sums have begun anew, for whoever reads them

    def reset_state(self) -> None:
        """Begin the sums anew."""
        super().reset_state()
        self.resets += 1

    def update_state(self, losses: Any, counts: Any) -> None:
        """Add the losses of one batch with the numbers of their labels."""
        losses, counts = tf.cast(losses, self.dtype), tf.cast(counts, self.dtype)
        self.total.assign_add(losses * counts)
        self.count.assign_add(counts)

    def result(self) -> Any:
        """`(T,)`, NaN for a task without labels."""
        return _value(self.total) / _value(self.count)


def _value(variable):
    return tf.convert_to_tensor(variable.value)


def _as_array(what: str, given):
    """Lists as arrays, anything else as it is."""
    if not isinstance(given, list | tuple):
        return given
    try:
        return np.asarray(given)
    except ValueError:
        raise ValueError(
            f"{what} should be an array. Received: a {type(given).__name__} of rows of different "
            "lengths"
        ) from None


def _check_values(name: str, weights) -> None:
    values = keras.ops.convert_to_numpy(weights).astype("float64")
    illegal = values[~((values >= 0) & (values < np.inf))]
    if illegal.size:
        raise ValueError(
            f"Sample weights of task `{name}` should be finite and not negative. "
            f"Received: a weight of {illegal[0]:g}"
        )


def _check_numbers(name: str, weights) -> None:
    dtype = dtype_of(weights) if hasattr(weights, "dtype") else type(weights).__name__
    if not re.fullmatch(r"u?int\d+|b?float\d+|bool", dtype):
        raise ValueError(
            f"Sample weights of task `{name}` should be an array or a tensor of numbers. "
            f"Received: dtype={dtype}"
        )


def _align(name: str, weights, present):
    """Bring sample weights to the shape of the loss values: one for each row, or each its own."""
    _check_numbers(name, weights)
    weights = tf.cast(tf.convert_to_tensor(weights), keras.backend.floatx())
    rank = len(present.shape)
    if len(weights.shape) == rank + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    if len(weights.shape) not in {1, rank} or not weights.shape[1:].is_compatible_with(
        present.shape[1 : len(weights.shape)]
    ):
        raise ValueError(
            f"Sample weights of task `{name}` should have one number for each row, or the shape "
            f"{tuple(present.shape)} of its losses. Received: shape={tuple(weights.shape)}"
        )
    while len(weights.shape) < rank:
        weights = weights[..., None]
    return tf.broadcast_to(weights, tf.shape(present))
