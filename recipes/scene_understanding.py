"""What is it, how far is it, which way does it face: three dense tasks with one network.

    python -m recipes.scene_understanding --data_dir=~/nyuv2
    python -m recipes.scene_understanding --data_dir=~/cityscapes --num_classes=7
    python -m recipes.scene_understanding --tfds=nyu_depth_v2,cityscapes/semantic_segmentation
    python -m mtlzoo.data scene_frames --download   # once: 8 and 14 MB
    python -m recipes.scene_understanding --frame=arc2017

Trains hard parameter sharing, MTAN and cross-stitch networks on semantic segmentation, depth and
surface normals, with a dilated residual network and atrous spatial pyramid pooling, which is shared
or, with `--decoder=aspp`, each task's own, with a convolution after it. `--data_dir` is
NYUv2 or Cityscapes (which has no normals) as the authors of MTAN publish them, see
`mtlzoo/data/scene_folders.py`; you fetch them yourself. `--tfds` names sets of TensorFlow Datasets,
see `mtlzoo/data/scene_sets.py`, which `tfds build` prepares. With neither the recipe takes random
crops of one real frame, for training and for testing: that shows that it learns, not that it
generalises.
Prints all metrics of each model and draws its answers.
"""

import dataclasses
import pathlib
from collections.abc import Callable

from absl import flags, logging

from mtlzoo import MTAN, CrossStitch, HardSharing, MultiTaskModel, data
from mtlzoo.backbones import ResNet
from mtlzoo.data import scene_folders, scene_sets
from mtlzoo.data.scene_frames.frames import CLASSES
from recipes.parts import job, scene_pictures, strategies
from recipes.parts.comparison import Run, over_seeds
from recipes.parts.tables import print_metrics

FLAGS = job.define_flags(
    out="runs/scene_understanding",
    data_dir=(None, "Folder of NYUv2 or Cityscapes, or with --tfds that of TensorFlow Datasets."),
    epochs=8,
    batch_size=(8, "Pictures in a batch."),
    learning_rate=2e-3,
    balancer="equal",
    seed=(0, "Seed of weights and of the order of pictures."),
)
flags.DEFINE_integer("num_classes", 13, "Classes of the data in --data_dir, without --tfds.")
flags.DEFINE_list("tfds", [], "Names of sets of TensorFlow Datasets.")
flags.DEFINE_list("size", ["128", "256"], "Height and width of pictures of --tfds.")
flags.DEFINE_enum(
    "frame", "arc2017", ["arc2017", "motorcycle"], "The frame without --data_dir and --tfds."
)
flags.DEFINE_integer("crops", 256, "Training crops of the frame.", lower_bound=8)
flags.DEFINE_integer("crop", 96, "Pixels of a side of a crop.", lower_bound=16)
flags.DEFINE_list("blocks", ["1", "1", "1"], "Blocks of each stage.")
flags.DEFINE_list("widths", ["16", "24", "32"], "Channels of each stage.")
flags.DEFINE_integer("output_stride", 4, "Pixels that a cell stands for.")
flags.DEFINE_integer("aspp_filters", 24, "Channels of the pyramid pooling.")
flags.DEFINE_enum(
    "decoder", "shared", ["shared", "aspp"], "One pyramid pooling for all, or one for each task."
)
flags.DEFINE_list("aspp_rates", ["2", "4", "6"], "Rates of the pyramid pooling.")

ARCHITECTURES: dict[str, type[MultiTaskModel]] = {
    "hard sharing": HardSharing,
    "MTAN": MTAN,
    "cross-stitch": CrossStitch,
}
DRAWN = 4  # test pictures


def main(_) -> None:
    out = job.begin(logging.ERROR)
    scenes = load()
    report: dict[str, dict] = {}

    def note(run: Run) -> None:
        found = run.result
        metrics = {key: value for key, value in found.scores.items() if not key.endswith("loss")}
        cost = {"parameters": found.parameters, "seconds": found.seconds, "epoch": found.epoch}
        report[run.name] = {"metrics": metrics, **cost}
        draw(out, run)

    train_all(scenes, note)
    print_metrics(report)
    if has_one_frame():
        print(f"\nCrops of one frame, {FLAGS.frame}, for training and testing: ", end="")
        print("this shows that the models learn, not that they generalise.")
    job.end(out, report, *sorted(path.name for path in out.glob("*.png")))


def load() -> data.Loaded:
    """The scenes, with tasks that have the decoders of `--decoder`."""
    scenes = read()
    if FLAGS.decoder == "shared":
        return scenes
    filters = FLAGS.aspp_filters
    decoder = {"aspp_filters": filters, "aspp_rates": rates(), "head_units": (filters,)}
    tasks = [type(task).from_config({**task.get_config(), **decoder}) for task in scenes.tasks]
    return dataclasses.replace(scenes, tasks=tasks)


def read() -> data.Loaded:
    """The scenes of `--tfds`, else of `--data_dir`, else crops of the frame."""
    order = {"batch_size": FLAGS.batch_size, "seed": FLAGS.seed}
    if FLAGS.tfds:
        height, width = map(int, FLAGS.size)
        return scene_sets.load(FLAGS.tfds, size=(height, width), data_dir=FLAGS.data_dir, **order)
    if FLAGS.data_dir is not None:
        return scene_folders.load(FLAGS.data_dir, num_classes=FLAGS.num_classes, **order)
    crops = {"frame": FLAGS.frame, "crop": FLAGS.crop, "crops": FLAGS.crops}
    return data.load("scene_frames", **crops, **order)


def has_one_frame() -> bool:
    """Whether the scenes are crops of the frame."""
    return FLAGS.data_dir is None and not FLAGS.tfds


def rates() -> tuple[int, ...]:
    """Those of the pyramid pooling."""
    return tuple(map(int, FLAGS.aspp_rates))


def backbone(scenes: data.Loaded) -> ResNet:
    """A dilated residual network, with pyramid pooling if it is shared; heads resize its map to the
    picture.
    """
    return ResNet(
        scenes.inputs.shape[1:],
        blocks=tuple(map(int, FLAGS.blocks)),
        widths=tuple(map(int, FLAGS.widths)),
        stem="large",
        output_stride=FLAGS.output_stride,
        pooled=False,
        aspp_filters=FLAGS.aspp_filters if FLAGS.decoder == "shared" else None,
        aspp_rates=rates(),
    )


def train_all(scenes: data.Loaded, after: Callable[[Run], None]) -> None:
    """Train all architectures; `after` is called after each."""
    over_seeds(
        lambda seed: scenes,
        {
            name: lambda _, make=make: make(scenes.inputs, scenes.tasks, backbone=backbone(scenes))
            for name, make in ARCHITECTURES.items()
        },
        seeds=[FLAGS.seed],
        epochs=FLAGS.epochs,
        learning_rate=FLAGS.learning_rate,
        balancer=FLAGS.balancer,
        after=after,
    )


def draw(out: pathlib.Path, run: Run) -> None:
    """Draw what is true of the first test pictures, and what the model says about them."""
    images, labels, served = scene_pictures.answers(run.models, run.loaded, DRAWN)
    classes = {task.name: getattr(task, "num_classes", 0) for task in run.loaded.tasks}
    names = CLASSES if has_one_frame() else range(classes.get("segmentation", 0))
    path = out / f"{run.name.replace(' ', '_')}.png"
    scene_pictures.dense(path, run.name, images, labels, served, [str(n) for n in names])


if __name__ == "__main__":
    strategies.run(main)
