"""The loss of boxes on a grid of cells."""

import numbers
from typing import Any

import keras
from keras import ops

from mtlzoo.tasks import boxes

# Of a distance in cells, so that areas are finite in float32.
MOST_CELLS = 1e4


@keras.saving.register_keras_serializable(package="mtlzoo")
class DetectionLoss(keras.losses.Loss):
    r"""Focal loss of the classes, GIoU of the boxes and cross-entropy of the centre-ness (FCOS).

    A cell $i$ is positive, $i \in P$, if its centre lies in a box; the smallest box counts. A cell
    answers class logits $z_{ic}$, a box $\hat b_i$ and a centre-ness logit $u_i$, and should answer
    the box $b_i$, its class, $y_{ic} = 1$, else 0, and its centre-ness $w_i$. The loss of an image
    is

    $$\ell = \frac{1}{\max(1, |P|)} \Big( \sum_{i, c} \mathrm{FL}(z_{ic}, y_{ic})
    + \sum_{i \in P} w_i (1 - \mathrm{GIoU}(\hat b_i, b_i))
    + \sum_{i \in P} \mathrm{BCE}(u_i, w_i) \Big),$$

    $$\mathrm{FL} = -\alpha_y (1 - p_y)^\gamma \log p_y, \qquad
    p_1 = \sigma(z), \; p_0 = 1 - p_1, \; \alpha_1 = \alpha, \; \alpha_0 = 1 - \alpha.$$

    The least possible value of BCE is the entropy of $w_i$, not 0.

    Args:
        alpha: Weight of the cells of a class in the focal loss, from 0 to 1. Defaults to 0.25, as
            Lin et al. found best.
        gamma: Exponent of the focal loss, not negative. Defaults to 2, as Lin et al. found best.
        center_radius: With it, only cells nearer than so many cells to a box's centre are positive
            (`1.5` in later versions of FCOS). Defaults to no such limit.
        reduction: See `keras.losses.Loss`; of no effect in a multi-task model. Defaults to
            `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"detection_loss"`.
        dtype: See `keras.losses.Loss`.

    Shapes:
        `y_true` `(B, M, 5)` and `y_pred` `(B, H, W, C + 5)`, as `ObjectDetection` has them; the
        loss is `(B,)` before the reduction.

    Raises:
        ValueError: If `alpha`, `gamma` or `center_radius` is out of its range.

    Example:
    ```python
    from mtlzoo.tasks import DetectionLoss, ObjectDetection

    task = ObjectDetection("boxes", num_classes=3, max_boxes=10, loss=DetectionLoss(gamma=1.5))
    ```

    References:
        Tian et al., *FCOS: Fully Convolutional One-Stage Object Detection*, ICCV 2019.
        Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017.

    *Differences from the paper*: every image is divided by its own number of positive cells, not
    the batch by all of them, so that the loss of an image does not depend on its neighbours;
    GIoU in place of IoU, weighted with the centre-ness, as in the authors' later program.
    """

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        center_radius: float | None = None,
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str = "detection_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.alpha = check_number("alpha", alpha, 0.0, 1.0)
        self.gamma = check_number("gamma", gamma, 0.0, float("inf"))
        self.center_radius = center_radius
        if center_radius is not None:
            self.center_radius = check_number("center_radius", center_radius, 0.5, float("inf"))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, `(B,)`."""
        y_pred = ops.convert_to_tensor(y_pred)
        y_true = ops.cast(y_true, y_pred.dtype)
        height, width, size = y_pred.shape[1:]
        targets = boxes.assign(y_true, height, width, self.center_radius)
        positive = ops.cast(targets.positive, y_pred.dtype)
        cells = ops.reshape(y_pred, (-1, height * width, size))

        true = ops.one_hot(targets.classes, size - 5, dtype=y_pred.dtype)
        per_cell = ops.sum(self._focal(true, cells[..., :-5]), axis=-1)
        weight = boxes.centerness(targets.distances)
        overlap = boxes.giou(distances(cells[..., -5:-1]), targets.distances)
        logits = cells[..., -1]
        entropy = ops.softplus(logits) - weight * logits
        per_cell = per_cell + positive * (weight * (1 - overlap) + entropy)
        return ops.sum(per_cell, axis=1) / ops.maximum(ops.sum(positive, axis=1), 1)

    def _focal(self, true, logits):
        # By softplus alone, for powers have no derivative at 0 and logarithms no value.
        signed = logits * (2 * true - 1)
        weight = self.alpha * true + (1 - self.alpha) * (1 - true)
        return weight * ops.exp(-self.gamma * ops.softplus(signed)) * ops.softplus(-signed)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "alpha": self.alpha,
            "gamma": self.gamma,
            "center_radius": self.center_radius,
            **super().get_config(),
        }


def distances(outputs: Any) -> Any:
    """The distances in cells that raw outputs mean: their softplus, at most `MOST_CELLS`."""
    return ops.minimum(ops.softplus(outputs), MOST_CELLS)


def check_number(
    argument: str, value: Any, least: float, most: float, task: str | None = None
) -> float:
    """A number from `least` to `most`.

    Raises:
        ValueError: For anything else, with `argument` and the name of the `task` in the message.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if is_number and least <= float(value) <= most and float(value) != float("inf"):
        return float(value)
    of = f" of task `{task}`" if task else ""
    limit = f" and at most {most:g}" if most != float("inf") else ""
    raise ValueError(
        f"`{argument}`{of} should be a number of at least {least:g}{limit}. "
        f"Received: {argument}={value!r}"
    )
