"""Are tasks related, and does it pay to train them together? `python -m recipes.task_relatedness`.

    python -m mtlzoo.data census_income --download   # once: 9 MB
    python -m recipes.task_relatedness --out=runs/task_relatedness
    python -m recipes.task_relatedness --part=planted   # without the census

First where the truth is known: two regression tasks of the synthetic data of the paper on MMoE,
whose weight vectors have the cosine p. Every measure of `mtlzoo.analysis` is taken for several p:
the cosine of their gradients, look-ahead affinity, the similarity of single-task features, and
what training the pair gains. All should be greater at p = 1 than at p = 0.

Then Census-Income, a part of its rows, with a fourth task that is learnable and about nothing (on
which side of a random plane a row lies): the same measures, the groups of tasks that each of them
proposes, what these gain when they are trained, and how many labels of `income` the other tasks
are worth.
"""

import json
import pathlib
import time
from typing import Any

import keras
import numpy as np
from absl import flags, logging

from mtlzoo import BinaryClassification, HardSharing, MultiTaskModel, Regression, analysis, data
from mtlzoo.analysis import GroupTrainings, TaskMatrix
from mtlzoo.analysis.statistics import mean_and_error
from mtlzoo.data.synthetic_relatedness import generate
from recipes import strategies, task_relatedness_pictures
from recipes.training import print_aligned

_OUT = flags.DEFINE_string("out", "runs/task_relatedness", "Folder to write to.")
_PARTS = flags.DEFINE_multi_enum(
    "part", ["planted", "census"], ["planted", "census"], "What to do of it."
)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each group of tasks.", lower_bound=2)
_CORRELATIONS = flags.DEFINE_multi_float("correlation", [0.0, 0.5, 1.0], "The p to look at.")
_SYNTHETIC_ROWS = flags.DEFINE_integer("synthetic_rows", 1024, "Synthetic training rows.")
_SYNTHETIC_EPOCHS = flags.DEFINE_integer("synthetic_epochs", 10, "Epochs on them.", lower_bound=1)
_DRAW = flags.DEFINE_integer(
    "draw",
    2,
    "Seed of the sines. Of other rows a linear model explains 66 % of the variance with 2, 1 % "
    "with 0.",
)
_SOURCE = flags.DEFINE_enum("source", "full", ["full", "sample"], "Rows: all, or those embedded.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the full data is prepared.")
_ROWS = flags.DEFINE_integer("rows", 6_000, "Training rows of the census.", lower_bound=64)
_EPOCHS = flags.DEFINE_integer("epochs", 4, "Epochs on the census.", lower_bound=1)
_LABELS = flags.DEFINE_multi_integer("labels", [100, 300, 1000], "Labels of `income`.")

BATCH_SIZE = 64
VALID_ROWS = 8_000
LOOK_AHEAD = 0.05  # the learning rate of the steps that are looked ahead
SMALL, NOTHING = "income", "random_plane"


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    for part in _PARTS.value:
        started = time.perf_counter()
        found = planted(out) if part == "planted" else census(out)
        (out / f"{part}.json").write_text(json.dumps(found, indent=2) + "\n")
        print(f"\n{part}: written to {out} in {time.perf_counter() - started:.0f} s\n", flush=True)


# --- What both parts share -----------------------------------------------------------------------


class Networks:
    """Makes models of some of the tasks, all with the same shared layer.

    Args:
        width: of the inputs.
        tasks: all tasks.
        units: of the shared layer.
        learning_rate: that of Adam.
        epochs: of each training.
    """

    def __init__(
        self, width: int, tasks: list, *, units: int, learning_rate: float, epochs: int
    ) -> None:
        self._width, self._units, self._rate = width, units, learning_rate
        self.tasks = {task.name: task for task in tasks}
        self.epochs = epochs

    def __call__(self, names: Any, balancer: str = "equal", **options: Any) -> MultiTaskModel:
        with strategies.scope():
            inputs = keras.Input((self._width,), name="features")
            tasks = [self.tasks[name] for name in names]
            model = HardSharing(inputs, tasks, shared_units=(self._units,))
            model.compile(
                keras.optimizers.Adam(self._rate),
                balancer,
                metrics={task.name: [task.monitor] for task in tasks},
                jit_compile=False,
                **options,
            )
        return model


