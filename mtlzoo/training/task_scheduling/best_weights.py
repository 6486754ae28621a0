"""The weights of the epochs in which tasks were at their best."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from mtlzoo.training import backup_files


class WeightsOfEpochs:
    """Weights by epoch, in memory or in a folder.

    In a folder each epoch has a file, which is there whole or not at all; one that cannot be
    written is kept in memory. Files outlive their need by one epoch, so that a training that goes
    on from the backup of the epoch before finds them.

    Args:
        folder: the folder, of one training alone; `None` keeps the weights in memory.
        writes: whether this process writes files, as the first of several workers does.

    Raises:
        ValueError: if nothing can be written there.
    """

    def __init__(self, folder: Path | None, writes: bool) -> None:
        self._folder = folder
        self._writes = writes and folder is not None
        self._in_memory: dict[int, list[np.ndarray]] = {}
        self._needed: set[int] = set()  # at the end of the epoch before
        if self._writes:
            backup_files.prepare(self._file(0))

    def keep(self, epoch: int, weights: list[np.ndarray]) -> None:
        """Keep the weights of an epoch.

        Args:
            epoch: its number.
            weights: the values, in the order of the model's weights.
        """
        if self._writes:
            try:
                backup_files.write(self._file(epoch), weights)
                return
            except OSError as error:
                logging.error(
                    "The best weights could not be written to `%s`, and are kept in memory: %s",
                    self._file(epoch),
                    error,
                )
        if self._folder is None or self._writes:
            self._in_memory[epoch] = weights

    def drop_all_but(self, needed: Collection[int]) -> None:
        """Forget the epochs that no task needs any more.

        Args:
            needed: the epochs that are needed.
        """
        self._in_memory = {e: kept for e, kept in self._in_memory.items() if e in needed}
        if self._writes:
            allowed = {self._file(epoch) for epoch in self._needed | set(needed)}
            for path in set(self._file(0).parent.glob("epoch_*.npz")) - allowed:
                path.unlink(missing_ok=True)
        self._needed = set(needed)

    def get(self, epoch: int) -> list[np.ndarray]:
        """The weights of an epoch.

        Args:
            epoch: its number.

        Raises:
            ValueError: if its file is not there, or damaged.
        """
        if epoch in self._in_memory:
            return self._in_memory[epoch]
        path = self._file(epoch)
        if not path.exists():
            raise ValueError(
                f"`folder` should have the best weights of epoch {epoch + 1}. "
                f"Received: folder={str(self._folder)!r}, without {path.name}"
            )
        return backup_files.read(path)

    def get_state(self) -> dict[str, Any]:
        """What is not in files, by epoch."""
        return {str(epoch): list(weights) for epoch, weights in self._in_memory.items()}

    def set_state(self, state: Mapping[str, Any], needed: Collection[int]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
            needed: the epochs that tasks need.

        Raises:
            ValueError: if the file of one of them is not there.
        """
        self._in_memory = {
            int(epoch): [np.asarray(value) for value in weights] for epoch, weights in state.items()
        }
        self._needed = set(needed)
        for epoch in needed:
            if self._writes or self._folder is None:
                self.get(epoch)

    def _file(self, epoch: int) -> Path:
        return Path(self._folder or "") / f"epoch_{epoch + 1:05d}.npz"
