"""The layers that turn features into a task's raw values."""

import numbers
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.layers.aspp import ASPP
from mtlzoo.layers.normalization import normalization
from mtlzoo.layers.policies import at_least_float32
from mtlzoo.layers.sequences import MaskedMean

# Axes of features by rank: rows, sequences, images, volumes.
SHAPES = {2: "(None, F)", 3: "(None, S, F)", 4: "(None, H, W, F)", 5: "(None, D, H, W, F)"}

_POOLS: dict[int, Any] = {
    3: MaskedMean,
    4: keras.layers.GlobalAveragePooling2D,
    5: keras.layers.GlobalAveragePooling3D,
}


def of_rows(name: str, features: Any, units: int, activation: str | None = None) -> Any:
    """One dense layer on the features of each row, averaged over their other axes first.

    A sequence is averaged over the steps that its Keras mask, if it has one, does not leave out.

    Args:
        name: The task's name, and the dense layer's; that of the pooling layer is `<name>_pool`.
        features: Symbolic tensor `(B, F)`, `(B, S, F)`, `(B, H, W, F)` or `(B, D, H, W, F)`.
        units: Number of outputs.
        activation: Activation of the dense layer. Defaults to none.

    Returns:
        Symbolic tensor `(B, units)`, float64 if the program computes in float64, else float32.

    Raises:
        ValueError: If `features` have another rank.

    Example:
    ```python
    import keras
    from mtlzoo.tasks import heads

    heads.of_rows("click", keras.Input((32, 32, 8)), 1).shape  # (None, 1)
    ```
    """
    check_features(name, features, tuple(SHAPES))
    rank, dtype = len(features.shape), at_least_float32()
    if rank > 2:
        arguments: dict[str, Any] = {"name": f"{name}_pool", "dtype": dtype}
        if rank > 3:
            arguments["data_format"] = "channels_last"
        features = _POOLS[rank](**arguments)(features)
    return keras.layers.Dense(units, activation=activation, name=name, dtype=dtype)(features)


def of_steps(name: str, features: Any, units: int, layer: str | None = None) -> Any:
    """One dense layer on the features of each step of a sequence.

    Args:
        name: The task's name.
        features: Symbolic tensor `(B, S, F)`.
        units: Number of outputs of each step.
        layer: Name of the layer. Defaults to that of the task.

    Returns:
        Symbolic tensor `(B, S, units)`, float64 if the program computes in float64, else float32.

    Raises:
        ValueError: If `features` have another rank.

    Example:
    ```python
    import keras
    from mtlzoo.tasks import heads

    heads.of_steps("tags", keras.Input((32, 8)), 5).shape  # (None, 32, 5)
    ```
    """
    check_features(name, features, (3,))
    return keras.layers.Dense(units, name=layer or name, dtype=at_least_float32())(features)


def of_pixels(
    name: str,
    features: Any,
    channels: int,
    size: tuple[int, int] | None = None,
    head_units: Sequence[int] = (),
    aspp_filters: int | None = None,
    aspp_rates: Sequence[int] = (6, 12, 18),
) -> Any:
    """A decoder if one is asked for, and one 1x1 convolution, resized if its size is not `size`.

    The decoder is an `ASPP`, `<name>_aspp`, and then 3x3 convolutions, `<name>_head_<i>`, each with
    batch normalization and a rectifier. Both compute in the type of the features.

    Args:
        name: The task's name, and the last layer's; where that resizes, the convolution is named
            `<name>_projection`.
        features: Symbolic tensor `(B, H, W, F)`.
        channels: Number of outputs of each pixel.
        size: Height and width of the outputs. Defaults to those of the features.
        head_units: Channels of the 3x3 convolutions. Defaults to none.
        aspp_filters: Channels of the `ASPP`. Defaults to None, for none.
        aspp_rates: Its rates. Defaults to `(6, 12, 18)`.

    Returns:
        Symbolic tensor `(B, H, W, channels)`, float64 if the program computes in float64, else
        float32.

    Raises:
        ValueError: If `features` have another rank.

    Example:
    ```python
    import keras
    from mtlzoo.tasks import heads

    heads.of_pixels("depth", keras.Input((8, 8, 16)), 1, size=(32, 32)).shape  # (None, 32, 32, 1)
    ```
    """
    check_features(name, features, (4,))
    dtype = policy_of(features)
    if aspp_filters is not None:
        features = ASPP(aspp_filters, aspp_rates, name=f"{name}_aspp", dtype=dtype)(features)
    for i, units in enumerate(head_units):
        layer = f"{name}_head_{i}"
        features = keras.layers.Conv2D(
            units,
            3,
            padding="same",
            data_format="channels_last",
            use_bias=False,
            kernel_initializer="he_normal",
            name=layer,
            dtype=dtype,
        )(features)
        features = normalization("batch", units, f"{layer}_norm", dtype)(features)
        features = keras.layers.ReLU(name=f"{layer}_relu", dtype=dtype)(features)
    resizes = size is not None and tuple(features.shape[1:3]) != size
    outputs = keras.layers.Conv2D(
        channels,
        1,
        data_format="channels_last",
        name=f"{name}_projection" if resizes else name,
        dtype=at_least_float32(),
    )(features)
    if not resizes:
        return outputs
    return BilinearResizing(size, name=name, dtype=at_least_float32())(outputs)


