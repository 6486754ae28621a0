"""Fewer units and filters: layers whose arrays are really smaller."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from mtlzoo.analysis.simplification.channels import (
    FIXED,
    Channels,
    has_units,
    read_channels,
)
from mtlzoo.analysis.simplification.redrawing import (
    Replacement,
    check_model,
    redrawn,
    same_seeds_after,
)
from mtlzoo.layers.arguments import check_rate
from mtlzoo.layers.experts import Experts
from mtlzoo.models import MultiTaskModel, graph


def cuttable_units(model: MultiTaskModel) -> dict[str, str]:
    """Which layers `prune_units` can cut, and why not the others.

    Args:
        model: A multi-task model.

    Returns:
        By name of each fully connected or convolutional layer, and of each bank of experts, an
        empty text where it can be cut, else the reason. Layers of models inside the model are
        among them.

    Raises:
        ValueError: If `model` is no such model, or cannot be made again.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import cuttable_units

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=(8,))
    reasons = cuttable_units(model)
    reasons["shared_0"]  # ""
    reasons["stay"]  # "it puts out the answer of the task `stay`"
    ```
    """
    flat, _ = redrawn(check_model(model))
    channels = read_channels(flat)
    return {name: channels.reasons.get(name, "") for name in channels.layers}


@same_seeds_after()
def prune_units(
    model: MultiTaskModel,
    fraction: float | Mapping[str, float],
    *,
    layers: Sequence[str] | None = None,
    by: str = "norm",
    x: Any = None,
    batch_size: int | None = None,
) -> MultiTaskModel:
    """A smaller model, without the units and filters that matter least (Li et al., 2017).

    Of each layer the units with the least score go, their row of the kernel and of the bias, the
    entries of batch normalizations after them, and what later layers do with them. All other
    weights are those of the model, which is left as it is. What goes counts as if it put out 0,
    behind batch normalizations and activations that are not 0 for 0, too: answers are the same
    where it did, and change otherwise, so train the smaller model on for a while.

    Fully connected layers, convolutions and banks of `mtlzoo.layers.Experts` can be cut, where
    their units reach only fully connected layers, convolutions and experts, through activations,
    batch normalization, dropout, pooling, flattening or joining. The last layer of all experts of
    a bank loses the same units, since a mixture adds them up. `cuttable_units` says what can be
    cut; what a residual addition, an attention or a stack of networks reads, cannot.

    Args:
        model: A multi-task model. Models inside it are taken apart.
        fraction: How much of each layer goes, from 0 to below 1, rounded down to whole units; or a
            dict by name of a layer.
        layers: Names of the layers to cut. Defaults to all that can be.
        by: `"norm"`, the sum of the absolute weights of a unit (of a bank, of all experts), or
            `"activation"`, its mean absolute output on `x`. Defaults to `"norm"`.
        x: Inputs as for `model.predict`, for `by="activation"`. Defaults to `None`.
        batch_size: As for `predict`. Defaults to `None`.

    Returns:
        A plain `MultiTaskModel` with the same tasks and preprocessor, not compiled.

    Raises:
        ValueError: For an unknown layer or one that cannot be cut, with the reason; for numbers
            out of their range; and if no layer can be cut.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.analysis import prune_units

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(16, 16))
    prune_units(model, 0.5).count_params() < model.count_params() / 2  # True
    ```

    References:
        Li et al., *Pruning Filters for Efficient ConvNets*, ICLR 2017, arXiv:1608.08710.

    *Differences from the paper*: fully connected layers and experts too; all layers are cut at
    once; additions of residual networks are left alone; and scores may be those of activations.
    """
    flat, _ = redrawn(check_model(model))
    channels = read_channels(flat)
    fractions = _fractions(channels, fraction, layers)
    scores = _scores(flat, channels, list(fractions), by, x, batch_size)
    removed = [np.array([], int)]
    for name, share in fractions.items():
        count = part_of(share, len(scores[name]))
        removed.append(channels.units[name][np.argsort(scores[name], kind="stable")[:count]])
    new, _ = redrawn(flat, _smaller(channels, flat, np.concatenate(removed)))
    logging.info(
        "`%s`: %d of %d parameters are left after units of %s went.",
        *(model.name, new.count_params(), flat.count_params(), sorted(fractions)),
    )
    return new


def part_of(share: float, count: int) -> int:
    """A part of a number of things, rounded down; 0.29 of 100 are 29, whatever floats say.

    Args:
        share: The part, from 0 to 1.
        count: The number.
    """
    return math.floor(share * count + 1e-9)


def _fractions(channels: Channels, fraction: Any, layers: Any) -> dict[str, float]:
    """By name of a layer that is cut, what goes of it."""
    if isinstance(fraction, Mapping):
        if layers is not None:
            raise ValueError(
                "`layers` should be None where `fraction` is a dict by layer. "
                f"Received: layers={layers!r}"
            )
        given = {n: check_rate(f"fraction[{n!r}]", share) for n, share in fraction.items()}
        argument = "fraction"
    else:
        share = check_rate("fraction", fraction)
        argument = "layers"
        if isinstance(layers, str) or not isinstance(layers, Sequence | None):
            raise ValueError(f"`layers` should be a list of names. Received: layers={layers!r}")
        given = dict.fromkeys(channels.cuttable if layers is None else layers, share)
    for name in given:
        if name not in channels.layers:
            raise ValueError(
                f"`{argument}` should name layers with units, {list(channels.layers)}. "
                f"Received: {name!r}"
            )
        if name in channels.reasons:
            raise ValueError(
                f"`{argument}` should name layers that can be cut. Received: {name!r}, but "
                f"{channels.reasons[name]}"
            )
    if not given:
        reasons = "; ".join(f"`{name}`: {reason}" for name, reason in channels.reasons.items())
        raise ValueError(
            "`model` should have a layer whose units can be cut. Received: one without "
            f"({reasons or 'it has no layer with units'})"
        )
    return given


def _scores(flat, channels, names, by, x, batch_size) -> dict[str, np.ndarray]:
    """By name of a layer, how much each of its units matters."""
    if by == "norm":
        if x is not None:
            raise ValueError('`x` should be None where `by="norm"`. Received: inputs')
        return {name: norms(channels.layers[name]) for name in names}
    if by != "activation":
        raise ValueError(f"`by` should be 'norm' or 'activation'. Received: by={by!r}")
    if x is None:
        raise ValueError('`x` should be inputs where `by="activation"`. Received: x=None')
    tensors = {name: graph.outputs_of(flat, channels.layers[name]) for name in names}
    network = keras.Model(flat.input, tensors)
    outputs = network.predict(x, batch_size=batch_size, verbose=0)
    return {
        name: np.mean([np.abs(o).mean(tuple(range(o.ndim - 1))) for o in outputs[name]], axis=0)
        for name in names
    }


def norms(layer: Any) -> np.ndarray:
    """The sum of the absolute weights of each unit.

    Args:
        layer: One that `has_units`.
    """
    kernel = np.abs(layer.kernels[-1] if isinstance(layer, Experts) else layer.kernel)
    if isinstance(layer, Experts) and kernel.ndim == 2:  # of a single layer, side by side
        kernel = kernel.reshape(len(kernel), layer.num_experts, -1)
    return kernel.sum(tuple(range(kernel.ndim - 1)))


def _smaller(channels: Channels, flat: Any, removed: np.ndarray) -> dict[int, Replacement]:
    """The layers that something is cut from, without it."""
    found = {}
    for layer in flat.layers:
        ids = channels.read.get(id(layer))
        if ids is None:
            continue
        rows = (ids == FIXED) | ~np.isin(ids, removed)
        columns = np.ones(0, bool)
        if has_units(layer):
            columns = ~np.isin(channels.units[layer.name], removed)
        if not (rows.all() and columns.all()):
            found[id(layer)] = _cut(layer, rows, columns)
    return found


def _cut(layer: Any, rows: np.ndarray, columns: np.ndarray) -> Replacement:
    """A layer that reads some of the units, and has some of its own."""
    config, weights = layer.get_config(), layer.get_weights()
    layers = keras.layers
    if isinstance(layer, layers.BatchNormalization):
        weights = [values[rows] for values in weights]
    elif isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
        kernel, *bias = weights
        weights = [kernel[..., rows, :], *(values[rows] for values in bias)]
    elif isinstance(layer, Experts):
        weights = _cut_experts(layer, weights, rows, columns)
        config["units"] = [*layer.units[:-1], int(columns.sum())]
    else:
        kernel, *bias = weights
        weights = [kernel[..., rows, :][..., columns], *(values[columns] for values in bias)]
        config["units" if isinstance(layer, layers.Dense) else "filters"] = int(columns.sum())
    return Replacement([type(layer).from_config(config)], [weights])


def _cut_experts(layer: Experts, weights: list, rows: np.ndarray, columns: np.ndarray) -> list:
    by_name = {variable.name: i for i, variable in enumerate(layer.weights)}
    last = len(layer.units) - 1
    first = by_name["kernel_0"]
    weights = [*weights]
    weights[first] = weights[first][rows]
    of_all = np.tile(columns, layer.num_experts) if last == 0 else columns
    for key in (f"kernel_{last}", f"bias_{last}"):
        own = of_all if key == "kernel_0" else columns
        weights[by_name[key]] = weights[by_name[key]][..., own]
    return weights
