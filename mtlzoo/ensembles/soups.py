"""Greedy soups: averages of those models that the average gets better by."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from mtlzoo.ensembles import members as m
from mtlzoo.ensembles import states
from mtlzoo.ensembles.averaging import is_float
from mtlzoo.ensembles.statistics import check_rows, refresh_statistics
from mtlzoo.metrics import delta_m
from mtlzoo.models.multi_task_model import MultiTaskModel


class Soup(NamedTuple):
    """A greedy soup.

    Attributes:
        model: The model with the averaged weights, compiled for `evaluate`.
        ingredients: Which models are in it, from 0, in the order they were taken.
        scores: The score of each model alone, in the order given; of a diverged one `-inf`.
        score: That of the soup.
    """

    model: MultiTaskModel
    ingredients: list[int]
    scores: list[float]
    score: float


def greedy_soup(
    models: Sequence[Any],
    valid: Any,
    *,
    task: str | None = None,
    refresh: Any = None,
    like: MultiTaskModel | None = None,
) -> Soup:
    r"""The average of the models that make it no worse on validation data, taken from the best on.

    Wortsman et al., *Model Soups: Averaging Weights of Multiple Fine-tuned Models Improves Accuracy
    without Increasing Inference Time*, ICML 2022, recipe 1: the models are sorted by their score;
    the soup begins with the best, and each next one stays in it if the score of the average does
    not fall. So the soup is not worse than the best model, on the validation data.

    The score is that of `task`, its deciding metric (negative where lower is better), or of all
    tasks `delta_m`, their mean relative gain in percent over the average of the models' metrics
    (tasks in which that is 0 have no say). A model that has diverged, whose weights or metrics are
    not all finite, is never taken, and no part of that average.

    Args:
        models: Models of one architecture, or files, as for `average_weights`.
        valid: Validation data: a `tf.data.Dataset`, or a tuple `(x, y)` or `(x, y, sample_weight)`.
        task: Name of the task that decides. Defaults to None, for all.
        refresh: Training rows for `refresh_statistics` of each average. Defaults to None.
        like: As for `average_weights`.

    Returns:
        A `Soup`: the model, its ingredients and the scores.

    Raises:
        ValueError: As `average_weights`, for an unknown task, or if no model has finite weights
            and metrics, as for a task without labels in the validation data.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles import greedy_soup

    models = [
        HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=()) for _ in range(2)
    ]
    valid = np.eye(4, dtype="float32"), {"stay": np.ones((4, 1), "float32")}
    greedy_soup(models, valid).ingredients  # of the better model, or of both
    ```

    References:
        Wortsman et al., ICML 2022, arXiv:2203.05482.

    *Differences from the paper*: with several tasks `delta_m` decides.
    """
    given = states.read_all(models, like)
    name, first = states.load(0, given[0], like)
    if task is not None and task not in first.task_names:
        raise ValueError(
            f"`task` should be one of the tasks {list(first.task_names)}, or None. "
            f"Received: task={task!r}"
        )
    check_rows("refresh", refresh)
    wanted = states.arrays_of(first)
    labels, kept = [name], [wanted]
    for i in range(1, len(given)):
        label, model = states.load(i, given[i], like)
        labels.append(label)
        kept.append(states.in_order_of((name, wanted), (label, states.arrays_of(model))))
    candidate = m.copy_of(first, preprocessor=True)
    candidate.compile("sgd")

    alone = []
    for arrays in kept:
        states.assign(candidate, arrays)
        alone.append(_metrics(candidate, valid))

    def is_finite(found):
        return all(np.isfinite(found[name]) for name in ([task] if task else found))

    sound = [
        is_finite(found) and all(np.isfinite(a).all() for a in arrays.values() if is_float(a))
        for found, arrays in zip(alone, kept, strict=True)
    ]
    if not any(sound):
        raise ValueError(
            "`models` should have finite weights, and finite metrics on `valid`, one of them at "
            f"least. Received: {', '.join(labels)}, with the metrics {alone}"
        )
    known = [found for found, is_sound in zip(alone, sound, strict=True) if is_sound]
    baselines = {name: float(np.mean([found[name] for found in known])) for name in alone[0]}

    def score(found):
        if not is_finite(found):
            return -np.inf
        if task is None:
            # A metric that is 0 for all, as of models that have learned nothing, tells none apart.
            telling = [t for name, t in candidate.tasks.items() if baselines[name]]
            of_telling = [{t.name: each[t.name] for t in telling} for each in (found, baselines)]
            return delta_m(*of_telling, telling) if telling else 0.0
        return found[task] if candidate.tasks[task].mode == "max" else -found[task]

    scores = [score(f) if is_sound else -np.inf for f, is_sound in zip(alone, sound, strict=True)]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    ingredients, best = [order[0]], scores[order[0]]
    for i in [i for i in order[1:] if sound[i]]:
        _mix(candidate, [kept[j] for j in [*ingredients, i]], refresh)
        found = score(_metrics(candidate, valid))
        logging.info("With model %d the score is %.6g, without it %.6g", i, found, best)
        if found >= best:
            ingredients, best = [*ingredients, i], found
    _mix(candidate, [kept[j] for j in ingredients], refresh)
    return Soup(candidate, ingredients, scores, best)


def _metrics(model, valid):
    arguments = valid if isinstance(valid, list | tuple) else (valid,)
    x, y, weight = (*arguments, None, None)[:3]
    logs = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    return {name: float(logs[f"{name}_{t.monitor}"]) for name, t in model.tasks.items()}


def _mix(model, arrays, refresh):
    """Give the model the mean of arrays; those of one model as they are."""
    mean = {
        path: np.mean([each[path].astype("float64") for each in arrays], 0)
        for path, array in arrays[0].items()
        if is_float(array)
    }
    states.assign(model, {**arrays[0], **mean})
    if refresh is not None and len(arrays) > 1:
        refresh_statistics(model, refresh)
