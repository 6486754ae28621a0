"""Checks of images and of labels of their pixels, where both are changed together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtlzoo.tasks import Task


def image_spec(inputs: Any, image: str | None, what: str) -> tuple[str | None, Any]:
    """Find the input that holds images.

    Args:
        inputs: the spec of one tensor, or a dict of them.
        image: the name of an input; `None` for the only one.
        what: what is done with it, for messages.

    Returns:
        Its name, `None` where there is one tensor, and its spec, `(B, H, W, C)`.

    Raises:
        ValueError: there is no such input, or it holds no images of a known size.
    """
    known = sorted(inputs) if isinstance(inputs, dict) else [None]
    if image is None and len(known) == 1:
        (image,) = known
    if image not in known:
        raise ValueError(
            f"`image` should be the name of an input, one of {known}. Received: image={image!r}"
        )
    spec = inputs if image is None else inputs[image]
    if spec.shape.rank != 4 or None in spec.shape[1:]:
        raise ValueError(
            f"The input that {what} should be images (B, H, W, C) of a known size. "
            f"Received: shape {tuple(spec.shape) if spec.shape.rank else None}"
        )
    return image, spec


def check_pixels(task: Task, labels: Any, size: tuple[int, int]) -> None:
    """Check that labels of pixels have the size of the images.

    Args:
        task: the task.
        labels: the spec of its labels.
        size: height and width of the images.

    Raises:
        ValueError: they have another one.
    """
    if task.loss_rank == 3 and tuple(labels.shape[1:3]) != size:
        raise ValueError(
            f"Labels of task `{task.name}` should have the size {size} of the image. "
            f"Received: {tuple(labels.shape[1:3])}"
        )