def gradients_of(build: Networks, train: tuple, seed: int) -> list[TaskMatrix]:
    """The cosine of the gradients and the look-ahead affinity in a training of all tasks."""
    keras.utils.set_random_seed(seed)
    model = build(build.tasks, balancer="pcgrad", track_gramian="shared")
    part = tuple(
        {n: v[:1024] for n, v in p.items()} if isinstance(p, dict) else p[:1024] for p in train
    )
    gramians = analysis.GramianHistory()
    affinities = analysis.AffinityHistory(part, learning_rate=LOOK_AHEAD)
    model.fit(
        *train,
        batch_size=BATCH_SIZE,
        epochs=build.epochs,
        callbacks=[gramians, affinities],
        verbose=0,
    )
    return [gramians.matrix("cosine"), affinities.matrix()]


def trainings_of(build: Networks, train: tuple, valid: tuple, kept: dict) -> GroupTrainings:
    """What trains the groups; copies of single-task models are put into `kept`, by seed."""

    def keep(names: tuple[str, ...], seed: int, model: MultiTaskModel) -> None:
        if len(names) == 1:
            copy = build(names)
            copy.set_weights(model.get_weights())
            kept.setdefault(seed, {})[names[0]] = copy

    return GroupTrainings(
        build,
        list(build.tasks),
        train,
        valid,
        epochs=build.epochs,
        seeds=range(_SEEDS.value),
        batch_size=BATCH_SIZE,
        on_trained=keep,
    )


def similarity(kept: dict, x: np.ndarray) -> analysis.SampledMatrix:
    """Debiased CKA of the shared layers of single-task models, a sample for each seed."""
    found = [
        analysis.representation_similarity(models, x, layer="shared_0", debiased=True)
        for models in kept.values()
    ]
    names, samples = found[0].names, [matrix.values for matrix in found]
    return analysis.SampledMatrix(
        names, samples, found[0].measure, sampled="seeds", directed=False, signed=False
    )


# --- Where the truth is known --------------------------------------------------------------------


def planted(out: pathlib.Path) -> dict:
    """All measures for each p, as a table and a picture."""
    measured = {p: measures_of(p) for p in _CORRELATIONS.value}
    print_planted(measured)
    task_relatedness_pictures.over_relatedness(out / "planted.png", measured)
    return {str(p): found for p, found in measured.items()}


def measures_of(p: float) -> dict[str, list[float]]:
    """By measure its value for each seed.

    Labels are standardized: else the mean that the tasks have in common is what they are found to
    share, whatever p is. Each row has the label of one task only, so that with p=1 each learns from
    the labels of the other as from its own.
    """
    tasks = [Regression("first"), Regression("second")]
    build = Networks(100, tasks, units=8, learning_rate=1e-2, epochs=_SYNTHETIC_EPOCHS.value)
    train, valid = (
        (x, {n: (v - v.mean()) / v.std() for n, v in y.items()})
        for x, y in (
            generate(_SYNTHETIC_ROWS.value, p, [_DRAW.value, 1], _DRAW.value),
            generate(4096, p, [_DRAW.value, 2], _DRAW.value),
        )
    )
    train[1]["first"][::2] = np.nan
    train[1]["second"][1::2] = np.nan
    kept: dict = {}
    gains = analysis.pairwise_gains(trainings_of(build, train, valid, kept))
    found = {gains.measure: mean_of_pair(gains.samples)}
    alike = similarity(kept, valid[0])
    found[alike.measure] = mean_of_pair(alike.samples)
    for seed in range(_SEEDS.value):
        for matrix in gradients_of(build, train, seed):
            value = matrix.symmetric()["first", "second"]
            found.setdefault(matrix.measure, []).append(value)
    return found


