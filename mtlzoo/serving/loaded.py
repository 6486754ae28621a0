"""One version in memory."""

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from mtlzoo.export.exported import described, fits

_WHERE = re.compile(r"\s*$|Graph execution error|Detected at node|<stack traces|\s*\[\[")


class Loaded:
    """A SavedModel that `mtlzoo.export.save` has written, and how many requests it is answering.

    Args:
        number: the number of the version.
        path: its folder.

    Attributes:
        number: the number of the version.
        requests: how many requests are under way; whoever serves counts them.
        last: the last request of each signature that had one.
    """

    def __init__(self, number: int, path: str | os.PathLike) -> None:
        self.number = number
        self.requests = 0
        # The last request of each signature.
        self.last: dict[str, Any] = {}
        self._model: Any = tf.saved_model.load(os.fspath(path))
        if not hasattr(self._model, "serve"):
            raise ValueError(
                "A version should be a SavedModel with a signature `serve`. "
                f"Received: {sorted(self._model.signatures)}"
            )

    def describe(self) -> dict[str, Any]:
        """What the version takes and answers, in lists, dicts, strings and numbers."""
        functions = {n: f for n, f in self._model.signatures.items() if n != "serving_default"}
        _, inputs = functions["serve"].structured_input_signature
        return {
            "version": self.number,
            "tasks": sorted(functions.keys() - {"serve"}),
            "inputs": {name: _told(spec) for name, spec in sorted(inputs.items())},
            "signatures": {
                name: {k: _told(v) for k, v in sorted(function.structured_outputs.items())}
                for name, function in sorted(functions.items())
            },
        }

    def answer(self, x: Any, signature: str) -> dict[str, np.ndarray]:
        """What a signature answers.

        Args:
            x: the inputs in the form of the model.
            signature: its name.

        Raises:
            ValueError: if there is no such signature, or `x` does not fit, or the model refuses it.
        """
        function, inputs = self._function(signature)
        x = _fit(x, inputs)
        _check_rows(x)
        try:
            values = {name: np.asarray(each) for name, each in function(x).items()}
        except tf.errors.InvalidArgumentError as error:  # such as an id beyond a table
            raise ValueError(
                f"`x` should have values that the model takes. Received: {_reason(error.message)}"
            ) from error
        self.last[signature] = x
        return values

    def warm_up(self, requests: Mapping[str, Any]) -> None:
        """Answer once by each signature, since the first time takes longest.

        Args:
            requests: the last request of each signature that had one; others get zeros.
        """
        for signature in self._model.signatures:
            if signature == "serving_default":  # the same as `serve`
                continue
            function, inputs = self._function(signature)
            try:
                x = _fit(requests[signature], inputs)
            except (KeyError, ValueError):  # none, or of another version's inputs
                x = tf.nest.map_structure(_zeros, inputs)
            function(x)

    def _function(self, signature: str) -> tuple[Any, Any]:
        """What answers, and the specifications of what it takes."""
        if not isinstance(signature, str) or signature not in self._model.signatures:
            raise ValueError(
                f"`signature` should be one of {sorted(self._model.signatures)}. "
                f"Received: signature={signature!r}"
            )
        function = getattr(self._model, "serve" if signature == "serving_default" else signature)
        return function, function.concrete_functions[0].structured_input_signature[0][0]


def _reason(message: str) -> str:
    """What went wrong, without where in TensorFlow's graph."""
    lines = [line for line in message.splitlines() if not _WHERE.match(line)]
    return " ".join(lines) or message


def _check_rows(x: Any) -> None:
    sizes = [int(tensor.shape[0]) for tensor in tf.nest.flatten(x) if tensor.shape.rank]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"The inputs of `x` should have the same number of rows. Received: {sizes} rows"
        )


def _told(spec: tf.TensorSpec) -> dict[str, Any]:
    return {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    shape = [1 if size is None else size for size in spec.shape]
    return tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)


def _fit(x: Any, inputs: Any) -> Any:
    """The tensors that a signature takes, from `x` in its form or by name."""
    if isinstance(x, Mapping) and not isinstance(inputs, Mapping):
        named = {spec.name: spec for spec in tf.nest.flatten(inputs)}
        return tf.nest.pack_sequence_as(inputs, list(_fit(x, named).values()))
    if isinstance(inputs, Mapping):
        if not isinstance(x, Mapping) or set(x) != set(inputs):
            received = sorted(x, key=str) if isinstance(x, Mapping) else type(x).__name__
            raise ValueError(
                f"`x` should be a dict of the inputs {sorted(inputs)}. Received: {received}"
            )
        return {name: _fit(x[name], spec) for name, spec in inputs.items()}
    if isinstance(inputs, list | tuple):
        if not isinstance(x, list | tuple) or len(x) != len(inputs):
            received = f"{type(x).__name__}" + (f" of {len(x)}" if hasattr(x, "__len__") else "")
            raise ValueError(f"`x` should be a list of {len(inputs)} inputs. Received: {received}")
        return [_fit(each, spec) for each, spec in zip(x, inputs, strict=True)]
    try:
        array = np.asarray(x)
        if inputs.dtype != tf.string and not fits(array, inputs.dtype.as_numpy_dtype):
            raise TypeError(described(array))  # a cast would change the numbers
        if inputs.dtype.is_integer:
            array = array.astype(inputs.dtype.as_numpy_dtype)
        tensor = tf.convert_to_tensor(array, inputs.dtype)
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"Input `{inputs.name}` should be of dtype {inputs.dtype.name}. Received: {error}"
        ) from error
    if not inputs.shape.is_compatible_with(tensor.shape):
        raise ValueError(
            f"Input `{inputs.name}` should have shape {tuple(inputs.shape)}. "
            f"Received: shape={tuple(tensor.shape)}"
        )
    return tensor
