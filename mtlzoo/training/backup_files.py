"""One file of arrays that is there whole or not at all."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

# The key of what is not arrays, and what an array is replaced by there.
_MANIFEST, _ARRAY = "manifest", "__array__"


def unfinished(path: Path) -> Path:
    """Where a file is written before it takes its place, in the same folder.

    Args:
        path: the file.
    """
    return path.with_name(f"{path.name}.unfinished")


def prepare(path: Path) -> None:
    """Make the folder, and remove what a killed process has left unfinished.

    Args:
        path: the file that will be written.

    Raises:
        ValueError: if nothing can be written there.
    """
    part = unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        part.touch()
        part.unlink()
    except OSError as error:
        raise ValueError(
            "`path` should be a file in a folder that can be written to. "
            f"Received: path={str(path)!r}, which gives {error}"
        ) from error


def write(path: Path, content: Any) -> None:
    """Write a file so that at any moment the old or the new one is there.

    Args:
        path: the file.
        content: nested dicts and lists of arrays, strings, numbers, bools and `None`.

    Raises:
        OSError: if it cannot be written. What was there before still is.
        TypeError: if something else is in it.
    """
    arrays: dict[str, np.ndarray] = {}
    manifest = json.dumps(_without_arrays(content, arrays)).encode()
    arrays[_MANIFEST] = np.frombuffer(manifest, "uint8")
    part = unfinished(path)
    try:
        with open(part, "wb") as file:
            np.savez(file, allow_pickle=False, **dict[str, Any](arrays))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)  # else a power cut may undo the replacement
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: Path) -> Any:
    """Read what `write` has written; nothing is unpickled.

    Args:
        path: the file.

    Returns:
        The content.

    Raises:
        ValueError: if the file is damaged or another one.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            manifest = json.loads(arrays[_MANIFEST].tobytes())
            return _with_arrays(manifest, arrays)
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            "`path` should be a whole file that `Backup` has written; delete it to begin anew. "
            f"Received: path={str(path)!r}, which gives {type(error).__name__}: {error}"
        ) from error


def can_hold(value: Any) -> bool:
    """Whether a value that is no dict or list can be in a file.

    Args:
        value: the value.
    """
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype != object
    return value is None or isinstance(value, bool | int | float | str)


def _without_arrays(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_arrays(each, arrays) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(each, arrays) for each in value]
    if not can_hold(value):
        raise TypeError(
            "What is kept should be made of dicts, lists, arrays, strings, numbers, bools and "
            f"None. Received: {value!r}"
        )
    if isinstance(value, np.ndarray | np.generic):
        value = np.asarray(value)
        key, dtype = f"array_{len(arrays)}", value.dtype.name
        if value.dtype.kind == "V":  # bfloat16 and its like, of which NumPy's files keep the size
            value = value.view(f"uint{8 * value.dtype.itemsize}")
        arrays[key] = value
        return {_ARRAY: key, "dtype": dtype}
    return value


def _with_arrays(value: Any, arrays: Any) -> Any:
    if isinstance(value, list):
        return [_with_arrays(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY not in value:
        return {key: _with_arrays(each, arrays) for key, each in value.items()}
    found = arrays[value[_ARRAY]]
    return found if found.dtype.name == value["dtype"] else found.view(np.dtype(value["dtype"]))
