"""Kernels as products of two smaller ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from mtlzoo.analysis.simplification.channels import CONVOLUTIONS
from mtlzoo.analysis.simplification.redrawing import (
    Replacement,
    check_model,
    redrawn,
    same_seeds_after,
)
from mtlzoo.layers.arguments import check_count, check_number
from mtlzoo.layers.experts import Experts
from mtlzoo.models import MultiTaskModel


@same_seeds_after()
def factorize(
    model: MultiTaskModel,
    rank: int | Mapping[str, int] | None = None,
    *,
    energy: float | None = None,
    layers: Sequence[str] | None = None,
) -> MultiTaskModel:
    r"""A smaller model with kernels of low rank (Denton et al., 2014).

    A kernel $W$ of $m \times n$ with the singular values $\sigma_1 \ge \sigma_2 \ge \ldots$ becomes
    the product $AB$ of $m \times r$ and $r \times n$ that is nearest to it (Eckart and Young):

    $$\lVert W - AB \rVert_F^2 = \sum_{i > r} \sigma_i^2.$$

    A fully connected layer `name` becomes `name_down`, of $r$ units without bias and activation,
    and `name`; where a layer has that name already, it is `name_down_again`. Of a convolution,
    whose kernel counts as one of $m$ = window × channels, the first is a convolution with $r$
    filters and the second one of 1 × 1. Before a bank of `mtlzoo.layers.Experts` stands one
    `name_down` for all experts. Only what gets smaller so is changed, $r (m + n) < m n$. A
    regularizer or constraint of a kernel stays with the second factor alone. The model is left as
    it is.

    Args:
        model: A multi-task model. Models inside it are taken apart.
        rank: The rank $r$, or a dict by name of a layer. Defaults to `None`: by `energy`.
        energy: From above 0 to 1, the part of $\sum_i \sigma_i^2$ that the least rank keeps.
            Defaults to `None`: by `rank`.
        layers: Names of layers. Defaults to all that get smaller.

    Returns:
        A plain `MultiTaskModel` with the same tasks and preprocessor, not compiled.

    Raises:
        ValueError: If neither or both of `rank` and `energy` are given; for an unknown layer, or
            a named one that cannot be factored or would not get smaller; and if none does.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.analysis import factorize

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((64,)), tasks, shared_units=(64,))
    factorize(model, rank=8).count_params()  # 64 * 8 + 8 * 64 + 64, and the heads
    ```

    References:
        Denton et al., *Exploiting Linear Structure Within Convolutional Networks for Efficient
        Evaluation*, NeurIPS 2014, arXiv:1404.0736.

    *Differences from the paper*: a convolution is one matrix, where the paper has two rounds of
    factoring along other axes; nothing is trained in between.
    """
    flat, _ = redrawn(check_model(model))
    if (rank is None) == (energy is None):
        raise ValueError(
            "`rank` or `energy` should be given, and not both. "
            f"Received: rank={rank!r}, energy={energy!r}"
        )
    if energy is not None and not 0 < check_number("energy", energy) <= 1:
        raise ValueError(f"`energy` should be above 0 and at most 1. Received: energy={energy!r}")
    if isinstance(rank, Mapping) and layers is not None:
        raise ValueError(
            f"`layers` should be None where `rank` is a dict by layer. Received: layers={layers!r}"
        )
    if isinstance(rank, Mapping):
        ranks: dict[str, Any] = {n: check_count(f"rank[{n!r}]", r) for n, r in rank.items()}
        named = True
    else:
        if rank is not None:
            check_count("rank", rank)
        if isinstance(layers, str) or not isinstance(layers, Sequence | None):
            raise ValueError(f"`layers` should be a list of names. Received: layers={layers!r}")
        named = layers is not None
        ranks = dict.fromkeys([la.name for la in flat.layers] if layers is None else layers, rank)
    by_name = {layer.name: layer for layer in flat.layers}
    replacements, kept, taken = {}, {}, set(by_name)
    for name, wanted in ranks.items():
        reason = f"the model has no such layer, but {list(by_name)}"
        if name in by_name:
            reason, factors = _factors(by_name[name], wanted, energy)
            if not reason:
                replacements[id(by_name[name])] = _in_two(by_name[name], taken, *factors)
                kept[name] = factors[0].shape[1]
        if reason and named:
            raise ValueError(
                f"`{'rank' if isinstance(rank, Mapping) else 'layers'}` should name layers whose "
                f"kernels get smaller. Received: {name!r}, but {reason}"
            )
    if not replacements:
        raise ValueError(
            f"`{'rank' if energy is None else 'energy'}` should be lower: no kernel of "
            f"`{model.name}` would get smaller. Received: rank={rank!r}, energy={energy!r}"
        )
    new, _ = redrawn(flat, replacements)
    logging.info(
        "`%s`: %d of %d parameters are left with the ranks %s.",
        *(model.name, new.count_params(), flat.count_params(), kept),
    )
    return new


def _factors(layer: Any, rank: int | None, energy: float | None) -> tuple[str, tuple]:
    """Why not, or the two factors of the kernel, `(m, r)` and `(r, n)`."""
    if isinstance(layer, Experts):
        kernel = layer.kernels[0]
    elif type(layer) is keras.layers.Dense or type(layer) in CONVOLUTIONS:
        kernel = layer.kernel
    else:
        return f"it is a {type(layer).__name__}", ()
    if getattr(layer, "groups", 1) != 1:
        return f"it has {layer.groups} groups", ()
    values = keras.ops.convert_to_numpy(kernel).astype("float64")
    matrix = values.reshape(-1, values.shape[-1])
    left, singular, right = np.linalg.svd(matrix, full_matrices=False)
    if rank is None:
        kept = np.cumsum(singular**2)
        rank = int(np.searchsorted(kept, energy * kept[-1] * (1 - 1e-12)) + 1)
    m, n = matrix.shape
    if rank * (m + n) >= m * n:
        return f"its {m} x {n} numbers would be {rank} x ({m} + {n})", ()
    roots = np.sqrt(singular[:rank])
    return "", (left[:, :rank] * roots, roots[:, None] * right[:rank])


def _in_two(layer: Any, taken: set[str], down: np.ndarray, up: np.ndarray) -> Replacement:
    """Two layers that compute what one did with the product of the factors as its kernel.

    The name of the first is added to those that are taken.
    """
    name = f"{layer.name}_down"
    while name in taken:
        name = f"{name}_again"
    taken.add(name)
    config, (_, *others) = layer.get_config(), layer.get_weights()
    rank = down.shape[1]
    common = {key: config[key] for key in ("trainable", "dtype")}
    common |= {"name": name, "use_bias": False}
    if not isinstance(layer, CONVOLUTIONS):
        first = keras.layers.Dense(rank, **common)
        second = type(layer).from_config(config)
        return Replacement([first, second], [[down], [up, *others]])
    placed = ("kernel_size", "strides", "padding", "dilation_rate", "data_format")
    first = type(layer)(rank, **common, **{key: config[key] for key in placed})
    ones = (1,) * len(layer.kernel_size)
    beside = {"kernel_size": ones, "strides": ones, "padding": "valid", "dilation_rate": ones}
    second = type(layer).from_config({**config, **beside})
    window = (*layer.kernel.shape[:-1], rank)
    shape = (*ones, rank, up.shape[1])
    return Replacement([first, second], [[down.reshape(window)], [up.reshape(shape), *others]])
