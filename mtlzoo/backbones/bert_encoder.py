"""Encoder of token ids whose weights can be those of a pretrained BERT."""

from typing import Any

import keras
from keras import ops

from mtlzoo.backbones.backbone import Backbone, check_positive
from mtlzoo.layers.arguments import check_rate
from mtlzoo.layers.id_embedding import IdEmbedding
from mtlzoo.layers.policies import policy_config
from mtlzoo.layers.sequences import MaskedMean, PaddingMask, PositionEmbedding, ZeroMasked

# Devlin et al.'s; a truncated normal distribution.
_INITIALIZER_STDDEV = 0.02
POOLING = (None, "mean", "first")


@keras.saving.register_keras_serializable(package="mtlzoo")
class BertEncoder(Backbone):
    r"""The encoder of BERT (Devlin et al., 2019), layer for layer.

    $$x_0 = n(E_t + P + S_s), \qquad y = n(x_l + \mathrm{attention}(x_l)), \qquad
    x_{l+1} = n(y + W_2\, g(W_1 y + b_1) + b_2).$$

    $n$ is layer normalization with an epsilon of 1e-12 and $g(z) = z \Phi(z)$, the exact GELU.
    $S$ are the two types of tokens: 0 up to the first `separator_id`, 1 behind it, which BERT gives
    to the second of two texts. `mtlzoo.pretrained` has weights; `TextEncoder` is for training from
    scratch.

    Id 0 is padding, as in `TextEncoder`: nothing attends to it, its features are zero, from which
    each block finds the mask again, and they have it as a Keras mask too. An id outside of the
    vocabulary is read as padding. A row of padding alone gives zeros.

    Stages are `embedding`, `block_0`, `block_1`, ..., and `pool` where asked for.

    Args:
        vocabulary_size: number of ids, of which 0 is padding.
        sequence_length: number of tokens in a row, padding included.
        width: width of the features, a multiple of `num_heads`, at least 2. Defaults to 384.
        num_layers: number of blocks. Defaults to 6.
        num_heads: number of heads of the attention. Defaults to 12.
        ffn_units: width of the hidden layer of each block. Defaults to four times `width`.
        dropout: rate of the dropout of embeddings, attention weights and what is added in each
            block. Defaults to 0.1.
        separator_id: the id behind the first text, 102 in BERT's vocabulary; `None` if all tokens
            have type 0. Defaults to `None`.
        pooling: `None` for the features of all tokens, `"mean"` for their mean, `"first"` for what
            BERT makes of its first token, $\tanh(W x + b)$. Defaults to `None`.
        dtype: dtype policy of the layers. Defaults to the global one.
        name: name of the model. Defaults to one made from the class.

    Shapes:
        `(batch, sequence_length)` int32 in; `(batch, sequence_length, width)` out, or
        `(batch, width)` if pooled.

    Raises:
        ValueError: for an unusable number, width, rate, pooling or dtype.

    Example:
    ```python
    import numpy as np
    from mtlzoo.backbones import BertEncoder

    encoder = BertEncoder(
        1000, 6, width=16, num_layers=1, num_heads=2, separator_id=3, pooling="mean"
    )
    encoder(np.array([[2, 5, 8, 3, 0, 0]])).shape  # (1, 16)
    ```

    References:
        Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers for Language
        Understanding*, NAACL 2019.

    *Differences from the paper*: the types of tokens are read from the ids, and positions are as
    many as the sequence is long.
    """

    width_arguments = ("width", "ffn_units")

    def __init__(
        self,
        vocabulary_size: int,
        sequence_length: int,
        *,
        width: int = 384,
        num_layers: int = 6,
        num_heads: int = 12,
        ffn_units: int | None = None,
        dropout: float = 0.1,
        separator_id: int | None = None,
        pooling: str | None = None,
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
        if separator_id is not None:
            separator_id = check_positive("separator_id", separator_id)
        if pooling not in POOLING:
            raise ValueError(
                f"`pooling` should be one of None, 'mean', 'first'. Received: pooling={pooling!r}"
            )
        dtype = policy_config(dtype)
        layers = keras.layers

        def initializer():
            return keras.initializers.TruncatedNormal(stddev=_INITIALIZER_STDDEV)

        def dense(units, name, activation=None):
            return layers.Dense(
                units,
                activation=activation,
                kernel_initializer=initializer(),
                name=name,
                dtype=dtype,
            )

        def norm(x, name):
            return layers.LayerNormalization(epsilon=1e-12, name=name, dtype=dtype)(x)

        def drop(x, name):
            return layers.Dropout(dropout, name=name, dtype=dtype)(x) if dropout else x

        def add_norm(x, y, name):
            total = layers.Add(name=f"{name}_add", dtype=dtype)([x, drop(y, f"{name}_dropout")])
            return norm(total, f"{name}_norm")

        def attention(x, name, mask):
            layer = layers.MultiHeadAttention(
                num_heads,
                width // num_heads,
                dropout=dropout,
                kernel_initializer=initializer(),
                name=name,
                dtype=dtype,
            )
            return layer(x, x, value_mask=mask)

        def ffn(x, name):
            return dense(width, f"{name}_2")(dense(hidden, f"{name}_1", "gelu")(x))

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
        types = TokenTypes(separator_id, name="token_types", dtype=dtype)(inputs)
        of_types = layers.Embedding(
            2, width, embeddings_initializer=initializer(), name="type_embedding", dtype=dtype
        )(types)
        x = norm(layers.Add(name="embedding_add", dtype=dtype)([x, of_types]), "embedding_norm")
        mask = mask_of(inputs, "embedding", vocabulary_size)
        x = end(drop(x, "embedding_dropout"), "embedding", mask)
        stage_names = ["embedding"]
        for i in range(num_layers):
            stage = f"block_{i}"
            stage_names.append(stage)
            mask = mask_of(x, stage)
            attended = attention(x, f"{stage}_attention", mask)
            x = add_norm(x, attended, f"{stage}_attention")
            x = add_norm(x, ffn(x, f"{stage}_ffn"), f"{stage}_ffn")
            x = end(x, stage, mask)
        if pooling == "mean":
            x = MaskedMean(name="pool", dtype=dtype)(x, mask=mask_of(x, "pool"))
        elif pooling == "first":
            x = dense(width, "pool", "tanh")(FirstStep(name="first", dtype=dtype)(x))
        if pooling is not None:
            stage_names.append("pool")

        # --- Config ---
        arguments = {
            "vocabulary_size": vocabulary_size,
            "sequence_length": sequence_length,
            "width": width,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "ffn_units": ffn_units,
            "dropout": dropout,
            "separator_id": separator_id,
            "pooling": pooling,
            "dtype": dtype,
        }
        super().__init__(inputs, x, stage_names, arguments, name)

    def _width_unit(self, argument: str) -> int:
        return max(2, self._drawn.arguments["num_heads"]) if argument == "width" else 1


@keras.saving.register_keras_serializable(package="mtlzoo")
class TokenTypes(keras.layers.Layer):
    """0 up to the first separator, itself included, and 1 behind it.

    Args:
        separator_id: the id of the separator; `None` for zeros. Defaults to `None`.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        Ids `(batch, length)` in, int32 `(batch, length)` out.

    Example:
    ```python
    import numpy as np
    from mtlzoo.backbones.bert_encoder import TokenTypes

    TokenTypes(3)(np.array([[2, 9, 3, 8, 3, 0]]))  # [[0, 0, 0, 1, 1, 1]]
    ```
    """

    def __init__(self, separator_id: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.separator_id = separator_id

    def call(self, ids: Any) -> Any:
        """The types."""
        if self.separator_id is None:
            return ops.zeros_like(ids, dtype="int32")
        ends = ops.cast(ops.equal(ids, self.separator_id), "int32")
        return ops.cast(ops.cumsum(ends, axis=-1) - ends > 0, "int32")

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        """Int32, of the same shape."""
        return keras.KerasTensor(ids.shape, dtype="int32")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "separator_id": self.separator_id}


@keras.saving.register_keras_serializable(package="mtlzoo")
class FirstStep(keras.layers.Layer):
    """The features of the first step of a sequence.

    Args:
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, length, width)` in, `(batch, width)` out.

    Example:
    ```python
    import numpy as np
    from mtlzoo.backbones.bert_encoder import FirstStep

    FirstStep()(np.array([[[1.0], [2.0]]]))  # [[1.]]
    ```
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, features: Any) -> Any:
        """The features."""
        return features[:, 0]

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """None: there are no steps left."""

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, width)`."""
        return (input_shape[0], input_shape[2])
