"""Streams of batches on two replicas: the training is that of one."""

import subprocess
import sys

import pytest

PROGRAM = """
import keras
import numpy as np
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from mtlzoo import HardSharing, data
from mtlzoo.tasks import Classification, Regression

TASKS = [Classification("kind", 3), Regression("value")]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 4)).astype("float32")
KIND = RNG.choice([0, 1, 1, 2, 2, 2, -1], 96).astype("int32")
VALUE = np.where(RNG.uniform(size=(96, 1)) < 0.2, np.nan, X[:, :1]).astype("float32")


def rows(**y):
    return tf.data.Dataset.from_tensor_slices((X, y)).batch(16)


def mixed(form):
    datasets = {"a": rows(kind=KIND), "b": rows(value=VALUE)}
    batch_size = 16 if form == "rows" else None
    return data.mix(datasets, "uniform", form=form, batch_size=batch_size, seed=3).dataset.take(9)


def sampled():
    return data.ImportanceSampling(rows(kind=KIND, value=VALUE), TASKS, batch_size=16, seed=1)


def resampled():
    both = rows(kind=KIND, value=VALUE)
    report = data.check(both, TASKS, batches=None)
    return data.resample(both, TASKS[0], report, batch_size=16)


STREAMS = {
    "mix, batches": lambda: mixed("batches"),
    "mix, rows": lambda: mixed("rows"),
    "importance": sampled,
    "resample": resampled,
    "mix_up": lambda: data.mix_up(rows(kind=KIND, value=VALUE), TASKS),
}


def trained(strategy, stream):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = HardSharing(keras.Input((4,)), TASKS, shared_units=[8])
        model.compile(keras.optimizers.SGD(0.1))
    made, callbacks = stream(), []
    if isinstance(made, data.ImportanceSampling):
        made, callbacks = made.dataset, [made.callback()]
    model.fit(made, epochs=2, verbose=0, callbacks=callbacks)
    return model.get_weights()


two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert two.num_replicas_in_sync == 2
for name, stream in STREAMS.items():
    one = trained(tf.distribute.get_strategy(), stream)
    for a, b in zip(one, trained(two, stream), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=name)
    print("the same:", name)
"""


@pytest.mark.slow
def test_one_replica_and_two_learn_the_same():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    names = ["mix, batches", "mix, rows", "importance", "resample", "mix_up"]
    assert done.stdout.splitlines()[-5:] == [f"the same: {name}" for name in names]
