"""Feature importance by permuting features."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.analysis.importance.feature_importance import FeatureImportance, check_confidence
from mtlzoo.analysis.importance.features import Groups, Table, chosen_tasks, gathered
from mtlzoo.data.arguments import check_count
from mtlzoo.layers.arguments import check_bool
from mtlzoo.models import MultiTaskModel


def permutation_importance(
    model: MultiTaskModel,
    x: Any,
    y: Mapping[str, Any] | None = None,
    *,
    sample_weight: Any = None,
    groups: Mapping[str, Any] | None = None,
    names: Any = None,
    tasks: Sequence[str] | None = None,
    repeats: int = 10,
    resample: bool = True,
    confidence: float = 0.95,
    seed: int = 0,
    batch_size: int = 1024,
    raw: bool | None = None,
) -> FeatureImportance:
    """How much worse each task gets when the values of a feature are dealt out to other rows.

    The rows should be ones that the model was not trained on. Everything is measured by
    `model.evaluate`, so that labels may be missing, and losses are weighted by sample weights (and
    metrics by them where they were given to `compile` as `weighted_metrics`).

    Args:
        model: A trained and compiled model.
        x: Inputs, or a dict of the raw columns that `model.preprocessor` reads, or a
            `tf.data.Dataset` of `(x, y)` or `(x, y, sample_weight)`.
        y: Labels, a dict by task. Defaults to `None`, for a data set.
        sample_weight: As for `evaluate`. Defaults to `None`.
        groups: Dict from a name to what is permuted together: names of inputs, names or numbers of
            columns, or pairs `(input, index)` of an input and any NumPy index within a row, such
            as a patch. Defaults to `None`: one feature for each column where there is one input,
            else for each input, with its `<input>_present`.
        names: Those of the columns of an input that is a vector, or a dict of them by input.
            Defaults to `None`, numbers.
        tasks: Which are wanted. Defaults to `None`, all.
        repeats: How often each feature is permuted, from 3. Defaults to 10.
        resample: Whether each repeat also draws its rows anew, with replacement. The intervals are
            then of what other rows like these would give; else only of what other permutations of
            these rows would. Defaults to `True`.
        confidence: Of the intervals. Defaults to 0.95.
        seed: Of the draws, from 0. The result is the same for the same seed. Defaults to 0.
        batch_size: As for `evaluate`, which runs in each repeat once for each feature and once
            more. Defaults to 1024.
        raw: Whether `x` is what `model.preprocessor` reads, and not the model's inputs. Defaults to
            `None`: what its names say; where both have the same names, it should be given.

    Returns:
        By the loss of each task's deciding metric; `.losses` is the same by the rise of its loss.
        An interval with `resample` has the spread of single permutations in it, and so is somewhat
        too wide. NaN for a task that in any repeat had no row with a label that counts.

    Raises:
        ValueError: If the model is not compiled, lacks a deciding metric, or an argument is
            unusable: pictures or sequences without `groups`, or labels of another length than `x`,
            for instance.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import permutation_importance

    model = HardSharing(keras.Input((3,)), [Regression("a"), Regression("b")], shared_units=(8,))
    model.compile("adam")
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    y = {"a": x[:, 0], "b": x[:, 1]}
    importance = permutation_importance(model, x, y, names=["u", "v", "w"], repeats=3)
    importance.values.shape  # (3, 2)
    ```

    References:
        Breiman, *Random Forests*, Machine Learning 45, 2001.
        Fisher, Rudin and Dominici, *All Models are Wrong, but Many are Useful*, JMLR 20, 2019.

    *Differences from the papers*: several tasks, groups, and intervals over resampled rows.
    """
    wanted = chosen_tasks(model, tasks)
    if not model.compiled:
        raise ValueError(
            "`model` should be compiled, since `evaluate` is what measures. Received: "
            f"`{model.name}`, which is not"
        )
    check_count("repeats", repeats)
    if repeats < 3:
        raise ValueError(f"`repeats` should be 3 at least. Received: repeats={repeats}")
    check_bool("resample", resample)
    check_confidence(confidence)
    check_count("batch_size", batch_size)
    check_count("seed", seed, least=0)
    x, y, sample_weight = gathered(x, y, sample_weight)
    y, sample_weight = model._arrays(y, sample_weight)
    table = Table(model, x, raw)
    for what, given in (("labels", y), ("sample weights", sample_weight or {})):
        for name, array in given.items():
            if array.shape[:1] != (table.length,):
                raise ValueError(
                    f"`x` should have as many rows as there are {what} of task `{name}`. "
                    f"Received: {table.length} rows, {what} of the shape {array.shape}"
                )
    found = table.groups(groups, names)
    scores = _Scores(model, wanted, batch_size)
    counts = scores.counting(y, sample_weight, table.length)
    samples = np.stack(
        [
            _once(scores, table, found, y, sample_weight, counts, resample, (seed, repeat))
            for repeat in range(repeats)
        ]
    )
    spread = "permutations and of rows" if resample else "permutations"
    by_metric, by_loss = (
        FeatureImportance(
            found.names,
            wanted,
            samples[:, kind],
            units,
            of_one=resample,
            confidence=confidence,
            title=f"How much worse each task gets without a feature, by its {what}",
            how=f"Each feature was permuted {repeats} times in {table.length} rows; intervals are "
            f"over {spread}.",
        )
        for kind, (what, units) in enumerate(
            [("deciding metric", scores.units), ("loss", dict.fromkeys(wanted, "loss"))]
        )
    )
    by_metric.losses = by_loss
    return by_metric


class _Scores:
    """How bad a model is on rows, by the metric that decides each task and by its loss."""

    def __init__(self, model: MultiTaskModel, tasks: Sequence[str], batch_size: int) -> None:
        self._model, self._tasks, self._batch_size = model, tasks, batch_size
        self.units = {name: model.tasks[name].monitor for name in tasks}

    def counting(self, y: Any, sample_weight: Any, rows: int) -> np.ndarray:
        """(rows, T): whether a row has a label that counts."""
        read = self._model._step.objectives.read(y, sample_weight, rows)
        present = [np.asarray(read[name].present) for name in self._tasks]
        known = np.stack([each.reshape(rows, -1).any(1) for each in present], 1)
        return known & [self._model.task_mask[name] for name in self._tasks]

    def bad(self, inputs: Any, y: Any, sample_weight: Any) -> np.ndarray:
        """(2, T): the deciding metrics, those that should be high negative, and the losses."""
        # Keras's own data set of arrays traces functions each time, for longer than these run.
        inputs = tuple(inputs) if isinstance(inputs, list) else inputs
        rows = (inputs, y) if sample_weight is None else (inputs, y, sample_weight)
        batches = tf.data.Dataset.from_tensor_slices(rows).batch(self._batch_size)
        logs = self._model.evaluate(batches, verbose=0, return_dict=True)
        metrics = []
        for name in self._tasks:
            task = self._model.tasks[name]
            key = f"{name}_{task.monitor}"
            if key not in logs:
                raise ValueError(
                    f"`model` should be compiled with the metric {task.monitor!r} that decides "
                    f"task `{name}`. Received: one with {sorted(logs)}"
                )
            metrics.append(-logs[key] if task.mode == "max" else logs[key])
        return np.array([metrics, [logs[f"{name}_loss"] for name in self._tasks]], "float64")


def _once(
    scores: _Scores,
    table: Table,
    groups: Groups,
    y: Any,
    sample_weight: Any,
    counts: np.ndarray,
    resample: bool,
    seeds: tuple[int, int],
) -> np.ndarray:
    """(2, G, T): how much worse each task is with each group permuted once.

    NaN for tasks without any label among the rows, of which `evaluate` says 0.
    """
    count = table.length
    rows = np.arange(count)
    if resample:
        rows = np.random.default_rng(seeds).integers(0, count, count)

    def taken(structure):
        if structure is None:
            return None
        return keras.tree.map_structure(lambda array: np.asarray(array)[rows], structure)

    columns, y, sample_weight = taken(table.columns), taken(y), taken(sample_weight)
    before = scores.bad(table.inputs(columns), y, sample_weight)
    found = []
    for group in range(len(groups.names)):
        order = np.random.default_rng((*seeds, group)).permutation(count)
        moved = dict(columns)
        groups.put(group, moved, {name: columns[name][order] for name in groups.parts[group]})
        found.append(scores.bad(table.inputs(moved), y, sample_weight) - before)
    return np.where(counts[rows].any(0), np.stack(found, 1), np.nan)
