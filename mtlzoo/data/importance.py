"""Rows drawn by how much there is to learn from them, with the weight that keeps this unbiased."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.data.elements import check_elements, in_memory, spread

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from mtlzoo.tasks import Task

SCORES = ("gradient_norm", "loss")


class ImportanceSampling:
    r"""Draws the rows of an epoch with probabilities in proportion to their scores.

    With the score $s_i \ge 0$ of row $i$ of $n$, and the share $u$ that is uniform,

    $$p_i = (1 - u) \frac{s_i}{\sum_j s_j} + \frac{u}{n}, \qquad w_i = \frac{1}{n\,p_i}.$$

    A drawn row has its sample weights multiplied by $w_i \le 1/u$, so that the expected gradient
    is that of all rows alike. Scores are set anew between epochs, from one pass over the rows:

    * `"gradient_norm"`: the norm of the gradient with respect to the outputs of all tasks, which
      bounds that of the whole network up to a factor that all rows share, and with which the
      variance is least;
    * `"loss"`: the sum of the tasks' losses.

    Until `update` or the callback is used for the first time, rows are drawn alike.

    Args:
        dataset: Batches `(x, y)` or `(x, y, sample_weight)`; read once and kept in memory.
        tasks: The tasks.
        batch_size: Rows in a batch.
        by: `"gradient_norm"` or `"loss"`. Defaults to `"gradient_norm"`.
        uniform: The share $u$, above 0, up to 1. Defaults to 0.2.
        loss_weights: By task, how much its loss counts, as given to `compile`. Defaults to `None`,
            for 1.
        seed: Integer of at least 0. Defaults to 0.

    Attributes:
        dataset: Batches `(x, y, sample_weight)`, as many in an epoch as the data set has rows for;
            each epoch is drawn anew, by the probabilities in force when it begins.
        probabilities: Array `(n,)`, the probabilities in force.

    Raises:
        ValueError: If the data set has no rows, lacks labels by task, or an argument is out of its
            range.

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
    is in an epoch as often as expected, rounded up or down. Where labels are missing, the loss is
    divided by the number of labels in the batch that was drawn, so that the mean is a ratio, and
    unbiased only in the limit of large batches.
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        tasks: Sequence[Task],
        *,
        batch_size: int,
        by: str = "gradient_norm",
        uniform: float = 0.2,
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
        self._tasks = {task.name: task for task in tasks if task.name in labels}
        unknown = sorted(set(labels) - set(self._tasks))
        if unknown or not set(loss_weights or {}) <= set(self._tasks):
            raise ValueError(
                "`tasks` should have all tasks of the labels and of `loss_weights`. Received: "
                f"tasks {sorted(t.name for t in tasks)}, labels {sorted(labels)}, "
                f"loss_weights={loss_weights!r}"
            )
        self._loss_weights = dict(loss_weights or {})
        self._by, self._uniform, self._seed = by, uniform, seed
        self._batch_size = batch_size
        self._rows = in_memory(dataset)
        self._count = len(tf.nest.flatten(self._rows)[0])
        self.probabilities = np.full(self._count, 1 / self._count)
        with tf.device("CPU:0"):
            self._chances = tf.Variable(self.probabilities, trainable=False, dtype="float64")
        self.dataset = self._drawn()

    def _drawn(self) -> tf.data.Dataset:
        """Epochs, each drawn by the probabilities in force when it begins."""
        import tensorflow as tf

        count = self._count

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            chances = self._chances.read_value()
            first = tf.random.stateless_uniform((), tf.stack([self._seed, number]), dtype="float64")
            points = (tf.range(count, dtype="float64") + first) / count
            chosen = tf.searchsorted(tf.cumsum(chances)[:-1], points, side="right")
            order = tf.random.experimental.stateless_shuffle(
                chosen, tf.stack([self._seed + 1, number])
            )
            weights = tf.cast(1 / (count * tf.gather(chances, order)), "float32")
            drawn = tf.data.Dataset.from_tensor_slices((order, weights))
            return drawn.batch(self._batch_size)

        def gather(chosen: tf.Tensor, weights: tf.Tensor) -> tuple:
            x, y, w = tf.nest.map_structure(lambda part: tf.gather(part, chosen), self._rows)
            return x, y, {n: part * spread(weights, part) for n, part in w.items()}

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

        @tf.function(reduce_retracing=True)
        def score(rows: Any) -> tf.Tensor:
            return self._scores(model, *rows)

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
        """A task's weighted loss of each row; over steps and pixels the mean."""
        import tensorflow as tf

        task = self._tasks[name]
        read = task.read_labels(labels)
        values = task.loss_values(task.loss, read.values, outputs)
        values = values * spread(tf.cast(weights, values.dtype), values)
        values = tf.where(read.present, values, tf.zeros_like(values))
        axes = tuple(range(1, len(values.shape)))
        present = tf.reduce_sum(tf.cast(read.present, values.dtype), axis=axes)
        loss = tf.reduce_sum(values, axis=axes) / tf.maximum(present, 1)
        return self._loss_weights.get(name, 1.0) * loss

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

        return Scoring()
