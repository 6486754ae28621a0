"""What goes wrong in a training step, kept until the host can say so with the task's name."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from mtlzoo import gradients
from mtlzoo.models import optimizers
from mtlzoo.models.objectives import Objectives, TaskBatch

# What may go wrong with a task in a step. The first failure stays until it is reported.
NOTHING, NON_FINITE_LOSS, ILLEGAL_LABEL, NON_FINITE_GRADIENT = range(4)


class Failures:
    """The first failure of each task, and the number that caused it.

    Args:
        objectives: the losses and metrics of the tasks.
    """

    def __init__(self, objectives: Objectives) -> None:
        self.objectives = objectives
        count = len(objectives.names)
        self.failure = step_state("failure", (count,), "int32", "zeros")
        self.offender = step_state("offender", (count,), "float32", "zeros")
        self.added = step_state("added_failure", (), "bool", "zeros")

    def check(self, recording: Any, sound: Any, illegal: Any, batches: Any, optimizer: Any) -> Any:
        """Record what went wrong; True where nothing did, now or in an earlier step.

        Args:
            recording: the forward pass.
            sound: `(T,)` bool, whether each task's gradient is finite, or `None`.
            illegal: `(T,)`, the numbers of illegal labels.
            batches: the labels by task.
            optimizer: the model's optimizer.
        """
        finite = tf.math.is_finite(recording.losses)
        code = tf.where(finite, NOTHING, NON_FINITE_LOSS)
        if sound is not None and not optimizers.scales_dynamically(optimizer):
            # There an overflow is the optimizer's to handle.
            code = tf.where(finite & ~sound, NON_FINITE_GRADIENT, code)
        code = tf.where(recording.present, code, NOTHING)
        code = tf.where(illegal > 0, ILLEGAL_LABEL, code)
        ok = tf.reduce_all((code == NOTHING) & (read(self.failure) == NOTHING))
        unless(ok, lambda: self.report(code, recording.unweighted, batches))
        if recording.extra is not None:
            (extra,) = gradients.replica_sum([recording.extra])
            self.added.assign(read(self.added) | ~tf.math.is_finite(extra))
            ok &= ~read(self.added)
        return ok

    def report(self, code: Any, losses: Any, batches: Any) -> None:
        """Keep the first failure of each task until the host reads it."""
        # The label may be on some replicas only; where several have one, their mean is shown.
        found = tf.stack([_illegal_value(b) for b in batches.values()])
        has = tf.stack([tf.cast(tf.reduce_any(b.invalid), found.dtype) for b in batches.values()])
        total, having = gradients.replica_sum([tf.where(has > 0, found, 0.0), has])
        values = tf.where(code == ILLEGAL_LABEL, total / having, tf.cast(losses, "float32"))
        fresh = read(self.failure) == NOTHING
        self.offender.assign(tf.where(fresh, values, read(self.offender)))
        self.failure.assign(tf.where(fresh, code, read(self.failure)))

    def raise_on_failure(self) -> None:
        """End the training with the task's name, if a step failed; host side."""
        failure = keras.ops.convert_to_numpy(self.failure)
        added = bool(keras.ops.convert_to_numpy(self.added))
        self.added.assign(False)
        if not failure.any():
            if added:
                raise FloatingPointError(
                    "The losses that layers add, such as regularization, are not finite. Training "
                    "has stopped and the gradients were not applied; look at the layers' "
                    "`add_loss` and at the learning rate."
                )
            return
        values = keras.ops.convert_to_numpy(self.offender)
        # A label explains a loss, and a loss a gradient.
        causes = [ILLEGAL_LABEL, NON_FINITE_LOSS, NON_FINITE_GRADIENT]
        index = min(failure.nonzero()[0], key=lambda i: causes.index(failure[i]))
        name, value, code = self.objectives.names[index], values[index], failure[index]
        self.failure.assign(keras.ops.zeros_like(self.failure))
        if code == ILLEGAL_LABEL:
            raise ValueError(
                f"Labels of task `{name}` should be legal labels of "
                f"{self.objectives.tasks[name]!r} or its missing value "
                f"{self.objectives.tasks[name].missing!r}. Received: a label of value {value:g}"
                f"{_of_empty_cells(value)}. The model was not updated with this batch."
            )
        what = "loss" if code == NON_FINITE_LOSS else "gradient"
        raise FloatingPointError(
            f"The {what} of task `{name}` is not finite (loss {value:g}). Training has stopped and "
            "its gradients were not applied; look at the task's inputs and labels, at the learning "
            "rate, or clip the gradients."
        )

    def check_labels(self, illegal: Any, losses: Any, batches: Any) -> None:
        """Record illegal labels in evaluation."""
        code = tf.where(illegal > 0, ILLEGAL_LABEL, NOTHING)
        unless(tf.reduce_all(illegal <= 0), lambda: self.report(code, losses, batches))


def step_state(name: str, shape: tuple, dtype: str, initializer: str) -> keras.Variable:
    """A variable of the training step, the same on every replica."""
    return keras.Variable(
        initializer=initializer,
        shape=shape,
        dtype=dtype,
        trainable=False,
        aggregation="only_first_replica",
        name=name,
    )


def unless(condition: tf.Tensor, function: Callable) -> None:
    """Run `function` where `condition` is False.

    On several replicas it always runs, since no branch may hold what it does there; so it must
    change nothing where the condition is True.
    """
    if not gradients.may_branch():
        function()
        return

    def otherwise():
        function()
        return tf.constant(True)

    tf.cond(condition, lambda: tf.constant(False), otherwise)


def read(variable: keras.Variable) -> tf.Tensor:
    """Its value."""
    return tf.convert_to_tensor(variable.value)


def _of_empty_cells(value: float) -> str:
    """What NaN, which pandas reads for empty cells, should be where it is no missing value."""
    if value == value:
        return ""
    return " (write -1 for it, as `fillna(-1)` does, or make the task with missing=float('nan'))"


def _illegal_value(batch: TaskBatch):
    labels = tf.cast(tf.convert_to_tensor(batch.labels), "float32")
    rank = len(batch.invalid.shape)
    labels = tf.reduce_max(labels, axis=list(range(rank, len(labels.shape))))
    if len(labels.shape) < rank:  # one cell, given without its axis
        labels = labels[:, None]
    return tf.reduce_max(tf.where(batch.invalid, labels, -float("inf")))
