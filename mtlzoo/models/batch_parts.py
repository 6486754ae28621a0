"""A batch taken apart, for methods that compare independent samples of the tasks' gradients."""

from typing import Any

import tensorflow as tf

from mtlzoo import gradients
from mtlzoo.models.objectives import TaskBatch

Batches = dict[str, TaskBatch]


def split(batches: Batches, rows: tf.Tensor, count: int, step: tf.Tensor) -> list[Batches]:
    """The labels of `count` parts of the global batch: in step k, row r is in part r + k modulo
    `count`.

    So no row has the same part in each epoch, also where data are not shuffled.

    All parts have the shapes of the whole batch, with labels at their own rows only.

    Args:
        batches: the labels by task.
        rows: scalar, the number of rows of this replica.
        count: the number of parts.
        step: the number of the training step.
    """
    part = (_first_row(rows) + tf.range(rows) + tf.cast(step, rows.dtype)) % count
    return [
        {name: _at(batch, tf.equal(part, index)) for name, batch in batches.items()}
        for index in range(count)
    ]


def label_counts(parts: list[Batches], dtype: Any) -> list[tf.Tensor]:
    """The numbers of labels in the global batch, `(T,)` for each part."""
    counts = [
        tf.stack([tf.math.count_nonzero(b.present, dtype=dtype) for b in part.values()])
        for part in parts
    ]
    return gradients.replica_sum(counts)


def _first_row(rows):
    """Where the rows of this replica begin in the global batch."""
    replicas = gradients.replica_count()
    if replicas == 1:
        return tf.zeros_like(rows)
    own = tf.distribute.get_replica_context().replica_id_in_sync_group
    places = tf.range(replicas)
    (of_replicas,) = gradients.replica_sum([tf.where(places == own, rows, 0)])
    return tf.reduce_sum(tf.where(places < own, of_replicas, 0))


def _at(batch: TaskBatch, rows) -> TaskBatch:
    present = batch.present & tf.reshape(rows, [-1] + [1] * (len(batch.present.shape) - 1))
    return batch._replace(present=present)
