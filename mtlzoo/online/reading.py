"""What a stream gives, checked row by row against what the model takes."""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.export import parts
from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.online import cells
from mtlzoo.online.batches import StreamBatch
from mtlzoo.online.cells import Column, Problems, shown
from mtlzoo.online.stream_labels import StreamLabels
from mtlzoo.online.stream_schema import KEYS, Parts, Schema


@dataclasses.dataclass(frozen=True)
class Fault:
    """A row that cannot be learned from.

    Attributes:
        row: the row as it came, or the whole element where its rows cannot be told apart.
        reason: what should be, and after `". Received: "` what is.
    """

    row: Any
    reason: str


class Reader:
    """Takes the rows of a stream that fit a model, and says of the others why they do not.

    An element of a stream is a batch, `(x, y)`, `(x, y, sample_weight)` or a dict with keys among
    `x`, `y`, `sample_weight`, `id` and `time`; or it is a list of such dicts, each of one row. `x`
    has the form of the model's inputs, an array or a dict or list of them; it may be a dict by name
    always. `y` is a dict by task, and tasks may be left out, or all of it; `sample_weight` is one,
    or one array for all tasks. Rows without `x` bring labels for the rows of the same `id` that
    came before; in a list they may stand among others, see `split`.

    A row is a fault if it lacks an input or has an unknown one, has a value of another shape or
    kind, or one that is not finite, an unknown task, an illegal label, a sample weight that is
    negative or not finite, a time that is not finite, or neither inputs nor an id with labels.
    Integers may stand for reals, but no other kind for another; in rows that came one by one,
    `None` is a missing label. The other rows of the element go on, always with the same dtypes.

    Args:
        model: a multi-task model with tasks.
        preprocessor: the model from raw columns to the model's inputs, or `"own"` for that of the
            model. With one, a stream has its inputs, and the rows that go on have the model's.
            Defaults to `None`.

    Raises:
        ValueError: if an argument is something else.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing
    from mtlzoo.online import Reader

    inputs = {"age": keras.Input((1,), name="age"), "rates": keras.Input((3,), name="rates")}
    model = HardSharing(inputs, [BinaryClassification("click")], shared_units=(8,))
    batch, faults = Reader(model).read(
        [
            {"x": {"age": [41], "rates": [0.1, 0.2, 0.3]}, "y": {"click": 1}},
            {"x": {"age": [41], "rates": [0.1, 0.2, float("nan")]}, "y": {"click": 1}},
        ]
    )
    batch.rows  # 1
    faults[0].reason  # 'Input `rates` should be finite. Received: nan'
    ```
    """

    def __init__(
        self, model: MultiTaskModel, preprocessor: keras.Model | str | None = None
    ) -> None:
        read, step = parts.parts(model, preprocessor=preprocessor), model._held.step
        losses = {} if step is None else step.objectives.losses
        self._labels = {
            name: StreamLabels(task, losses.get(name)) for name, task in read.tasks.items()
        }
        self._schema = Schema(read.inputs, list(read.tasks))
        self._preprocess = None
        if (front := read.front) is not None:
            self._preprocess = tf.function(  # traced once, for any number of rows
                lambda x: front(x, training=False), input_signature=[read.specs()]
            )

    def split(self, element: Any) -> list[Any]:
        """The elements of which each can be read as one batch.

        Args:
            element: what the stream gave.

        Returns:
            The element; or where it is a list of rows of which some have inputs, an id or a time
            and others do not, a list of each kind of them.
        """
        if not isinstance(element, list):
            return [element]
        kinds: dict[Any, list[Any]] = {}
        for row in element:
            names = row if isinstance(row, Mapping) else {}
            kind = tuple(names.get(key) is not None for key in ("x", "id", "time"))
            kinds.setdefault(kind, []).append(row)
        return list(kinds.values())

    def read(self, element: Any) -> tuple[StreamBatch | None, list[Fault]]:
        """Tell the good rows of an element from the others.

        Args:
            element: what the stream gave, or one of the parts that `split` made of it.

        Returns:
            The good rows as one batch, `None` if there are none, and the faults.
        """
        if isinstance(element, list):
            return self._read_rows(element)
        if isinstance(element, StreamBatch):
            given = {"x": element.x, "y": element.y, "sample_weight": element.sample_weight}
            given |= {"id": element.ids, "time": element.times}
        elif isinstance(element, tuple) and len(element) in (2, 3):
            given = dict(zip(KEYS, element, strict=False))
        elif isinstance(element, Mapping):
            given = dict(element)
        else:
            wanted = f"a tuple of 2 or 3, a dict with keys among {list(KEYS)}, or a list of those"
            return None, [
                Fault(element, f"An element should be {wanted}. Received: {shown(element)}")
            ]
        return self._read_batch(element, given)

    def _read_batch(
        self, element: Any, given: Mapping[str, Any]
    ) -> tuple[StreamBatch | None, list[Fault]]:
        arrays = {k: self._arrays(k, value) for k, value in given.items() if value is not None}
        parts = self._schema.split(arrays)
        leaves = [leaf for part in arrays.values() for leaf in _leaves(part)]
        sizes = {len(leaf) if leaf is not None and leaf.ndim else None for leaf in leaves}
        (rows,) = sizes if len(sizes) == 1 else {None}
        if rows is None:
            reason = (
                "The parts of a batch should be dense arrays with the same number of rows. "
                f"Received: {sorted(sizes, key=str)}"
            )
            return None, [Fault(element, parts if isinstance(parts, str) else reason)]
        problems, batch = Problems(rows), None
        if isinstance(parts, str):
            problems.add(True, parts)
        elif rows:
            batch = self._check(parts, StreamLabels.of_array, cells.of_array, problems)
        reasons = sorted(problems.reasons.items())
        return batch, [Fault(_row(arrays, row), reason) for row, reason in reasons]

    def _read_rows(self, rows: list) -> tuple[StreamBatch | None, list[Fault]]:
        split = [
            self._schema.split(row)
            if isinstance(row, Mapping)
            else f"A row should be a dict with keys among {list(KEYS)}. Received: {shown(row)}"
            for row in rows
        ]
        kinds = collections.Counter(each.kind() for each in split if isinstance(each, Parts))
        reasons, chosen = {}, []
        for index, each in enumerate(split):
            if isinstance(each, str):
                reasons[index] = each
            elif each.kind() != (usual := kinds.most_common(1)[0][0]):
                reasons[index] = (
                    f"A row should have {list(usual)}, as most of its element. "
                    f"Received: {list(each.kind())}"
                )
            else:
                chosen.append(index)
        batch = None
        if chosen:
            problems = Problems(len(chosen))
            parts = _transposed([split[index] for index in chosen])  # type: ignore[misc]
            batch = self._check(parts, StreamLabels.of_rows, cells.of_rows, problems)
            reasons |= {chosen[index]: reason for index, reason in problems.reasons.items()}
        return batch, [Fault(rows[index], reason) for index, reason in sorted(reasons.items())]

    def _check(
        self, parts: Parts, read_labels: Callable, read_column: Callable, problems: Problems
    ) -> StreamBatch | None:
        """The good rows, `None` if there are none."""
        x = None
        if parts.x is not None:
            columns = self._schema.columns
            x = {n: read_column(parts.x[n], column, problems) for n, column in columns.items()}
        weights: dict[str, Any] = {
            name: self._labels[name].weights(values, read_column, problems)
            for name, values in parts.sample_weight.items()
        }
        y = {}
        for name, values in parts.y.items():
            labels = read_labels(self._labels[name], values, problems)
            if labels is not None and problems.good.any():
                y[name] = self._labels[name].judge(labels, weights.get(name), problems)
        ids = None if parts.id is None else _ids(parts.id, read_column, problems)
        times = None
        if parts.time is not None:
            times = read_column(parts.time, Column("`time`", (), "float64"), problems)
        if x is not None and problems.good.any():
            packed = self._schema.pack(x)
            x = packed if self._preprocess is None else self._preprocessed(packed, problems)
        if not problems.good.any():
            return None
        batch = StreamBatch(x, y, weights, ids, times)
        return batch if problems.good.all() else batch.take(np.flatnonzero(problems.good))

    def _preprocessed(self, x: Any, problems: Problems) -> Any:
        """The model's inputs of all rows, zeros for faults."""
        try:
            found = self._apply(x, np.flatnonzero(problems.good))
        except tf.errors.OpError:  # because of some rows; the others go on
            for row in np.flatnonzero(problems.good):
                try:
                    self._apply(x, [row])
                except tf.errors.OpError as error:
                    reason = f"The preprocessor should take the row. Received: {error.message}"
                    problems.add(np.arange(len(problems.good)) == row, reason)
            if not problems.good.any():
                return None
            found = self._apply(x, np.flatnonzero(problems.good))
        good = problems.good.copy()

        def all_rows(values: np.ndarray) -> np.ndarray:
            every = np.zeros((len(good), *values.shape[1:]), values.dtype)
            every[good] = values
            if every.dtype.kind == "f" and not np.isfinite(values).all():
                wrong = ~np.isfinite(every).reshape(len(every), -1).all(1)
                reason = (
                    "What the preprocessor makes of a row should be finite. Received: no number"
                )
                problems.add(wrong, reason)
            return every

        return keras.tree.map_structure(all_rows, found)

    def _apply(self, x: Any, rows: Any) -> Any:
        chosen = keras.tree.map_structure(lambda values: tf.convert_to_tensor(values[rows]), x)
        return keras.tree.map_structure(np.asarray, self._preprocess(chosen))  # type: ignore[misc]

    def _arrays(self, key: str, value: Any) -> Any:
        """A part of a batch with arrays where there were tensors or lists."""
        if isinstance(value, Mapping):
            return {name: cells.to_array(each) for name, each in value.items() if each is not None}
        if key == "x" and self._schema.listed and isinstance(value, list | tuple):
            return [cells.to_array(each) for each in value]
        return cells.to_array(value)


