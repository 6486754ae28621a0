"""What models that learn from other models have in common."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

# How weights of labels that are not there yet travel among the labels.
_WEIGHT = "weight of "


def without_padding(tensor: Any) -> Any:
    """Outputs of the steps of sequences, with NaN in those that their Keras mask leaves out.

    Args:
        tensor: `(B, S, F)`, as a model has put it out.
    """
    mask = getattr(tensor, "_keras_mask", None)
    if mask is None:
        return tensor
    return tf.where(mask[..., None], tensor, tf.cast(float("nan"), tensor.dtype))


def put_aside(
    names: Iterable[str], y: Mapping[str, Any], given: Any, found: tuple[Any, Any]
) -> tuple[Any, Any]:
    """Labels and weights of arrays in the form that Keras wants, which has weights of labels only,
    together with the weights of labels that are computed in each step.

    Args:
        names: the tasks whose labels are computed.
        y: the labels that are given.
        given: the sample weights that are given, a dict by task or one array for all.
        found: the labels and weights of the tasks that have labels.
    """
    labels, weights = found
    if given is None or weights is None:
        return found
    for name in names:
        own = given.get(name) if isinstance(given, Mapping) else given
        if own is not None and name not in y:
            labels = {**labels, _WEIGHT + name: keras.ops.convert_to_numpy(own)}
            weights = {**weights, _WEIGHT + name: keras.ops.convert_to_numpy(own)}
    return labels, weights


def take_back(y: Mapping[str, Any], sample_weight: Any) -> tuple[dict[str, Any], Any]:
    """What `put_aside` has put among the labels of a batch, back among the weights.

    Args:
        y: the labels of the batch.
        sample_weight: its sample weights.
    """
    aside = {name: w for name, w in y.items() if name.startswith(_WEIGHT)}
    y = {name: labels for name, labels in y.items() if name not in aside}
    if isinstance(sample_weight, Mapping):
        kept = {name: w for name, w in sample_weight.items() if name not in aside}
        moved = {name.removeprefix(_WEIGHT): w for name, w in aside.items()}
        sample_weight = {**kept, **moved}
    return y, sample_weight
