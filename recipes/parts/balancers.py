"""Every balancer with one architecture, beside single tasks and fixed weights that were tuned.

What recipes with a flag `--balancer` share. Fixed weights are tuned on the validation data alone:
each pair of tasks at a few ratios, trained with all seeds, and the best mean over seeds is kept.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import MultiTaskModel, balancing, data
from mtlzoo.tasks import Task
from recipes.parts import comparison, strategies
from recipes.parts.comparison import Result
from recipes.parts.tables import SINGLE
from recipes.parts.training import Progress

EQUAL, TUNED = "equal", "fixed weights, tuned"
FLAG_HELP = (
    "Balancers. One: that of the multi-task models. Several, or `all`: they are compared with one "
    "architecture, that of --models or hard sharing, beside `equal`, single tasks, and fixed "
    "weights tuned on the validation data."
)
# Of two tasks' loss weights, beside 1:1, which is `equal`. The rest have the weight between.
RATIOS = (1 / 4, 1 / 2, 2, 4)


@dataclasses.dataclass
class Found:
    """What the trainings gave.

    Attributes:
        tasks: those of the data.
        results: by row of the table, a result for each seed.
        refused: by balancer, why the architecture cannot be trained with it.
        tuned: the fixed weights that were chosen, by task.
        validation: all fixed weights that were tried, equal ones first, and the score of each seed.
    """

    tasks: Sequence[Task]
    results: dict[str, list[Result]]
    refused: dict[str, str]
    tuned: dict[str, float]
    validation: list[tuple[dict[str, float], list[float]]]


# --- What is compared ----------------------------------------------------------------------------


def named(given: Sequence[str]) -> list[str]:
    """The balancers that `--balancer` names, each once.

    Args:
        given: the flag's value.

    Raises:
        ValueError: if a name is unknown, or there is none.
    """
    if list(given) == ["all"]:
        return balancing.names()
    if not given:
        raise ValueError("`--balancer` should have a name, or be `all`. Received none")
    for name in given:
        balancing.get(name)
    return list(dict.fromkeys(given))


def the_one(models: Sequence[str] | None, made: Mapping[str, Any], default: str) -> Any:
    """What makes the architecture that balancers are compared with.

    Args:
        models: the value of `--models`, `None` where it was not given.
        made: what makes each of those that were asked for, by name; all where none was.
        default: the architecture without `--models`.

    Raises:
        ValueError: if there are several, or it is unknown.
    """
    if models is None:
        return made[default]
    if len(models) != 1 or len(made) != 1:
        raise ValueError(
            "`--models` should name one architecture where balancers are compared. "
            f"Received: {','.join(models)}"
        )
    return next(iter(made.values()))


def allowed(model: MultiTaskModel, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Which balancers a model can be compiled with, and by name why not the others.

    Args:
        model: of the architecture; it is compiled, not trained.
        names: the balancers.
    """
    good, refused = [], {}
    for name in names:
        try:
            model.compile(keras.optimizers.Adam(), balancer=name, jit_compile=False)
        except ValueError as reason:
            refused[name] = str(reason)
        else:
            good.append(name)
    return good, refused


def fixed_weights(tasks: Sequence[str]) -> list[dict[str, float]]:
    """All that is tried, by task: equal weights, then each pair at `RATIOS`. Their sum is that of
    equal weights, so that the learning rate means the same.

    Args:
        tasks: their names.
    """
    found = [dict.fromkeys(tasks, 1.0)]
    for (first, second), ratio in itertools.product(itertools.combinations(tasks, 2), RATIOS):
        raw = {**found[0], first: math.sqrt(ratio), second: 1 / math.sqrt(ratio)}
        found.append({name: w * len(tasks) / sum(raw.values()) for name, w in raw.items()})
    return found


def best_on_validation(runs: Sequence[Sequence[Result]]) -> int:
    """The place of the best mean score on the validation data; the first of equals.

    The score is that which chooses epochs: the mean of the deciding metrics.

    Args:
        runs: for each choice, a result for each seed.
    """
    means = [np.mean([result.valid for result in results]) for results in runs]
    return int(np.argmax(np.nan_to_num(means, nan=-np.inf)))


# --- Training ------------------------------------------------------------------------------------


def train_all(
    names: Sequence[str],
    load: Callable[[int], data.Loaded],
    single: Callable[[data.Loaded, Task], MultiTaskModel],
    build: Callable[[data.Loaded, str], MultiTaskModel],
    *,
    seeds: int,
    epochs: int,
    learning_rate: Any,
) -> Found:
    """Train single tasks, every balancer and fixed weights, with all seeds.

    Args:
        names: the balancers; `equal` is always among them.
        load: the data, by seed.
        single: makes the network of one task.
        build: makes the model of all tasks, with this name.
        seeds: trainings of each.
        epochs: of each training.
        learning_rate: that of Adam, a number or a schedule.
    """
    loaded = load(0)
    with strategies.scope():
        to_check = build(loaded, "to_check")
        methods, refused = allowed(to_check, list(dict.fromkeys([EQUAL, *names])))
    choices = fixed_weights([task.name for task in loaded.tasks])
    results: dict[str, list[Result]] = {name: [] for name in [SINGLE, *methods]}
    fixed = [results[EQUAL], *([] for _ in choices[1:])]
    trainings = len(loaded.tasks) + len(methods) + len(choices) - 1
    progress = Progress(seeds * trainings, epochs)
    for seed in range(seeds):
        loaded = loaded if seed == 0 else load(seed)
        settings: dict[str, Any] = {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "seed": seed,
            "progress": progress,
            # Compiling would take longer than most of these trainings: each has a step of its own.
            "jit_compile": False,
        }
        with _alone(SINGLE, seed):
            make = functools.partial(single, loaded)
            _, result = comparison.train_single_tasks(make, loaded, **settings)
        results[SINGLE].append(result)
        for name in methods:
            with _alone(name, seed):
                make = functools.partial(build, loaded, name)
                _, result = comparison.train(make, loaded, balancer=name, **settings)
            results[name].append(result)
        for weights, runs in zip(choices[1:], fixed[1:], strict=True):
            name = "_".join(["fixed", *(f"{weight:.2f}" for weight in weights.values())])
            with _alone(name, seed):
                make = functools.partial(build, loaded, name)
                _, result = comparison.train(make, loaded, loss_weights=weights, **settings)
            runs.append(result)
    best = best_on_validation(fixed)
    results[TUNED] = fixed[best]
    scores = [[result.valid for result in runs] for runs in fixed]
    validation = list(zip(choices, scores, strict=True))
    return Found(loaded.tasks, results, refused, choices[best], validation)


@contextlib.contextmanager
def _alone(name: str, seed: int) -> Iterator[None]:
    """Forget the model of before, and have errors say whose they are."""
    keras.backend.clear_session()
    try:
        yield
    except Exception as error:
        error.add_note(f"This ended the training of `{name}` with seed {seed}.")
        raise
