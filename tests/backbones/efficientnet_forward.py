"""EfficientNet-Lite0 written out in float64 NumPy, from lists of weights in the order of use."""

import numpy as np
from numpy_forward import batch_norm

# Of each stage: size of kernels, first stride, expansion.
STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))


def padded(x, size, stride):
    """TensorFlow's "same": as many windows as strides begin, and what is odd below and right."""
    amounts = []
    for n in x.shape[1:3]:
        total = max((-(-n // stride) - 1) * stride + size - n, 0)
        amounts.append((total // 2, total - total // 2))
    return np.pad(x, [(0, 0), *amounts, (0, 0)])


def convolve(x, kernel, stride):
    windows = np.lib.stride_tricks.sliding_window_view(
        padded(x, len(kernel), stride), kernel.shape[:2], (1, 2)
    )
    return np.einsum("bhwcij,ijcf->bhwf", windows[:, ::stride, ::stride], kernel, optimize=True)


def by_channel(x, kernel, stride):
    windows = np.lib.stride_tricks.sliding_window_view(
        padded(x, len(kernel), stride), kernel.shape[:2], (1, 2)
    )
    return np.einsum("bhwcij,ijc->bhwc", windows[:, ::stride, ::stride], kernel[..., 0])


def normalized(x, weights):
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    named = {f"n/{name}": w for name, w in zip(names, weights, strict=True)}
    return batch_norm(x, named, "n", 1e-3)


def relu6(x):
    return np.clip(x, 0, 6)


def forward(x, weights, blocks=(1, 2, 2, 3, 3, 4, 1)):
    """The last maps, and the logits.

    Args:
        x: scaled pixels.
        weights: of each layer its weights, in order; kernels with Keras's order of axes.
        blocks: number of blocks of each stage.
    """
    left = iter(weights)

    def step(x, stride=1, activate=relu6, convolution=convolve):
        (kernel,) = next(left)
        return activate(normalized(convolution(x, kernel, stride), next(left)))

    x = step(x, 2)
    for count, (_, first, expansion) in zip(blocks, STAGES, strict=True):
        for i in range(count):
            stride, y = first if i == 0 else 1, x
            if expansion > 1:
                y = step(y)
            y = step(step(y, stride, convolution=by_channel), activate=lambda x: x)
            x = x + y if stride == 1 and x.shape == y.shape else y
    maps = step(x)
    kernel, bias = next(left)
    assert next(left, None) is None  # all weights were used
    return maps, maps.mean((1, 2)) @ kernel + bias
