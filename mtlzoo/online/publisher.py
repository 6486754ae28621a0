"""Publishes a model that learns, by the rules of `Publishing`."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from absl import logging

from mtlzoo.online.holding_back import HeldBack
from mtlzoo.online.judging import Comparison, Judge
from mtlzoo.online.prequential import answering
from mtlzoo.online.publishing import Publishing
from mtlzoo.online.training_steps import rates, set_rates
from mtlzoo.training import L2SP, model_state


class Publisher:
    """Publishes one model by the rules, and knows the weights that are published.

    Args:
        model: a compiled multi-task model.
        versions: where it is published.
        rules: the rules.
        held_back: the rows to judge by.
        predict: gives the outputs of inputs by task.
        record: is called with the event, the number of the version and the comparisons.
        preprocessor: stands in front of what is published; `None` for the model's own.

    Raises:
        ValueError: if no task could ever have enough held-back labels.
    """

    def __init__(
        self,
        model: Any,
        versions: Any,
        rules: Publishing,
        held_back: HeldBack,
        predict: Any,
        record: Any,
        preprocessor: Any = None,
    ) -> None:
        _check_labels(rules, held_back)
        self._served = answering(model)
        self._front = {} if preprocessor is None else {"preprocessor": preprocessor}
        self._model, self._versions, self._rules = model, versions, rules
        self._held_back, self._predict, self._record = held_back, predict, record
        self._judge = Judge(model)
        self._published: dict[str, Any] = {}  # the values, the number and when
        self._before: dict[str, Any] | None = None
        self._best: dict[str, Any] | None = None  # `None` if it is the published one
        self._tried = {"rows": 0, "time": 0.0, "worse": 0}
        self._resumed = False

    def begin(self, rows: int, time: float) -> bool:
        """Take the model's weights for those that are published, and publish them if none are.

        Args:
            rows: that were read.
            time: of the learner's clock.

        Returns:
            Whether none were.

        Raises:
            ValueError: if the newest version was published with other weights.
        """
        if self._published:
            return False
        number = self._versions.newest()
        if number is not None:
            self._check_newest(number)
        self._published = self._now(number)
        if number is None:
            self._published["number"] = self._publish(rows, time, {})
        return number is None

    def _check_newest(self, number: int) -> None:
        known = self._info(number).get("weights")
        if known is None:
            logging.warning(
                "Version %d was not published by a learner: the model is taken for it.", number
            )
        elif known != self._digest():
            raise ValueError(
                "`model` should have the weights that the newest of `versions` was published with, "
                "since candidates are compared with these. Give the `state` of the learner that "
                "published it, or another folder; or publish this model yourself by "
                f"`versions.publish(model)`. Received: other weights than those of version {number}"
            )

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
        if self._versions.newest() is None:  # the first one could not be written
            with self._weights(self._published["values"]):
                self._published["number"] = self._publish(rows, time, {})
            if self._published["number"] is None:
                return True
        self._judge_published()
        self._notice_withdrawal()
        found, other = self._compare(None, self._published["values"], 0), self._published
        if not found:
            logging.warning(
                "Nothing is published after %d rows: no task has %d held-back labels yet.",
                rows,
                rules.least_labels,
            )
            return True
        by_best = found
        if self._best is not None:
            by_best = self._compare(None, self._best["values"], 0)
            if not self._worse(found) and self._worse(by_best):
                found, other = by_best, self._best
        if self._worse(found):
            self._tried["worse"] += 1
            self._record("rejected", other["number"], found)
            if rules.patience is not None and self._tried["worse"] >= rules.patience:
                self._go_back()
            return True
        number = self._publish(rows, time, found)
        if number is not None:
            self._tried["worse"] = 0
            if isinstance(self._penalty, L2SP):
                self._penalty.move_start(self._model)
            if all(each.better >= 0 for each in by_best.values()):
                self._best = None
            elif self._best is None:
                values = {"model": self._published["values"]["model"]}
                self._best = {"values": values, "number": self._published["number"]}
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
        weights = self._digest()
        if newest is not None and newest != self._published["number"]:
            if self._resumed and self._info(newest).get("weights") == weights:
                # It was published, and the learner killed before it wrote its state.
                self._record("published", newest, found)
                return newest
            logging.warning(
                "Version %s is published after version %s, which this learner does not know.",
                newest + 1,
                newest,
            )
        self._resumed = False
        info = {
            "rows": rows,
            "seconds": time,
            "comparison": {name: dataclasses.asdict(each) for name, each in found.items()},
            "weights": weights,
            "reason": "not worse than the version before" if found else "the first version",
        }
        try:
            number = self._versions.publish(self._served, info, **self._front)
        except OSError as error:
            logging.error("The model could not be published, which is tried again: %s", error)
            self._record("failed", None, found)
            return None
        self._record("published", number, found)
        return number

    def _info(self, number: int) -> dict[str, Any]:
        try:
            return self._versions.info(number) or {}
        except ValueError:  # somebody else has put it there
            return {}

    def _digest(self) -> str:
        """What tells the weights of now from others."""
        found = hashlib.sha256()
        for variable in self._served.weights:
            found.update(keras.ops.convert_to_numpy(variable).tobytes())
        return found.hexdigest()

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
        self._take(self._before, found)

    def _notice_withdrawal(self) -> None:
        """Follow somebody else's `roll_back` of the published version."""
        newest, number = self._versions.newest(), self._published["number"]
        if None in (newest, number) or newest >= number:
            return
        if self._before is not None and self._before["number"] == newest:
            logging.warning("Version %s was withdrawn; version %s is published.", number, newest)
            self._take(self._before, {})
        else:
            logging.warning(
                "Version %s was withdrawn, and the weights of version %s are not known here: "
                "candidates are still compared with version %s.",
                number,
                newest,
                number,
            )

    def _take(self, before: dict[str, Any], found: dict[str, Comparison]) -> None:
        """Take the version before for the published one."""
        self._record("rolled back", self._published["number"], found)
        self._published, self._before, self._best = before, None, None
        self._move_penalty()

    def _go_back(self) -> None:
        """Put the published weights, optimizer and balancer back, if newer rows say so, too."""
        found = self._compare(None, self._published["values"], self._published["since"])
        if not self._worse(found):
            return
        logging.warning(
            "The learner goes back to version %s after %d candidates that are worse: %s",
            self._published["number"],
            self._tried["worse"],
            _shown(found),
        )
        in_force = rates(self._model)
        self._assign(self._published["values"])
        set_rates(self._model, in_force)
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
        outputs = []
        for values in (candidate, other):
            with self._weights(values):
                outputs.append(self._predict(rows[0].x))
        return self._judge.compare(rows, outputs[0], outputs[1], self._rules.least_labels)

    @contextlib.contextmanager
    def _weights(self, values: dict[str, Any] | None) -> Iterator[None]:
        """Give the model weights for a while, `None` for those of now."""
        if values is None:
            yield
            return
        variables = model_state.variables(self._model)["model"]
        now = [keras.ops.convert_to_numpy(variable) for variable in variables]
        try:
            self._assign({"model": values["model"]})
            yield
        finally:
            self._assign({"model": now})

    def _worse(self, found: dict[str, Comparison]) -> bool:
        limits = (self._rules.tolerance, self._rules.standard_errors)
        return any(each.is_worse(*limits) for each in found.values())

    def get_state(self) -> dict[str, Any]:
        """The published weights, those before, the best, and when a candidate was judged."""
        return {
            "published": self._published,
            "before": self._before,
            "best": self._best,
            "tried": self._tried,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self._published, self._before = state["published"], state["before"]
        self._best = state["best"]
        self._tried = dict(state["tried"])
        self._resumed = True


def _check_labels(rules: Publishing, held_back: HeldBack) -> None:
    """Refuse rules by which nothing is ever decided, and warn of those by which little is."""
    least = rules.least_labels
    if least > held_back.rows:
        raise ValueError(
            "`least_labels` of `publishing` should be at most the `rows` of `held_back`: else no "
            f"task ever decides. Received: least_labels={least}, rows={held_back.rows}"
        )
    if rules.every_rows < held_back.every * least:
        logging.warning(
            "`every_rows` of `publishing` should be at least %d, `every` of `held_back` times "
            "`least_labels`: else most versions are followed by the next one before there are "
            "labels enough to withdraw them by. It is %d.",
            held_back.every * least,
            rules.every_rows,
        )


def _shown(found: dict[str, Comparison]) -> str:
    return ", ".join(
        f"{name}_{each.metric} {each.candidate:.4g} against {each.other:.4g}"
        for name, each in found.items()
    )
