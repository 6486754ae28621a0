"""Features of one stage at the positions of another."""

from collections.abc import Sequence
from typing import Any

import keras


def resized(features: Any, shape: Sequence[int | None], kind: str, name: str, dtype: Any) -> Any:
    """Draw what brings features to the positions of another tensor: pooling or repeating.

    Args:
        features: symbolic tensor `(batch, ..., channels)`.
        shape: the shape of the other tensor, whose channels do not matter. Of a vector it has no
            positions: then all are pooled.
        kind: `"Max"` or `"Average"`.
        name: name of the layer, if one is needed.
        dtype: its dtype policy.

    Raises:
        ValueError: if no pooling and no repeating leads to these positions.
    """
    old, new = features.shape[1:-1], tuple(shape[1:-1])
    layers, rank = keras.layers, len(old)
    if old == new:
        return features
    if not new:
        pool = getattr(layers, f"Global{kind}Pooling{rank}D")
        return pool(name=name, dtype=dtype)(features)
    if len(new) != rank or None in (*old, *new):
        raise ValueError(
            "Stages should have maps of known size, as many dimensions in each, or vectors after "
            f"maps. Received: features of shape {features.shape} before some of shape {shape}"
        )
    pairs: list[tuple[Any, Any]] = list(zip(old, new, strict=True))
    if all(n % m == 0 for m, n in pairs):
        repeat = getattr(layers, f"UpSampling{rank}D")
        size = [n // m for m, n in pairs]
        return repeat(size[0] if rank == 1 else size, name=name, dtype=dtype)(features)
    pool = getattr(layers, f"{kind}Pooling{rank}D")
    strides = [-(-m // n) for m, n in pairs]
    if all(-(-m // s) == n for (m, n), s in zip(pairs, strides, strict=True)):
        return pool(strides, strides, padding="same", name=name, dtype=dtype)(features)
    strides = [m // n for m, n in pairs]
    if 0 in strides:
        raise ValueError(
            "Maps of a stage should be a whole number of times as large as those of the one "
            f"before, or smaller. Received: shape {features.shape} before shape {shape}"
        )
    # Windows that overlap a little reach every size.
    sizes = [m - (n - 1) * s for (m, n), s in zip(pairs, strides, strict=True)]
    return pool(sizes, strides, name=name, dtype=dtype)(features)
