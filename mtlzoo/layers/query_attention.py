"""Attention of learned queries over a sequence."""

from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_count


@keras.saving.register_keras_serializable(package="mtlzoo")
class QueryAttention(keras.layers.Layer):
    r"""Reads a sequence of tokens with learned queries, through several heads.

    For query $n$ and head $h$, over the tokens $s$ with keys $k_{sh}$ and values $v_{sh}$,

    $$o_n = [c_{n1}, \ldots, c_{nH}]\, W + b, \quad
    c_{nh} = \sum_s a_{hns} v_{sh}, \quad
    a_{hns} = \mathrm{softmax}_s \frac{\langle q_{nh}, k_{sh} \rangle}{\sqrt{d}}.$$

    Keys and values are given, side by side, so that several of these layers can share them. A token
    that a mask leaves out has weight 0; so have all tokens of a row that has none, whose result is
    $b$.

    Args:
        num_heads: number of heads $H$.
        key_dim: width $d$ of the queries, keys and values of each head.
        num_queries: number of queries. Defaults to 1.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, tokens, 2 * num_heads * key_dim)` in: the keys of all heads, then the values. Out
        are `(batch, num_queries, num_heads * key_dim)`, and the weights
        `(batch, num_heads, num_queries, tokens)`. The mask is `(batch, tokens)`.

    Raises:
        ValueError: if a number is not a positive integer, or the layer is called on another shape.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import QueryAttention

    keys_and_values = np.ones((2, 5, 2 * 4 * 8), "float32")
    result, weights = QueryAttention(num_heads=4, key_dim=8)(keys_and_values)
    result.shape, weights.shape  # (2, 1, 32), (2, 4, 1, 5)
    ```

    References:
        Lee et al., *Set Transformer*, ICML 2019 (pooling by multihead attention).
    """

    def __init__(self, num_heads: int, key_dim: int, num_queries: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = check_count("num_heads", num_heads)
        self.key_dim = check_count("key_dim", key_dim)
        self.num_queries = check_count("num_queries", num_queries)
        self.projection = keras.layers.Dense(
            num_heads * key_dim, name="projection", dtype=self.dtype_policy
        )
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make the queries and the projection of what they read."""
        width = self.num_heads * self.key_dim
        if len(input_shape) != 3 or input_shape[-1] != 2 * width:
            raise ValueError(
                f"Keys and values of `QueryAttention` should have shape (None, S, {2 * width}). "
                f"Received: shape={tuple(input_shape)}"
            )
        self.queries = self.add_weight(
            name="queries", shape=(self.num_queries, width), initializer="glorot_uniform"
        )
        self.projection.build((input_shape[0], self.num_queries, width))

    def call(self, keys_and_values: Any, mask: Any = None) -> tuple[Any, Any]:
        """What the queries read, and their weights."""
        heads = (self.num_heads, self.key_dim)
        keys, values = ops.split(keys_and_values, 2, axis=-1)
        tokens = ops.shape(keys)[1]
        keys, values = (ops.reshape(t, (-1, tokens, *heads)) for t in (keys, values))
        queries = ops.reshape(ops.cast(self.queries, self.compute_dtype), (-1, *heads))
        scores = ops.einsum("nhd,bshd->bhns", queries, keys) / self.key_dim**0.5
        if mask is not None:
            mask = ops.cast(mask, "bool")[:, None, None, :]
            # Half precision has no much lower number; a row without tokens stays finite.
            scores = ops.where(mask, scores, ops.cast(-3e4, scores.dtype))
        weights = ops.softmax(scores, axis=-1)
        if mask is not None:
            weights = weights * ops.cast(mask, weights.dtype)
        context = ops.einsum("bhns,bshd->bnhd", weights, values)
        context = ops.reshape(context, (-1, self.num_queries, self.projection.units))
        return self.projection(context), weights

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: what comes out is no sequence of tokens."""

    def compute_output_shape(self, input_shape: Any) -> tuple[tuple, tuple]:
        """The shapes of the result and of the weights."""
        batch, tokens, width = input_shape
        return (
            (batch, self.num_queries, width // 2),
            (batch, self.num_heads, self.num_queries, tokens),
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "num_queries": self.num_queries,
        }
