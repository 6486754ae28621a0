"""Training and evaluating a model on each of several folds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlzoo.data.parts import check_parts
from mtlzoo.data.pipeline import batches, check_batching

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """What `cross_validate` has found; as text it is a table.

    Attributes:
        folds: for each fold the model's logs on the rows that it was not trained on, such as
            `<task>_loss` and `<task>_<metric>`.
    """

    folds: list[dict[str, float]]

    @property
    def mean(self) -> dict[str, float]:
        """By log, the mean over folds."""
        return {key: float(np.mean(self._values(key))) for key in self.folds[0]}

    @property
    def std(self) -> dict[str, float]:
        """By log, the standard deviation between folds, with one fold less in the denominator."""
        return {key: float(np.std(self._values(key), ddof=1)) for key in self.folds[0]}

    def of_task(self, task: str) -> dict[str, list[float]]:
        """The logs of a task by fold, without its name.

        Args:
            task: the task's name.

        Returns:
            By log a number for each fold.

        Raises:
            ValueError: if there is no such log.
        """
        names = {key.removesuffix("_loss") for key in self.folds[0] if key.endswith("_loss")}

        def owner(key: str) -> str:
            """The longest name that a log begins with, since `age` and `age_group` may be tasks."""
            return max((n for n in names if key.startswith(f"{n}_")), key=len, default="")

        found = {
            key.removeprefix(f"{task}_"): self._values(key)
            for key in self.folds[0]
            if owner(key) == task
        }
        if not found:
            raise ValueError(
                f"`task` should have logs. Received: {task!r} of {list(self.folds[0])}"
            )
        return found

    def _values(self, key: str) -> list[float]:
        return [fold[key] for fold in self.folds]

    def __str__(self) -> str:
        width = max(map(len, self.folds[0]))
        lines = [f"{'':{width}}  {'mean':>9}  {'std':>9}  {len(self.folds)} folds"]
        mean, std = self.mean, self.std
        for key in self.folds[0]:
            each = " ".join(f"{value:.4g}" for value in self._values(key))
            lines.append(f"{key:{width}}  {mean[key]:9.4g}  {std[key]:9.4g}  {each}")
        return "\n".join(lines)


def cross_validate(
    build_model: Callable[[], keras.Model],
    data: tuple[Any, Mapping[str, np.ndarray]] | tuple[Any, Mapping, Mapping],
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    batch_size: int = 32,
    seed: int = 0,
    **fit: Any,
) -> CrossValidation:
    """Train a new model on each fold's training rows and evaluate it on the others.

    Args:
        build_model: makes a compiled model, anew for each fold.
        data: the inputs, one array `(n, ...)` or a dict of them; the labels by task; and, if there
            are any, the sample weights by task.
        folds: for each fold the numbers of the rows to train on and of those to test on, as of
            `kfold`.
        batch_size: rows in a batch. Defaults to 32.
        seed: of the order of the training rows; `keras.utils.set_random_seed` gets it plus the
            number of the fold before each model is made. Defaults to 0.
        **fit: what else `fit` takes, such as `epochs` and `callbacks`.

    Returns:
        The logs of each fold, with mean and spread.

    Raises:
        ValueError: if there are fewer than two folds, a row is trained and tested on in one of
            them, or rows are not there.

    Example:
        ```python
        import keras
        import numpy as np

        from mtlzoo import HardSharing, Regression
        from mtlzoo.data import cross_validate, kfold

        rng = np.random.default_rng(0)
        x = rng.normal(size=(60, 4)).astype("float32")
        y = {"total": x.sum(1), "first": x[:, 0]}
        tasks = [Regression("total"), Regression("first")]

        def build_model():
            model = HardSharing(keras.Input((4,)), tasks, shared_units=[8])
            model.compile(keras.optimizers.Adam(0.01))
            return model

        found = cross_validate(build_model, (x, y), kfold(y, tasks, folds=3), epochs=2, verbose=0)
        print(found)
        ```
    """
    import keras
    import tensorflow as tf

    check_batching(batch_size, seed)
    folds = list(folds)
    if len(folds) < 2:
        raise ValueError(f"`folds` should be at least 2. Received: {len(folds)}")
    data = tuple(map(_arrays, data))
    lengths = [len(array) for array in tf.nest.flatten(data)]
    count = lengths[0]
    if set(lengths) != {count}:
        raise ValueError(
            f"`data` should have arrays of one length. Received: the lengths {sorted(set(lengths))}"
        )
    for train, test in folds:
        check_parts({"train": train, "test": test})
        rows = np.concatenate([train, test])
        if not len(train) or not len(test) or rows.min() < 0 or rows.max() >= count:
            raise ValueError(
                f"`folds` should have rows from 0 to {count - 1} to train and to test on. "
                f"Received: {len(train)} and {len(test)}, from {rows.min(initial=0)} to "
                f"{rows.max(initial=-1)}"
            )
    found = []
    for number, (train, test) in enumerate(folds):
        of_train, of_test = (
            tf.nest.map_structure(lambda array, rows=rows: np.asarray(array)[rows], data)
            for rows in (train, test)
        )
        keras.utils.set_random_seed(seed + number)
        model = build_model()
        model.fit(batches(of_train, batch_size, seed), **fit)
        found.append(model.evaluate(batches(of_test, batch_size), return_dict=True, verbose=0))
    return CrossValidation(found)


def _arrays(part: Any) -> Any:
    """Inputs, labels or sample weights as arrays."""
    if isinstance(part, Mapping):
        return {name: np.asarray(values) for name, values in part.items()}
    return np.asarray(part)
