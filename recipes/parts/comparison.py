"""Several models on one data set, over several seeds: what most recipes do."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from mtlzoo import MultiTaskModel, data
from mtlzoo.tasks import Task
from mtlzoo.training import BestEpoch
from recipes.parts import strategies
from recipes.parts.tables import SINGLE, summarize
from recipes.parts.training import Progress


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
    scores = model.evaluate(
        data.labels_of(loaded.test, student.task_names), return_dict=True, verbose=0
    )
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
        data.labels_of(loaded.train, student.task_names),
        validation_data=data.labels_of(loaded.valid, student.task_names),
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


@dataclasses.dataclass
class Run:
    """One model of one seed, as it was trained.

    Attributes:
        name: that of the model in the table.
        seed: that of initial weights and dropout.
        loaded: the data of this seed.
        models: by task the model that answers it: one for all, or each task's own.
        result: how well.
    """

    name: str
    seed: int
    loaded: data.Loaded
    models: dict[str, MultiTaskModel]
    result: Result

    @property
    def model(self) -> MultiTaskModel:
        """The model of the first task, which is that of all tasks but for single tasks."""
        return next(iter(self.models.values()))


def over_seeds(
    load: Callable[[int], data.Loaded],
    models: Mapping[str, Callable[[data.Loaded], MultiTaskModel]],
    *,
    single: Callable[[data.Loaded, Task], MultiTaskModel] | None = None,
    seeds: int | Sequence[int],
    epochs: int,
    learning_rate: Any,
    balancer: str = "equal",
    after: Callable[[Run], Any] | None = None,
) -> dict[str, dict]:
    """Train several models with several seeds, each to the epoch that is best on the validation
    data.

    Args:
        load: the data, by seed.
        models: by name, what makes a model of all tasks.
        single: makes the network of one task. Defaults to no single tasks.
        seeds: trainings of each model, or their seeds. A number counts from 0.
        epochs: of each training.
        learning_rate: that of Adam, a number or a schedule.
        balancer: that of the models of all tasks.
        after: is called after each training, to draw or to read the model, which is forgotten then.

    Returns:
        The report of `tables.summarize`; single tasks come first.
    """
    results: dict[str, list[Result]] = {}
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    progress = None
    for seed in seeds:
        loaded = load(seed)
        if progress is None:
            networks = len(models) + (0 if single is None else len(loaded.tasks))
            progress = Progress(len(seeds) * networks, epochs)
        settings: dict[str, Any] = {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "seed": seed,
            "progress": progress,
        }
        for name in [*([SINGLE] if single else []), *models]:
            if name == SINGLE:
                make = functools.partial(single, loaded)
                answering, result = train_single_tasks(make, loaded, **settings)
            else:
                build = functools.partial(models[name], loaded)
                model, result = train(build, loaded, balancer=balancer, **settings)
                answering = dict.fromkeys(model.task_names, model)
            results.setdefault(name, []).append(result)
            if after is not None:
                after(Run(name, seed, loaded, answering, result))
    return summarize(results, loaded.tasks)


def parameters(model: MultiTaskModel) -> int:
    """What the model learns, without the balancer's own state."""
    variables = [*model.shared_variables]
    for task in model.task_names:
        variables += model.task_variables(task)
    return sum(math.prod(variable.shape) for variable in variables)
