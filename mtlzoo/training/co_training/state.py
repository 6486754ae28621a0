"""Where the rounds of co-training are, kept in a file after each."""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtlzoo.distribution import is_chief
from mtlzoo.training import backup_files, model_state
from mtlzoo.training.co_training.rows import Rows
from mtlzoo.training.co_training.tables import Given, Table

Tables = Mapping[str, Mapping[str, Table | Given]]
# Of the form of the files.
VERSION = 1


class RoundsFile:
    """The file of a co-training, if there is one.

    Args:
        path: of the file, or `None` for none.
        views: the compiled models by name.
        settings: what must be the same for a training to go on.
        rows: all rows.

    Raises:
        ValueError: if nothing can be written there, or the path is that of a folder.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        views: Mapping[str, Any],
        settings: Mapping[str, Any],
        rows: Rows,
    ) -> None:
        self._path = None if path is None else Path(path)
        self._views = views
        self._settings = {**settings, "data": _fingerprint(rows)}
        if self._path is not None:
            if self._path.is_dir():
                raise ValueError(
                    f"`path` should be a file, and not a folder. Received: path={str(path)!r}"
                )
            backup_files.prepare(self._path)

    def read(self, tables: Tables) -> dict[str, Any] | None:
        """Restore models and tables from the file, if there is one.

        Args:
            tables: by view and task, as given.

        Returns:
            What `write` was given.

        Raises:
            ValueError: if it is that of another training.
        """
        if self._path is None or not self._path.exists():
            return None
        found = backup_files.read(self._path)
        if found.get("version") != VERSION:
            raise ValueError(
                "`path` should be a file that co-training has written. "
                f"Received: path={str(self._path)!r}"
            )
        for key, mine in self._settings.items():
            if found["settings"].get(key) != mine:
                raise ValueError(
                    f"`path` should be a file of a co-training with the same {key}, {mine}; give "
                    f"another path to begin anew. Received: path={str(self._path)!r} with "
                    f"{found['settings'].get(key)}"
                )
        for view, model in self._views.items():
            model_state.check_identity(model, found["identities"][view], self._path)
        for view, model in self._views.items():
            model_state.restore(model, found["models"][view])
            for task, kept in found["tables"][view].items():
                table = tables[view][task]
                assert isinstance(table, Table)  # as the settings, which are the same, say
                table.labels[...], table.pseudo[...] = kept["labels"], kept["pseudo"]
        return found

    def write(
        self,
        tables: Tables,
        initial: Mapping[str, Any],
        rounds: list[dict[str, Any]],
        done: bool,
    ) -> None:
        """Replace the file by the state after a round.

        Args:
            tables: by view and task.
            initial: by view, the state that rounds begin with.
            rounds: the history.
            done: whether it was the last one.
        """
        if self._path is None:
            return
        content = {
            "version": VERSION,
            "settings": self._settings,
            "identities": {v: model_state.identity(model) for v, model in self._views.items()},
            "models": {v: model_state.read(model) for v, model in self._views.items()},
            "initial": dict(initial),
            "tables": {
                view: {
                    name: {"labels": table.labels, "pseudo": table.pseudo}
                    for name, table in of_view.items()
                    if isinstance(table, Table)
                }
                for view, of_view in tables.items()
            },
            "rounds": rounds,
            "done": done,
        }
        if all(is_chief(model.distribute_strategy) for model in self._views.values()):
            backup_files.write(self._path, content)


def _fingerprint(rows: Rows) -> int:
    """A number that other rows or labels would hardly have."""
    found = 0
    for group in rows:
        for name in sorted(group):
            found = zlib.crc32(name.encode(), found)
            values = np.ascontiguousarray(group[name])
            found = zlib.crc32(repr((values.shape, values.dtype.str)).encode(), found)
            # Strings of Python have no bytes of their own.
            data = repr(values.tolist()).encode() if values.dtype == object else values.tobytes()
            found = zlib.crc32(data, found)
    return found
