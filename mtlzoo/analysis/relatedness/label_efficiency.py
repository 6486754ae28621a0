"""How many labels a small task saves by being trained beside a large one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo.analysis import drawing
from mtlzoo.analysis.phrases import listed, verdict, with_error
from mtlzoo.analysis.relatedness.group_trainings import (
    Build,
    checked_model,
    checked_seeds,
    train_runs,
)
from mtlzoo.analysis.statistics import mean_and_error
from mtlzoo.data.narrowing import labels_of
from mtlzoo.layers.arguments import check_count
from mtlzoo.tasks import Task

ALONE = "alone"
KINDS = {
    "gains": "is better than alone",
    "loses": "is worse than alone",
    "cannot be told": "cannot be told from alone",
}


class LabelEfficiency:
    """The scores of a small task alone and beside others, by how many labels it has.

    Args:
        task: The small task.
        counts: C numbers of labels, ascending.
        scores: By company, `"alone"` first, (C, S): the deciding metric by count and seed.

    Attributes:
        title: A headline.

    Raises:
        ValueError: If scores are of other shapes, or there are none alone.

    Example:
    ```python
    import numpy as np
    from mtlzoo import Regression
    from mtlzoo.analysis import LabelEfficiency

    scores = {"alone": np.array([[2.0, 2.1], [1.0, 1.2]]), "beside b": np.array([[1, 1.2], [1, 1]])}
    print(LabelEfficiency(Regression("a"), [100, 1000], scores).words())
    ```
    """

    def __init__(self, task: Task, counts: Sequence[int], scores: Mapping[str, np.ndarray]) -> None:
        if not isinstance(counts, Sequence):
            raise ValueError(f"`counts` should be a list of numbers. Received: counts={counts!r}")
        self.task, self.counts = task, tuple(counts)
        self.scores = {way: np.asarray(found, "float64") for way, found in scores.items()}
        shapes = {way: found.shape for way, found in self.scores.items()}
        alone = shapes.get(ALONE, ())
        if len(alone) != 2 or alone[0] != len(self.counts) or len(set(shapes.values())) > 1:
            raise ValueError(
                f"`scores` should have {ALONE!r} and others, each by count and seed, of the shape "
                f"({len(self.counts)}, S). Received: the shapes {shapes}"
            )
        self.title = f"What labels of {task.name} are worth, alone and beside other tasks"
        self._sign = 1 if task.mode == "max" else -1
        # Three decimals, and more where scores are small.
        size = np.abs(self.scores[ALONE][np.isfinite(self.scores[ALONE])]).max(initial=0.0)
        self._form = f".{max(3, 2 - math.floor(math.log10(size))) if size else 3}f"

    def gain(self, way: str, count: int) -> tuple[float, float]:
        """The mean gain over training alone, paired by seed, and its standard error.

        Args:
            way: The company.
            count: How many labels.

        Returns:
            In the unit of the metric; positive is better, whatever its direction.
        """
        row = self.counts.index(count)
        mean, error = mean_and_error(self._sign * (self.scores[way] - self.scores[ALONE])[row])
        return float(mean), float(error)

    def words(self) -> str:
        """With how many labels company helps, and what it saves."""
        few, many = self.counts[0], self.counts[-1]
        said = [
            f"Judged by {self.task.monitor} ({self._better()} is better), {self.task.name} alone "
            f"has {self._score(ALONE, 0)} with {few} labels"
        ]
        said[0] += f", {self._score(ALONE, -1)} with {many}." if many > few else "."
        for way in self._ways():
            kinds: dict[str, list[str]] = {"gains": [], "loses": [], "cannot be told": []}
            for count in self.counts:
                mean, error = self.gain(way, count)
                gained = f"{count} labels ({with_error(mean, error, form='+' + self._form)})"
                kinds[verdict(mean, error)].append(gained)
            found = [
                f"{what} with {listed(kinds[kind])}" for kind, what in KINDS.items() if kinds[kind]
            ]
            said.append(f"{way[:1].upper()}{way[1:]}, it {listed(found)}.")
            enough = self._enough(way)
            if enough is not None:
                of_few = self.scores[way][self.counts.index(enough)]
                ahead = mean_and_error(self._sign * (of_few - self.scores[ALONE][-1]))
                more = with_error(*map(float, ahead), form="+" + self._form)
                said.append(
                    f"With {enough} labels its mean is at least as good as that of {many} labels "
                    f"alone ({more})."
                )
        if self.scores[ALONE].shape[1] < 2:
            said.append("It was trained with one seed, which says nothing of the spread.")
        return " ".join(said)

    def rows(self) -> list[list[str]]:
        """A row for each number of labels."""
        head = [f"labels of {self.task.name}", f"{ALONE}, {self.task.monitor}"]
        for way in self._ways():
            head += [way, "gain"]
        table = []
        for row, count in enumerate(self.counts):
            cells = [str(count), self._score(ALONE, row)]
            for way in self._ways():
                mean, error = self.gain(way, count)
                cells += [self._score(way, row), with_error(mean, error, form="+" + self._form)]
            table.append(cells)
        return [head, *table]

    def figure(self) -> Any:
        """A curve for each company, with a dot for each seed.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        figure = drawing.new_figure(5.6, 4.0)
        panel = figure.subplots()
        for i, (way, found) in enumerate(self.scores.items()):
            colour, marker = (each[i % len(each)] for each in (drawing.COLOURS, drawing.MARKERS))
            means, errors = mean_and_error(found.T)
            # Beside each other, so that none hides another.
            places = np.array(self.counts) * 1.03 ** (i - (len(self.scores) - 1) / 2)
            panel.errorbar(
                places,
                means,
                np.nan_to_num(errors),
                color=colour,
                marker=marker,
                capsize=3,
                label=way,
            )
            for place, values in zip(places, found, strict=True):
                panel.plot([place] * len(values), values, ".", color=colour, markersize=3)
        panel.set_xscale("log")
        panel.set_xticks(self.counts, [str(count) for count in self.counts])
        panel.minorticks_off()
        panel.set_xlabel(f"labels of {self.task.name} in training")
        panel.set_ylabel(f"{self.task.monitor} of {self.task.name}")
        panel.set_title(
            f"{self._better()} is better; bars are standard errors, dots seeds", fontsize=9
        )
        panel.legend(frameon=False)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        figure.suptitle(self.title, fontsize=11)
        return figure

    def _ways(self) -> list[str]:
        return [way for way in self.scores if way != ALONE]

    def _better(self) -> str:
        return "higher" if self.task.mode == "max" else "lower"

    def _score(self, way: str, row: int) -> str:
        mean, error = mean_and_error(self.scores[way][row])
        return with_error(float(mean), float(error), form=self._form)

    def _enough(self, way: str) -> int | None:
        """With how many labels it is as good as alone with the most, if with fewer."""
        goal = self._sign * self.scores[ALONE][-1].mean()
        pairs = zip(self.counts[:-1], self.scores[way], strict=False)
        return next((count for count, found in pairs if self._sign * found.mean() >= goal), None)


