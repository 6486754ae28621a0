"""Parts of a model that are differentiated by themselves, where and when their plan says."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.layers.positions import with_mask


def on_device(operation: Any, device: str) -> Callable:
    """A stand-in for a layer, or other operation, that runs on a device, forward and backward.

    The scope of `tf.device` reaches operations only while they are made, and those of the backward
    pass are made later: so the operation gets a tape of its own, whose gradient is taken in such a
    scope too.

    Args:
        operation: a Keras layer or operation.
        device: name of the device.
    """
    layers = operation._flatten_layers() if isinstance(operation, keras.layers.Layer) else []

    def call(*args: Any, **kwargs: Any) -> Any:
        given = keras.tree.flatten((args, kwargs))
        check_dense(given)
        places = [i for i, each in enumerate(given) if tf.is_tensor(each)]
        made: dict[str, Any] = {}

        @tf.custom_gradient
        def run(*tensors):
            filled = list(given)
            for i, tensor in zip(places, tensors, strict=True):
                filled[i] = with_mask(tensor, given[i])
            with tf.device(device), tf.GradientTape(persistent=True) as tape:
                tape.watch(learnable(tensors))
                new_args, new_kwargs = keras.tree.pack_sequence_as((args, kwargs), filled)
                outputs, losses = taking_losses(layers, lambda: operation(*new_args, **new_kwargs))
            made["outputs"], made["count"] = outputs, len(losses)
            results = [*keras.tree.flatten(outputs), *losses]

            def backward(*seeds, variables=None):
                with tf.device(device):
                    return gradients(tape, results, seeds, tensors, variables)

            return results, backward

        results = run(*(given[i] for i in places))
        outputs, losses = split_off(results, made["count"])
        if losses:
            layers[0]._losses.extend(losses)
        flat = keras.tree.flatten(made["outputs"])
        outputs = [with_mask(new, old) for new, old in zip(outputs, flat, strict=True)]
        return keras.tree.pack_sequence_as(made["outputs"], outputs)

    # By these Keras knows whether to tell it that this is training.
    call._call_context_args = getattr(operation, "_call_context_args", {})  # type: ignore[attr-defined]
    return call


def learnable(tensors: Sequence) -> list:
    """Those of some tensors, or `None`s, that have gradients."""
    return [tensor for tensor in tensors if tensor is not None and tensor.dtype.is_floating]


def check_dense(inputs: Sequence) -> None:
    """Refuse inputs by which a `tf.custom_gradient` would have none by variables, either.

    Raises:
        ValueError: for sparse or ragged ones.
    """
    for each in inputs:
        if isinstance(each, tf.SparseTensor | tf.RaggedTensor):
            raise ValueError(
                "With a plan, inputs that are sparse or ragged should not reach layers that are "
                f"placed or in stages: make them dense before. Received: {each!r}"
            )


def split_off(results: Sequence, count: int) -> tuple[list, list]:
    """A list without its last `count` entries, and these."""
    results = list(results)
    return results[: len(results) - count], results[len(results) - count :]


def taking_losses(layers: Sequence[keras.layers.Layer], run: Callable) -> tuple[Any, list]:
    """What `run` returns, and the losses that layers add meanwhile, which they then forget.

    Args:
        layers: the layers that it calls.
        run: a function without arguments.
    """
    # A call that is no part of another clears them all by itself, so that they are set aside.
    before = [list(layer._losses[:]) for layer in layers]
    for layer in layers:
        layer._losses.clear()
    outputs = run()
    taken = []
    for layer, losses in zip(layers, before, strict=True):
        taken += layer._losses[:]
        layer._losses.clear()
        layer._losses.extend(losses)
    return outputs, [tf.convert_to_tensor(loss) for loss in taken]


def gradients(
    tape: tf.GradientTape,
    results: Sequence,
    seeds: Sequence,
    tensors: Sequence,
    variables: Sequence | None,
) -> Any:
    """What the gradient function of a `tf.custom_gradient` is to return.

    Args:
        tape: it has seen how the results were made.
        results: tensors.
        seeds: one gradient for each.
        tensors: the arguments of the function.
        variables: those that it used, or `None`.
    """
    pairs = [(r, s) for r, s in zip(results, seeds, strict=True) if r.dtype.is_floating]
    pairs = [(r, s) for r, s in pairs if not is_nothing(s)]
    sources = [*learnable(tensors), *(variables or ())]
    found: list = [None] * len(sources)
    if pairs:
        ends, used = zip(*pairs, strict=True)
        found = tape.gradient(list(ends), sources, output_gradients=list(used))
    of_tensors = iter(found)
    first = [next(of_tensors) if t.dtype.is_floating else None for t in tensors]
    return first if variables is None else (first, list(of_tensors))


def is_nothing(seed: Any) -> bool:
    """Whether a gradient is the zeros that a tape fills in where nothing depends on a tensor.

    They must not come out as gradients: a task that depends on a variable with a gradient of zero
    is something else than one that does not depend on it.
    """
    if seed is None:
        return True
    if tf.executing_eagerly():  # where Keras was not asked, but all functions run so
        raise ValueError(
            "A model that runs by a plan should be trained in a graph. Received: eager execution"
        )
    operation = seed.op
    if operation.type == "Fill":  # of a large known shape; its value is the second input
        operation = operation.inputs[1].op
    if operation.type == "Const":
        return not np.any(tf.get_static_value(operation.outputs[0]))
    return operation.type == "ZerosLike"
