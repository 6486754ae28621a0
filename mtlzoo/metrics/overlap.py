"""How far boxes overlap."""

from typing import Any

from keras import ops


def iou(boxes: Any, others: Any) -> Any:
    r"""The intersection over union of every box with every other.

    $$\mathrm{IoU}(A, B) = \frac{|A \cap B|}{|A \cup B|}$$

    Args:
        boxes: `(..., n, 4)`, `[x_min, y_min, x_max, y_max]`.
        others: `(..., m, 4)`, the same.

    Returns:
        `(..., n, m)`, from 0 to 1; 0 where both boxes are empty.

    Example:
    ```python
    import numpy as np
    from mtlzoo.metrics.overlap import iou

    iou(np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 0.5, 1.0]]))  # [[0.5]]
    ```
    """
    # Side by side, for a last axis of two is slow.
    left, top, right, bottom = (ops.expand_dims(boxes[..., i], -1) for i in range(4))
    other_left, other_top, other_right, other_bottom = (
        ops.expand_dims(others[..., i], -2) for i in range(4)
    )
    width = ops.minimum(right, other_right) - ops.maximum(left, other_left)
    height = ops.minimum(bottom, other_bottom) - ops.maximum(top, other_top)
    shared = ops.maximum(width, 0) * ops.maximum(height, 0)
    together = ops.expand_dims(area(boxes), -1) + ops.expand_dims(area(others), -2) - shared
    return ops.divide_no_nan(shared, together)


def area(boxes: Any) -> Any:
    """The areas `(...)` of boxes `(..., 4)`; 0 for those that are inside out."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def is_box(labels: Any) -> Any:
    """Which rows of `[x_min, y_min, x_max, y_max, class]` are boxes; others are padding."""
    is_wide = ops.logical_and(labels[..., 2] > labels[..., 0], labels[..., 3] > labels[..., 1])
    return ops.logical_and(labels[..., 4] >= 0, is_wide)
