"""How the tasks' gradients got on with each other while a model was trained."""

from dataclasses import asdict
from typing import Any

import keras
import numpy as np

from mtlzoo.analysis import drawing
from mtlzoo.analysis.task_matrix import TaskMatrix
from mtlzoo.layers.arguments import check_count
from mtlzoo.models.gramian_record import SHARED, GramianSums

MEASURES = {
    "cosine": ("cosines", "cosine of the gradients", True),
    "conflict": ("conflicts", "share of steps with opposed gradients", False),
    "magnitude_similarity": ("magnitude_similarities", "similarity of gradient norms", False),
}


class GramianHistory(keras.callbacks.Callback):
    """Keeps what the training step measures of the tasks' gradients, by epoch or window of steps.

    The model is compiled with `track_gramian="shared"` or `"groups"`. With a gradient balancer the
    products of the gradients exist anyway; other balancers measure each `track_every`-th step.

    Three numbers for each pair of tasks: the cosine of their gradients (Du et al. 2018), the share
    of steps in which it is negative, and the gradient magnitude similarity
    2 |gᵢ| |gⱼ| / (|gᵢ|² + |gⱼ|²) (Yu et al. 2020), which is 1 for gradients of one length.

    Args:
        every: `"epoch"`, or the number of steps of an entry; the end of an epoch also ends one.
            With `steps_per_execution`, entries end with an execution, and Keras counts the last one
            of an epoch in full. Defaults to `"epoch"`.

    Attributes:
        names: The T tasks, in sorted order (with soft targets, what is balanced as one).
        groups: The K groups of shared variables: `"shared"`, all of them together, first; then one
            for each layer, with `track_gramian="groups"`.
        steps: (E,) for each entry the step of the training at which it ended, from 1.
        cosines: (E, K, T, T) means over the measured steps; NaN for pairs that never were there
            together with gradients other than zero, as in the next two.
        conflicts: (E, K, T, T), from 0 to 1.
        magnitude_similarities: (E, K, T, T), from 0 to 1.
        measured: (E, K, T) in how many steps a task's gradient was measured.
        norms: (E, K, T) root mean squares of the gradients' norms, of the losses times their loss
            weights; NaN where a task had none.

    Raises:
        ValueError: If `every` is neither, or when training begins and the model does not track
            Gramians.

    Example:
    ```python
    import keras
    import numpy as np
    import mtlzoo as zoo
    from mtlzoo.analysis import GramianHistory

    inputs = keras.Input((4,))
    model = zoo.HardSharing(inputs, [zoo.Regression("a"), zoo.Regression("b")], shared_units=[8])
    model.compile("sgd", balancer="pcgrad", track_gramian="groups")
    x = np.random.default_rng(0).normal(size=(64, 4))
    history = GramianHistory()
    model.fit(x, {"a": x[:, :1], "b": -x[:, :1]}, epochs=2, verbose=0, callbacks=[history])
    history.cosines.shape  # (2, 2, 2, 2)
    print(history.words())
    ```

    References:
        - [Adapting Auxiliary Losses Using Gradient Similarity](https://arxiv.org/abs/1812.02224)
        - [Gradient Surgery for Multi-Task Learning](https://arxiv.org/abs/2001.06782)
    """

    def __init__(self, every: str | int = "epoch") -> None:
        super().__init__()
        self.every = every if isinstance(every, str) else check_count("every", every)
        if isinstance(every, str) and every != "epoch":
            raise ValueError(
                f"`every` should be 'epoch' or a number of steps. Received: every={every!r}"
            )
        self.names: tuple[str, ...] = ()
        self.groups: tuple[str, ...] = ()
        self._entries: list[GramianSums] = []
        self._ends: list[int] = []
        self._before: GramianSums | None = None
        self._step = self._begun = 0

    # -- while training ---------------------------------------------------------------------

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See what the model tracks; a second training of the same model goes on."""
        record = self.model.gramian_record
        if self._entries and (self.names, self.groups) != (record.names, record.groups):
            raise ValueError(
                "A `GramianHistory` should be of one model: make another one. Received: the tasks "
                f"{list(record.names)} and groups {list(record.groups)} after {list(self.names)} "
                f"and {list(self.groups)}"
            )
        self.names, self.groups = record.names, record.groups
        self._begun = self._step  # also after an epoch that was broken off

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """The model has begun its sums anew."""
        self._before = None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count, and end an entry."""
        # Keras tells the number of the last batch only of those that were executed together.
        self._step = self._begun + batch + 1
        last = self._ends[-1] if self._ends else 0
        if isinstance(self.every, int) and self._step - last >= self.every:
            self._close()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """End an entry."""
        if not self._ends or self._step > self._ends[-1]:
            self._close()
        self._begun = self._step

    def _close(self) -> None:
        sums = self.model.gramian_record.sums()
        self._entries.append(sums if self._before is None else sums - self._before)
        self._ends.append(self._step)
        self._before = sums

    def get_state(self) -> dict[str, Any]:
        """What a training that goes on after a kill needs."""
        before = None if self._before is None else asdict(self._before)
        return {
            "entries": [asdict(entry) for entry in self._entries],
            "ends": list(self._ends),
            "before": before,
            "step": self._step,
            "begun": self._begun,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        self._entries = [GramianSums(**entry) for entry in state["entries"]]
        self._ends = list(state["ends"])
        self._before = None if state["before"] is None else GramianSums(**state["before"])
        self._step, self._begun = state["step"], state["begun"]

    # -- what was found ---------------------------------------------------------------------

    @property
    def steps(self) -> np.ndarray:
        """(E,) the step at which each entry ended."""
        return np.array(self._ends, int)

    @property
    def cosines(self) -> np.ndarray:
        """(E, K, T, T) mean cosines."""
        return self._stacked("cosines")

    @property
    def conflicts(self) -> np.ndarray:
        """(E, K, T, T) shares of steps with a negative cosine."""
        return self._stacked("conflicts")

    @property
    def magnitude_similarities(self) -> np.ndarray:
        """(E, K, T, T) mean similarities of the norms."""
        return self._stacked("magnitude_similarities")

    @property
    def norms(self) -> np.ndarray:
        """(E, K, T) root mean squares of the norms."""
        return self._stacked("norms")

    @property
    def measured(self) -> np.ndarray:
        """(E, K, T) in how many steps each task's gradient was measured."""
        return self._stacked("steps")

    def matrix(self, measure: str = "cosine", group: str = SHARED) -> TaskMatrix:
        """The mean over all measured steps.

        Args:
            measure: `"cosine"`, `"conflict"` or `"magnitude_similarity"`. Defaults to `"cosine"`.
            group: One of `groups`. Defaults to `"shared"`.

        Raises:
            ValueError: For another measure or group, or before any training.
        """
        if measure not in MEASURES:
            raise ValueError(
                f"`measure` should be one of {list(MEASURES)}. Received: measure={measure!r}"
            )
        attribute, said, signed = MEASURES[measure]
        values = getattr(self._whole(), attribute)[self._place(group)]
        where = "" if group == SHARED else f" in {group}"
        return TaskMatrix(self.names, values, said + where, signed=signed)

    @property
    def title(self) -> str:
        """What it is about, as a headline."""
        return "The tasks' gradients in training"

    def words(self) -> str:
        """Which tasks pull together, which apart, where and how often."""
        whole = self._whole()
        said = [self.matrix().words()]
        pairs = [(i, j) for j in range(len(self.names)) for i in range(j)]
        known = [pair for pair in pairs if whole.pairs[0][pair] > 0]
        if known and max(whole.conflicts[0][pair] for pair in known) > 0:
            i, j = max(known, key=lambda pair: whole.conflicts[0][pair])
            said.append(
                f"{self.names[i]} and {self.names[j]} are opposed in "
                f"{100 * whole.conflicts[0][i, j]:.0f} % of {whole.pairs[0][i, j]:.0f} measured "
                f"steps{', more than any other pair' if len(known) > 1 else ''}."
            )
        spread = [
            (whole.cosines[k][pair], self.groups[k], *(self.names[t] for t in pair))
            for k in range(1, len(self.groups))
            for pair in pairs
            if whole.pairs[k][pair] > 0
        ]
        if spread:
            least, group, first, second = min(spread)
            said.append(
                f"By layer, the lowest cosine is that of {first} and {second} in {group} "
                f"({least:.2f})."
            )
        norms = dict(zip(self.names, whole.norms[0], strict=True))
        norms = {name: norm for name, norm in norms.items() if norm == norm}
        if len(norms) > 1:
            by_length = sorted((norm, name) for name, norm in norms.items())
            (short, small), (long, large) = by_length[0], by_length[-1]
            said.append(
                f"The gradient of {large} is the longest ({long:.3g}), that of {small} the "
                f"shortest ({short:.3g})."
            )
        return " ".join(said)

    def rows(self) -> list[list[str]]:
        """A row for each pair of tasks and group in which both had gradients."""
        whole = self._whole()
        table = [["group", "tasks", "cosine", "opposed", "similarity of norms", "steps"]]
        for k, group in enumerate(self.groups):
            for j in range(len(self.names)):
                for i in range(j):
                    if not whole.pairs[k, i, j]:
                        continue
                    of_pair = [
                        f"{whole.cosines[k, i, j]:.3f}",
                        f"{100 * whole.conflicts[k, i, j]:.0f} %",
                        f"{whole.magnitude_similarities[k, i, j]:.3f}",
                        f"{whole.pairs[k, i, j]:.0f}",
                    ]
                    table.append([group, f"{self.names[i]}, {self.names[j]}", *of_pair])
        return table

    def figure(self) -> Any:
        """The cosines over the training, and the norms, of all shared variables together.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        self._whole()
        figure = drawing.new_figure(10.0, 4.2)
        left, right = figure.subplots(1, 2)
        pairs = [(i, j) for j in range(len(self.names)) for i in range(j)]
        labels = [f"{self.names[i]}, {self.names[j]}" for i, j in pairs]
        curves = [self.cosines[:, 0, i, j] for i, j in pairs]
        drawing.curves(left, self.steps, curves, labels)
        left.axhline(0, color="grey", linewidth=1, linestyle="--", zorder=0)
        left.set_title("Cosine of the tasks' gradients")
        left.set_ylabel("cosine (below 0: opposed)")
        drawing.curves(right, self.steps, list(self.norms[:, 0].T), self.names)
        right.set_yscale("log")
        right.set_title("Length of the tasks' gradients")
        right.set_ylabel("root mean square of the norm")
        figure.suptitle(self.title)
        return figure

    def _whole(self) -> GramianSums:
        if not self._entries:
            raise ValueError(
                "A `GramianHistory` should be among the `callbacks` of a training first. "
                "Received: one without entries"
            )
        return sum(self._entries[1:], self._entries[0])

    def _stacked(self, attribute):
        self._whole()
        return np.stack([getattr(entry, attribute) for entry in self._entries])

    def _place(self, group):
        if group not in self.groups:
            raise ValueError(
                f"`group` should be one of {list(self.groups)}. Received: group={group!r}"
            )
        return self.groups.index(group)
