"""In which steps a balancer that keeps its weights for several computes them anew, and others make
a Gramian to be looked at.
"""

from typing import Any

import keras
import tensorflow as tf

from mtlzoo.balancing import Balancer
from mtlzoo.models.failures import read


def due(method: Balancer, present: tf.Tensor) -> tf.Tensor | None:
    """Whether the weights must be computed anew: each k-th step, and when a task comes back.

    Args:
        method: the balancer in use, built.
        present: `(T,)` bool, the tasks that have labels in the step.

    Returns:
        A bool; `None` for a method that computes them in every step.
    """
    if method.every == 1:
        return None
    new = tf.reduce_any(present & (read(method.gradient_part.refreshed) == 0))
    return tf.equal(read(method.step) % method.every, 0) | new


def surely_kept(method: Balancer) -> bool:
    """Whether the coming step keeps the weights, whatever its labels; read on the host.

    On several replicas no branch of a graph may hold a reduction. There the host chooses between
    two functions, of which one has none of the task gradients. It can when no task may come back.

    Args:
        method: the balancer in use, built.
    """
    if method.every == 1:
        return False
    seen = keras.ops.convert_to_numpy(method.gradient_part.refreshed)
    step = int(keras.ops.convert_to_numpy(method.step))
    return bool((seen > 0).all()) and step % method.every != 0


def surely_looks(step: Any) -> bool:
    """Whether the coming step's Gramian is made where the balancer makes none; read on the host.

    Args:
        step: the training step.
    """
    if step.record is None:
        return False
    return bool(step.record.looks_at(int(keras.ops.convert_to_numpy(step.method.step))))
