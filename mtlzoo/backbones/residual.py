"""Residual networks' parts, over one or two dimensions."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from mtlzoo.backbones.backbone import chain
from mtlzoo.layers.normalization import normalization

_CONVOLUTIONS: dict[int, Any] = {
    1: (keras.layers.Conv1D, keras.layers.ZeroPadding1D),
    2: (keras.layers.Conv2D, keras.layers.ZeroPadding2D),
}


class Style:
    """What all convolutions of a network have in common.

    Args:
        norm: `"batch"` or `"group"`.
        activation: activation after normalization and after sums.
        dtype: dtype policy of the layers.
    """

    def __init__(self, norm: str, activation: Any, dtype: Any) -> None:
        self.norm = norm
        self.activation = activation
        self.dtype = dtype

    def activate(self, name: str) -> keras.layers.Layer:
        """A layer of the activation."""
        return keras.layers.Activation(self.activation, name=name, dtype=self.dtype)

    def convolve(
        self, x: Any, filters: int, kernel_size: int, name: str, strides: int = 1, rate: int = 1
    ) -> Any:
        """A convolution without bias, of an odd kernel, and its normalization `<name>_norm`.

        The input is padded with as many zeros on both sides. Keras's "same" is that with stride 1,
        but pads one side only where a stride of 2 meets an even size.
        """
        convolution, pad = _CONVOLUTIONS[len(x.shape) - 2]
        make = partial(
            convolution,
            filters,
            kernel_size,
            strides=strides,
            dilation_rate=rate,
            use_bias=False,
            kernel_initializer="he_normal",
        )
        if strides > 1 and kernel_size > 1:
            x = pad(kernel_size // 2, name=f"{name}_pad", dtype=self.dtype)(x)
            make.keywords["padding"] = "valid"
        else:
            make.keywords["padding"] = "same"
        steps: list = [("conv", make), ("norm", partial(normalization, self.norm, filters))]
        return chain(x, name, self.dtype, [*steps])

    def block(
        self,
        x: Any,
        filters: int,
        kernel_size: int,
        name: str,
        end: str,
        strides: int = 1,
        rates: Sequence[int] = (1, 1),
    ) -> Any:
        """A basic block (He et al., 2016), whose last layer is called `end`.

        The shortcut is a convolution of 1 where the shape changes.
        """
        y = self.convolve(x, filters, kernel_size, f"{name}_conv_1", strides, rates[0])
        y = self.activate(f"{name}_activation_1")(y)
        y = self.convolve(y, filters, kernel_size, f"{name}_conv_2", rate=rates[1])
        if strides > 1 or x.shape[-1] != filters:
            x = self.convolve(x, filters, 1, f"{name}_shortcut", strides)
        total = keras.layers.Add(name=f"{name}_add", dtype=self.dtype)([x, y])
        return self.activate(end)(total)

    def stages(
        self,
        x: Any,
        blocks: Sequence[int],
        widths: Sequence[int],
        kernel_size: int,
        most_strides: int | None = None,
    ) -> tuple[Any, list[str]]:
        """Stages `stage_1`, `stage_2`, ... of blocks; all but the first begin with a stride of 2.

        Args:
            x: features.
            blocks: number of blocks of each stage.
            widths: their channels.
            kernel_size: odd size of the kernels.
            most_strides: how many strides of 2 there may be. Further ones become rates: the first
                convolution keeps the rate of the stage before, those after it have twice the rate.

        Returns:
            The features, and the names of the stages.
        """
        names = []
        rate = strides_taken = 0
        rate = 1
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), 1):
            names.append(f"stage_{stage}")
            for i in range(count):
                end = names[-1] if i == count - 1 else f"{names[-1]}_block_{i}"
                strides, first_rate = 1, rate
                if i == 0 and stage > 1:
                    if most_strides is None or strides_taken < most_strides:
                        strides, strides_taken = 2, strides_taken + 1
                    else:
                        rate *= 2
                block = f"{names[-1]}_block_{i}"
                x = self.block(x, width, kernel_size, block, end, strides, (first_rate, rate))
        return x, names


def pool(x: Any, dtype: Any) -> Any:
    """The mean over all positions, in a layer `pool`."""
    kind = {1: keras.layers.GlobalAveragePooling1D, 2: keras.layers.GlobalAveragePooling2D}
    return kind[len(x.shape) - 2](name="pool", dtype=dtype)(x)


def check_stages(blocks: Sequence[int], widths: Sequence[int]) -> None:
    """Checks that there are as many numbers of blocks as widths.

    Raises:
        ValueError: if not.
    """
    if len(blocks) != len(widths):
        raise ValueError(
            "`blocks` and `widths` should have one entry for each stage. "
            f"Received: blocks={tuple(blocks)}, widths={tuple(widths)}"
        )


def check_odd(argument: str, size: int) -> int:
    """An odd positive integer.

    Raises:
        ValueError: naming the argument, for anything else.
    """
    if isinstance(size, int) and not isinstance(size, bool) and size > 0 and size % 2:
        return size
    raise ValueError(
        f"`{argument}` should be an odd positive integer. Received: {argument}={size!r}"
    )
