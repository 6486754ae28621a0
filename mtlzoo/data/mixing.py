"""One stream of batches out of several data sets, drawn by probabilities that may change."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from mtlzoo.data.arguments import check_count
from mtlzoo.data.sampling import Explicit, InTurn, check, draw, normalized, resolve
from mtlzoo.data.unifying import check_datasets, unify

if TYPE_CHECKING:
    import tensorflow as tf

#: Steps whose draws are made at once, and so also the grain of changes.
_AT_ONCE = 16
FORMS = ("batches", "rows")


class Mixture:
    """Several data sets as one endless stream of batches; `mix` makes it.

    Which data set a batch (or row) comes from is a function of the seed, the number of the step and
    the probabilities that are in force in that step. Each data set is repeated without end, in its
    own order, and goes on where it was from one epoch to the next: none is cut to the length of
    another, and a small one is simply read more often.

    An **epoch** is a number of steps, `steps_per_epoch`: by default as many as all data sets
    have batches together (or rows, over the batch size), so that with proportional probabilities
    each row is drawn once on average. Give it to `fit`, since the stream has no end.

    Args:
        datasets: See `mix`, as the others.
        sampling_weights: How often each is drawn from.
        form: Whether batches or rows are drawn.
        batch_size: Rows in a batch.
        sizes: Of the data sets.
        steps_per_epoch: How many steps make an epoch.
        seed: Of the draws.
        lag: After how many steps a change comes into force.

    Attributes:
        steps_per_epoch: How many steps make an epoch.
        sizes: By data set how many batches it has, or rows in the form `"rows"`.
        names: Those of the data sets, sorted.
        tasks: By data set the tasks that it has labels of, sorted.
        form: Whether batches or rows are drawn.
        lag: After how many steps a change comes into force.
        begun: The steps at which reading the stream was begun, in order.
    """

    def __init__(
        self,
        datasets: Mapping[str, tf.data.Dataset],
        sampling_weights: Any,
        *,
        form: str,
        batch_size: int | None,
        sizes: Mapping[str, int] | None,
        steps_per_epoch: int | None,
        seed: int,
        lag: int,
    ) -> None:
        check_datasets(datasets)
        if form not in FORMS:
            raise ValueError(f"`form` should be one of {list(FORMS)}. Received: form={form!r}")
        if (batch_size is None) == (form == "rows"):
            raise ValueError(
                "`batch_size` should be given with form='rows', and only then: with "
                "form='batches' the data sets have batches already. "
                f"Received: batch_size={batch_size!r} with form={form!r}"
            )
        if batch_size is not None:
            check_count("batch_size", batch_size)
        check_count("seed", seed, least=0)
        check_count("lag", lag)
        self.names = sorted(datasets)
        self.sampling_weights = resolve(sampling_weights, self.names)
        self.form, self._batch_size = form, batch_size
        self._datasets = unify({name: datasets[name] for name in self.names})
        self.tasks = {name: tuple(sorted(datasets[name].element_spec[1])) for name in self.names}
        self.sizes = self._count(sizes)
        total = sum(self.sizes.values())
        if steps_per_epoch is None:
            steps_per_epoch = max(1, -(-total // (batch_size or 1)))
        self.steps_per_epoch = check_count("steps_per_epoch", steps_per_epoch)
        self._seed, self.lag = seed, lag
        self._changes: list[tuple[int, Explicit | InTurn]] = []
        self._of_epoch: tuple[int, dict[str, float]] | None = None  # the last ones that were asked
        self._drawn = 0  # steps whose draws the stream has asked for
        self._shown: tuple[tuple[int, int], np.ndarray] | None = None  # the last ones
        self.begun: list[int] = []
        self.probabilities(0)  # so that an unusable object fails here

    def probabilities(self, step: int) -> dict[str, float]:
        """By data set how likely it is to be drawn from.

        Args:
            step: The number of the step, from 0.

        Returns:
            Numbers with the sum 1.
        """
        done = bisect.bisect_right(self._changes, step, key=lambda change: change[0])
        given: Any = self._changes[done - 1][1] if done else self.sampling_weights
        if hasattr(given, "at_step"):
            return normalized(check(given.at_step(self.sizes, step), self.names))
        if done:
            return given.probabilities(self.sizes, 0)
        epoch = step // self.steps_per_epoch
        if self._of_epoch is None or self._of_epoch[0] != epoch:
            found = self.sampling_weights.probabilities(self.sizes, epoch)
            self._of_epoch = epoch, normalized(check(found, self.names))
        return dict(self._of_epoch[1])

    def begin_with(self, sampling_weights: Any) -> None:
        """Replace the sampling weights with which the stream begins, before it is read for good.

        Args:
            sampling_weights: As for `mix`.

        Raises:
            ValueError: If they are unusable, or were changed by `set_sampling_weights` already.
        """
        if self._changes:
            raise ValueError(
                "`begin_with` should be called before sampling weights are changed. Received: a "
                f"mixture with {len(self._changes)} changes"
            )
        self.sampling_weights = resolve(sampling_weights, self.names)
        self._of_epoch, self._drawn = None, 0
        self.probabilities(0)

    def drawn_at(self, step: int) -> list[str]:
        """The data sets that a step draws from, sorted; one in the form `"batches"`.

        Args:
            step: The number of the step, from 0. A change may still come for steps that are not
                read yet.
        """
        first, per_step = step - step % _AT_ONCE, self._batch_size or 1
        known = first, len(self._changes)
        if self._shown is None or self._shown[0] != known:
            self._shown = known, self._places(first).reshape(_AT_ONCE, per_step)
        return [self.names[place] for place in np.unique(self._shown[1][step - first])]

    @property
    def latest(self) -> Any:
        """What decides how often each data set is drawn from, as it was given last."""
        return self._changes[-1][1] if self._changes else self.sampling_weights

    def set_sampling_weights(self, weights: Mapping[str, float] | InTurn, step: int) -> int:
        """Change the probabilities during training.

        A stream is read ahead of the training. So that its depth does not matter, a change comes
        into force `lag` steps after it is made, rounded up to a multiple of 16.

        Args:
            weights: By data set a number that is not negative; they are scaled to the sum 1. Or an
                `InTurn`.
            step: How many steps of training are done.

        Returns:
            The first step with these probabilities.

        Raises:
            ValueError: If the weights are unusable, `step` lies before an earlier change, or the
                stream was read further ahead than `lag`.
        """
        given = weights if isinstance(weights, InTurn) else Explicit(check(weights, self.names))
        given.probabilities(self.sizes, 0)  # so that unknown names fail here
        start = -(-(check_count("step", step, least=0) + self.lag) // _AT_ONCE) * _AT_ONCE
        if self._changes and start < self._changes[-1][0]:
            raise ValueError(
                "`step` should not lie before that of an earlier change. "
                f"Received: step={step}, after a change that began at step {self._changes[-1][0]}"
            )
        if start < self._drawn:
            raise ValueError(
                f"`lag` should be at least what is read ahead: {self._drawn - step} steps. "
                f"Received: lag={self.lag}"
            )
        self._changes.append((start, given))
        return start

    @property
    def state(self) -> dict[str, Any]:
        """What makes the same stream in another process: numbers and strings, for JSON."""
        changes = [{"step": start, **dataclasses.asdict(given)} for start, given in self._changes]
        return {**self._identity, "changes": changes}

    @property
    def _identity(self) -> dict[str, Any]:
        """What two mixtures of the same stream have in common."""
        return {
            "seed": self._seed,
            "form": self.form,
            "batch_size": self._batch_size,
            "sizes": dict(self.sizes),
            "steps_per_epoch": self.steps_per_epoch,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a mixture of the same data sets.

        Args:
            state: Its `state`.

        Raises:
            ValueError: If it is that of another mixture.
        """
        for key, own in self._identity.items():
            if not isinstance(state, Mapping) or state.get(key) != own:
                given = state.get(key) if isinstance(state, Mapping) else state
                raise ValueError(
                    f"`state` should be that of a mixture with the {key} {own}. Received: {given}"
                )
        self._changes, self._shown = [], None
        for change in state["changes"]:
            weights, turns = change.get("weights"), (change.get("order"), change.get("steps", 1))
            given = InTurn(*turns) if weights is None else Explicit(check(weights, self.names))
            self._changes.append((int(change["step"]), given))

    @property
    def dataset(self) -> tf.data.Dataset:
        """The stream, from step 0."""
        return self.starting_at(0)

    def starting_at(self, step: int) -> tf.data.Dataset:
        """The stream from a later step on, as an interrupted training needs it.

        What was drawn before is read again and left out, so that data sets with a seed are in the
        same order as if there had been no interruption.

        Args:
            step: How many steps were done.

        Returns:
            An endless data set.
        """
        import tensorflow as tf

        check_count("step", step, least=0)
        per_step = self._batch_size or 1
        before = np.zeros(len(self.names), "int64")
        for first in range(0, step, _AT_ONCE):
            done = self._places(first)[: (step - first) * per_step]
            before += np.bincount(done, minlength=len(self.names))
        streams = []
        for name, skipped in zip(self.names, before.tolist(), strict=True):
            rows = self._datasets[name]
            rows = rows.unbatch() if self.form == "rows" else rows
            streams.append(rows.repeat().skip(skipped) if skipped else rows.repeat())

        def places() -> Iterator[np.ndarray]:
            self.begun.append(step)
            first = step - step % _AT_ONCE
            skipped = (step - first) * per_step
            while True:
                self._drawn = max(self._drawn, first + _AT_ONCE)
                yield self._places(first)[skipped:]
                first, skipped = first + _AT_ONCE, 0

        choices = tf.data.Dataset.from_generator(
            places, output_signature=tf.TensorSpec((None,), "int64")
        ).unbatch()
        mixed = tf.data.Dataset.choose_from_datasets(streams, choices)
        if self._batch_size is not None:
            mixed = mixed.batch(self._batch_size, drop_remainder=True)
        return mixed.prefetch(2)

    def _places(self, first: int) -> np.ndarray:
        """What steps `first` to `first + 15` draw from, as places among the names."""
        rng = np.random.default_rng([self._seed, first])
        found = []
        for step in range(first, first + _AT_ONCE):
            probabilities = self.probabilities(step)
            uniform = rng.random(self._batch_size or 1)
            found.append(draw(np.array([probabilities[n] for n in self.names]), uniform))
        return np.concatenate(found).astype("int64")

    def _count(self, sizes: Mapping[str, int] | None) -> dict[str, int]:
        """How many batches, or rows, each data set has."""
        for name in self.names:
            if int(self._datasets[name].cardinality()) == 0:
                raise ValueError(f"`datasets[{name!r}]` should have rows. Received: none")
        if sizes is not None:
            if sorted(sizes) != self.names:
                raise ValueError(
                    f"`sizes` should have a number for each of the data sets {self.names}. "
                    f"Received: sizes={dict(sizes)!r}"
                )
            return {n: check_count(f"sizes[{n!r}]", sizes[n]) for n in self.names}
        found = {}
        for name in self.names:
            dataset = self._datasets[name]
            count = int(dataset.cardinality())
            if count == -1:
                raise ValueError(
                    f"`sizes` should be given where a data set has no end, as `{name}`. "
                    "Received: sizes=None"
                )
            if self.form == "rows" or count < 0:
                logging.info("mix reads `%s` once, to count it; `sizes` would save that.", name)
                count = _counted(dataset, rows=self.form == "rows")
            if count == 0:
                raise ValueError(f"`datasets[{name!r}]` should have rows. Received: none")
            found[name] = count
        return found


