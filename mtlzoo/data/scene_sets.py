"""Scenes out of TensorFlow Datasets (extra `datasets`), which are prepared there with `tfds build`.

By name what they give:

* `cityscapes/semantic_segmentation`: `segmentation`, the 19 classes that Cityscapes evaluates;
* `cityscapes/stereo_disparity`: `depth`, an inverse one, the disparity in hundreds of pixels. It is
  in whole pixels, since TensorFlow Datasets reads 8 of the files' 16 bits;
* `nyu_depth_v2`: `depth` in metres.

None of them has labels of two tasks. Where several are given, each picture has the labels of its
set, and those of the other tasks are missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mtlzoo.data.arguments import check_size
from mtlzoo.data.from_tfds.reading import library, mixed
from mtlzoo.data.loading import Loaded
from mtlzoo.data.pipeline import check_batching
from mtlzoo.data.scene_folders import loaded_of
from mtlzoo.data.scene_frames.loading import tasks_of

if TYPE_CHECKING:
    import tensorflow as tf

#: The ids of https://github.com/mcordts/cityscapesScripts that are evaluated, in their order there.
_EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
NUM_CLASSES = len(_EVALUATED)
#: Scenes that training rows are drawn from. They lie on the disk in random order already.
_SHUFFLED = 256
_SPLITS = {"train": "train[:90%]", "valid": "train[90%:]", "test": "validation"}


@dataclasses.dataclass(frozen=True)
class _Source:
    """A set: the names of its features, the task of its labels, and what makes them of these."""

    image: str
    label: str
    task: str
    read: Callable[[tf.Tensor], tf.Tensor]


def load(
    names: str | Sequence[str],
    *,
    size: tuple[int, int] = (128, 256),
    batch_size: int = 8,
    seed: int = 0,
    data_dir: str | Path | None = None,
) -> Loaded:
    """Load scenes of one or several sets.

    Args:
        names: one of `nyu_depth_v2`, `cityscapes/semantic_segmentation` and
            `cityscapes/stereo_disparity`, or a list of those whose tasks differ.
        size: height and width that pictures are averaged to; of the labels the nearest pixel is
            taken. Defaults to `(128, 256)`.
        batch_size: scenes in a batch; the last one of an epoch may be smaller. Defaults to 8.
        seed: of the order of the training scenes, which differs from epoch to epoch. Defaults to 0.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.

    Returns:
        The data set with the tasks of these sets. The last tenth of `train` is `valid`, and
        `validation` is `test`. What is missing is NaN, and 255 in segmentations.

    Raises:
        ValueError: an option has an unusable value, or a set is not prepared.
        ImportError: the extra `datasets` is not installed.

    Example:
        ```text
        from mtlzoo.data import scene_sets

        scenes = scene_sets.load(["cityscapes/semantic_segmentation", "nyu_depth_v2"])
        ```
    """
    tfds = library()
    check_batching(batch_size, seed)
    size = check_size("size", size)
    given = [names] if isinstance(names, str) else list(names)
    if not given or set(given) - set(_SOURCES):
        raise ValueError(f"`names` should be some of {sorted(_SOURCES)}. Received: names={names!r}")
    tasks = [_SOURCES[name].task for name in given]
    if len(set(tasks)) < len(tasks):
        raise ValueError(f"`names` should be sets of different tasks. Received: names={names!r}")

    def split(part: str) -> tf.data.Dataset:
        rows = []
        for name in given:
            source, builder = _SOURCES[name], tfds.builder(name, data_dir=data_dir)
            keep = {source.image: True, source.label: True}
            try:
                examples = builder.as_dataset(
                    split=_SPLITS[part], decoders=tfds.decode.PartialDecoding(keep)
                )
            except AssertionError as error:
                raise ValueError(
                    f"`names` should be sets that are prepared; `tfds build {name}` does it. "
                    f"Received: {name!r}, which is not in {str(builder.data_dir)!r}"
                ) from error
            rows.append(_rows(examples, source, tasks, size))
        return mixed(rows, batch_size, seed if part == "train" else None, _SHUFFLED)

    datasets = {part: split(part) for part in _SPLITS}
    return loaded_of(datasets, tasks_of(size, NUM_CLASSES, tasks), (*size, 3))


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> NoReturn:
    """Refuse: TensorFlow Datasets prepares these sets.

    Args:
        raw_files: unused, as are the others.
        data_dir: unused.
        download: unused.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "`name` should be a data set that mtlzoo prepares. Received: name='scene_sets', which "
        f"TensorFlow Datasets prepares: run `tfds build NAME` for some of {sorted(_SOURCES)}"
    )


def _rows(
    examples: tf.data.Dataset, source: _Source, tasks: Sequence[str], size: tuple[int, ...]
) -> tf.data.Dataset:
    """Rows of one set, of the form that those of all sets have."""
    import tensorflow as tf

    missing = {"segmentation": np.full(size, 255, np.uint8), "depth": np.full(size, np.nan, "f4")}

    def row(example: dict[str, Any]) -> tuple:
        image = tf.image.resize(example[source.image], size, method="area") / 255
        labels = example[source.label]
        labels = labels if len(labels.shape) == 3 else labels[..., None]
        labels = tf.image.resize(labels, size, method="nearest")[..., 0]
        y = {task: tf.constant(missing[task]) for task in tasks}
        y[source.task] = source.read(labels)
        return image, y, {task: tf.ones(()) for task in tasks}

    return examples.map(row, num_parallel_calls=tf.data.AUTOTUNE)


def _classes(ids: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    table = np.full(256, 255, np.uint8)
    table[list(_EVALUATED)] = range(NUM_CLASSES)
    return tf.gather(tf.constant(table), tf.cast(ids, "int32"))


def _positive(values: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    values = tf.cast(values, "float32")
    return tf.where(tf.math.is_finite(values) & (values > 0), values, np.nan)


_SOURCES = {
    "cityscapes/semantic_segmentation": _Source(
        "image_left", "segmentation_label", "segmentation", _classes
    ),
    "cityscapes/stereo_disparity": _Source(
        "image_left", "disparity_map", "depth", lambda pixels: _positive(pixels) / 100
    ),
    "nyu_depth_v2": _Source("image", "depth", "depth", _positive),
}
