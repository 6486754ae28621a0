"""Task gradients that are averaged over the steps, for methods that keep them."""

from __future__ import annotations

from typing import Any

from keras import ops


def track(
    balancer: Any, jacobian: list[Any], present: Any, which: list[int], decay: Any
) -> tuple[list[Any], dict[str, Any]]:
    """Moves the tracked gradients of the tasks that are present towards those of this step.

    Args:
        balancer: One with rows named `tracked` and a variable `seen` (T,).
        jacobian: The gradients, (T, *shape) for each shared variable.
        present: (T,) booleans.
        which: The places of the shared variables.
        decay: From 0 to 1, how much of the old remains. Nothing does at a task's first step.

    Returns:
        The new tracked gradients, and these and `seen` by variable name.
    """
    seen = ops.convert_to_tensor(balancer.seen)
    moved = []
    for old, rows in zip(balancer.rows("tracked", which), jacobian, strict=True):
        old = ops.cast(old, rows.dtype)
        kept = by_rows(ops.where(seen > 0.0, ops.cast(decay, rows.dtype), 0.0), rows)
        new = kept * old + (1.0 - kept) * rows
        moved.append(ops.where(by_rows(present, rows), new, old))
    state = {f"tracked_{place}": rows for place, rows in zip(which, moved, strict=True)}
    state["seen"] = ops.where(present, ops.ones_like(seen), seen)
    return moved, state


def products(jacobian: list[Any]) -> Any:
    """The Gramian (T, T) of the rows."""
    flat = [ops.reshape(rows, (rows.shape[0], -1)) for rows in jacobian]
    return sum(ops.matmul(rows, ops.transpose(rows)) for rows in flat)


def by_rows(numbers: Any, rows: Any) -> Any:
    """(T,) numbers with as many axes as `rows` has."""
    return ops.reshape(numbers, (-1,) + (1,) * (len(rows.shape) - 1))
