"""Statistics of normalization, estimated anew for weights that were not trained."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.models.multi_task_model import MultiTaskModel


def refresh_statistics(
    model: MultiTaskModel, data: Any, *, batch_size: int = 32, steps: int | None = None
) -> int:
    r"""Estimate the moving statistics of every `BatchNormalization` anew, from data.

    Izmailov et al., *Averaging Weights Leads to Wider Optima and Better Generalization*, UAI 2018.

    Averaged weights have features whose mean and variance are not the average of those of the
    models. All rows are run once as in training; with the means $\mu_b$ and variances $v_b$ of
    batches of $n_b$ rows,

    $$\mu = \frac{1}{n} \sum_b n_b \mu_b, \qquad
    v = \frac{1}{n} \sum_b n_b (v_b + \mu_b^2) - \mu^2.$$

    Nothing else changes: weights, other statistics and the state of dropout's generators stay, and
    layers that are not trainable, which normalize with what they have, keep it.

    Args:
        model: The model; its statistics are assigned.
        data: Training rows: a `tf.data.Dataset` or an iterable of batches `x`, `(x, y)` or
            `(x, y, sample_weight)`, of which only `x` is read; or the arrays `x`. Batches should
            be as large as those of the training.
        batch_size: Rows in a batch of arrays. Defaults to 32.
        steps: How many batches at most. Defaults to all.

    Returns:
        How many layers have new statistics.

    Raises:
        ValueError: For another model, a tuple of arrays, or data without rows.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import MultiTaskModel, Regression
    from mtlzoo.ensembles import refresh_statistics

    inputs = keras.Input((4,))
    task = Regression("stay")
    features = keras.layers.BatchNormalization()(inputs)
    model = MultiTaskModel(inputs, {"stay": task.head(features)}, tasks=[task])
    refresh_statistics(model, np.ones((64, 4)))  # 1
    ```

    References:
        Izmailov et al., UAI 2018, arXiv:1803.05407.

    *Differences from the paper*: batches count by their rows, and the variance is that of all rows,
    not the mean of those within batches. Dropout is as in training, as in the paper's code.
    """
    if not isinstance(model, MultiTaskModel):
        raise ValueError(f"`model` should be a `MultiTaskModel`. Received: model={model!r}")
    check_rows("data", data)
    layers = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    if not layers:
        return 0
    others = list(model.non_trainable_variables)
    before = [keras.ops.convert_to_numpy(v) for v in others]
    momenta = [layer.momentum for layer in layers]
    moving = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    try:
        for layer in layers:
            layer.momentum = 0.0  # then the moving statistics are those of the batch
        sums, rows = _sums(model, moving, _batches(data, batch_size, steps))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for variable, value in zip(others, before, strict=True):
            variable.assign(value)
    if not rows:
        raise ValueError(f"`data` should have rows. Received: data={data!r}")
    for layer, (mean, square) in zip(layers, zip(sums[::2], sums[1::2], strict=True), strict=True):
        mean, square = mean / rows, square / rows
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(np.maximum(square - mean**2, 0))
    return len(layers)


def check_rows(argument: str, data: Any) -> None:
    """Refuse a tuple of arrays, which would be taken for batches.

    Args:
        argument: Its name, for the message.
        data: What should be rows for `refresh_statistics`.

    Raises:
        ValueError: For a tuple.

    Example:
    ```python
    import numpy as np
    from mtlzoo.ensembles.statistics import check_rows

    check_rows("data", np.ones((8, 4)))
    ```
    """
    if isinstance(data, tuple):
        raise ValueError(
            f"`{argument}` should be a `tf.data.Dataset` or another iterable of batches, or the "
            f"arrays `x` alone. Received: {argument}=a tuple of {len(data)}"
        )


def _sums(model, moving, batches):
    """Over all rows the sums of means, and of second moments, of each layer in turn."""
    run = tf.function(lambda x: model(x, training=True), reduce_retracing=True)
    sums, rows = [np.zeros(tuple(v.shape)) for v in moving], 0
    for x in batches:
        count = int(keras.tree.flatten(x)[0].shape[0])
        if not count:
            continue
        run(keras.tree.map_structure(tf.convert_to_tensor, x))
        found = [keras.ops.convert_to_numpy(v).astype("float64") for v in moving]
        for i in range(0, len(found), 2):
            sums[i] += count * found[i]
            sums[i + 1] += count * (found[i + 1] + found[i] ** 2)
        rows += count
    return sums, rows


def _batches(data, batch_size, steps):
    """The inputs, batch by batch."""
    is_arrays = hasattr(data, "shape") or isinstance(data, Mapping)
    if is_arrays:
        data = tf.data.Dataset.from_tensor_slices(data).batch(batch_size)
    for i, batch in enumerate(data):
        if steps is not None and i >= steps:
            return
        yield keras.utils.unpack_x_y_sample_weight(batch)[0]
