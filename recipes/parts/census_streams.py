"""Census-Income as streams of rows that change."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from mtlzoo.data.census_income import preprocessor
from mtlzoo.tasks import Task
from recipes.parts import census

TASKS = ("income", "never_married")
CODES = (
    *("class_of_worker", "detailed_industry_recode", "detailed_occupation_recode"),
    *("major_industry_code", "major_occupation_code"),
)
ADULT = 18


@dataclasses.dataclass(frozen=True)
class Stream:
    """Rows to learn before, rows that come one after the other, and rows to judge versions by.

    Attributes:
        before: features and labels by task, `(rows, F)` and `(rows,)`.
        rows: the same of the stream.
        test: the same, as they are before the change and after it.
        change: the row of the first change.
        marks: rows of all changes, for the picture.
    """

    before: tuple
    rows: tuple
    test: tuple[tuple, tuple]
    change: int
    marks: tuple[int, ...]

    def batches(self, size: int) -> Iterator[tuple]:
        """The rows of the stream as they come, so many at a time."""
        x, y = self.rows
        for begin in range(0, len(x), size):
            rows = slice(begin, begin + size)
            yield x[rows], {name: labels[rows] for name, labels in y.items()}


def load(source: str, data_dir: str | None) -> tuple[tuple, tuple, list[Task]]:
    """Raw columns and labels of the training data and of the test data, and the tasks."""
    loaded = census.load(source, data_dir, TASKS, preprocessed=False, batch_size=20_000)
    pool = _joined([*loaded.train.as_numpy_iterator(), *loaded.valid.as_numpy_iterator()])
    return pool, _joined(list(loaded.test.as_numpy_iterator())), loaded.tasks


def _joined(batches: list[tuple]) -> tuple[dict, dict]:
    """All columns and labels of batches."""
    parts = ([batch[i] for batch in batches] for i in range(2))
    x, y = ({name: np.concatenate([p[name] for p in part]) for name in part[0]} for part in parts)
    return x, {name: y[name] for name in TASKS}


def print_years(pool: tuple) -> None:
    """How far each category is apart between the years: the total variation distance of shares."""
    late = pool[0]["year"].astype("S").astype(int) == 95
    apart = {}
    for name, values in pool[0].items():
        if name != "year" and values.dtype.kind != "f":
            _, codes = np.unique(values.astype("S"), return_inverse=True)
            of_late, of_early = (
                np.bincount(codes[rows], minlength=codes.max() + 1) / rows.sum()
                for rows in (late, ~late)
            )
            apart[name] = np.abs(of_late - of_early).sum() / 2
    print("total variation distance between 1994 and 1995, of categories:")
    for name in sorted(apart, key=lambda name: -apart[name])[:10]:
        print(f"  {name} {apart[name]:.2f}")
    for task, labels in pool[1].items():
        early, later = labels[~late].mean(), labels[late].mean()
        print(f"share of {task}: {early:.3f} in 1994, {later:.3f} in 1995")


def make(
    name: str, pool: tuple, test: tuple, seed: int, *, before: int, rows: int, test_rows: int
) -> Stream:
    """One of the streams, in an order of its own.

    The preprocessor is made of the rows that are learned before: what came later nobody knew.

    Args:
        name: `"planted"` or `"years"`.
        pool: raw columns and labels of the training data.
        test: the same of the test data.
        seed: of the order.
        before: how many rows are learned before.
        rows: how many rows the stream has.
        test_rows: how many rows versions are judged by.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pool[1]["income"]))
    if name == "years":
        year = pool[0]["year"][order].astype("S").astype(int)
        first, second = order[year == 94], order[year == 95]
        half = rows // 2
        chosen = np.concatenate([first[: before + half], second[:half]])
        change, marks = half, (half,)
    else:
        chosen = order
        change, marks = rows // 4, (rows // 4, rows // 2, 3 * rows // 4)
    if len(chosen) < before + rows:
        raise ValueError(
            f"`--before` and `--rows` should be fewer than the data has. Received: "
            f"{before} and {rows}, of {len(chosen)}"
        )
    learned = _some(pool, chosen[:before])
    arriving = _some(pool, chosen[before:][:rows])
    judged = _some(test, np.arange(len(test[1]["income"])))
    if name == "years":
        year = judged[0]["year"].astype("S").astype(int)
        tests = [_some(judged, np.flatnonzero(year == y)[:test_rows]) for y in (94, 95)]
    else:
        judged = _some(judged, np.arange(test_rows))
        place = np.arange(rows)
        offices = rng.random(rows) < (place - marks[1]) / (marks[2] - marks[1])
        arriving = changed(arriving, place >= change, offices)
        everywhere = np.ones(len(judged[1]["income"]), bool)
        tests = [judged, changed(judged, everywhere, ~everywhere)]
    encode = _encoder(learned[0])
    learned, arriving, *tests = ((encode(x), y) for x, y in (learned, arriving, *tests))
    return Stream(learned, arriving, tuple(tests), change, marks)


def _some(part: tuple, rows: np.ndarray) -> tuple[dict, dict]:
    """Some of the rows."""
    return tuple({name: values[rows] for name, values in each.items()} for each in part)


def changed(part: tuple, recoded: np.ndarray, adults: np.ndarray) -> tuple[dict, dict]:
    """Rows after the changes.

    Args:
        part: raw columns and labels.
        recoded: `(rows,)`, which of them have the new codes.
        adults: which of them are counted by the new rule.
    """
    x, y = (dict(each) for each in part)
    rng = np.random.default_rng(0)  # the book is the same in all streams
    for column in CODES:
        old = np.unique(x[column])
        new = rng.permutation(old)
        x[column] = np.where(recoded, new[np.searchsorted(old, x[column])], x[column])
    children = adults & (x["age"] < ADULT)
    y["never_married"] = np.where(children, 0, y["never_married"])
    return x, y


def _encoder(x: Mapping[str, np.ndarray]) -> Callable[[Mapping], np.ndarray]:
    """A function from raw columns to features that knows the values of these rows only."""
    words = {
        name: values if values.dtype.kind == "f" else np.array([v.decode() for v in values], object)
        for name, values in x.items()
    }
    apply = tf.function(preprocessor.make(words), reduce_retracing=True)

    def encode(x: Mapping[str, np.ndarray]) -> np.ndarray:
        parts = [apply(part) for part in tf.data.Dataset.from_tensor_slices(dict(x)).batch(8192)]
        return np.concatenate([part.numpy() for part in parts])

    return encode
