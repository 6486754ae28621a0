"""EfficientNet-Lite0 for images."""

import numbers
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
from mtlzoo.backbones.residual import check_stages, pool
from mtlzoo.layers.normalization import normalization
from mtlzoo.layers.policies import policy_config

# Of each stage the size of its kernels, the stride that it begins with, and by how much its blocks
# widen their input.
_STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))
_EPSILON = 1e-3


@keras.saving.register_keras_serializable(package="mtlzoo")
class EfficientNetLite0(Backbone):
    r"""EfficientNet-B0 without squeeze-and-excitation, of inverted residuals (Tan and Le, 2019).

    $$y = n(W_2\, r(n(D * r(n(W_1 x))))) \;[\,+\;x\,].$$

    $W_1$ and $W_2$ are convolutions 1×1, $D$ is one by channel, $n$ batch normalization, and $r$
    rectifies and cuts at 6. The sum is there where the shape does not change, and $W_1$ is not in
    the first stage. The defaults have 3,371,008 trained parameters, and with `classes=1000` those
    of the published network, 4,652,008.

    The input is pixels: the first layer of the graph, `pixels`, brings them from [0, 255] to
    `(x - 127) / 128`, which the published weights expect. `pretrained.load("efficientnet_lite0")`
    gives the backbone with them.

    Stages are `stem`, `stage_1` to `stage_7` and `head`, and where asked for `pool` and `logits`.

    Args:
        input_shape: `(height, width, 3)`, or of other channels; height and width may be None, but
            not on TPUs.
        blocks: number of blocks in each stage; fewer entries are fewer stages. Defaults to
            `(1, 2, 2, 3, 3, 4, 1)`.
        widths: channels of each stage. Defaults to `(16, 24, 40, 80, 112, 192, 320)`.
        stem_filters: channels of the first convolution. Defaults to 32.
        head_filters: channels of the last one. Defaults to 1280.
        max_pixel: what white is in the input: 255 or, where pixels have been scaled to [0, 1], 1.
            Defaults to 255.
        pooled: whether the features are the mean over the last map. Defaults to True.
        classes: classes of a linear classifier after pooling, whose logits are then the output.
            Defaults to None, for none.
        dtype: dtype policy of the layers. Defaults to the global one.
        name: name of the model. Defaults to one made from the class.

    Shapes:
        `(batch, height, width, channels)` in; `(batch, head_filters)` out, or without pooling
        `(batch, height / 32, width / 32, head_filters)`, rounded up, or `(batch, classes)`.

    Raises:
        ValueError: for an unusable shape, width, number of classes or dtype, or for classes without
            pooling.

    Example:
    ```python
    from mtlzoo.backbones import EfficientNetLite0

    trunk = EfficientNetLite0((64, 64, 3), blocks=(1, 1), widths=(8, 12), head_filters=16)
    trunk.stage_names  # ('stem', 'stage_1', 'stage_2', 'head', 'pool')
    ```

    References:
        Tan and Le, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*,
        ICML 2019. The Lite variants are a later release by its authors.

    *Differences from the paper*: those of the Lite variants; no stochastic depth, no dropout
    before the classifier, and averages of statistics that move by a tenth in each step.
    """

    width_arguments = ("widths", "stem_filters", "head_filters")

    def __init__(
        self,
        input_shape: Sequence[int | None],
        blocks: Sequence[int] = (1, 2, 2, 3, 3, 4, 1),
        widths: Sequence[int] = (16, 24, 40, 80, 112, 192, 320),
        *,
        stem_filters: int = 32,
        head_filters: int = 1280,
        max_pixel: float = 255.0,
        pooled: bool = True,
        classes: int | None = None,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        input_shape = check_input_shape(input_shape, 3, "(height, width, channels)", unknown=2)
        blocks, widths = check_widths("blocks", blocks), check_widths("widths", widths)
        check_stages(blocks, widths)
        if len(blocks) > len(_STAGES):
            raise ValueError(
                f"`blocks` should have at most {len(_STAGES)} entries. Received: blocks={blocks}"
            )
        check_positive("stem_filters", stem_filters)
        check_positive("head_filters", head_filters)
        is_number = isinstance(max_pixel, numbers.Real) and not isinstance(max_pixel, bool)
        if not (is_number and 0 < max_pixel < float("inf")):
            raise ValueError(
                f"`max_pixel` should be a positive number. Received: max_pixel={max_pixel!r}"
            )
        if classes is not None:
            check_positive("classes", classes)
            if not pooled:
                raise ValueError(
                    "`pooled` should be True with `classes`, whose classifier reads one vector. "
                    f"Received: pooled=False, classes={classes}"
                )
        dtype = policy_config(dtype)

        # --- Graph ---
        inputs = keras.Input(input_shape, name="image")
        scale, offset = 255.0 / max_pixel / 128.0, -127.0 / 128.0
        features = keras.layers.Rescaling(scale, offset, name="pixels", dtype=dtype)(inputs)
        features = _convolve(features, stem_filters, 3, "stem", dtype, strides=2)
        stage_names = ["stem"]
        stages = zip(blocks, widths, _STAGES[: len(blocks)], strict=True)
        for number, (count, width, (kernel_size, strides, expansion)) in enumerate(stages, 1):
            stage = f"stage_{number}"
            for i in range(count):
                block = f"{stage}_block_{i}"
                end = stage if i == count - 1 else block
                first = strides if i == 0 else 1
                features = _block(features, width, kernel_size, block, end, dtype, first, expansion)
            stage_names.append(stage)
        features = _convolve(features, head_filters, 1, "head", dtype)
        stage_names.append("head")
        if pooled:
            features = pool(features, dtype)
            stage_names.append("pool")
        if classes is not None:
            features = keras.layers.Dense(classes, name="logits", dtype=dtype)(features)
            stage_names.append("logits")

        # --- Config ---
        arguments = {
            "input_shape": list(input_shape),
            "blocks": list(blocks),
            "widths": list(widths),
            "stem_filters": stem_filters,
            "head_filters": head_filters,
            "max_pixel": max_pixel,
            "pooled": pooled,
            "classes": classes,
            "dtype": dtype,
        }
        super().__init__(inputs, features, stage_names, arguments, name)


def _block(
    x: Any,
    filters: int,
    kernel_size: int,
    name: str,
    end: str,
    dtype: Any,
    strides: int,
    expansion: int,
) -> Any:
    """An inverted residual, whose last layer is called `end`."""
    y, channels = x, x.shape[-1]
    if expansion != 1:
        y = _convolve(y, channels * expansion, 1, f"{name}_expand", dtype)
    y = _convolve(y, None, kernel_size, f"{name}_depthwise", dtype, strides=strides)
    has_sum = strides == 1 and channels == filters
    y = _convolve(y, filters, 1, f"{name}_project" if has_sum else end, dtype, activated=False)
    return keras.layers.Add(name=end, dtype=dtype)([x, y]) if has_sum else y


def _convolve(
    x: Any,
    filters: int | None,
    kernel_size: int,
    name: str,
    dtype: Any,
    strides: int = 1,
    activated: bool = True,
) -> Any:
    """A convolution, by channel where `filters` is None, its normalization and activation.

    "same" is TensorFlow's, with which the weights were trained: a stride of 2 that meets an even
    size pads below and to the right only.
    """
    options = {
        "strides": strides,
        "padding": "same",
        "use_bias": False,
        ("kernel" if filters else "depthwise") + "_initializer": keras.initializers.VarianceScaling(
            2.0, "fan_out", "untruncated_normal"
        ),
    }
    convolution: Any = keras.layers.DepthwiseConv2D
    if filters:
        convolution = partial(keras.layers.Conv2D, filters)
    width = filters or x.shape[-1]
    steps: list = [
        ("conv", partial(convolution, kernel_size, **options)),
        ("norm", partial(normalization, "batch", width, epsilon=_EPSILON)),
    ]
    if activated:
        steps.append(("relu6", partial(keras.layers.ReLU, 6.0)))
    return chain(x, name, dtype, steps)
