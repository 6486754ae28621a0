"""What a pipeline's schedule costs and saves: time of exclusive stages, and memory.

    python -m benchmarks.pipeline                # stages that sleep
    python -m benchmarks.pipeline --memory       # peak memory of schedules, a process for each
    python -m benchmarks.pipeline --compute      # stages that compute, on two logical CPUs

**Simulated:** logical CPU devices are no processors of their own, and TensorFlow runs on all cores
whatever is ready. So the first table has stages that sleep, for a fixed time each pass forward and
twice that backward: a sleeping stage takes nothing from the others, and the pipeline itself has
each stage do one thing at a time, as an accelerator would. What is measured is the time of whole
training steps, with losses and update; what is simulated is the work of the stages.

**Measured:** the third table is of real work on the cores that there are.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import resource
import subprocess
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from mtlzoo import MultiTaskModel, PCGrad, Regression, distribution

FLAGS = flags.FLAGS
flags.DEFINE_bool("memory", False, "Measure peak memory.")
flags.DEFINE_bool("compute", False, "Measure the time of real work.")
flags.DEFINE_string("case", None, "Run this case of the memory alone and print its peak in MiB.")
flags.DEFINE_float("sleep", 0.03, "Seconds of a stage forward, for one micro-batch.")
flags.DEFINE_integer("rounds", 5, "Rounds of measurements; the medians are compared.")

WIDTH, DEPTH, ROWS = 512, 24, 4096  # of the network whose memory is measured


class Sleeps(keras.layers.Layer):
    """Hands its input on after a while, and the gradient after twice as long."""

    def __init__(self, seconds: float, **kwargs) -> None:
        super().__init__(**kwargs)
        self.seconds = seconds

    def build(self, input_shape) -> None:
        """A factor to learn, without which nothing would go backward."""
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, inputs, training=None):
        """The input, times a number."""
        product = inputs * self.factor  # first, so that its gradient has to wait
        return _after(self.seconds, 2 * self.seconds)(product) if training else product


def _after(forward: float, backward: float):
    def sleep(tensor, seconds):
        def wait(value):
            time.sleep(seconds)
            return value

        # TensorFlow runs calls that have a state one after the other.
        (waited,) = tf.numpy_function(wait, [tensor], [tensor.dtype], stateful=False)
        waited.set_shape(tensor.shape)
        return waited

    @tf.custom_gradient
    def run(tensor):
        return sleep(tensor, forward), lambda gradient: sleep(gradient, backward)

    return run


def tasks() -> list:
    """Two tasks without metrics."""
    return [Regression("first", metrics=[]), Regression("second", metrics=[])]


def sleeping(stages: int) -> MultiTaskModel:
    """A chain of stages that sleep."""
    inputs = keras.Input((4,))
    features = inputs
    for i in range(stages):
        features = Sleeps(FLAGS.sleep, name=f"stage_{i}")(features)
    features = keras.layers.Identity(name="end")(features)
    return MultiTaskModel(inputs, {t.name: t.head(features) for t in tasks()}, tasks=tasks())


def seconds_of_step(model: MultiTaskModel, rows: int, width: int) -> float:
    """Median wall time of a training step."""
    x = tf.constant(np.random.default_rng(0).normal(size=(rows, width)), "float32")
    data = (x, {t.name: tf.zeros((rows, 1)) for t in tasks()}, None)
    step = tf.function(model.train_step, jit_compile=False)
    step(data)
    found = []
    for _ in range(FLAGS.rounds):
        started = time.perf_counter()
        step(data)
        found.append(time.perf_counter() - started)
    return float(np.median(found))


def show_sleeping() -> None:
    """Print the makespan of schedules, beside what they say themselves."""
    print(f"A stage sleeps {FLAGS.sleep * 1e3:.0f} ms forward and twice that backward.")
    print(
        "schedule  stages  micro-batches  ideal, ms  measured, ms  bubble (p-1)/(m+p-1)  measured"
        "  utilization  in flight"
    )
    for name in ("gpipe", "1f1b"):
        for stages, parts in ((2, 4), (2, 8), (3, 6), (4, 4), (4, 16)):
            model = sleeping(stages)
            at = [f"stage_{i}" for i in range(stages - 1)]
            distribution.pipeline(model, at, parts, schedule=name)
            model.compile("sgd", balancer="equal", jit_compile=False)
            taken = seconds_of_step(model, 32, 4)
            schedule = distribution.Schedule(name, stages, parts)
            ideal = schedule.makespan(FLAGS.sleep, 2 * FLAGS.sleep)
            busy = ideal * (1 - schedule.bubble())
            print(
                f"{name:<8}  {stages:6}  {parts:13}  {ideal * 1e3:9.0f}  {taken * 1e3:12.0f}  "
                f"{(stages - 1) / (parts + stages - 1):20.3f}  {1 - busy / taken:8.3f}  "
                f"{busy / taken:11.2f}  {schedule.in_flight()}",
                flush=True,
            )


def deep(width: int = WIDTH, depth: int = DEPTH) -> MultiTaskModel:
    """Many layers of equal width."""
    inputs = keras.Input((width,))
    features = inputs
    for i in range(depth):
        features = keras.layers.Dense(width, "gelu", name=f"layer_{i}")(features)
    return MultiTaskModel(inputs, {t.name: t.head(features) for t in tasks()}, tasks=tasks())


def cuts(stages: int, depth: int = DEPTH) -> list[str]:
    """Layers that cut `deep` into equal stages."""
    return [f"layer_{depth * i // stages - 1}" for i in range(1, stages)]


CASES = {
    "whole batch": lambda model: None,
    "rematerialized, 4 stages": lambda model: distribution.rematerialize(model, cuts(4)),
    "rematerialized, 6 stages": lambda model: distribution.rematerialize(model, cuts(6)),
    "gpipe, 4 stages, 8 parts": lambda model: distribution.pipeline(model, cuts(4), 8),
    "gpipe, rematerialized": lambda model: distribution.pipeline(
        model, cuts(4), 8, rematerialize=True
    ),
    "1f1b, 4 stages, 8 parts": lambda model: distribution.pipeline(
        model, cuts(4), 8, schedule="1f1b"
    ),
}
BALANCERS = {"equal": lambda: "equal", "features": lambda: PCGrad(wrt="features")}


def show_memory() -> None:
    """Print the peak memory of each case above that of a step with few rows."""
    if FLAGS.case:
        name, balancer, rows = FLAGS.case.split("|")
        model = deep()
        CASES[name](model)
        model.compile("sgd", balancer=BALANCERS[balancer](), jit_compile=False)
        seconds_of_step(model, int(rows), WIDTH)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    mebibytes = ROWS * WIDTH * 4 / 2**20
    print(
        f"Peak resident memory with {ROWS} rows above that with 8, MiB; {DEPTH} layers of {WIDTH}, "
        f"whose output is {mebibytes:.0f} MiB each"
    )
    print("".ljust(26) + "".join(f"{name:>10}" for name in BALANCERS))
    for name in CASES:
        line = name.ljust(26)
        for balancer in BALANCERS:
            least, most = (_peak(name, balancer, rows) for rows in (8, ROWS))
            line += f"{most - least:10.0f}"
        print(line, flush=True)


def _peak(name: str, balancer: str, rows: int) -> float:
    command = [sys.executable, "-m", "benchmarks.pipeline", "--memory", "--rounds=2"]
    command += [f"--case={name}|{balancer}|{rows}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def show_compute() -> None:
    """Print the time of steps in stages on two logical CPUs, beside that of the whole batch."""
    print("Step time beside that of the whole batch; 2 logical CPUs, one core for each operation")
    models = {}
    for name, plan in {
        "whole batch": lambda model: None,
        "placed, half by half": lambda model: distribution.place(
            model, {f"layer_{i}": f"CPU:{i // 4}" for i in range(8)}
        ),
        "rematerialized": lambda model: distribution.rematerialize(model, cuts(4, 8)),
        "gpipe, 4 parts": lambda model: _two_stages(model, "gpipe"),
        "1f1b, 4 parts": lambda model: _two_stages(model, "1f1b"),
    }.items():
        models[name] = deep(depth=8)
        plan(models[name])
        models[name].compile("sgd", balancer=PCGrad(wrt="features"), jit_compile=False)
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(FLAGS.rounds):  # in turns
        for name, model in models.items():
            found[name].append(seconds_of_step(model, 1024, WIDTH))
    for name, times in found.items():
        ratios = np.array(times) / np.array(found["whole batch"])
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        print(f"{name:<22} {middle:.2f} ({low:.2f} to {high:.2f})", flush=True)


def _two_stages(model: MultiTaskModel, schedule: str) -> None:
    devices = ["CPU:0", "CPU:1"]
    distribution.pipeline(model, cuts(2, 8), 4, schedule=schedule, devices=devices)


def main(_) -> None:
    """Measure and print."""
    if FLAGS.compute:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
        show_compute()
    elif FLAGS.memory:
        show_memory()
    else:
        # Each stage that sleeps holds a thread.
        tf.config.threading.set_inter_op_parallelism_threads(16)
        show_sleeping()


if __name__ == "__main__":
    app.run(main)
