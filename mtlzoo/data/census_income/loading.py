"""Loading the census data: the embedded sample, or the full data when asked."""

from __future__ import annotations

import hashlib
import importlib.resources
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtlzoo.data.census_income.columns import (
    COLUMNS,
    EXTRA_COLUMNS,
    INPUTS,
    WEIGHT,
    labels,
    to_arrays,
)
from mtlzoo.data.loading import Loaded
from mtlzoo.data.pipeline import batches, check_batching, preprocess

#: Share of the official training rows that is set aside for validation.
VALID_SHARE = 0.2


def load(
    *,
    batch_size: int = 256,
    seed: int = 0,
    preprocessed: bool = True,
    weighted: bool = False,
    extra_columns: Sequence[str] = (),
    num_bins: int = 0,
    source: str = "sample",
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Loaded:
    """Load the census data.

    Args:
        batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to 256.
        seed: of the order of the training rows, which differs from epoch to epoch. Defaults to 0.
        preprocessed: True gives `x` as one `float32` tensor `(batch, features)`; False as the
            dict of raw columns, each `(batch,)`, strings or `float32`. Defaults to `True`.
        weighted: True makes the survey's instance weight, divided by its mean over the training
            part, the sample weight of every task; False gives ones. Defaults to `False`.
        extra_columns: inputs besides, of those that are left out because they tell a label:
            `"education"`, with which there is no such task, `"tax_filer_stat"`,
            `"detailed_household_and_family_stat"`, `"detailed_household_summary_in_household"`.
            For comparison with results that had them. Defaults to none.
        num_bins: at least 2, and quantities are given as one-hot blocks of up to so many bins as
            well, or 0. Networks need them to come near boosted trees. Defaults to 0.
        source: `"sample"`, the embedded rows, or `"full"`, all of them (extra `datasets`).
            Defaults to `"sample"`.
        raw_files: for `"full"` and only until it is prepared: a folder with the original files,
            or an archive of them.
        data_dir: for `"full"`: where TensorFlow Datasets keeps what it prepares; its own default
            if None.
        download: for `"full"`: whether the original files may be fetched if they are missing.
            Defaults to `False`.

    Returns:
        The data set with the tasks `income`, `never_married` and, unless it is an input,
        `education`.

    Raises:
        ValueError: an option has an unusable value, or the full data is not there and may not be
            fetched.
        ImportError: the full data is asked for without the extra `datasets`.

    Example:
        ```python
        from mtlzoo.data.census_income import load

        census = load(batch_size=64)
        x, y, sample_weight = next(iter(census.test))
        print(x.shape, sorted(y))
        ```
    """
    import keras
    import tensorflow as tf

    from mtlzoo.data.census_income import preprocessor as preprocessors
    from mtlzoo.tasks import BinaryClassification, Classification

    check_batching(batch_size, seed)
    for option, value in (("preprocessed", preprocessed), ("weighted", weighted)):
        if not isinstance(value, bool):
            raise ValueError(f"`{option}` should be a bool. Received: {option}={value!r}")
    if not isinstance(extra_columns, list | tuple) or set(extra_columns) - set(EXTRA_COLUMNS):
        raise ValueError(
            f"`extra_columns` should be a list of some of {list(EXTRA_COLUMNS)}. "
            f"Received: extra_columns={extra_columns!r}"
        )
    if isinstance(num_bins, bool) or not isinstance(num_bins, int) or num_bins < 0 or num_bins == 1:
        raise ValueError(
            f"`num_bins` should be 0 or an integer of at least 2. Received: num_bins={num_bins!r}"
        )
    names = [name for name in COLUMNS if name in INPUTS or name in extra_columns]
    tasks = [
        BinaryClassification("income"),
        BinaryClassification("never_married"),
        Classification("education", num_classes=5),
    ]
    tasks = [task for task in tasks if task.name not in extra_columns]
    if source == "sample":
        unused = {"raw_files": raw_files, "data_dir": data_dir, "download": download}
        for option, given in unused.items():
            if given:
                raise ValueError(
                    f"`{option}` should be given with source='full' only, since the sample is "
                    f"inside the package. Received: {option}={given!r} with source='sample'"
                )
        official, test = read_sample("train"), read_sample("test")
    elif source == "full":
        from mtlzoo.data.census_income.builder import read

        official, test = read(prepare(raw_files, data_dir, download))
    else:
        raise ValueError(f"`source` should be 'sample' or 'full'. Received: source={source!r}")
    held_out = validation_rows(official)
    train = {name: values[~held_out] for name, values in official.items()}
    valid = {name: values[held_out] for name, values in official.items()}

    preprocessor = preprocessors.make(train, names, num_bins)
    apply = tf.function(preprocessor)  # traced once for the three splits
    mean_weight = train[WEIGHT].mean()

    def split(columns: Mapping[str, np.ndarray], seed: int | None = None):
        x = {name: columns[name] for name in names}
        all_labels = labels(columns)
        y = {task.name: all_labels[task.name] for task in tasks}
        weight = columns[WEIGHT] / mean_weight if weighted else np.ones_like(columns[WEIGHT])
        if preprocessed:
            x = preprocess(apply, x)
        return batches((x, y, dict.fromkeys(y, weight)), batch_size, seed)

    if preprocessed:
        inputs = keras.Input(preprocessor.output.shape[1:], name="features")
    else:
        inputs = preprocessors.raw_inputs(names)
    return Loaded(
        train=split(train, seed),
        valid=split(valid),
        test=split(test),
        tasks=tasks,
        inputs=inputs,
        preprocessor=preprocessor,
    )


def raw_rows(n: int = 5, split: str = "test") -> dict[str, np.ndarray]:
    """Return the first rows of the embedded sample as a served model takes them.

    Args:
        n: number of rows. Defaults to 5.
        split: `"test"` or `"train"`, the official split. Defaults to `"test"`.

    Returns:
        By input column an array `(n,)`: Python strings, or `float32`.

    Example:
        ```python
        from mtlzoo.data.census_income import raw_rows

        print(raw_rows(2)["age"])
        ```
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"`n` should be a positive integer. Received: n={n!r}")
    columns = read_sample(split)
    return {name: columns[name][:n] for name in INPUTS}


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Any:
    """Make the full data ready for `load(source="full")`, once.

    Args:
        raw_files: a folder with the original files, or an archive of them.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether the original files may be fetched if `raw_files` is None.
            Defaults to `False`.

    Returns:
        The TensorFlow Datasets builder, prepared.

    Raises:
        ImportError: the extra `datasets` is not installed.
        ValueError: the data is not prepared and there is nothing to prepare it from.
    """
    from mtlzoo.data.census_income import builder

    return builder.prepare(raw_files, data_dir, download)


def read_sample(split: str) -> dict[str, np.ndarray]:
    """Read all 42 columns of the embedded sample.

    Args:
        split: `"train"` or `"test"`, the official split.

    Returns:
        By column an array `(n,)`.

    Raises:
        ValueError: there is no such split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"`split` should be 'train' or 'test'. Received: split={split!r}")
    packed = importlib.resources.files(__package__) / f"sample_{split}.csv.xz"
    text = lzma.decompress(packed.read_bytes()).decode("ascii")
    header, *rows = (line.split(",") for line in text.splitlines())
    return to_arrays(rows, tuple(header))


def validation_rows(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Choose the validation rows by a hash of what a model sees of them.

    More than a third of the training rows share their inputs with another row. Rows that do go to
    one side, whatever their labels, so nothing that is validated on was trained on. The choice
    depends on the row alone: a row is on the same side in the sample and in the full data.

    Args:
        columns: the raw columns of official training rows.

    Returns:
        A boolean array `(n,)`, true for about a fifth of the rows.
    """
    limit = int(VALID_SHARE * 2**64)

    def chosen(row: tuple) -> bool:
        digest = hashlib.blake2b("\x1f".join(map(str, row)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < limit

    return np.array(
        [chosen(row) for row in zip(*(columns[c].tolist() for c in INPUTS), strict=True)]
    )
