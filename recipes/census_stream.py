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

import tempfile
import time
from collections.abc import Callable

import keras
from absl import flags, logging

from mtlzoo import HardSharing, MultiTaskModel, online
from mtlzoo.online.history import PLACES
from mtlzoo.serving import Versions
from mtlzoo.tasks import Task
from recipes.parts import census_streams, job, strategies
from recipes.parts.census_stream_report import draw, print_report
from recipes.parts.census_stream_watch import Watch, auc
from recipes.parts.census_streams import TASKS, Stream

FLAGS = job.define_flags(
    out="runs/census_stream",
    source=("full", "Rows: all, or those embedded."),
    data_dir=(None, "Where the full data is prepared."),
    seeds=(3, "Orders of rows, and trainings."),
    batch_size=(64, "Rows of a mini-batch."),
    learning_rate=1e-3,
)
flags.DEFINE_integer("before", 20_000, "Rows that are learned before.", lower_bound=1)
flags.DEFINE_integer("rows", 20_000, "Rows of a stream.", lower_bound=8)
flags.DEFINE_integer("test", 10_000, "Rows by which versions are judged.", lower_bound=1)
flags.DEFINE_list("streams", ["planted", "years"], "Which of the streams.")
flags.DEFINE_integer("window", 1000, "Rows of a point of the curves.", lower_bound=1)
flags.DEFINE_integer("every", 2000, "Rows between two candidates.", lower_bound=1)

EPOCHS, TRUNK, TOWER, DROPOUT = 3, 128, 32, 0.2
# A version is good again when its AUC of income is so close to the one before the change.
GOOD = 0.01


class Never(online.UpdatePolicy):
    """Learns nothing."""

    def decide(self, moment):
        """Goes on collecting."""
        return online.Decision(0)


def ways(tasks: list[Task]) -> dict[str, Callable[[], online.UpdatePolicy]]:
    """The policies that are compared, by name."""
    complexity = online.Complexity(tasks)
    return {
        "never": Never,
        "online": online.EveryBatch,
        "batched": lambda: online.Windows(rows=2048),
        "adaptive": lambda: online.Adaptive((64, 1024), hold=4096, complexity=complexity),
    }


def main(_) -> None:
    out = job.begin(logging.ERROR)  # TensorFlow's export has a notice for each signature
    started = time.perf_counter()
    pool, test, tasks = census_streams.load(FLAGS.source, FLAGS.data_dir)
    print(f"{len(pool[1]['income'])} rows, loaded in {time.perf_counter() - started:.0f} s")
    if "years" in FLAGS.streams:
        census_streams.print_years(pool)
    report: dict[str, dict[str, list]] = {name: {} for name in FLAGS.streams}
    marks = {}
    sizes = {"before": FLAGS.before, "rows": FLAGS.rows, "test_rows": FLAGS.test}
    for name, ways_of_it in report.items():
        for seed in range(FLAGS.seeds):
            stream = census_streams.make(name, pool, test, seed, **sizes)
            marks[name] = stream.marks
            for way, found in learn(stream, tasks, seed).items():
                ways_of_it.setdefault(way, []).append(found)
            seconds = time.perf_counter() - started
            print(f"{name}, seed {seed} done, {seconds:.0f} s since the start", flush=True)
            job.write(out, {**report, "marks": marks})  # what is done outlives a kill
    print_report(report, TASKS, GOOD)
    draw(out / "census_stream.png", report, marks, TASKS)
    job.end(out, {**report, "marks": marks}, "census_stream.png")


def learn(stream: Stream, tasks: list[Task], seed: int) -> dict[str, dict]:
    """Train a network on the first rows, and let it meet the others in each of the ways."""
    keras.utils.set_random_seed(seed)
    features = keras.Input(stream.before[0].shape[1:], name="features")
    with strategies.scope():
        model = HardSharing(
            features, tasks, shared_units=(TRUNK,), tower_units=(TOWER,), dropout=DROPOUT
        )
        model.compile(keras.optimizers.Adam(FLAGS.learning_rate), jit_compile=False)
    model.fit(*stream.before, epochs=EPOCHS, batch_size=256, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    values = [variable.numpy() for variable in variables]
    found = {}
    for way, policy in ways(tasks).items():
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        found[way] = follow(model, policy(), stream)
    return found


def follow(model: MultiTaskModel, policy: online.UpdatePolicy, stream: Stream) -> dict:
    """What becomes of a model that meets a stream."""
    watch = Watch(model, stream, GOOD)
    never = isinstance(policy, Never)
    with tempfile.TemporaryDirectory() as folder:
        learner = online.OnlineLearner(
            model,
            policy,
            batch_size=FLAGS.batch_size,
            window=FLAGS.window,
            held_back=online.HeldBack(every=8, rows=300),
            versions=None if never else Versions(folder, keep=2),
            publishing=online.Publishing(every_rows=FLAGS.every),
            most_waiting=2 * FLAGS.rows,
        )
        start = time.perf_counter()
        batches = stream.batches(FLAGS.batch_size)
        at_end = "keep" if never else "learn"
        history = learner.run(batches, at_end=at_end, after_batch=watch.look)
        seconds = time.perf_counter() - start - watch.looking
    counts = learner.counts
    return {
        "auc": {task: history.series(task, "auc") for task in TASKS},
        "total": {task: history.series(task, "auc", total=True)[1][-1] for task in TASKS},
        "counts": counts,
        "lost": counts["read"] - sum(counts[place] for place in PLACES),
        "drifts": [(each["task"], each["rows"]) for each in history.drifts],
        "updates": [(each["rows"], each["passes"], each["reason"]) for each in history.updates],
        "recovered": watch.recovered,
        "test": [auc(model, part) for part in stream.test],
        "change": stream.change,
        "seconds": seconds,
    }


if __name__ == "__main__":
    strategies.run(main)
