"""Images moved by Keras layers, and labels moved with them, pixel by pixel and box by box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mtlzoo.data.elements import spread

if TYPE_CHECKING:
    import tensorflow as tf

_OUTSIDE = 0.001  # how far a marker is from that of the image's inside, where it is not inside


class Motion(NamedTuple):
    """Where each pixel of moved images comes from.

    Attributes:
        places: `(B, H', W', 2)`, its row and column in the image before, in pixels, which may lie
            between pixels.
        inside: bool `(B, H', W')`: whether it comes from inside the image.
        size: height and width before.
    """

    places: Any
    inside: Any
    size: tuple[int, int]

    @property
    def affine(self) -> tuple[Any, Any]:
        """The map from moved pixels to those before, as it is in the middle.

        Returns:
            Matrices `(B, 2, 2)` and vectors `(B, 2)`, of columns and rows (x before y), by which
            `before = matrix @ moved + vector`.
        """
        import tensorflow as tf

        height, width = self.places.shape[1:3]
        y, x = (height - 1) // 2, (width - 1) // 2
        corner = self.places[:, y, x, ::-1]
        by_x = self.places[:, y, min(x + 1, width - 1), ::-1] - corner
        by_y = self.places[:, min(y + 1, height - 1), x, ::-1] - corner
        matrix = tf.stack([by_x, by_y], axis=2)
        middle = tf.constant([float(x), float(y)])
        return matrix, corner - tf.linalg.matvec(matrix, middle)


def move(images: Any, layers: Sequence[Any], seeds: Any) -> tuple[Any, Motion]:
    """Move images by geometric layers, which see the pixels' places as further channels.

    So every layer of Keras that moves pixels works, whatever it draws and however it fills, and
    image and labels cannot come apart.

    Args:
        images: `(B, H, W, C)`, with known height and width.
        layers: Keras layers that move images.
        seeds: what `run` takes.

    Returns:
        The images in float32, and how they were moved.
    """
    import tensorflow as tf

    height, width, channels = images.shape[1:]
    rows = tf.broadcast_to(tf.range(height, dtype="float32")[:, None, None], (height, width, 1))
    columns = tf.broadcast_to(tf.range(width, dtype="float32")[:, None], (height, width, 1))
    # Outside, where a layer fills with a constant, the marker is another number.
    mark = 1.0 + max((getattr(layer, "fill_value", 0.0) for layer in layers), default=0.0)
    marks = tf.concat([rows, columns, tf.fill((height, width, 1), mark)], axis=-1)
    marks = tf.broadcast_to(marks, (tf.shape(images)[0], height, width, 3))
    moved = tf.concat([tf.cast(images, "float32"), marks], axis=-1)
    for layer in layers:
        moved = run(layer, moved, seeds)
    places = moved[..., channels : channels + 2]
    inside = tf.abs(moved[..., channels + 2] - mark) < _OUTSIDE
    return moved[..., :channels], Motion(places, inside, (height, width))


def run(layer: Any, inputs: Any, seeds: Any) -> Any:
    """Apply a layer in training, an image layer of Keras with given seeds.

    Args:
        layer: a Keras layer.
        inputs: what it is applied to.
        seeds: a seed generator; other layers draw from their own.

    Returns:
        What it gives.
    """
    if not hasattr(layer, "get_random_transformation"):
        return layer(inputs, training=True)
    transformation = layer.get_random_transformation(inputs, training=True, seed=seeds)
    return layer.transform_images(inputs, transformation, training=True)


def pixels(values: Any, motion: Motion, missing: float) -> tf.Tensor:
    """Move labels of pixels, each of which takes the value of the nearest pixel.

    Args:
        values: `(B, H, W)` or `(B, H, W, C)`.
        motion: how the image was moved.
        missing: what stands where a pixel comes from outside.

    Returns:
        The labels of the moved image.
    """
    import tensorflow as tf

    last = tf.constant([motion.size[0] - 1, motion.size[1] - 1])
    nearest = tf.clip_by_value(tf.cast(tf.round(motion.places), "int32"), 0, last)
    taken = tf.gather_nd(values, nearest, batch_dims=1)
    return tf.where(spread(motion.inside, values), taken, tf.cast(missing, values.dtype))


def scale(motion: Motion) -> tf.Tensor:
    """By how much images are larger than before, in each direction, `(B,)`."""
    import tensorflow as tf

    matrix, _ = motion.affine
    return 1 / tf.sqrt(tf.maximum(tf.abs(_determinant(matrix)), 1e-12))


def turned(vectors: Any, motion: Motion) -> tf.Tensor:
    """Turn and mirror vectors as the images were.

    Args:
        vectors: `(B, H, W, 3)`, of x to the right, y down, and z along the line of sight.
        motion: how the images were moved.

    Returns:
        The vectors; their lengths stay.
    """
    import tensorflow as tf

    matrix, _ = motion.affine
    a, b, c, d = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1]
    # The orthogonal matrix nearest to `matrix`: a rotation, or a reflection.
    rotation = tf.stack([a + d, b - c, c - b, a + d], -1)
    reflection = tf.stack([a - d, b + c, b + c, d - a], -1)
    nearest = tf.where(_determinant(matrix)[:, None] >= 0, rotation, reflection)
    nearest = tf.reshape(nearest, (-1, 2, 2)) / tf.norm(nearest[:, :2], axis=-1)[:, None, None]
    # `matrix` leads from the moved image back; its transpose leads there.
    plane = tf.einsum("bij,bhwi->bhwj", nearest, vectors[..., :2])
    return tf.concat([plane, vectors[..., 2:]], axis=-1)


def boxes(rows: Any, motion: Motion, min_visible: float) -> tf.Tensor:
    """Move boxes: the box around the four moved corners, cut at the border of the image.

    Args:
        rows: `(B, N, 5)`, as labels of `ObjectDetection`.
        motion: how the images were moved.
        min_visible: the least part of a moved box's area that must be inside; else the row becomes
            -1, no box.

    Returns:
        The rows; those without a box stay as they are.
    """
    import tensorflow as tf

    matrix, vector = motion.affine
    before = tf.constant([motion.size[1], motion.size[0]], "float32")
    after = tf.constant([motion.places.shape[2], motion.places.shape[1]], "float32")
    given = tf.cast(rows, "float32")
    x, y = given[..., 0:4:2], given[..., 1:4:2]  # (B, N, 2), the lower and the higher ones
    corners = tf.stack([tf.repeat(x, 2, axis=-1), tf.tile(y, (1, 1, 2))], -1)  # (B, N, 4, 2)
    offsets = corners * before - 0.5 - vector[:, None, None]
    moved = (tf.einsum("bij,bnkj->bnki", _inverse(matrix), offsets) + 0.5) / after
    whole = tf.concat([tf.reduce_min(moved, 2), tf.reduce_max(moved, 2)], -1)
    cut = tf.clip_by_value(whole, 0, 1)
    visible = _area(cut) / tf.maximum(_area(whole), 1e-12) >= max(min_visible, 1e-6)
    found = tf.concat([cut, given[..., 4:]], -1)
    found = tf.where(visible[..., None], found, -1.0)
    has_box = tf.reduce_all(given >= 0, -1, keepdims=True)
    return tf.where(has_box, tf.cast(found, rows.dtype), rows)


def _area(corners: Any) -> tf.Tensor:
    return (corners[..., 2] - corners[..., 0]) * (corners[..., 3] - corners[..., 1])


def _determinant(matrix: Any) -> tf.Tensor:
    return matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]


def _inverse(matrix: Any) -> tf.Tensor:
    import tensorflow as tf

    (a, b), (c, d) = (tf.unstack(row, axis=1) for row in tf.unstack(matrix, axis=1))
    return (
        tf.stack([tf.stack([d, -b], 1), tf.stack([-c, a], 1)], 1)
        / _determinant(matrix)[:, None, None]
    )
