"""What a task receives from the features of all tasks' columns."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_bool, check_number


@keras.saving.register_keras_serializable(package="mtlzoo")
class CrossStitchUnit(keras.layers.Layer):
    r"""What one task receives: a learned mixture of all tasks' features (Misra et al., 2016).

    $$\tilde x_t = \sum_{j=1}^{T} \alpha_{tj} x_j.$$

    It is row $t$ of the paper's unit, whose matrix is that of T such layers. With `subspaces` $G$,
    the channels of every tensor are cut in $G$ parts of equal width, and each part of the receiver
    mixes all $TG$ parts (Ruder et al., 2019):
    $\tilde x_{t,g} = \sum_{j,h} \alpha_{(t,g),(j,h)} x_{j,h}$.

    Args:
        receiver: int, which of the inputs is the receiving task's own.
        within: what $\alpha$ begins with for the receiver's own part. Defaults to 0.9.
        between: what $\alpha$ begins with for any other part. Defaults to
            `(1 - within) / (T * subspaces - 1)`, so that the row sums to 1.
        per_channel: whether every channel has an $\alpha$ of its own. Defaults to `False`.
        subspaces: int, the number of parts of the channels. Defaults to 1.
        **kwargs: those of `keras.layers.Layer`.

    Attributes:
        alpha: the variable, `(subspaces, T * subspaces)`, with `per_channel` one axis more, of the
            channels of a part.

    Shapes:
        A list of T tensors of one shape `(batch, ..., channels)` in, one tensor of that shape out.

    Raises:
        ValueError: for arguments out of range, and for inputs that do not fit.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import CrossStitchUnit

    one, two = np.ones((1, 4), "float32"), np.zeros((1, 4), "float32")
    CrossStitchUnit(0)([one, two])  # [[0.9, 0.9, 0.9, 0.9]]
    CrossStitchUnit(1)([one, two])  # [[0.1, 0.1, 0.1, 0.1]]
    ```

    References:
        Misra et al., *Cross-stitch Networks for Multi-task Learning*, CVPR 2016.

        Ruder et al., *Latent Multi-task Architecture Learning*, AAAI 2019.

    *Differences from the papers*: any number of tasks, and a variable of its own for each row of
    the matrix.
    """

    def __init__(
        self,
        receiver: int,
        within: float = 0.9,
        between: float | None = None,
        per_channel: bool = False,
        subspaces: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.receiver = check_receiver(receiver)
        self.within = check_number("within", within)
        self.between = None if between is None else check_number("between", between)
        self.per_channel = check_bool("per_channel", per_channel)
        if not _is_integer(subspaces) or subspaces < 1:
            raise ValueError(
                f"`subspaces` should be a positive integer. Received: subspaces={subspaces!r}"
            )
        self.subspaces = subspaces
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make the receiver's row of the matrix."""
        count, channels = check_inputs(self, input_shape, self.receiver)
        parts = count * self.subspaces
        if channels % self.subspaces:
            raise ValueError(
                f"The channels that `{self.name}` receives should be divisible by `subspaces`. "
                f"Received: {channels} channels, subspaces={self.subspaces}"
            )
        between = between_of(self.within, self.between, parts)
        width = (channels // self.subspaces,) if self.per_channel else ()

        def initialize(shape, dtype=None):
            first = self.receiver * self.subspaces
            own = ops.one_hot(ops.arange(first, first + self.subspaces), parts, dtype=dtype)
            rows = own * self.within + (1 - own) * between
            return ops.broadcast_to(rows[..., None], shape) if width else rows

        shape = (self.subspaces, parts, *width)
        self.alpha = self.add_weight(name="alpha", shape=shape, initializer=initialize)

    def call(self, features: Sequence[Any]) -> Any:
        """The receiver's mixture."""
        alpha = ops.convert_to_tensor(self.alpha)
        parts = [part for x in features for part in ops.split(x, self.subspaces, axis=-1)]
        received = [
            sum(alpha[g, i] * part for i, part in enumerate(parts)) for g in range(self.subspaces)
        ]
        return received[0] if self.subspaces == 1 else ops.concatenate(received, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The shape of each input."""
        return tuple(input_shape[self.receiver])

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the receiver's own features."""
        return None if previous_mask is None else previous_mask[self.receiver]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "receiver": self.receiver,
            "within": self.within,
            "between": self.between,
            "per_channel": self.per_channel,
            "subspaces": self.subspaces,
        }


def between_of(within: float, between: float | None, parts: int) -> float:
    """What any other of `parts` parts begins with, if the row is to sum to 1 unless told."""
    return (1 - within) / max(parts - 1, 1) if between is None else between


def check_inputs(
    layer: keras.layers.Layer, shapes: Any, receiver: int | None = None
) -> tuple[int, int]:
    """The number and the channels of the tensors of one shape that a layer mixes.

    Raises:
        ValueError: naming the layer, for anything else.
    """
    is_list = isinstance(shapes, list | tuple) and len(shapes) > 0
    shapes = [tuple(s) for s in shapes] if is_list and isinstance(shapes[0], list | tuple) else []
    if not shapes or len(set(shapes)) > 1 or len(shapes[0]) < 2 or shapes[0][-1] is None:
        raise ValueError(
            f"The inputs of `{layer.name}` should be a list of tensors of one shape with known "
            f"channels. Received: shapes={shapes}"
        )
    if receiver is not None and receiver >= len(shapes):
        raise ValueError(
            f"`receiver` of `{layer.name}` should be the index of one of its inputs. "
            f"Received: receiver={receiver} for {len(shapes)} inputs"
        )
    return len(shapes), shapes[0][-1]


def check_receiver(receiver: int) -> int:
    """The index of an input.

    Raises:
        ValueError: for anything else.
    """
    if _is_integer(receiver) and receiver >= 0:
        return receiver
    raise ValueError(
        f"`receiver` should be an integer of at least 0. Received: receiver={receiver!r}"
    )


def _is_integer(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
