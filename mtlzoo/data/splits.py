"""Dividing rows honestly: by task, by group, by label, and into folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlzoo.data.arguments import check_count, is_number, task_list
from mtlzoo.data.parts import assign_parts

if TYPE_CHECKING:
    from mtlzoo.tasks import Task

SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}
STRATIFY = (None, "presence", "labels")
#: Of how many quantiles real values are told apart.
_BINS = 4


def split(
    labels: Mapping[str, np.ndarray],
    tasks: Sequence[Task],
    shares: Mapping[str, float] | None = None,
    *,
    stratify: str | None = "presence",
    groups: Sequence[Hashable] | None = None,
    importance: Mapping[str, float] | None = None,
    least: int = 1,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Divide rows into parts, so that every task has labels in each of them.

    Args:
        labels: by task its labels `(n, ...)`.
        tasks: what the labels are of.
        shares: by part its share of the rows. Without it, 70 % are `train`, 15 % `valid` and 15 %
            `test`. Defaults to `None`.
        stratify: what all parts have the same share of: `None` (rows at random), `"presence"`
            (rows that have labels of the same tasks) or `"labels"` (each class of each task, by
            iterative stratification; needs the extra `splits`). Defaults to `"presence"`.
        groups: of each row, what it belongs to (a document, a person): no group is in two parts.
            With `stratify`, a group counts as what its first row is. Defaults to `None`.
        importance: by task a weight, which decides the tasks' shares of the labels in the first
            part (whose size is kept): an important task gives more of its rows to training. With
            `stratify="presence"` and without groups. Defaults to `None`.
        least: how many labels each task has in each part, at least. Defaults to 1.
        seed: integer of at least 0. Defaults to 0.

    Returns:
        By part the numbers of its rows, ascending.

    Raises:
        ValueError: if an argument is out of its range, or a task has too few labels in a part.
        ImportError: if the extra `splits` is needed and not installed.

    Example:
        ```python
        import numpy as np

        from mtlzoo import BinaryClassification, Regression
        from mtlzoo.data import split

        labels = {"yes": np.array([0, 1, -1, -1] * 10), "value": np.arange(40.0)}
        parts = split(labels, [BinaryClassification("yes"), Regression("value")])
        print({part: len(rows) for part, rows in parts.items()})
        ```
    """
    shares = _check_shares(SHARES if shares is None else shares)
    check_count("seed", seed, least=0)
    check_count("least", least)
    if stratify not in STRATIFY:
        raise ValueError(
            f"`stratify` should be one of {list(STRATIFY)}. Received: stratify={stratify!r}"
        )
    tasks = task_list(tasks)
    present, count = _presence(labels, tasks)
    groups = _check_groups(groups, count)
    rng = np.random.default_rng(seed)
    if importance is not None:
        if stratify != "presence" or groups is not None:
            raise ValueError(
                "`importance` should be given with `stratify='presence'` and without `groups`. "
                f"Received: stratify={stratify!r}, groups={'given' if groups else groups!r}"
            )
        where = _by_importance(present, _check_importance(importance, present), shares, rng)
    elif stratify == "labels":
        where = _by_labels(_indicators(labels, tasks, present), list(shares.values()), groups, seed)
        where = np.array(list(shares))[where]
    else:
        strata = None
        if stratify == "presence":  # patterns of fewer rows than there are parts count as one
            patterns = _patterns(present)
            frequency = Counter(patterns)
            strata = [name if frequency[name] >= len(shares) else "few" for name in patterns]
        where = assign_parts(range(count) if groups is None else groups, shares, rng, strata)
    parts = {part: np.flatnonzero(where == part) for part in shares}
    for task, has_label in present.items():
        for part, rows in parts.items():
            if (found := int(has_label[rows].sum())) < least:
                raise ValueError(
                    f"Task `{task}` should have at least {least} labels in the part `{part}`. "
                    f"Received: {found} of its {int(has_label.sum())}"
                )
    return parts


