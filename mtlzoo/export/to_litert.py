"""LiteRT, which was TensorFlow Lite: a file for telephones and small computers."""

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtlzoo.export.exported import Exported
from mtlzoo.export.portable import refusal

SUFFIX = ".tflite"
BESIDE = ()


def check(options: Mapping[str, Any]) -> None:
    """Check that options are attributes of the converter, methods not among them.

    Args:
        options: the options by name.

    Raises:
        ValueError: if one is not.
    """
    converter = tf.lite.TFLiteConverter([])
    known = {name for name in dir(converter) if name[0] != "_"}
    for name in options:
        if name not in known or callable(getattr(converter, name)):
            raise ValueError(
                "`options` should be attributes of `tf.lite.TFLiteConverter`. "
                f"Received: {name!r} in options={dict(options)!r}"
            )


def write(folder: str, path: Path, signatures: Sequence[str], options: Mapping[str, Any]) -> None:
    """Convert a SavedModel.

    Args:
        folder: its directory.
        path: the file to write.
        signatures: those that the file has.
        options: attributes of the converter.

    Raises:
        ValueError: if the format does not have an operation of the model.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
    for name, value in options.items():
        setattr(converter, name, value)
    try:
        content = converter.convert()
    except Exception as error:  # of several kinds
        missing = re.findall(r"(?:TF Select|Custom) ops: (.*)", str(error))
        raise refusal("litert", missing, error) from error
    path.write_bytes(content)


def load(path: Path) -> Exported:
    """Load a file.

    Args:
        path: the file.

    Raises:
        ImportError: if ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            "LiteRT files should have ai-edge-litert to run them. "
            "Install it with `pip install 'mtlzoo[litert]'`"
        ) from error
    interpreter = Interpreter(model_path=str(path))
    runners = {
        name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()
    }
    any_runner = next(iter(runners.values()))
    alone = threading.Lock()  # all runners fill and read the tensors of one interpreter

    def answering(runner: Any):
        def answers(rows: Mapping[str, Any]) -> dict[str, Any]:
            with alone:
                return dict(runner(**rows))

        return answers

    return Exported(
        format="litert",
        inputs={
            name: (_dtype(detail["dtype"]), _shape(detail["shape_signature"]))
            for name, detail in any_runner.get_input_details().items()
        },
        signatures={name: answering(runner) for name, runner in runners.items()},
    )


def _dtype(dtype: Any) -> str:
    return "string" if np.dtype(dtype).kind in "OSU" else np.dtype(dtype).name


def _shape(sizes: Any) -> tuple[int | None, ...]:
    return tuple(None if size < 0 else int(size) for size in sizes)
