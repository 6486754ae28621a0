"""Where prepared data is kept, and the arrays it is kept as."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a `prepare` has made.

    Attributes:
        data_dir: the folder of the data set.
        rows: by split, how many rows it has.
    """

    data_dir: Path
    rows: dict[str, int]


def folder(data_dir: str | Path | None, name: str) -> Path:
    """Return the folder of a data set.

    Args:
        data_dir: the folder of all of them; `mtlzoo` in `$XDG_CACHE_HOME`, else in `~/.cache`, if
            None.
        name: the name of the data set.

    Returns:
        The folder, which may not be there yet.
    """
    if data_dir is None:
        data_dir = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mtlzoo"
    return Path(data_dir).expanduser() / name


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to one `.npz` file, whole or not at all.

    Args:
        path: the file.
        arrays: the arrays by name, none of them of Python objects, which would be pickled.
    """
    assert all(array.dtype != object for array in arrays.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            np.savez(file, **dict[str, Any](arrays))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path) -> dict[str, np.ndarray]:
    """Read what `write` has written; nothing is unpickled.

    Args:
        path: the file.

    Returns:
        The arrays by name.
    """
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def refuse(name: str, data_dir: str | Path | None) -> ValueError:
    """Return the error for data that is not prepared and may not be fetched.

    Args:
        name: the name of the data set.
        data_dir: as the user gave it.

    Returns:
        The error, to be raised.
    """
    return ValueError(
        f"`data_dir` should hold the prepared data of {name}; to prepare it, give `raw_files` or "
        f"`download=True`, or run `python -m mtlzoo.data {name} --download`. "
        f"Received: data_dir={data_dir!r}, raw_files=None, download=False"
    )
