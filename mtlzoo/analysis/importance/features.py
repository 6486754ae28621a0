"""Inputs as named columns, and the groups of them that are taken together."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.analysis.explanation.drawn import input_names
from mtlzoo.layers.arguments import check_bool
from mtlzoo.models import MultiTaskModel

_PRESENT = "_present"
_CHUNK = 4096  # rows that a preprocessor reads at once


class Groups(NamedTuple):
    """Parts of inputs, by name.

    Attributes:
        names: the G groups.
        parts: for each a dict by input of masks of what belongs to it, of the shape of one row.
    """

    names: tuple[str, ...]
    parts: tuple[dict[str, np.ndarray], ...]

    def put(self, group: int, into: dict[str, np.ndarray], source: Mapping[str, Any]) -> None:
        """Write a group of other rows in place of those that are there.

        Args:
            group: which.
            into: arrays by input; those that are written to are replaced by copies.
            source: arrays by input with as many rows.
        """
        for name, mask in self.parts[group].items():
            if mask.all():
                into[name] = source[name]
            else:
                into[name] = into[name].copy()
                into[name][:, mask] = source[name][:, mask]


class Table:
    """How rows of inputs, as the model or its preprocessor takes them, are arrays by name.

    Args:
        model: a multi-task model.
        x: inputs of the model, or a dict of the raw columns of its preprocessor, in which others
            may be, too.
        raw: whether they are the preprocessor's. Defaults to `None`, by their names.

    Attributes:
        columns: the arrays by name.
        raw: whether they are the preprocessor's.

    Raises:
        ValueError: if these are the inputs of neither, or by their names of both, or differ in
            length.
    """

    def __init__(self, model: MultiTaskModel, x: Any, raw: bool | None = None) -> None:
        self._model = model
        names = input_names(model)
        self.raw = _is_raw(model, names, x) if raw is None else check_bool("raw", raw)
        if self.raw:
            names = _read_columns(model, x)
            given = {name: x[name] for name in names if name in x}
        elif isinstance(x, Mapping):
            given = dict(x)
        else:
            arrays = x if isinstance(x, list | tuple) else [x]
            numbers = map(str, range(len(names), len(arrays)))
            given = dict(zip([*names, *numbers], arrays, strict=False))
        if set(given) != set(names):
            raise ValueError(
                f"`x` should have the inputs {sorted(names)}. Received: {sorted(given)}"
            )
        self.columns = {name: np.asarray(array) for name, array in given.items()}
        lengths = {
            name: array.shape[0] if array.ndim else 0 for name, array in self.columns.items()
        }
        self.length = next(iter(lengths.values()))
        if len(set(lengths.values())) > 1 or self.length == 0:
            raise ValueError(f"`x` should have rows, the same number in all. Received: {lengths}")
        if self.raw:
            self._preprocess = tf.function(model.preprocessor, reduce_retracing=True)

    def inputs(self, columns: Mapping[str, np.ndarray]) -> Any:
        """What the model takes, for arrays by name."""
        if self.raw:
            count = len(next(iter(columns.values())))
            parts = [
                self._preprocess(
                    {n: tf.convert_to_tensor(a[i : i + _CHUNK]) for n, a in columns.items()}
                )
                for i in range(0, count, _CHUNK)
            ]
            return _joined(parts)
        if isinstance(self._model.input, Mapping):
            return {name: columns[name] for name in self._model.input}
        arrays = [columns[name] for name in input_names(self._model)]
        return arrays if isinstance(self._model.input, list | tuple) else arrays[0]

    def groups(self, groups: Any, names: Any) -> Groups:
        """The features.

        Args:
            groups: a dict from names to entries, or `None` for one feature for each column.
            names: those of the columns of vectors, see `permutation_importance`.

        Raises:
            ValueError: for what is not there, and for pictures or sequences without groups.
        """
        of_vectors = self._names_of_vectors(names)
        if groups is None:
            return self._each(of_vectors)
        if not isinstance(groups, Mapping) or not groups:
            raise ValueError(
                "`groups` should be a dict from the name of a group to a list of what is in it. "
                f"Received: groups={groups!r}"
            )
        parts = []
        for group, entries in groups.items():
            entries = [entries] if isinstance(entries, str | int | tuple) else entries
            part: dict[str, np.ndarray] = {}
            for entry in entries:
                name, index = self._place(group, entry, of_vectors)
                part.setdefault(name, np.zeros(self.columns[name].shape[1:], bool))
                try:
                    part[name][index] = True
                except (IndexError, TypeError, ValueError) as error:
                    raise ValueError(
                        f"`groups[{group!r}]` should have places within a row of `{name}`, of the "
                        f"shape {self.columns[name].shape[1:]}. Received: {entry!r}"
                    ) from error
            if not any(mask.any() for mask in part.values()):
                raise ValueError(f"`groups[{group!r}]` should not be empty. Received: {entries!r}")
            parts.append(part)
        return Groups(tuple(map(str, groups)), tuple(parts))

    def _names_of_vectors(self, names) -> dict[str, list[str]]:
        if names is None:
            return {}
        if not isinstance(names, Mapping):
            if len(self.columns) != 1:
                raise ValueError(
                    "`names` should be a dict by input where there are several. "
                    f"Received: names={names!r}"
                )
            names = {next(iter(self.columns)): names}
        for name, columns in names.items():
            shape = self.columns[name].shape[1:] if name in self.columns else None
            if shape != (len(columns),) or len(set(columns)) != len(columns):
                raise ValueError(
                    "`names` should be different names for the columns of inputs that are vectors. "
                    f"Received: {len(columns)} names for `{name}`, of the shape {shape}"
                )
            # The only column of an input may have its name: both are the same.
            inputs = [other for other in self.columns if other != name or shape != (1,)]
            of_others = [c for other, its in names.items() if other != name for c in its]
            twice = sorted(set(columns) & {*inputs, *of_others})
            if twice:
                raise ValueError(
                    "`names` should not have names of inputs, or of columns of other inputs. "
                    f"Received: {twice} for `{name}`"
                )
        return {name: list(columns) for name, columns in names.items()}

    def _each(self, of_vectors) -> Groups:
        found: dict[str, dict[str, np.ndarray]] = {}
        for name, array in self.columns.items():
            shape = array.shape[1:]
            whole = {name: np.ones(shape, bool)}
            modality = name.removesuffix(_PRESENT)
            if modality != name and modality in self.columns:
                continue  # it goes with what it says is there
            flag = f"{name}{_PRESENT}"
            if name in of_vectors or (len(self.columns) == 1 and len(shape) == 1 and shape[0] > 1):
                for c in range(shape[0]):
                    column = of_vectors[name][c] if name in of_vectors else f"{name} {c}"
                    found[column] = {name: np.arange(shape[0]) == c}
            elif len(self.columns) == 1 and len(shape) > 1:
                raise ValueError(
                    "`groups` should say what is moved together where the only input is a picture "
                    f"or a sequence: patches, channels or steps, as ({name!r}, index) with an "
                    "index within a row. A heat map of one row shows single pixels better. "
                    f"Received: groups=None and `{name}` of the shape {shape} a row"
                )
            else:
                found[name] = whole
                if flag in self.columns:
                    whole[flag] = np.ones(self.columns[flag].shape[1:], bool)
        return Groups(tuple(found), tuple(found.values()))

    def _place(self, group, entry, of_vectors) -> tuple[str, Any]:
        if isinstance(entry, tuple) and len(entry) == 2 and entry[0] in self.columns:
            return entry
        if isinstance(entry, str):
            if entry in self.columns:
                return entry, ...
            for name, columns in of_vectors.items():
                if entry in columns:
                    return name, columns.index(entry)
        elif isinstance(entry, int | np.integer) and len(self.columns) == 1:
            return next(iter(self.columns)), int(entry)
        known = [*self.columns, *(c for columns in of_vectors.values() for c in columns)]
        shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
        raise ValueError(
            f"`groups[{group!r}]` should have names from {shown}, numbers of columns where there "
            f"is one input, or pairs of an input and an index within a row. Received: {entry!r}"
        )


def _is_raw(model, names, x) -> bool:
    """Whether these are the preprocessor's columns, by their names."""
    reads = model.preprocessor.input if model.preprocessor is not None else None
    if not isinstance(x, Mapping) or not isinstance(reads, Mapping):
        return False
    if set(x) == set(names) and set(reads) <= set(x):
        raise ValueError(
            "`raw` should be True or False where the model and its preprocessor have inputs of the "
            f"same names. Received: raw=None for {sorted(x)}"
        )
    return set(x) != set(names)


