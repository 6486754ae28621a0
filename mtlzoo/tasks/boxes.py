"""Boxes on a grid of cells: distances, targets, overlap, suppression."""

from typing import Any, NamedTuple

from keras import ops

from mtlzoo.metrics.overlap import area, iou, is_box
from mtlzoo.tasks.labels import dtype_of


class Targets(NamedTuple):
    """What every cell of a grid should answer.

    Attributes:
        positive: Bool `(B, N)`, which cells answer for a box.
        distances: `(B, N, 4)`, from the cell's centre to the box's left, top, right and bottom
            side, in cells; 1/2 where there is no box.
        classes: int32 `(B, N)`, the class of the box; -1 where there is none.
    """

    positive: Any
    distances: Any
    classes: Any


def centers(height: int, width: int, dtype: str) -> Any:
    """The centres of the cells, `(N, 2)`, row by row, as parts of width and height."""
    x = (ops.arange(width, dtype=dtype) + 0.5) / width
    y = (ops.arange(height, dtype=dtype) + 0.5) / height
    x, y = ops.meshgrid(x, y)
    return ops.reshape(ops.stack([x, y], axis=-1), (-1, 2))


def to_distances(boxes: Any, height: int, width: int) -> Any:
    """How far the sides of boxes are from the centre of the cell at the same place.

    Args:
        boxes: `(..., N, 4)` as parts of the image, for the `N = height * width` cells.
        height: Number of rows of cells.
        width: Number of columns.

    Returns:
        `(..., N, 4)`: left, top, right, bottom, in cells; negative for a side on the wrong side.
    """
    center = centers(height, width, dtype_of(boxes))
    size = ops.convert_to_tensor([width, height], boxes.dtype)
    return ops.concatenate(
        [(center - boxes[..., :2]) * size, (boxes[..., 2:] - center) * size], axis=-1
    )


def to_boxes(distances: Any, height: int, width: int) -> Any:
    """The boxes that have given distances from their cells, the inverse of `to_distances`."""
    center = centers(height, width, dtype_of(distances))
    size = ops.convert_to_tensor([width, height], distances.dtype)
    return ops.concatenate(
        [center - distances[..., :2] / size, center + distances[..., 2:] / size], axis=-1
    )


def assign(labels: Any, height: int, width: int, center_radius: float | None = None) -> Targets:
    """Give every cell the smallest of the boxes that its centre lies in, the first of equal ones.

    Args:
        labels: `(B, M, 5)`, rows `[x_min, y_min, x_max, y_max, class]`.
        height: Number of rows of cells.
        width: Number of columns.
        center_radius: With it, a cell also has to be nearer than so many cells to the box's centre,
            horizontally and vertically. Defaults to no such limit.

    Returns:
        `Targets`.
    """
    center = ops.reshape(centers(height, width, dtype_of(labels)), (1, -1, 1, 2))
    low, high = ops.expand_dims(labels[..., :2], 1), ops.expand_dims(labels[..., 2:4], 1)
    inside = ops.all((center > low) & (center < high), axis=-1)  # (B, N, M)
    if center_radius is not None:
        size = ops.convert_to_tensor([width, height], labels.dtype)
        away = ops.abs(center - (low + high) / 2) * size
        inside = inside & ops.all(away < center_radius, axis=-1)
    inside = inside & ops.expand_dims(is_box(labels), 1)
    areas = ops.where(inside, ops.expand_dims(area(labels[..., :4]), 1), float("inf"))
    positive = ops.any(inside, axis=-1)
    chosen = ops.expand_dims(ops.argmin(areas, axis=-1), -1)
    rows = ops.take_along_axis(labels, chosen, axis=1)
    distances = to_distances(rows[..., :4], height, width)
    distances = ops.where(ops.expand_dims(positive, -1), distances, 0.5)
    classes = ops.cast(ops.where(positive, rows[..., 4], -1.0), "int32")
    return Targets(positive, distances, classes)


def centerness(distances: Any) -> Any:
    r"""How central a cell lies in its box, $\sqrt{\frac{\min(l,r)}{\max(l,r)} \cdot
    \frac{\min(t,b)}{\max(t,b)}}$, `(..., 4)` to `(...)`.
    """
    a, b = distances[..., :2], distances[..., 2:]
    ratios = ops.divide_no_nan(ops.minimum(a, b), ops.maximum(a, b))
    return ops.sqrt(ratios[..., 0] * ratios[..., 1])


def giou(distances: Any, others: Any) -> Any:
    r"""Generalized intersection over union of boxes around the same point (Rezatofighi et al.,
    CVPR 2019).

    $$\mathrm{GIoU} = \frac{|A \cap B|}{|A \cup B|} - \frac{|C| - |A \cup B|}{|C|}$$

    with the smallest box $C$ around both.

    Args:
        distances: `(..., 4)`, from the point to the four sides, not negative.
        others: The same; positive.

    Returns:
        `(...)`, from -1 to 1.
    """

    def surface(d):
        return (d[..., 0] + d[..., 2]) * (d[..., 1] + d[..., 3])

    intersection = surface(ops.minimum(distances, others))
    union = surface(distances) + surface(others) - intersection
    hull = surface(ops.maximum(distances, others))
    return intersection / union - (hull - union) / hull


def suppress(boxes: Any, classes: Any, alive: Any, threshold: float) -> Any:
    """Greedy non-maximum suppression: a box goes if a better one of its class that stays overlaps.

    Which boxes stay is the fixed point of "those that no staying better one overlaps". Started with
    all, a round settles at least one more of the boxes in their order, so that it ends, and in
    practice after a few rounds.

    Args:
        boxes: `(B, K, 4)`, the best first.
        classes: `(B, K)`.
        alive: Bool `(B, K)`, which boxes there are.
        threshold: The largest intersection over union that is let pass.

    Returns:
        Bool `(B, K)`, which boxes stay.
    """
    count = boxes.shape[1]
    order = ops.arange(count, dtype="int32")
    better = ops.expand_dims(order, 1) < order
    same = ops.expand_dims(classes, 2) == ops.expand_dims(classes, 1)
    suppresses = (iou(boxes, boxes) > threshold) & same & better

    def settle(kept, _):
        gone = ops.any(suppresses & ops.expand_dims(kept, 2), axis=1)
        new = alive & ~gone
        return new, ops.any(new != kept)

    kept, _ = ops.while_loop(
        lambda kept, changed: changed,
        settle,
        (alive, ops.any(ops.ones((), dtype="bool"))),
        maximum_iterations=count,
    )
    return kept