def _leaves(part: Any) -> list:
    if isinstance(part, Mapping):
        return list(part.values())
    return part if isinstance(part, list) else [part]


def _row(arrays: Mapping[str, Any], row: int) -> dict[str, Any]:
    """One row of a batch."""

    def of(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: each[row] for name, each in part.items()}
        return [each[row] for each in part] if isinstance(part, list) else part[row]

    return {key: of(part) for key, part in arrays.items()}


def _transposed(rows: list[Parts]) -> Parts:
    """The parts of rows of one kind, each a list of what the rows have."""
    first = rows[0]
    x = None if first.x is None else {n: [row.x[n] for row in rows] for n in first.x}  # type: ignore[index]

    def by_task(part: str) -> dict[str, list]:
        names = sorted({name for row in rows for name in getattr(row, part)})
        return {name: [getattr(row, part).get(name) for row in rows] for name in names}

    ids = None if first.id is None else [row.id for row in rows]
    times = None if first.time is None else [row.time for row in rows]
    return Parts(x, by_task("y"), by_task("sample_weight"), ids, times)


def _ids(values: Any, read_column: Callable, problems: Problems) -> np.ndarray | None:
    """Integers, or text, as one type each."""
    first = values[0]
    dtype = "string" if isinstance(first, str | bytes) else "int64"
    found = read_column(values, Column("`id`", (), dtype), problems)
    if found is None or dtype != "string":
        return found
    text = (v.decode(errors="backslashreplace") if isinstance(v, bytes) else v for v in found)
    return np.array(list(text), str)
