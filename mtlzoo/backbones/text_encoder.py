"""Encoder of token ids."""

from typing import Any

import keras

from mtlzoo.backbones.backbone import Backbone, check_positive
from mtlzoo.layers.arguments import check_rate
from mtlzoo.layers.id_embedding import IdEmbedding
from mtlzoo.layers.policies import policy_config
from mtlzoo.layers.sequences import MaskedMean, PaddingMask, PositionEmbedding, ZeroMasked

# Devlin et al.'s; a truncated normal distribution.
_INITIALIZER_STDDEV = 0.02


@keras.saving.register_keras_serializable(package="mtlzoo")
class TextEncoder(Backbone):
    r"""Transformer encoder of token ids (Vaswani et al., 2017), with learned positions.

    $$x_0 = E_{t} + P, \qquad y = x_l + \mathrm{attention}(n(x_l)), \qquad
    x_{l+1} = y + W_2\, a(W_1\, n(y) + b_1) + b_2.$$

    $n$ is layer normalization, also after the last block. With `norm_first=False` the original:
    $y = n(x_l + \mathrm{attention}(x_l))$ and $x_{l+1} = n(y + \ldots)$, and normalized embeddings.

    Id 0 is padding: nothing attends to it, and its features are zero, from which each block finds
    the mask again, as may whoever reads the features (`mtlzoo.layers.PaddingMask`). They have it as
    a Keras mask too, by which tasks' heads leave padding out. An id outside of the vocabulary is
    read as padding. A row of padding alone gives zeros.

    Stages are `embedding`, `block_0`, `block_1`, ..., and `pool` where asked for.

    Args:
        vocabulary_size: number of ids, of which 0 is padding.
        sequence_length: number of tokens in a row, padding included.
        width: width of the features, a multiple of `num_heads`, at least 2. Defaults to 128.
        num_layers: number of blocks. Defaults to 2.
        num_heads: number of heads of the attention. Defaults to 2.
        ffn_units: width of the hidden layer of each block. Defaults to four times `width`.
        activation: its activation. Defaults to `"gelu"`.
        dropout: rate of the dropout of embeddings, attention weights and what is added in each
            block. Defaults to 0.1.
        norm_first: whether normalization stands before attention and hidden layer (Xiong et al.,
            2020) or after the sums. Defaults to True.
        pooled: whether the features are the mean over tokens. Defaults to False.
        dtype: dtype policy of the layers. Defaults to the global one.
        name: name of the model. Defaults to one made from the class.

    Shapes:
        `(batch, sequence_length)` int32 in; `(batch, sequence_length, width)` out, or
        `(batch, width)` if pooled.

    Raises:
        ValueError: for an unusable number, width, rate or dtype.

    Example:
    ```python
    import numpy as np
    from mtlzoo.backbones import TextEncoder

    encoder = TextEncoder(1000, 6, width=16, pooled=True)
    encoder(np.array([[5, 8, 2, 0, 0, 0]])).shape  # (1, 16)
    ```

    References:
        Vaswani et al., *Attention Is All You Need*, NeurIPS 2017.

        Xiong et al., *On Layer Normalization in the Transformer Architecture*, ICML 2020.

    *Differences from the papers*: learned positions and GELU, as in BERT; embeddings are not
    multiplied by the root of the width.
    """

    width_arguments = ("width", "ffn_units")

    def __init__(
        self,
        vocabulary_size: int,
        sequence_length: int,
        *,
        width: int = 128,
        num_layers: int = 2,
        num_heads: int = 2,
        ffn_units: int | None = None,
        activation: Any = "gelu",
        dropout: float = 0.1,
        norm_first: bool = True,
        pooled: bool = False,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        vocabulary_size = check_positive("vocabulary_size", vocabulary_size, least=2)
        sequence_length = check_positive("sequence_length", sequence_length)
        num_layers = check_positive("num_layers", num_layers)
        num_heads = check_positive("num_heads", num_heads)
        # A normalized vector of one number is always zero, which would be read as padding.
        if check_positive("width", width, least=2) % num_heads:
            raise ValueError(
                "`width` should be a multiple of `num_heads`. "
                f"Received: width={width}, num_heads={num_heads}"
            )
        hidden = 4 * width if ffn_units is None else check_positive("ffn_units", ffn_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        layers = keras.layers

        def initializer():
            return keras.initializers.TruncatedNormal(stddev=_INITIALIZER_STDDEV)

        def norm(x, name):
            return layers.LayerNormalization(epsilon=1e-6, name=name, dtype=dtype)(x)

        def drop(x, name):
            return layers.Dropout(dropout, name=name, dtype=dtype)(x) if dropout else x

        def attention(x, name, mask):
            layer = layers.MultiHeadAttention(
                num_heads, width // num_heads, dropout=dropout, name=name, dtype=dtype
            )
            return drop(layer(x, x, value_mask=mask), f"{name}_dropout")

        def ffn(x, name, mask):
            x = layers.Dense(hidden, activation=activation, name=f"{name}_1", dtype=dtype)(x)
            x = layers.Dense(width, name=f"{name}_2", dtype=dtype)(x)
            return drop(x, f"{name}_dropout")

        def residual(function, x, name, mask):
            before = norm(x, f"{name}_norm") if norm_first else x
            total = layers.Add(name=f"{name}_add", dtype=dtype)([x, function(before, name, mask)])
            return total if norm_first else norm(total, f"{name}_norm")

        def mask_of(x, name, num_ids=None):
            return PaddingMask(num_ids, name=f"{name}_mask", dtype=dtype)(x)

        def end(x, name, mask):
            return ZeroMasked(name=name, dtype=dtype)(x, mask=mask)

        # --- Graph ---
        inputs = keras.Input((sequence_length,), dtype="int32", name="tokens")
        x = IdEmbedding(
            vocabulary_size,
            width,
            embeddings_initializer=initializer(),
            name="token_embedding",
            dtype=dtype,
        )(inputs)
        x = PositionEmbedding(initializer(), name="position_embedding", dtype=dtype)(x)
        if not norm_first:
            x = norm(x, "embedding_norm")
        x = end(
            drop(x, "embedding_dropout"), "embedding", mask_of(inputs, "embedding", vocabulary_size)
        )
        stage_names = ["embedding"]
        for i in range(num_layers):
            stage = f"block_{i}"
            stage_names.append(stage)
            mask = mask_of(x, stage)
            x = residual(attention, x, f"{stage}_attention", mask)
            x = residual(ffn, x, f"{stage}_ffn", mask)
            if norm_first and i == num_layers - 1:
                x = norm(x, f"{stage}_norm")
            x = end(x, stage, mask)
        if pooled:
            x = MaskedMean(name="pool", dtype=dtype)(x, mask=mask_of(x, "pool"))
            stage_names.append("pool")

        # --- Config ---
        arguments = {
            "vocabulary_size": vocabulary_size,
            "sequence_length": sequence_length,
            "width": width,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "ffn_units": ffn_units,
            "activation": activation,
            "dropout": dropout,
            "norm_first": norm_first,
            "pooled": pooled,
            "dtype": dtype,
        }
        super().__init__(inputs, x, stage_names, arguments, name)

    def _width_unit(self, argument: str) -> int:
        return max(2, self._drawn.arguments["num_heads"]) if argument == "width" else 1
