"""One model whose weights are made from those of several: averages and task vectors."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtlzoo.ensembles import members as m
from mtlzoo.ensembles import states
from mtlzoo.models.multi_task_model import MultiTaskModel


def average_weights(
    models: Sequence[Any],
    weights: Sequence[float] | None = None,
    *,
    like: MultiTaskModel | None = None,
) -> MultiTaskModel:
    r"""A new model whose weights are the mean of those of several models.

    Wortsman et al., *Model Soups: Averaging Weights of Multiple Fine-tuned Models Improves Accuracy
    without Increasing Inference Time*, ICML 2022; there the uniform soup.

    $$\theta = \sum_k w_k \theta_k, \qquad \sum_k w_k = 1$$

    It makes sense of models that were fine-tuned from one start, or of checkpoints of one training
    (Izmailov et al., *Averaging Weights Leads to Wider Optima and Better Generalization*, UAI
    2018). Models that were trained from different random starts are not near each other: their
    average is about as good as an untrained model. Of several such, make an `Ensemble`.

    Sums are in float64, file by file. Moving statistics of `BatchNormalization` are averaged as
    well, and are then not those of the average: call `refresh_statistics` after it. What is no
    float is that of the first model.

    Args:
        models: Models of one architecture, or paths of `.keras` files, or with `like` of
            `.weights.h5` files.
        weights: A number for each model, of any sum but 0. Defaults to ones.
        like: The model that `.weights.h5` files are of; it is not changed.

    Returns:
        A new model like the first, not compiled, with the preprocessor of the first.

    Raises:
        ValueError: For no models, other weights, or models that are not of one architecture, naming
            the variable and the model.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles import average_weights

    one, two = (
        HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=(8,)) for _ in range(2)
    )
    average_weights([one, two])
    ```

    References:
        Wortsman et al., ICML 2022, arXiv:2203.05482. Izmailov et al., UAI 2018, arXiv:1803.05407.

    *Differences from the paper*: none.
    """
    given = states.read_all(models, like)
    shares = _shares(weights, len(given))
    name, first = states.load(0, given[0], like)
    wanted = states.arrays_of(first)
    sums: dict[str, np.ndarray] = {}
    for i, share in enumerate(shares):
        label, arrays = name, wanted
        if i:
            label, model = states.load(i, given[i], like)
            arrays = states.in_order_of((name, wanted), (label, states.arrays_of(model)))
        for path, array in arrays.items():
            if is_float(array):
                sums[path] = sums.get(path, 0) + share * array.astype("float64")
    copy = m.copy_of(first, preprocessor=True)
    states.assign(copy, sums)
    return copy


def task_arithmetic(
    base: Any, models: Mapping[str, Any] | Sequence[Any], scales: Any = 0.4
) -> MultiTaskModel:
    r"""A new model from a base and what fine-tuning changed in it, added or subtracted.

    Ilharco et al., *Editing Models with Task Arithmetic*, ICLR 2023.

    $$\theta = \theta_0 + \sum_k \lambda_k (\theta_k - \theta_0)$$

    A positive $\lambda$ gives the base what the model has learned, a negative one makes it forget
    that. With one model and $\lambda = 1$ the result is the model, with 0 the base; with
    $\lambda = 1/K$ it is the mean of all. Sums are in float64. Variables are matched by path:
    those that a model lacks, heads of other tasks for instance, are left out of its difference.
    Moving statistics of `BatchNormalization` stay those of the base, since differences could make a
    variance negative: call `refresh_statistics` after it.

    Args:
        base: The model that the others were fine-tuned from, or the path of a `.keras` file.
        models: Dict by a name of one's own, or list, of the fine-tuned models or paths.
        scales: $\lambda$: one number for all, or a dict or a list with one for each model. Defaults
            to 0.4, which the paper suggests to begin with; choose it on validation data.

    Returns:
        A new model like the base, not compiled, with its preprocessor.

    Raises:
        ValueError: For no models, other scales, or variables that do not match those of the base,
            naming the variable and the model.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles import task_arithmetic

    base, tuned = (
        HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=(8,)) for _ in range(2)
    )
    task_arithmetic(base, {"harm": tuned}, scales={"harm": -1.0})
    ```

    References:
        Ilharco et al., ICLR 2023, arXiv:2212.04089.

    *Differences from the paper*: none in the sum.
    """
    (base,) = m.read([base], "base")
    if not isinstance(models, Mapping | list | tuple):
        raise ValueError(
            "`models` should be a list of one model at least, or of paths, or a dict of such. "
            f"Received: models={models!r}"
        )
    named = dict(models) if isinstance(models, Mapping) else dict(enumerate(models or ()))
    loaded = dict(zip(named, m.read(list(named.values())), strict=True))
    factors = _scales(scales, models, list(named))
    wanted, fixed = states.arrays_of(base), states.statistics_of(base)
    name = f"the base (`{base.name}`)"
    learned = {p: a for p, a in wanted.items() if is_float(a) and p not in fixed}
    sums = {path: array.astype("float64") for path, array in learned.items()}
    for key, model in loaded.items():
        label = m.label(key, model) if isinstance(key, int) else f"the model {key!r}"
        arrays = states.arrays_of(model)
        if not arrays.keys() <= wanted.keys():
            arrays = states.in_order_of((name, wanted), (label, arrays))
        for path in (path for path in learned if path in arrays):
            states.check_shape(path, (name, wanted[path]), (label, arrays[path]))
            sums[path] += factors[key] * (arrays[path].astype("float64") - wanted[path])
    copy = m.copy_of(base, preprocessor=True)
    states.assign(copy, sums)
    return copy


def is_float(array: np.ndarray) -> bool:
    """Whether these are real numbers, bfloat16 among them.

    Args:
        array: An array.

    Example:
    ```python
    import numpy as np
    from mtlzoo.ensembles.averaging import is_float

    is_float(np.ones(3))  # True
    ```
    """
    return "float" in array.dtype.name


def _shares(weights, count):
    given = [1.0] * count if weights is None else weights
    is_list = isinstance(given, list | tuple | np.ndarray) and len(given) == count
    if not is_list or not all(_is_number(w) for w in given) or not sum(given):
        raise ValueError(
            f"`weights` should be one number for each of the {count} models, and of a sum that is "
            f"not 0. Received: weights={weights!r}"
        )
    return [float(w) / float(sum(given)) for w in given]


def _scales(scales, models, keys):
    if _is_number(scales):
        return dict.fromkeys(keys, float(scales))
    given = scales
    if isinstance(scales, list | tuple) and not isinstance(models, Mapping):
        given = dict(enumerate(scales))
    fits = isinstance(given, Mapping) and given.keys() == set(keys)
    if not fits or not all(_is_number(v) for v in given.values()):
        raise ValueError(
            f"`scales` should be one number, or one for each of the models {keys}. "
            f"Received: scales={scales!r}"
        )
    return {key: float(value) for key, value in given.items()}


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and abs(float(value)) < float("inf")
