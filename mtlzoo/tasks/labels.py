"""Labels: which are there, which are missing, which are neither."""

import re
from typing import Any, NamedTuple

from keras import ops


class Labels(NamedTuple):
    """Labels of one batch, told apart.

    Attributes:
        values: The labels with a harmless 0 wherever one is missing or invalid.
        present: Bool, the shape of the loss values: where there is a label.
        invalid: Bool, the same shape: where there is something that is neither a label nor missing.

    Example:
    ```python
    from mtlzoo.tasks import BinaryClassification

    labels = BinaryClassification("click").read_labels([1, 0, -1, 7])
    labels.present  # [True, True, False, False]
    labels.invalid  # [False, False, False, True]
    ```
    """

    values: Any
    present: Any
    invalid: Any


class Labelled:
    """The half of a task that reads labels."""

    name: str
    missing: float
    label_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]
    loss_rank: int = 1

    @property
    def loss(self) -> Any:
        """The loss whose values labels are masked for."""
        raise NotImplementedError

    def check_labels(self, labels: Any) -> None:
        """Checks shape and dtype of labels, without reading them.

        Args:
            labels: Anything with `shape` and `dtype`: an array, a tensor, a `TensorSpec`.

        Raises:
            ValueError: If shape or dtype cannot be labels of this task.
        """
        if not hasattr(labels, "shape") or not hasattr(labels, "dtype"):
            raise ValueError(
                f"Labels of task `{self.name}` should be an array or a tensor. Received: labels of "
                f"type {type(labels).__name__}"
            )
        # TensorFlow's sparse and ragged tensors, which have shape and dtype too.
        if hasattr(labels, "dense_shape") or hasattr(labels, "row_splits"):
            raise ValueError(
                f"Labels of task `{self.name}` should be dense. "
                f"Received: labels of type {type(labels).__name__}"
            )
        shape = shape_of(labels)
        if not shape or not any(fits(shape[1:], each) for each in self._label_shapes()):
            hint = ""
            if shape is None:
                hint = ", which is not known: set it (`set_shape`), or let all batches have one"
            elif shape == ():
                hint = ", a single label: let the data set have batches (`batch`)"
            raise ValueError(
                f"Labels of task `{self.name}` should have shape {(None, *self.label_shape)}. "
                f"Received: shape={shape}{hint}"
            )
        dtype = dtype_of(labels)
        if not re.fullmatch(r"u?int\d+|b?float\d+|bool", dtype):
            raise ValueError(
                f"Labels of task `{self.name}` should be numbers. Received: dtype={dtype}"
            )

    def read_labels(self, labels: Any, loss: Any = None) -> Labels:
        """Tells labels, missing labels and invalid entries apart.

        Args:
            labels: Labels of the shape that `check_labels` accepts.
            loss: The resolved loss that will be used, if it is not the task's own. One that is not
                defined cell by cell makes a row with a missing cell missing.

        Returns:
            A `Labels`.

        Raises:
            ValueError: As `check_labels`.
        """
        if not hasattr(labels, "dtype"):
            labels = ops.convert_to_tensor(labels)
        self.check_labels(labels)
        labels = self.canonical(ops.convert_to_tensor(labels))
        missing = self.is_missing(labels)
        legal = self.legal(labels)
        present = ops.logical_and(legal, ops.logical_not(missing))
        invalid = ops.logical_not(ops.logical_or(legal, missing))
        values = ops.where(present, labels, ops.zeros_like(labels))
        rank = self.rank_of(self.loss if loss is None else loss)
        if len(present.shape) > rank:
            axes = tuple(range(rank, len(present.shape)))
            present, invalid = ops.all(present, axis=axes), ops.any(invalid, axis=axes)
        return Labels(values, present, invalid)

    def canonical(self, labels: Any) -> Any:
        """Labels in the one shape and type that losses and metrics see."""
        if self._is_one_number():
            labels = ops.reshape(labels, (-1, 1) if self.output_shape == (1,) else (-1,))
        return labels if dtype_of(labels) == "float64" else ops.cast(labels, "float32")

    def legal(self, labels: Any) -> Any:
        """Where canonical labels are labels of this task; the answer for missing ones is unused."""
        return ops.isfinite(labels)

    def is_missing(self, labels: Any) -> Any:
        """Where canonical labels say "no label"."""
        if self.missing == self.missing:
            return labels == ops.cast(self.missing, labels.dtype)
        if "float" in dtype_of(labels):
            return ops.isnan(labels)
        return ops.zeros_like(labels, dtype="bool")

    def masks_cells(self, loss: Any) -> bool:
        """Whether `loss` is taken per cell of a label instead of per row."""
        raise NotImplementedError

    def rank_of(self, loss: Any) -> int:
        """Number of axes, with the batch, over which `loss` has a value for each entry."""
        return 2 if self.masks_cells(loss) else self.loss_rank

    def missing_labels(self, batch_size: Any) -> Any:
        """Labels of `batch_size` rows, all missing; axes of no known size are empty."""
        sizes = (size or 0 for size in self.label_shape)
        return ops.full((batch_size, *sizes), self.missing, dtype="float32")

    def _label_shapes(self) -> set[tuple[int | None, ...]]:
        return {(), (1,)} if self._is_one_number() else {self.label_shape}

    def _is_one_number(self) -> bool:
        return self.label_shape in {(), (1,)}


def check_not_legal(name: str, missing: float, is_legal: bool) -> None:
    """Checks that the missing value is not a label."""
    if is_legal:
        raise ValueError(
            f"`missing` of task `{name}` should not be a label. Received: missing={missing!r}"
        )


def shape_of(labels: Any) -> tuple[int | None, ...] | None:
    """The static shape; `None` for a TensorFlow tensor of unknown rank."""
    try:
        return tuple(labels.shape)
    except ValueError:
        return None


def dtype_of(labels: Any) -> str:
    """The name of the data type of anything that has one."""
    return getattr(labels.dtype, "name", str(labels.dtype))


def fits(shape: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether two static shapes can be the same."""
    return len(shape) == len(expected) and all(
        a == b or a is None or b is None for a, b in zip(shape, expected, strict=True)
    )
