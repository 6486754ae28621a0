"""Where the paths of the toy problem end, in numbers and in words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from recipes.parts.tables import print_aligned
from recipes.parts.toy_problem import PROTOCOLS, Front, Protocol, losses_of

# On the front is who is as near as this, in units of losses that go from -20 to -0.4 on it.
NEAR = 0.1
# Stuck is who is not, and moved less than this in the last tenth of the steps.
STILL = 0.1


def ends(path: np.ndarray, protocol: Protocol, front: Front) -> list[dict]:
    """For each start, where a path `(looks + 1, starts, 2)` ends."""
    losses = losses_of(tf.constant(path[-1], "float64"), protocol.scale).numpy()
    distances, places = front.nearest(losses)
    before = path[-1 - math.ceil((len(path) - 1) / 10)]
    moved = np.sqrt(((path[-1] - before) ** 2).sum(-1))
    return [
        {
            "start": list(start),
            "x": path[-1, i].tolist(),
            "L1": float(losses[i, 0]),
            "L2": float(losses[i, 1]),
            "mean": float(losses[i].mean()),
            "distance": float(distances[i]),
            "place": float(places[i]),
            "end": verdict(float(distances[i]), float(moved[i])),
        }
        for i, start in enumerate(protocol.starts)
    ]


def verdict(distance: float, moved: float) -> str:
    """Whether a path has come to the front, is stuck, or is still on its way."""
    if not (math.isfinite(distance) and math.isfinite(moved)):
        return "lost"
    if distance <= NEAR:
        return "front"
    return "stuck" if moved < STILL else "moving"


def point(x: Sequence[float]) -> str:
    """A point of the plane, in words."""
    return f"({x[0]:g}, {x[1]:g})".replace("-", "−")


def print_report(key: str, found: Mapping[str, Any]) -> None:
    """Print the front, where each path ended, and a line of it for each method."""
    print(f"\n{key}: k = {PROTOCOLS[key].scale:g}, {found['steps']:,} steps\n")
    rows = [["on the front", "x1", "x2", "L1", "L2", "mean", "place"]]
    for name, at in found["front"].items():
        numbers = [*at["x"], *at["losses"], at["mean"], at["place"]]
        rows.append([name, *(f"{number:.2f}" for number in numbers)])
    print_aligned(rows)
    print()
    columns = ("L1", "L2", "mean", "distance", "place")
    rows = [["method", "start", *columns, "end"]]
    for name, of_starts in found["ends"].items():
        for i, end in enumerate(of_starts):
            numbers = [f"{end[column]:.2f}" for column in columns]
            rows.append(["" if i else name, point(end["start"]), *numbers, end["end"]])
    print_aligned(rows)
    print()
    starts = next(iter(found["ends"].values()), [])
    rows = [["", *(point(end["start"]) for end in starts)]]
    for name, of_starts in found["ends"].items():
        rows.append([name, *(summary(end) for end in of_starts)])
    print_aligned(rows)
    for name, reason in found["left_out"].items():
        print(f"left out: {name}, which {reason}")
    print(f"{found['seconds']:.0f} s")


def summary(end: Mapping[str, Any]) -> str:
    """Where on the front, or how far from it."""
    if end["end"] == "front":
        return f"front at {end['place']:.2f}"
    return f"{end['end']} {end['distance']:.1f} off"
