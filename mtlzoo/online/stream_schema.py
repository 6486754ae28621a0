"""Which parts a row or a batch of a stream has, by name."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from mtlzoo.online.cells import Column

KEYS = ("x", "y", "sample_weight", "id", "time")


class Parts(NamedTuple):
    """A row or a batch, told apart; what was not given is `None` or not in the dict.

    Attributes:
        x: the inputs by name.
        y: the labels by task.
        sample_weight: the sample weights by task.
        id: what the row is known by.
        time: when it came about.
    """

    x: dict[str, Any] | None
    y: dict[str, Any]
    sample_weight: dict[str, Any]
    id: Any
    time: Any

    def kind(self) -> tuple[str, ...]:
        """Which of those that all rows of a batch have or none."""
        return tuple(key for key in ("x", "id", "time") if getattr(self, key) is not None)


class Schema:
    """The inputs and tasks that a stream may have.

    Args:
        inputs: symbolic inputs, one or a dict or list of them.
        tasks: the names of the tasks.

    Attributes:
        columns: what each input should be, by name.
        listed: whether the inputs are a list.

    Raises:
        ValueError: if inputs are nested in each other.
    """

    def __init__(self, inputs: Any, tasks: Sequence[str]) -> None:
        self._tasks = sorted(tasks)
        self._structure = inputs
        by_name = inputs if isinstance(inputs, Mapping) else None
        tensors = list(by_name.values()) if by_name else keras.tree.flatten(inputs)
        parts = list(inputs) if isinstance(inputs, list | tuple) else tensors
        if any(isinstance(part, Mapping | list | tuple) for part in parts):
            raise ValueError(
                "`model` should have one input, or a dict or a list of them, for a stream. "
                "Received: inputs that are nested in each other"
            )
        names = list(by_name) if by_name else [tensor.name for tensor in tensors]
        self.columns = {
            name: Column(f"Input `{name}`", tuple(tensor.shape[1:]), tensor.dtype)
            for name, tensor in zip(names, tensors, strict=True)
        }
        self.listed = isinstance(inputs, list | tuple)

    def pack(self, columns: Mapping[str, Any]) -> Any:
        """The inputs in the form of the model.

        Args:
            columns: the inputs by name.
        """
        if isinstance(self._structure, Mapping):
            return {name: columns[name] for name in self.columns}
        if self.listed:
            return [columns[name] for name in self.columns]
        return next(iter(columns.values()))

    def split(self, given: Mapping[str, Any]) -> Parts | str:
        """Tell the parts of a row or a batch apart.

        Args:
            given: a dict with keys among `KEYS`.

        Returns:
            The parts, or what is wrong with their names.
        """
        if unknown := [key for key in given if key not in KEYS]:
            return f"A row should have the keys {list(KEYS)} only. Received: {unknown[0]!r}"
        given = {key: value for key, value in given.items() if value is not None}
        x = self._inputs(given["x"]) if "x" in given else None
        y = self._by_task("`y`", given.get("y", {}))
        weights = given.get("sample_weight", {})
        if not isinstance(weights, Mapping) and isinstance(y, dict):
            weights = dict.fromkeys(y, weights)
        weights = self._by_task("`sample_weight`", weights)
        for part in (x, y, weights):
            if isinstance(part, str):
                return part
        if x is None and not ("id" in given and y):
            return (
                "A row should have inputs, or an id and labels. "
                f"Received: {sorted(given) or 'nothing'}"
            )
        return Parts(x, y, weights, given.get("id"), given.get("time"))  # type: ignore[arg-type]

    def _inputs(self, x: Any) -> dict[str, Any] | str:
        names = list(self.columns)
        if not isinstance(x, Mapping):
            if self.listed and isinstance(x, list | tuple) and len(x) == len(names):
                return dict(zip(names, x, strict=True))
            if not self.listed and not isinstance(self._structure, Mapping):
                return {names[0]: x}
            form = "list" if self.listed else "dict"
            return f"`x` should be a {form} of the inputs {names}. Received: {type(x).__name__}" + (
                f" of {len(x)}" if isinstance(x, list | tuple) else ""
            )
        if set(x) == set(names):
            return dict(x)
        received = [f"no {name!r}" for name in names if name not in x][:1]
        received += [f"{name!r}" for name in x if name not in names][:1]
        return f"`x` should have the inputs {names}. Received: {', and '.join(received)}"

    def _by_task(self, what: str, given: Any) -> dict[str, Any] | str:
        if not isinstance(given, Mapping):
            return f"{what} should be a dict by task name. Received: {type(given).__name__}"
        if unknown := [name for name in given if name not in self._tasks]:
            return f"{what} should have only the tasks {self._tasks}. Received: {unknown[0]!r}"
        return {name: value for name, value in given.items() if value is not None}
