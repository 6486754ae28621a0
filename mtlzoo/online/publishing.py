"""When a model that learns is published, and what happens if it has become worse."""

import dataclasses
from typing import Any

import keras
import numpy as np
from absl import logging

from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.online.holding_back import HeldBack
from mtlzoo.online.judging import Comparison, Judge
from mtlzoo.training import L2SP, model_state


class Publishing:
    """The rules by which a learner publishes its model.

    After an update, if enough rows or seconds have passed, the model is the *candidate*: it is
    compared with the published weights on the held-back rows, by each task's deciding metric. It
    is published unless it is worse in a task, by more than `tolerance` and `standard_errors` times
    the standard error of the difference (jackknife over ten parts of the rows, which both models
    have in common, so that noise decides less). Tasks with fewer than `least_labels` labels there
    do not decide; if that is all of them, nothing is published.

    A candidate that is worse `patience` times in a row makes the learner go back to the published
    weights, optimizer and balancer. And each published version is compared with the one before it
    on rows that were held back after it was published: one that is worse is withdrawn.

    Args:
        every_rows: how many rows are read between two candidates. Defaults to 10000.
        every_seconds: or how many seconds pass by the learner's clock, whichever is first. Defaults
            to `None`.
        tolerance: how much worse a task's metric may be, in its own units. Defaults to 0.0.
        standard_errors: how many standard errors more. Defaults to 1.0.
        least_labels: how many held-back labels a task needs to decide. Defaults to 50.
        patience: after how many candidates in a row that are worse the learner goes back; `None`
            for never. Defaults to 3.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    from mtlzoo.online import Publishing

    Publishing(every_rows=5000, tolerance=0.002)
    ```
    """

    def __init__(
        self,
        every_rows: int = 10_000,
        every_seconds: float | None = None,
        tolerance: float = 0.0,
        standard_errors: float = 1.0,
        least_labels: int = 50,
        patience: int | None = 3,
    ) -> None:
        self.every_rows = check_count("every_rows", every_rows)
        if every_seconds is not None and not (is_number(every_seconds) and every_seconds > 0):
            raise ValueError(
                "`every_seconds` should be a positive number or None. "
                f"Received: every_seconds={every_seconds!r}"
            )
        self.every_seconds = every_seconds
        for name, value in (("tolerance", tolerance), ("standard_errors", standard_errors)):
            if not (is_number(value) and value >= 0):
                raise ValueError(
                    f"`{name}` should be a number of at least 0. Received: {name}={value!r}"
                )
        self.tolerance, self.standard_errors = float(tolerance), float(standard_errors)
        self.least_labels = check_count("least_labels", least_labels)
        self.patience = None if patience is None else check_count("patience", patience)


