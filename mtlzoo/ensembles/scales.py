"""What the raw outputs of a task mean: the scale on which several of them can be fused."""

from typing import Any

from keras import ops

from mtlzoo.metrics.angles import unit
from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    MultiLabelClassification,
    ObjectDetection,
    SemanticSegmentation,
    SequenceTagging,
    SpanExtraction,
    SurfaceNormalEstimation,
    Task,
)
from mtlzoo.tasks.task import as_float

# float32 has no positive normal number below.
_TINY = 1e-37


class Scale:
    """Values as they are: real numbers, depths, and outputs of a kind that is not known.

    Attributes:
        axis: The axis of the classes among which one is chosen, counted from the last; `None`
            where there are none.
        has_order: Whether the larger of two values means something.

    Example:
    ```python
    from mtlzoo.ensembles.scales import scale_of
    from mtlzoo.tasks import Regression

    scale_of(Regression("stay")).read([[3.0]])  # [[3.]]
    ```
    """

    axis: int | None = None
    has_order: bool = True

    def read(self, raw: Any) -> Any:
        """Raw outputs on this scale; logarithms of probabilities where there are classes.

        Args:
            raw: Raw outputs, as `predict` returns them.
        """
        return as_float(raw)

    def write(self, fused: Any) -> Any:
        """Raw outputs from what was fused on this scale; probabilities need no sum of 1.

        Args:
            fused: A tensor on this scale.
        """
        return fused


class Grid(Scale):
    """Raw values of a detector's cells, in which larger is not more."""

    has_order = False


class Directions(Scale):
    """Vectors of length 1, so that a longer output has no more to say."""

    has_order = False

    def read(self, raw: Any) -> Any:
        """The vectors in length 1."""
        return unit(as_float(raw))

    def write(self, fused: Any) -> Any:
        """The fused vectors in length 1; a zero vector stays one."""
        return unit(fused)


class OneOfMany(Scale):
    """Logarithms of the probabilities of classes, one of which is true.

    Args:
        axis: The axis of the classes, counted from the last.
        from_logits: Whether raw outputs are logits, else probabilities.
    """

    axis: int

    def __init__(self, axis: int, from_logits: bool) -> None:
        self.axis = axis
        self.from_logits = from_logits

    def read(self, raw: Any) -> Any:
        """Logarithms of probabilities."""
        raw = as_float(raw)
        return ops.log_softmax(raw, self.axis) if self.from_logits else _log(raw)

    def write(self, fused: Any) -> Any:
        """Logarithms of probabilities with the sum 1, or the probabilities."""
        normalized = ops.log_softmax(fused, self.axis)
        return normalized if self.from_logits else ops.exp(normalized)


class YesOrNo(Scale):
    """Logarithms of the probabilities of no and yes, on a last axis of their own.

    Args:
        from_logits: Whether raw outputs are logits of yes, else its probabilities.
    """

    axis: int = -1

    def __init__(self, from_logits: bool) -> None:
        self.from_logits = from_logits

    def read(self, raw: Any) -> Any:
        """Logarithms of the probabilities of no and yes, `(..., 2)`."""
        raw = as_float(raw)
        if self.from_logits:
            return ops.stack([ops.log_sigmoid(-raw), ops.log_sigmoid(raw)], axis=-1)
        return ops.stack([_log(1 - raw), _log(raw)], axis=-1)

    def write(self, fused: Any) -> Any:
        """The logit of yes, or its probability."""
        logit = fused[..., 1] - fused[..., 0]
        return logit if self.from_logits else ops.sigmoid(logit)


def scale_of(task: Task) -> Scale:
    """The scale of the raw outputs of a task.

    Args:
        task: The task. A subclass of a kind has the scale of the kind.

    Returns:
        That of classes for classifiers, taggers, segmentation and spans (the classes of a span
        are its positions); that of yes and no for binary and multi-label tasks; vectors of length 1
        for normals; raw values of the grid for detectors; values for everything else.

    Example:
    ```python
    from mtlzoo.ensembles.scales import scale_of
    from mtlzoo.tasks import BinaryClassification

    scale = scale_of(BinaryClassification("click"))
    scale.write(scale.read([[3.0]]))  # [[3.]]
    ```
    """
    match task:
        case Classification() | SemanticSegmentation() | SequenceTagging():
            return OneOfMany(-1, bool(task.from_logits))
        case SpanExtraction():
            return OneOfMany(-2, bool(task.from_logits))
        case BinaryClassification() | MultiLabelClassification():
            return YesOrNo(task.from_logits)
        case SurfaceNormalEstimation():
            return Directions()
        case ObjectDetection():
            return Grid()
    return Scale()


def _log(probabilities):
    return ops.log(ops.maximum(probabilities, _TINY))
