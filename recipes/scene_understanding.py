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

import keras
import numpy as np
from absl import flags, logging

from mtlzoo import MTAN, CrossStitch, HardSharing, MultiTaskModel, data
from mtlzoo.backbones import ResNet
from mtlzoo.data import scene_folders, scene_sets
from mtlzoo.data.scene_frames.frames import CLASSES
from recipes import scene_pictures, strategies
from recipes.comparison import train, write
from recipes.training import Progress, print_aligned

_OUT = flags.DEFINE_string("out", "runs/scene_understanding", "Folder to write to.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of NYUv2 or Cityscapes, or with --tfds that of TensorFlow Datasets."
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", 13, "Classes of the data in --data_dir, without --tfds."
)
_TFDS = flags.DEFINE_list("tfds", [], "Names of sets of TensorFlow Datasets.")
_SIZE = flags.DEFINE_list("size", ["128", "256"], "Height and width of pictures of --tfds.")
_FRAME = flags.DEFINE_enum(
    "frame", "arc2017", ["arc2017", "motorcycle"], "The frame without --data_dir and --tfds."
)
_CROPS = flags.DEFINE_integer("crops", 256, "Training crops of the frame.", lower_bound=8)
_CROP = flags.DEFINE_integer("crop", 96, "Pixels of a side of a crop.", lower_bound=16)
_EPOCHS = flags.DEFINE_integer("epochs", 8, "Epochs of each model.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Pictures in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 2e-3, "Adam's learning rate.")
_BALANCER = flags.DEFINE_string("balancer", "equal", "Balancer of the models.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights and of the order of pictures.")
_BLOCKS = flags.DEFINE_list("blocks", ["1", "1", "1"], "Blocks of each stage.")
_WIDTHS = flags.DEFINE_list("widths", ["16", "24", "32"], "Channels of each stage.")
_OUTPUT_STRIDE = flags.DEFINE_integer("output_stride", 4, "Pixels that a cell stands for.")
_ASPP_FILTERS = flags.DEFINE_integer("aspp_filters", 24, "Channels of the pyramid pooling.")
_DECODER = flags.DEFINE_enum(
    "decoder", "shared", ["shared", "aspp"], "One pyramid pooling for all, or one for each task."
)
_ASPP_RATES = flags.DEFINE_list("aspp_rates", ["2", "4", "6"], "Rates of the pyramid pooling.")

ARCHITECTURES: dict[str, type[MultiTaskModel]] = {
    "hard sharing": HardSharing,
    "MTAN": MTAN,
    "cross-stitch": CrossStitch,
}
DRAWN = 4  # test pictures


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)  # TensorFlow warns of the tracing of several models
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    scenes = load()
    report = {}
    progress = Progress(len(ARCHITECTURES), _EPOCHS.value)
    for name, architecture in ARCHITECTURES.items():
        model, result = train(
            lambda architecture=architecture: architecture(
                scenes.inputs, scenes.tasks, backbone=backbone(scenes)
            ),
            scenes,
            epochs=_EPOCHS.value,
            learning_rate=_LEARNING_RATE.value,
            seed=_SEED.value,
            balancer=_BALANCER.value,
            progress=progress,
        )
        report[name] = {
            "metrics": metrics_of(result.scores),
            "parameters": result.parameters,
            "seconds": result.seconds,
            "epoch": result.epoch,
        }
        draw(name, model, scenes, out)
    print_table(report)
    write(out, report)
    print(f"\nWritten to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def load() -> data.Loaded:
    """The scenes, with tasks that have the decoders of `--decoder`."""
    scenes = read()
    if _DECODER.value == "shared":
        return scenes
    filters = _ASPP_FILTERS.value
    decoder = {"aspp_filters": filters, "aspp_rates": rates(), "head_units": (filters,)}
    tasks = [type(task).from_config({**task.get_config(), **decoder}) for task in scenes.tasks]
    return dataclasses.replace(scenes, tasks=tasks)


def read() -> data.Loaded:
    """The scenes of `--tfds`, else of `--data_dir`, else crops of the frame."""
    if _TFDS.value:
        return scene_sets.load(
            _TFDS.value,
            size=tuple(map(int, _SIZE.value)),
            batch_size=_BATCH_SIZE.value,
            seed=_SEED.value,
            data_dir=_DATA_DIR.value,
        )
    if _DATA_DIR.value is not None:
        return scene_folders.load(
            _DATA_DIR.value,
            num_classes=_NUM_CLASSES.value,
            batch_size=_BATCH_SIZE.value,
            seed=_SEED.value,
        )
    return data.load(
        "scene_frames",
        frame=_FRAME.value,
        crop=_CROP.value,
        crops=_CROPS.value,
        batch_size=_BATCH_SIZE.value,
        seed=_SEED.value,
    )


def has_one_frame() -> bool:
    """Whether the scenes are crops of the frame."""
    return _DATA_DIR.value is None and not _TFDS.value


def rates() -> tuple[int, ...]:
    """Those of the pyramid pooling."""
    return tuple(map(int, _ASPP_RATES.value))


def backbone(scenes: data.Loaded) -> ResNet:
    """A dilated residual network, with pyramid pooling if it is shared; heads resize its map to the
    picture.
    """
    return ResNet(
        scenes.inputs.shape[1:],
        blocks=tuple(map(int, _BLOCKS.value)),
        widths=tuple(map(int, _WIDTHS.value)),
        stem="large",
        output_stride=_OUTPUT_STRIDE.value,
        pooled=False,
        aspp_filters=_ASPP_FILTERS.value if _DECODER.value == "shared" else None,
        aspp_rates=rates(),
    )


def metrics_of(scores: dict[str, float]) -> dict[str, float]:
    """All scores but the losses."""
    return {name: value for name, value in scores.items() if not name.endswith("loss")}


def print_table(report: dict[str, dict]) -> None:
    """Print a line for each metric, and what it says about other scenes."""
    rows = [["", *report]]
    for metric in next(iter(report.values()))["metrics"]:
        rows.append([metric, *(f"{found['metrics'][metric]:.4f}" for found in report.values())])
    rows.append(["parameters", *(f"{found['parameters']:,}" for found in report.values())])
    rows.append(["training, s", *(f"{found['seconds']:.0f}" for found in report.values())])
    print()
    print_aligned(rows)
    if has_one_frame():
        print(
            f"\nCrops of one frame, {_FRAME.value}, for training and testing: this shows that the "
            "models learn, not that they generalise."
        )


def draw(name: str, model: MultiTaskModel, scenes: data.Loaded, out: pathlib.Path) -> None:
    """Draw what is true of the first test pictures, and what the model says about them."""
    x, y, _ = next(iter(scenes.test.unbatch().batch(DRAWN)))
    raw = model.predict(x, verbose=0)
    served = {}
    for task in scenes.tasks:
        served |= {k: keras.ops.convert_to_numpy(v) for k, v in task.serve(raw[task.name]).items()}
    classes = {task.name: getattr(task, "num_classes", 0) for task in scenes.tasks}
    names = CLASSES if has_one_frame() else range(classes.get("segmentation", 0))
    scene_pictures.dense(
        out / f"{name.replace(' ', '_')}.png",
        name,
        np.asarray(x),
        {task: np.asarray(labels) for task, labels in y.items()},
        served,
        [str(n) for n in names],
    )


if __name__ == "__main__":
    strategies.run(main)
