"""Tasks with a label for each pixel."""

from collections.abc import Sequence
from typing import Any

from mtlzoo.tasks import heads
from mtlzoo.tasks.task import Task, check_shape


class PixelTask(Task):
    """Base of the kinds with a label for each pixel: their size and their head.

    A kind calls `_set_size` and `_set_head` when it is made, and supplies what `Task` says.
    """

    loss_rank = 3
    width_arguments = ("head_units", "aspp_filters")
    size: tuple[int, int] | None

    def _set_size(self, size: Any, channels: int, label_channels: tuple[int, ...] = ()) -> None:
        """Sets the shapes of labels and outputs; `None` is a size that is not known."""
        if size is not None and (len(check_shape(self.name, "size", size)) != 2 or None in size):
            raise ValueError(
                f"`size` of task `{self.name}` should be a height and a width, or None. "
                f"Received: size={size!r}"
            )
        self.size = None if size is None else (int(size[0]), int(size[1]))
        known = self.size or (None, None)
        self.output_shape = (*known, channels)
        self.label_shape = (*known, *label_channels)

    def _set_head(
        self, head_units: Sequence[int], aspp_filters: int | None, aspp_rates: Sequence[int]
    ) -> None:
        """Sets the layers before the last convolution, as `heads.of_pixels` takes them."""
        self.head_units = heads.check_units(self.name, "head_units", head_units)
        self.aspp_filters = (
            None if aspp_filters is None else self._at_least("aspp_filters", aspp_filters, 1)
        )
        self.aspp_rates = heads.check_units(self.name, "aspp_rates", aspp_rates)

    def _label_shapes(self) -> set[tuple[int | None, ...]]:
        shape = self.label_shape
        return {shape} if len(shape) == 3 else {shape, (*shape, 1)}

    def head(self, features: Any) -> Any:
        """What `aspp_filters` and `head_units` ask for, one 1x1 convolution, and where its size is
        not that of the labels a bilinear resizing.

        Args:
            features: Symbolic tensor `(B, H, W, F)`.

        Returns:
            Symbolic tensor of raw values; float64 if the program computes in float64, else float32.

        Raises:
            ValueError: If `features` have another rank.
        """
        return heads.of_pixels(
            self.name,
            features,
            self.output_shape[-1] or 1,
            self.size,
            self.head_units,
            self.aspp_filters,
            self.aspp_rates,
        )

    def soft_loss_values(self, teacher: Any, outputs: Any, temperature: float) -> Any:
        """The task's own loss, with a teacher's outputs as labels, see `Task.soft_loss_values`."""
        return self.loss_values(self.loss, teacher, outputs)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "size": self.size,
            "head_units": list(self.head_units),
            "aspp_filters": self.aspp_filters,
            "aspp_rates": list(self.aspp_rates),
            **super().get_config(),
        }
