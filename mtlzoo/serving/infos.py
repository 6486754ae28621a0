"""What a version tells of itself, a file in its folder."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# In TensorFlow's folder for what others add to a SavedModel.
_PLACE = Path("assets.extra", "version.json")


def checked(info: Any) -> dict[str, Any]:
    """What was given to `publish`, if it can be written.

    Args:
        info: a dict, or `None`.

    Returns:
        The same, with `None` for numbers that are not finite, which JSON does not have.

    Raises:
        ValueError: if it is something else, or has what JSON cannot hold.
    """
    if info is None:
        return {}
    if not isinstance(info, Mapping) or any(not isinstance(key, str) for key in info):
        raise ValueError(f"`info` should be a dict with strings as keys. Received: info={info!r}")
    if taken := sorted(info.keys() & {"number", "time", "tasks"}):
        raise ValueError(
            "`info` should leave the keys 'number', 'time' and 'tasks' to `Versions`. "
            f"Received: {taken} in info={dict(info)!r}"
        )
    try:
        return _plain(info)
    except (RecursionError, TypeError) as error:
        raise ValueError(
            f"`info` should be of what JSON can hold. Received: info={dict(info)!r}, which gives "
            f"{error}"
        ) from error


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the file of a version.

    Args:
        folder: that of the version.
        content: what it tells.
    """
    path = folder / _PLACE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, allow_nan=False, indent=1))


def read(folder: Path) -> dict[str, Any]:
    """Read the file of a version.

    Args:
        folder: that of the version.

    Raises:
        OSError: if there is none.
        ValueError: if it is no JSON.
    """
    return json.loads((folder / _PLACE).read_text())


def _plain(value: Any) -> Any:
    """What JSON has in place of a value, arrays and scalars of NumPy among them."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"keys that are no strings: {list(value)!r}")
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"JSON cannot hold {value!r}")
