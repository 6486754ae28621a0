"""Several models on one data set, over several seeds: what most recipes do."""

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo import MultiTaskModel, data
from mtlzoo.metrics import delta_m
from mtlzoo.tasks import Task
from recipes import strategies
from recipes.training import BestEpoch, Progress, print_aligned

SINGLE = "single tasks"


@dataclasses.dataclass
class Result:
    """One model of one seed at its best epoch.

    Attributes:
        test: by task the deciding metric on the test data.
        epoch: the epoch that was best on the validation data, from 1; by task for single tasks.
        parameters: what it learns, balancers left out.
        seconds: how long `fit` took.
        scores: all that `evaluate` says of the test data, by log key.
        valid: the score of the epoch on the validation data, as of `BestEpoch`; of single tasks
            not known.
    """

    test: dict[str, float]
    epoch: int | dict[str, int]
    parameters: int
    seconds: float
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    valid: float = math.nan


def train(
    build: Callable[[], MultiTaskModel],
    loaded: data.Loaded,
    *,
    epochs: int,
    learning_rate: Any,
    seed: int,
    balancer: str = "equal",
    progress: Progress | None = None,
    **options: Any,
) -> tuple[MultiTaskModel, Result]:
    """Build a model, train it with Adam, and go back to the epoch that was best on the validation
    data. The test data is read once, at the end.

    Args:
        build: makes the model, of some or all tasks of `loaded`.
        loaded: the data set.
        epochs: how many.
        learning_rate: that of Adam, a number or a schedule.
        seed: of initial weights and dropout.
        balancer: name of the balancer.
        progress: a bar for the whole job.
        **options: of `compile`, such as `loss_weights`.
    """
    keras.utils.set_random_seed(seed)
    with strategies.scope():
        model = build()
        model.compile(keras.optimizers.Adam(learning_rate), balancer=balancer, **options)
    return model, fit(model, loaded, epochs=epochs, seed=seed, progress=progress)


def fit(
    model: MultiTaskModel,
    loaded: data.Loaded,
    *,
    epochs: int,
    seed: int,
    progress: Progress | None = None,
    student: MultiTaskModel | None = None,
    name: str | None = None,
) -> Result:
    """What `train` does with a model that is compiled already.

    Args:
        model: the model.
        loaded: the data set.
        epochs: how many.
        seed: that of the model, for the line that says how it went.
        progress: a bar for the whole job.
        student: the model that counts, if it is a part of what is trained. Defaults to all of it.
        name: what the line calls it. Defaults to the name of the model.
    """
    student = model if student is None else student
    best, _, seconds = to_best_epoch(model, loaded, epochs, progress, student)
    scores = model.evaluate(labels_of(student, loaded.test), return_dict=True, verbose=0)
    test = {task: scores[f"{task}_{kind.monitor}"] for task, kind in student.tasks.items()}
    if progress is not None:
        found = ", ".join(f"{task} {value:.4f}" for task, value in test.items())
        line = f"{name or model.name}, seed {seed}: {seconds:.0f} s, epoch {best.epoch}, {found}"
        progress.finish(line)
    return Result(test, best.epoch, parameters(student), seconds, scores, best.score)


def to_best_epoch(
    model: MultiTaskModel,
    loaded: data.Loaded,
    epochs: int,
    progress: Progress | None = None,
    student: MultiTaskModel | None = None,
) -> tuple[BestEpoch, dict[str, list[float]], float]:
    """Train a compiled model and go back to the epoch that was best on the validation data; the
    test data is left alone.

    Args:
        model: the model.
        loaded: the data set.
        epochs: how many.
        progress: a bar for the whole job.
        student: the model that counts, if it is a part of what is trained. Defaults to all of it.

    Returns:
        The best epoch, the logs of all epochs, and how many seconds `fit` took.
    """
    student = model if student is None else student
    best = BestEpoch(student.tasks)
    started = time.perf_counter()
    logs = model.fit(
        labels_of(student, loaded.train),
        validation_data=labels_of(student, loaded.valid),
        epochs=epochs,
        shuffle=False,  # the data set reshuffles itself
        callbacks=[best] if progress is None else [best, progress],
        verbose=0,
    ).history
    return best, logs, time.perf_counter() - started


