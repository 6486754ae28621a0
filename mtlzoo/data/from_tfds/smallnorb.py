"""Small NORB: what a toy is, and from where and in which light a pair of cameras saw it.

48 600 pairs of grey pictures of 50 toys (LeCun et al., 2004): ten instances of each of five
categories, each from 9 elevations and 18 azimuths, in 6 kinds of light.

Tasks:
  category   five classes: four-legged animals, human figures, airplanes, trucks, cars
  azimuth    eighteen classes, 20 degrees apart
  elevation  nine classes, from 30 to 70 degrees
  lighting   six classes

Input: `image` (96, 96, 2), the views of both cameras, bytes that the preprocessor scales to 0..1.

Splits: of the official training data, the instances 4, 6, 7 and 8 of each category to train and
instance 9 to validate, 19 440 and 4860 rows; the official test data with the five other instances,
24 300 rows. No toy is in two of them.

Options of `load`: views=2, batch_size=128, seed=0, preprocessed=True, raw_files, data_dir,
download=False. TensorFlow Datasets prepares it of six files (263 MB), which it fetches or takes
from the folder `raw_files`. Rows are read from the disk as they are needed.

The data is for research and may not be sold: https://cs.nyu.edu/~ylclab/data/norb-v1.0-small
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtlzoo.data.from_arrays import check_options
from mtlzoo.data.from_tfds import reading
from mtlzoo.data.loading import Loaded
from mtlzoo.data.pictures import scaling
from mtlzoo.data.pipeline import check_batching

URL = "https://cs.nyu.edu"
FILES = tuple(
    f"smallnorb-5x{part}-{kind}.mat.gz"
    for part in ("46789x9x18x6x2x96x96-training", "01235x9x18x6x2x96x96-testing")
    for kind in ("dat", "cat", "info")
)
SIDE = 96
#: By task how many classes it has.
CLASSES = {"azimuth": 18, "category": 5, "elevation": 9, "lighting": 6}
#: The features of the pictures, in the order of the channels.
VIEWS = ("image", "image2")
#: The instance of the official training data that is set aside for validation.
HELD_OUT = 9


def load(
    *,
    views: int = 2,
    batch_size: int = 128,
    seed: int = 0,
    preprocessed: bool = True,
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Loaded:
    """Load Small NORB.

    Args:
        views: channels of `image`: 1 for that of the first camera, 2 for both. Defaults to 2.
        batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to 128.
        seed: of the order of the training rows, which differs from epoch to epoch. Defaults to 0.
        preprocessed: True gives `x` as one `float32` tensor `(batch, 96, 96, views)` between 0 and
            1; False as `{"image": uint8}`. Defaults to `True`.
        raw_files: only until the data is prepared: a folder that holds the six files, see `FILES`.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether the files may be fetched if the data is not prepared. Defaults to `False`.

    Returns:
        The data set with the tasks `azimuth`, `category`, `elevation` and `lighting`.

    Raises:
        ValueError: an option has an unusable value, or the data is not there and may not be
            fetched.
        ImportError: the extra `datasets` is not installed.

    Example:
        ```python
        from mtlzoo import data

        toys = data.load("smallnorb", download=True)
        x, y, sample_weight = next(iter(toys.train))  # x (128, 96, 96, 2), y of four tasks
        ```
    """
    import tensorflow as tf

    from mtlzoo.tasks import Classification

    check_batching(batch_size, seed)
    check_options(preprocessed)
    if isinstance(views, bool) or views not in (1, 2):
        raise ValueError(f"`views` should be 1 or 2. Received: views={views!r}")
    builder = prepare(raw_files, data_dir, download)
    labels = {f"label_{name}": True for name in CLASSES}
    features = {**dict.fromkeys(VIEWS[:views], True), "instance": True, **labels}

    def row(example: dict[str, Any]) -> tuple:
        image = tf.concat([example[view] for view in VIEWS[:views]], axis=-1)
        y = {name: tf.cast(example[f"label_{name}"], "int32") for name in CLASSES}
        return {"image": image}, y, dict.fromkeys(y, tf.ones(()))

    official = reading.examples(builder, "train", {"instance": True})
    instances = [int(example["instance"]) for example in official.as_numpy_iterator()]
    held_out = instances.count(HELD_OUT)
    counts = {"train": len(instances) - held_out, "valid": held_out}

    def rows(part: str) -> tf.data.Dataset:
        found = reading.examples(builder, "test" if part == "test" else "train", features)
        if part != "test":
            is_valid = part == "valid"
            found = found.filter(lambda example: (example["instance"] == HELD_OUT) == is_valid)
            found = found.apply(tf.data.experimental.assert_cardinality(counts[part]))
        return found.map(row, num_parallel_calls=tf.data.AUTOTUNE)

    return reading.loaded(
        {part: [rows(part)] for part in ("train", "valid", "test")},
        [Classification(name, num_classes=count) for name, count in CLASSES.items()],
        scaling((SIDE, SIDE, views)),
        batch_size,
        seed,
        preprocessed,
    )


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Any:
    """Have TensorFlow Datasets prepare Small NORB, once.

    Args:
        raw_files: a folder that holds the six files, see `FILES`.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether the files may be fetched. Defaults to `False`.

    Returns:
        The builder.

    Raises:
        ValueError: the data is not prepared and there is nothing to prepare it from.
        ImportError: the extra `datasets` is not installed.
    """
    return reading.prepared("smallnorb", FILES, URL, raw_files, data_dir, download)
