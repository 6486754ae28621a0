"""Checks of what a learner and its `run` are given."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtlzoo.data.arguments import check_count
from mtlzoo.layers.arguments import check_bool
from mtlzoo.models.multi_task_model import MultiTaskModel


def check(
    model: Any,
    numbers: Mapping[str, Any],
    kinds: Mapping[str, tuple[Any, type]],
    methods: Mapping[str, tuple[Any, Sequence[str]]],
    preprocessor: Any,
) -> None:
    """Check the arguments of a learner.

    Args:
        model: the model.
        numbers: by argument what should be a positive integer.
        kinds: by argument what should be of a class, or `None`, and the class.
        methods: by argument what should have methods, or be `None`, and their names.
        preprocessor: is checked as far as `Reader` does not.

    Raises:
        ValueError: naming the argument that is something else.
    """
    if not isinstance(model, MultiTaskModel) or not model.compiled:
        raise ValueError(
            "`model` should be a multi-task model that is compiled. "
            f"Received: a {type(model).__name__}"
            + (" that is not" if isinstance(model, MultiTaskModel) else "")
        )
    for name, value in numbers.items():
        check_count(name, value)
    if isinstance(preprocessor, str) and preprocessor == "own" and model.preprocessor is None:
        raise ValueError(
            "`preprocessor` should be a Keras model, or None, for a model that has none of its "
            "own. Received: preprocessor='own'"
        )
    for name, (value, kind) in kinds.items():
        if value is not None and not isinstance(value, kind):
            raise ValueError(
                f"`{name}` should be of `mtlzoo.online.{kind.__name__}`, or None. "
                f"Received: {name}={value!r}"
            )
    rows, most = getattr(kinds["update"][0], "rows", None), numbers["most_waiting"]
    if rows is not None and np.max(rows) > most:  # one number, or the smallest and the largest
        raise ValueError(
            "`most_waiting` should be at least the `rows` of the update policy, which else never "
            f"has so many. Received: most_waiting={most}, rows={rows}"
        )
    for name, (value, names) in methods.items():
        if value is not None and not all(callable(getattr(value, each, None)) for each in names):
            raise ValueError(
                f"`{name}` should have the methods {list(names)}, or be None. "
                f"Received: {name}={value!r}"
            )


def check_run(stream: Any, skip_read: Any, at_end: Any) -> None:
    """Check the arguments of `run`.

    Args:
        stream: should be an iterable.
        skip_read: should be a bool, and `False` with an `Intake` that samples.
        at_end: should be `"learn"` or `"keep"`.

    Raises:
        ValueError: naming the argument that is something else.
    """
    if not hasattr(stream, "__iter__"):
        raise ValueError(
            "`stream` should be an iterable of elements, such as a generator or a data set. "
            f"Received: stream={stream!r}"
        )
    if check_bool("skip_read", skip_read) and getattr(stream, "when_full", None) == "sample":
        raise ValueError(
            "`skip_read` should be False with an `Intake` that leaves out rows, since it does not "
            "leave out the same ones again. Received: skip_read=True, when_full='sample'"
        )
    if at_end not in ("learn", "keep"):
        raise ValueError(f"`at_end` should be 'learn' or 'keep'. Received: at_end={at_end!r}")
