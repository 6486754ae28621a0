"""Rows drawn by how much there is to learn from them, with the weight that keeps this unbiased."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.data.elements import check_elements, check_tasks, in_memory, spread

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from mtlzoo.tasks import Task

SCORES = ("gradient_norm", "loss")


class ImportanceSampling:
    r"""Draws the rows of an epoch with probabilities in proportion to their scores.

    With the score $s_i \ge 0$ of row $i$ of $n$, and the share $u$ that is uniform,

    $$p_i = (1 - u) \frac{s_i}{\sum_j s_j} + \frac{u}{n}, \qquad
    w_{ti} = \frac{\sum_j p_j c_{tj}}{p_i \sum_j c_{tj}},$$

    where $c_{ti}$ is the number of labels of task $t$ that row $i$ has: 0 or 1, or its labelled
    pixels. A drawn row has its sample weights multiplied by $w_{ti}$, which is $1 / (n p_i) \le
    1/u$ where no label is missing, so that the expected loss is that of all rows alike, with the
    expected number of labels in a batch for the one that is there. Scores are set anew between
    epochs, from one pass over the rows:

    * `"gradient_norm"`: the norm of the gradient of the loss with respect to the outputs of all
      tasks. It bounds that of the whole network up to a factor that all rows share; with these
      probabilities the bound of the variance is least;
    * `"loss"`: the row's part of the loss.

    Until `update` or the callback is used for the first time, rows are drawn alike.

    Args:
        dataset: Batches `(x, y)` or `(x, y, sample_weight)`; read once and kept in memory.
        tasks: The tasks.
        batch_size: Rows in a batch.
        by: `"gradient_norm"` or `"loss"`. Defaults to `"gradient_norm"`.
        uniform: The share $u$, above 0, up to 1. Defaults to 0.2.
        loss: By task, losses for those of the tasks, as given to `compile`. Defaults to `None`.
        loss_weights: By task, how much its loss counts, as given to `compile`. Defaults to `None`,
            for 1.
        seed: Integer of at least 0. Defaults to 0.

    Attributes:
        dataset: Batches `(x, y, sample_weight)`, as many in an epoch as the data set has rows for;
            each epoch is drawn anew, by the probabilities in force when it begins.
        probabilities: Array `(n,)`, the probabilities in force.

    Raises:
        ValueError: If the data set has no rows or no end, lacks labels by task, or an argument is
            out of its range.

    Example:
    ```python
    from mtlzoo import HardSharing, data

    census = data.load("census_income")
    rows = data.ImportanceSampling(census.train, census.tasks, batch_size=256)
    model = HardSharing(census.inputs, census.tasks, shared_units=[32])
    model.compile("adam")
    model.fit(rows.dataset, epochs=2, callbacks=[rows.callback()])
    ```

    References:
        Katharopoulos and Fleuret, *Not All Samples Are Created Equal: Deep Learning with Importance
        Sampling*, ICML 2018.

    *Differences from the paper*: scores are of all rows at the end of an epoch, not of a larger
    batch in each step: a pass forward per epoch instead of several per step, and older scores. A
    part is uniform, which bounds the weights. Rows are drawn by systematic sampling, by which each
    is in an epoch as often as expected, rounded up or down. Tasks may lack labels.
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        tasks: Sequence[Task],
        *,
        batch_size: int,
        by: str = "gradient_norm",
        uniform: float = 0.2,
        loss: Mapping[str, Any] | None = None,
        loss_weights: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        import tensorflow as tf

        labels, _ = check_elements("dataset", dataset)
        check_count("batch_size", batch_size)
        check_count("seed", seed, least=0)
        if by not in SCORES:
            raise ValueError(f"`by` should be one of {list(SCORES)}. Received: by={by!r}")
        if not is_number(uniform) or not 0 < uniform <= 1:
            raise ValueError(
                f"`uniform` should be a number above 0, up to 1. Received: uniform={uniform!r}"
            )
        self._tasks = check_tasks(tasks, labels)
        given = {"loss": loss or {}, "loss_weights": loss_weights or {}}
        for name, found in given.items():
            if not isinstance(found, Mapping) or not set(found) <= set(self._tasks):
                raise ValueError(
                    f"`{name}` should be a dict with keys among the tasks {sorted(self._tasks)}. "
                    f"Received: {name}={found!r}"
                )
        for name, weight in given["loss_weights"].items():
            if not is_number(weight) or weight < 0:
                raise ValueError(
                    f"`loss_weights[{name!r}]` should be a number of at least 0. "
                    f"Received: {weight!r}"
                )
        self._losses = {
            n: t.resolve_loss(given["loss"][n]) if n in given["loss"] else t.loss
            for n, t in self._tasks.items()
        }
        self._loss_weights = dict(given["loss_weights"])
        self._by, self._uniform, self._seed = by, uniform, seed
        self._batch_size = batch_size
        self._rows = in_memory(dataset)
        self._count = len(tf.nest.flatten(self._rows)[0])
        self._labels = self._count_labels()
        self.probabilities = np.full(self._count, 1 / self._count)
        with tf.device("CPU:0"):
            self._chances = tf.Variable(self.probabilities, trainable=False, dtype="float64")
        self.dataset = self._drawn()
        self._traced: tuple[keras.Model, Any] | None = None

    def _count_labels(self) -> dict[str, np.ndarray]:
        """By task how many labels that count each row has, `(n,)`."""
        _, y, w = self._rows
        found = {}
        for name, task in self._tasks.items():
            present = task.read_labels(y[name], self._losses[name]).present
            counts = np.asarray(present & (spread(w[name], present) > 0))
            found[name] = counts.reshape(self._count, -1).sum(1).astype("float64")
        return found

    def _drawn(self) -> tf.data.Dataset:
        """Epochs, each drawn by the probabilities in force when it begins."""
        import tensorflow as tf

        count = self._count
        labels = {name: tf.constant(each) for name, each in self._labels.items()}

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            chances = self._chances.read_value()
            first = tf.random.stateless_uniform((), tf.stack([self._seed, number]), dtype="float64")
            points = (tf.range(count, dtype="float64") + first) / count
            chosen = tf.searchsorted(tf.cumsum(chances)[:-1], points, side="right")
            order = tf.random.experimental.stateless_shuffle(
                chosen, tf.stack([self._seed + 1, number])
            )
            weights = {
                name: tf.math.divide_no_nan(tf.reduce_sum(chances * each), tf.reduce_sum(each))
                / tf.gather(chances, order)
                for name, each in labels.items()
            }
            drawn = tf.data.Dataset.from_tensor_slices((order, weights))
            return drawn.batch(self._batch_size)

        def gather(chosen: tf.Tensor, weights: dict) -> tuple:
            x, y, w = tf.nest.map_structure(lambda part: tf.gather(part, chosen), self._rows)
            return x, y, {n: w[n] * spread(tf.cast(weights[n], "float32"), w[n]) for n in w}

        epochs = tf.data.Dataset.random(seed=self._seed, rerandomize_each_iteration=True).take(1)
        batches = epochs.flat_map(epoch).map(gather, num_parallel_calls=tf.data.AUTOTUNE)
        steps = tf.data.experimental.assert_cardinality(-(-count // self._batch_size))
        return batches.apply(steps).prefetch(tf.data.AUTOTUNE)

    def update(self, model: keras.Model) -> np.ndarray:
        """Score all rows, and draw by these scores from the next epoch on.

        Args:
            model: The model that is trained, with the tasks' outputs by name.

        Returns:
            The scores `(n,)`, in the order of the data set.

        Raises:
            ValueError: If a score is not finite.
        """
        import tensorflow as tf

        if self._traced is None or self._traced[0] is not model:  # once, not in every epoch
            self._traced = (
                model,
                tf.function(lambda rows: self._scores(model, *rows), reduce_retracing=True),
            )
        _, score = self._traced
        batches = tf.data.Dataset.from_tensor_slices(self._rows).batch(self._batch_size)
        scores = np.concatenate([score(batch) for batch in batches]).astype("float64")
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            raise ValueError(
                "Scores should be finite: the model may have diverged. "
                f"Received: {scores[bad[0]]} for row {bad[0]}, and {len(bad) - 1} more"
            )
        total = scores.sum()
        shares = scores / total if total > 0 else np.full(self._count, 1 / self._count)
        self.probabilities = (1 - self._uniform) * shares + self._uniform / self._count
        self._chances.assign(self.probabilities)
        return scores

    def _scores(self, model: keras.Model, x: Any, y: Any, w: Any) -> tf.Tensor:
        """The scores of a batch `(B,)`."""
        import tensorflow as tf

        outputs = model(x, training=False)
        outputs = {name: tf.cast(outputs[name], "float32") for name in self._tasks}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(outputs)
            losses = {n: self._row_losses(n, y[n], w[n], output) for n, output in outputs.items()}
            total = tf.add_n(list(losses.values()))
        if self._by == "loss":
            return total
        gradients = tape.gradient(total, outputs, unconnected_gradients="zero").values()
        squares = [tf.square(tf.reshape(g, (tf.shape(g)[0], -1))) for g in gradients]
        return tf.sqrt(tf.add_n([tf.reduce_sum(each, axis=1) for each in squares]))

    def _row_losses(self, name: str, labels: Any, weights: Any, outputs: Any) -> tf.Tensor:
        """Each row's part of a task's loss, where the mean row has a part of the size of it."""
        import tensorflow as tf

        task, loss = self._tasks[name], self._losses[name]
        read = task.read_labels(labels, loss)
        values = task.loss_values(loss, read.values, outputs)
        values = values * spread(tf.cast(weights, values.dtype), values)
        values = tf.where(read.present, values, tf.zeros_like(values))
        of_rows = tf.reduce_sum(values, axis=tuple(range(1, len(values.shape))))
        mean_count = max(self._labels[name].mean(), 1 / self._count)
        return self._loss_weights.get(name, 1.0) / mean_count * of_rows

    def callback(self, every: int = 1) -> keras.callbacks.Callback:
        """A callback for `fit` that scores all rows after epochs.

        Args:
            every: After how many epochs. Defaults to 1.

        Returns:
            The callback; it scores by the model that it is fitted with.
        """
        import keras

        check_count("every", every)
        sampling = self

        class Scoring(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                if (epoch + 1) % every == 0:
                    sampling.update(self.model)

            def get_state(self) -> np.ndarray:
                return sampling.probabilities

            def set_state(self, state: np.ndarray) -> None:
                sampling.probabilities = state
                sampling._chances.assign(state)

        return Scoring()
