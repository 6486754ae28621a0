"""The formats: what ends a path, what writes and what runs it."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from mtlzoo.export import saved_model, to_litert, to_onnx, to_openvino
from mtlzoo.export.exported import Exported

# What others than TensorFlow run, each a file that ends so.
CONVERTED: Mapping[str, ModuleType] = {
    "litert": to_litert,
    "onnx": to_onnx,
    "openvino": to_openvino,
}


def names() -> list[str]:
    """The formats that `save` writes, in Keras's words.

    Returns:
        A list of names.
    """
    return ["tf_saved_model", *CONVERTED]


def load(path: str | os.PathLike) -> Exported:
    """Load a written model into the runtime of its format.

    Args:
        path: what `save` has written: the directory of a SavedModel, or a file whose name ends in
            `.tflite`, `.onnx` or `.xml`.

    Returns:
        An `Exported`, which answers rows.

    Raises:
        ValueError: if there is no such file, its name ends otherwise, or it cannot be read.
        ImportError: if the runtime is not installed.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, HardSharing, Regression, export

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,), name="features"), tasks, shared_units=(16,))
    exported = export.load(export.save(model, "served"))
    exported.inputs  # {"features": ("float32", (None, 8))}
    sorted(exported.signatures)  # ["click", "serve", "stay"]
    exported.answer({"features": np.zeros((2, 8))}, "stay")  # {"stay": (2, 1)}
    ```
    """
    place = Path(_checked(path))
    if (place / "saved_model.pb").is_file():
        return _loaded(saved_model, place)
    for form in CONVERTED.values():
        if place.suffix == form.SUFFIX and place.is_file():
            return _loaded(form, place)
    raise ValueError(
        "`path` should be the directory of a SavedModel, or a file that ends in "
        f"{[form.SUFFIX for form in CONVERTED.values()]}. Received: path={str(path)!r}"
    )


def _loaded(form: ModuleType, place: Path) -> Exported:
    try:
        return form.load(place)
    except ImportError:
        raise
    except Exception as error:  # of several kinds, by runtime
        raise ValueError(
            f"`path` should be a written model that can be read. Received: path={str(place)!r}, "
            f"which gives {type(error).__name__}: {error}"
        ) from error


def _checked(path: Any) -> str:
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"`path` should be the path of a written model. Received: path={path!r}")
    return os.fspath(path)
