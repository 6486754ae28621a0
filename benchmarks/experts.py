"""How the experts of a mixture are best computed on this machine.

Prints the CPU time of forward and backward passes of 8 experts of widths 64 and 32 on 256 rows of
400 features, as ratios to `mtlzoo.layers.Experts`, run in turns in one process.

    python -m benchmarks.experts [--jit]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from mtlzoo.layers import Experts

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 20, "Rounds of measurements; the medians are compared.")
flags.DEFINE_bool("jit", False, "Compile with XLA.")

BATCH, FEATURES, EXPERTS, UNITS = 256, 400, 8, (64, 32)


def batched(features, kernels):
    """Every layer one batched product, experts first."""
    hidden = features[None]
    for kernel in kernels:
        hidden = tf.nn.relu(tf.matmul(hidden, kernel))
    return hidden


def einsums(features, kernels):
    """Every layer one einsum, rows first."""
    hidden = tf.nn.relu(tf.einsum("bd,edu->beu", features, kernels[0]))
    return tf.nn.relu(tf.einsum("beu,euv->bev", hidden, kernels[1]))


def loop(features, kernels):
    """One expert after the other."""
    outputs = []
    for k in range(EXPERTS):
        hidden = features
        for kernel in kernels:
            hidden = tf.nn.relu(tf.matmul(hidden, kernel[k]))
        outputs.append(hidden)
    return tf.stack(outputs)


def main(argv):
    """Measure and print."""
    del argv
    features = tf.random.normal((BATCH, FEATURES))
    layer = Experts(EXPERTS, UNITS)
    layer(features)
    kernels = [
        tf.Variable(tf.random.normal((EXPERTS, i, o)) * 0.05)
        for i, o in zip((FEATURES, UNITS[0]), UNITS, strict=True)
    ]

    def step(forward, variables):
        def run():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(forward() ** 2)
            return tape.gradient(loss, variables)

        return tf.function(run, jit_compile=FLAGS.jit)

    own = [v.value for v in layer.trainable_variables]
    functions = {"mtlzoo.layers.Experts": step(lambda: layer(features), own)}
    for other in (batched, einsums, loop):
        functions[other.__name__] = step(lambda f=other: f(features, kernels), kernels)
    times = {name: [] for name in functions}
    for i in range(FLAGS.rounds + 2):
        for name, function in functions.items():
            start = time.process_time()
            for _ in range(5):
                function()
            if i > 1:
                times[name].append(time.process_time() - start)
    ours = np.median(times["mtlzoo.layers.Experts"])
    for name, measured in times.items():
        print(f"{name:<24}{np.median(measured) / 5 * 1e3:7.2f} ms{np.median(measured) / ours:7.2f}")


if __name__ == "__main__":
    app.run(main)
