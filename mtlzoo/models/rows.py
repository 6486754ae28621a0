"""Which tasks are balanced as one: the rows of the Gramian."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import tensorflow as tf

from mtlzoo.balancing import Balancer
from mtlzoo.gradients import Recording


class Rows:
    """Tasks, each in a row of its own or together with others.

    The loss of a row is the sum of those of its tasks that are present.

    Args:
        tasks: the names of the tasks, in order.
        row_of: by the name of a task that of the row it is in; a task that is not named is a row of
            its own.

    Attributes:
        names: the names of the rows, in order.
    """

    def __init__(self, tasks: Sequence[str], row_of: Mapping[str, str]) -> None:
        self._tasks = tuple(tasks)
        of_tasks = [row_of.get(name, name) for name in tasks]
        self.names = tuple(sorted(set(of_tasks)))
        self._index = [self.names.index(name) for name in of_tasks]
        self.are_tasks = len(self.names) == len(of_tasks)

    def check(self, balancer: Balancer) -> None:
        """Refuse a balancer that compares parts of a batch, of which a row's tasks have different
        shares.
        """
        if not self.are_tasks and balancer.n_batches > 1:
            raise ValueError(
                "`balancer` should take the batch as a whole where several tasks are balanced as "
                f"one (as soft targets are without `balance_soft`). Received: {balancer!r}"
            )

    def sums(self, of_tasks: list) -> list:
        """R sums of T numbers; to be called where the tape sees it."""
        if self.are_tasks:
            return of_tasks
        dtype = of_tasks[0].dtype
        return [tf.add_n([tf.cast(n, dtype) for n in own]) for own in self._apart(of_tasks)]

    def merged(self, recording: Recording) -> Recording:
        """The recording whose shares were summed by rows, with the losses of rows."""
        if self.are_tasks:
            return recording
        return replace(
            recording,
            losses=self._sum(recording.losses),
            unweighted=self._sum(recording.unweighted),
            present=self.any(recording.present),
        )

    def any(self, flags: tf.Tensor) -> tf.Tensor:
        """For each row whether one of its tasks has the flag, `(R,)` of `(T,)`."""
        if self.are_tasks:
            return flags
        return tf.stack([tf.reduce_any(tf.stack(own)) for own in self._apart(tf.unstack(flags))])

    def spread(self, values: tf.Tensor) -> tf.Tensor:
        """For each task what its row has: `(..., T)` of `(..., R)`."""
        return values if self.are_tasks else tf.gather(values, self._index, axis=-1)

    def logged(
        self, logs: Mapping[str, float], loss_weights: Sequence[float] | None
    ) -> dict[str, float]:
        """The logs of an epoch with the losses of rows in place of those of their tasks.

        Args:
            logs: the logs.
            loss_weights: T factors of the losses, or `None` for ones.
        """
        found = dict(logs)
        factors = loss_weights or [1.0] * len(self._tasks)
        weighed = self._apart(list(zip(self._tasks, factors, strict=True)))
        for name, own in zip(self.names, weighed, strict=True):
            losses = [factor * logs.get(f"{task}_loss", float("nan")) for task, factor in own]
            known = [loss for loss in losses if loss == loss]  # of tasks that had labels
            if len(own) > 1 and known:
                found[f"{name}_loss"] = sum(known)
        return found

    def _sum(self, values):
        return tf.stack(self.sums(tf.unstack(values)))

    def _apart(self, of_tasks):
        return [
            [value for value, row in zip(of_tasks, self._index, strict=True) if row == number]
            for number in range(len(self.names))
        ]
