"""Losses towards another model's raw outputs: what a student learns from a teacher."""

from typing import Any

from keras import ops

from mtlzoo.tasks import boxes
from mtlzoo.tasks.detection_loss import distances

# Least probability whose logarithm is taken: float32 has no finite one of 0.
_LEAST = 1e-7

# Least distance, in cells, of a side that a teacher finds: a box without a surface has no overlap.
_SHORTEST = 1e-3


def of_classes(
    teacher: Any, outputs: Any, temperature: float, axis: int = -1, from_logits: bool = True
) -> Any:
    r"""The divergence of the student's classes from the teacher's, both softened.

    $$\ell = T^2 \sum_c p_c \log \frac{p_c}{q_c}, \qquad
    p = \mathrm{softmax}(z^\text{teacher} / T), \; q = \mathrm{softmax}(z / T)$$

    Args:
        teacher: Raw outputs of the teacher.
        outputs: Raw outputs of the student, of the same shape.
        temperature: T, positive.
        axis: That of the classes. Defaults to -1.
        from_logits: Whether raw outputs are logits. Defaults to `True`; else probabilities.

    Returns:
        A tensor without the axis of the classes.
    """
    if not from_logits:
        teacher, outputs = _log(teacher), _log(outputs)
    wanted = ops.log_softmax(teacher / temperature, axis=axis)
    found = ops.log_softmax(outputs / temperature, axis=axis)
    return temperature**2 * ops.sum(ops.exp(wanted) * (wanted - found), axis=axis)


def of_cells(teacher: Any, outputs: Any, temperature: float, from_logits: bool = True) -> Any:
    r"""The divergence of the student's yes or no from the teacher's, for each cell.

    $$\ell = T^2 \Big( p \log \frac{p}{q} + (1 - p) \log \frac{1 - p}{1 - q} \Big), \qquad
    p = \sigma(z^\text{teacher} / T), \; q = \sigma(z / T)$$

    Args:
        teacher: Raw outputs of the teacher.
        outputs: Raw outputs of the student, of the same shape.
        temperature: T, positive.
        from_logits: Whether raw outputs are logits. Defaults to `True`; else probabilities.

    Returns:
        A tensor of the same shape.
    """
    if not from_logits:
        teacher, outputs = (_log(t) - _log(1 - t) for t in (teacher, outputs))
    wanted, found = teacher / temperature, outputs / temperature
    yes = ops.sigmoid(wanted) * (ops.softplus(-found) - ops.softplus(-wanted))
    no = ops.sigmoid(-wanted) * (ops.softplus(found) - ops.softplus(wanted))
    return temperature**2 * (yes + no)


def of_detections(teacher: Any, outputs: Any, temperature: float) -> Any:
    r"""The divergence of the student's grid of detections from the teacher's.

    With $s_i = \max_c \sigma(z^\text{teacher}_{ic})$, how sure the teacher is of an object in the
    cell $i$, and $D$ the divergence of a yes or no from `of_cells`,

    $$\ell = \frac{1}{\max(1, \sum_i s_i)} \Big( \sum_{i, c} D(z_{ic})
    + \sum_i s_i \big(1 - \mathrm{GIoU}(\hat b_i, \hat b^\text{teacher}_i) + D(u_i)\big) \Big).$$

    Args:
        teacher: Raw outputs of the teacher, `(B, H, W, C + 5)`.
        outputs: Raw outputs of the student, of the same shape.
        temperature: T, positive.

    Returns:
        The loss of each image, `(B,)`.
    """
    divergence = of_cells(teacher, outputs, temperature)
    sure = ops.max(ops.sigmoid(teacher[..., :-5]), axis=-1)
    wanted = ops.maximum(distances(teacher[..., -5:-1]), _SHORTEST)
    overlap = boxes.giou(distances(outputs[..., -5:-1]), wanted)
    of_boxes = sure * (1 - overlap + divergence[..., -1])
    total = ops.sum(ops.sum(divergence[..., :-5], axis=-1) + of_boxes, axis=(1, 2))
    return total / ops.maximum(ops.sum(sure, axis=(1, 2)), 1)


def _log(probabilities):
    return ops.log(ops.maximum(probabilities, _LEAST))
