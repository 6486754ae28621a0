"""Rows that are read and prepared once and kept for all epochs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mtlzoo.data.arguments import check_count
from mtlzoo.data.elements import check_elements, check_finite, in_memory, mapped
from mtlzoo.data.pipeline import batches, check_batching

if TYPE_CHECKING:
    import tensorflow as tf


def keep(
    dataset: tf.data.Dataset,
    *,
    batch_size: int,
    seed: int | None = None,
    path: str | Path | None = None,
    shuffle_rows: int = 10_000,
) -> tf.data.Dataset:
    """Read a data set once and keep its rows, in memory or in a file.

    `tf.data.Dataset.cache` keeps batches as they are, so that each epoch has the same ones in the
    same order; here rows are kept and shuffled anew. Augment what this function gives, not what it
    gets.

    Args:
        dataset: Batches `(x, y)` or `(x, y, sample_weight)`.
        batch_size: Rows in a batch; the last one of an epoch may be smaller.
        seed: Of the order, which differs from epoch to epoch. Defaults to `None`, for the order of
            the data set.
        path: Where rows are kept if they do not fit into memory: the beginning of the files' names.
            They are written in the first epoch, which has to run to its end, and are taken as they
            are if they are there, whatever rows the data set has by then; one of another form is
            refused. Defaults to `None`, for memory.
        shuffle_rows: With `path`, how many rows are held to shuffle among. In memory the order is a
            full permutation. Defaults to 10000.

    Returns:
        Batches `(x, y, sample_weight)`, read ahead.

    Raises:
        ValueError: If the data set has no rows, no end or no labels by task, files are there that
            are unfinished or of another data set, or an argument is out of its range.

    Example:
    ```python
    from mtlzoo import data

    census = data.load("census_income")
    train = data.keep(census.train, batch_size=512, seed=0)
    ```
    """
    import tensorflow as tf

    check_elements("dataset", dataset)
    check_batching(batch_size, seed)
    if path is None:
        return batches(in_memory(dataset), batch_size, seed)
    check_count("shuffle_rows", shuffle_rows)
    check_finite("dataset", dataset)
    _check_files(Path(path), dataset)
    rows = mapped(dataset, lambda *element: element).unbatch().cache(str(path))
    if seed is not None:
        rows = rows.shuffle(shuffle_rows, seed=seed, reshuffle_each_iteration=True)
    return rows.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _check_files(path: Path, dataset: tf.data.Dataset) -> None:
    """Check that files that are there are of this data set; note its form if there are none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, form = (path.with_name(f"{path.name}{end}") for end in ("_0.lockfile", ".form"))
    if lock.is_file():
        raise ValueError(
            "`path` should not be one that is being written: delete the files if their writer has "
            f"ended. Received: path={str(path)!r}, where there is {lock.name}"
        )
    own = repr(dataset.element_spec)
    if form.is_file() and form.read_text("utf-8") != own:
        raise ValueError(
            "`path` should hold rows of this data set, or nothing. Received: "
            f"path={str(path)!r} with rows of the form {form.read_text('utf-8')}"
        )
    form.write_text(own, "utf-8")
