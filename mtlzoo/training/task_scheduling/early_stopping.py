"""Early stopping of single tasks, while the others go on."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from absl import logging

from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.distribution import is_chief
from mtlzoo.ensembles.members import copy_of, weights_of
from mtlzoo.training.task_scheduling.assembling import (
    AssembledTask,
    assemble,
    assign,
    check_assembling,
    measured,
)
from mtlzoo.training.task_scheduling.best_weights import WeightsOfEpochs
from mtlzoo.training.task_scheduling.by_task import check_tasks, of_task, values
from mtlzoo.training.task_scheduling.monitored import (
    DIRECTIONS,
    direction,
    monitored,
    task_of,
    value_in,
)


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
    are not stopped. A task that is switched off or not selected before the training stays so, and
    is not looked at. After the training the others are switched on again, and selected as before.
    Nor is a task looked at in an epoch that has no labels of it for what is monitored.

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
        for each in values(patience):
            check_count("patience", each)
        for argument, given in (("min_delta", min_delta), ("resume_if_worse", resume_if_worse)):
            for each in values(given):
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
        if set(values(mode or {})) - set(DIRECTIONS):
            raise ValueError(f"`mode` should have 'min' or 'max'. Received: mode={mode!r}")
        if restore not in (None, "assemble"):
            raise ValueError(
                f"`restore` should be 'assemble' or None. Received: restore={restore!r}"
            )
        self._patience, self._min_delta, self._resume = patience, min_delta, resume_if_worse
        self._monitor, self._mode = dict(monitor or {}), dict(mode or {})
        self._restore, self._validation = restore, validation
        self._folder = None if folder is None else Path(folder)
        # By task those that are on and balanced as one with it.
        self._members: dict[str, list[str]] = {}
        self._rows: list[str] = []  # those that are looked at
        self._off: list[str] = []
        self._selected: list[str] = []  # the tasks, before the training
        self._training = False
        self.best: dict[str, float] = {}
        self.best_epochs: dict[str, int] = {}
        self.stopped_epochs: dict[str, int] = {}
        self.report: dict[str, AssembledTask] = {}

    # -- begin ----------------------------------------------------------------------------------

    def set_model(self, model: Any) -> None:
        """Remember what is selected, before a scheduler that begins first selects anything."""
        super().set_model(model)
        self._selected = model.selected_tasks if hasattr(model, "task_mask") else []

    def on_train_begin(self, logs: Any = None) -> None:
        """Check the arguments against the model's tasks, and begin anew."""
        model: Any = self.model
        if not hasattr(model, "task_mask"):
            raise ValueError(
                "`TaskEarlyStopping` should be given to `fit` of a multi-task model. "
                f"Received: a model of type {type(model).__name__}"
            )
        on, of = [task for task, is_on in model.task_mask.items() if is_on], model.row_of
        rows = model._step.rows.names
        self._members = {row: [t for t in on if of.get(t, t) == row] for row in rows}
        self._rows = [
            row for row, tasks in self._members.items() if set(tasks) & set(self._selected)
        ]
        for argument, given, for_all in (
            ("patience", self._patience, True),
            ("min_delta", self._min_delta, True),
            ("monitor", self._monitor, False),
            ("mode", self._mode, False),
            ("resume_if_worse", self._resume, False),
        ):
            check_tasks(argument, given, list(self._members), for_all)
        self._keys = {
            name: monitored(model, name, self._monitor.get(name)) for name in self._members
        }
        self._about = {name: task_of(model, key) for name, key in self._keys.items()}
        self._signs = {
            name: DIRECTIONS[direction(model, name, key, self._mode.get(name))]
            for name, key in self._keys.items()
        }
        if self._restore is not None:
            about = {name: self._about[name] for name in self._rows}
            check_assembling(model, self._keys, about, self._validation)
        self._weights = WeightsOfEpochs(self._folder, is_chief(model.distribute_strategy))
        self._waits = dict.fromkeys(self._members, 0)
        self._off, self._epoch, self._warned = [], 0, False
        self.best, self.best_epochs, self.stopped_epochs, self.report = {}, {}, {}, {}
        self._training = True

    # -- in training ----------------------------------------------------------------------------

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at each task's metric, and stop or resume it."""
        model: Any = self.model
        logs = {} if logs is None else logs
        self._epoch = epoch
        found = self._found(logs)
        on = [name for name in self._rows if name not in self._off]
        improved = [name for name, value in found.items() if self._improves(name, value)]
        for name in improved:
            self.best[name] = found[name]
            self.best_epochs[name] = epoch
            self._waits[name] = 0
        if improved:
            self._weights.keep(epoch, _values_of(weights_of(model)))
        self._weights.drop_all_but(set(self.best_epochs.values()))
        self._resume_tasks(found, epoch)
        for name in on:
            is_absent = math.isnan(float(logs.get(f"{name}_loss", 0.0)))  # not trained
            if name in found and name not in improved and not is_absent:
                self._waits[name] += 1
        self._stop([n for n in on if self._waits[n] >= of_task(self._patience, n)], epoch)
        for name in self._rows:
            logs[f"{name}_stopped"] = float(name in self._off)
        if self._rows and len(self._off) == len(self._rows):
            logging.info("All tasks have stopped: training ends after epoch %d.", epoch + 1)
            model.stop_training = True

    def _found(self, logs: Mapping[str, float]) -> dict[str, float]:
        """By task what is monitored, of those that have labels for it in this epoch."""
        found = {n: value_in(logs, self._keys[n], self._about[n]) for n in self._rows}
        missing = [self._keys[name] for name, value in found.items() if value is None]
        # A task that is not trained in an epoch has no training metrics; that is as it should be.
        missing = [key for key in missing if key not in logs or key.startswith("val_")]
        if missing and not self._warned:
            self._warned = True
            logging.warning(
                "An epoch whose logs lack %s, or labels for it, stops no task by it. Without "
                "`validation_data` that have labels of all tasks there is none that has all.",
                missing,
            )
        return {name: value for name, value in found.items() if value is not None}

    def _improves(self, name: str, value: float) -> bool:
        value *= self._signs[name]
        if name not in self.best:
            return not math.isnan(value)
        return value - of_task(self._min_delta, name) > self._signs[name] * self.best[name]

    def _resume_tasks(self, found: Mapping[str, float], epoch: int) -> None:
        """Have stopped tasks take part again that the others have made too much worse."""
        resumed = []
        for name in self._off:
            allowed = of_task(self._resume, name)
            if allowed is None or name not in self.best or name not in found:
                continue
            behind = self._signs[name] * (self.best[name] - found[name])
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

    def _leave(self) -> None:
        off, self._off = self._off, []
        self._switch(off, True)
        self.model.select_tasks(self._selected)

    # -- end ------------------------------------------------------------------------------------

    def on_train_end(self, logs: Any = None) -> None:
        """Switch what was stopped on again, select as before, and assemble the model."""
        self._leave()
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
        return measured(self.model, self._validation, self._keys, self._about)

    def _is_worse(self, name: str, value: float, than: float) -> bool:
        return math.isnan(value) or self._signs[name] * value < self._signs[name] * than

    def best_model(self, name: str) -> keras.Model:
        """A plain model of one task with all of its best weights, shared ones included.

        Args:
            name: the name of the task.

        Returns:
            A Keras model of variables of its own, with the output `{name: tensor}`.

        Raises:
            ValueError: if there is no such task, or it has no best epoch yet.
        """
        if name not in list(self.best):  # which need not be hashable
            raise ValueError(
                f"`name` should be one of the tasks {list(self.best)}, which have a best epoch. "
                f"Received: name={name!r}"
            )
        weights = weights_of(self.model)
        now = _values_of(weights)
        assign(weights, self._weights.get(self.best_epochs[name]))
        try:
            return copy_of(self.model).single_task(name)
        finally:
            assign(weights, now)

    # -- state ----------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """What a training that goes on after a kill needs."""
        return {
            "tasks": list(self._rows),
            "members": dict(self._members),
            "selected": list(self._selected),
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
        self._members = {name: list(tasks) for name, tasks in state["members"].items()}
        self._selected = list(state["selected"])
        self.best, self.best_epochs = dict(state["best"]), dict(state["best_epochs"])
        self.stopped_epochs, self._waits = dict(state["stopped_epochs"]), dict(state["waits"])
        self._epoch = int(state["epoch"])
        self._weights.set_state(state["weights"], set(self.best_epochs.values()))
        self._switch(self._off, False)


def _values_of(weights: list[keras.Variable]) -> list[Any]:
    return [keras.ops.convert_to_numpy(variable) for variable in weights]
