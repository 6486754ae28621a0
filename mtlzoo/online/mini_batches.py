"""What happens to a mini-batch of a stream: it is predicted, scored, and learned when due."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from absl import logging

from mtlzoo.online.batches import StreamBatch
from mtlzoo.online.clock import Clock
from mtlzoo.online.collecting import Waiting
from mtlzoo.online.history import OnlineHistory
from mtlzoo.online.holding_back import HeldBack, numbers_of
from mtlzoo.online.judging import Comparison
from mtlzoo.online.late_labels import LateLabels, have_come, weighted
from mtlzoo.online.learner_state import settings
from mtlzoo.online.prequential import Prequential, answering
from mtlzoo.online.publisher import Publisher
from mtlzoo.online.publishing import Publishing
from mtlzoo.online.quarantine import Quarantine
from mtlzoo.online.reading import Fault
from mtlzoo.online.replay import Reservoir
from mtlzoo.online.row_forms import faults
from mtlzoo.online.training_steps import TrainingSteps
from mtlzoo.online.updating import Moment, UpdatePolicy, decided
from mtlzoo.training import model_state

# By event of the history what is counted.
_COUNTED = {
    "published": "published",
    "rejected": "rejected",
    "returned": "returned",
    "rolled back": "rolled_back",
    "failed": "publish_failures",
}


class MiniBatches:
    """The parts of an `OnlineLearner`, in the order in which a mini-batch passes through them.

    Args:
        model: see `OnlineLearner`, as all others.
        policy: when to learn.
        batch_size: the most rows of a mini-batch.
        window: the rows of a window.
        replay: the memory, or `None`.
        late_labels: how rows wait for labels, or `None`.
        held_back: the rows to judge by, or `None`.
        versions: where models are published, or `None`.
        publishing: the rules for it.
        preprocessor: what stands in front of what is published, `None` for the model's own.
        quarantine: where rows are kept that something is wrong with, or `None`.
        most_waiting: when rows are learned whatever the policy says.
        most_failures: how many failures in a row are an error.
        clock: the time in seconds.

    Attributes:
        history: what has happened.
        settings: what a state must have in common with a learner.
    """

    def __init__(
        self,
        model: Any,
        policy: UpdatePolicy,
        *,
        batch_size: int,
        window: int,
        replay: Reservoir | None,
        late_labels: LateLabels | None,
        held_back: HeldBack | None,
        versions: Any,
        publishing: Publishing,
        preprocessor: Any,
        quarantine: Quarantine | None,
        most_waiting: int,
        most_failures: int,
        clock: Callable[[], float],
    ) -> None:
        self.history = OnlineHistory()
        tasks = answering(model).tasks
        self._names = list(tasks)
        self._shapes = {n: [size or 0 for size in t.output_shape] for n, t in tasks.items()}
        self._policy, self._window = policy, window
        self._quarantine, self._arrival = quarantine, clock
        self._most_waiting, self._most_failures = most_waiting, most_failures
        self._clock, self._prequential = Clock(), Prequential(model, batch_size)
        self._steps = TrainingSteps(model)
        self._replay, self._late, self._held_back = replay, late_labels, held_back
        if replay is not None:
            replay.start(tasks)
        self._waiting = Waiting(batch_size, self._names, self._steps, replay, self._step_failed)
        self._publisher: Publisher | None = None
        if versions is not None and held_back is not None:
            predict = self._prequential.predict
            self._publisher = Publisher(
                model, versions, publishing, held_back, predict, self._record, preprocessor
            )
        policy.start(self._names)
        model_state.build_metrics(model)
        self._number = self._window_began = self._sick = 0
        given = {"replay": replay, "late_labels": late_labels, "held_back": held_back}
        self.settings = settings(batch_size, policy, versions, **given)

    @property
    def counts(self) -> dict[str, int]:
        """The counts of the history, of now."""
        counts = self.history.counts
        counts["waiting"] = self._waiting.rows
        counts["awaiting_labels"] = 0 if self._late is None else self._late.rows
        counts["clock_backwards"] = self._clock.backwards
        return counts

    def begin(self) -> bool:
        """Publish the model, if no version is there; whether there was none."""
        if self._publisher is None:
            return False
        return self._publisher.begin(self.history.counts["read"], self._clock.time)

    def take(self, batch: StreamBatch, load: float) -> bool:
        """Predict, score and collect a mini-batch, and learn if it is time to.

        Args:
            batch: rows with labels and weights of all tasks, or labels alone.
            load: how full the intake is.

        Returns:
            Whether a candidate was judged.

        Raises:
            FloatingPointError: if too many steps or mini-batches in a row have failed.
        """
        if batch.times is not None:
            now = self._clock.read(batch.times, "event")
        else:
            now = self._clock.read(float(self._arrival()), "arrival")
        if batch.x is None:
            outputs, losses, scored = self._join(batch)
        else:
            outputs, losses, scored = self._predict(batch, now)
        if self._late is not None:
            self._end_wait(self._late.expire(now))
        moment = Moment(
            rows=0 if batch.x is None else batch.rows,
            waiting=self._waiting.rows,
            time=now,
            losses={n: losses[scored[:, t], t] for t, n in enumerate(self._names)},
            outputs=outputs,
            features=_flat(batch) if self._policy.needs_features else None,
            load=load,
        )
        decision = decided(self._policy, moment)
        for name in decision.drifts:
            self.history.counts["drifts"] += 1
            where = {"rows": self.history.counts["read"], "time": now}
            self.history.drifts.append({**where, "task": name})
        updates, reason = decision.updates, decision.reason
        if not updates and self._waiting.rows >= self._most_waiting:
            updates, reason = 1, f"{self._most_waiting} rows wait"
        judged = self._update(updates, reason) if updates else False
        if self.history.counts["read"] - self._window_began >= self._window:
            self._end_window()
        self._check_failures()
        return judged

    def end(self, learn: bool) -> None:
        """The stream has ended: learn what waits, if so, and close the window.

        Args:
            learn: whether to.

        Raises:
            FloatingPointError: as `take`.
        """
        if learn and self._waiting.rows:
            self._update(1, "the stream has ended", to_the_last=True)
        if self.history.counts["read"] > self._window_began:
            self._end_window()
        self._check_failures()

    def set_aside(self, faults: list[Fault], new: bool = True) -> None:
        """Quarantine rows.

        Args:
            faults: what is wrong with which.
            new: whether they were not counted as read yet. Defaults to `True`.
        """
        counts = self.history.counts
        counts["quarantined"] += len(faults)
        counts["read"] += len(faults) if new else 0
        if self._quarantine is not None and faults:
            self._quarantine.put(faults)
        elif faults:
            logging.log_first_n(
                logging.WARNING,
                "%d rows are left out, the first of them since: %s",
                10,
                len(faults),
                faults[0].reason,
            )

    # -- scoring ----------------------------------------------------------------------------------

    def _predict(self, batch: StreamBatch, now: float) -> tuple[dict, np.ndarray, np.ndarray]:
        """The outputs, the losses `(B, T)` and which labels were scored; rows are passed on."""
        counts = self.history.counts
        counts["read"] += batch.rows
        counts["predicted"] += batch.rows
        numbers = numbers_of(batch.ids, np.arange(self._number, self._number + batch.rows))
        self._number += batch.rows
        outputs = self._prequential.predict(batch.x)
        everything = np.ones((batch.rows, len(self._names)), bool)
        losses, has, sound = self._prequential.score(batch, outputs, everything)
        self._sick = 0 if sound.any() else self._sick + 1
        self._set_unsound_aside(batch, outputs, has & ~np.isfinite(losses), sound)
        waits = np.zeros(batch.rows, bool)
        if self._late is not None and batch.ids is not None:
            come = have_come(batch, has, self._prequential.present)
            waits = sound & ~come.all(1)
            if waits.any():
                held = {**batch.to_dict(), "outputs": outputs, "has": come, "number": numbers}
                held = keras.tree.map_structure(lambda a: a[waits], held)
                self._end_wait(self._late.hold(batch.ids[waits], held, now))
        ready = sound & ~waits & has.any(1)
        counts["unlabelled"] += int((sound & ~waits & ~has.any(1)).sum())
        if ready.any():
            self._collect(batch.take(ready), has[ready], numbers[ready])
        return outputs, losses, has & sound[:, None]

    def _join(self, batch: StreamBatch) -> tuple[dict, np.ndarray, np.ndarray]:
        """As `_predict`, for labels alone, which are scored by the predictions of then."""
        counts = self.history.counts
        tasks = len(self._names)
        losses, scored = np.zeros((0, tasks)), np.zeros((0, tasks), bool)
        outputs = {name: np.zeros((0, *shape), "float32") for name, shape in self._shapes.items()}
        if self._late is None or batch.ids is None:
            counts["labels_unknown"] += batch.rows
            return outputs, losses, scored
        has = have_come(batch, self._prequential.present(batch), self._prequential.present)
        joined = self._late.join(batch.ids, batch.y, batch.sample_weight, has)
        counts["labels_unknown"] += int((~joined.known).sum())
        counts["labels_joined"] += int(joined.new.any(1).sum())
        counts["labels_repeated"] += int((~joined.new.any(1)).sum())
        if joined.outputs is not None:
            known = batch.take(joined.known)
            losses, new, sound = self._prequential.score(known, joined.outputs, joined.new)
            scored = new & sound[:, None]
        if joined.complete is not None:
            self._end_wait(joined.complete)
        return outputs, losses, scored

    def _set_unsound_aside(
        self,
        batch: StreamBatch,
        outputs: dict[str, np.ndarray],
        broken: np.ndarray,
        sound: np.ndarray,
    ) -> None:
        for i in np.flatnonzero(~sound):
            wrong = [n for n in self._names if not np.isfinite(outputs[n][i]).all()]
            what, name = "output", wrong[0] if wrong else ""
            if not wrong:
                what, name = "loss", self._names[int(broken[i].argmax())]
            reason = (
                f"The {what} of task `{name}` should be finite. Received: a row where it is not"
            )
            self.set_aside(faults(batch.take(np.array([i])), reason), new=False)

    def _end_wait(self, rows: Any) -> None:
        """Pass on rows that were held, with the labels that they have."""
        if rows is None:
            return
        has = weighted(rows["has"], rows["sample_weight"])
        labelled = np.any(has, axis=1)
        self.history.counts["expired"] += int((~labelled).sum())
        if labelled.any():
            batch = StreamBatch.from_dict(rows).take(labelled)
            self._collect(batch, has[labelled], rows["number"][labelled])

    def _collect(self, batch: StreamBatch, has: np.ndarray, numbers: np.ndarray) -> None:
        """Hold labelled rows back, or have them wait for an update."""
        batch = StreamBatch.from_dict(batch.to_dict())
        learned = np.ones(batch.rows, bool)
        if self._held_back is not None:
            learned = ~self._held_back.chooses(numbers)
            if not learned.all():
                self._held_back.add(batch.take(~learned), has[~learned])
                self.history.counts["held_back"] += int((~learned).sum())
        if learned.any():
            self._waiting.add(batch.take(learned), has[learned])

    # -- learning ---------------------------------------------------------------------------------

    def _update(self, passes: int, reason: str, to_the_last: bool = False) -> bool:
        counts, now = self.history.counts, self._clock.time
        told = dict.fromkeys(("learned", "steps", "replayed", "failed_steps"), 0)
        try:
            self._waiting.update(passes, told, to_the_last)
        finally:  # also those of before an error
            for name, number in told.items():
                counts[name] += number
        if not told["steps"]:
            return False
        counts["updates"] += 1
        self.history.updates.append(
            {
                "rows": counts["read"],
                "time": now,
                "steps": told["steps"],
                "passes": passes,
                "trained": told["learned"],
                "reason": reason,
            }
        )
        return self._publisher is not None and self._publisher.after_update(counts["read"], now)

    def _step_failed(self, batch: StreamBatch, reason: str) -> None:
        self.set_aside(faults(batch, reason), new=False)

    def _check_failures(self) -> None:
        for number, what in (
            (self._waiting.failures, "steps"),
            (self._sick, "mini-batches without one finite prediction"),
        ):
            if number >= self._most_failures:
                raise FloatingPointError(
                    f"Learning from the stream has stopped after {number} {what} in a row; their "
                    "rows are quarantined, and nothing was updated by them. Look at the learning "
                    "rate, clip the gradients, or go back to a published version."
                )

    def _end_window(self) -> None:
        rows, now = self.history.counts["read"], self._clock.time
        tasks, total = (self._prequential.results(kind) for kind in ("window", "total"))
        self.history.windows.append({"rows": rows, "time": now, "tasks": tasks, "total": total})
        self._prequential.reset()
        self._steps.end_epoch()
        self._window_began = rows

    def _record(self, event: str, version: int | None, found: dict[str, Comparison]) -> None:
        self.history.counts[_COUNTED[event]] += 1
        self.history.publications.append(
            {
                "rows": self.history.counts["read"],
                "time": self._clock.time,
                "event": event,
                "version": version,
                "comparison": {name: dataclasses.asdict(each) for name, each in found.items()},
            }
        )

    # -- the state --------------------------------------------------------------------------------

    def _parts(self) -> dict[str, Any]:
        parts = {
            "clock": self._clock,
            "prequential": self._prequential,
            "steps": self._steps,
            "waiting": self._waiting,
            "policy": self._policy,
            "replay": self._replay,
            "late_labels": self._late,
            "held_back": self._held_back,
            "publisher": self._publisher,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def get_state(self) -> dict[str, Any]:
        """The states of all parts, the history, and numbers of rows."""
        return {
            "parts": {name: part.get_state() for name, part in self._parts().items()},
            "history": {**self.history.to_dict(), "counts": self.counts},
            "numbers": [self._number, self._window_began, self._sick],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        for name, part in self._parts().items():
            part.set_state(state["parts"][name])
        self.history.restore(state["history"])
        self._number, self._window_began, self._sick = state["numbers"]


def _flat(batch: StreamBatch) -> np.ndarray:
    """The inputs as one row of numbers each; no rows for labels alone."""
    if batch.x is None:
        return np.zeros((0, 0), "float32")
    numbers = [part for part in keras.tree.flatten(batch.x) if part.dtype != object]  # no text
    parts = [np.reshape(part, (batch.rows, -1)) for part in numbers]
    return np.concatenate([np.zeros((batch.rows, 0)), *parts], 1).astype("float32")
