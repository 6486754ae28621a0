"""Reading pictures with Pillow (extra `datasets`), and the preprocessor of pictures."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras


def pillow() -> Any:
    """Import Pillow's module of pictures.

    Returns:
        `PIL.Image`.

    Raises:
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Reading pictures needs Pillow: pip install 'mtlzoo[datasets]'"
        ) from error
    return Image


def decode(file: bytes, mode: str) -> np.ndarray:
    """Decode a picture, whatever its own mode.

    Args:
        file: the content of a PNG or JPEG file.
        mode: `"RGB"` or `"RGBA"`.

    Returns:
        The picture `(height, width, channels)` in `uint8`.
    """
    return np.asarray(pillow().open(io.BytesIO(file)).convert(mode))


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a picture, averaging where it shrinks; transparent pixels have no colour.

    Args:
        picture: `(h, w, 3)` or `(h, w, 4)` in `uint8`.
        height: new height in pixels.
        width: new width in pixels.

    Returns:
        The picture `(height, width, channels)` in `uint8`.
    """
    image = pillow()
    return np.asarray(image.fromarray(picture).resize((width, height), image.Resampling.BILINEAR))


def fitting(picture: np.ndarray, longest: int) -> tuple[int, int]:
    """Return height and width with which the longer side of a picture has a given length.

    Args:
        picture: `(h, w, channels)`.
        longest: pixels of the longer side.

    Returns:
        Height and width, each at least 1.
    """
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink(picture: np.ndarray, longest: int) -> np.ndarray:
    """Resize a picture whose longer side is too long, and leave any other as it is.

    Args:
        picture: `(h, w, channels)` in `uint8`.
        longest: most pixels of the longer side.

    Returns:
        The picture, of the same proportions.
    """
    if max(picture.shape[:2]) <= longest:
        return picture
    return resize(picture, *fitting(picture, longest))


def scaling(shape: tuple[int, ...]) -> keras.Model:
    """Make the preprocessor of one picture.

    Args:
        shape: height, width and channels.

    Returns:
        A model from `{"image": uint8 (batch, *shape)}` to `float32` between 0 and 1.
    """
    import keras

    image = keras.Input(shape, name="image", dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255, dtype="float32", name="scaled")(image)
    return keras.Model({"image": image}, scaled, name="preprocessor")