def mean_of_pair(samples: np.ndarray) -> list[float]:
    """The mean of both directions, for each sample."""
    return ((samples[:, 0, 1] + samples[:, 1, 0]) / 2).tolist()


def print_planted(measured: dict[float, dict[str, list[float]]]) -> None:
    """A line for each p."""
    measures = list(next(iter(measured.values())))
    rows = [["p", *measures]]
    for p, found in measured.items():
        cells = [mean_and_error(np.array(found[measure])) for measure in measures]
        texts = [f"{mean:.4f} ± {error:.4f}" for mean, error in cells]
        rows.append([str(p), *texts])
    print_aligned(rows)


# --- Census-Income -------------------------------------------------------------------------------


def census(out: pathlib.Path) -> dict:
    """All measures, the groups, the labels; pictures are written to `out`."""
    build, train, valid = load()
    kept: dict = {}
    trainings = trainings_of(build, train, valid, kept)
    gains = analysis.pairwise_gains(trainings)
    cosines, affinities = gradients_of(build, train, seed=0)
    alike = similarity(kept, valid[0])
    # Of CKA zero means nothing: tasks count as related that are more alike than pairs on average.
    level = float(np.mean([value for *_, value in alike.ranked()]))
    groups = {}
    for matrix in (cosines, affinities, alike, gains):
        found = analysis.group_tasks(matrix, num_groups=2, alone=level if matrix is alike else 0.0)
        groups[matrix.measure] = analysis.measure_groups(found, trainings)
        print_aligned(groups[matrix.measure].rows())
        print(f"{groups[matrix.measure].words()}\n", flush=True)
    others = [name for name in build.tasks if name != SMALL]
    labels = analysis.label_efficiency(
        build,
        train,
        valid,
        task=SMALL,
        beside={f"beside {name}": [name] for name in others},
        counts=[count for count in _LABELS.value if count <= len(train[0])],
        epochs=build.epochs,
        seeds=range(_SEEDS.value),
        batch_size=BATCH_SIZE,
    )
    print_aligned(labels.rows())
    best = groups[affinities.measure]
    report = analysis.RelatednessReport(
        [cosines, affinities, alike],
        gains=gains,
        groups=best,
        efficiency=labels,
        title="Census-Income: are the tasks related?",
    )
    print(f"\n{report.words()}\n")
    print_aligned(report.rows())
    for name, finding in {"matrices": report, "groups": best, "labels": labels}.items():
        finding.figure().savefig(out / f"{name}.png")
    return {
        "words": report.words(),
        "matrices": {matrix.measure: matrix.rows() for matrix in report.matrices},
        "groups": {measure: found.rows() for measure, found in groups.items()},
        "labels": labels.rows(),
    }


def load() -> tuple[Networks, tuple, tuple]:
    """Rows of the census with all tasks, as arrays, and what makes models of them."""
    options = {"data_dir": _DATA_DIR.value} if _SOURCE.value == "full" else {}
    census = data.load("census_income", source=_SOURCE.value, batch_size=1024, **options)
    train, valid = (
        first_rows(part, rows)
        for part, rows in ((census.train, _ROWS.value), (census.valid, VALID_ROWS))
    )
    plane = np.random.default_rng(0).normal(size=train[0].shape[1])
    middle = np.median(train[0] @ plane)
    for x, y in (train, valid):
        y[NOTHING] = (x @ plane > middle).astype("float32")
    tasks = [*census.tasks, BinaryClassification(NOTHING)]
    width, epochs = train[0].shape[1], _EPOCHS.value
    build = Networks(width, tasks, units=32, learning_rate=1e-3, epochs=epochs)
    return build, train, valid


def first_rows(part: Any, rows: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The first rows of a data set, as arrays."""
    batches = [(x, y) for x, y, _ in part.take(-(-rows // 1024)).as_numpy_iterator()]
    x = np.concatenate([x for x, _ in batches])[:rows]
    return x, {name: np.concatenate([y[name] for _, y in batches])[:rows] for name in batches[0][1]}


if __name__ == "__main__":
    strategies.run(main)