def train_single_tasks(
    build: Callable[[Task], MultiTaskModel], loaded: data.Loaded, **arguments
) -> tuple[dict[str, MultiTaskModel], Result]:
    """One network for each task, as one result: parameters and seconds are summed.

    Args:
        build: makes the model of one task.
        loaded: the data set.
        **arguments: those of `train`.
    """
    models, results = {}, {}
    for task in loaded.tasks:
        models[task.name], results[task.name] = train(
            lambda task=task: build(task), loaded, **arguments
        )
    return models, Result(
        {name: result.test[name] for name, result in results.items()},
        {name: result.epoch for name, result in results.items()},
        sum(result.parameters for result in results.values()),
        sum(result.seconds for result in results.values()),
    )


def labels_of(model: MultiTaskModel, part: tf.data.Dataset) -> tf.data.Dataset:
    """The same rows with the labels and weights of the model's tasks alone."""

    def choose(x, y, weight):
        return x, {t: y[t] for t in model.task_names}, {t: weight[t] for t in model.task_names}

    return part.map(choose)


def parameters(model: MultiTaskModel) -> int:
    """What the model learns, without the balancer's own state."""
    variables = [*model.shared_variables]
    for task in model.task_names:
        variables += model.task_variables(task)
    return sum(math.prod(variable.shape) for variable in variables)


# --- Report ------------------------------------------------------------------------------------


def summarize(results: Mapping[str, Sequence[Result]], tasks: Sequence[Task]) -> dict[str, dict]:
    """By model the mean and the standard deviation over seeds of every deciding metric, and of
    `delta_m` against the single tasks of the same seed, if those are among the models.
    """
    report = {}
    for name, runs in results.items():
        metrics = {
            f"{task.name}, {task.monitor}": spread([run.test[task.name] for run in runs])
            for task in tasks
        }
        if SINGLE in results and name != SINGLE:
            pairs = zip(runs, results[SINGLE], strict=True)
            metrics["delta_m, %"] = spread([_gain(r.test, s.test, tasks) for r, s in pairs])
        report[name] = {
            "metrics": metrics,
            "parameters": runs[0].parameters,
            "seconds": float(np.mean([run.seconds for run in runs])),
            "seconds_of_seeds": [run.seconds for run in runs],
            "epochs": [run.epoch for run in runs],
        }
    return report


def _gain(results: dict, baselines: dict, tasks: Sequence[Task]) -> float:
    # After a training too short to find anything a baseline is 0, and no relative gain exists.
    return delta_m(results, baselines, tasks) if all(baselines.values()) else math.nan


def spread(values: Sequence[float]) -> dict:
    """The mean, the standard deviation (`None` of one value), and the values."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std, "values": [float(v) for v in values]}


def print_table(report: Mapping[str, dict], than: str | None = None) -> None:
    """Print a line for each model: mean ± standard deviation over seeds, parameters, time.

    Args:
        report: as of `summarize`.
        than: the model whose time is the unit of one more column, of medians over seeds, since
            another job may have held one training up; `None` for no such column.
    """
    times = {name: float(np.median(row["seconds_of_seeds"])) for name, row in report.items()}
    columns = list(dict.fromkeys(c for found in report.values() for c in found["metrics"]))
    rows = [["", *columns, "parameters", "training, s"]]
    if than is not None:
        rows[0].append(f"time, {than} = 1")
    for name, found in report.items():
        cells = [_cell(found["metrics"].get(column)) for column in columns]
        rows.append([name, *cells, f"{found['parameters']:,}", f"{found['seconds']:.0f}"])
        if than is not None:
            rows[-1].append(f"{times[name] / times[than]:.2f}")
    print()
    print_aligned(rows)


def _cell(metric: dict | None) -> str:
    if metric is None:
        return "-"
    return f"{metric['mean']:.4f}" + ("" if metric["std"] is None else f" ± {metric['std']:.4f}")


def write(out: pathlib.Path, report: Mapping[str, dict]) -> None:
    """Write the report to `results.json` in the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(report, indent=2) + "\n")
