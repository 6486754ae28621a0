"""Metrics are updated by each replica with its own rows."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    MultiLabelClassification,
    Regression,
)

# Before TensorFlow starts; after that only if somebody else has asked for two already.
with contextlib.suppress(RuntimeError):
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )

TASKS = [
    BinaryClassification("a"),
    Classification("b", 4),
    MultiLabelClassification("c", 3),
    Regression("d"),
    Regression("e", dim=3),
]


@pytest.fixture(scope="module")
def strategy():
    cpus = tf.config.list_logical_devices("CPU")
    if len(cpus) < 2:
        pytest.skip("needs two logical CPU devices")
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_two_replicas_are_one(strategy, task):
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(32, *task.output_shape)).astype("float32")
    labels = rng.integers(0, getattr(task, "num_classes", 2), (32, *task.label_shape))
    gaps = rng.random(labels.shape) < 0.3
    if isinstance(task, Regression):
        labels = np.where(gaps, np.nan, labels + rng.normal(size=labels.shape)).astype("float32")
    else:
        labels = np.where(gaps, -1, labels)
    alone = task.metrics()
    with strategy.scope():
        together = task.metrics()

    def update(metrics, labels, outputs):
        values, present, _ = task.read_labels(labels)
        for metric in metrics:
            task.update_metric(metric, values, outputs, tf.cast(present, "float32"))

    update(alone, labels, outputs)
    data = tf.data.Dataset.from_tensor_slices((labels, outputs)).batch(32, drop_remainder=True)

    @tf.function
    def step(batch):
        strategy.run(lambda pair: update(together, *pair), args=(batch,))

    for batch in strategy.experimental_distribute_dataset(data):
        step(batch)
    with strategy.scope():
        for metric, expected in zip(together, alone, strict=True):
            result = float(metric.result())
            assert result == pytest.approx(float(expected.result()), abs=1e-6), metric.name
            assert result != 0
