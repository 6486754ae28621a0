"""A batch divided into micro-batches, and what came of them joined again."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from mtlzoo.gramian import dense
from mtlzoo.layers.positions import with_mask


class MicroBatches:
    """The inputs of a batch in parts of consecutive rows, as equal as can be.

    Args:
        inputs: tensors by key, each with the rows of the batch as first axis.
        masks: by key their Keras masks, or `None`.
        count: number of parts.

    Attributes:
        count: number of parts.
        sizes: by part its number of rows.
    """

    def __init__(
        self, inputs: Mapping[int, tf.Tensor], masks: Mapping[int, Any], count: int
    ) -> None:
        self.count = count
        self._given = dict(inputs)
        self._masks = dict(masks)
        first = next(iter(inputs.values()))
        self._rows = first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]
        self._bounds = [self._rows * i // count for i in range(count + 1)]
        starts_and_ends = zip(self._bounds, self._bounds[1:], strict=False)
        self.sizes = [end - start for start, end in starts_and_ends]

    def inputs(self, after: Sequence = ()) -> list[dict[int, tf.Tensor]]:
        """By part its inputs by key, with their masks.

        Args:
            after: what must have been computed before anything is computed of them.
        """
        found: list[dict] = [{} for _ in range(self.count)]
        for key, tensor in self._given.items():
            mask = self._masks.get(key)
            masks = [None] * self.count if mask is None else self.split(mask)
            for part, own, own_mask in zip(found, self.split(tensor), masks, strict=True):
                if own_mask is not None:
                    own = tf.identity(own)
                    own._keras_mask = own_mask
                part[key] = later(own, after) if after else own
        return found

    def split(self, tensor: tf.Tensor) -> list[tf.Tensor]:
        """A tensor with the rows of the batch by part."""
        if self.count == 1:
            return [tensor]
        return [
            tensor[start:end] for start, end in zip(self._bounds, self._bounds[1:], strict=False)
        ]

    def join(self, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        """The rows of all parts, with their masks."""
        if self.count == 1:
            return tensors[0]
        joined = tf.concat(list(tensors), axis=0)
        masks = [getattr(tensor, "_keras_mask", None) for tensor in tensors]
        if masks[0] is not None:
            joined._keras_mask = tf.concat(masks, axis=0)
        return joined

    def mean(self, losses: Sequence[tf.Tensor]) -> tf.Tensor:
        """The mean over rows of what is, by part, a mean over its rows."""
        return tf.add_n([self.share(loss, part) for part, loss in enumerate(losses)])

    def share(self, number: tf.Tensor, part: int) -> tf.Tensor:
        """A number times what part of the rows is in a part; zero if that has none."""
        if self.count == 1:
            return number
        size = tf.cast(self.sizes[part], number.dtype)
        share = number * size / tf.cast(self._rows, number.dtype)
        return tf.where(size > 0, share, tf.zeros_like(share))


def later(tensor: tf.Tensor, after: Sequence) -> tf.Tensor:
    """The same tensor, such that nothing is computed of it before `after` is.

    Without that, what is computed again is computed at once, or not at all, since XLA and
    TensorFlow take two equal computations for one. XLA does not heed control dependencies: so a
    zero that depends on `after` is added.

    Args:
        tensor: numbers, or anything else, which is left alone.
        after: tensors, of which the first counts.
    """
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer):
        return tensor
    first = next(each for each in after if each is not None)
    first = first.values if isinstance(first, tf.IndexedSlices) else first
    number = tf.reduce_max(tf.cast(tf.reshape(first, [-1])[:1], "float32"))
    # Zero also where `number` is not finite, and nothing that compilers simplify.
    zero = tf.minimum(tf.cast(tf.math.is_nan(number), "int32"), 0)
    return with_mask(tensor + tf.cast(zero, tensor.dtype), tensor)


def total(gradients: Sequence) -> Any:
    """The sum of gradients, `None` of none; of slices, slices."""
    if not gradients:
        return None
    if len(gradients) == 1:
        return gradients[0]
    if all(isinstance(gradient, tf.IndexedSlices) for gradient in gradients):
        return tf.IndexedSlices(
            tf.concat([g.values for g in gradients], axis=0),
            tf.concat([g.indices for g in gradients], axis=0),
            gradients[0].dense_shape,
        )
    return tf.add_n([dense(gradient) for gradient in gradients])