def check_features(name: str, features: Any, ranks: tuple[int, ...]) -> None:
    """Checks that `features` are one tensor of one of `ranks`.

    Args:
        name: The task's name, for the message.
        features: What should be features.
        ranks: The ranks that will do.

    Raises:
        ValueError: If they are not.
    """
    texts = [SHAPES[rank] for rank in ranks]
    text = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"
    if not hasattr(features, "shape"):
        raise ValueError(
            f"The features of task `{name}` should be one tensor of shape {text}. "
            f"Received: features={features!r}"
        )
    if len(features.shape) not in ranks:
        raise ValueError(
            f"The features of task `{name}` should have shape {text}. Received: "
            f"shape={tuple(features.shape)}"
        )


def check_units(name: str, argument: str, units: Any) -> tuple[int, ...]:
    """A tuple of widths of a task's head.

    Args:
        name: The task's name, for the message.
        argument: That of the argument.
        units: What should be a list or tuple of positive integers.

    Raises:
        ValueError: If it is not.
    """
    if isinstance(units, list | tuple) and all(
        isinstance(n, numbers.Integral) and not isinstance(n, bool) and int(n) > 0 for n in units
    ):
        return tuple(map(int, units))
    raise ValueError(
        f"`{argument}` of task `{name}` should be a tuple of positive integers. "
        f"Received: {argument}={units!r}"
    )


def policy_of(features: Any) -> str:
    """The dtype policy of hidden layers on `features`: that of the layers they come from.

    So a loaded model computes as the saved one did, whatever the policy of the program.
    """
    return {"float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}.get(
        features.dtype, features.dtype
    )


@keras.saving.register_keras_serializable(package="mtlzoo")
class BilinearResizing(keras.layers.Layer):
    r"""Images resized by linear interpolation between the centres of pixels, without antialiasing.

    $$y_p = \sum_i \max\big(0, 1 - |g_p - i|\big)\, x_i, \qquad
    g_p = \mathrm{clip}\big((p + \tfrac12)\tfrac{n}{m} - \tfrac12,\ 0,\ n - 1\big)$$

    for each of the two axes, of `n` pixels before and `m` after. As two matrix products it keeps
    float64, which `tf.image.resize` rounds to float32; on a CPU under XLA, forward and back from
    (36, 48) to (144, 192) with 13 channels, it took an eighth of the time of
    `keras.layers.Resizing` (11 against 92 ms).

    Args:
        size: Height and width of the result.
        **kwargs: Name and dtype, as for every layer.

    Shapes:
        `(B, H, W, C)` to `(B, *size, C)`.

    Example:
    ```python
    from keras import ops
    from mtlzoo.tasks.heads import BilinearResizing

    BilinearResizing((1, 4))(ops.reshape([0.0, 1.0], (1, 1, 2, 1)))  # 0, 0.25, 0.75, 1
    ```
    """

    def __init__(self, size: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, inputs: Any) -> Any:
        """The resized images."""
        _, height, width, _ = ops.shape(inputs)
        rows = self._weights(height, self.size[0], inputs.dtype)
        columns = self._weights(width, self.size[1], inputs.dtype)
        return ops.einsum("pw,bowc->bopc", columns, ops.einsum("oh,bhwc->bowc", rows, inputs))

    @staticmethod
    def _weights(before, after: int, dtype):
        last = ops.cast(before - 1, dtype)
        centres = ops.arange(after, dtype=dtype) + 0.5
        centres = centres * ((last + 1) / after) - 0.5
        centres = ops.minimum(ops.maximum(centres, 0), last)
        distances = ops.expand_dims(centres, 1) - ops.arange(before, dtype=dtype)
        return ops.relu(1 - ops.abs(distances))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(B, *size, C)`."""
        return (input_shape[0], *self.size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {**super().get_config(), "size": self.size}