def kfold(
    labels: Mapping[str, np.ndarray],
    tasks: Sequence[Task],
    folds: int = 5,
    *,
    stratify: str | None = "presence",
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide rows into folds, each of which is tested on once.

    Args:
        labels: as for `split`, as the others.
        tasks: what the labels are of.
        folds: how many, at least 2. Defaults to 5.
        stratify: what all folds have the same share of. Defaults to `"presence"`.
        groups: of each row, what it belongs to. Defaults to `None`.
        seed: integer of at least 0. Defaults to 0.

    Returns:
        For each fold the numbers of the rows to train on, and of those to test on.

    Raises:
        ValueError: as `split`, and if a class has fewer rows (or is in fewer groups) than there
            are folds.
        ImportError: as `split`.

    Example:
        ```python
        import numpy as np

        from mtlzoo import Regression
        from mtlzoo.data import kfold

        for train, test in kfold({"value": np.arange(10.0)}, [Regression("value")], folds=3):
            print(len(train), len(test))
        ```
    """
    check_count("folds", folds, least=2)
    tasks = task_list(tasks)
    present, _ = _presence(labels, tasks)
    of_rows = _check_groups(groups, len(next(iter(present.values()))))
    classes = {task.name for task in tasks if task.loss_family == "classification"}
    for name, columns in _indicators(labels, tasks, present).items():
        fewest = min((_units(column, of_rows) for column in columns.T), default=folds)
        if fewest < folds and (name in classes or stratify == "labels"):
            raise ValueError(
                f"`folds` should be at most {fewest}, the {'rows' if groups is None else 'groups'} "
                f"of the rarest class of task `{name}`. Received: folds={folds}"
            )
    names = [f"{number:06d}" for number in range(folds)]
    shares = dict.fromkeys(names, 1 / folds)
    parts = split(labels, tasks, shares, stratify=stratify, groups=groups, seed=seed)
    rows = np.arange(sum(map(len, parts.values())))
    return [(np.setdiff1d(rows, parts[name]), parts[name]) for name in names]


def rows_with_labels(
    parts: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], tasks: Sequence[Task]
) -> dict[str, dict[str, np.ndarray]]:
    """Say which rows of each part have labels of each task: the task's own split.

    Args:
        parts: as of `split`.
        labels: by task its labels.
        tasks: what the labels are of.

    Returns:
        By task and part the numbers of the rows.

    Raises:
        ValueError: if the labels do not fit the tasks.

    Example:
        ```python
        import numpy as np

        from mtlzoo import BinaryClassification
        from mtlzoo.data import rows_with_labels

        parts = {"train": np.array([0, 1]), "test": np.array([2])}
        labels = {"yes": np.array([1, -1, 0])}
        rows_with_labels(parts, labels, [BinaryClassification("yes")])  # train [0], test [2]
        ```
    """
    present, _ = _presence(labels, task_list(tasks))
    return {
        task: {part: np.asarray(rows)[has[rows]] for part, rows in parts.items()}
        for task, has in present.items()
    }


# --- How rows are told apart ---------------------------------------------------------------------


def _presence(
    labels: Mapping[str, np.ndarray], tasks: Sequence[Task]
) -> tuple[dict[str, np.ndarray], int]:
    """By task which rows have a label, and how many rows there are."""
    names = sorted(task.name for task in tasks)
    if not names or sorted(labels) != names:
        raise ValueError(
            f"`labels` should have the labels of the tasks {names}. Received: {sorted(labels)}"
        )
    sizes = {name: len(labels[name]) for name in names}
    if len(set(sizes.values())) > 1 or not min(sizes.values()):
        raise ValueError(
            f"`labels` should have as many rows for each task, at least 1. Received: {sizes}"
        )
    found: dict[str, np.ndarray] = {}
    for task in sorted(tasks, key=lambda task: task.name):
        present = np.asarray(task.read_labels(np.asarray(labels[task.name])).present)
        found[task.name] = np.any(present.reshape(len(present), -1), axis=1)
        if not np.any(found[task.name]):
            raise ValueError(f"Task `{task.name}` should have labels. Received: none")
    return found, sizes[names[0]]


def _patterns(present: Mapping[str, np.ndarray]) -> list[str]:
    """Of each row the tasks that it has labels of, as text."""
    columns = np.stack(list(present.values()), axis=1)
    return ["".join("01"[int(has)] for has in row) for row in columns]


def _indicators(
    labels: Mapping[str, np.ndarray], tasks: Sequence[Task], present: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """By task which class each row has, `(n, classes)`: of classes that are there, of yes and no,
    and of quarters of real values; for labels with more axes, whether there is one.
    """
    found = {}
    for task in tasks:
        has = present[task.name]
        values = np.asarray(task.read_labels(np.asarray(labels[task.name])).values)
        values = values.reshape(len(values), -1)
        if hasattr(task, "num_labels"):
            columns = values > 0.5
        elif task.label_shape == () and values.shape[1] > 1:  # distributions over the classes
            columns = values.argmax(1)[:, None] == np.arange(values.shape[1])
        elif values.shape[1] != 1:
            columns = has[:, None]
        elif task.loss_family == "classification":
            columns = values == np.unique(values[has])
        else:
            edges = np.unique(np.quantile(values[has], np.arange(1, _BINS) / _BINS))
            columns = np.searchsorted(edges, values[:, 0])[:, None] == np.arange(len(edges) + 1)
        columns = columns & has[:, None]
        found[task.name] = columns[:, columns.any(axis=0)]
    return found


def _units(column: np.ndarray, groups: Sequence[Hashable] | None) -> int:
    """How many rows, or groups, have a class."""
    rows = np.flatnonzero(column)
    return len(rows) if groups is None else len({groups[int(row)] for row in rows})


def _by_labels(
    indicators: Mapping[str, np.ndarray],
    shares: list[float],
    groups: Sequence[Hashable] | None,
    seed: int,
) -> np.ndarray:
    """The number of each row's part, by iterative stratification."""
    try:
        from iterstrat.ml_stratifiers import IterativeStratification
    except ImportError as error:
        raise ImportError(
            "`stratify='labels'` needs iterative-stratification: pip install 'mtlzoo[splits]'"
        ) from error
    columns = np.concatenate(list(indicators.values()), axis=1)
    number = np.arange(len(columns))
    if groups is not None:
        order = {name: place for place, name in enumerate(dict.fromkeys(groups))}
        number = np.array([order[name] for name in groups])
        first = np.unique(number, return_index=True)[1]
        columns = columns[first]
    rng = np.random.RandomState(seed)
    mixed = rng.permutation(len(columns))
    where = np.empty(len(columns), int)
    where[mixed] = IterativeStratification(columns[mixed], np.array(shares), rng)
    return where[number]


def _by_importance(
    present: Mapping[str, np.ndarray],
    importance: Mapping[str, float],
    shares: Mapping[str, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Of each row its part: the first part has of each task as many labels as it is important."""
    first, *others = shares
    patterns = np.array(_patterns(present))
    worth = sum(importance[t] / has.sum() * has for t, has in present.items())
    wanted = shares[first] * len(patterns)
    members = {name: np.flatnonzero(patterns == name) for name in np.unique(patterns)}
    # What a kind of row could give more than it has is taken from the others in proportion.
    most = {name: len(rows) - min(len(others), len(rows) - 1) for name, rows in members.items()}
    quota: dict[str, float] = {}
    open_ = set(members)
    while open_:
        total = sum(worth[members[name]].sum() for name in open_)
        rest = wanted - sum(quota.values())
        given = {
            name: rest * (worth[members[name]].sum() / total if total else 1 / len(open_))
            for name in open_
        }
        full = {name for name, rows in given.items() if rows >= most[name]}
        quota |= {name: most[name] for name in full}
        if not full:
            quota |= given
            break
        open_ -= full
    rest = sum(shares[name] for name in others)
    of_others = {name: shares[name] / rest for name in others}
    where = np.full(len(patterns), first, dtype=f"<U{max(map(len, shares))}")
    for name, rows in members.items():
        left = rng.permutation(rows)[round(quota[name]) :]
        where[left] = assign_parts(range(len(left)), of_others, rng)
    return where


# --- Arguments -----------------------------------------------------------------------------------


def _check_shares(shares: Mapping[str, float]) -> dict[str, float]:
    numbers = isinstance(shares, Mapping) and all(map(is_number, shares.values()))
    if not numbers or len(shares) < 2 or min(shares.values()) <= 0:
        raise ValueError(
            "`shares` should be a dict of at least two parts with positive numbers. "
            f"Received: shares={shares!r}"
        )
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"`shares` should have the sum 1. Received: shares={dict(shares)!r}")
    return {str(name): float(share) for name, share in shares.items()}


def _check_groups(groups: Any, count: int) -> list[Hashable] | None:
    if groups is None:
        return None
    found = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(found) != count:
        raise ValueError(
            f"`groups` should have one entry for each of the {count} rows. Received: {len(found)}"
        )
    return found


def _check_importance(
    importance: Mapping[str, float], present: Mapping[str, np.ndarray]
) -> dict[str, float]:
    if sorted(importance) != sorted(present):
        raise ValueError(
            f"`importance` should have a number for each of the tasks {sorted(present)}. "
            f"Received: importance={dict(importance)!r}"
        )
    for name, value in importance.items():
        if not is_number(value) or value <= 0:
            raise ValueError(
                f"`importance[{name!r}]` should be a positive number. Received: {value!r}"
            )
    return dict(importance)
