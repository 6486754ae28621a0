"""Small weights set to zero, and kept there in training."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo.analysis.simplification.channels import CONVOLUTIONS, read_channels, unit_count
from mtlzoo.analysis.simplification.redrawing import check_model, redrawn, same_seeds_after
from mtlzoo.analysis.simplification.units import norms, part_of
from mtlzoo.ensembles.members import copy_of
from mtlzoo.layers.arguments import check_rate
from mtlzoo.layers.experts import Experts
from mtlzoo.models import MultiTaskModel

_layers = keras.layers
_WITH_KERNEL = (
    *(_layers.Dense, *CONVOLUTIONS, _layers.DepthwiseConv1D, _layers.DepthwiseConv2D),
    *(_layers.EinsumDense, _layers.Conv1DTranspose, _layers.Conv2DTranspose),
    *(_layers.Conv3DTranspose, _layers.SeparableConv1D, _layers.SeparableConv2D),
)


@same_seeds_after()
def prune_weights(
    model: MultiTaskModel,
    sparsity: float,
    *,
    scope: str | Sequence[str] = "all",
    per: str = "model",
    structured: bool = False,
) -> MultiTaskModel:
    r"""A copy of a model whose weights of the least magnitude are zero (Han et al., 2015).

    Weights are those of the kernels of fully connected layers, convolutions, `EinsumDense`, models
    made of them, and `mtlzoo.layers.Experts`. Neither pruned nor counted are biases,
    normalizations, embeddings, recurrent layers such as `LSTM`, and layers of this package that
    have kernels of their own, such as `TaskAttention`, `NDDRUnit` and gates like `SoftmaxGate` (the
    gate `"softmax"` is a fully connected layer, and counts). Zeros that are there already count.
    Train the copy on with the callback `KeepZeros`, or nothing keeps them
    zero; `GradualPruning` does both in steps.

    The arrays are as large as before, and so is the time of a prediction: a kernel with zeros is
    smaller in a compressed file only. `prune_units` makes smaller arrays, and after
    `structured=True` does so with the units that are zero.

    Args:
        model: A multi-task model, which is left as it is.
        sparsity: The part of the weights that is zero, from 0 to below 1.
        scope: What is pruned: `"all"`, what is `"shared"` by tasks, what single `"tasks"` have of
            their own, or a list of tasks whose own parts are pruned. Defaults to `"all"`.
        per: `"model"`: one threshold for all kernels; `"layer"`: as many zeros in each. Defaults
            to `"model"`.
        structured: Whether whole units are set to zero, those with the least sum of absolute
            weights, as many in each layer whatever `per` says, since sums over inputs of another
            number do not compare, with their biases and what a batch normalization behind them
            adds; only of layers that `prune_units` can cut.
            Defaults to `False`.

    Returns:
        The copy, of the same class, not compiled.

    Raises:
        ValueError: For numbers out of their range, unknown tasks, and a scope without kernels.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.analysis import KeepZeros, prune_weights, sparsity_of

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(16,))
    pruned = prune_weights(model, 0.8, scope="shared")
    sparsity_of(pruned, "shared")  # 0.797 (102 of 128 weights)
    pruned.compile("adam", balancer="pcgrad")
    # pruned.fit(..., callbacks=[KeepZeros()])
    ```

    References:
        Han et al., *Learning both Weights and Connections for Efficient Neural Networks*, NeurIPS
        2015, arXiv:1506.02626.

    *Differences from the paper*: the threshold is that of a wanted sparsity, where the paper has a
    multiple of the standard deviation of each layer.
    """
    check_model(model)
    check_rate("sparsity", sparsity)
    check_per(per)
    copy = copy_of(model, preprocessor=True)
    if structured:
        _zero_units(copy, sparsity, scope)
    else:
        zero_least(kernels_of(copy, scope), sparsity, per)
    return copy


def sparsity_of(model: MultiTaskModel, scope: str | Sequence[str] = "all") -> float:
    """The part of the weights of kernels that is zero, of those that `prune_weights` prunes.

    Args:
        model: A multi-task model.
        scope: As for `prune_weights`. Defaults to `"all"`.

    Raises:
        ValueError: For unknown tasks, and a scope without kernels.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import sparsity_of

    sparsity_of(HardSharing(keras.Input((8,)), [Regression("stay")]))  # 0.0
    ```
    """
    values = [keras.ops.convert_to_numpy(kernel) for kernel in kernels_of(model, scope)]
    return sum(int((v == 0).sum()) for v in values) / sum(v.size for v in values)


def check_per(per: Any) -> None:
    """Refuse other ways of finding a threshold.

    Args:
        per: The argument.

    Raises:
        ValueError: If it is another.
    """
    if per not in ("model", "layer"):
        raise ValueError(f"`per` should be 'model' or 'layer'. Received: per={per!r}")


def kernels_of(model: MultiTaskModel, scope: str | Sequence[str]) -> list[keras.Variable]:
    """The kernels that may be pruned.

    Args:
        model: The model.
        scope: As for `prune_weights`.

    Raises:
        ValueError: For unknown tasks, and a scope without kernels.
    """
    wanted = _owners(model, scope)
    ownership = model._ownership
    found: dict[int, keras.Variable] = {}
    for layer in model._flatten_layers(include_self=False):
        for kernel in _kernels(layer):
            if wanted(ownership.of(kernel)):
                found[id(kernel)] = kernel
    if not found:
        raise ValueError(
            f"`scope` should have kernels in it. Received: scope={scope!r}, and `{model.name}` "
            "has none there"
        )
    return list(found.values())


def _kernels(layer: Any) -> list[keras.Variable]:
    if isinstance(layer, Experts):
        return list(layer.kernels)
    if isinstance(layer, _layers.SeparableConv1D | _layers.SeparableConv2D):
        return [layer.depthwise_kernel, layer.pointwise_kernel]
    return [layer.kernel] if isinstance(layer, _WITH_KERNEL) and layer.built else []


def with_biases(
    model: MultiTaskModel, scope: str | Sequence[str]
) -> list[tuple[keras.Variable, keras.Variable | None]]:
    """The kernels that may be pruned, each with the bias of its units, if that is known.

    Args:
        model: The model.
        scope: As for `prune_weights`.
    """
    allowed = {id(kernel) for kernel in kernels_of(model, scope)}
    found: dict[int, tuple[keras.Variable, keras.Variable | None]] = {}
    for layer in model._flatten_layers(include_self=False):
        biases: list[Any] = [None] * 2
        if isinstance(layer, Experts):
            biases = list(layer.biases)
        elif isinstance(layer, (_layers.Dense, *CONVOLUTIONS)):
            biases = [layer.bias]
        for kernel, bias in zip(_kernels(layer), biases, strict=False):
            if id(kernel) in allowed:
                found[id(kernel)] = kernel, bias
    return list(found.values())


def _owners(model: MultiTaskModel, scope: Any) -> Any:
    """Whether a kernel is in the scope, by the names of the tasks that depend on it."""
    if isinstance(scope, str):
        if scope not in ("all", "shared", "tasks"):
            raise ValueError(
                "`scope` should be 'all', 'shared', 'tasks' or a list of names of tasks. "
                f"Received: scope={scope!r}"
            )
        wanted = {"all": lambda n: True, "shared": lambda n: n != 1, "tasks": lambda n: n == 1}
        return lambda tasks: wanted[scope](len(tasks))
    if not isinstance(scope, list | tuple) or not scope:
        raise ValueError(
            "`scope` should be 'all', 'shared', 'tasks' or a list of names of tasks. "
            f"Received: scope={scope!r}"
        )
    for name in scope:
        if name not in model.task_names:
            raise ValueError(
                f"`scope` should name some of the tasks {list(model.task_names)}. "
                f"Received: {name!r} in scope={scope!r}"
            )
    return lambda tasks: len(tasks) == 1 and set(tasks) <= set(scope)


def zero_least(kernels: Sequence[keras.Variable], sparsity: float, per: str) -> None:
    """Set the weights of the least magnitude to zero; of equal ones, those that come first.

    Args:
        kernels: The kernels.
        sparsity: The part of them that is to be zero.
        per: Whether that holds for all together, `"model"`, or for each, `"layer"`.
    """
    for group in [kernels] if per == "model" else [[kernel] for kernel in kernels]:
        values = [keras.ops.convert_to_numpy(kernel) for kernel in group]
        flat = np.concatenate([v.ravel() for v in values])
        flat[np.argsort(np.abs(flat), kind="stable")[: part_of(sparsity, flat.size)]] = 0
        ends = np.cumsum([v.size for v in values])[:-1]
        for kernel, part in zip(group, np.split(flat, ends), strict=True):
            kernel.assign(part.reshape(kernel.shape))


def _zero_units(model: MultiTaskModel, sparsity: float, scope: Any) -> None:
    """Set units to zero, with what they read and their biases."""
    flat, pairs = redrawn(model)
    channels = read_channels(flat)
    originals = {new.name: old for old, new in pairs}
    allowed = {id(kernel) for kernel in kernels_of(model, scope)}
    done, gone = 0, [np.array([], int)]
    for name in channels.cuttable:
        layer = originals[name]
        if not all(id(kernel) in allowed for kernel in _kernels(layer)):
            continue
        done += 1
        zero = np.argsort(norms(layer), kind="stable")[: part_of(sparsity, unit_count(layer))]
        kernel = layer.kernels[-1] if isinstance(layer, Experts) else layer.kernel
        bias = layer.biases[-1] if isinstance(layer, Experts) else layer.bias
        values = keras.ops.convert_to_numpy(kernel).copy()
        parts = values.reshape(*values.shape[:-1], -1, unit_count(layer))
        parts[..., zero] = 0
        kernel.assign(parts.reshape(values.shape))
        if bias is not None:
            values = keras.ops.convert_to_numpy(bias).copy()
            values[..., zero] = 0
            bias.assign(values)
        gone.append(channels.units[name][zero])
    for new in flat.layers:
        if id(new) in channels.read:
            _zero_added(originals[new.name], np.isin(channels.read[id(new)], np.concatenate(gone)))
    if not done:
        reasons = "; ".join(f"`{name}`: {reason}" for name, reason in channels.reasons.items())
        raise ValueError(
            f"`scope` should have layers whose units can be cut. Received: scope={scope!r} "
            f"({reasons})"
        )


def _zero_added(layer: Any, entries: np.ndarray) -> None:
    """Have a layer that treats each unit alone make 0 of 0 for some units."""
    added: list[Any] = []
    if isinstance(layer, _layers.BatchNormalization):
        added = [layer.beta, layer.moving_mean]
    elif isinstance(layer, _layers.DepthwiseConv1D | _layers.DepthwiseConv2D):
        added = [layer.bias]
    for variable in added:
        if variable is not None and entries.any():
            variable.assign(np.where(entries, 0, keras.ops.convert_to_numpy(variable)))