def _read_columns(model, x) -> list[str]:
    reads = model.preprocessor.input if model.preprocessor is not None else None
    if not isinstance(x, Mapping) or not isinstance(reads, Mapping):
        raise ValueError(
            "`raw` should be True only for a dict of the columns that a preprocessor reads by "
            f"name. Received: raw=True with x of type {type(x).__name__}"
        )
    return list(reads)


def gathered(x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """Arrays, also of a data set of batches.

    Raises:
        ValueError: for a data set without end, what is neither arrays nor a data set, and where
            labels are missing or given twice.
    """
    if not isinstance(x, tf.data.Dataset):
        if not isinstance(x, Mapping | list | tuple) and not hasattr(x, "shape"):
            raise ValueError(
                "`x` should be arrays or a `tf.data.Dataset`. "
                f"Received: x of type {type(x).__name__}"
            )
        if y is None:
            raise ValueError("`y` should be labels, a dict by task. Received: y=None")
        return x, y, sample_weight
    if y is not None or sample_weight is not None:
        raise ValueError("`y` should be None where `x` is a data set with labels. Received: both")
    if x.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("`x` should be a data set that ends: take a part of it by `take`")
    batches = [keras.utils.unpack_x_y_sample_weight(b) for b in x.as_numpy_iterator()]
    if not batches or batches[0][1] is None:
        raise ValueError("`x` should be a data set with rows and labels. Received: none")
    x, y, sample_weight = zip(*batches, strict=True)
    if sample_weight[0] is None:
        return _joined(x), _joined(y), None
    return _joined(x), _joined(y), _joined(sample_weight)


def _joined(parts: Sequence[Any]) -> Any:
    return keras.tree.map_structure(lambda *each: np.concatenate(each), *parts)


def chosen_tasks(model: Any, tasks: Sequence[str] | None) -> tuple[str, ...]:
    """The tasks that were asked for, in sorted order.

    Raises:
        ValueError: for a model that is none of several tasks, or unknown tasks.
    """
    if not isinstance(model, MultiTaskModel):
        raise ValueError(
            f"`model` should be a `MultiTaskModel`. Received: a `{type(model).__name__}`"
        )
    if tasks is None:
        return model.task_names
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    unknown = sorted(set(names) - set(model.task_names))
    if unknown or not names:
        raise ValueError(
            f"`tasks` should be some of {list(model.task_names)}. Received: tasks={tasks!r}"
        )
    return tuple(sorted(set(names)))
