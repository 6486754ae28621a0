"""Encoder of sensors' time series."""

from collections.abc import Sequence
from typing import Any

import keras

from mtlzoo.backbones.backbone import Backbone, check_positive, check_widths
from mtlzoo.backbones.residual import Style, check_odd, check_stages, pool
from mtlzoo.layers.normalization import check_norm
from mtlzoo.layers.policies import policy_config


@keras.saving.register_keras_serializable(package="mtlzoo")
class SensorEncoder(Backbone):
    r"""Residual network over time (Wang et al., 2017).

    $$x_{l+1} = a\big(s(x_l) + n(K_2 * a(n(K_1 * x_l)))\big).$$

    The convolutions go over time, the channels are the sensors. Stages are `stem`, `stage_1`,
    `stage_2`, ... (each after the first halves the time), and `pool`.

    Args:
        length: number of points in time.
        channels: number of sensors.
        blocks: number of blocks in each stage. Defaults to `(1, 1, 1)`.
        widths: channels of each stage. Defaults to `(64, 128, 128)`.
        kernel_size: odd size of the kernels. Defaults to 5.
        norm: `"batch"` or `"group"`. Defaults to `"batch"`.
        activation: activation after normalization and after sums. Defaults to `"relu"`.
        pooled: whether the features are the mean over time. Defaults to True.
        dtype: dtype policy of the layers. Defaults to the global one.
        name: name of the model. Defaults to one made from the class.

    Shapes:
        `(batch, length, channels)` in; `(batch, widths[-1])` out, or without pooling
        `(batch, length / 2**(stages - 1), widths[-1])`, rounded up.

    Raises:
        ValueError: for an unusable length, width, size, normalization or dtype.

    Example:
    ```python
    from mtlzoo.backbones import SensorEncoder

    encoder = SensorEncoder(128, 9, widths=(16, 32, 32))  # 9 channels, as of a smartphone
    encoder.output.shape  # (None, 32)
    ```

    References:
        Wang et al., *Time Series Classification from Scratch with Deep Neural Networks: A Strong
        Baseline*, IJCNN 2017.

    *Differences from the paper*: basic blocks of two convolutions with one kernel size instead of
    three with 8, 5 and 3, and strides.
    """

    width_arguments = ("widths",)

    def __init__(
        self,
        length: int,
        channels: int,
        *,
        blocks: Sequence[int] = (1, 1, 1),
        widths: Sequence[int] = (64, 128, 128),
        kernel_size: int = 5,
        norm: str = "batch",
        activation: Any = "relu",
        pooled: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        length, channels = check_positive("length", length), check_positive("channels", channels)
        blocks, widths = check_widths("blocks", blocks), check_widths("widths", widths)
        check_stages(blocks, widths)
        kernel_size = check_odd("kernel_size", kernel_size)
        dtype = policy_config(dtype)
        style = Style(check_norm(norm, "batch", "group"), activation, dtype)

        # --- Graph ---
        inputs = keras.Input((length, channels), name="sensors")
        features = style.convolve(inputs, widths[0], kernel_size, "stem_conv")
        features = style.activate("stem")(features)
        features, stages = style.stages(features, blocks, widths, kernel_size)
        stage_names = ["stem", *stages]
        if pooled:
            features = pool(features, dtype)
            stage_names.append("pool")

        # --- Config ---
        arguments = {
            "length": length,
            "channels": channels,
            "blocks": list(blocks),
            "widths": list(widths),
            "kernel_size": kernel_size,
            "norm": norm,
            "activation": activation,
            "pooled": pooled,
            "dtype": dtype,
        }
        super().__init__(inputs, features, stage_names, arguments, name)
