"""Fusion of one sequence of tokens for each modality, by attention."""

from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_count, check_rate
from mtlzoo.layers.fusion import Fusion, masked
from mtlzoo.layers.sequences import MaskedMean


class _AttentionFusion(Fusion):
    """What both have: tokens, heads, and a mean over the tokens that are there."""

    reads_tokens = True

    def __init__(self, units: int, num_heads: int = 4, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.num_heads = check_count("num_heads", num_heads)
        self.dropout = check_rate("dropout", dropout)
        self.pool = MaskedMean(name="pool", dtype=self.dtype_policy)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_heads": self.num_heads, "dropout": self.dropout}

    def _build_blocks(self, names: list[str], width: int) -> None:
        """The parts of one transformer block for each name."""
        self.norms = [self._norm(f"norm_{name}", width) for name in names]
        self.attentions = [self._attention(f"attention_{name}", width) for name in names]
        self.later_norms = [self._norm(f"later_norm_{name}", width) for name in names]
        self.networks = [self._feed_forward(f"network_{name}", width) for name in names]

    def _attention(self, name: str, width: int) -> Any:
        layer = keras.layers.MultiHeadAttention(
            self.num_heads,
            max(1, width // self.num_heads),
            dropout=self.dropout,
            name=name,
            dtype=self.dtype_policy,
        )
        layer.build((None, None, width), (None, None, width))
        return layer

    def _norm(self, name: str, width: int) -> Any:
        layer = keras.layers.LayerNormalization(epsilon=1e-6, name=name, dtype=self.dtype_policy)
        layer.build((None, None, width))
        return layer

    def _fed_forward(self, index: int, tokens: Any) -> Any:
        wide, narrow = self.networks[index]
        return tokens + narrow(wide(self.later_norms[index](tokens)))

    def _feed_forward(self, name: str, width: int) -> Any:
        wide = self._dense(f"{name}_in", 4 * width, activation="gelu")
        narrow = self._dense(f"{name}_out", width)
        wide.build((None, None, width))
        narrow.build((None, None, 4 * width))
        return wide, narrow


def _token_masks(features: list, present: Any, mask: Any) -> list:
    """Which tokens are there: those of a modality that is, without its padding."""
    # Layers take it as `features_mask`: of a call with two tensors, Keras hands over the masks of
    # `features` under that name only, and nothing under `mask`.
    masks = []
    for i, each in enumerate(features):
        there = ops.broadcast_to(present[:, i : i + 1] > 0, ops.shape(each)[:2])
        given = None if mask is None else mask[i]
        masks.append(there if given is None else ops.logical_and(there, ops.cast(given, "bool")))
    return masks


@keras.saving.register_keras_serializable(package="mtlzoo")
class CrossAttentionFusion(_AttentionFusion):
    r"""Each modality's tokens attend to those of all others (Tsai et al., 2019; Lu et al., 2019).

    $$z_m = x_m + p_{\setminus m}\, \mathrm{MHA}(\mathrm{LN}(x_m), \mathrm{LN}(x_{\setminus m})),
    \quad z_m' = z_m + \mathrm{FFN}(\mathrm{LN}(z_m)), \quad
    y = [p_1 \bar z_1', \ldots, p_M \bar z_M']\, W + b,$$

    with $x_{\setminus m}$ the tokens of all other modalities that are there, one after the other,
    $p_{\setminus m}$ 1 if there are any, and $\bar z$ the mean over a modality's tokens.

    Args:
        units: width of the result.
        num_heads: number of heads. Defaults to 4.
        dropout: rate of the dropout of attention weights. Defaults to 0.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of $M$ tensors `(batch, tokens, width)`, with or without Keras masks
        `(batch, tokens)`, and `(batch, M)`; `(batch, units)` out.

    Raises:
        ValueError: if a number is out of its range, or the widths differ.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import CrossAttentionFusion

    image, caption = np.ones((2, 9, 8), "float32"), np.ones((2, 5, 8), "float32")
    CrossAttentionFusion(16, num_heads=2)([image, caption], np.ones((2, 2))).shape  # (2, 16)
    ```

    References:
        Tsai et al., *Multimodal Transformer for Unaligned Multimodal Language Sequences*, ACL 2019.
        Lu et al., *ViLBERT*, NeurIPS 2019.

    *Differences from the papers*: one layer; a modality attends to all others at once instead of to
    each in a stack of its own; a mean over tokens.
    """

    def build_for(self, modalities: int, width: int) -> None:
        """An attention and a small network for each modality."""
        self._build_blocks([str(m) for m in range(modalities)], width)
        self.projection = self._dense("projection")
        self.projection.build((None, modalities * width))

    def call(
        self, features: list, present: Any, features_mask: Any = None, training: Any = None
    ) -> Any:
        """The fused vector."""
        masks = _token_masks(features, present, features_mask)
        features = masked(features, present)
        normed = [norm(each) for norm, each in zip(self.norms, features, strict=True)]
        pooled = []
        for m, each in enumerate(features):
            if len(features) > 1:
                others = [i for i in range(len(features)) if i != m]
                keys = ops.concatenate([normed[i] for i in others], axis=1)
                key_mask = ops.concatenate([masks[i] for i in others], axis=1)
                found = self.attentions[m](
                    normed[m],
                    keys,
                    attention_mask=ops.expand_dims(key_mask, 1),
                    training=training,
                )
                # Where all keys are masked, the softmax is over nothing but masked ones.
                some = ops.any(key_mask, axis=1)[:, None, None]
                each = each + ops.where(some, found, ops.zeros_like(found))
            each = self._fed_forward(m, each)
            pooled.append(self.pool(each, mask=masks[m]))
        return self.projection(ops.concatenate(pooled, -1))


@keras.saving.register_keras_serializable(package="mtlzoo")
class BottleneckFusion(_AttentionFusion):
    r"""Modalities exchange information through a few bottleneck tokens (Nagrani et al., 2021).

    In each layer $\ell$ every modality has a transformer block of its own, over its own tokens and
    the bottleneck's, whose new values are averaged over the modalities that are there:

    $$[z_m^{\ell+1}, \hat b_m^{\ell+1}] = \mathrm{Block}_m^\ell([z_m^\ell, b^\ell]), \quad
    b^{\ell+1} = \frac{\sum_m p_m \hat b_m^{\ell+1}}{\sum_m p_m}, \quad
    y = \frac{\sum_m p_m \bar z_m^L}{\sum_m p_m} W + c.$$

    Args:
        units: width of the result.
        num_bottlenecks: number of bottleneck tokens. Defaults to 4, as in the paper.
        num_layers: number of layers. Defaults to 2.
        num_heads: number of heads. Defaults to 4.
        dropout: rate of the dropout of attention weights. Defaults to 0.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of $M$ tensors `(batch, tokens, width)`, with or without Keras masks
        `(batch, tokens)`, and `(batch, M)`; `(batch, units)` out.

    Raises:
        ValueError: if a number is out of its range, or the widths differ.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import BottleneckFusion

    image, caption = np.ones((2, 9, 8), "float32"), np.ones((2, 5, 8), "float32")
    BottleneckFusion(16, num_heads=2)([image, caption], np.ones((2, 2))).shape  # (2, 16)
    ```

    References:
        Nagrani et al., *Attention Bottlenecks for Multimodal Fusion*, NeurIPS 2021.

    *Differences from the paper*: the mean over a modality's tokens instead of a class token, and
    the mean over modalities is of vectors before the head instead of logits after it.
    """

    def __init__(
        self,
        units: int,
        num_bottlenecks: int = 4,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, num_heads, dropout, **kwargs)
        self.num_bottlenecks = check_count("num_bottlenecks", num_bottlenecks)
        self.num_layers = check_count("num_layers", num_layers)

    def build_for(self, modalities: int, width: int) -> None:
        """The bottleneck, and a transformer block for each layer and modality."""
        self.bottleneck = self.add_weight(
            name="bottleneck",
            shape=(self.num_bottlenecks, width),
            # The paper draws them with a standard deviation of 0.02, as class tokens are.
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )
        names = [f"{i}_{m}" for i in range(self.num_layers) for m in range(modalities)]
        self._build_blocks(names, width)
        self.projection = self._dense("projection")
        self.projection.build((None, width))

    def call(
        self, features: list, present: Any, features_mask: Any = None, training: Any = None
    ) -> Any:
        """The fused vector."""
        count = len(features)
        masks = _token_masks(features, present, features_mask)
        tokens = masked(features, present)
        rows = ops.shape(tokens[0])[0]
        shared = ops.cast(self.bottleneck, tokens[0].dtype)[None]
        shared = ops.broadcast_to(shared, (rows, *self.bottleneck.shape))
        of_bottleneck = ops.ones_like(shared[:, :, 0], dtype="bool")
        key_masks = [ops.concatenate([m, of_bottleneck], axis=1)[:, None] for m in masks]
        for i in range(self.num_layers):
            found = []
            for m in range(count):
                joined = ops.concatenate([tokens[m], shared], axis=1)
                joined = self._block(i * count + m, joined, key_masks[m], training)
                tokens[m] = joined[:, : -self.num_bottlenecks]
                found.append(joined[:, -self.num_bottlenecks :])
            shared = _mean_of_present(found, present)
        pooled = [self.pool(each, mask=m) for each, m in zip(tokens, masks, strict=True)]
        return self.projection(_mean_of_present(pooled, present))

    def _block(self, index: int, tokens: Any, key_mask: Any, training: Any) -> Any:
        normed = self.norms[index](tokens)
        attended = self.attentions[index](
            normed, normed, attention_mask=key_mask, training=training
        )
        return self._fed_forward(index, tokens + attended)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_bottlenecks": self.num_bottlenecks,
            "num_layers": self.num_layers,
        }


def _mean_of_present(features: list, present: Any) -> Any:
    """The mean over the modalities that are there; zeros where none is."""
    stacked = ops.stack(masked(features, present), axis=1)
    shape = (-1,) + (1,) * (len(stacked.shape) - 2)
    count = ops.reshape(ops.sum(ops.cast(present, stacked.dtype), axis=1), shape)
    return ops.sum(stacked, axis=1) / ops.maximum(count, 1)
