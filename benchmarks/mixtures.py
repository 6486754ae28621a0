"""What mixtures of experts cost, beside the same ones in a Python loop and beside a plain trunk.

Prints the CPU time of forward and backward passes as ratios to `HardSharing` with a trunk as wide
as one expert, run in turns in one process; then whether one wide product over the kernels of all
banks of a level that read the same features would be faster; then peak memory, each model in a
process of its own. Features, experts and batch: 64, one layer of 64, 256 rows (4096 for memory).
MMoE has N experts; PLE two levels of N shared experts and one for each of T tasks.

    python -m benchmarks.mixtures [--experts=4,8,16,32] [--tasks=2,4,8,16] [--rounds=15] [--jit]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import functools
import resource
import subprocess
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from keras import ops

from mtlzoo import PLE, HardSharing, MMoE, Regression
from mtlzoo.layers import Experts

FLAGS = flags.FLAGS
flags.DEFINE_list("experts", ["4", "8", "16", "32"], "Numbers of experts, N.")
flags.DEFINE_list("tasks", ["2", "4", "8", "16"], "Numbers of tasks, T.")
flags.DEFINE_integer("rounds", 15, "Rounds of measurements; the medians are compared.")
flags.DEFINE_bool("jit", False, "Compile with XLA.")
flags.DEFINE_bool("memory", True, "Measure memory too, of the largest model.")
flags.DEFINE_string("case", None, "Run this case alone and print its peak memory in MiB.")

WIDTH, BATCH, ROWS_FOR_MEMORY = 64, 256, 4096
SIZES = {"tower_units": (16,)}


def trunk(experts: int, tasks: int) -> keras.Model:
    """A trunk as wide as one expert."""
    del experts
    return HardSharing(keras.Input((WIDTH,)), kinds(tasks), shared_units=(WIDTH,), **SIZES)


def mmoe(experts: int, tasks: int) -> keras.Model:
    """All experts in one product."""
    sizes = {"num_experts": experts, "expert_units": (WIDTH,), **SIZES}
    return MMoE(keras.Input((WIDTH,)), kinds(tasks), **sizes)


def ple(experts: int, tasks: int) -> keras.Model:
    """Each bank of experts in one product."""
    sizes = {"num_shared_experts": experts, "num_task_experts": 1, "expert_units": (WIDTH,)}
    return PLE(keras.Input((WIDTH,)), kinds(tasks), **sizes, **SIZES)


def mmoe_in_a_loop(experts: int, tasks: int) -> keras.Model:
    """The same model with a layer for each expert."""
    inputs = keras.Input((WIDTH,))
    bank = dense_experts(inputs, experts)
    return with_heads(inputs, [mixed(inputs, bank) for _ in range(tasks)])


def ple_in_a_loop(experts: int, tasks: int) -> keras.Model:
    """The same model with a layer for each expert."""
    inputs = keras.Input((WIDTH,))
    shared, own = inputs, [inputs] * tasks
    for is_last in (False, True):
        of_all = dense_experts(shared, experts)
        of_tasks = [dense_experts(features, 1) for features in own]
        own = [mixed(f, bank + of_all) for f, bank in zip(own, of_tasks, strict=True)]
        if not is_last:
            shared = mixed(shared, [expert for bank in of_tasks for expert in bank] + of_all)
    return with_heads(inputs, own)


def kinds(tasks: int) -> list[Regression]:
    """The tasks."""
    return [Regression(f"t{i}", metrics=[]) for i in range(tasks)]


def dense_experts(features, experts: int) -> list:
    """The outputs of experts, one after the other."""
    return [keras.layers.Dense(WIDTH, activation="relu")(features) for _ in range(experts)]


def mixed(features, bank: list):
    """A mixture, one expert after the other."""
    gate = keras.layers.Dense(len(bank), activation="softmax", use_bias=False)(features)
    return functools.reduce(
        ops.add, [ops.multiply(gate[:, k : k + 1], expert) for k, expert in enumerate(bank)]
    )


def with_heads(inputs, features: list) -> keras.Model:
    """The model with a tower and a head on the features of each task."""
    towers = [keras.layers.Dense(16, activation="relu")(each) for each in features]
    return keras.Model(inputs, {f"t{i}": keras.layers.Dense(1)(t) for i, t in enumerate(towers)})


CASES = {
    "trunk": trunk,
    "MMoE": mmoe,
    "MMoE in a loop": mmoe_in_a_loop,
    "PLE": ple,
    "PLE in a loop": ple_in_a_loop,
}


def step(forward, variables: list, jit: bool):
    """A traced function that runs `forward` and its derivatives."""
    variables = [v.value for v in variables]

    def run():
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(forward())
            loss = tf.add_n([tf.reduce_mean(output**2) for output in outputs])
        return tape.gradient(loss, variables)

    return tf.function(run, jit_compile=jit)


def step_of(model: keras.Model, rows: int, jit: bool = False):
    """The step of a model on random features."""
    features = tf.random.normal((rows, WIDTH))
    return step(lambda: model(features, training=True), model.trainable_variables, jit)


def banks(experts: int, tasks: int) -> dict:
    """The first level of PLE alone, as it is and as one product over all kernels."""
    features = tf.random.normal((BATCH, WIDTH))
    counts = [experts] + [1] * tasks
    layers = [Experts(count, (WIDTH,)) for count in counts]
    for layer in layers:
        layer.build(features.shape)
    variables = [v for layer in layers for v in layer.trainable_variables]

    def one_product():
        kernel = tf.concat([layer.kernels[0] for layer in layers], axis=1)
        bias = tf.concat([layer.biases[0] for layer in layers], axis=0)
        hidden = tf.reshape(tf.matmul(features, kernel), (BATCH, sum(counts), WIDTH))
        return tf.split(tf.nn.relu(hidden + bias), counts, axis=1)

    return {
        "banks": step(lambda: [layer(features) for layer in layers], variables, FLAGS.jit),
        "one product": step(one_product, variables, FLAGS.jit),
    }


def in_turns(functions: dict, rounds: int, steps: int = 3) -> dict[str, float]:
    """The median time of each in ms."""
    times: dict[str, list] = {name: [] for name in functions}
    for function in functions.values():
        function()
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            for _ in range(steps):
                function()
            times[name].append((time.process_time() - start) / steps)
    return {name: float(np.median(measured)) * 1e3 for name, measured in times.items()}


def peak(case: str, experts: int, tasks: int) -> float:
    """Peak memory of one case in MiB, measured in a new process."""
    sizes = [f"--experts={experts}", f"--tasks={tasks}", f"--jit={FLAGS.jit}"]
    command = [sys.executable, "-m", "benchmarks.mixtures", f"--case={case}", *sizes]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def main(argv):
    """Measure and print."""
    del argv
    experts, tasks = [[int(n) for n in numbers] for numbers in (FLAGS.experts, FLAGS.tasks)]
    if FLAGS.case:
        run = step_of(CASES[FLAGS.case](experts[-1], tasks[-1]), ROWS_FOR_MEMORY, FLAGS.jit)
        for _ in range(3):
            run()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return

    # First, since a new process inherits the peak of this one.
    memory = {name: peak(name, experts[-1], tasks[-1]) for name in CASES} if FLAGS.memory else {}

    print(f"CPU time {'with' if FLAGS.jit else 'without'} XLA: trunk in ms, then ratios to it;")
    print("last, the first level of PLE as one product, as a ratio to banks")
    print("".join(f"{name:>16}" for name in ["N, T", *CASES, "one product"]))
    for count in experts:
        for number in tasks:
            models = {name: make(count, number) for name, make in CASES.items()}
            steps = {name: step_of(model, BATCH, FLAGS.jit) for name, model in models.items()}
            times = in_turns(steps, FLAGS.rounds)
            level = in_turns(banks(count, number), FLAGS.rounds)
            line = f"{f'{count}, {number}':>16}{times['trunk']:16.2f}"
            line += "".join(f"{times[n] / times['trunk']:16.2f}" for n in CASES if n != "trunk")
            print(line + f"{level['one product'] / level['banks']:16.2f}", flush=True)
            keras.backend.clear_session()

    if memory:
        print(
            f"\nPeak resident memory, MiB, N, T = {experts[-1]}, {tasks[-1]}, and above the trunk"
        )
        for name, measured in memory.items():
            print(f"{name:>16}{measured:16.0f}{measured - memory['trunk']:+16.0f}")


if __name__ == "__main__":
    app.run(main)
