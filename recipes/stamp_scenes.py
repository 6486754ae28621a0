"""Classify, segment, detect and count in one picture, with one network?

    python -m mtlzoo.data stamp_scenes --download   # once: 160.9 and 13.7 MB
    python -m recipes.stamp_scenes --out=runs/stamp_scenes

Trains one network per task, hard parameter sharing, MTAN and cross-stitch networks on scenes of one
to four cut-out photographs on photographs: which category the largest object has, the category of
every pixel, boxes with categories, and how many objects there are. All read the same small dilated
residual network. The validation data chooses each model's epoch; the test data is read once, at the
end. Prints a table and draws what each kind of model says about the first test scenes.
"""

import dataclasses
import pathlib

import keras
import numpy as np
from absl import flags, logging

from mtlzoo import MTAN, CrossStitch, HardSharing, MultiTaskModel, ObjectDetection, data
from mtlzoo.backbones import ResNet
from mtlzoo.data.stamp_scenes.material import CATEGORIES
from recipes import scene_pictures, strategies
from recipes.comparison import (
    SINGLE,
    Result,
    print_table,
    summarize,
    train,
    train_single_tasks,
    write,
)
from recipes.training import Progress

_OUT = flags.DEFINE_string("out", "runs/stamp_scenes", "Folder to write to.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data is kept.")
_SCENES = flags.DEFINE_integer("scenes", 3000, "Training scenes.", lower_bound=6)
_EPOCHS = flags.DEFINE_integer("epochs", 5, "Epochs of each model.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Trainings of each model.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Scenes in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 2e-3, "Adam's learning rate.")
_BALANCER = flags.DEFINE_string("balancer", "equal", "Balancer of the multi-task models.")
_WIDTHS = flags.DEFINE_list("widths", ["16", "24", "48"], "Channels of the three stages.")

HARD = "hard sharing"
ARCHITECTURES: dict[str, type[MultiTaskModel]] = {
    HARD: HardSharing,
    "MTAN": MTAN,
    "cross-stitch": CrossStitch,
}
DRAWN = 6  # test scenes


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)  # TensorFlow warns of the tracing of several models
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Result]] = {name: [] for name in [SINGLE, *ARCHITECTURES]}
    progress = None
    for seed in range(_SEEDS.value):
        scenes = load(seed)
        if progress is None:
            trainings = _SEEDS.value * (len(scenes.tasks) + len(ARCHITECTURES))
            progress = Progress(trainings, _EPOCHS.value)
        for name, (models, result) in train_all(scenes, seed, progress).items():
            results[name].append(result)
            if seed == 0:
                draw(name, models, scenes, out)
    report = summarize(results, scenes.tasks)
    print_table(report)
    write(out, report)
    print("\nOn the test data (single tasks: one network for each, parameters and time summed)")
    print(f"Written to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def load(seed: int) -> data.Loaded:
    """The scenes, the same for every seed, in another order."""
    scenes = data.load(
        "stamp_scenes",
        scenes=_SCENES.value,
        batch_size=_BATCH_SIZE.value,
        seed=seed,
        data_dir=_DATA_DIR.value,
    )
    # At most four objects: more candidates would only cost time in every evaluation.
    tasks = [
        ObjectDetection("boxes", task.num_classes, task.max_boxes, num_candidates=60)
        if isinstance(task, ObjectDetection)
        else task
        for task in scenes.tasks
    ]
    return dataclasses.replace(scenes, tasks=tasks)


def backbone(scenes: data.Loaded) -> ResNet:
    """A map of 16 x 16 cells for 64 x 64 pixels, which the heads read as it is or on average."""
    return ResNet(
        scenes.inputs.shape[1:],
        blocks=(1, 1, 1),
        widths=tuple(map(int, _WIDTHS.value)),
        stem="large",
        output_stride=4,
        pooled=False,
    )


def train_all(
    scenes: data.Loaded, seed: int, progress: Progress
) -> dict[str, tuple[dict[str, MultiTaskModel], Result]]:
    """By name the models that answer each task, and how well."""
    arguments = {
        "epochs": _EPOCHS.value,
        "learning_rate": _LEARNING_RATE.value,
        "seed": seed,
        "progress": progress,
    }
    trained = {
        SINGLE: train_single_tasks(
            lambda task: HardSharing(
                scenes.inputs, [task], backbone=backbone(scenes), name=f"single_task_{task.name}"
            ),
            scenes,
            **arguments,
        )
    }
    for name, architecture in ARCHITECTURES.items():
        model, result = train(
            lambda architecture=architecture: architecture(
                scenes.inputs, scenes.tasks, backbone=backbone(scenes)
            ),
            scenes,
            balancer=_BALANCER.value,
            **arguments,
        )
        trained[name] = dict.fromkeys(model.task_names, model), result
    return trained


def draw(name: str, models: dict, scenes: data.Loaded, out: pathlib.Path) -> None:
    """Draw what is true of the first test scenes, and what the models say about them."""
    x, y, _ = next(iter(scenes.test.unbatch().batch(DRAWN)))
    served = {}
    for task in scenes.tasks:
        raw = models[task.name].predict(x, verbose=0)[task.name]
        served |= {k: keras.ops.convert_to_numpy(v) for k, v in task.serve(raw).items()}
    y = {task: np.asarray(labels) for task, labels in y.items()}
    path = out / f"{name.replace(' ', '_')}.png"
    scene_pictures.scenes(path, name, np.asarray(x), y, served, CATEGORIES)


if __name__ == "__main__":
    strategies.run(main)
