"""How arrays of weights are stored in fewer bytes, and what they are when they are read again."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

STORAGES = ("float32", "float16", "bfloat16", "int8")
# Behind the name of an array of whole numbers: what a step of each column is.
_SCALE = ":scale"
# Half precision has nothing above it.
_LARGEST_HALF = float(np.finfo("float16").max)
_STEPS = 127  # int8 on both sides of 0
_BFLOAT16 = tf.bfloat16.as_numpy_dtype


def pack(
    arrays: Mapping[str, np.ndarray], storage: str, learned: frozenset[str]
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Store arrays.

    Matrices (and what has more axes) of learned floats are rounded; everything else, such as
    biases and the statistics of normalization, stays as it is, since it is small and its errors
    reach every row.

    Args:
        arrays: the arrays by name.
        storage: `"float32"` stores all as they are; `"float16"` and `"bfloat16"` round to 11 and 8
            binary digits; `"int8"` to whole multiples of a step for each place on the last axis,
            which is the largest there divided by 127.
        learned: names of those that training changes by gradients.

    Returns:
        What to write, and for each array its name, shape, dtype and how it is stored.
    """
    written: dict[str, np.ndarray] = {}
    entries = []
    for name, array in arrays.items():
        stored = storage if name in learned and _is_rounded(array, storage) else str(array.dtype)
        if stored == "float16":
            written[name] = array.astype("float16")
        elif stored == "bfloat16":  # NumPy's files have no such type
            written[name] = array.astype(_BFLOAT16).view("uint16")
        elif stored == "int8" and array.dtype != np.int8:
            written[name], written[name + _SCALE] = _whole(array)
        else:
            written[name] = array
        entries.append(
            {
                "name": name,
                "shape": list(array.shape),
                "dtype": str(array.dtype),
                "stored": stored,
            }
        )
    return written, entries


def _is_rounded(array: np.ndarray, storage: str) -> bool:
    if storage == "float32" or array.dtype != np.float32 or array.ndim < 2:
        return False
    return storage != "float16" or bool(np.abs(array).max(initial=0) <= _LARGEST_HALF)


def _whole(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers, and the step of each place on the last axis."""
    largest = np.abs(array).max(axis=tuple(range(array.ndim - 1)), initial=0)
    scale = np.where(largest > 0, largest / _STEPS, 1).astype("float32")
    return np.clip(np.round(array / scale), -_STEPS, _STEPS).astype("int8"), scale


def unpack(written: Mapping[str, np.ndarray], entry: Mapping[str, Any]) -> np.ndarray:
    """Read an array that `pack` stored.

    Args:
        written: what was written.
        entry: what `pack` said of the array.

    Returns:
        The array, in the dtype that it had.
    """
    array, dtype = written[entry["name"]], entry["dtype"]
    if entry["stored"] == "bfloat16":
        array = array.view(_BFLOAT16)
    if entry["stored"] == "int8" and dtype != "int8":
        return (array.astype("float32") * written[entry["name"] + _SCALE]).astype(dtype)
    return array if str(array.dtype) == dtype else array.astype(dtype)


def layout(entry: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """The shape and dtype of what stands in the file for an array.

    Args:
        entry: what `pack` said of the array.
    """
    shape, stored, dtype = tuple(entry["shape"]), entry["stored"], entry["dtype"]
    found = {entry["name"]: (shape, "uint16" if stored == "bfloat16" else stored)}
    if stored == "int8" and dtype != "int8":
        found[entry["name"] + _SCALE] = (shape[-1:], "float32")
    return found


def check_storage(storage: Any) -> None:
    """Check the name of a way to store.

    Raises:
        ValueError: if `storage` is none of `STORAGES`.
    """
    if storage not in STORAGES:
        raise ValueError(
            f"`storage` should be one of {list(STORAGES)}. Received: storage={storage!r}"
        )
