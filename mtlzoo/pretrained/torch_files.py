"""Reading weights that PyTorch has saved, in the form before version 1.6, without PyTorch.

Such a file is five pickles, one after the other (a magic number, the version of the form, the sizes
of numbers, the tensors by name, the keys of their storages), and then of each storage the number of
its entries and their bytes. A tensor is a view of a storage: it says where it begins, its shape and
its strides, which need not be those of rows one after the other.

A pickle can call whatever it names. The caller compares the file's checksum before; here only the
few names are known that tensors need, and none of them is looked up.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


class _Storage(NamedTuple):
    key: str
    dtype: str
    size: int


class _View(NamedTuple):
    """What `_rebuild_tensor_v2` is called with: a tensor, whose storage follows in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    hooks: Any

    def of(self, entries: np.ndarray) -> np.ndarray:
        """The tensor, as an array of its own."""
        strides = self.strides
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, strides, strict=True))
        if 0 in self.shape:
            return np.empty(self.shape, entries.dtype)
        if min((self.offset, *strides, *self.shape)) < 0 or last >= len(entries):
            raise ValueError(
                "The file's tensors should lie in their storages. Received: one of shape "
                f"{self.shape}, strides {strides}, offset {self.offset} in {len(entries)} entries"
            )
        steps = [s * entries.itemsize for s in strides]
        view = np.lib.stride_tricks.as_strided(entries[self.offset :], self.shape, steps)
        return np.array(view)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _View
        if module == "torch" and name in _DTYPES:
            return name
        raise ValueError(
            "The file should name nothing but tensors, their storages and ordered dicts. "
            f"Received: {module}.{name}"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, size, part = pid
        if kind != "storage" or storage not in _DTYPES or part is not None:
            raise ValueError(f"The file should refer to whole storages only. Received: {pid!r}")
        return _Storage(key, _DTYPES[storage], size)


def read(content: bytes) -> dict[str, np.ndarray]:
    """Read the tensors of a file, whose checksum the caller has compared.

    Args:
        content: the file's content.

    Returns:
        The tensors by name, in the file's order.

    Raises:
        ValueError: it is another kind of file, names anything but tensors, or is not whole.
    """
    file = io.BytesIO(content)
    head = [_load(file) for _ in range(3)]
    if head[:2] != [_MAGIC, _VERSION] or not head[2]["little_endian"]:
        raise ValueError(
            "The file should be one of PyTorch's before 1.6, of little-endian numbers. "
            f"Received: {head}"
        )
    views, keys = _load(file), _load(file)
    storages = {view.storage.key: view.storage for view in views.values()}
    if sorted(storages) != sorted(keys):
        raise ValueError(
            f"The file should hold the storages of its tensors. Received: {len(keys)} storages for "
            f"{len(storages)}"
        )
    entries = {}
    for key in keys:
        _, dtype, size = storages[key]
        num_bytes = size * np.dtype(dtype).itemsize
        header, body = file.read(8), file.read(num_bytes)
        if int.from_bytes(header, "little") != size or len(body) != num_bytes:
            raise ValueError(f"The file should be whole. Received: {len(content)} bytes")
        entries[key] = np.frombuffer(body, dtype)
    return {name: view.of(entries[view.storage.key]) for name, view in views.items()}


def _load(file: io.BytesIO) -> Any:
    try:
        return _Unpickler(file).load()
    except (pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            f"The file should be one of PyTorch's before 1.6. Received: one at which pickle says: "
            f"{error}"
        ) from error
