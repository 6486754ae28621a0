"""Reading tensors of the form safetensors, which is numbers and a header, with nothing to run.

Eight bytes, little-endian, say how long the header is. The header is JSON: by name the type of a
tensor, its shape, and where its bytes begin and end behind the header. The bytes of all tensors
lie one after the other and fill the file, each tensor row by row.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

_DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_LENGTH = 8


def read(content: bytes) -> dict[str, np.ndarray]:
    """Read all tensors of a file.

    Args:
        content: the file.

    Returns:
        The tensors by name, in the order of their bytes; they cannot be written to.

    Raises:
        ValueError: it is no such file, or one whose tensors do not fill it one after the other.

    Example:
        ```python
        import json
        import numpy as np
        from mtlzoo.pretrained import safetensors

        header = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
        header = json.dumps(header).encode()
        numbers = np.array([1, 2], "<f4").tobytes()
        safetensors.read(len(header).to_bytes(8, "little") + header + numbers)["w"]  # [1., 2.]
        ```
    """
    size = int.from_bytes(content[:_LENGTH], "little")
    start = _LENGTH + size
    if len(content) < _LENGTH or start > len(content):
        raise ValueError(
            "The file should hold a header as long as it says. Received: "
            f"{size} bytes of header in a file of {len(content)} bytes"
        )
    try:
        header = json.loads(content[_LENGTH:start].decode("utf-8"))
    except ValueError as error:  # of UTF-8 and of JSON alike
        raise ValueError(f"The file's header should be JSON. Received: {error}") from error
    if not isinstance(header, dict):
        raise ValueError(f"The file's header should be a dict. Received: {header!r}"[:200])
    header.pop("__metadata__", None)
    entries = sorted((_checked(name, entry), name) for name, entry in header.items())
    tensors: dict[str, np.ndarray] = {}
    at = 0
    for (begin, end, dtype, shape), name in entries:
        if begin != at or end - begin != math.prod(shape) * np.dtype(dtype).itemsize:
            raise ValueError(
                "The file's tensors should lie one after the other, as long as their shapes say. "
                f"Received: `{name}` of shape {shape} from {begin} to {end}, where {at} was next"
            )
        at = end
        count = math.prod(shape)
        if start + end > len(content):
            break
        tensors[name] = np.frombuffer(content, dtype, count, start + begin).reshape(shape)
    if start + at != len(content):
        raise ValueError(
            "The file's tensors should fill it. Received: "
            f"{at} bytes of tensors, {len(content) - start} behind the header"
        )
    return tensors


def _checked(name: str, entry: Any) -> tuple[int, int, str, tuple[int, ...]]:
    """Where a tensor begins and ends, its type and its shape."""
    try:
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        dtype = _DTYPES[entry["dtype"]]
        if all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
            return begin, end, dtype, shape
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(
        f"`{name}` should have one of the types {sorted(_DTYPES)}, a shape and two offsets. "
        f"Received: {entry!r}"[:500]
    )
