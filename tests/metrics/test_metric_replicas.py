"""Metrics are updated by each replica with its own rows, and count as if there were one."""

import subprocess
import sys

# A process of its own: the devices must be split before TensorFlow starts.
PROGRAM = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from mtlzoo.tasks import BinaryClassification, Classification, MultiLabelClassification, Regression

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
rng = np.random.default_rng(0)
for task in [
    BinaryClassification("a"),
    Classification("b", 4),
    MultiLabelClassification("c", 3),
    Regression("d"),
    Regression("e", dim=3),
]:
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

    @tf.function
    def step(batch):
        strategy.run(lambda pair: update(together, *pair), args=(batch,))

    update(alone, labels, outputs)
    data = tf.data.Dataset.from_tensor_slices((labels, outputs)).batch(32, drop_remainder=True)
    for batch in strategy.experimental_distribute_dataset(data):
        step(batch)
    for metric, expected in zip(together, alone, strict=True):
        result = float(metric.result())
        assert result != 0, metric.name
        assert abs(result - float(expected.result())) < 1e-6, metric.name
        print(task.name, metric.name)
"""


def test_two_replicas_count_as_one():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split("\n")) == 5 + 5 + 6 + 3 + 3 + 1
