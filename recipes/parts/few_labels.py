"""Data of which only a part has labels."""

import dataclasses

import keras
import tensorflow as tf

from mtlzoo import data


def hide_labels(loaded: data.Loaded, kept: float) -> data.Loaded:
    """The same training data with labels for a part of the rows only.

    Which rows these are is told by a number made of the row's inputs, so that they are the same in
    every epoch, whatever the order.

    Args:
        loaded: the data; validation and test data keep their labels.
        kept: which part of the rows keep theirs.
    """
    tasks = {task.name: task for task in loaded.tasks}

    def hide(x, y, weight):
        rows = [
            tf.reshape(tf.cast(t, tf.float32), [tf.shape(t)[0], -1]) for t in tf.nest.flatten(x)
        ]
        # The fraction of a large multiple of the sum is as good as random.
        number = 997.0 * tf.add_n([tf.reduce_sum(t, axis=1) for t in rows])
        there = tf.math.floormod(number, 1.0) < kept
        return x, {n: _where(there, tasks[n], labels) for n, labels in y.items()}, weight

    return dataclasses.replace(loaded, train=loaded.train.map(hide))


def _where(there, task, labels):
    missing = keras.ops.cast(task.missing_labels(tf.shape(labels)[0]), labels.dtype)
    there = tf.reshape(there, [-1] + [1] * (len(labels.shape) - 1))
    return tf.where(there, labels, tf.reshape(missing, tf.shape(labels)))
