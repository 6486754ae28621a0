"""Data sets that are kept as arrays: made once of packages, divided and served when asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtlzoo.data import cache
from mtlzoo.data.from_arrays import Columns, check_options, from_arrays
from mtlzoo.data.loading import Loaded
from mtlzoo.data.packages import Contents
from mtlzoo.data.pipeline import check_batching

if TYPE_CHECKING:
    import keras

    from mtlzoo.tasks import Task

SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class ArraySet:
    """A data set that fits into memory.

    Attributes:
        name: its name, also of the folder that it is kept in.
        sources: what it is made of.
        read: from the contents of the sources, each a dict of files by name, to arrays `(n, ...)`:
            the inputs, the labels by task, and what `divide` needs.
        divide: from these arrays and a random generator to the name of each row's split.
        inputs: the names of the arrays that are inputs.
        tasks: makes the tasks.
        preprocessor: from the training rows' inputs to the model that prepares inputs.
        homepage: where it comes from.
        licence: what its publishers allow.
        citation: what to cite.
        batch_size: rows in a batch, if nothing else is asked for.
        version: raised when the same sources give other arrays, so that no old file is taken for a
            new one.
    """

    name: str
    sources: Sequence[Contents]
    read: Callable[..., Mapping[str, np.ndarray]]
    divide: Callable[[Mapping[str, np.ndarray], np.random.Generator], np.ndarray]
    inputs: Sequence[str]
    tasks: Callable[[], list[Task]]
    preprocessor: Callable[[Columns], keras.Model]
    homepage: str
    licence: str
    citation: str
    batch_size: int = 64
    version: int = 1

    def load(
        self,
        *,
        batch_size: int | None = None,
        seed: int = 0,
        data_seed: int = 0,
        preprocessed: bool = True,
        raw_files: str | Path | None = None,
        data_dir: str | Path | None = None,
        download: bool = False,
    ) -> Loaded:
        """Load the data set.

        Args:
            batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to that
                of the data set.
            seed: of the order of the training rows, which differs from epoch to epoch. Defaults to
                0.
            data_seed: of which rows are in which split. Defaults to 0.
            preprocessed: whether the preprocessor is applied. Defaults to `True`.
            raw_files: only until the data is prepared: the package, or a folder that holds what is
                needed.
            data_dir: where prepared data is kept; see `mtlzoo.data.cache.folder`.
            download: whether packages may be fetched if the data is not prepared. Defaults to
                `False`.

        Returns:
            The data set.

        Raises:
            ValueError: an option has an unusable value, or the data is not there and may not be
                fetched.
        """
        batch_size = self.batch_size if batch_size is None else batch_size
        check_batching(batch_size, seed)
        check_options(preprocessed, data_seed)
        splits = self.splits(self._prepared_file(raw_files, data_dir, download), data_seed)
        model = self.preprocessor(splits["train"][0])
        return from_arrays(splits, self.tasks(), model, batch_size, seed, preprocessed)

    def prepare(
        self,
        raw_files: str | Path | None = None,
        data_dir: str | Path | None = None,
        download: bool = False,
    ) -> cache.Prepared:
        """Make the arrays and keep them, once.

        Args:
            raw_files: as for `load`, as the others.
            data_dir: where prepared data is kept.
            download: whether packages may be fetched.

        Returns:
            Where the data is, and how many rows a split has.

        Raises:
            ValueError: the data is not prepared and there is nothing to prepare it from.
        """
        path = self._prepared_file(raw_files, data_dir, download)
        rows = {split: len(next(iter(y.values()))) for split, (_, y) in self.splits(path).items()}
        return cache.Prepared(path.parent, rows)

    def splits(self, path: Path, data_seed: int = 0) -> dict[str, tuple[Columns, Columns]]:
        """Divide the arrays of a prepared file.

        Args:
            path: the file.
            data_seed: of the division. Defaults to 0.

        Returns:
            By split the inputs, and the labels by task.
        """
        arrays = cache.read(path)
        where = self.divide(arrays, np.random.default_rng(data_seed))
        names = sorted(task.name for task in self.tasks())
        found: dict[str, tuple[Columns, Columns]] = {}
        for split in SPLITS:
            rows = where == split
            found[split] = (
                {name: arrays[name][rows] for name in self.inputs},
                {name: arrays[name][rows] for name in names},
            )
        return found

    def _prepared_file(
        self, raw_files: str | Path | None, data_dir: str | Path | None, download: bool
    ) -> Path:
        """The file with the arrays, made if it is not there."""
        folder = cache.folder(data_dir, self.name)
        path = folder / f"{self.name}_v{self.version}.npz"
        if not path.is_file():
            if raw_files is None and not download:
                raise cache.refuse(self.name, data_dir)
            fetched = folder.parent / "fetched"
            found = [source.locate(raw_files, fetched) for source in self.sources]
            cache.write(path, self.read(*found))
        return path
