"""Tasks with a label for each pixel."""

from typing import Any

from mtlzoo.tasks import heads
from mtlzoo.tasks.task import Task, check_shape


class PixelTask(Task):
    """Base of the kinds with a label for each pixel: their size and their head.

    A kind calls `_set_size` when it is made, and supplies what `Task` says.
    """

    loss_rank = 3
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

    def _label_shapes(self) -> set[tuple[int | None, ...]]:
        shape = self.label_shape
        return {shape} if len(shape) == 3 else {shape, (*shape, 1)}

    def head(self, features: Any) -> Any:
        """One 1x1 convolution, and where its size is not that of the labels a bilinear resizing.

        Args:
            features: Symbolic tensor `(B, H, W, F)`.

        Returns:
            Symbolic tensor of raw values; float64 if the program computes in float64, else float32.

        Raises:
            ValueError: If `features` have another rank.
        """
        return heads.of_pixels(self.name, features, self.output_shape[-1] or 1, self.size)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"size": self.size, **super().get_config()}
