"""A model in service that keeps learning: Census-Income as a stream that changes.

    python -m mtlzoo.data census_income --download   # once: 9 MB
    python -m recipes.census_stream --out=runs/census_stream

A network is trained on the first rows, and meets the others as a stream, in mini-batches. Two
streams are made of the survey:

* `planted`: rows in random order, with two changes. After a quarter of the stream, occupations,
  industries and classes of workers are coded by another book, all at once, which the task `income`
  needs most. From the middle on, more and more offices do not count children as never married any
  more; after another quarter none does.
* `years`: rows of 1994 and then those of 1995, as they are.

Each is learned never, online (each mini-batch), batched (windows) and adaptively. Versions are
published as `mtlzoo.online.Publishing` does it. Prints what each way cost and gained, and draws the
prequential AUC: no row is scored by a model that has learned from it.
"""

import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

from mtlzoo import HardSharing, MultiTaskModel, data
from mtlzoo.data.census_income import preprocessor
from mtlzoo.metrics import AUC
from mtlzoo.online import (
    Adaptive,
    Complexity,
    Decision,
    EveryBatch,
    HeldBack,
    OnlineLearner,
    Publishing,
    UpdatePolicy,
    Windows,
)
from mtlzoo.online.history import PLACES
from mtlzoo.serving import Versions
from mtlzoo.tasks import Task
from recipes import strategies
from recipes.census_stream_report import draw, print_report
from recipes.comparison import write

_OUT = flags.DEFINE_string("out", "runs/census_stream", "Folder to write to.")
_SOURCE = flags.DEFINE_enum("source", "full", ["full", "sample"], "Rows: all, or those embedded.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the full data is prepared.")
_BEFORE = flags.DEFINE_integer("before", 20_000, "Rows that are learned before.", lower_bound=1)
_ROWS = flags.DEFINE_integer("rows", 20_000, "Rows of a stream.", lower_bound=8)
_TEST = flags.DEFINE_integer("test", 10_000, "Rows by which versions are judged.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Orders of rows, and trainings.", lower_bound=1)
_STREAMS = flags.DEFINE_list("streams", ["planted", "years"], "Which of the streams.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Rows of a mini-batch.", lower_bound=1)
_WINDOW = flags.DEFINE_integer("window", 1000, "Rows of a point of the curves.", lower_bound=1)
_EVERY = flags.DEFINE_integer("every", 2000, "Rows between two candidates.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-3, "Adam's learning rate.")

TASKS = ("income", "never_married")
CODES = (
    *("class_of_worker", "detailed_industry_recode", "detailed_occupation_recode"),
    *("major_industry_code", "major_occupation_code"),
)
ADULT = 18
EPOCHS, TRUNK, TOWER, DROPOUT = 3, 128, 32, 0.2
# A version is good again when its AUC of income is so close to the one before the change.
GOOD = 0.01


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


class Never(UpdatePolicy):
    """Learns nothing."""

    def decide(self, moment):
        """Goes on collecting."""
        return Decision(0)


def ways(tasks: list[Task]) -> dict[str, Callable[[], UpdatePolicy]]:
    """The policies that are compared, by name."""
    return {
        "never": Never,
        "online": EveryBatch,
        "batched": lambda: Windows(rows=2048),
        "adaptive": lambda: Adaptive((64, 1024), hold=4096, complexity=Complexity(tasks)),
    }


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)  # TensorFlow's export has a notice for each signature
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    pool, test, tasks = load()
    print(f"{len(pool[1]['income'])} rows, loaded in {time.perf_counter() - started:.0f} s")
    if "years" in _STREAMS.value:
        print_years(pool)
    report: dict[str, dict[str, list]] = {name: {} for name in _STREAMS.value}
    marks = {}
    for name, ways_of_it in report.items():
        for seed in range(_SEEDS.value):
            stream = make(name, pool, test, seed)
            marks[name] = stream.marks
            for way, found in learn(stream, tasks, seed).items():
                ways_of_it.setdefault(way, []).append(found)
            seconds = time.perf_counter() - started
            print(f"{name}, seed {seed} done, {seconds:.0f} s since the start", flush=True)
            write(out, {**report, "marks": marks})  # what is done outlives a kill
    print_report(report, TASKS, GOOD)
    draw(out / "census_stream.png", report, marks, TASKS)
    print(f"\nWritten to {out}: census_stream.png, results.json")


# --- Data --------------------------------------------------------------------------------------


def load() -> tuple[tuple, tuple, list[Task]]:
    """Raw columns and labels of the training data and of the test data, and the tasks."""
    options = {"data_dir": _DATA_DIR.value} if _SOURCE.value == "full" else {}
    census = data.load(
        "census_income", source=_SOURCE.value, preprocessed=False, batch_size=20_000, **options
    )
    pool = joined([*census.train.as_numpy_iterator(), *census.valid.as_numpy_iterator()])
    test = joined(list(census.test.as_numpy_iterator()))
    return pool, test, [task for task in census.tasks if task.name in TASKS]


def joined(batches: list[tuple]) -> tuple[dict, dict]:
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


