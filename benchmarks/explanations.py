"""Explanations per second of `analysis.explain`, beside tf-keras-vis called on the same view.

Prints the CPU time of explaining a batch of pictures by tf-keras-vis, called directly on the task's
view with what it needs to be right (the tapped layer, scores, two columns for Score-CAM), and by
`explain`, as a ratio to that; run in turns in one process. A network of Multi-Fashion's size. For
integrated gradients, which tf-keras-vis has not, the time of a plain loop over `tf.GradientTape`,
one step of the line at a time and the pictures as a batch.

    python -m benchmarks.explanations [--batch=1,32] [--rounds=9]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from mtlzoo import Classification, HardSharing
from mtlzoo.analysis import explain, task_view
from mtlzoo.analysis.explanation.maps import tf_keras_vis
from mtlzoo.backbones import ConvNet

FLAGS = flags.FLAGS
flags.DEFINE_list("batch", ["1", "32"], "Pictures in a batch.")
flags.DEFINE_integer("rounds", 9, "Rounds of measurements; the medians are compared.")

SIZE, STEPS, SAMPLES = (36, 36, 1), 32, 8
LAYER = "conv_1_activation"


def main(_) -> None:
    tasks = [Classification("left", 10), Classification("right", 10)]
    model = HardSharing(keras.Input(SIZE, name="image"), tasks, backbone=ConvNet(SIZE))
    view = tapped(task_view(model, "left"))
    print(f"{'method':22}{'batch':>6}{'direct, per s':>15}{'explain, per s':>16}{'ratio':>8}")
    for batch in map(int, FLAGS.batch):
        x = np.random.default_rng(0).uniform(size=(batch, *SIZE)).astype("float32")
        for method, call in direct(view, x).items():
            options: dict[str, Any] = {"method": method, "steps": STEPS, "samples": SAMPLES}
            both = {
                "direct": call,
                "explain": lambda o=options, x=x: explain(
                    model, "left", x, target=3, batch_size=32, **o
                ),
            }
            seconds = measured(both)
            speeds = {name: batch / s for name, s in seconds.items()}
            ratio = seconds["explain"] / seconds["direct"]
            print(
                f"{method:22}{batch:6}{speeds['direct']:15.1f}{speeds['explain']:16.1f}{ratio:8.2f}",
                flush=True,
            )


class Silent(keras.Model):
    """A model whose `predict` shows no bar."""

    def predict(self, x, batch_size=None):
        """As of Keras."""
        return super().predict(x, batch_size=batch_size, verbose=0)


def tapped(view: keras.Model) -> keras.Model:
    """The view with a layer after the last activation, whose output belongs to this graph only."""

    def operation(layer):
        def call(*args, **kwargs):
            outputs = layer(*args, **kwargs)
            return keras.layers.Identity(name="tap")(outputs) if layer.name == LAYER else outputs

        return call

    inputs = [keras.Input(SIZE, name="picture")]  # a list, as tf-keras-vis calls it
    return keras.Model(inputs, view._run_through_graph(inputs, operation_fn=operation))


def direct(view: keras.Model, x: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Calls of tf-keras-vis by method, and a loop for integrated gradients."""
    score = tf_keras_vis("utils.scores", "CategoricalScore")([3] * len(x))
    options = {
        "penultimate_layer": "tap",
        "seek_penultimate_conv_layer": False,
        "normalize_cam": False,
    }
    makers = {
        "grad_cam": tf_keras_vis("gradcam", "Gradcam")(view),
        "grad_cam_pp": tf_keras_vis("gradcam_plus_plus", "GradcamPlusPlus")(view),
        "layer_cam": tf_keras_vis("layercam", "Layercam")(view),
        "score_cam": tf_keras_vis("scorecam", "Scorecam")(Silent(view.inputs, view.outputs)),
    }
    saliency = tf_keras_vis("saliency", "Saliency")(view)
    calls = {n: lambda make=make: make(score, x, **options) for n, make in makers.items()}
    calls["saliency"] = lambda: saliency(score, x, normalize_map=False)
    calls["smooth_grad"] = lambda: saliency(
        score, x, smooth_samples=SAMPLES, smooth_noise=0.1, normalize_map=False
    )

    @tf.function
    def gradient(between):
        with tf.GradientTape() as tape:
            tape.watch(between)
            value = view([between])[:, 3]
        return tape.gradient(value, between)

    def integrated():
        shares = (np.arange(STEPS, dtype="float32") + 0.5) / STEPS
        return x * sum(gradient(tf.constant(share * x)).numpy() for share in shares) / STEPS

    return {**calls, "integrated_gradients": integrated}


def measured(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The median CPU seconds of a call, of all in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(FLAGS.rounds):
        for name, call in calls.items():
            started = time.process_time()
            call()
            times[name].append(time.process_time() - started)
    return {name: float(np.median(values)) for name, values in times.items()}


if __name__ == "__main__":
    app.run(main)