def mix(
    datasets: Mapping[str, tf.data.Dataset],
    sampling_weights: Any = "proportional",
    *,
    form: str = "batches",
    batch_size: int | None = None,
    sizes: Mapping[str, int] | None = None,
    steps_per_epoch: int | None = None,
    seed: int = 0,
    lag: int = 32,
) -> Mixture:
    """Mix data sets, each with labels for some of the tasks.

    In the form `"batches"` each batch comes from one data set, as it is there; in the form `"rows"`
    a batch has rows of any of them. All elements get the same form: inputs and labels of all data
    sets together. What a data set does not have is filled with zeros; such labels have the sample
    weight 0, and where an input is missing in some data set, a boolean input `<input>_present` says
    so, as `models.CrossModalFusion` reads it.

    `sampling_weights` decide how often a data set is drawn from. How much a task counts in the loss
    is another matter: `loss_weights` of `compile`.

    Args:
        datasets: By name, data sets of batches `(x, y)` or `(x, y, sample_weight)`, with `y` and
            `sample_weight` dicts by task. Each should shuffle itself.
        sampling_weights: `"proportional"` to the sizes, `"uniform"`, a temperature (see
            `Temperature`), a dict by data set of numbers that are not negative, or an object with
            a method `probabilities`, such as `Annealed`. Defaults to `"proportional"`.
        form: `"batches"` or `"rows"`. Defaults to `"batches"`.
        batch_size: Rows in a batch, of the form `"rows"` only. Defaults to `None`.
        sizes: By data set, how many batches (or rows) it has. Defaults to what is found by reading
            it once, where it does not say.
        steps_per_epoch: How many steps make an epoch. Defaults to as many as all data sets
            together have batches, or rows over the batch size.
        seed: Integer of at least 0. Defaults to 0.
        lag: After how many steps a change of `set_sampling_weights` comes into force; at least what
            is read ahead. Defaults to 32.

    Returns:
        The mixture: `fit(mixture.dataset, steps_per_epoch=mixture.steps_per_epoch)`.

    Raises:
        ValueError: If data sets do not fit together, one is empty, or an argument is out of its
            range.

    Example:
    ```python
    import numpy as np
    import tensorflow as tf
    from mtlzoo import data

    def batches(task, rows):
        x = np.random.normal(size=(rows, 3)).astype("float32")
        y = {task: np.ones((rows, 1), "float32")}
        return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(rows).batch(4)

    mixture = data.mix({"large": batches("a", 80), "small": batches("b", 8)}, "uniform")
    x, y, sample_weight = next(iter(mixture.dataset))
    print(mixture.steps_per_epoch, sorted(y))  # 22 ['a', 'b']
    ```
    """
    return Mixture(
        datasets,
        sampling_weights,
        form=form,
        batch_size=batch_size,
        sizes=sizes,
        steps_per_epoch=steps_per_epoch,
        seed=seed,
        lag=lag,
    )


def _counted(dataset: tf.data.Dataset, rows: bool) -> int:
    """How many batches or rows are in a data set, by reading it."""
    import tensorflow as tf

    def of_batch(*element: Any) -> tf.Tensor:
        first = tf.nest.flatten(element)[0]
        return tf.shape(first, out_type="int64")[0] if rows else tf.constant(1, "int64")

    counts = dataset.map(of_batch)
    return int(counts.reduce(np.int64(0), lambda total, count: total + count))
