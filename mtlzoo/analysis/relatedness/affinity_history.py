"""Look-ahead affinities while a model trains."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.analysis import drawing
from mtlzoo.analysis.phrases import listed
from mtlzoo.analysis.relatedness.look_ahead import (
    MEASURE,
    LookAhead,
    first_batches,
    is_batch,
)
from mtlzoo.analysis.relatedness.sampled_matrix import SampledMatrix
from mtlzoo.layers.arguments import check_count
from mtlzoo.training import data_order


class AffinityHistory(keras.callbacks.Callback):
    r"""Measures look-ahead affinities on given data while a model trains, and changes nothing.

    Fifty et al., *Efficiently Identifying Task Groupings for Multi-Task Learning* (TAG), NeurIPS
    2021: the mean over the training of what `inter_task_affinity` gives. The training is the same,
    bit by bit, as without the callback.

    Args:
        data: Batches `(x, y)` or `(x, y, sample_weight)` that can be read again and again, such as
            a `tf.data.Dataset` or a list; or one such tuple of arrays. They are taken in turn. A
            data set that is shuffled anew each time is refused, since reading it would change the
            order that a training on it sees; `reshuffle_each_iteration=False` mends that.
        every: Measure after each so many steps. Defaults to `None`, at the end of each epoch.
        batches: How many batches are measured each time. Defaults to 1.
        learning_rate: As of `inter_task_affinity`. Defaults to `None`, that of the optimizer.

    Attributes:
        names: The T tasks, in order.
        steps: (E,), after how many steps of training each entry was measured.
        affinities: (E, T, T), the mean over the batches of each entry; the row is the task that
            acts.

    Raises:
        ValueError: For unusable arguments, and at the beginning of `fit` as `inter_task_affinity`.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import AffinityHistory

    model = HardSharing(keras.Input((4,)), [Regression("a"), Regression("b")], shared_units=[8])
    model.compile("adam", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    y = {"a": x[:, 0], "b": x[:, 1]}
    history = AffinityHistory((x, y), learning_rate=0.1)
    model.fit(x, y, epochs=2, callbacks=[history], verbose=0)
    history.matrix()["a", "b"]
    ```

    *Differences from the paper*: Those of `inter_task_affinity`; and the batches are those of
    `data`, not the ones that the model is trained on.
    """

    title = "Look-ahead affinity during the training"

    def __init__(
        self,
        data: Any,
        *,
        every: int | None = None,
        batches: int = 1,
        learning_rate: float | None = None,
    ) -> None:
        super().__init__()
        if every is not None:
            check_count("every", every)
        if not is_batch(data) and (isinstance(data, Iterator) or not hasattr(data, "__iter__")):
            raise ValueError(
                "`data` should be batches that can be read again, such as a data set or a list. "
                f"Received: data of type {type(data).__name__}"
            )
        if isinstance(data, tf.data.Dataset) and data_order.draws_anew(data):
            raise ValueError(
                "`data` should be the same each time that it is read, or the training could see "
                "another order: leave out `shuffle`, or say `reshuffle_each_iteration=False`. "
                "Received: a data set that draws anew each time"
            )
        self._data = [data] if is_batch(data) else data
        self._every, self._batches = every, check_count("batches", batches)
        self._rate = learning_rate
        self._look: LookAhead | None = None
        self._taken = 0  # how many batches of this reading of the data
        self._reading: Iterator[Any] | None = None
        self._done = 0  # steps
        self._in_epoch = 0  # those of them that the epoch has
        self.names: tuple[str, ...] = ()
        self.steps = np.zeros(0, "int64")
        self.affinities = np.zeros((0, 0, 0))

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Look at the model, which may have been compiled again."""
        self._look = LookAhead(self.model, self._rate)
        if self.names and self.names != self.model.task_names:
            raise ValueError(
                f"`AffinityHistory` should go on with a model of the tasks {list(self.names)}; "
                f"make another one. Received: the tasks {list(self.model.task_names)}"
            )
        self.names = self.model.task_names
        count = len(self.names)
        self.affinities = self.affinities.reshape(-1, count, count)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Count the steps of the epoch."""
        self._in_epoch = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Measure where it is time."""
        before, self._done = self._done, self._done + batch + 1 - self._in_epoch
        self._in_epoch = batch + 1
        if self._every is not None and self._done // self._every > before // self._every:
            self._measure()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Measure if epochs are what counts."""
        if self._every is None:
            self._measure()

    def _measure(self):
        samples = [self._look.on(self._next()) for _ in range(self._batches)]
        mean = self._look.matrix(samples).values
        self.steps = np.append(self.steps, self._done)
        self.affinities = np.concatenate([self.affinities, mean[None]])

    def _next(self):
        """The next batch; after the last comes the first."""
        if self._reading is None:
            self._reading = first_batches(self._data, None)
            for _ in range(self._taken):  # of a training that goes on
                next(self._reading)
        batch = next(self._reading, None)
        if batch is None and not self._taken:
            raise ValueError("`data` should have a batch at least. Received: none")
        if batch is None:
            self._taken, self._reading = 0, None
            return self._next()
        self._taken += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """What a training that goes on after a kill needs."""
        return {
            "names": list(self.names),
            "steps": self.steps,
            "affinities": self.affinities,
            "taken": self._taken,
            "done": self._done,
            "in_epoch": self._in_epoch,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        self.names = tuple(state["names"])
        self.steps, self.affinities = np.asarray(state["steps"]), np.asarray(state["affinities"])
        self._taken, self._done, self._reading = int(state["taken"]), int(state["done"]), None
        self._in_epoch = int(state["in_epoch"])

    def matrix(self) -> SampledMatrix:
        """The mean over the training, with a sample for each entry.

        Raises:
            ValueError: Before anything was measured.
        """
        self._check()
        return SampledMatrix(self.names, self.affinities, MEASURE, sampled="entries")

    def words(self) -> str:
        """The mean over the training, and how it has changed."""
        said = self.matrix().words()
        pairs = self._pairs()
        if len(self.steps) < 2:
            return said
        first, last = self.affinities[0], self.affinities[-1]
        turned = [
            f"{self.names[i]} → {self.names[j]} ({first[i, j]:.3g} to {last[i, j]:.3g})"
            for i, j in pairs
            if first[i, j] * last[i, j] < 0
        ]
        if turned:
            said += f" Its sign changed between the first and the last entry for {listed(turned)}."
        return said

    def rows(self) -> list[list[str]]:
        """A row for each entry."""
        pairs = self._pairs()
        head = ["step", *(f"{self.names[i]} → {self.names[j]}" for i, j in pairs)]
        entries = zip(self.steps, self.affinities, strict=True)
        return [head, *([str(s), *(f"{a[pair]:.3g}" for pair in pairs)] for s, a in entries)]

    def figure(self) -> Any:
        """A line for each pair of tasks, a panel for each task that acts.

        Raises:
            ImportError: If matplotlib is not installed.
            ValueError: Before anything was measured.
        """
        self._check()
        count = len(self.names)
        figure = drawing.new_figure(1.2 + 2.6 * count, 3.2)
        panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
        for i, panel in enumerate(panels):
            for j, name in enumerate(self.names):
                if i != j:
                    panel.plot(
                        self.steps,
                        self.affinities[:, i, j],
                        color=drawing.COLOURS[j % len(drawing.COLOURS)],
                        marker=drawing.MARKERS[j % len(drawing.MARKERS)],
                        label=f"on {name}",
                    )
            panel.axhline(0, color="grey", linewidth=0.8)
            panel.set_title(f"a step of {self.names[i]}")
            panel.set_xlabel("steps of training")
            panel.legend(frameon=False, fontsize=8)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("part by which it lowers the loss")
        figure.suptitle(self.title)
        return figure

    def _pairs(self) -> list[tuple[int, int]]:
        count = range(len(self.names))
        return [(i, j) for i in count for j in count if i != j]

    def _check(self):
        if not len(self.steps):
            raise ValueError(
                "`AffinityHistory` should have measured something: give it to `fit`, for as many "
                "steps as `every` says. Received: no entry"
            )
