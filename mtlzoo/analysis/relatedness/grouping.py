"""Which tasks to train together, by what is known of each pair."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mtlzoo.analysis.relatedness.task_groups import TaskGroups
from mtlzoo.analysis.task_matrix import TaskMatrix
from mtlzoo.layers.arguments import check_bool, check_count, check_number

METHODS = ("auto", "exact", "clustering")
# A second or two of search.
MOST = 100_000

Indices = tuple[int, ...]


def group_tasks(
    matrix: TaskMatrix,
    *,
    num_groups: int,
    method: str = "auto",
    overlap: bool = False,
    alone: float = 0.0,
) -> TaskGroups:
    r"""Group tasks so that those help each other that are trained together.

    Fifty et al., *Efficiently Identifying Task Groupings for Multi-Task Learning* (TAG), NeurIPS
    2021; Standley et al., ICML 2020. With $Z_{i \to j}$ of the matrix, a group $g$ predicts for its
    task j the mean of what the others do for it, and the score of groups is the sum over all tasks
    of the best that any group with the task predicts:

    $$s_j(g) = \frac{1}{|g| - 1} \sum_{i \in g, i \neq j} Z_{i \to j}, \qquad
    S = \sum_j \max_{g \ni j} s_j(g)$$

    Args:
        matrix: Any measure of relatedness that knows every pair.
        num_groups: How many groups, and so how many models, there may be at most.
        method: `"exact"` tries all groups; `"clustering"` merges the nearest by the mean of their
            pairs in both directions (SciPy's average linkage) and takes the cut with the best
            score; `"auto"` is exact up to 100,000 groupings. Defaults to `"auto"`.
        overlap: Whether a task may be in several groups, to help in one and be served by another,
            as in the paper; clustering has no such groups. Defaults to `False`.
        alone: What a group of one predicts for its task. For measures of which zero means nothing,
            as CKA, give the value from which on tasks count as related. Defaults to 0.

    Returns:
        The groups, and what is predicted for each task, in the unit of the matrix. Of equal scores
        the one with fewer groups wins.

    Raises:
        ValueError: For a matrix with unknown pairs, or too many groupings for an exact search.
        ImportError: For clustering without SciPy.

    Example:
    ```python
    import numpy as np
    from mtlzoo.analysis import TaskMatrix, group_tasks

    values = np.array([[0, 0.5, -0.2], [0.5, 0, -0.4], [-0.2, -0.4, 0]])
    groups = group_tasks(TaskMatrix(["a", "b", "c"], values, "cosine"), num_groups=2)
    groups.groups  # (("a", "b"), ("c",))
    groups.predicted  # {"a": 0.5, "b": 0.5, "c": 0.0}
    ```

    *Differences from the paper*: Groups are disjoint unless `overlap` is True. There all groupings
    are tried instead of a branch and bound search, and a task alone scores 1e-6.
    """
    check_count("num_groups", num_groups)
    check_bool("overlap", overlap)
    check_number("alone", alone)
    count = len(matrix.names)
    if count < 2:
        raise ValueError(f"`matrix` should be of two tasks or more. Received: {list(matrix.names)}")
    if method not in METHODS:
        raise ValueError(f"`method` should be one of {list(METHODS)}. Received: method={method!r}")
    unknown = ~np.isfinite(matrix.values) & ~np.eye(count, dtype=bool)
    if unknown.any():
        i, j = np.argwhere(unknown)[0]
        raise ValueError(
            "`matrix` should know every pair; measure on more data. Received: nothing on "
            f"`{matrix.names[i]}` and `{matrix.names[j]}`"
        )
    num_groups = min(num_groups, count)
    tries = _tries(count, num_groups, overlap)
    if method == "auto":
        method = "clustering" if tries > MOST and not overlap else "exact"
    if method == "clustering" and overlap:
        raise ValueError("`overlap` should be False with 'clustering'. Received: overlap=True")
    if method == "exact" and tries > MOST:
        raise ValueError(
            f"`method` should be 'clustering', without overlap, for {count} tasks in "
            f"{num_groups} groups: there are {tries:,} groupings, and an exact search tries "
            f"{MOST:,}. Received: method='exact'"
        )
    if method == "clustering":
        found: Any = _clustered(matrix, num_groups)
    else:
        found = _overlapping(count, num_groups) if overlap else _partitions(count, num_groups)
    scores = _Scores(matrix.values, alone)
    best = max(found, key=lambda groups: (round(scores.of(groups), 12), -len(groups)))
    return TaskGroups(
        [[matrix.names[i] for i in group] for group in best],
        scores.by_task(best, matrix.names),
        matrix.measure,
        method=method,
        signed=matrix.signed,
    )


class _Scores:
    """What groups predict, by index of the tasks."""

    def __init__(self, values: np.ndarray, alone: float) -> None:
        self._values, self._alone = values, alone
        self._known: dict[Indices, dict[int, float]] = {}

    def in_group(self, group: Indices) -> dict[int, float]:
        """By task of the group the mean of what the others do for it."""
        if group not in self._known:
            part = self._values[np.ix_(group, group)].copy()
            np.fill_diagonal(part, 0)
            others = max(len(group) - 1, 1)
            means = part.sum(0) / others if len(group) > 1 else [self._alone]
            self._known[group] = dict(zip(group, map(float, means), strict=True))
        return self._known[group]

    def best(self, groups: Sequence[Indices]) -> dict[int, float]:
        """By task the best that a group predicts."""
        found: dict[int, float] = {}
        for group in groups:
            for task, score in self.in_group(group).items():
                found[task] = max(score, found.get(task, -math.inf))
        return found

    def of(self, groups: Sequence[Indices]) -> float:
        """The sum over all tasks."""
        return sum(self.best(groups).values())

    def by_task(self, groups: Sequence[Indices], names: Sequence[str]) -> dict[str, float]:
        """By name of the task the best that a group predicts."""
        return {names[task]: score for task, score in sorted(self.best(groups).items())}


def _tries(count: int, most: int, overlap: bool) -> int:
    """How many groupings an exact search tries."""
    if overlap:
        return sum(math.comb(2**count - 1, k) for k in range(1, most + 1))
    rows = [1]  # Stirling numbers of the second kind, of 0 to `most` parts
    for _ in range(count):
        before = [*rows, 0]
        rows = [0, *(k * before[k] + before[k - 1] for k in range(1, len(before)))][: most + 1]
    return sum(rows)


def _partitions(count: int, most: int) -> Iterator[list[Indices]]:
    """All ways to divide tasks among disjoint groups."""

    def divided(task: int, groups: list[Indices]) -> Iterator[list[Indices]]:
        if task == count:
            yield groups
            return
        for k, group in enumerate(groups):
            yield from divided(task + 1, [*groups[:k], (*group, task), *groups[k + 1 :]])
        if len(groups) < most:
            yield from divided(task + 1, [*groups, (task,)])

    return divided(0, [])


def _overlapping(count: int, most: int) -> Iterator[tuple[Indices, ...]]:
    """All sets of groups that have every task."""
    every = range(count)
    subsets = [s for size in range(1, count + 1) for s in itertools.combinations(every, size)]
    for k in range(1, most + 1):
        for groups in itertools.combinations(subsets, k):
            if len(set().union(*groups)) == count:
                yield groups


def _clustered(matrix: TaskMatrix, most: int) -> Iterator[list[Indices]]:
    """The cuts of a tree of tasks into one group to `most`."""
    try:
        from scipy.cluster.hierarchy import average, fcluster
        from scipy.spatial.distance import squareform
    except ImportError as error:
        raise ImportError(
            "`method='clustering'` should have SciPy. Install it with `pip install "
            "'mtlzoo[analysis]'`"
        ) from error
    near = matrix.symmetric().values.copy()
    np.fill_diagonal(near, -np.inf)
    far = near.max() - near
    np.fill_diagonal(far, 0)
    tree = average(squareform(far, checks=False))
    for k in range(1, most + 1):
        labels = fcluster(tree, k, criterion="maxclust")
        yield [tuple(map(int, np.flatnonzero(labels == each))) for each in np.unique(labels)]
