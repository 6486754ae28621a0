"""Training on new and replayed rows of a stream, by the model's own training function."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.models import optimizers
from mtlzoo.models.callbacks import BalancerEpochs
from mtlzoo.online.batches import StreamBatch, concatenate


class TrainingSteps:
    """Trains a model on batches, as `train_on_batch` does, also on several replicas.

    Args:
        model: a compiled multi-task model.

    Attributes:
        steps: how many were made.

    Raises:
        ValueError: if the model cannot be trained batch by batch.
    """

    def __init__(self, model: Any) -> None:
        if model.steps_per_execution != 1:
            raise ValueError(
                "`model` should be compiled with `steps_per_execution=1`, since each batch is "
                f"trained as it comes. Received: steps_per_execution={model.steps_per_execution}"
            )
        if model.distribute_strategy.cluster_resolver is not None:
            raise ValueError(
                "`model` should be on the devices of one process, since each process has a stream "
                f"of its own. Received: a model under {type(model.distribute_strategy).__name__}"
            )
        self._model, self._epochs = model, BalancerEpochs(model)
        self.steps = 0
        self._fresh = True  # whether a balancer's epoch begins

    def train(self, new: StreamBatch, replayed: StreamBatch | None = None) -> None:
        """Make one step.

        Args:
            new: rows with labels of all tasks.
            replayed: more of them.

        Raises:
            FloatingPointError: if a loss or gradient is not finite; nothing was updated.
        """
        batch = new if replayed is None else concatenate([new, replayed])
        data = (batch.x, batch.y, batch.sample_weight)
        strategy = self._model.distribute_strategy
        replicas = strategy.num_replicas_in_sync
        if replicas > 1:
            parts = np.array_split(np.arange(batch.rows), replicas)
            data = strategy.experimental_distribute_values_from_function(
                lambda context: keras.tree.map_structure(
                    lambda a: tf.convert_to_tensor(a[parts[context.replica_id_in_sync_group]]),
                    (batch.x, batch.y, batch.sample_weight),
                )
            )
        function = self._model.make_train_function()
        if self._fresh:
            self._model.reset_metrics()
            self._fresh = False
        function(iter([data]))
        self.steps += 1

    def end_epoch(self) -> None:
        """Tell the balancer that an epoch has ended, if anything was trained in it."""
        if not self._fresh:
            logs = {name: float(value) for name, value in self._model.get_metrics_result().items()}
            self._epochs.on_epoch_end(0, logs)
            self._fresh = True

    def get_state(self) -> dict[str, Any]:
        """The number of steps, and whether an epoch begins."""
        return {"steps": self.steps, "fresh": self._fresh}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self.steps, self._fresh = state["steps"], state["fresh"]


def check_learning_rate(model: Any, rate: Any) -> float | None:
    """A learning rate for the stream, or `None` for that of the optimizer.

    Args:
        model: a compiled multi-task model.
        rate: what was given.

    Raises:
        ValueError: if it is no positive number, or it, or that of the optimizer, is a schedule.
    """
    if rate is None:
        return None
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        raise ValueError(
            "`learning_rate` should be a number, since a stream has no end that a schedule could "
            f"lead to. Received: learning_rate={type(rate).__name__}"
        )
    is_number = isinstance(rate, int | float | np.number) and not isinstance(rate, bool)
    if not is_number or not 0 < rate < float("inf"):
        raise ValueError(
            f"`learning_rate` should be a positive number or None. Received: learning_rate={rate!r}"
        )
    for leaf in optimizers.leaves(model.optimizer):
        if isinstance(leaf._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError(
                "`learning_rate` should be None where the model was compiled with a schedule, "
                f"which cannot be put back: compile it with a number. Received: {rate!r}, and a "
                f"{type(leaf._learning_rate).__name__} in `{leaf.name}`"
            )
    return float(rate)


def rates(model: Any) -> list[float]:
    """The learning rates of the optimizers in a model's optimizer; those of schedules as of now.

    Args:
        model: a compiled multi-task model.
    """
    leaves = optimizers.leaves(model.optimizer)
    return [float(keras.ops.convert_to_numpy(leaf.learning_rate)) for leaf in leaves]


def set_rates(model: Any, values: list[float]) -> None:
    """Give the optimizers in a model's optimizer learning rates; schedules stay as they are.

    Args:
        model: a compiled multi-task model.
        values: what `rates` gave.
    """
    for leaf, value in zip(optimizers.leaves(model.optimizer), values, strict=True):
        if not isinstance(leaf._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            leaf.learning_rate = value


@contextlib.contextmanager
def put_back(model: Any, rate: float | None, own: list[float]) -> Iterator[None]:
    """Have the optimizer use a learning rate, and then those that it had.

    Args:
        model: a compiled multi-task model.
        rate: the rate, or `None` to change nothing.
        own: those that it had.
    """
    if rate is not None:
        set_rates(model, [rate] * len(own))
    try:
        yield
    finally:
        if rate is not None:
            set_rates(model, own)
