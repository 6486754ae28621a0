"""What a report is made of: runs, each of one or more trainings."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from mtlzoo.layers.arguments import check_seed
from mtlzoo.models import MultiTaskModel
from mtlzoo.reporting import answers, intervals, settings
from mtlzoo.reporting.answers import Latency
from mtlzoo.reporting.intervals import Interval
from mtlzoo.reporting.outcomes import Outcomes, outcomes
from mtlzoo.reporting.recorder import RunRecorder
from mtlzoo.reporting.scores import Score, score
from mtlzoo.tasks import Task


@dataclasses.dataclass(frozen=True)
class Training:
    """What is kept of one training; the model itself is not.

    Attributes:
        seed: Its seed, if it is known.
        tasks: The tasks by name.
        history: By key of the logs a list with a number for each epoch.
        seconds: How long each epoch took; empty where it is not known.
        parameters: The number of parameters by task, and by `None` of those that are shared.
        settings: The architecture, the balancer and the optimizer, in words.
        machine: What it ran on, in words.
        scores: By task and metric, on the test data; empty without test data.
        outcomes: By task, of those that are classifiers.
        latency: How fast the model answers, if it was measured.
        left_out: The metrics that are no single number, `<task>_<metric>`.
    """

    seed: int | None
    tasks: dict[str, Task]
    history: dict[str, list[float]]
    seconds: list[float]
    parameters: dict[str | None, int]
    settings: dict[str, str]
    machine: str
    scores: dict[str, dict[str, Score]]
    outcomes: dict[str, Outcomes]
    latency: Latency | None
    left_out: tuple[str, ...]


class Run:
    """One way of training, with one or more seeds, as a report shows it.

    Args:
        name: What it is called.
        command: The command line that made it. Defaults to `""`, for none.

    Attributes:
        name: The name.
        command: The command line.
        trainings: What `add` has noted, a `Training` each.

    Raises:
        ValueError: If the name is empty, or an argument is no text.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression, report
    from mtlzoo.reporting import Run, RunRecorder

    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = {"a": x[:, 0], "b": x[:, 1]}
    run = Run("hard sharing", "python train.py")
    for seed in range(2):
        keras.utils.set_random_seed(seed)
        model = HardSharing(keras.Input((4,)), [Regression("a"), Regression("b")], shared_units=[8])
        model.compile("adam", balancer="pcgrad")
        recorder = RunRecorder()
        model.fit(x, y, epochs=2, callbacks=[recorder], verbose=0)
        run.add(model, recorder, (x, y), seed=seed)
    report("report.html", [run], title="Two sums")
    ```
    """

    def __init__(self, name: str, command: str = "") -> None:
        for argument, text in (("name", name), ("command", command)):
            if not isinstance(text, str):
                raise ValueError(f"`{argument}` should be text. Received: {argument}={text!r}")
        if not name.strip():
            raise ValueError(f"`name` should not be empty. Received: name={name!r}")
        self.name, self.command = name, command
        self.trainings: list[Training] = []

    def add(
        self,
        model: MultiTaskModel,
        history: Any,
        test: Any = None,
        *,
        seed: int | None = None,
        latency_calls: int = 20,
    ) -> None:
        """Note one training: its logs, its settings, and how its model does on test data.

        The model may be thrown away then. Of a run with a model for each task, such as single-task
        baselines, add each model with the same seed.

        Args:
            model: The trained model, compiled.
            history: A `RunRecorder`, what `fit` gives back, or a dict of lists by key of the logs.
            test: Batches `(x, y)` or `(x, y, sample_weight)`, or such a tuple of arrays, with
                labels by task; those of other tasks are left out. Defaults to `None`: there are
                curves then, and no metrics.
            seed: The seed of the training. Defaults to `None`, not known.
            latency_calls: How many calls are timed to tell how fast the model answers. Defaults to
                20; 0 for none.

        Raises:
            ValueError: If the model is none of tasks or not compiled, the history is empty or of
                other tasks, the test data are none, or a task was added with this seed already.
        """
        if not isinstance(model, MultiTaskModel):
            raise ValueError(
                f"`model` should be a multi-task model. Received: a {type(model).__name__}"
            )
        if not model.compiled:
            raise ValueError(
                f"`model` should be compiled, since its metrics are those of `compile`. "
                f"Received: `{model.name}`, which is not"
            )
        seed = check_seed(seed)
        is_count = isinstance(latency_calls, int) and not isinstance(latency_calls, bool)
        if not is_count or latency_calls < 0:
            raise ValueError(
                "`latency_calls` should be an integer of at least 0. "
                f"Received: latency_calls={latency_calls!r}"
            )
        logs = _logs(history, model)
        self._check_new(model, seed)
        found = {} if test is None else answers.collect(model, test)
        # Of several trainings the interval is that of the seeds.
        before = {name for training in self.trainings for name in training.scores}
        scored = {
            name: score(model, name, each, by_groups=name not in before)
            for name, each in found.items()
        }
        judged = {name: outcomes(model.tasks[name], each) for name, each in found.items()}
        timed = test is not None and latency_calls
        self.trainings.append(
            Training(
                seed=seed,
                tasks=model.tasks,
                history=logs,
                seconds=list(history.seconds) if isinstance(history, RunRecorder) else [],
                parameters=settings.parameters(model),
                settings=settings.of_model(model),
                machine=settings.machine(),
                scores={name: scores for name, (scores, _) in scored.items()},
                outcomes={name: each for name, each in judged.items() if each is not None},
                latency=answers.measure_latency(model, test, latency_calls) if timed else None,
                left_out=tuple(f"{n}_{m}" for n, (_, out) in scored.items() for m in out),
            )
        )

    def _check_new(self, model, seed):
        for training in self.trainings:
            for name in model.task_names:
                if name not in training.tasks:
                    continue
                if training.seed == seed:
                    raise ValueError(
                        f"`seed` should differ between the trainings of task `{name}` in the run "
                        f"{self.name!r}. Received: seed={seed!r} twice"
                    )
                if training.tasks[name].monitor != model.tasks[name].monitor:
                    raise ValueError(
                        f"Task `{name}` should be decided by one metric in all trainings of the "
                        f"run {self.name!r}, {training.tasks[name].monitor!r}. "
                        f"Received: {model.tasks[name].monitor!r}"
                    )

    # -- what is known of a task ----------------------------------------------------------------

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks of all trainings, by name, in sorted order."""
        found = {name: t for training in self.trainings for name, t in training.tasks.items()}
        return dict(sorted(found.items()))

    def trainings_of(self, task: str) -> list[Training]:
        """The trainings that have a task.

        Args:
            task: Name of the task.
        """
        return [training for training in self.trainings if task in training.tasks]

    def values(self, task: str, metric: str) -> dict[int | None, float]:
        """A metric on the test data, by seed.

        Args:
            task: Name of the task.
            metric: Name of the metric, as in the logs after the task's; `"loss"` is one, too.
        """
        found = {t.seed: t.scores.get(task, {}).get(metric) for t in self.trainings_of(task)}
        return {seed: each.value for seed, each in found.items() if each is not None}

    def interval(self, task: str, metric: str) -> Interval | None:
        """A metric on the test data with its confidence interval; `None` where it is not known.

        Of several trainings it is a t interval of their mean, of one a bootstrap over test rows.

        Args:
            task: Name of the task.
            metric: Name of the metric, as in the logs after the task's; `"loss"` is one, too.
        """
        known = list(self.values(task, metric).values())
        if not known:
            return None
        if not all(map(math.isfinite, known)):
            return Interval(sum(known) / len(known), math.nan, math.nan, "none")
        if len(known) > 1:
            return intervals.of_seeds(known)
        found = (t.scores.get(task, {}).get(metric) for t in self.trainings_of(task))
        (only,) = [each for each in found if each is not None]
        return only.interval

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {len(self.trainings)} trainings of {list(self.tasks)})"


def _logs(history: Any, model: MultiTaskModel) -> dict[str, list[float]]:
    """The history as a dict, checked."""
    given = history if isinstance(history, Mapping) else getattr(history, "history", None)
    if not isinstance(given, Mapping):
        raise ValueError(
            "`history` should be a `RunRecorder`, what `fit` gives back, or a dict of lists. "
            f"Received: history={history!r}"
        )
    logs = {str(key): _numbers(str(key), values) for key, values in given.items()}
    if not any(logs.values()):
        raise ValueError(
            f"`history` should have an epoch of the training of `{model.name}` at least. "
            "Received: an empty one"
        )
    for name in model.task_names:
        if f"{name}_loss" not in logs:
            raise ValueError(
                f"`history` should be that of this model, with the key `{name}_loss`. "
                f"Received: the keys {list(logs)}"
            )
    return logs


def _numbers(key: str, values: Any) -> list[float]:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`history` should have a list of numbers for {key!r}. Received: {values!r}"
        ) from error
