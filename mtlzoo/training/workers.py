"""What all of several workers do alike."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def check_same(strategy: tf.distribute.Strategy, numbers: Sequence[int], path: Any) -> None:
    """Refuse to train where the workers have found different files.

    Args:
        strategy: of the training.
        numbers: what they should have in common.
        path: the file.

    Raises:
        ValueError: if they differ.
    """
    if strategy.cluster_resolver is None or strategy.num_replicas_in_sync == 1:
        return

    def means() -> tf.Tensor:
        values = tf.constant(numbers, "float64")
        replicas = tf.distribute.get_replica_context()
        return replicas.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stack([values, values**2]))

    found = strategy.experimental_local_results(strategy.run(means))[0].numpy()
    if abs(found[1] - found[0] ** 2).max() > 0.1:  # their variance
        raise ValueError(
            "`path` should be a file that all workers see. "
            f"Received: path={str(path)!r}, which is not the same on all of them"
        )
