"""Signs that a mixture does not mix: experts that nobody uses, gates that do not choose."""

from typing import Any, NamedTuple

import numpy as np

# An expert is idle that no task gives this part of what it would get if all got the same.
IDLE = 0.1
# A task uses one expert alone that gives it this mean share.
ALONE = 0.95
# A gate does not choose whose entropy on a single row is this part of the greatest one: of four
# experts, shares of 0.29, 0.25, 0.25 and 0.21 still are below it.
EQUAL = 0.997
# A mask or a connection is closed below this strength.
CLOSED = 0.01
# A column is on its own that takes this part of all its weights from the others.
ISOLATED = 0.01
# An expert is dead whose outputs are all as small; that of dead `relu` units is 0 exactly.
DEAD = 1e-6
# Two experts are the same whose outputs have this cosine.
SAME = 0.999


class Collapse(NamedTuple):
    """One sign that a mixture does not mix.

    Attributes:
        kind: `"idle"`, `"alone"`, `"equal"`, `"closed"`, `"isolated"`, `"dead"` or `"same"`.
        task: the task, or `None` where it is about all of them.
        columns: the experts or features that it is about.
        message: a sentence with the numbers.
        place: where in the model, as of the table. Defaults to `""`.
    """

    kind: str
    task: str | None
    columns: tuple[str, ...]
    message: str
    place: str = ""


class Outputs(NamedTuple):
    """What the experts of a table give out.

    Attributes:
        largest: (C,), the largest absolute value that each gave out.
        cosines: (C, C), the cosine of the outputs of two experts, over all rows and units; 0 where
            one of them is dead.
    """

    largest: np.ndarray
    cosines: np.ndarray


def outputs_of(values: np.ndarray) -> Outputs:
    """What to know of experts' outputs.

    Args:
        values: (rows, ..., C, units).
    """
    by_expert = np.moveaxis(values, -2, 0).reshape(values.shape[-2], -1).astype("float64")
    lengths = np.linalg.norm(by_expert, axis=1)
    unit = by_expert / np.where(lengths > 0, lengths, 1.0)[:, None]
    return Outputs(np.abs(by_expert).max(1), unit @ unit.T)


def idle(table: Any) -> list[Collapse]:
    """Experts that no task uses, though it could."""
    equal = 1 / np.isfinite(table.mean).sum(1)
    # Experts that a task cannot read say nothing about it.
    parts = np.nan_to_num(table.mean / equal[:, None])
    return [
        Collapse(
            "idle",
            None,
            (column,),
            f"{column} is idle: no task gives it more than {parts[:, c].max():.2g} times an equal "
            "share.",
        )
        for c, column in enumerate(table.columns)
        if parts[:, c].max() < IDLE
    ]


def alone(table: Any) -> list[Collapse]:
    """Tasks that use one expert only, though they could use several."""
    found = []
    for name, mean in zip(table.names, table.mean, strict=True):
        top = int(np.nanargmax(mean))
        if np.isfinite(mean).sum() > 1 and mean[top] >= ALONE:
            text = f"{name} uses {table.columns[top]} alone: its mean share is {mean[top]:.3f}."
            found.append(Collapse("alone", name, (table.columns[top],), text))
    return found


def equal(table: Any) -> list[Collapse]:
    """Tasks whose gate gives every expert about the same on every row."""
    found = []
    for name, values in zip(table.names, np.moveaxis(table.values, 1, 0), strict=True):
        known = values[:, np.isfinite(values).all(0)]
        if known.shape[1] < 2:
            continue
        shares = known / np.maximum(known.sum(1, keepdims=True), np.finfo(float).tiny)
        terms = shares * np.log(np.where(shares > 0, shares, 1.0))
        entropy = float(-terms.sum(1).mean() / np.log(known.shape[1]))
        if entropy >= EQUAL:
            text = (
                f"The gate of {name} hardly chooses: on a single row its entropy is {entropy:.4f} "
                "of that of equal shares."
            )
            found.append(Collapse("equal", name, table.columns, text))
    return found


def closed(table: Any) -> list[Collapse]:
    """Tasks that let nothing through, and features that none lets through."""
    found = []
    for name, mean in zip(table.names, table.mean, strict=True):
        if np.nanmax(mean) < CLOSED:
            text = f"{name} lets nothing through: its largest strength is {np.nanmax(mean):.2g}."
            found.append(Collapse("closed", name, table.columns, text))
    greatest = np.nanmax(table.mean, axis=0)
    columns = tuple(c for c, top in zip(table.columns, greatest, strict=True) if top < CLOSED)
    if columns and len(columns) < len(table.columns):
        shown = ", ".join(columns[:5]) + (", ..." if len(columns) > 5 else "")
        text = f"{len(columns)} of {len(table.columns)} are closed for every task: {shown}."
        found.append(Collapse("closed", None, columns, text))
    return found


def isolated(table: Any) -> list[Collapse]:
    """Tasks that receive next to nothing of the columns of others."""
    found = []
    # Channels may have opposite signs.
    for name, mean in zip(table.names, np.abs(table.values).mean(0), strict=True):
        others = np.array([owner != name for owner in table.owners])
        if not others.any() or mean.sum() == 0:
            continue
        part = float(mean[others].sum() / mean.sum())
        if part < ISOLATED:
            text = f"{name} is on its own: {part:.2%} of its weights are those of other tasks."
            own = tuple(c for c, other in zip(table.columns, others, strict=True) if not other)
            found.append(Collapse("isolated", name, own, text))
    return found


def dead(table: Any) -> list[Collapse]:
    """Experts that give out nothing."""
    if table.outputs is None:
        return []
    return [
        Collapse("dead", None, (column,), f"{column} is dead: all its outputs are 0.")
        for column, largest in zip(table.columns, table.outputs.largest, strict=True)
        if largest <= DEAD
    ]


def same(table: Any) -> list[Collapse]:
    """Pairs of experts that give out the same, up to a factor."""
    if table.outputs is None:
        return []
    found = []
    for i, j in zip(*np.triu_indices(len(table.columns), 1), strict=True):
        cosine = table.outputs.cosines[i, j]
        if cosine >= SAME:
            pair = (table.columns[i], table.columns[j])
            text = f"{pair[0]} and {pair[1]} give out the same: the cosine is {cosine:.4f}."
            found.append(Collapse("same", None, pair, text))
    return found


CHECKS = {check.__name__: check for check in (idle, alone, equal, closed, isolated, dead, same)}
