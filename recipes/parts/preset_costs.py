"""What a preset costs: floating-point operations of a row, milliseconds of a call."""

import math
import os
import pathlib
import statistics
import tempfile
import time
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from mtlzoo import MultiTaskModel

CALLS, WARM_UP = 50, 5


def flops(model: MultiTaskModel) -> int:
    """Count the floating-point operations for one row, from the frozen graph.

    They are those that TensorFlow's profiler counts, of which a multiplication and an addition are
    two, and `Einsum`, which it does not know. The preprocessor is left out.

    Args:
        model: the model.
    """
    signature = keras.tree.map_structure(
        lambda t: tf.TensorSpec([1 if n is None else n for n in t.shape], t.dtype), model.input
    )
    call = tf.function(lambda x: model(x, training=False)).get_concrete_function(signature)
    graph = convert_variables_to_constants_v2(call, lower_control_flow=False).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    with graph.as_default():
        counted = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    own = sum(_of_einsum(op) for op in graph.get_operations() if op.type == "Einsum")
    return int(counted.total_float_ops + own)


def _of_einsum(op: tf.Operation) -> int:
    """Operations of a product of tensors: a product and a sum for each value of all its letters."""
    sizes: dict[str, int] = {}
    terms = op.get_attr("equation").decode().split("->")[0].split(",")
    for term, tensor in zip(terms, op.inputs, strict=True):
        letters, shape = term.replace("...", ""), [int(n) for n in tensor.shape]
        sizes |= dict(zip(reversed(letters), reversed(shape), strict=False))
        sizes["..."] = max(sizes.get("...", 1), math.prod(shape[: len(shape) - len(letters)]))
    return 2 * math.prod(sizes.values())


def latency(model: MultiTaskModel, batches: tuple[int, ...] = (1, 256)) -> dict[str, Any]:
    """Measure calls of the exported model, raw rows in and answers out.

    Args:
        model: the model.
        batches: rows of a call.

    Returns:
        The medians in milliseconds as `batch_1` and the like, and the `machine`.
    """
    found: dict[str, Any] = {"machine": f"{len(os.sched_getaffinity(0))} CPU cores"}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "served")
        model.export(path)
        served = tf.saved_model.load(path).signatures["serve"]
        specs = served.structured_input_signature[1]
        for size in batches:
            rows = {name: _rows(spec, size) for name, spec in specs.items()}
            found[f"batch_{size}"] = _median(lambda rows=rows: served(**rows))
    return found


def _rows(spec: tf.TensorSpec, size: int) -> tf.Tensor:
    shape = [size, *(16 if n is None else n for n in spec.shape[1:])]
    return tf.fill(shape, "a") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)


def _median(call: Any) -> float:
    seconds = []
    for _ in range(WARM_UP + CALLS):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return round(1000 * statistics.median(seconds[WARM_UP:]), 3)