def label_efficiency(
    build: Build,
    train: Sequence[Any],
    valid: Any,
    *,
    task: str,
    beside: Mapping[str, Sequence[str]],
    counts: Sequence[int],
    epochs: int = 1,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int | None = None,
) -> LabelEfficiency:
    """Train a task of which few rows have labels, alone and beside tasks that have all of theirs.

    All trainings read the same rows, for the same number of steps; rows without a label say
    nothing of the task. So what differs is the other tasks alone. A seed draws which rows keep
    their labels; those of fewer are among those of more.

    Args:
        build: `build(names)` makes a compiled multi-task model of the tasks `names`, a sorted
            tuple; also of one.
        train: Arrays `(x, y)` or `(x, y, sample_weight)`, with the labels of all tasks.
        valid: The data by which trainings are judged: such arrays, or a `tf.data.Dataset`.
        task: The small task.
        beside: By what the picture calls it, the tasks that it is trained beside, such as
            `{"beside a related task": ["click"]}`.
        counts: Numbers of labels.
        epochs: Of each training. Defaults to 1.
        seeds: A training for each. Defaults to `(0, 1, 2)`.
        batch_size: As of `fit`. Defaults to `None`.

    Returns:
        The scores.

    Raises:
        ValueError: For an unknown task, more labels than there are, or no company.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import label_efficiency

    def build(names):
        model = HardSharing(keras.Input((4,)), [Regression(n) for n in names], shared_units=[4])
        model.compile("adam", jit_compile=False)
        return model

    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    data = x, {"small": x[:, 0], "large": x[:, 0]}
    found = label_efficiency(
        build, data, data, task="small", beside={"beside large": ["large"]}, counts=[8], seeds=[0]
    )
    print(found.rows())
    ```
    """
    if not isinstance(train, list | tuple) or len(train) not in {2, 3}:
        raise ValueError(
            "`train` should be arrays, `(x, y)` or `(x, y, sample_weight)`, of which labels can be "
            f"hidden. Received: train of type {type(train).__name__}"
        )
    check_count("epochs", epochs)
    seeds = checked_seeds(seeds)
    for argument, given, kind in (("beside", beside, Mapping), ("counts", counts, Sequence)):
        if not isinstance(given, kind):
            raise ValueError(
                f"`{argument}` should be a {'dict' if kind is Mapping else 'list'}. "
                f"Received: {argument}={given!r}"
            )
    groups: dict[str, tuple[str, ...]] = {ALONE: (task,)}
    for way, others in beside.items():
        if way == ALONE or task in others or not others or isinstance(others, str):
            raise ValueError(
                f"`beside` should have lists of other tasks than `{task}`, by a name that is not "
                f"{ALONE!r}. Received: {way!r}: {others!r}"
            )
        groups[way] = tuple(sorted({task, *others}))
    if len(groups) < 2:
        raise ValueError("`beside` should have company to compare with. Received: none")
    for names in groups.values():
        labels_of(train, names)
    counts = sorted(counts)
    if not counts or len(set(counts)) < len(counts):
        raise ValueError(f"`counts` should be different numbers. Received: counts={counts}")
    for count in counts:
        check_count("counts", count)
    small = checked_model(build((task,)), (task,)).tasks[task]
    kept = _Kept(small, train, counts, seeds)
    scores = {}
    for way, names in groups.items():
        runs = [(seed, kept.data(names, n, seed)) for n in counts for seed in seeds]
        found, _ = train_runs(build, names, runs, valid, epochs=epochs, batch_size=batch_size)
        scores[way] = found[:, names.index(task)].reshape(len(counts), len(seeds))
    return LabelEfficiency(small, counts, scores)


