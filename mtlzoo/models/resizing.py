"""Features of one stage at the positions of another."""

from typing import Any

import keras

from mtlzoo.models import graph

# What unknown sizes of inputs are taken to be, to see what becomes of them. Both of a pair agree
# with "divided by a power of two, rounded up" only if every size does. The larger ones are for
# networks that take no less.
_TRIED = ((64, 33), (4096, 2049))


def resized(features: Any, target: Any, kind: str, name: str, dtype: Any) -> Any:
    """Draw what brings features to the positions of another tensor: pooling or repeating.

    Where sizes are not known, it is what does so for inputs of two different sizes.

    Args:
        features: symbolic tensor `(batch, ..., channels)`.
        target: the other tensor, of the same graph, whose channels do not matter. Of a vector it
            has no positions: then all are pooled.
        kind: `"Max"` or `"Average"`.
        name: name of the layer, if one is needed.
        dtype: its dtype policy.

    Raises:
        ValueError: if no pooling and no repeating leads to these positions.
    """
    layers, rank = keras.layers, len(features.shape) - 2
    if rank and len(target.shape) == 2:
        pool = getattr(layers, f"Global{kind}Pooling{rank}D")
        return pool(name=name, dtype=dtype)(features)
    axes = _sizes(features, target)
    if all(m == n for axis in axes for m, n in axis):
        return features

    def fits(made: Any) -> bool:
        """Whether the sizes that are made of m, by axis and its number, are those wanted."""
        return all(made(m, i) == n for i, axis in enumerate(axes) for m, n in axis)

    factors = [axis[0][1] // axis[0][0] for axis in axes]
    if fits(lambda m, i: m * factors[i]):
        repeat = getattr(layers, f"UpSampling{rank}D")
        return repeat(factors[0] if rank == 1 else factors, name=name, dtype=dtype)(features)
    pool = getattr(layers, f"{kind}Pooling{rank}D")
    strides = [-(-axis[0][0] // axis[0][1]) for axis in axes]
    if fits(lambda m, i: -(-m // strides[i])):
        return pool(strides, strides, padding="same", name=name, dtype=dtype)(features)
    strides = [axis[0][0] // axis[0][1] for axis in axes]
    if len(axes[0]) > 1 or 0 in strides:
        raise ValueError(
            "Maps of a stage should be a whole number of times as large as those of the one "
            "before, or smaller; where sizes are not known, a whole number of times smaller, "
            f"rounded up. Received: shape {features.shape} before shape {target.shape}"
        )
    # Windows that overlap a little reach every size.
    sizes = [m - (n - 1) * s for ((m, n),), s in zip(axes, strides, strict=True)]
    return pool(sizes, strides, name=name, dtype=dtype)(features)


def same_positions(one: Any, other: Any) -> bool:
    """Whether two tensors of a graph have the same positions, also where sizes are not known."""
    if one.shape[:-1] != other.shape[:-1]:
        return False
    return all(m == n for axis in _sizes(one, other) for m, n in axis)


def _sizes(features: Any, target: Any) -> list[list[tuple[Any, Any]]]:
    """By axis of positions, the pair of the sizes of two tensors.

    There are several where one is not known: what they are for inputs of several sizes.
    """
    old, new = features.shape[1:-1], target.shape[1:-1]
    pairs = list(zip(old, new, strict=False))
    alike = len(old) == len(new) and all((m is None) == (n is None) for m, n in pairs)
    if alike and None not in old:
        return [[pair] for pair in pairs]
    for sizes in _TRIED if alike else ():
        try:
            return _sizes_for(sizes, features, target)
        except Exception:  # whatever a layer raises that takes no such sizes
            continue
    if old == new:  # as far as one can see
        return [[pair] for pair in pairs]
    raise ValueError(
        "Stages should have maps of known size, as many dimensions in each, or vectors after "
        f"maps. Received: features of shape {features.shape} before some of shape {target.shape}"
    )


def _sizes_for(sizes: tuple[int, ...], features: Any, target: Any) -> list[list[tuple[Any, Any]]]:
    """The pairs for inputs of these sizes, where those are not known."""
    inputs = graph.inputs_of([features, target])
    network = keras.Function(inputs, [features, target])
    by_size = []
    for size in sizes:
        shapes = [[t.shape[0], *(size if s is None else s for s in t.shape[1:])] for t in inputs]
        known = [keras.KerasTensor(s, t.dtype) for s, t in zip(shapes, inputs, strict=True)]
        one, other = network.compute_output_spec(known)
        if None in (*one.shape[1:], *other.shape[1:]):
            raise ValueError("a size is not known before a layer runs")
        by_size.append(list(zip(one.shape[1:-1], other.shape[1:-1], strict=True)))
    return [list(axis) for axis in zip(*by_size, strict=True)]
