"""ONNX: a file that many runtimes read."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtlzoo.export.exported import Exported
from mtlzoo.export.portable import refusal

SUFFIX = ".onnx"
BESIDE = ()
_OPSET = 18
_INSTALL = "Install it with `pip install 'mtlzoo[onnx]'`"


def check(options: Mapping[str, Any]) -> None:
    """Check that the only option is an opset that tf2onnx knows.

    Args:
        options: the options by name.

    Raises:
        ValueError: if there is another one, or it is out of its range.
        ImportError: if tf2onnx is not installed.
    """
    if set(options) - {"opset"}:
        raise ValueError(
            "`options` should have only 'opset' for the format 'onnx'. "
            f"Received: options={dict(options)!r}"
        )
    try:
        import onnx  # noqa: F401
        from tf2onnx import constants
    except ImportError as error:
        raise ImportError(
            f"The format 'onnx' should have tf2onnx to write it. {_INSTALL}"
        ) from error
    opset, most = options.get("opset", _OPSET), max(constants.OPSET_TO_IR_VERSION)
    if not isinstance(opset, int) or isinstance(opset, bool) or not 9 <= opset <= most:
        raise ValueError(
            f"`opset` should be an integer from 9 to {most}. Received: opset={opset!r}"
        )


def write(folder: str, path: Path, signatures: Sequence[str], options: Mapping[str, Any]) -> None:
    """Convert the signature `serve` of a SavedModel.

    Args:
        folder: its directory.
        path: the file to write.
        signatures: not used, since there is one for all tasks in such a file.
        options: the `opset`.

    Raises:
        ValueError: if the format does not have an operation of the model.
    """
    del signatures
    import onnx
    from tf2onnx import optimizer, tf_loader, tfonnx

    with _quiet():
        # Tables of look-ups are read from the SavedModel only: a function does not tell of them.
        graph, inputs, outputs, tables, renamed = tf_loader.from_saved_model(
            folder,
            None,
            None,
            "serve",
            ["serve"],
            return_initialized_tables=True,
            return_tensors_to_rename=True,
        )
        with tf.Graph().as_default() as imported:
            tf.import_graph_def(graph, name="")
            try:
                converted = tfonnx.process_tf_graph(
                    imported,
                    opset=options.get("opset", _OPSET),
                    input_names=inputs,
                    output_names=outputs,
                    initialized_tables=tables,
                    tensors_to_rename=renamed,
                    custom_op_handlers={"Log1p": (_log1p, [])},
                )
                model = optimizer.optimize_graph(converted).make_model("mtlzoo")
            except Exception as error:  # of several kinds
                raise refusal("onnx", [], error) from error
    # What it cannot convert it logs, and leaves as it is.
    missing = [n.op_type for n in model.graph.node if not onnx.defs.has(n.op_type, n.domain)]
    if missing:
        raise refusal("onnx", missing, None)
    path.write_bytes(model.SerializeToString())


def load(path: Path) -> Exported:
    """Load a file.

    Args:
        path: the file.

    Raises:
        ImportError: if onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"ONNX files should have onnxruntime to run them. {_INSTALL}") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = [each.name for each in session.get_outputs()]

    def answers(rows: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, session.run(None, dict(rows)), strict=True))

    return Exported(
        format="onnx",
        inputs={
            each.name: (
                _DTYPES[each.type.removeprefix("tensor(").rstrip(")")],
                tuple(size if isinstance(size, int) else None for size in each.shape),
            )
            for each in session.get_inputs()
        },
        signatures={"serve": answers},
    )


def _log1p(graph: Any, node: Any, name: str, args: Any) -> None:
    """Logarithm of 1 + x as ONNX writes it, which is exact to the rounding of 1 + x."""
    del args
    from onnx.helper import tensor_dtype_to_np_dtype

    kind = tensor_dtype_to_np_dtype(graph.get_dtype(node.input[0]))
    one = graph.make_const(f"{name}/one", np.ones((), kind)).output[0]
    more = graph.insert_new_node_on_input(node, "Add", [node.input[0], one], input_index=0)
    graph.copy_shape(node.output[0], more.output[0])
    graph.copy_dtype(node.output[0], more.output[0])
    node.type = "Log"


_DTYPES = {
    **{"float": "float32", "double": "float64", "string": "string", "bool": "bool"},
    **{name: name for name in ("float16", "int8", "uint8", "int16", "int32", "int64")},
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the log of tf2onnx, which tells errors that are told as one here."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
