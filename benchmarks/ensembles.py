"""What an ensemble in one graph costs, beside a Python loop over the models, and beside one model.

Prints the CPU time of answering a batch as ratios to that of one model, run in turns in one
process: the ensemble by its own graph, and the same mean of the models' outputs with a call of each
model's graph and NumPy; both once more compiled by XLA. Fully connected models of the sizes given.

    python -m benchmarks.ensembles [--members=2,5,10] [--units=64,1024] [--batch=1,256]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from mtlzoo import BinaryClassification, Classification, HardSharing, MultiTaskModel, Regression
from mtlzoo.ensembles import Ensemble

FLAGS = flags.FLAGS
flags.DEFINE_list("members", ["2", "5", "10"], "Numbers of models.")
flags.DEFINE_list("units", ["64", "1024"], "Units of both layers of a model.")
flags.DEFINE_list("batch", ["1", "256"], "Rows in a batch.")
flags.DEFINE_integer("rounds", 15, "Rounds of measurements; the medians are compared.")

FEATURES, SECONDS = 64, 0.05  # how long a measurement takes at least


def one_model(units: int) -> MultiTaskModel:
    """A model of three tasks."""
    tasks = [BinaryClassification("click"), Classification("kind", 10), Regression("stay")]
    inputs = keras.Input((FEATURES,), name="features")
    return HardSharing(inputs, tasks, shared_units=(units, units))


def answering(model: MultiTaskModel, jit: bool) -> Callable:
    """The probabilities and values that a model answers, as a graph."""

    @tf.function(jit_compile=jit)
    def answers(rows):
        outputs = model(rows, training=False)
        return {name: task.serve(outputs[name])[name] for name, task in model.tasks.items()}

    return answers


def loop(models: Sequence[MultiTaskModel], jit: bool) -> Callable:
    """The mean of the answers of each model, in Python."""
    calls = [answering(model, jit) for model in models]

    def answers(rows):
        found = [call(rows) for call in calls]
        return {name: np.mean([each[name].numpy() for each in found], 0) for name in found[0]}

    return answers


def measured(calls: dict[str, Callable], rows: tf.Tensor) -> dict[str, float]:
    """The median CPU seconds of a call, of all in turns."""
    repeats = {}
    for name, call in calls.items():
        wait(call(rows))
        started = time.process_time()
        wait(call(rows))
        repeats[name] = max(1, int(SECONDS / (time.process_time() - started)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(FLAGS.rounds):
        for name, call in calls.items():
            started = time.process_time()
            for _ in range(repeats[name]):
                wait(call(rows))
            times[name].append((time.process_time() - started) / repeats[name])
    return {name: float(np.median(values)) for name, values in times.items()}


def wait(answers: dict) -> None:
    """Until they are there."""
    for value in answers.values():
        np.asarray(value)


def main(_) -> None:
    tf.get_logger().setLevel("ERROR")  # it warns of the tracing of several models
    rng = np.random.default_rng(0)
    threads = os.environ.get("TF_NUM_INTRAOP_THREADS", "all")
    print(f"CPU ms of one model, and of the others as ratios to it ({threads} threads)")
    print(f"{'units':>6} {'rows':>5} {'models':>6} {'one':>8} {'graph':>7} {'loop':>7}", end="")
    print(f" {'graph, XLA':>11} {'loop, XLA':>10} {'loop/graph':>11}")
    for units in map(int, FLAGS.units):
        models = [one_model(units) for _ in range(max(map(int, FLAGS.members)))]
        for batch in map(int, FLAGS.batch):
            rows = tf.constant(rng.normal(size=(batch, FEATURES)).astype("float32"))
            for count in map(int, FLAGS.members):
                ensemble = Ensemble(models[:count])
                calls = {"one": answering(models[0], False)}
                for jit, text in ((False, ""), (True, ", XLA")):
                    calls[f"graph{text}"] = answering(ensemble, jit)
                    calls[f"loop{text}"] = loop(models[:count], jit)
                found = [call(rows) for call in calls.values()][1:]
                for each in found[1:]:
                    np.testing.assert_allclose(each["kind"], found[0]["kind"], atol=1e-5)
                took = measured(calls, rows)
                ratios = {name: value / took["one"] for name, value in took.items()}
                print(
                    f"{units:6} {batch:5} {count:6} {1e3 * took['one']:8.3f} "
                    f"{ratios['graph']:7.2f} {ratios['loop']:7.2f} {ratios['graph, XLA']:11.2f} "
                    f"{ratios['loop, XLA']:10.2f} {ratios['loop'] / ratios['graph']:11.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    app.run(main)
