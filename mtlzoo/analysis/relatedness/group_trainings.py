"""Training groups of tasks at small scale, to see what they gain from each other."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from mtlzoo.data.narrowing import labels_of
from mtlzoo.layers.arguments import check_count, check_seed
from mtlzoo.metrics import delta_m
from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.tasks import Task
from mtlzoo.training import model_state

Build = Callable[[tuple[str, ...]], MultiTaskModel]
OnTrained = Callable[[tuple[str, ...], int, MultiTaskModel], None]


class GroupTrainings:
    """Trains models of some of the tasks, each group once for each seed, and remembers the scores.

    Every training of a seed begins with the same random numbers, and is judged after its last epoch
    by the metric that decides each task. `pairwise_gains` and `measure_groups` ask one object, so
    that what both need, such as the single tasks, is trained once.

    Args:
        build: `build(names)` makes a compiled multi-task model of the tasks `names`, a sorted
            tuple; also of one. It is called for each seed, and the first model of a group is
            trained with the values of each: models should differ by their variables only, and not
            by what is drawn into a constant, a schedule or a function.
        names: All tasks.
        train: Labelled data for all tasks: a `tf.data.Dataset` of batches `(x, y)` or `(x, y,
            sample_weight)`, or such a tuple of arrays. A data set that is shuffled anew in each
            epoch goes on with its order from one training to the next.
        valid: The data by which trainings are judged, in such a form.
        epochs: Of each training. Defaults to 1.
        seeds: A training of each group for each of them; `keras.utils.set_random_seed` gets it
            before a model is built, and before it is trained. Defaults to `(0, 1, 2)`.
        batch_size: As of `fit`, for arrays. Defaults to `None`.
        on_trained: `on_trained(names, seed, model)` is called after each training. The model is
            then trained again with the next seed, so copy what you keep. Defaults to `None`.

    Attributes:
        names: The tasks, sorted.
        seeds: The seeds.

    Raises:
        ValueError: For fewer than two tasks, or unusable arguments.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import GroupTrainings

    def build(names):
        model = HardSharing(keras.Input((4,)), [Regression(n) for n in names], shared_units=[4])
        model.compile("adam", jit_compile=False)
        return model

    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    data = x, {"a": x[:, 0], "b": x[:, 1]}
    trainings = GroupTrainings(build, ["a", "b"], data, data, seeds=[0])
    trainings.gains(["a", "b"])  # (1, 2), in percent against each alone
    ```
    """

    def __init__(
        self,
        build: Build,
        names: Sequence[str],
        train: Any,
        valid: Any,
        *,
        epochs: int = 1,
        seeds: Sequence[int] = (0, 1, 2),
        batch_size: int | None = None,
        on_trained: OnTrained | None = None,
    ) -> None:
        self.names = tuple(sorted(names))
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise ValueError(
                "`names` should be two different tasks or more, since one alone has nothing to be "
                f"related to. Received: names={list(names)}"
            )
        self.seeds = checked_seeds(seeds)
        self._build, self._train, self._valid = build, train, valid
        self._epochs, self._batch_size = check_count("epochs", epochs), batch_size
        self._on_trained = on_trained
        self._scores: dict[tuple[str, ...], np.ndarray] = {}
        self._tasks: dict[str, Task] = {}

    def scores(self, names: Sequence[str]) -> np.ndarray:
        """The deciding metric of each task of a group, trained together.

        Args:
            names: The tasks of the group.

        Returns:
            (S, N), by seed and by task, in sorted order.

        Raises:
            ValueError: For unknown tasks, or a model or data that do not fit them.
        """
        group = tuple(sorted(names))
        for name in group:
            if name not in self.names:
                raise ValueError(
                    f"`names` should be some of the tasks {list(self.names)}. Received: {name!r}"
                )
        if group not in self._scores:
            train = labels_of(self._train, group)
            runs = [(seed, train) for seed in self.seeds]
            scores, tasks = train_runs(
                self._build,
                group,
                runs,
                self._valid,
                epochs=self._epochs,
                batch_size=self._batch_size,
                on_trained=self._on_trained,
            )
            self._scores[group] = scores
            self._tasks |= tasks
        return self._scores[group]

    def gains(self, names: Sequence[str]) -> np.ndarray:
        """The gain of each task of a group against itself alone, in percent; positive is better.

        Args:
            names: The tasks of the group.

        Returns:
            (S, N), by seed and by task, in sorted order; NaN where the baseline is 0, or one of
            both scores is not finite, which is logged.
        """
        group = tuple(sorted(names))
        together = self.scores(group)
        gains = np.zeros_like(together)
        for column, name in enumerate(group):
            alone = self.scores([name])[:, 0]
            task = self._tasks[name]
            pairs = zip(together[:, column], alone, strict=True)
            gains[:, column] = [gain(task, score, baseline) for score, baseline in pairs]
            for seed in np.array(self.seeds)[np.isnan(gains[:, column])]:
                logging.warning(
                    "What the task `%s` gains in %s is not known for the seed %d: %s is not "
                    "finite, or 0 alone.",
                    *(name, "+".join(group), seed, task.monitor),
                )
        return gains


def gain(task: Task, score: float, baseline: float) -> float:
    """The gain of one task in percent, as in `delta_m`.

    It is NaN where the baseline is 0, or one of both is not finite.

    Args:
        task: The task.
        score: Its deciding metric.
        baseline: That of the single task.
    """
    if not baseline or not np.isfinite([score, baseline]).all():
        return np.nan
    return delta_m({task.name: score}, {task.name: baseline}, [task])


def checked_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Different seeds, one at least.

    Args:
        seeds: What was given.

    Raises:
        ValueError: If they are not.
    """
    seeds = tuple(seeds)
    if not seeds or len(set(seeds)) < len(seeds) or None in seeds:
        raise ValueError(f"`seeds` should be one or more different integers. Received: {seeds}")
    return tuple(seed for seed in map(check_seed, seeds) if seed is not None)


def train_runs(
    build: Build,
    names: tuple[str, ...],
    runs: Iterable[tuple[int, Any]],
    valid: Any,
    *,
    epochs: int,
    batch_size: int | None = None,
    on_trained: OnTrained | None = None,
) -> tuple[np.ndarray, dict[str, Task]]:
    """Train a model of some tasks several times from the beginning.

    One that was traced takes the state of a new one, which is not traced.

    Args:
        build: As of `GroupTrainings`.
        names: The tasks, sorted.
        runs: For each training the seed and the data, with labels of these tasks.
        valid: The data to judge by, with labels of these tasks or more.
        epochs: Of each training.
        batch_size: As of `fit`.
        on_trained: As of `GroupTrainings`.

    Returns:
        (R, N), the deciding metrics, and the tasks by name.
    """
    model, scores = None, []
    valid = labels_of(valid, names)
    for seed, train in runs:
        keras.utils.set_random_seed(seed)
        new = checked_model(build(names), names)
        if model is None:
            model = new
        else:
            for each in (model, new):
                model_state.build_metrics(each)
            model_state.restore(model, model_state.read(new))
        keras.utils.set_random_seed(seed)
        shuffled = not isinstance(train, tf.data.Dataset)  # which shuffles itself, or does not
        model.fit(**_arguments(train, batch_size), epochs=epochs, shuffle=shuffled, verbose=0)
        logs = model.evaluate(**_arguments(valid, batch_size), return_dict=True, verbose=0)
        scores.append([_deciding(logs, task) for task in model.tasks.values()])
        if on_trained is not None:
            on_trained(names, seed, model)
        found = ", ".join(f"{n} {score:.4g}" for n, score in zip(names, scores[-1], strict=True))
        logging.info("Trained %s with the seed %d: %s", "+".join(names), seed, found)
    return np.array(scores, "float64"), dict(model.tasks) if model is not None else {}


def checked_model(model: Any, names: tuple[str, ...]) -> MultiTaskModel:
    """What `build` has made.

    Args:
        model: The model.
        names: The tasks that it should have.

    Raises:
        ValueError: If it is no compiled model of these tasks.
    """
    if not isinstance(model, MultiTaskModel) or model.task_names != names:
        tasks = list(model.task_names) if isinstance(model, MultiTaskModel) else repr(model)
        raise ValueError(
            f"`build` should make a multi-task model of the tasks {list(names)}. Received: {tasks}"
        )
    model._assert_compile_called("fit")
    return model


def _arguments(data, batch_size):
    if isinstance(data, tf.data.Dataset):
        return {"x": data}
    named = zip(("x", "y", "sample_weight"), data, strict=False)
    return {**dict(named), "batch_size": batch_size}


def _deciding(logs, task):
    key = f"{task.name}_{task.monitor}"
    if key not in logs:
        raise ValueError(
            f"`build` should make a model whose logs have {key!r}, the metric that decides the "
            f"task `{task.name}`. Received: the logs {sorted(logs)}"
        )
    return float(logs[key])
