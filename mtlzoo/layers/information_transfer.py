"""Attention between what an earlier task hands on and what a task found itself."""

from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_count


@keras.saving.register_keras_serializable(package="mtlzoo")
class InformationTransfer(keras.layers.Layer):
    r"""How much of an earlier task's information a task takes over (the AIT module).

    $$z = w_p\, v(p) + w_q\, v(q), \quad
    (w_p, w_q) = \mathrm{softmax}(s(p), s(q)), \quad
    s(u) = \frac{\langle k(u), r(u) \rangle}{\sqrt{d}},$$

    with $p$ handed on by the earlier task, $q$ the task's own features, and the dense layers of
    width $d$ for values $v$, keys $k$ and queries $r$.

    Args:
        units: the width $d$ of values, keys and queries.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of two tensors `(batch, ..., features)` in, $p$ and $q$; out are
        `(batch, ..., units)`, and the weights `(batch, ..., 2)` of $p$ and $q$.

    Raises:
        ValueError: if `units` is no positive integer, or if what the layer is called on is no list
            of two such tensors of one width.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import InformationTransfer

    handed_on, own = np.ones((2, 4), "float32"), np.zeros((2, 4), "float32")
    features, weights = InformationTransfer(8)([handed_on, own])
    features.shape, weights.shape  # (2, 8), (2, 2)
    ```

    References:
        Xi et al., *Modeling the Sequential Dependence among Audience Multi-step Conversions with
        Multi-task Learning in Targeted Display Advertising*, KDD 2021.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units = check_count("units", units)
        self.value, self.key, self.query = (
            keras.layers.Dense(units, name=name, dtype=self.dtype_policy)
            for name in ("value", "key", "query")
        )

    def build(self, input_shape: Any) -> None:
        """Make the three dense layers."""
        shapes = [tuple(s) if isinstance(s, list | tuple) else s for s in input_shape]
        if len(shapes) != 2 or shapes[0] != shapes[1] or len(shapes[0]) < 2:
            raise ValueError(
                "`InformationTransfer` should be called on a list of two tensors of shape "
                f"(None, ..., F). Received: shapes={shapes}"
            )
        shape = (*shapes[0][:-1], 2, shapes[0][-1])
        for layer in (self.value, self.key, self.query):
            layer.build(shape)

    def call(self, inputs: Any) -> tuple[Any, Any]:
        """The joined features, and the weights of both parts."""
        both = ops.stack(list(inputs), axis=-2)
        scores = ops.sum(self.key(both) * self.query(both), axis=-1) / self.units**0.5
        weights = ops.softmax(scores, axis=-1)
        return ops.sum(weights[..., None] * self.value(both), axis=-2), weights

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """That of the first part, for features and weights."""
        return None if previous_mask is None else [previous_mask[0]] * 2

    def compute_output_shape(self, input_shape: Any) -> tuple[tuple, tuple]:
        """`(batch, ..., units)` and `(batch, ..., 2)`."""
        leading = input_shape[0][:-1]
        return (*leading, self.units), (*leading, 2)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "units": self.units}
