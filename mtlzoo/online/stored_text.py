"""Arrays of text in the state of a learner, whose file takes no objects."""

from typing import Any

import numpy as np

_TEXT, _SHAPE = "text:", "shape:"


def stored(value: Any) -> Any:
    """A state with lists in place of arrays of text, in UTF-8, byte by byte as characters.

    Args:
        value: nested dicts and lists.
    """
    if isinstance(value, dict):
        return {key: stored(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [stored(each) for each in value]
    if not isinstance(value, np.ndarray) or value.dtype != object:
        return value
    texts = (
        each.encode("utf-8", "surrogatepass") if isinstance(each, str) else each
        for each in value.ravel()
    )
    return {_TEXT: [each.decode("latin-1") for each in texts], _SHAPE: list(value.shape)}


def restored(value: Any) -> Any:
    """The state of which `stored` made this, with all text as bytes.

    Args:
        value: what `stored` gave.
    """
    if isinstance(value, list):
        return [restored(each) for each in value]
    if not isinstance(value, dict):
        return value
    if _TEXT not in value:
        return {key: restored(each) for key, each in value.items()}
    texts = [each.encode("latin-1") for each in value[_TEXT]]
    return np.array(texts, object).reshape(value[_SHAPE])
