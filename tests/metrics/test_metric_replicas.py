"""Metrics are updated by each replica with its own rows, and count as if there were one."""

import subprocess
import sys

import pytest

# A process of its own: the devices must be split before TensorFlow starts.
PROGRAM = """
import sys

import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from mtlzoo.tasks import *

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
rng = np.random.default_rng(0)
ROWS = 32


def drawn(task):
    # Labels, of which some are missing, and outputs.
    cells = (ROWS, *(4 if size is None else size for size in task.label_shape))
    if isinstance(task, ObjectDetection):
        outputs = rng.normal(size=(ROWS, 4, 4, *task.output_shape[2:]))
        corners = rng.uniform(0, 0.5, (*cells[:2], 2))
        classes = rng.integers(0, task.num_classes, (*cells[:2], 1))
        labels = np.concatenate([corners, corners + 0.4, classes], -1)
        labels[rng.random(cells[:2]) < 0.3] = -1
        labels[rng.random(ROWS) < 0.3] = np.nan
        return labels.astype("float32"), outputs.astype("float32")
    outputs = rng.normal(size=(ROWS, *(4 if size is None else size for size in task.output_shape)))
    if isinstance(task, DepthEstimation):
        outputs, labels = np.exp(outputs), rng.uniform(1, 5, cells)
    elif isinstance(task, Regression | SurfaceNormalEstimation):
        labels = rng.normal(size=cells)
    else:
        labels = rng.integers(0, getattr(task, "num_classes", 2), cells)
    if isinstance(task, SpanExtraction):
        labels = np.sort(labels, axis=1)
        labels[rng.random(ROWS) < 0.3] = task.missing
    elif isinstance(task, SurfaceNormalEstimation):
        labels[rng.random(cells[:3]) < 0.3] = task.missing
    else:
        labels = np.where(rng.random(cells) < 0.3, task.missing, labels)
    return labels.astype("int32" if task.missing in (-1, 255) else "float32"), outputs.astype(
        "float32"
    )


tasks = [
    BinaryClassification("binary"),
    Classification("classes", 4),
    MultiLabelClassification("labels", 3),
    Regression("value"),
    Regression("values", dim=3),
    SemanticSegmentation("parts", 3, (4, 4)),
    DepthEstimation("depth", (4, 4)),
    SurfaceNormalEstimation("normals"),
    SequenceTagging("tags", 3),
    SpanExtraction("span"),
    ObjectDetection("objects", 2, 3, min_score=0.0),
]
for task in [task for task in tasks if task.name in sys.argv[1:]]:
    labels, outputs = drawn(task)
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
        assert np.isclose(result, float(expected.result()), rtol=1e-6, atol=1e-6), metric.name
    print(task.name, len(alone))
"""


SOME = ["binary", "value", "parts", "objects"]
OTHERS = ["classes", "labels", "values", "depth", "normals", "tags", "span"]


@pytest.mark.slow
@pytest.mark.parametrize("names", [SOME, OTHERS])
def test_two_replicas_count_as_one(names):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = {name: int(count) for name, count in map(str.split, done.stdout.splitlines())}
    assert sorted(counts) == sorted(names)
    assert min(counts.values()) > 0
