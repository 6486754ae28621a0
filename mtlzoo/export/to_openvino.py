"""OpenVINO: a file with the graph and one with the weights, for processors of Intel."""

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlzoo.export.exported import Exported
from mtlzoo.export.portable import refusal

SUFFIX = ".xml"
BESIDE = (".bin",)


def check(options: Mapping[str, Any]) -> None:
    """Check that options are arguments of `openvino.save_model`.

    Args:
        options: the options by name.

    Raises:
        ValueError: if one is not, or has an unusable value.
        ImportError: if OpenVINO is not installed.
    """
    _openvino()
    if set(options) - {"compress_to_fp16"}:
        raise ValueError(
            "`options` should have only 'compress_to_fp16' for the format 'openvino'. "
            f"Received: options={dict(options)!r}"
        )
    compress = options.get("compress_to_fp16", False)
    if not isinstance(compress, bool):
        raise ValueError(
            f"`compress_to_fp16` should be a boolean. Received: compress_to_fp16={compress!r}"
        )


def write(folder: str, path: Path, signatures: Sequence[str], options: Mapping[str, Any]) -> None:
    """Convert the signature `serving_default` of a SavedModel.

    Args:
        folder: its directory.
        path: the file to write; another one beside it ends in `.bin`.
        signatures: not used, since there is one for all tasks in such a file.
        options: arguments of `openvino.save_model`. Weights stay in float32 without one.

    Raises:
        ValueError: if the format does not have an operation of the model.
    """
    del signatures
    openvino = _openvino()
    try:
        # Not by `convert_model`, which tells Intel of each conversion and waits for the network.
        model = openvino.Core().read_model(folder)
    except Exception as error:  # of several kinds
        told = r"(?:No conversion rule found for operations|Conversion is failed for): (.*)"
        raise refusal("openvino", re.findall(told, str(error)), error) from error
    openvino.save_model(model, str(path), **{"compress_to_fp16": False, **options})


def load(path: Path) -> Exported:
    """Load a file, to be run in float32 on the CPU.

    Args:
        path: the file that ends in `.xml`.

    Raises:
        ImportError: if OpenVINO is not installed.
    """
    # On some processors its own choice is bfloat16, which differs by 1e-3.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = _openvino().Core().compile_model(str(path), "CPU", settings)

    alone = threading.Lock()  # the model has one request, which two calls cannot share

    def answers(rows: Mapping[str, Any]) -> dict[str, Any]:
        with alone:
            found = model(dict(rows))
        return {each.any_name: found[each] for each in model.outputs}

    return Exported(
        format="openvino",
        inputs={
            each.any_name: (
                each.element_type.to_dtype().name,
                tuple(
                    None if size.is_dynamic else size.get_length() for size in each.partial_shape
                ),
            )
            for each in model.inputs
        },
        signatures={"serve": answers},
    )


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise ImportError(
            "The format 'openvino' should have OpenVINO. "
            "Install it with `pip install 'mtlzoo[openvino]'`"
        ) from error
    return openvino
