"""3D Shapes: six factors of a drawn scene, each of them a task.

480 000 pictures of a shape in a room (Burgess and Kim, 2018), one of each combination of the
factors that they were drawn with.

Tasks:
  floor_hue, wall_hue, object_hue  ten classes each
  scale        eight classes
  shape        four classes
  orientation  fifteen classes

Input: `image` (64, 64, 3), bytes that the preprocessor scales to 0..1.

Splits: 80, 10 and 10 % of the only part, `train`, at random: 384 000, 48 000 and 48 000 rows. Each
combination is in one of them.

Options of `load`: batch_size=128, seed=0, preprocessed=True, raw_files, data_dir, download=False.
TensorFlow Datasets prepares it of `3dshapes.h5` (268 MB), which it fetches or takes from the folder
`raw_files`; this takes 6 GB of memory. Rows are read from the disk as they are needed.

https://github.com/google-deepmind/3d-shapes, with the licence Apache-2.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtlzoo.data.from_arrays import check_options
from mtlzoo.data.from_tfds import reading
from mtlzoo.data.loading import Loaded
from mtlzoo.data.pictures import scaling
from mtlzoo.data.pipeline import check_batching

URL = "https://storage.googleapis.com"
FILES = ("3dshapes.h5",)
SHAPE = (64, 64, 3)
#: By task how many classes it has.
CLASSES = {
    "floor_hue": 10,
    "object_hue": 10,
    "orientation": 15,
    "scale": 8,
    "shape": 4,
    "wall_hue": 10,
}
SPLITS = {"train": "train[:80%]", "valid": "train[80%:90%]", "test": "train[90%:]"}


def load(
    *,
    batch_size: int = 128,
    seed: int = 0,
    preprocessed: bool = True,
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Loaded:
    """Load 3D Shapes.

    Args:
        batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to 128.
        seed: of the order of the training rows, which differs from epoch to epoch. Defaults to 0.
        preprocessed: True gives `x` as one `float32` tensor `(batch, 64, 64, 3)` between 0 and 1;
            False as `{"image": uint8}`. Defaults to `True`.
        raw_files: only until the data is prepared: a folder that holds `3dshapes.h5`.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether the file may be fetched if the data is not prepared. Defaults to `False`.

    Returns:
        The data set with a task for each factor.

    Raises:
        ValueError: an option has an unusable value, or the data is not there and may not be
            fetched.
        ImportError: the extra `datasets` is not installed.

    Example:
        ```python
        from mtlzoo import data

        shapes = data.load("shapes3d", download=True)
        x, y, sample_weight = next(iter(shapes.train))  # x (128, 64, 64, 3), y of six tasks
        ```
    """
    import tensorflow as tf

    from mtlzoo.tasks import Classification

    check_batching(batch_size, seed)
    check_options(preprocessed)
    builder = prepare(raw_files, data_dir, download)
    features = {"image": True, **{f"label_{name}": True for name in CLASSES}}

    def row(example: dict[str, Any]) -> tuple:
        y = {name: tf.cast(example[f"label_{name}"], "int32") for name in CLASSES}
        return {"image": example["image"]}, y, dict.fromkeys(y, tf.ones(()))

    rows = {
        part: [
            reading.examples(builder, split, features).map(row, num_parallel_calls=tf.data.AUTOTUNE)
        ]
        for part, split in SPLITS.items()
    }
    tasks = [Classification(name, num_classes=count) for name, count in CLASSES.items()]
    return reading.loaded(rows, tasks, scaling(SHAPE), batch_size, seed, preprocessed)


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Any:
    """Have TensorFlow Datasets prepare 3D Shapes, once.

    Args:
        raw_files: a folder that holds `3dshapes.h5`.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether the file may be fetched. Defaults to `False`.

    Returns:
        The builder.

    Raises:
        ValueError: the data is not prepared and there is nothing to prepare it from.
        ImportError: the extra `datasets` is not installed.
    """
    return reading.prepared("shapes3d", FILES, URL, raw_files, data_dir, download)