class _Kept:
    """Which labels of a task are kept."""

    def __init__(self, task, train, counts, seeds):
        self._task, self._train = task, train
        labels = np.asarray(train[1][task.name])
        present = np.asarray(task.read_labels(labels, task.loss).present)
        there = np.flatnonzero(present.reshape(len(labels), -1).any(1))
        if counts[-1] > len(there):
            raise ValueError(
                f"`counts` should be at most the {len(there)} labels that task `{task.name}` has. "
                f"Received: {counts[-1]}"
            )
        self._orders = {seed: np.random.default_rng(seed).permutation(there) for seed in seeds}

    def data(self, names, count, seed):
        x, y, *weight = labels_of(self._train, names)
        labels = np.asarray(y[self._task.name])
        hidden = np.ones(len(labels), bool)
        hidden[self._orders[seed][:count]] = False
        missing = keras.ops.convert_to_numpy(self._task.missing_labels(int(hidden.sum())))
        wide = labels if labels.dtype.kind == "f" else missing
        labels = labels.astype(np.result_type(labels, wide))  # a copy
        of_hidden = labels[hidden]
        if missing.size < of_hidden.size:  # of distributions, where one id says it of all classes
            missing = missing.reshape(*missing.shape, *[1] * (of_hidden.ndim - missing.ndim))
            missing = np.broadcast_to(missing, of_hidden.shape)
        labels[hidden] = missing.reshape(of_hidden.shape)
        return x, {**y, self._task.name: labels}, *weight
