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

import numpy as np
from absl import flags, logging

from mtlzoo import Regression, analysis
from recipes.parts import job, strategies
from recipes.parts.relatedness_data import census_with_nothing, synthetic
from recipes.parts.relatedness_measures import BATCH_SIZE, Networks, Trainings, gradients_of
from recipes.parts.relatedness_report import over_relatedness, print_planted
from recipes.parts.tables import print_aligned

FLAGS = job.define_flags(
    out="runs/task_relatedness",
    source=("full", "Rows: all, or those embedded."),
    data_dir=(None, "Where the full data is prepared."),
    epochs=(4, "Epochs on the census."),
)
flags.DEFINE_multi_enum("part", ["planted", "census"], ["planted", "census"], "What to do of it.")
flags.DEFINE_integer("seeds", 3, "Trainings of each group of tasks.", lower_bound=2)
flags.DEFINE_multi_float("correlation", [0.0, 0.5, 1.0], "The p to look at.")
flags.DEFINE_integer("synthetic_rows", 1024, "Synthetic training rows.")
flags.DEFINE_integer("synthetic_epochs", 10, "Epochs on them.", lower_bound=1)
flags.DEFINE_integer(
    "draw",
    2,
    "Seed of the sines. Of other rows a linear model explains 66 % of the variance with 2, 1 % "
    "with 0.",
)
flags.DEFINE_integer("rows", 6_000, "Training rows of the census.", lower_bound=64)
flags.DEFINE_multi_integer("labels", [100, 300, 1000], "Labels of `income`.")

SMALL = "income"  # the task whose labels are to be few


def main(_) -> None:
    out = job.begin(logging.ERROR)
    for part in FLAGS.part:
        started = time.perf_counter()
        found = planted(out) if part == "planted" else census(out)
        (out / f"{part}.json").write_text(json.dumps(found, indent=2) + "\n")
        print(f"\n{part}: written to {out} in {time.perf_counter() - started:.0f} s\n", flush=True)


# --- Where the truth is known --------------------------------------------------------------------


def planted(out: pathlib.Path) -> dict:
    """All measures for each p, as a table and a picture."""
    measured = {p: measures_of(p) for p in FLAGS.correlation}
    print_planted(measured)
    over_relatedness(out / "planted.png", measured)
    return {str(p): found for p, found in measured.items()}


def measures_of(p: float) -> dict[str, list[float]]:
    """By measure its value for each seed."""
    tasks = [Regression("first"), Regression("second")]
    build = Networks(100, tasks, units=8, learning_rate=1e-2, epochs=FLAGS.synthetic_epochs)
    train, valid = synthetic(FLAGS.synthetic_rows, p, FLAGS.draw)
    trainings = Trainings(build, train, valid, range(FLAGS.seeds))
    gains = analysis.pairwise_gains(trainings.groups)
    alike = trainings.similarity(valid[0])
    found = {matrix.measure: mean_of_pair(matrix.samples) for matrix in (gains, alike)}
    for seed in range(FLAGS.seeds):
        for matrix in gradients_of(build, train, seed):
            value = matrix.symmetric()["first", "second"]
            found.setdefault(matrix.measure, []).append(value)
    return found


def mean_of_pair(samples: np.ndarray) -> list[float]:
    """The mean of both directions, for each sample."""
    return ((samples[:, 0, 1] + samples[:, 1, 0]) / 2).tolist()


# --- Census-Income -------------------------------------------------------------------------------


def census(out: pathlib.Path) -> dict:
    """All measures, the groups, the labels; pictures are written to `out`."""
    tasks, train, valid = census_with_nothing(FLAGS.source, FLAGS.data_dir, FLAGS.rows)
    width = train[0].shape[1]
    build = Networks(width, tasks, units=32, learning_rate=1e-3, epochs=FLAGS.epochs)
    trainings = Trainings(build, train, valid, range(FLAGS.seeds))
    gains = analysis.pairwise_gains(trainings.groups)
    cosines, affinities = gradients_of(build, train, seed=0)
    alike = trainings.similarity(valid[0])
    # Of CKA zero means nothing: tasks count as related that are more alike than pairs on average.
    level = float(np.mean([value for *_, value in alike.ranked()]))
    groups = {}
    for matrix in (cosines, affinities, alike, gains):
        found = analysis.group_tasks(matrix, num_groups=2, alone=level if matrix is alike else 0.0)
        groups[matrix.measure] = analysis.measure_groups(found, trainings.groups)
        print_aligned(groups[matrix.measure].rows())
        print(f"{groups[matrix.measure].words()}\n", flush=True)
    labels = analysis.label_efficiency(
        build,
        train,
        valid,
        task=SMALL,
        beside={f"beside {name}": [name] for name in build.tasks if name != SMALL},
        counts=[count for count in FLAGS.labels if count <= len(train[0])],
        epochs=FLAGS.epochs,
        seeds=range(FLAGS.seeds),
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


if __name__ == "__main__":
    strategies.run(main)
