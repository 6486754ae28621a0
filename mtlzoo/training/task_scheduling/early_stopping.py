"""Early stopping of single tasks, while the others go on."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.distribution import is_chief
from mtlzoo.ensembles.members import copy_of, weights_of
from mtlzoo.training.task_scheduling.assembling import AssembledTask, assemble
from mtlzoo.training.task_scheduling.best_weights import WeightsOfEpochs
from mtlzoo.training.task_scheduling.monitored import DIRECTIONS, direction, monitored


class TaskEarlyStopping(keras.callbacks.Callback):
    """Stops each task by itself when its validation metric does not improve any more.

    A stopped task is switched off (`model.task_mask`) and no longer selected
    (`model.select_tasks`), so that training steps do not compute it. Its own variables stay as they
    are; the shared ones go on for the other tasks. Its metric is still evaluated and logged after
    each epoch, beside `<task>_stopped` (0 or 1). Training ends when all tasks are stopped.

    The weights of the epoch in which a task was at its best are kept, shared ones included;
    `best_model` gives them back. With `restore="assemble"`, training ends with one model in which
    each task has its own variables of its best epoch, wherever it is not worse with them on the
    validation data: the shared variables, those of the last epoch, have changed since. Where tasks
    share nothing, as in `SoftSharing`, each task is exactly what it was at its best. `report` says
    what was taken.

    Beside a `TaskScheduler`, give this callback first; the scheduler selects among the tasks that
    are not stopped. A task that is switched off before the training stays so, and is not looked at.
    After the training all others are switched on again, and all are selected.

    Args:
        patience: how many epochs without improvement stop a task; a number, or a dict by task.
            Epochs in which it was not trained, as a scheduler may have it, do not count. Defaults
            to 5.
        min_delta: what counts as an improvement, in units of the metric; a number, or a dict by
            task. Defaults to 0.
        monitor: dict by task of what is looked at, a key of the logs; else it is the metric that
            decides the task, `"val_<task>_<task.monitor>"`. Defaults to `None`.
        mode: dict by task of `"min"` or `"max"`, for what is monitored that is neither a loss nor
            what decides the task. Defaults to `None`.
        resume_if_worse: a stopped task takes part again when its metric has fallen behind its best
            by more than this, in units of the metric; a number, or a dict by task. Defaults to
            `None`: stopped tasks stay so.
        restore: `"assemble"`, or `None` to end with the weights of the last epoch. Defaults to
            `None`.
        validation: what `restore="assemble"` measures on: batches, or a tuple of arrays
            `(x, y)` or `(x, y, sample_weight)`. Give what `fit` gets as `validation_data`. Defaults
            to `None`.
        folder: where the best weights are kept, a folder for this training alone, at most as many
            files as there are tasks and those of the epoch before. Defaults to `None`: in memory,
            and in the file of a `Backup`.

    Attributes:
        best: by task the best value of its metric.
        best_epochs: by task the number of that epoch, from 0.
        stopped_epochs: by stopped task the number of the epoch at whose end it was stopped.
        report: by task what the assembled model has of it (`AssembledTask`); empty before.

    Raises:
        ValueError: if an argument is out of its range; when training begins, if it does not fit the
            model's tasks.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.training import TaskEarlyStopping

    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = {"a": x[:, 0], "b": x[:, 1]}
    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=[8])
    model.compile("adam", balancer="pcgrad")
    stopping = TaskEarlyStopping(patience=2, restore="assemble", validation=(x, y))
    model.fit(x, y, epochs=4, validation_data=(x, y), callbacks=[stopping], verbose=0)
    stopping.best_model("a").predict(x[:2], verbose=0)["a"].shape  # (2, 1)
    ```
    """

    def __init__(
        self,
        patience: int | Mapping[str, int] = 5,
        min_delta: float | Mapping[str, float] = 0.0,
        *,
        monitor: Mapping[str, str] | None = None,
        mode: Mapping[str, str] | None = None,
        resume_if_worse: float | Mapping[str, float] | None = None,
        restore: str | None = None,
        validation: Any = None,
        folder: str | os.PathLike | None = None,
    ) -> None:
        super().__init__()
        for each in _values(patience):
            check_count("patience", each)
        for argument, given in (("min_delta", min_delta), ("resume_if_worse", resume_if_worse)):
            for each in _values(given):
                if each is not None and not (is_number(each) and each >= 0):
                    raise ValueError(
                        f"`{argument}` should be a number that is not negative, or a dict of such. "
                        f"Received: {argument}={given!r}"
                    )
        for argument, texts in (("monitor", monitor), ("mode", mode)):
            if texts is not None and not isinstance(texts, Mapping):
                raise ValueError(
                    f"`{argument}` should be a dict by task. Received: {argument}={texts!r}"
                )
        if set(_values(mode or {})) - set(DIRECTIONS):
            raise ValueError(f"`mode` should have 'min' or 'max'. Received: mode={mode!r}")
        if restore not in (None, "assemble"):
            raise ValueError(
                f"`restore` should be 'assemble' or None. Received: restore={restore!r}"
            )
        self._patience, self._min_delta, self._resume = patience, min_delta, resume_if_worse
        self._monitor, self._mode = dict(monitor or {}), dict(mode or {})
        self._restore, self._validation = restore, validation
        self._folder = None if folder is None else Path(folder)
        self._members: dict[str, list[str]] = {}  # by task those that are balanced as one with it
        self._rows: list[str] = []  # those that are looked at
        self._off: list[str] = []
        self._training = False
        self.best: dict[str, float] = {}
        self.best_epochs: dict[str, int] = {}
        self.stopped_epochs: dict[str, int] = {}
        self.report: dict[str, AssembledTask] = {}

    # -- begin ----------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """Check the arguments against the model's tasks, and begin anew."""
        model: Any = self.model
        if not hasattr(model, "task_mask"):
            raise ValueError(
                "`TaskEarlyStopping` should be given to `fit` of a multi-task model. "
                f"Received: a model of type {type(model).__name__}"
            )
        if set(self._off) & set(model.task_names):  # an interrupted training has left them so
            self._switch(self._off, True)
        step, mask = model._step, model.task_mask
        self._members = {
            row: [task for task in model.task_names if model.row_of.get(task, task) == row]
            for row in step.rows.names
        }
        self._rows = [row for row, tasks in self._members.items() if any(mask[t] for t in tasks)]
        self._check_names()
        self._keys = {
            name: monitored(model, name, self._monitor.get(name)) for name in self._members
        }
        self._signs = {
            name: DIRECTIONS[direction(model, name, key, self._mode.get(name))]
            for name, key in self._keys.items()
        }
        shares = any(len(step.ownership.of(v)) != 1 for v in weights_of(model))
        if self._restore is not None and self._validation is None and shares:
            raise ValueError(
                "`validation` should be given with restore='assemble' where tasks share variables: "
                f"it is measured there. Received: validation=None, and the model `{model.name}`"
            )
        self._weights = WeightsOfEpochs(self._folder, is_chief(model.distribute_strategy))
        self._waits = dict.fromkeys(self._members, 0)
        self._off, self._epoch, self._warned = [], 0, False
        self.best, self.best_epochs, self.stopped_epochs, self.report = {}, {}, {}, {}
        self._training = True

    def _check_names(self) -> None:
        checked = {
            "patience": (self._patience, True),
            "min_delta": (self._min_delta, True),
            "monitor": (self._monitor, False),
            "mode": (self._mode, False),
            "resume_if_worse": (self._resume, False),
        }
        for argument, (given, for_all) in checked.items():
            if not isinstance(given, Mapping):
                continue
            for name in given:
                if name not in self._members:
                    raise ValueError(
                        f"`{argument}` should be by the tasks {list(self._members)}. "
                        f"Received: {argument}={given!r}, with {name!r}"
                    )
            for name in self._members:
                if for_all and name not in given:
                    raise ValueError(
                        f"`{argument}` should have a number for task `{name}`. "
                        f"Received: {argument}={given!r}"
                    )

    # -- in training ----------------------------------------------------------------------------

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at each task's metric, and stop or resume it."""
        model: Any = self.model
        logs = {} if logs is None else logs
        self._epoch = epoch
        if self._seen(logs):
            on = [name for name in self._rows if name not in self._off]
            improved = [name for name in self._rows if self._improves(name, logs)]
            for name in improved:
                self.best[name] = float(logs[self._keys[name]])
                self.best_epochs[name] = epoch
                self._waits[name] = 0
            if improved:
                values = [keras.ops.convert_to_numpy(v) for v in weights_of(model)]
                self._weights.keep(epoch, values)
            self._weights.drop_all_but(set(self.best_epochs.values()))
            self._resume_tasks(logs, epoch)
            for name in on:
                if name not in improved and not _was_absent(name, logs):
                    self._waits[name] += 1
            self._stop([n for n in on if self._waits[n] >= _of(self._patience, n)], epoch)
        for name in self._rows:
            logs[f"{name}_stopped"] = float(name in self._off)
        if self._rows and len(self._off) == len(self._rows):
            logging.info("All tasks have stopped: training ends after epoch %d.", epoch + 1)
            model.stop_training = True

    def _seen(self, logs: Mapping[str, float]) -> bool:
        """Whether this epoch has what is monitored."""
        missing = [self._keys[name] for name in self._rows if self._keys[name] not in logs]
        if missing and not self._warned:
            self._warned = True
            logging.warning(
                "An epoch without %s in its logs stops no task. Without `validation_data` there "
                "is never one with it.",
                missing,
            )
        return not missing

    def _improves(self, name: str, logs: Mapping[str, float]) -> bool:
        value = self._signs[name] * float(logs[self._keys[name]])
        if name not in self.best:
            return not math.isnan(value)
        return value - _of(self._min_delta, name) > self._signs[name] * self.best[name]

    def _resume_tasks(self, logs: Mapping[str, float], epoch: int) -> None:
        """Have stopped tasks take part again that the others have made too much worse."""
        resumed = []
        for name in self._off:
            allowed = _of(self._resume, name)
            if allowed is None or name not in self.best:
                continue
            behind = self._signs[name] * (self.best[name] - float(logs[self._keys[name]]))
            if behind > allowed:
                resumed.append(name)
                self._waits[name] = 0
                del self.stopped_epochs[name]
                logging.info(
                    "Task `%s` takes part again after epoch %d: %s is %.6g worse than its best.",
                    *(name, epoch + 1, self._keys[name], behind),
                )
        self._off = [name for name in self._off if name not in resumed]
        self._switch(resumed, True)

    def _stop(self, names: list[str], epoch: int) -> None:
        for name in names:
            self._off.append(name)
            self.stopped_epochs[name] = epoch
            logging.info(
                "Task `%s` is stopped after epoch %d: the best %s was %.6g, after epoch %d.",
                *(name, epoch + 1, self._keys[name], self.best.get(name, math.nan)),
                self.best_epochs.get(name, -1) + 1,
            )
        self._switch(names, False)

    def _switch(self, names: list[str], on: bool) -> None:
        """Switch tasks, and select those that are on."""
        if not names:
            return
        model: Any = self.model
        model.switch_tasks(**{task: on for name in names for task in self._members[name]})
        active = [row for row in self._rows if row not in self._off]
        if active:  # else training ends
            model.select_tasks(active)

    def on_test_begin(self, logs: Any = None) -> None:
        """Have stopped tasks evaluated, too."""
        self._mask(True)

    def on_test_end(self, logs: Any = None) -> None:
        """Leave stopped tasks out again."""
        self._mask(False)

    def _mask(self, on: bool) -> None:
        if self._training and self._off:
            tasks = [task for name in self._off for task in self._members[name]]
            self.model.switch_tasks(**dict.fromkeys(tasks, on))

    # -- end ------------------------------------------------------------------------------------

    def on_train_end(self, logs: Any = None) -> None:
        """Switch all tasks on again, and assemble the model."""
        off, self._off = self._off, []
        self._switch(off, True)
        self.model.select_tasks(None)
        self._training = False
        if self._restore is None or not self.best:
            return
        best = {
            name: (epoch, self.best[name], self._weights.get(epoch))
            for name, epoch in self.best_epochs.items()
        }
        measure = None if self._validation is None else self._measure
        self.report = assemble(self.model, best, self._epoch, measure, self._is_worse)
        for name, found in self.report.items():
            logging.info("Task `%s` of the assembled model: %s", name, found)

    def _measure(self) -> dict[str, float]:
        """By task its metric on the validation data."""
        given = self._validation
        if not isinstance(given, tuple):
            given = (given,)
        x, y, weight = keras.utils.unpack_x_y_sample_weight(given)
        found = self.model.evaluate(x, y, sample_weight=weight, return_dict=True, verbose=0)
        return {name: float(found[key.removeprefix("val_")]) for name, key in self._keys.items()}

    def _is_worse(self, name: str, value: float, than: float) -> bool:
        if math.isnan(value):
            return not math.isnan(than)
        return self._signs[name] * value < self._signs[name] * than

    def best_model(self, name: str) -> keras.Model:
        """A plain model of one task with all of its best weights, shared ones included.

        Args:
            name: the name of the task.

        Returns:
            A Keras model of variables of its own, with the output `{name: tensor}`.

        Raises:
            ValueError: if there is no such task, or it has no best epoch yet.
        """
        if name not in self.best:
            raise ValueError(
                f"`name` should be one of the tasks {list(self.best)}, which have a best epoch. "
                f"Received: name={name!r}"
            )
        weights = weights_of(self.model)
        now = [keras.ops.convert_to_numpy(variable) for variable in weights]
        _assign(weights, self._weights.get(self.best_epochs[name]))
        try:
            return copy_of(self.model).single_task(name)
        finally:
            _assign(weights, now)

    # -- state ----------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """What a training that goes on after a kill needs."""
        return {
            "tasks": list(self._rows),
            "best": dict(self.best),
            "best_epochs": dict(self.best_epochs),
            "stopped_epochs": dict(self.stopped_epochs),
            "off": list(self._off),
            "waits": dict(self._waits),
            "epoch": self._epoch,
            "weights": self._weights.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        self._rows, self._off = list(state["tasks"]), list(state["off"])
        self.best, self.best_epochs = dict(state["best"]), dict(state["best_epochs"])
        self.stopped_epochs, self._waits = dict(state["stopped_epochs"]), dict(state["waits"])
        self._epoch = int(state["epoch"])
        self._weights.set_state(state["weights"], set(self.best_epochs.values()))
        self._switch(self._off, False)


def _of(given: Any, name: str) -> Any:
    return given.get(name) if isinstance(given, Mapping) else given


def _was_absent(name: str, logs: Mapping[str, float]) -> bool:
    """Whether a task was not trained in an epoch: its loss is a mean over no labels."""
    return math.isnan(float(logs.get(f"{name}_loss", 0.0)))


def _values(given: Any) -> list:
    return list(given.values()) if isinstance(given, Mapping) else [given]


def _assign(weights: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(weights, values, strict=True):
        variable.assign(value)
