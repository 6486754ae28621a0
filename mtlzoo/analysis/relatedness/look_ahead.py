"""What a step of one task does to the losses of the others."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from mtlzoo import gradients
from mtlzoo.analysis.relatedness.sampled_matrix import SampledMatrix
from mtlzoo.gramian import dense
from mtlzoo.layers.arguments import check_number
from mtlzoo.models import optimizers
from mtlzoo.models.failures import read
from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.models.second_forward import Moved, SecondForward, assign
from mtlzoo.models.selection import taking_part

MEASURE = "look-ahead affinity"
# Relative to a loss, in float32, less than some of it is rounding.
LEAST = 1e-5


def inter_task_affinity(
    model: MultiTaskModel,
    data: Any,
    *,
    learning_rate: float | None = None,
    batches: int | None = None,
) -> SampledMatrix:
    r"""How much a step of each task on the shared variables lowers the losses of the others.

    Fifty et al., *Efficiently Identifying Task Groupings for Multi-Task Learning* (TAG), NeurIPS
    2021.

    $$Z_{i \to j} = 1 - \frac{L_j(\theta_{s|i}, \theta_j)}{L_j(\theta_s, \theta_j)}, \qquad
    \theta_{s|i} = \theta_s - \eta \nabla_{\theta_s} L_i$$

    Above zero, what task i learns helps task j; below it hurts. It is measured at the weights that
    the model has now, on each batch, and the mean over the batches is taken. Afterwards weights,
    statistics of normalization, seeds and the optimizer are what they were. On the diagonal is what
    a task does for itself. `AffinityHistory` measures while a model trains.

    Args:
        model: A compiled model with shared variables.
        data: Batches `(x, y)` or `(x, y, sample_weight)` as `fit` takes them, such as a
            `tf.data.Dataset`; or one such tuple of arrays, which is one batch.
        learning_rate: $\eta$. Defaults to `None`, that which the optimizer has now. A rate of Adam
            is a small one for a plain gradient: give 0.1, say, if a warning says so.
        batches: How many batches to measure. Defaults to `None`, all.

    Returns:
        A directed matrix with a sample for each batch; NaN where a task has no labels or a loss of
        0, and where a gradient is not finite, which is warned of.

    Raises:
        ValueError: If the model has one task only, shares nothing or runs on several replicas, a
            task has no gradient by what is shared, there is no batch, or a label is illegal.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import inter_task_affinity

    model = HardSharing(keras.Input((4,)), [Regression("a"), Regression("b")], shared_units=[8])
    model.compile("adam")
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    affinity = inter_task_affinity(model, (x, {"a": x[:, 0], "b": x[:, 0]}), learning_rate=0.1)
    affinity["a", "b"], affinity["b", "a"]
    ```

    *Differences from the paper*: A step is one of plain gradient descent, whatever the optimizer
    is, and its loss weights are the model's. Dropout draws the same masks before and after it. A
    loss below zero is compared by its absolute value, so that above zero still is help.
    """
    look = LookAhead(model, learning_rate)
    return look.matrix(look.on(batch) for batch in first_batches(data, batches))


class LookAhead:
    """Measures look-ahead affinities at the present weights of a model, and leaves no trace.

    Args:
        model: A compiled model.
        learning_rate: Of the steps. `None` for that of the optimizer.
    """

    def __init__(self, model: MultiTaskModel, learning_rate: float | None = None) -> None:
        check_model(model)
        self.model, self._step = model, model._step
        if learning_rate is not None:
            check_number("learning_rate", learning_rate, "a positive number or None", least=1e-30)
        self._rate = learning_rate
        self._sources = model.shared_variables
        self._warned = self._warned_of_lost = False
        self._measure: Any = self._on_batch
        if not model.run_eagerly:
            self._measure = tf.function(self._on_batch, reduce_retracing=True, autograph=False)

    def on(self, batch: Any) -> np.ndarray:
        """The affinities on one batch.

        Args:
            batch: `(x, y)` or `(x, y, sample_weight)`.

        Returns:
            (T, T), float64; NaN where a task has no labels, a loss of 0 or no finite gradient.
        """
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        x, y, weight = tf.nest.map_structure(
            lambda t: None if t is None else tf.convert_to_tensor(t), (x, y, weight)
        )
        layers = self.model._flatten_layers(include_self=False)
        # What is measured puts everything back itself, unless an operation fails in between.
        before = [*Moved(layers).values, *((v, read(v)) for v in self._sources)]
        try:
            affinities, illegal, lost = self._measure(x, y, weight, self._learning_rate())
        finally:
            assign(before)
            self.model._clear_losses()  # of regularizers, which are tensors of another graph
        for name, count in zip(self.model.task_names, illegal.numpy(), strict=True):
            if count:
                raise ValueError(
                    f"Labels of task `{name}` should be legal. Received: {int(count)} that are not"
                )
        tasks = [
            n for n, is_lost in zip(self.model.task_names, lost.numpy(), strict=True) if is_lost
        ]
        if tasks and not self._warned_of_lost:
            self._warned_of_lost = True
            logging.warning(
                "A step of the tasks %s gives no finite loss, so that their affinities are not "
                "known. In half precision, gradients overflow until training has lowered the loss "
                "scale: measure after some steps of it.",
                tasks,
            )
        return affinities.numpy()

    def matrix(self, samples: Iterable[np.ndarray]) -> SampledMatrix:
        """The mean of affinities.

        Args:
            samples: What `on` gave.

        Raises:
            ValueError: If there are none.
        """
        found = list(samples)
        if not found:
            raise ValueError("`data` should have a batch at least. Received: none")
        matrix = SampledMatrix(self.model.task_names, found, MEASURE, sampled="batches")
        own = np.abs(np.diag(matrix.values))
        if not self._warned and np.any(own < LEAST):  # never true of NaN
            self._warned = True
            logging.warning(
                "A step with the learning rate %g changes the own loss of a task by less than "
                "%g of it, so that affinities are partly rounding: give a greater `learning_rate`.",
                float(self._learning_rate()),
                LEAST,
            )
        return matrix

    def _learning_rate(self) -> tf.Tensor:
        rate = self._rate
        if rate is None:
            rate = getattr(self.model.optimizer, "learning_rate", None)
        if rate is None:
            raise ValueError(
                "`learning_rate` should be a number where the optimizer has several rates. "
                "Received: learning_rate=None"
            )
        return tf.cast(keras.ops.convert_to_tensor(rate), "float32")

    def _on_batch(self, x, y, sample_weight, rate):
        """The affinities, how many labels are illegal by task, and which tasks have no affinity."""
        step, objectives = self._step, self._step.objectives
        every = np.ones(len(objectives.names), "bool")
        active = taking_part(read(step.mask), read(step.factors), every)
        rows = tf.shape(keras.tree.flatten(x)[0])[0]
        batches = objectives.read(y, sample_weight, rows)
        batches = {n: b.masked(on) for (n, b), on in zip(batches.items(), active, strict=True)}
        counts, illegal = (
            tf.stack([tf.math.count_nonzero(mask, dtype="float32") for mask in masks])
            for masks in zip(*((b.present, b.invalid) for b in batches.values()), strict=True)
        )
        divisors = tf.unstack(tf.maximum(counts, 1))

        def shares(outputs):
            each = zip(batches.items(), divisors, strict=True)
            found = [objectives.loss_share(n, b, outputs[n], count) for (n, b), count in each]
            # The differences between two losses are small.
            return [tf.cast(share, "float64") for share in found]

        runner = self.model.runner()
        again = SecondForward(runner)
        recording = gradients.record(
            lambda watch: (shares(runner(x, training=True)), None),
            counts > 0,
            step._loss_weights(),
        )
        scale = optimizers.loss_scale(self.model.optimizer)
        unscaled = rate if scale is None else rate / tf.cast(scale, rate.dtype)
        variables = gradients.Variables(self._sources, [[] for _ in objectives.names])
        by_task = gradients.task_gradients(recording, variables, scale).shared
        start = [read(v) for v in self._sources]
        lowered = []  # of each loss, by which part a step of each task lowers it
        before = recording.unweighted
        for name, found in zip(objectives.names, by_task, strict=True):
            if all(gradient is None for gradient in found):
                raise ValueError(
                    f"`model` should have shared variables by which the loss of task `{name}` has "
                    "a gradient, not behind a `stop_gradient`; else compare the tasks by "
                    "`pairwise_gains`. Received: a task without gradient"
                )
            for variable, value, gradient in zip(self._sources, start, found, strict=True):
                if gradient is not None:
                    variable.assign(value - tf.cast(unscaled, value.dtype) * dense(gradient))
            lowered.append((before - tf.stack(shares(again(x)))) / tf.abs(before))
            assign(list(zip(self._sources, start, strict=True)))
        known = recording.present & (before != 0)
        pairs = known[:, None] & known[None, :]
        affinities = tf.where(pairs, tf.stack(lowered), float("nan"))
        lost = known & ~tf.math.is_finite(tf.linalg.diag_part(affinities))
        return affinities, illegal, lost


def check_model(model: Any, argument: str = "model") -> None:
    """Refuse what has no look-ahead.

    Args:
        model: What was given.
        argument: Its name, for messages.

    Raises:
        ValueError: If it is no compiled model of several tasks that shares something.
    """
    if not isinstance(model, MultiTaskModel):
        raise ValueError(
            f"`{argument}` should be a multi-task model. Received: {argument}={model!r}"
        )
    replicas = model._step.model.distribute_strategy.num_replicas_in_sync  # or: not compiled
    if len(model.task_names) < 2:
        raise ValueError(
            f"`{argument}` should have two tasks or more; compare models of one task by "
            f"`representation_similarity`. Received: the task {list(model.task_names)} only"
        )
    if not model.shared_variables:
        raise ValueError(
            f"`{argument}` should have variables that several tasks depend on; without any, use "
            "`representation_similarity` or `pairwise_gains`. Received: a model that shares nothing"
        )
    if replicas > 1:
        raise ValueError(
            f"`{argument}` should run on one replica, since a look-ahead changes variables in "
            f"between. Received: a model on {replicas} replicas"
        )


def first_batches(data: Any, count: int | None) -> Iterator[Any]:
    """The first batches of data.

    Args:
        data: Batches, or one as a tuple.
        count: How many at most. `None` for all.

    Raises:
        ValueError: If `data` has no batches of inputs and labels.
    """
    whole = isinstance(count, int) and not isinstance(count, bool) and count > 0
    if count is not None and not whole:
        raise ValueError(
            f"`batches` should be a positive integer or None. Received: batches={count!r}"
        )
    for number, batch in enumerate([data] if is_batch(data) else data):
        if count is not None and number == count:
            return
        if not is_batch(batch):
            raise ValueError(
                "`data` should have batches of inputs and labels, `(x, y)` or `(x, y, "
                f"sample_weight)`. Received: a batch of type {type(batch).__name__}"
            )
        yield batch


def is_batch(given: Any) -> bool:
    """Whether something is a batch, `(x, y)` or `(x, y, sample_weight)`."""
    return isinstance(given, Sequence) and len(given) in {2, 3} and isinstance(given[1], Mapping)
