"""Writes files as PyTorch did before version 1.6, without PyTorch."""

import io
import pickle
from collections import OrderedDict

import numpy as np

STORAGES = {
    "<f2": "HalfStorage",
    "<f4": "FloatStorage",
    "<f8": "DoubleStorage",
    "<i8": "LongStorage",
}


class Global:
    """Something that is pickled by this name, whether it exists here or not."""

    def __init__(self, module, name):
        self.line = f"{module}\n{name}\n".encode()

    def __call__(self):  # what is called should be callable, pickle finds
        raise AssertionError


class Called:
    """Pickled as a call of something."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


class _Storage:
    def __init__(self, *pid):
        self.pid = pid


class _Pickler(pickle._Pickler):  # the one in Python, which can be told how to write a name
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, _Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + obj.line)
        else:
            super().save(obj, save_persistent_id)


def old_torch_file(tensors, extra=None, part=None, magic=0x1950A86A20F9469CFC6C):
    """The content of a file.

    Args:
        tensors: by name the arrays, whose own strides are kept.
        extra: something more to pickle among the tensors.
        part: what the storages say that they are a part of.
        magic: the number that the file begins with.
    """
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    state, bodies = OrderedDict(), {}
    for number, (name, array) in enumerate(tensors.items()):
        whole = array  # of a view, what it is a view of
        while whole.base is not None:
            whole = whole.base
        whole = np.asarray(whole)
        offset = (array.ctypes.data - whole.ctypes.data) // array.itemsize
        strides = tuple(s // array.itemsize for s in array.strides)
        key, entries = str(7 * number + 1), whole.ravel(order="K")
        kind = Global("torch", STORAGES[array.dtype.str])
        storage = _Storage("storage", kind, key, "cpu", entries.size, part)
        hooks = OrderedDict()
        state[name] = Called(rebuild, storage, offset, array.shape, strides, False, hooks)
        bodies[key] = entries.size.to_bytes(8, "little") + entries.tobytes()
    if extra is not None:
        state["extra"] = extra
    file = io.BytesIO()
    keys = sorted(bodies)  # as strings, and so in another order than the tensors
    for thing in (magic, 1001, {"little_endian": True}, state, keys):
        _Pickler(file, 2).dump(thing)
    return file.getvalue() + b"".join(bodies[key] for key in keys)
