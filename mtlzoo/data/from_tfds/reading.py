"""From what TensorFlow Datasets has prepared to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlzoo.data.from_arrays import from_batches
from mtlzoo.data.loading import Loaded
from mtlzoo.data.packages import reachable

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from mtlzoo.tasks import Task


def library() -> Any:
    """Import TensorFlow Datasets.

    Returns:
        The package.

    Raises:
        ImportError: the extra `datasets` is not installed.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "This data set needs TensorFlow Datasets: pip install 'mtlzoo[datasets]'"
        ) from error
    return tfds


def prepared(
    name: str,
    files: Sequence[str],
    url: str,
    raw_files: str | Path | None,
    data_dir: str | Path | None,
    download: bool,
) -> Any:
    """Return a builder whose data is prepared, and prepare it if that is allowed.

    Args:
        name: of the data set in TensorFlow Datasets.
        files: the names of the files that it is made of.
        url: of the server that has them.
        raw_files: a folder that holds these files, which TensorFlow Datasets then need not fetch.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether files may be fetched.

    Returns:
        The builder.

    Raises:
        ValueError: the data is not prepared, and may not be fetched or is not in `raw_files`, or
            files are others.
        RuntimeError: the server does not answer.
        ImportError: the extra `datasets` is not installed.
    """
    tfds = library()
    builder = tfds.builder(name, data_dir=data_dir)
    if builder.is_prepared():
        return builder
    if raw_files is None and not download:
        raise ValueError(
            f"`data_dir` should hold the prepared data of {name}; to prepare it, give `raw_files` "
            f"or `download=True`, or run `tfds build {name}`. "
            f"Received: data_dir={data_dir!r}, raw_files=None, download=False"
        )
    folder = None if raw_files is None else Path(raw_files).expanduser()
    if folder is not None and not download:
        lacking = [file for file in files if not (folder / file).is_file()]
        if lacking:
            raise ValueError(
                f"`raw_files` should be a folder that holds {', '.join(files)}. "
                f"Received: raw_files={str(raw_files)!r}, where there is no {', '.join(lacking)}"
            )
    lacks = folder is None or not all((folder / file).is_file() for file in files)
    if lacks and not reachable(url):
        raise RuntimeError(
            f"`{name}` could not be fetched: {url} does not answer. Fetch {', '.join(files)} where "
            "there is a network and give their folder as `raw_files`"
        )
    config = tfds.download.DownloadConfig(manual_dir=folder, try_download_gcs=download)
    try:
        builder.download_and_prepare(download_config=config)
    except tfds.download.download_manager.NonMatchingChecksumError as error:
        raise ValueError(
            f"The files of `{name}` should have the checksums that TensorFlow Datasets knows. "
            f"Received: {error}"
        ) from error
    return builder


def examples(builder: Any, split: str, features: Mapping[str, Any]) -> tf.data.Dataset:
    """Read some features of each example of a split.

    Args:
        builder: as of `prepared`.
        split: of TensorFlow Datasets, such as `"train[:90%]"`.
        features: the features that are read and decoded, each with the value True.

    Returns:
        Dicts by feature, in the order that they lie on the disk in.
    """
    decoding = library().decode.PartialDecoding(features)
    return builder.as_dataset(split=split, decoders=decoding)


def loaded(
    rows: Mapping[str, list[tf.data.Dataset]],
    tasks: Sequence[Task],
    preprocessor: keras.Model,
    batch_size: int,
    seed: int,
    preprocessed: bool,
) -> Loaded:
    """Make a loaded data set of rows that are read when they are needed.

    Args:
        rows: for `"train"`, `"valid"` and `"test"`, one or several data sets of rows: raw columns
            by input, labels by task and sample weights by task.
        tasks: the tasks.
        preprocessor: a model from the dict of raw columns to what a model is built on.
        batch_size: rows in a batch.
        seed: of the order of the training rows.
        preprocessed: whether the preprocessor is applied.

    Returns:
        The data set.
    """
    batches = {
        split: mixed(parts, batch_size, seed if split == "train" else None)
        for split, parts in rows.items()
    }
    return from_batches(batches, tasks, preprocessor, preprocessed)


def mixed(
    rows: Sequence[tf.data.Dataset], batch_size: int, seed: int | None, shuffled: int = 2048
) -> tf.data.Dataset:
    """Make batches of all rows of one or several data sets: in turn, or with a seed at random.

    Args:
        rows: data sets of rows of one form, whose cardinality is known.
        batch_size: rows in a batch; the last one may be smaller.
        seed: None for the rows' own order, else of the order, which differs from epoch to epoch.
        shuffled: rows that the next one is drawn from, with a seed. They lie on the disk in random
            order already. Defaults to 2048.

    Returns:
        The batches; an epoch has each row once.
    """
    import tensorflow as tf

    counts = [int(part.cardinality()) for part in rows]
    if len(rows) == 1:
        (together,) = rows
    elif seed is None:
        turns = tf.data.Dataset.range(len(rows)).repeat()
        together = tf.data.Dataset.choose_from_datasets(rows, turns, stop_on_empty_dataset=False)
    else:
        together = tf.data.Dataset.sample_from_datasets(
            rows,
            [count / sum(counts) for count in counts],
            seed=seed,
            stop_on_empty_dataset=False,
            rerandomize_each_iteration=True,
        )
    together = together.apply(tf.data.experimental.assert_cardinality(sum(counts)))
    if seed is not None:
        together = together.shuffle(min(sum(counts), shuffled), seed=seed)
    return together.batch(batch_size).prefetch(tf.data.AUTOTUNE)
