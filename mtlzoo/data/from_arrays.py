"""From arrays by split, or batches of raw columns by split, to a loaded data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mtlzoo.data.loading import Loaded
from mtlzoo.data.pipeline import batches

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from mtlzoo.tasks import Task

Columns = Mapping[str, np.ndarray]


def from_arrays(
    splits: Mapping[str, tuple[Columns, Columns]],
    tasks: Sequence[Task],
    preprocessor: keras.Model,
    batch_size: int,
    seed: int,
    preprocessed: bool,
) -> Loaded:
    """Make a loaded data set of rows in memory.

    The raw rows are what stays in memory, pictures as bytes; the preprocessor is applied to each
    batch when it is drawn.

    Args:
        splits: for `"train"`, `"valid"` and `"test"`, the raw columns by input and the labels by
            task, each `(n, ...)`.
        tasks: the tasks.
        preprocessor: a model from the dict of raw columns to what a model is built on.
        batch_size: rows in a batch.
        seed: of the order of the training rows.
        preprocessed: whether the preprocessor is applied.

    Returns:
        The data set; every sample weight is 1.
    """

    def split(name: str, seed: int | None = None) -> tf.data.Dataset:
        x, y = splits[name]
        ones = np.ones(len(next(iter(x.values()))), "float32")
        return batches((dict(x), dict(y), dict.fromkeys(y, ones)), batch_size, seed)

    datasets = {"train": split("train", seed), "valid": split("valid"), "test": split("test")}
    return from_batches(datasets, tasks, preprocessor, preprocessed)


def from_batches(
    datasets: Mapping[str, tf.data.Dataset],
    tasks: Sequence[Task],
    preprocessor: keras.Model,
    preprocessed: bool,
) -> Loaded:
    """Make a loaded data set of batches of raw columns.

    Args:
        datasets: for `"train"`, `"valid"` and `"test"`, batches of raw columns by input, labels by
            task and sample weights by task.
        tasks: the tasks.
        preprocessor: a model from the dict of raw columns to what a model is built on.
        preprocessed: whether the preprocessor is applied.

    Returns:
        The data set.
    """
    import keras
    import tensorflow as tf

    if preprocessed:
        datasets = {
            name: dataset.map(
                lambda x, y, w: (preprocessor(x), y, w), num_parallel_calls=tf.data.AUTOTUNE
            )
            for name, dataset in datasets.items()
        }
    built_on = preprocessor.output if preprocessed else preprocessor.input
    if isinstance(built_on, dict):
        inputs = {
            name: keras.Input(tensor.shape[1:], name=name, dtype=tensor.dtype)
            for name, tensor in built_on.items()
        }
    else:
        (name,) = preprocessor.input
        inputs = keras.Input(built_on.shape[1:], name=name, dtype=built_on.dtype)
    return Loaded(**datasets, tasks=list(tasks), inputs=inputs, preprocessor=preprocessor)


def check_options(preprocessed: bool, data_seed: int = 0) -> None:
    """Check the options that these data sets share, before anything is read.

    Args:
        preprocessed: should be a bool.
        data_seed: should be an integer of at least 0. Defaults to 0.

    Raises:
        ValueError: one of them has an unusable value.
    """
    if not isinstance(preprocessed, bool):
        raise ValueError(
            f"`preprocessed` should be a bool. Received: preprocessed={preprocessed!r}"
        )
    if isinstance(data_seed, bool) or not isinstance(data_seed, int) or data_seed < 0:
        raise ValueError(
            f"`data_seed` should be an integer of at least 0. Received: data_seed={data_seed!r}"
        )
