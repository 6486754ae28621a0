"""What the recipe on explanations measures of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtlzoo import MultiTaskModel, analysis
from recipes.parts.stamps import MODALITIES, without_modality


def in_right_half(model: MultiTaskModel, x: np.ndarray, methods: Sequence[str]) -> tuple:
    """Where the attributions of the tasks lie.

    Args:
        model: the model of two tasks.
        x: pictures.
        methods: how they are explained.

    Returns:
        By method and task the share in the right half of each picture, those of the ink first; and
        by method how alike the maps of the two tasks are.
    """
    # The item of the right stands 8 pixels further to the right, and lower, than that of the left.
    half = np.zeros(x.shape[1:3], bool)
    half[:, half.shape[1] // 2 :] = True
    ink = x[..., 0]
    of_ink = list((ink * half).sum((1, 2)) / ink.sum((1, 2)))
    shares = {"the picture itself": dict.fromkeys(model.task_names, of_ink)}
    alike = {}
    for method in methods:
        both = analysis.explain_tasks(model, x, method=method)
        shares[method] = {task: list(both[task].share(half)) for task in model.task_names}
        alike[method] = next(iter(both.overlap().values()))
    return shares, alike


def randomization_tests(
    model: MultiTaskModel, x: np.ndarray, methods: Sequence[str]
) -> dict[str, dict[str, analysis.RandomizationTest]]:
    """By method and task whether maps change with the weights.

    Args:
        model: the model.
        x: pictures.
        methods: how they are explained.
    """
    return {
        method: {
            task: analysis.randomization_test(model, task, x, method=method)
            for task in model.task_names
        }
        for method in methods
    }


def losses_without(model: Any, test: tf.data.Dataset, task: str) -> dict[str, float]:
    """By modality, how much of a task's deciding metric is lost when it is declared missing.

    Args:
        model: the model.
        test: rows to score it on.
        task: the task's name.
    """

    def score(missing):
        part = without_modality(missing, test)
        logs = model.evaluate(part, return_dict=True, verbose=0)
        return logs[f"{task}_{model.tasks[task].monitor}"]

    with_all = score(None)
    return {modality: float(with_all - score(modality)) for modality in MODALITIES}
