"""Two replicas draw the same random numbers and keep the same state."""

import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
import tensorflow as tf
from types import SimpleNamespace

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from mtlzoo.balancing import GradDrop, PCGrad

tasks = [SimpleNamespace(name=n, loss_family="regression") for n in "abcd"]
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    surgery, drop = PCGrad(seed=1), GradDrop(seed=1)
    surgery.build(tasks)
    drop.build(tasks)
rows = tf.random.stateless_normal((4, 50), [0, 0], dtype="float64")
rows = rows - tf.reduce_mean(rows, 0)

def step():
    weights = surgery.weights(rows @ tf.transpose(rows))
    combined = drop.combine([rows])[0]
    for balancer in (surgery, drop):
        balancer.step.assign_add(1)
    surgery.task_weights.assign(weights)
    return weights, combined

run = tf.function(lambda: strategy.run(step))
alone = PCGrad(seed=1)
alone.build(tasks)
other = GradDrop(seed=1)
other.build(tasks)
for number in range(3):
    weights, combined = run()
    alone.step.assign(number)
    other.step.assign(number)
    for result, expected in (
        (weights, alone.weights(rows @ tf.transpose(rows))),
        (combined, other.combine([rows])[0]),
    ):
        one, two = (r.numpy() for r in strategy.experimental_local_results(result))
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, expected, rtol=1e-9, atol=1e-12)
    for variable in (surgery.step, surgery.task_weights, drop.step):
        one, two = (r.numpy() for r in strategy.experimental_local_results(variable.value))
        np.testing.assert_array_equal(one, two)
    assert int(surgery.step.numpy()) == number + 1
print("replicas agree")
"""


@pytest.mark.slow
def test_two_replicas_agree():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120
    )
    assert "replicas agree" in result.stdout, result.stderr[-3000:]
