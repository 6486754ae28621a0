"""Integrated gradients."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mtlzoo.analysis.explanation import views
from mtlzoo.analysis.explanation.views import View

# From points, indices of targets and signs, and the rows that they are, to the gradients.
Gradients = Callable[[list[np.ndarray], np.ndarray], list[np.ndarray]]


def integrate(
    gradients: Gradients,
    points: Sequence[np.ndarray],
    baselines: Sequence[np.ndarray],
    steps: int,
    batch_size: int,
) -> list[np.ndarray]:
    r"""The integral of gradients along the straight line from a baseline, times its length.

    $$a_i = (x_i - x'_i) \int_0^1 \frac{\partial f(x' + \alpha (x - x'))}{\partial x_i} d\alpha,$$

    by Gauss and Legendre's rule, which is exact where the gradients are polynomials of a degree
    below `2 * steps`.

    Args:
        gradients: from points `(N, ...)`, and which row each of the N is of, to the gradients.
        points: what is explained, `(B, ...)` each.
        baselines: of the same shapes, or with one row.
        steps: number of places at which gradients are taken.
        batch_size: of how many at once.

    Returns:
        float64 arrays of the shapes of the points.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    nodes, weights = (nodes + 1) / 2, weights / 2
    count = len(points[0])
    rows, alphas = (t.ravel() for t in np.meshgrid(range(count), range(steps), indexing="ij"))
    starts = [np.broadcast_to(b, p.shape) for b, p in zip(baselines, points, strict=True)]
    totals = [np.zeros(p.shape) for p in points]
    for part in views.slices(len(rows), batch_size):
        row, alpha = rows[part], alphas[part]
        between = []
        for point, start in zip(points, starts, strict=True):
            share = nodes[alpha].reshape((-1,) + (1,) * (point.ndim - 1))
            mixed = start[row] + share * (point[row].astype("float64") - start[row])
            between.append(mixed.astype(point.dtype))
        for total, found in zip(totals, gradients(between, row), strict=True):
            share = weights[alpha].reshape((-1,) + (1,) * (total.ndim - 1))
            np.add.at(total, row, share * found)
    return [
        total * (point.astype("float64") - start)
        for total, point, start in zip(totals, points, starts, strict=True)
    ]


def integrated_gradients(
    view: View,
    points: list[np.ndarray],
    baselines: list[np.ndarray],
    x: Mapping[str, np.ndarray],
    index: np.ndarray,
    sign: np.ndarray,
    steps: int,
    batch_size: int,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Those of the targets by each point, and what all rows' targets are at the baseline.

    Args:
        view: the view.
        points: what its points hold, `(B, ...)`.
        baselines: what they hold at the baseline, `(1, ...)` or `(B, ...)`.
        x: the rows.
        index: the target of each row.
        sign: its direction.
        steps: places on the line.
        batch_size: rows at once.
    """

    def gradients(between, row):
        view.pin(x, row)
        return view.gradients(between, index[row], sign[row])

    found = integrate(gradients, points, baselines, steps, batch_size)
    starts = [np.broadcast_to(b, p.shape) for b, p in zip(baselines, points, strict=True)]
    ends = []
    for rows in views.slices(len(index), batch_size):
        view.pin(x, rows)
        columns = view.answers([np.ascontiguousarray(s[rows]) for s in starts])[1]
        ends.append(columns[np.arange(len(columns)), index[rows]] * sign[rows])
    return found, np.concatenate(ends)
