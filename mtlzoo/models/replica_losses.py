"""The losses that layers add in their `call`, kept apart by replica, and what counts of them."""

from collections import defaultdict
from typing import Any

import keras
import tensorflow as tf


class ReplicaLosses:
    """Stands for a layer's list of added losses: each replica sees those of its own.

    Keras keeps one list for all replicas, which are traced in turns: where one waits for the others
    in the middle of its forward pass, as synchronized normalization does, another clears its list.
    """

    def __init__(self) -> None:
        self._of_replica: dict[int, list] = defaultdict(list)

    def _own(self) -> list:
        context = tf.distribute.get_replica_context()
        replica = tf.get_static_value(context.replica_id_in_sync_group) if context else 0
        # It is known but on TPUs, where all replicas are traced as one.
        return self._of_replica[0 if replica is None else int(replica)]

    def extend(self, losses: list) -> None:
        """Add losses of this replica."""
        self._own().extend(losses)

    def clear(self) -> None:
        """Forget those of this replica."""
        self._own().clear()

    def __getitem__(self, index: Any) -> Any:
        return self._own()[index]


def keep_apart(model: keras.Model) -> None:
    """Have all layers of `model` keep the losses of each replica for themselves."""
    for layer in model._flatten_layers():
        layer._losses = ReplicaLosses()


def added_by(layers: list[keras.layers.Layer]) -> list[tuple[keras.layers.Layer, list]]:
    """The losses that these layers added in their last calls, by layer."""
    return [(layer, list(layer._losses[:])) for layer in layers]


def share_of_added(model: keras.Model, part: tf.Tensor) -> tf.Tensor | None:
    """This replica's share of the losses that are no task's, `None` where there are none.

    Args:
        model: the model, called in this step.
        part: what part of the rows of the global batch is this replica's.
    """
    losses = model.losses
    if not losses:
        return None
    # In float16 Keras itself cannot add these up.
    own = tf.add_n([tf.reduce_sum(tf.cast(loss, keras.backend.floatx())) for loss in losses])
    # A mean over no rows is no number.
    return part * tf.where(part > 0, own, tf.zeros_like(own))
