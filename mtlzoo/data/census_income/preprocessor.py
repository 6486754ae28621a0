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


def make(
    columns: Mapping[str, np.ndarray], names: Sequence[str] = INPUTS, num_bins: int = 0
) -> keras.Model:
    """Make the preprocessor from the training part.

    Categories become one-hot blocks whose first slot is for values that the training part does
    not have. Quantities are standardised, money after log(1 + max(x, 0)), and with `num_bins` they
    are one-hot blocks as well, of the bins that `edges` gives. Only stock Keras layers
    and operations are used, so that the exported model needs nothing of this package.

    Args:
        columns: the raw columns of the training part, each `(n,)`; neither validation nor test
            rows belong here.
        names: the columns that are inputs. Defaults to `INPUTS`.
        num_bins: the most bins of a quantity, or 0 for none. Defaults to 0.

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
    bounds = {name: edges(columns[name], num_bins) for name in quantity_names if num_bins}
    blocks += [
        layers.Discretization(bin_boundaries=found, output_mode="one_hot", name=f"{name}_bins")(
            inputs[name][:, None]
        )
        for name, found in bounds.items()
        if found  # one value in all rows needs no bins
    ]
    return keras.Model(inputs, layers.Concatenate(name="features")(blocks), name="preprocessor")


def edges(values: np.ndarray, num_bins: int) -> list[float]:
    """Find where the bins of a quantity begin, after the first.

    The lowest value has a bin of its own, since for most of these columns it is zero and frequent.
    The other bins begin at quantiles of what lies above it, so that they are about equally full; a
    column with few values has a bin for each.

    Args:
        values: the quantity in the training part, `(n,)`.
        num_bins: the most bins, at least 2.

    Returns:
        Ascending values, each the least of its bin.

    Example:
        ```python
        import numpy as np

        from mtlzoo.data.census_income.preprocessor import edges

        print(edges(np.array([0, 0, 0, 0, 10, 20, 30, 40]), num_bins=3))  # [10.0, 30.0]
        ```
    """
    above = values[values > values.min()]
    if not above.size:
        return []
    share = np.arange(num_bins - 1) / (num_bins - 1)
    return np.unique(np.quantile(above, share, method="higher")).astype("float64").tolist()
