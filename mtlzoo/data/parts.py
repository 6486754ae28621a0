"""Dividing rows into named parts, groups whole, without any further package; checking them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np


def assign_parts(
    groups: Sequence[Hashable],
    shares: Mapping[str, float],
    rng: np.random.Generator,
    strata: Sequence[str] | None = None,
) -> np.ndarray:
    """Divide rows into parts, groups whole, each stratum by the same shares.

    The groups of a stratum are dealt in random order, larger ones first, each to the part that
    lacks most. A group that is in several strata counts to that of its first row.

    Args:
        groups: of each row, its group.
        shares: by part its share of the rows.
        rng: where the order comes from.
        strata: of each row, its stratum. Defaults to one for all.

    Returns:
        Of each row the name of its part.
    """
    members: dict[Hashable, list[int]] = {}
    for number, name in enumerate(groups):
        members.setdefault(name, []).append(number)
    by_stratum: dict[str, list[list[int]]] = {}
    for numbers in members.values():
        stratum = "" if strata is None else strata[numbers[0]]
        by_stratum.setdefault(stratum, []).append(numbers)
    assigned = np.empty(len(groups), dtype=f"<U{max(map(len, shares))}")
    for stratum in sorted(by_stratum):
        dealt = by_stratum[stratum]
        dealt = [dealt[i] for i in rng.permutation(len(dealt))]
        lacking = {name: share * sum(map(len, dealt)) for name, share in shares.items()}
        for group in sorted(dealt, key=len, reverse=True):
            name = max(lacking, key=lambda n: lacking[n])
            assigned[group] = name
            lacking[name] -= len(group)
    return assigned


def check_parts(parts: Mapping[str, np.ndarray], groups: Sequence[Hashable] | None = None) -> None:
    """Check that no row, and no group, is in two parts.

    Args:
        parts: by part the numbers of its rows.
        groups: of each row, what it belongs to. Defaults to `None`.

    Raises:
        ValueError: if one is.

    Example:
        ```python
        from mtlzoo.data import check_parts

        check_parts({"train": [0, 1], "test": [2]}, groups=["a", "a", "b"])
        ```
    """
    owner: dict[Any, str] = {}
    for part, rows in parts.items():
        for row in rows:
            if row < 0 or (groups is not None and row >= len(groups)):
                most = "" if groups is None else f" to {len(groups) - 1}, one for each group"
                raise ValueError(
                    f"`parts[{part!r}]` should have rows from 0{most}. Received: {row}"
                )
            key = int(row) if groups is None else groups[int(row)]
            if owner.setdefault(key, part) != part:
                kind = "row" if groups is None else "group"
                raise ValueError(
                    f"`parts` should have each {kind} in one part. "
                    f"Received: {key!r} in `{owner[key]}` and `{part}`"
                )
