"""A model that keeps learning from a stream."""

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.online.batches import StreamBatch
from mtlzoo.online.history import OnlineHistory
from mtlzoo.online.holding_back import HeldBack
from mtlzoo.online.interrupts import Interrupts
from mtlzoo.online.late_labels import LateLabels
from mtlzoo.online.learner_arguments import check, check_run
from mtlzoo.online.learner_state import StateFile
from mtlzoo.online.mini_batches import MiniBatches
from mtlzoo.online.prequential import answering
from mtlzoo.online.publishing import Publishing
from mtlzoo.online.quarantine import Quarantine
from mtlzoo.online.reading import Reader
from mtlzoo.online.replay import Reservoir
from mtlzoo.online.row_forms import RowForm
from mtlzoo.online.training_steps import (
    check_learning_rate,
    put_back,
    rates,
    set_rates,
)
from mtlzoo.online.updating import EveryBatch, UpdatePolicy
from mtlzoo.training import backup_files


class OnlineLearner:
    """Lets a model predict the rows of a stream, learn from them, and be published.

    Each mini-batch is predicted first, with the weights of now; the predictions are scored by task
    as soon as labels are there (*prequential* metrics: no row is scored by a model that has seen
    it). Then the update policy says whether the rows that were collected are learned now. Training
    is that of the model: its balancer, optimizer, missing labels and reports of failures are those
    of `fit`. Balancers that learn at the ends of epochs get one at the end of each window in which
    anything was trained.

    Every training batch has `batch_size` rows, so that nothing is traced again. Rows that do not
    fill one wait, unless the replay memory can fill it. When the stream ends, the last ones are
    learned in a smaller batch. No batch is filled up with rows that count nothing, which would
    change the statistics of `BatchNormalization`.

    A row that cannot be read, or whose prediction or loss is not finite, and the rows of a step
    that failed are quarantined; such a step changes nothing, and the stream goes on. Every row that
    was read is counted in one place: `read` is the sum of `mtlzoo.online.history.PLACES`.

    Args:
        model: a compiled multi-task model.
        update: when to learn. Defaults to `None`, `EveryBatch()`.
        batch_size: the rows of a mini-batch and of a training batch. Defaults to 64.
        window: the rows of a window of the prequential metrics. A window ends with the mini-batch
            that fills it. Defaults to 1024.
        replay: a memory of rows to train on again. Defaults to `None`.
        late_labels: how rows wait for labels that come later. Defaults to `None`: they do not.
        held_back: which rows are kept from training to judge models by. Defaults to `None`: none,
            or with `versions`, `HeldBack()`.
        versions: where models are published, such as `mtlzoo.serving.Versions`. The newest one
            there is taken for the model as it is given here, and `run` ends with an error if a
            learner published it with other weights; without any, the model is published first.
            Defaults to `None`.
        publishing: the rules for it. Defaults to `None`, `Publishing()`.
        learning_rate: a number that the optimizer has in `run`; afterwards it has its own again.
            Defaults to `None`, its own.
        preprocessor: see `Reader`. Defaults to `None`.
        quarantine: where rows are kept that something is wrong with. Defaults to `None`: they are
            counted and the first ones logged.
        state: a file from which a learner that was killed goes on. Defaults to `None`.
        state_every: it is written after so many rows, when a candidate was judged and at the end of
            `run`. Defaults to 10000.
        most_waiting: when so many rows have been collected, they are learned, whatever the policy
            says, so that the memory does not fill up. Defaults to 100000.
        most_failures: after so many failed steps, or mini-batches in which no row could be
            predicted, in a row, `run` ends with an error. Defaults to 10.
        clock: the time in seconds, for rows that do not have one. Defaults to `None`, `time.time`.

    Attributes:
        model: the model.
        position: how many elements of the stream were read.
        source_position: the attribute `position` that the stream had after that, if it has one.

    Raises:
        ValueError: if an argument is out of its range, or the file is damaged or that of another
            learner or model.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.online import OnlineLearner, Reservoir

    model = HardSharing(keras.Input((4,)), [Regression("a"), Regression("b")], shared_units=[8])
    model.compile("adam", balancer="pcgrad")
    x = np.random.default_rng(0).normal(size=(512, 4)).astype("float32")
    stream = ((x[i : i + 32], {"a": x[i : i + 32, 0]}) for i in range(0, 512, 32))
    learner = OnlineLearner(model, batch_size=32, window=128, replay=Reservoir(256, ratio=0.5))
    history = learner.run(stream)
    history.series("a", "rmse")[0]  # [128, 256, 384, 512]
    history.counts["learned"]  # 512
    ```
    """

    def __init__(
        self,
        model: MultiTaskModel,
        update: UpdatePolicy | None = None,
        *,
        batch_size: int = 64,
        window: int = 1024,
        replay: Reservoir | None = None,
        late_labels: LateLabels | None = None,
        held_back: HeldBack | None = None,
        versions: Any | None = None,
        publishing: Publishing | None = None,
        learning_rate: float | None = None,
        preprocessor: Any | None = None,
        quarantine: Quarantine | None = None,
        state: str | os.PathLike | None = None,
        state_every: int = 10_000,
        most_waiting: int = 100_000,
        most_failures: int = 10,
        clock: Callable[[], float] | None = None,
    ) -> None:
        check(
            model,
            numbers={
                "batch_size": batch_size,
                "window": window,
                "state_every": state_every,
                "most_waiting": most_waiting,
                "most_failures": most_failures,
            },
            kinds={
                "update": (update, UpdatePolicy),
                "replay": (replay, Reservoir),
                "late_labels": (late_labels, LateLabels),
                "held_back": (held_back, HeldBack),
                "publishing": (publishing, Publishing),
            },
            methods={
                "versions": (versions, ("publish", "newest", "numbers", "roll_back", "info")),
                "quarantine": (quarantine, ("put",)),
                "clock": (clock, ("__call__",)),
            },
            preprocessor=preprocessor,
        )
        self.model, self.position = model, 0
        self.source_position: Any = None
        self._batch_size, self._state_every = batch_size, state_every
        self._rate = check_learning_rate(model, learning_rate)
        self._own_rates: list[float] | None = rates(model)
        answers = answering(model)
        self._reader, self._form = Reader(answers, preprocessor), RowForm(answers)
        self._batches = MiniBatches(
            model,
            EveryBatch() if update is None else update,
            batch_size=batch_size,
            window=window,
            replay=replay,
            late_labels=late_labels,
            held_back=HeldBack() if held_back is None and versions is not None else held_back,
            versions=versions,
            publishing=Publishing() if publishing is None else publishing,
            preprocessor=preprocessor,
            quarantine=quarantine,
            most_waiting=most_waiting,
            most_failures=most_failures,
            clock=time.time if clock is None else clock,
        )
        self._pending: list[StreamBatch] = []  # the rest of the element that was read last
        self._stopping = False
        self._whole = True  # whether no mini-batch is half done
        self._written = 0  # rows read when the state was written
        # By stream what it has left out that is counted already.
        self._left_out: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._state = None if state is None else StateFile(state)
        if self._state is not None:
            found = self._state.read(model, self._batches.settings)
            if found is not None:
                self._set_state(found)

    @property
    def history(self) -> OnlineHistory:
        """What has happened, with up-to-date counts."""
        return self._batches.history

    @property
    def counts(self) -> dict[str, int]:
        """What has come of the rows, by name, see `mtlzoo.online.history.COUNTS`."""
        return dict(self._batches.counts)

    def stop(self) -> None:
        """End `run` after the present mini-batch; another thread or a handler of a signal may call
        it. What is collected waits for the next `run`.
        """
        self._stopping = True

    def run(
        self,
        stream: Any,
        *,
        skip_read: bool = False,
        at_end: str = "learn",
        after_batch: Callable[["OnlineLearner"], None] | None = None,
    ) -> OnlineHistory:
        """Learn from a stream until it ends or `stop` is called.

        When it ends, the rows that wait are learned, and the last window is closed, however short;
        rows whose labels have not come wait on for another `run`. The state is written then, when
        the stream raises an error, and at Ctrl-C, which takes effect after the present mini-batch.

        Args:
            stream: an iterable of elements, see `Reader`. Its attributes `load` and `left_out`, if
                it has them as `Intake` does, are told to the policy and counted.
            skip_read: whether the first `position` elements, which were read before a kill, are
                skipped, since the stream begins anew; not with an `Intake` that leaves out rows.
                Defaults to `False`.
            at_end: `"learn"`, or `"keep"` to let the rows that wait do so until the next `run`.
                Defaults to `"learn"`.
            after_batch: is called with the learner after each mini-batch. Defaults to `None`.

        Returns:
            The history, with what happened in earlier runs.

        Raises:
            FloatingPointError: if too many steps in a row have failed.
            ValueError: if an argument is out of its range, the stream is shorter than what is to
                be skipped, or the newest of `versions` was published with other weights.
        """
        check_run(stream, skip_read, at_end)
        elements = iter(stream)
        if skip_read:
            self._skip(elements)
        else:
            self.position = 0
        own, self._own_rates = self._own_rates or rates(self.model), None
        interrupts = Interrupts()
        self._whole = True
        try:
            with interrupts.deferred(), put_back(self.model, self._rate, own):
                if self._batches.begin():
                    self._write_state()
                try:
                    while not self._stopping:
                        if not self._pending and not self._read(elements, stream, interrupts):
                            with self._half_done(interrupts):
                                self._batches.end(at_end == "learn")
                            break
                        if self._pending:
                            with self._half_done(interrupts):
                                judged = self._batches.take(self._pending.pop(0), _load(stream))
                                self._count_left_out(stream)
                            if judged or self.counts["read"] - self._written >= self._state_every:
                                self._write_state()
                            if after_batch is not None:
                                after_batch(self)
                finally:
                    self._count_left_out(stream)
                    if self._whole:  # else one goes on from the state that was written last
                        self._write_state()
        finally:
            self._stopping = False
        return self.history

    def _skip(self, elements: Iterator[Any]) -> None:
        for number in range(self.position):
            if next(elements, self) is self:
                raise ValueError(
                    "`stream` should begin with what was read before. Received: a stream of "
                    f"{number} elements, of which {self.position} are to be skipped"
                )

    def _read(self, elements: Iterator[Any], stream: Any, interrupts: Interrupts) -> bool:
        """Read one element into `_pending`, if there is one more."""
        element = next(elements, self)
        if element is self:
            return False
        with self._half_done(interrupts):
            for part in self._reader.split(element):
                batch, faults = self._reader.read(part)
                if batch is not None:
                    batch, more = self._form.complete(batch)
                    faults = [*faults, *more]
                self._batches.set_aside(faults)
                if batch is not None:
                    rows = np.arange(batch.rows)
                    self._pending += [
                        batch.take(rows[begin : begin + self._batch_size])
                        for begin in range(0, batch.rows, self._batch_size)
                    ]
            self.position += 1
            position = getattr(stream, "position", None)
            self.source_position = position if backup_files.can_hold(position) else None
        return True

    def _count_left_out(self, stream: Any) -> None:
        now = getattr(stream, "left_out", None)
        if now is not None:
            self.history.counts["left_out"] += now - self._left_out.get(stream, 0)
            self._left_out[stream] = now

    @contextlib.contextmanager
    def _half_done(self, interrupts: Interrupts) -> Iterator[None]:
        with interrupts.working():
            self._whole = False
            yield
            self._whole = True

    # -- the state --------------------------------------------------------------------------------

    def _write_state(self) -> None:
        self._written = self.counts["read"]
        if self._state is None:
            return
        content = {
            "batches": self._batches.get_state(),
            "form": self._form.get_state(),
            "pending": [vars(batch) for batch in self._pending],
            "position": self.position,
            "source_position": self.source_position,
            "rate": self._rate,
        }
        if not self._state.write(self.model, self._batches.settings, content):
            self._batches.counts["state_failures"] += 1

    def _set_state(self, content: dict[str, Any]) -> None:
        self._batches.set_state(content["batches"])
        self._form.set_state(content["form"])
        self._pending = [StreamBatch(**parts) for parts in content["pending"]]
        self.position = content["position"]
        self.source_position = content["source_position"]
        self._written = self.counts["read"]
        if content["rate"] is not None and self._own_rates is not None:
            set_rates(self.model, self._own_rates)  # not that of the stream of then


def _load(stream: Any) -> float:
    """How full an intake is; a `tf.data.Dataset` has a method of that name."""
    load = getattr(stream, "load", 0.0)
    return 0.0 if callable(load) else float(load)
