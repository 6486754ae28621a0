"""What is a trunk worth that has seen ImageNet, if there are few labels?

    python -m mtlzoo.data stamps --download   # once: 160.9 MB
    python -m recipes.image_transfer --download --out=runs/image_transfer

Trains three tasks on the pictures of stamps with 50, 100, 200 and all training rows, always with
EfficientNet-Lite0 as the shared trunk:

* `frozen`: with the weights of ImageNet, and only the heads are trained. The trunk then gives the
  same features in every step, and so they are computed once;
* `gradual`: with the same weights; first the heads are trained, then the last stages too, then all;
* `scratch`: all of it, from random weights.

All make the same number of updates, with a learning rate that falls to zero as a cosine does, and
are tested as they are after the last one: rows for choosing an epoch would be more labels than some
have to learn from. Every seed draws another division and other rows; smaller sets are parts of the
larger ones. With 115 test stamps results differ much from seed to seed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from mtlzoo import HardSharing, data, pretrained, training
from mtlzoo.backbones import EfficientNetLite0
from recipes.parts import job, strategies
from recipes.parts.label_curves import print_scores, scores_over_labels, spreads
from recipes.parts.training import Progress

FLAGS = job.define_flags(
    out="runs/image_transfer",
    data_dir=(None, "Where prepared data is kept."),
    download=(False, "Whether that package may be fetched."),
    seeds=(3, "Divisions, and trainings of each model."),
    batch_size=32,
    learning_rate=(None, "Adam's, instead of each method's own."),
)
flags.DEFINE_string("weights", None, "The package of the weights, or a folder with it.")
flags.DEFINE_list("rows", ["50", "100", "200", "all"], "Numbers of training rows.")
flags.DEFINE_list("methods", ["frozen", "gradual", "scratch"], "What to compare.")
flags.DEFINE_integer("steps", 120, "Updates of each model.", lower_bound=4)
flags.DEFINE_enum("part", "test", ["valid", "test"], "What the models are scored on.")

# That of `frozen`, which takes seconds, was the best of 0.001, 0.003 and 0.01 on the validation
# data of the first division; those of the others were not chosen.
LEARNING_RATES = {"frozen": 3e-3, "gradual": 1e-3, "scratch": 1e-3}
#: Of `gradual`, from the input on. The last is trained from the second phase on, all in the third.
GROUPS = [["stem*", "stage_[1-5]*"], ["stage_[67]*", "head*"]]
PHASES = 4
MEAN = "mean of the tasks"

#: By part of the data a batch of pictures and labels that holds all of it.
Stamps = Mapping[str, tuple[np.ndarray, dict[str, np.ndarray]]]


def main(_) -> None:
    out = job.begin()
    progress = Progress(len(FLAGS.methods) * len(FLAGS.rows) * FLAGS.seeds, PHASES)
    runs: dict[str, dict[str, dict[str, list[float]]]] = {}  # by task, method and number of rows
    for seed in range(FLAGS.seeds):
        tasks, stamps = load(seed)
        order = np.random.default_rng(seed).permutation(len(stamps["train"][0]))
        for name in FLAGS.methods:
            seen = through_trunk(stamps) if name == "frozen" else stamps
            for count in FLAGS.rows:
                rows = order if count == "all" else order[: int(count)]
                model = build(name, tasks, seen, seed)
                scores = fit(model, name, seen, rows, seed, progress)
                for task, score in (scores | {MEAN: float(np.mean([*scores.values()]))}).items():
                    of_method = runs.setdefault(task, {}).setdefault(name, {})
                    of_method.setdefault(count, []).append(score)
    report = spreads(runs)
    print_scores(report, "rows")
    scores_over_labels(out / "labels.png", report, "training rows")
    job.end(out, report, "labels.png")


# --- Data --------------------------------------------------------------------------------------


def load(seed: int) -> tuple[list[Any], Stamps]:
    """The tasks, and the pictures and labels of a division."""
    loaded = data.load("stamps", batch_size=10_000, data_seed=seed, data_dir=FLAGS.data_dir)
    parts = {}
    for name in ("train", FLAGS.part):
        ((x, y, _),) = getattr(loaded, name)
        parts[name] = (x["image"].numpy(), {task: labels.numpy() for task, labels in y.items()})
    return loaded.tasks, parts


def through_trunk(stamps: Stamps) -> Stamps:
    """The features of the frozen trunk in place of the pictures."""
    network = trunk(stamps["train"][0].shape[1:])
    return {name: (network.predict(x, verbose=0), y) for name, (x, y) in stamps.items()}


def batches(x: np.ndarray, y: Mapping[str, np.ndarray], seed: int) -> tf.data.Dataset:
    """Full batches without end: one of few rows would spoil the statistics of normalization."""
    rows = tf.data.Dataset.from_tensor_slices((x, dict(y))).shuffle(len(x), seed)
    return rows.repeat().batch(FLAGS.batch_size, drop_remainder=True)


# --- Models ------------------------------------------------------------------------------------


def trunk(shape: Sequence[int], random: bool = False) -> EfficientNetLite0:
    """The trunk for pictures whose white is 1."""
    if random:
        return EfficientNetLite0(shape, max_pixel=1.0)
    files = {"raw_files": FLAGS.weights, "download": FLAGS.download}
    return pretrained.load("efficientnet_lite0", input_shape=shape, max_pixel=1.0, **files)


def build(name: str, tasks: Sequence[Any], stamps: Stamps, seed: int) -> HardSharing:
    """A compiled model; of `frozen` the heads alone."""
    keras.utils.set_random_seed(seed)
    rate = FLAGS.learning_rate or LEARNING_RATES[name]
    inputs = keras.Input(stamps["train"][0].shape[1:], name="image")
    with strategies.scope():
        backbone = None if name == "frozen" else trunk(inputs.shape[1:], name == "scratch")
        model = HardSharing(inputs, tasks, backbone=backbone, name=name)
        schedule = keras.optimizers.schedules.CosineDecay(rate, FLAGS.steps)
        model.compile(keras.optimizers.Adam(schedule))
    return model


def fit(
    model: HardSharing, name: str, stamps: Stamps, rows: np.ndarray, seed: int, progress: Progress
) -> dict[str, float]:
    """Train on some of the rows, and give each task's deciding metric."""
    x, y = stamps["train"]
    unfreezing = [training.GradualUnfreezing(GROUPS)] if name == "gradual" else []
    model.fit(
        batches(x[rows], {task: labels[rows] for task, labels in y.items()}, seed),
        epochs=PHASES,
        steps_per_epoch=-(-FLAGS.steps // PHASES),
        shuffle=False,  # the data set reshuffles itself
        callbacks=[progress, *unfreezing],
        verbose=0,
    )
    x, y = stamps[FLAGS.part]
    logs = model.evaluate(x, y, batch_size=256, return_dict=True, verbose=0)
    scores = {task: logs[f"{task}_{model.tasks[task].monitor}"] for task in model.task_names}
    found = ", ".join(f"{task} {value:.4f}" for task, value in scores.items())
    progress.finish(f"{name}, {len(rows)} rows, seed {seed}: {found}")
    return scores


if __name__ == "__main__":
    strategies.run(main)
