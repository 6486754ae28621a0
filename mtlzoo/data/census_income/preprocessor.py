"""The model from raw census columns to the one tensor that models are trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import layers, ops

from mtlzoo.data.census_income.columns import (
    INPUTS,
    MONEY,
    NUMBERS,
)


def raw_inputs(names: Sequence[str] = INPUTS) -> dict[str, keras.KerasTensor]:
    """Return one input per raw column: strings for categories, `float32` for quantities.

    Args:
        names: the columns. Defaults to `INPUTS`.
    """
    return {
        name: keras.Input((), name=name, dtype="float32" if name in NUMBERS else "string")
        for name in names
    }


def make(columns: Mapping[str, np.ndarray], names: Sequence[str] = INPUTS) -> keras.Model:
    """Make the preprocessor from the training part.

    Categories become one-hot blocks whose first slot is for values that the training part does
    not have. Quantities are standardised, money after log(1 + max(x, 0)). Only stock Keras layers
    and operations are used, so that the exported model needs nothing of this package.

    Args:
        columns: the raw columns of the training part, each `(n,)`; neither validation nor test
            rows belong here.
        names: the columns that are inputs. Defaults to `INPUTS`.

    Returns:
        A model from a dict of raw columns, each `(batch,)`, to `(batch, features)` in `float32`.

    Example:
        ```python
        from mtlzoo.data.census_income import raw_rows
        from mtlzoo.data.census_income.preprocessor import make

        rows = raw_rows(100, split="train")
        print(make(rows).output.shape)
        ```
    """
    inputs = raw_inputs(names)
    quantity_names = [name for name in names if name in NUMBERS]
    blocks = [
        layers.StringLookup(
            vocabulary=sorted(set(columns[name])),
            num_oov_indices=1,
            mask_token=None,  # "" would be a value like any other
            output_mode="one_hot",
            name=f"{name}_one_hot",
        )(inputs[name])
        for name in names
        if name not in NUMBERS
    ]
    quantities = ops.stack(
        [
            ops.log1p(ops.maximum(inputs[name], 0.0)) if name in MONEY else inputs[name]
            for name in quantity_names
        ],
        axis=-1,
    )
    seen = np.stack(
        [
            np.log1p(np.maximum(columns[name], 0.0)) if name in MONEY else columns[name]
            for name in quantity_names
        ],
        axis=-1,
    ).astype("float64")
    blocks.append(
        layers.Normalization(mean=seen.mean(0), variance=seen.var(0), name="standardised")(
            quantities
        )
    )
    return keras.Model(inputs, layers.Concatenate(name="features")(blocks), name="preprocessor")