class Publisher:
    """Publishes one model by the rules, and knows the weights that are published.

    Args:
        model: a compiled multi-task model.
        versions: where it is published.
        rules: the rules.
        held_back: the rows to judge by.
        predict: gives the outputs of inputs by task.
        record: is called with the event, the number of the version and the comparisons.
    """

    def __init__(
        self,
        model: Any,
        versions: Any,
        rules: Publishing,
        held_back: HeldBack,
        predict: Any,
        record: Any,
    ) -> None:
        self._model, self._versions, self._rules = model, versions, rules
        self._held_back, self._predict, self._record = held_back, predict, record
        self._judge = Judge(model)
        self._published: dict[str, Any] = {}  # the values, the number and when
        self._before: dict[str, Any] | None = None
        self._tried = {"rows": 0, "time": 0.0, "worse": 0}
        self._resumed = False

    def begin(self, rows: int, time: float) -> None:
        """Take the model's weights for those that are published, and publish them if none are.

        Args:
            rows: that were read.
            time: of the learner's clock.
        """
        if self._published:
            return
        number = self._versions.newest()
        self._published = self._now(number)
        if number is None:
            self._published["number"] = self._publish(rows, time, {})

    def after_update(self, rows: int, time: float) -> bool:
        """Judge the published version and the candidate, if it is time to.

        Args:
            rows: that were read.
            time: of the learner's clock.

        Returns:
            Whether it was time to.
        """
        rules, tried = self._rules, self._tried
        late = rules.every_seconds is not None and time - tried["time"] >= rules.every_seconds
        if rows - tried["rows"] < rules.every_rows and not late:
            return False
        self._tried |= {"rows": rows, "time": time}
        self._judge_published()
        found = self._compare(None, self._published["values"], 0)
        if not found:
            logging.warning(
                "Nothing is published after %d rows: no task has %d held-back labels yet.",
                rows,
                rules.least_labels,
            )
            return True
        if self._worse(found):
            self._tried["worse"] += 1
            self._record("rejected", self._published["number"], found)
            if rules.patience is not None and self._tried["worse"] >= rules.patience:
                self._go_back(found)
            return True
        number = self._publish(rows, time, found)
        if number is not None:
            self._tried["worse"] = 0
            if isinstance(self._penalty, L2SP):
                self._penalty.move_start(self._model)
            self._before, self._published = self._published, self._now(number)
        return True

    @property
    def _penalty(self) -> Any:
        return getattr(self._model, "attached", None)

    def _now(self, number: int | None) -> dict[str, Any]:
        values = model_state.read(self._model)["values"]
        kept = {group: values[group] for group in ("model", "optimizer")}
        return {"values": kept, "number": number, "since": self._held_back.seen}

    def _publish(self, rows: int, time: float, found: dict[str, Comparison]) -> int | None:
        """Publish the model of now; `None` if it cannot be written."""
        newest = self._versions.newest()
        other = newest is not None and newest != self._published["number"]
        if self._resumed and other and self._rows_of(newest) == rows:
            # It was published, and the learner killed before it wrote its state.
            self._record("published", newest, found)
            return newest
        self._resumed = False
        info = {
            "rows": rows,
            "seconds": time,
            "comparison": {name: dataclasses.asdict(each) for name, each in found.items()},
            "reason": "not worse than the version before" if found else "the first version",
        }
        try:
            number = self._versions.publish(self._model, info)
        except OSError as error:
            logging.error("The model could not be published, which is tried again: %s", error)
            self._record("failed", None, found)
            return None
        self._record("published", number, found)
        return number

    def _rows_of(self, number: int) -> Any:
        try:
            return self._versions.info(number).get("rows")
        except ValueError:  # somebody else has put it there
            return None

    def _judge_published(self) -> None:
        """Withdraw the published version if it is worse than the one before."""
        if self._before is None:
            return
        published = self._published
        found = self._compare(published["values"], self._before["values"], published["since"])
        if not self._worse(found):
            return
        numbers = self._versions.numbers()
        newest, before = max(numbers, default=None), self._before["number"]
        # After a kill it may have been withdrawn before the state was written.
        if newest != before and (newest != published["number"] or before not in numbers):
            logging.warning(
                "Version %s is worse than version %s and is not withdrawn, since the versions are "
                "%s now.",
                published["number"],
                before,
                numbers,
            )
            return
        try:
            if newest != before:
                newest = self._versions.roll_back()
        except OSError as error:
            logging.error("Version %s could not be withdrawn: %s", published["number"], error)
            self._record("failed", published["number"], found)
            return
        logging.warning(
            "Version %s is withdrawn, since it is worse than version %s: %s",
            published["number"],
            newest,
            _shown(found),
        )
        self._record("rolled back", published["number"], found)
        self._published, self._before = self._before, None
        self._move_penalty()

    def _go_back(self, found: dict[str, Comparison]) -> None:
        """Put the published weights, optimizer and balancer back into the model."""
        logging.warning(
            "The learner goes back to version %s after %d candidates that are worse: %s",
            self._published["number"],
            self._tried["worse"],
            _shown(found),
        )
        self._assign(self._published["values"])
        self._tried["worse"] = 0
        self._record("returned", self._published["number"], found)

    def _move_penalty(self) -> None:
        """Pull the model towards what is published after a roll-back."""
        if isinstance(self._penalty, L2SP):
            own = {id(v) for v in self._penalty.variables}
            variables = model_state.variables(self._model)["model"]
            for variable, value in zip(variables, self._published["values"]["model"], strict=True):
                if id(variable) in own:
                    variable.assign(value)

    def _assign(self, values: dict[str, list[np.ndarray]]) -> None:
        variables = model_state.variables(self._model)
        for group, given in values.items():
            for variable, value in zip(variables[group], given, strict=True):
                variable.assign(value)

    def _compare(
        self, candidate: dict[str, Any] | None, other: dict[str, Any], since: int
    ) -> dict[str, Comparison]:
        """Compare weights, `None` for those of now, on rows that were held back since then."""
        rows = self._held_back.window(since)
        if rows is None or rows[1].sum(0).max() < self._rules.least_labels:
            return {}
        x = rows[0].x
        variables = model_state.variables(self._model)["model"]
        now = [keras.ops.convert_to_numpy(variable) for variable in variables]
        outputs = []
        try:
            for values in (candidate, other):
                if values is not None:
                    self._assign({"model": values["model"]})
                outputs.append(self._predict(x))
        finally:
            self._assign({"model": now})
        return self._judge.compare(rows, outputs[0], outputs[1], self._rules.least_labels)

    def _worse(self, found: dict[str, Comparison]) -> bool:
        limits = (self._rules.tolerance, self._rules.standard_errors)
        return any(each.is_worse(*limits) for each in found.values())

    def get_state(self) -> dict[str, Any]:
        """The published weights, those before, and when a candidate was judged."""
        return {"published": self._published, "before": self._before, "tried": self._tried}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self._published, self._before = state["published"], state["before"]
        self._tried = dict(state["tried"])
        self._resumed = True


def _shown(found: dict[str, Comparison]) -> str:
    return ", ".join(
        f"{name}_{each.metric} {each.candidate:.4g} against {each.other:.4g}"
        for name, each in found.items()
    )
