"""Fully connected layers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from mtlzoo.backbones.backbone import Backbone, chain, check_input_shape, check_widths
from mtlzoo.layers.arguments import check_rate
from mtlzoo.layers.normalization import check_norm, normalization
from mtlzoo.layers.policies import policy_config


@keras.saving.register_keras_serializable(package="mtlzoo")
class MLP(Backbone):
    r"""Fully connected layers, with normalization and dropout where asked for.

    $$h_i = \mathrm{dropout}(a(\mathrm{norm}(h_{i-1} W_i + b_i))).$$

    With normalization there is no $b_i$: the normalization has one of its own. Each layer is a
    stage, `layer_0`, `layer_1`, ...

    Args:
        input_shape: shape of the input without the batch, `(features,)`. More dimensions are
            flattened.
        units: widths of the layers. Defaults to `(128, 128)`.
        activation: activation after each layer. Defaults to `"relu"`.
        dropout: rate of the dropout after each layer. Defaults to 0.
        norm: `"batch"`, `"layer"`, or None for none. Defaults to None.
        dtype: dtype policy of the layers. Defaults to the global one.
        name: name of the model. Defaults to one made from the class.

    Shapes:
        `(batch, *input_shape)` in, `(batch, units[-1])` out.

    Raises:
        ValueError: for an unusable shape, width, rate, normalization or dtype.

    Example:
    ```python
    from mtlzoo import BinaryClassification, HardSharing
    from mtlzoo.backbones import MLP

    trunk = MLP((8,), units=(32, 16), norm="layer")
    model = HardSharing(trunk.input, [BinaryClassification("click")], backbone=trunk)
    trunk.stage_names  # ('layer_0', 'layer_1')
    ```
    """

    width_arguments = ("units",)

    def __init__(
        self,
        input_shape: Sequence[int],
        units: Sequence[int] = (128, 128),
        *,
        activation: Any = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        input_shape = check_input_shape(input_shape, None, "a tuple of positive integers")
        units = check_widths("units", units)
        dropout = check_rate("dropout", dropout)
        norm = check_norm(norm, None, "batch", "layer")
        dtype = policy_config(dtype)
        layers = keras.layers

        # --- Graph ---
        inputs = keras.Input(input_shape, name="features")
        features = inputs
        if len(input_shape) > 1:
            features = layers.Flatten(name="flatten", dtype=dtype)(features)
        stage_names = [f"layer_{i}" for i in range(len(units))]
        for stage, width in zip(stage_names, units, strict=True):
            steps: list = [("dense", partial(layers.Dense, width, use_bias=norm is None))]
            if norm:
                steps.append(("norm", partial(normalization, norm, width)))
            steps.append(("activation", partial(layers.Activation, activation)))
            if dropout:
                steps.append(("dropout", partial(layers.Dropout, dropout)))
            features = chain(features, stage, dtype, steps)

        # --- Config ---
        arguments = {
            "input_shape": list(input_shape),
            "units": list(units),
            "activation": activation,
            "dropout": dropout,
            "norm": norm,
            "dtype": dtype,
        }
        super().__init__(inputs, features, stage_names, arguments, name)
