"""Convolutional networks of the size of LeNet."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from mtlzoo.backbones.backbone import (
    Backbone,
    chain,
    check_input_shape,
    check_positive,
    check_widths,
)
from mtlzoo.layers.arguments import check_rate, check_units
from mtlzoo.layers.policies import policy_config


@keras.saving.register_keras_serializable(package="mtlzoo")
class ConvNet(Backbone):
    r"""Convolutions with pooling, then fully connected layers (LeCun et al., 1998).

    $$h_i = \mathrm{maxpool}(a(h_{i-1} * K_i + b_i)), \qquad
    z_j = a(z_{j-1} W_j + c_j), \quad z_0 = \mathrm{flatten}(h_n).$$

    The defaults are the trunk that Sener and Koltun (2018) share on MultiMNIST, whose images are
    36×36: convolutions of 10 and 20 channels, and 50 units. Stages are `conv_0`, `conv_1`, ...,
    `dense_0`, ...

    Args:
        input_shape: `(height, width, channels)`.
        filters: channels of the convolutions. Defaults to `(10, 20)`.
        kernel_size: size of their kernels. Defaults to 5.
        pool_size: size and stride of the pooling. Defaults to 2.
        dense_units: widths of the fully connected layers; with none, the flattened maps are the
            features, of the stage `flatten`. Defaults to `(50,)`.
        activation: activation after each convolution and fully connected layer. Defaults to
            `"relu"`.
        dropout: rate of the dropout after each fully connected layer. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        name: name of the model. Defaults to one made from the class.

    Shapes:
        `(batch, height, width, channels)` in, `(batch, dense_units[-1])` out.

    Raises:
        ValueError: for an unusable shape, width, size, rate or dtype, or an image that is too small
            for the convolutions.

    Example:
    ```python
    from mtlzoo.backbones import ConvNet

    trunk = ConvNet((36, 36, 1))
    trunk.stage_names  # ('conv_0', 'conv_1', 'dense_0')
    ```

    References:
        LeCun et al., *Gradient-Based Learning Applied to Document Recognition*, Proceedings of the
        IEEE 86, 1998.

        Sener and Koltun, *Multi-Task Learning as Multi-Objective Optimization*, NeurIPS 2018.

    *Differences from the papers*: maxima and rectified units as in the second, without its dropout
    of channels.
    """

    width_arguments = ("filters", "dense_units")

    def __init__(
        self,
        input_shape: Sequence[int],
        filters: Sequence[int] = (10, 20),
        *,
        kernel_size: int = 5,
        pool_size: int = 2,
        dense_units: Sequence[int] = (50,),
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        input_shape = check_input_shape(input_shape, 3, "(height, width, channels)")
        filters = check_widths("filters", filters)
        kernel_size = check_positive("kernel_size", kernel_size)
        pool_size = check_positive("pool_size", pool_size)
        dense_units = check_units("dense_units", dense_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        layers = keras.layers
        activate = partial(layers.Activation, activation)

        # --- Graph ---
        inputs = keras.Input(input_shape, name="image")
        features = inputs
        stage_names = []
        for i, width in enumerate(filters):
            _check_size(input_shape, features.shape[1:3], kernel_size, pool_size)
            stage_names.append(f"conv_{i}")
            steps: list = [
                ("conv", partial(layers.Conv2D, width, kernel_size)),
                ("activation", activate),
                ("pool", partial(layers.MaxPooling2D, pool_size)),
            ]
            features = chain(features, stage_names[-1], dtype, steps)
        features = layers.Flatten(name="flatten", dtype=dtype)(features)
        for i, width in enumerate(dense_units):
            stage_names.append(f"dense_{i}")
            steps = [("dense", partial(layers.Dense, width)), ("activation", activate)]
            if dropout:
                steps.append(("dropout", partial(layers.Dropout, dropout)))
            features = chain(features, stage_names[-1], dtype, steps)
        if not dense_units:
            stage_names.append("flatten")

        # --- Config ---
        arguments = {
            "input_shape": list(input_shape),
            "filters": list(filters),
            "kernel_size": kernel_size,
            "pool_size": pool_size,
            "dense_units": list(dense_units),
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        super().__init__(inputs, features, stage_names, arguments, name)


def _check_size(input_shape: tuple, size: tuple, kernel_size: int, pool_size: int) -> None:
    if min(size) < kernel_size + pool_size - 1:
        raise ValueError(
            f"`input_shape` should be large enough for convolutions of {kernel_size} and pooling "
            f"of {pool_size}, of which one receives maps of {size[0]}x{size[1]}. "
            f"Received: input_shape={input_shape}"
        )
