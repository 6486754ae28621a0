"""What a model answers to a few rows that are the same everywhere: whether a preset is whole."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.models.multi_task_model import MultiTaskModel

_ROWS, _SEED = 4, 0
_FIRST = 3  # numbers of each row that are kept
_ANY_SIZE = 16  # of an axis without one, such as the length of a text
_WORDS = np.array(["a", "good", "day", "7", "not", "known"])
_WORDS_OF_EACH = 32  # the first and the last that a lookup knows
# Sums in another order, on another processor, differ by less in a network of some dozen layers.
TOLERANCE = 1e-3


def rows(model: keras.Model, words: np.ndarray | None = None) -> Any:
    """Rows of random numbers and words as a model takes them, in the structure of its inputs.

    Args:
        model: the functional model. Whole numbers are 0 and 1: any table of embeddings has rows
            for them.
        words: words of which each row of a text has the next. Defaults to `None`, a few rows of a
            few words.
    """
    generator = np.random.default_rng(_SEED)
    count = _ROWS if words is None else max(_ROWS, len(words))

    def made(tensor):
        shape = (count, *(_ANY_SIZE if size is None else size for size in tensor.shape[1:]))
        if tensor.dtype == "string":
            if words is None:
                return keras.ops.convert_to_tensor(generator.choice(_WORDS, shape))
            places = np.arange(count).reshape(-1, *[1] * (len(shape) - 1))
            places = places + np.arange(int(np.prod(shape[1:]))).reshape(shape[1:])
            return keras.ops.convert_to_tensor(words[places % len(words)])
        if tensor.dtype == "bool":
            return generator.integers(0, 2, shape).astype("bool")
        if keras.backend.is_int_dtype(tensor.dtype):
            return generator.integers(0, 2, shape).astype(tensor.dtype)
        return generator.normal(size=shape).astype(tensor.dtype)

    return keras.tree.map_structure(made, model.input)


def fingerprint(model: MultiTaskModel) -> dict[str, dict[str, Any]]:
    """Take a model's fingerprint.

    Args:
        model: the model.

    Returns:
        By task the `mean` and the `std` of what it answers to `rows`, and the `first` numbers of
        each row.

    Raises:
        ValueError: if an answer is not finite.
    """
    found = {}
    outputs = model(rows(model), training=False)
    for task in model.task_names:
        values = keras.ops.convert_to_numpy(outputs[task]).astype("float64").reshape(_ROWS, -1)
        if not np.isfinite(values).all():
            raise ValueError(
                f"The model should answer finite numbers for task `{task}` to rows of normal "
                "random numbers; what takes no negative ones, such as a logarithm, belongs into "
                f"its preprocessor. Received: {values}"
            )
        found[task] = {
            "mean": _rounded(values.mean()),
            "std": _rounded(values.std()),
            "first": [[_rounded(value) for value in row[:_FIRST]] for row in values],
        }
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def distance(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, float]:
    """How far two fingerprints are apart, by task, in units of what is kept of the answers.

    Args:
        found: one of them.
        wanted: the other, of the same tasks.
    """
    apart = {}
    for task, values in wanted.items():
        own = _flat(found[task])
        other = _flat(values)
        if own.shape != other.shape:
            apart[task] = float("inf")
        else:
            apart[task] = float(np.abs(own - other).max() / max(1.0, np.abs(other).max()))
    return apart


def _flat(values: Mapping[str, Any]) -> np.ndarray:
    return np.array([values["mean"], values["std"], *np.ravel(values["first"])])


def front_distance(front: keras.Model, other: keras.Model) -> float:
    """How far the outputs of two preprocessors of one kind are apart on the same rows.

    Args:
        front: one of them.
        other: the other, of whose words the rows are. Where it takes no random rows, such as text
            that has to be an image, the answer is 0.
    """
    try:
        given = rows(other, _words_of(other))
        wanted = keras.tree.flatten(other(given, training=False))
    except (AttributeError, ValueError, tf.errors.InvalidArgumentError):
        return 0.0
    found = keras.tree.flatten(front(given, training=False))
    pairs = zip(found, wanted, strict=True)
    return max(_apart(np.asarray(f), np.asarray(w)) for f, w in pairs)


def _words_of(front: keras.Model) -> np.ndarray:
    """Words that a preprocessor knows, of each of its lookups some, and words that it does not."""
    found = [_WORDS]
    for layer in front._flatten_layers():
        if hasattr(layer, "get_vocabulary"):
            words = layer.get_vocabulary(include_special_tokens=False)
            found.append(np.asarray(words[: _WORDS_OF_EACH // 2]).astype(str))
            found.append(np.asarray(words[-_WORDS_OF_EACH // 2 :]).astype(str))
    return np.unique(np.concatenate(found))


def _apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """The greatest difference; infinite where one side alone is NaN, or texts differ."""
    if found.dtype == object or found.shape != wanted.shape:
        return 0.0 if np.array_equal(found, wanted) else float("inf")
    one, other = found.astype("float64"), wanted.astype("float64")
    finite = np.isfinite(other)  # such as not a logarithm of what is negative
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return float("inf")
    largest = float(np.abs(one - other)[finite].max(initial=0))
    return largest if np.isfinite(largest) else float("inf")
