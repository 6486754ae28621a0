"""Residual networks for images."""

from collections.abc import Sequence
from typing import Any

import keras

from mtlzoo.backbones.backbone import (
    Backbone,
    check_input_shape,
    check_positive,
    check_widths,
)
from mtlzoo.backbones.residual import Style, check_stages, pool
from mtlzoo.layers.aspp import ASPP
from mtlzoo.layers.normalization import check_norm
from mtlzoo.layers.policies import policy_config


@keras.saving.register_keras_serializable(package="mtlzoo")
class ResNet(Backbone):
    r"""Residual network of basic blocks (He et al., 2016), also dilated for dense tasks.

    $$x_{l+1} = a\big(s(x_l) + n(K_2 * a(n(K_1 * x_l)))\big).$$

    $n$ is normalization, $s$ the identity, or a convolution 1×1 where the shape changes. The
    defaults are ResNet-18: 11,176,512 trained parameters with `stem="large"` (11.18 M; the paper's
    last layer of 1000 classes is not in it), 11,168,832 with `stem="small"` on colour images.

    For dense tasks take `pooled=False` and an `output_stride`: strides of 2 that would make the map
    smaller than that become rates (Chen et al., 2017), without a parameter more. `aspp_filters`
    adds atrous spatial pyramid pooling. The tasks' heads do the rest: a convolution 1×1 and a
    resize.

    Stages are `stem`, `stage_1`, `stage_2`, ..., and where asked for `pool` or `aspp`.

    Args:
        input_shape: `(height, width, channels)`; height and width may be None, but not on TPUs.
        blocks: number of blocks in each stage. Defaults to `(2, 2, 2, 2)`, ResNet-18;
            `(3, 4, 6, 3)` is ResNet-34.
        widths: channels of each stage. Defaults to `(64, 128, 256, 512)`.
        stem: `"small"` for small images, a convolution 3×3; `"large"` the paper's, a convolution
            7×7 of stride 2 and pooling of stride 2. Defaults to `"small"`.
        output_stride: how many pixels of the image, in each direction, one of the last map stands
            for: 32, 16, 8 or 4 for four stages and the large stem, 8, 4, 2 or 1 for the small one.
            Defaults to the largest.
        norm: `"batch"` or `"group"`. Defaults to `"batch"`.
        activation: activation after normalization and after sums. Defaults to `"relu"`.
        pooled: whether the features are the mean over the last map. Defaults to True.
        aspp_filters: channels of an `ASPP` after the last stage. Defaults to None, for none.
        aspp_rates: its rates. Defaults to `(6, 12, 18)`.
        dtype: dtype policy of the layers. Defaults to the global one.
        name: name of the model. Defaults to one made from the class.

    Shapes:
        `(batch, height, width, channels)` in; `(batch, widths[-1])` out, or without pooling
        `(batch, height / output_stride, width / output_stride, widths[-1] or aspp_filters)`,
        rounded up.

    Raises:
        ValueError: for an unusable shape, width, stride, normalization or dtype, or for pooling
            after `ASPP`.

    Example:
    ```python
    from mtlzoo.backbones import ResNet

    ResNet((32, 32, 3), blocks=(1, 1), widths=(8, 16)).output.shape  # (None, 16)
    dense = ResNet(
        (64, 64, 3), (1, 1, 1, 1), (8, 8, 16, 16), stem="large", output_stride=8, pooled=False
    )
    dense.output.shape  # (None, 8, 8, 16)
    ```

    References:
        He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016.

        Chen et al., *Rethinking Atrous Convolution for Semantic Image Segmentation*, 2017.

    *Differences from the papers*: a stem for small images, group normalization, and the large
    stem's pooling pads with zeros, which after a rectifier is the same.
    """

    width_arguments = ("widths", "aspp_filters")

    def __init__(
        self,
        input_shape: Sequence[int | None],
        blocks: Sequence[int] = (2, 2, 2, 2),
        widths: Sequence[int] = (64, 128, 256, 512),
        *,
        stem: str = "small",
        output_stride: int | None = None,
        norm: str = "batch",
        activation: Any = "relu",
        pooled: bool = True,
        aspp_filters: int | None = None,
        aspp_rates: Sequence[int] = (6, 12, 18),
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        input_shape = check_input_shape(input_shape, 3, "(height, width, channels)", unknown=2)
        blocks, widths = check_widths("blocks", blocks), check_widths("widths", widths)
        check_stages(blocks, widths)
        if stem not in ("small", "large"):
            raise ValueError(f"`stem` should be 'small' or 'large'. Received: stem={stem!r}")
        most_strides = _strides_after_stem(stem, output_stride, len(blocks))
        norm = check_norm(norm, "batch", "group")
        if aspp_filters is not None:
            check_positive("aspp_filters", aspp_filters)
            if pooled:
                raise ValueError(
                    "`pooled` should be False with `aspp_filters`, which are for dense tasks. "
                    f"Received: pooled=True, aspp_filters={aspp_filters}"
                )
        dtype = policy_config(dtype)
        style = Style(norm, activation, dtype)

        # --- Graph ---
        inputs = keras.Input(input_shape, name="image")
        if stem == "small":
            features = style.convolve(inputs, widths[0], 3, "stem_conv")
            features = style.activate("stem")(features)
        else:
            features = style.convolve(inputs, widths[0], 7, "stem_conv", strides=2)
            features = style.activate("stem_activation")(features)
            features = keras.layers.ZeroPadding2D(name="stem_pad", dtype=dtype)(features)
            features = keras.layers.MaxPooling2D(3, 2, name="stem", dtype=dtype)(features)
        features, stages = style.stages(features, blocks, widths, 3, most_strides)
        stage_names = ["stem", *stages]
        if aspp_filters is not None:
            features = ASPP(aspp_filters, aspp_rates, norm, name="aspp", dtype=dtype)(features)
            stage_names.append("aspp")
        if pooled:
            features = pool(features, dtype)
            stage_names.append("pool")

        # --- Config ---
        arguments = {
            "input_shape": list(input_shape),
            "blocks": list(blocks),
            "widths": list(widths),
            "stem": stem,
            "output_stride": output_stride,
            "norm": norm,
            "activation": activation,
            "pooled": pooled,
            "aspp_filters": aspp_filters,
            "aspp_rates": list(aspp_rates),
            "dtype": dtype,
        }
        super().__init__(inputs, features, stage_names, arguments, name)


def _strides_after_stem(stem: str, output_stride: int | None, num_stages: int) -> int:
    """How many of the stages begin with a stride of 2."""
    first = 4 if stem == "large" else 1
    possible = [first * 2**n for n in range(num_stages)]
    if output_stride is None:
        return num_stages - 1
    if isinstance(output_stride, bool) or output_stride not in possible:
        raise ValueError(
            f"`output_stride` should be one of {possible} for stem={stem!r} and {num_stages} "
            f"stages, or None. Received: output_stride={output_stride!r}"
        )
    return possible.index(output_stride)
