"""The problem of `recipes.toy_objectives`: two losses in the plane, and their Pareto front."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a paper used the problem.

    Attributes:
        scale: k, the factor of the first loss.
        starts: the points to start from.
        steps: how many steps to go.
    """

    scale: float
    starts: tuple[tuple[float, float], ...]
    steps: int


PROTOCOLS = {
    "k1": Protocol(1.0, ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0)), 100_000),
    "k01": Protocol(0.1, ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0)), 50_000),
}


def losses_of(x: Any, scale: float) -> Any:
    """Both losses `(..., 2)` at points `(..., 2)`.

    In the upper half of the plane each has a narrow valley, the ways of which part; in the lower
    half both are paraboloids. Where a number is at the bound of a maximum, TensorFlow gives the
    derivative to the first argument, as the papers' `torch.clamp` does: at x2 = 0 both halves pull.
    """
    x1, x2 = tf.unstack(x, axis=-1)
    first = tf.maximum(tf.abs(0.5 * (-x1 - 7.0) - tf.tanh(-x2)), 5e-6)
    second = tf.maximum(tf.abs(0.5 * (-x1 + 3.0) + tf.tanh(-x2) + 2.0), 5e-6)
    upper = tf.maximum(tf.tanh(0.5 * x2), 0.0)
    lower = tf.maximum(tf.tanh(-0.5 * x2), 0.0)
    rise = 0.1 * (-x2 - 8.0) ** 2
    return tf.stack(
        [
            scale
            * (
                (tf.math.log(first) + 6.0) * upper
                + (((-x1 + 7.0) ** 2 + rise) / 10.0 - 20.0) * lower
            ),
            (tf.math.log(second) + 6.0) * upper + (((-x1 - 7.0) ** 2 + rise) / 10.0 - 20.0) * lower,
        ],
        axis=-1,
    )


def bounds(scale: float) -> tuple[float, float]:
    """What the losses are always above: the valleys end at log(5e-6) + 6 = -6.2, the paraboloids
    at -20, and the factor of each is below 1.
    """
    return -20.0 * scale, -20.0


class Front:
    """The Pareto front, as points from the least second loss to the least first one.

    It is in the lower half. There a weighted mean of the losses, w of the first, is lowest at
    x1 = 7(2w - 1), whatever x2, and x2 is found on a grid. As the paraboloids are convex, weighted
    means find the whole front. The upper half has none of it: in its valleys one loss is at best
    -6.2 while the other is positive.

    Args:
        scale: k, the factor of the first loss.
        size: number of points, odd.

    Attributes:
        points: `(size, 2)`, in the plane.
        losses: `(size, 2)`, there.
        places: `(size,)`, from 0 at the least second loss to 1 at the least first one.
    """

    def __init__(self, scale: float, size: int = 701):
        self.scale = scale
        self.places = np.linspace(0.0, 1.0, size)
        x1 = 7.0 * (2.0 * self.places - 1.0)
        x2 = np.arange(-10.0, -7.0, 0.001)
        grid = np.stack(np.broadcast_arrays(x1[:, None], x2), axis=-1)
        unscaled = losses_of(tf.constant(grid), 1.0).numpy()
        means = unscaled[..., 0] * self.places[:, None] + unscaled[..., 1] * (
            1.0 - self.places[:, None]
        )
        best = (np.arange(size), means.argmin(1))
        self.points = grid[best]
        self.losses = unscaled[best] * [scale, 1.0]

    def nearest(self, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far losses `(..., 2)` are from the front, and the place where it is nearest.

        The distance is that of (L1/k, L2), so that both losses count alike.
        """
        unit = np.array([self.scale, 1.0])
        apart = (losses[..., None, :] - self.losses) / unit
        distances = np.sqrt((apart**2).sum(-1))
        return distances.min(-1), self.places[distances.argmin(-1)]

    @property
    def least_mean(self) -> int:
        """The index of the least mean of both losses."""
        return int(self.losses.mean(1).argmin())

    @property
    def middle(self) -> int:
        """The index of the balanced middle: both losses have come down by the same part of the way
        from their highest to their lowest value on the front.
        """
        low, high = self.losses.min(0), self.losses.max(0)
        parts = (self.losses - low) / (high - low)
        return int(np.abs(parts[:, 0] - parts[:, 1]).argmin())

    def describe(self) -> dict[str, dict]:
        """The ends of the front and its two points of interest."""
        chosen = {
            "least L2": 0,
            "least mean": self.least_mean,
            "balanced middle": self.middle,
            "least L1": len(self.places) - 1,
        }
        return {
            name: {
                "x": self.points[i].tolist(),
                "losses": self.losses[i].tolist(),
                "mean": float(self.losses[i].mean()),
                "place": float(self.places[i]),
            }
            for name, i in chosen.items()
        }