def make(name: str, pool: tuple, test: tuple, seed: int) -> Stream:
    """One of the streams, in an order of its own.

    The preprocessor is made of the rows that are learned before: what came later nobody knew.
    """
    rng = np.random.default_rng(seed)
    order, rows = rng.permutation(len(pool[1]["income"])), _ROWS.value
    if name == "years":
        year = pool[0]["year"][order].astype("S").astype(int)
        first, second = order[year == 94], order[year == 95]
        half = rows // 2
        chosen = np.concatenate([first[: _BEFORE.value + half], second[:half]])
        change, marks = half, (half,)
    else:
        chosen = order
        change, marks = rows // 4, (rows // 4, rows // 2, 3 * rows // 4)
    if len(chosen) < _BEFORE.value + rows:
        raise ValueError(
            f"`--before` and `--rows` should be fewer than the data has. Received: "
            f"{_BEFORE.value} and {rows}, of {len(chosen)}"
        )
    before = some(pool, chosen[: _BEFORE.value])
    arriving = some(pool, chosen[_BEFORE.value :][:rows])
    judged = some(test, np.arange(len(test[1]["income"])))
    if name == "years":
        year = judged[0]["year"].astype("S").astype(int)
        tests = [some(judged, np.flatnonzero(year == y)[: _TEST.value]) for y in (94, 95)]
    else:
        judged = some(judged, np.arange(_TEST.value))
        place = np.arange(rows)
        offices = rng.random(rows) < (place - marks[1]) / (marks[2] - marks[1])
        arriving = changed(arriving, place >= change, offices)
        everywhere = np.ones(len(judged[1]["income"]), bool)
        tests = [judged, changed(judged, everywhere, ~everywhere)]
    encode = encoder(before[0])
    before, arriving, *tests = ((encode(x), y) for x, y in (before, arriving, *tests))
    return Stream(before, arriving, tuple(tests), change, marks)


def some(part: tuple, rows: np.ndarray) -> tuple[dict, dict]:
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


def encoder(x: Mapping[str, np.ndarray]) -> Callable[[Mapping], np.ndarray]:
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


# --- Learning ----------------------------------------------------------------------------------


def learn(stream: Stream, tasks: list[Task], seed: int) -> dict[str, dict]:
    """Train a network on the first rows, and let it meet the others in each of the ways."""
    keras.utils.set_random_seed(seed)
    features = keras.Input(stream.before[0].shape[1:], name="features")
    with strategies.scope():
        model = HardSharing(
            features, tasks, shared_units=(TRUNK,), tower_units=(TOWER,), dropout=DROPOUT
        )
        model.compile(keras.optimizers.Adam(_LEARNING_RATE.value), jit_compile=False)
    model.fit(*stream.before, epochs=EPOCHS, batch_size=256, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    values = [variable.numpy() for variable in variables]
    found = {}
    for way, policy in ways(tasks).items():
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        found[way] = follow(model, policy(), stream)
    return found


def follow(model: MultiTaskModel, policy: UpdatePolicy, stream: Stream) -> dict:
    """What becomes of a model that meets a stream."""
    goal = auc(model, stream.test[0])["income"] - GOOD
    recovered: dict[str, float] = {}
    began: list[float] = []
    published, looking = 0, 0.0

    def look(learner: OnlineLearner) -> None:
        """After each mini-batch: is a version good that was published after the change?"""
        nonlocal published, looking
        counts = learner.counts
        is_new, published = counts["published"] > published, counts["published"]
        if counts["read"] < stream.change:
            return
        if not began:
            began.append(time.perf_counter() - looking)
        if is_new and not recovered:
            now = time.perf_counter()
            good = auc(model, stream.test[1])["income"] >= goal
            if good:
                recovered["rows"] = counts["read"] - stream.change
                recovered["seconds"] = now - looking - began[0]
            looking += time.perf_counter() - now  # which is no part of learning

    never = isinstance(policy, Never)
    with tempfile.TemporaryDirectory() as folder:
        learner = OnlineLearner(
            model,
            policy,
            batch_size=_BATCH_SIZE.value,
            window=_WINDOW.value,
            held_back=HeldBack(every=8, rows=300),
            versions=None if never else Versions(folder, keep=2),
            publishing=Publishing(every_rows=_EVERY.value),
            most_waiting=2 * _ROWS.value,
        )
        start = time.perf_counter()
        history = learner.run(
            mini_batches(stream), at_end="keep" if never else "learn", after_batch=look
        )
        seconds = time.perf_counter() - start - looking
    counts = learner.counts
    return {
        "auc": {task: history.series(task, "auc") for task in TASKS},
        "total": {task: history.series(task, "auc", total=True)[1][-1] for task in TASKS},
        "counts": counts,
        "lost": counts["read"] - sum(counts[place] for place in PLACES),
        "drifts": [(each["task"], each["rows"]) for each in history.drifts],
        "updates": [(each["rows"], each["passes"], each["reason"]) for each in history.updates],
        "recovered": recovered,
        "test": [auc(model, part) for part in stream.test],
        "change": stream.change,
        "seconds": seconds,
    }


def mini_batches(stream: Stream) -> Iterator[tuple]:
    """The rows of a stream as they come."""
    x, y = stream.rows
    for begin in range(0, len(x), _BATCH_SIZE.value):
        rows = slice(begin, begin + _BATCH_SIZE.value)
        yield x[rows], {name: labels[rows] for name, labels in y.items()}


def auc(model: MultiTaskModel, part: tuple) -> dict[str, float]:
    """The AUC of each task on rows."""
    x, y = part
    raw = model.predict_on_batch(x)
    found = {}
    for name, labels in y.items():
        metric = AUC()
        metric.update_state(labels, raw[name])
        found[name] = float(metric.result())
    return found


if __name__ == "__main__":
    strategies.run(main)
