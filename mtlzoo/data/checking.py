"""What labels a data set has, task by task, and whether they fit the tasks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlzoo.data.arguments import check_count
from mtlzoo.data.elements import check_elements, check_finite

if TYPE_CHECKING:
    import tensorflow as tf

    from mtlzoo.tasks import Task

_EXAMPLES = 3  # how many illegal labels are shown
_CLASSES = 8  # of how many classes the table shows the counts


@dataclasses.dataclass
class Labels:
    """The labels of one task in what was read.

    Attributes:
        dtype: their data type.
        entries: how many there are: rows, or cells, steps and pixels where each has a loss.
        present: of them those with a label that counts.
        missing: those without a label.
        unweighted: those with a label and the sample weight 0.
        illegal: those that are neither a label nor missing.
        examples: a few of the latter.
        counts: labels that count by class, where there are classes; the ones of each label where
            there are several labels.
        lowest: the least label that counts; NaN where there is none.
        highest: the largest.
        total: their sum.
        numbers: how many numbers that is the sum of.
    """

    dtype: str = ""
    entries: int = 0
    present: int = 0
    missing: int = 0
    unweighted: int = 0
    illegal: int = 0
    examples: list[float] = dataclasses.field(default_factory=list)
    counts: np.ndarray | None = None
    lowest: float = math.nan
    highest: float = math.nan
    total: float = 0.0
    numbers: int = 0

    @property
    def mean(self) -> float:
        """The mean of the labels that count; NaN where there is none."""
        return self.total / self.numbers if self.numbers else math.nan


@dataclasses.dataclass
class Report:
    """What `check` has found; as text it is a table.

    Attributes:
        tasks: by name, the labels of each task.
        rows: how many rows were read.
        batches: how many batches.
        whole: whether that is all of the data set.
    """

    tasks: dict[str, Labels]
    rows: int
    batches: int
    whole: bool

    def __str__(self) -> str:
        lines: list[tuple[str, ...]] = [
            ("task", "dtype", "present", "missing", "weight 0", "illegal", "labels")
        ]
        for name, found in self.tasks.items():
            share = f"{found.present / found.entries:.1%}" if found.entries else "-"
            numbers = (found.missing, found.unweighted, found.illegal)
            lines.append((name, found.dtype or "-", share, *map(str, numbers), _in_words(found)))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        read = f"{self.rows} rows in {self.batches} batches"
        head = f"{read}, the whole data set" if self.whole else f"{read}, the first ones"
        return "\n".join([head, *table])


def check(dataset: tf.data.Dataset, tasks: Sequence[Task], *, batches: int | None = 8) -> Report:
    """Read some batches and compare the labels with the tasks.

    Args:
        dataset: batches `(x, y)` or `(x, y, sample_weight)`.
        tasks: what the labels are of.
        batches: how many batches are read; `None` for all of them. Defaults to 8.

    Returns:
        The report; `print` shows it as a table.

    Raises:
        ValueError: if something does not fit, with everything that does not and the table: a task
            without any label, an unknown key, a shape or data type that is no label's, illegal
            labels, sample weights that are negative or not finite, or inputs that are not finite.

    Example:
        ```python
        from mtlzoo import data

        census = data.load("census_income")
        print(data.check(census.train, census.tasks, batches=4))
        ```
    """
    if batches is not None:
        check_count("batches", batches)
    by_name = {task.name: task for task in tasks}
    problems = _structure(dataset, by_name)
    report = Report({name: Labels() for name in sorted(by_name)}, 0, 0, True)
    if not problems:
        if batches is None:
            check_finite("dataset", dataset)
        for x, y, w in _read(dataset, batches, report):
            _inputs(x, problems)
            for name, labels in y.items():
                _add(report.tasks[name], by_name[name], labels, w.get(name), problems)
        read = "" if report.whole else f" in the first {report.batches} batches"
        for name, found in report.tasks.items():
            if found.entries and not found.present:
                problems.append(f"Task `{name}` should have labels. Received: none{read}")
            if found.illegal:
                problems.append(
                    f"Labels of task `{name}` should be legal or missing. Received: "
                    f"{found.illegal} that are neither, such as {found.examples}"
                )
        if not report.rows:
            problems.append("`dataset` should have rows. Received: none")
    if problems:
        raise ValueError("\n".join([*dict.fromkeys(problems), "", str(report)]))
    return report


def _structure(dataset: Any, tasks: Mapping[str, Task]) -> list[str]:
    """What is wrong with the form of the elements."""
    try:
        labels, weights = check_elements("dataset", dataset)
    except ValueError as error:
        return [str(error)]
    problems = []
    for part, given in (("y", labels), ("sample_weight", weights)):
        if unknown := sorted(set(given) - set(tasks)):
            problems.append(
                f"`{part}` should have keys among the tasks {sorted(tasks)}. Received: {unknown}"
            )
    for name in sorted(set(tasks) - set(labels)):
        problems.append(f"Task `{name}` should have labels. Received: no key `{name}` in `y`")
    for name in sorted(set(tasks) & set(labels)):
        try:
            tasks[name].check_labels(labels[name])
        except ValueError as error:
            problems.append(str(error))
            continue
        shape = weights[name].shape if name in weights else labels[name].shape[:1]
        if shape.rank != 1 and tuple(shape[1:]) != (1,) and shape.rank != tasks[name].loss_rank:
            problems.append(
                f"Sample weights of task `{name}` should have one number for each row, or for each "
                f"pixel. Received: shape={tuple(shape)}"
            )
    return problems


def _read(dataset: tf.data.Dataset, batches: int | None, report: Report) -> Any:
    """The batches that are asked for; one more tells whether there are more."""
    for number, (x, y, *w) in enumerate(dataset):
        if number == batches:
            report.whole = False
            return
        report.batches += 1
        report.rows += len(next(iter(y.values())))
        yield x, y, (w[0] if w else {})


def _inputs(x: Any, problems: list[str]) -> None:
    """Note inputs that are not finite."""
    import tensorflow as tf

    for name, values in (x if isinstance(x, dict) else {"": x}).items():
        if values.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(values))):
            called = f"Input `{name}`" if name else "Inputs"
            problems.append(f"{called} should be finite. Received: NaN or infinity")


def _add(found: Labels, task: Task, labels: Any, weight: Any, problems: list[str]) -> None:
    """Add the labels of a batch."""
    read = task.read_labels(labels)
    present, illegal = (np.array(part) for part in (read.present, read.invalid))
    values = np.asarray(read.values)
    weights = np.ones(present.shape) if weight is None else np.asarray(weight, "float64")
    if weights.ndim > 1 and weights.shape[1:] == (1,):
        weights = weights[:, 0]
    if not np.isfinite(weights).all() or (weights < 0).any():
        bad = weights[~np.isfinite(weights) | (weights < 0)].flat[0]
        problems.append(
            f"Sample weights of task `{task.name}` should be finite and not negative. "
            f"Received: {bad}"
        )
    there = weights.reshape(*weights.shape, *(1,) * (present.ndim - weights.ndim)) > 0
    counts = present & there
    illegal &= there  # where a weight is 0, anything may stand
    found.dtype = labels.dtype.name
    found.entries += present.size
    found.present += int(counts.sum())
    found.unweighted += int((present & ~counts).sum())
    found.illegal += int(illegal.sum())
    found.missing += int((~present & ~illegal).sum())
    given = np.asarray(labels)
    given = given.reshape(*illegal.shape, -1)
    found.examples += [float(v) for v in given[illegal].ravel()]
    del found.examples[_EXAMPLES:]
    chosen = values.reshape(*counts.shape, -1)[counts].astype("float64")
    if not chosen.size:
        return
    found.lowest = float(np.nanmin([found.lowest, chosen.min()]))
    found.highest = float(np.nanmax([found.highest, chosen.max()]))
    found.total += float(chosen.sum())
    found.numbers += chosen.size
    of_classes = _of_classes(task, values, counts)
    if of_classes is not None:
        found.counts = of_classes if found.counts is None else found.counts + of_classes


def _of_classes(task: Task, values: np.ndarray, counts: np.ndarray) -> np.ndarray | None:
    """How many labels that count each class has; `None` where there are no classes."""
    if hasattr(task, "num_labels"):  # several labels, whose ones are counted
        return ((values > 0.5) & counts.reshape(*counts.shape, *(1,) * (2 - counts.ndim))).sum(0)
    if hasattr(task, "num_classes") and values.shape == counts.shape:
        return np.bincount(values[counts].astype("int64"), minlength=task.num_classes)
    if hasattr(task, "num_classes") and values.shape == (*counts.shape, task.num_classes):
        # Distributions over the classes, each counted as its most probable one.
        return np.bincount(values[counts].argmax(-1), minlength=task.num_classes)
    if task.loss_family == "classification" and values.size == counts.size:  # yes or no
        chosen = values.reshape(counts.shape)[counts] > 0.5
        return np.array([(~chosen).sum(), chosen.sum()])
    return None


def _in_words(found: Labels) -> str:
    if not found.numbers:
        return "-"
    if found.counts is None:
        return f"{found.lowest:.4g} to {found.highest:.4g}, mean {found.mean:.4g}"
    shown = " ".join(str(count) for count in found.counts[:_CLASSES])
    more = f" ... ({len(found.counts)} classes)" if len(found.counts) > _CLASSES else ""
    return f"counts {shown}{more}"
