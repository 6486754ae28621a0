"""Fusion of one vector for each modality, some of which may be missing."""

from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_count


class Fusion(keras.layers.Layer):
    """Base of the layers that turn what several modalities say into one vector.

    A subclass reads vectors, or sequences of tokens if `reads_tokens`, of one width for all
    modalities, and a mask of the modalities that are there. What a missing modality holds never
    shows in the result.

    Args:
        units: width of the result.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of tensors `(batch, width)`, or `(batch, tokens, width)` if `reads_tokens`, and
        `(batch, modalities)` of ones and zeros; `(batch, units)` out.

    Raises:
        ValueError: if `units` is not a positive integer, or the widths differ.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import ConcatenationFusion, Fusion

    layer = ConcatenationFusion(8)
    isinstance(layer, Fusion), layer.reads_tokens  # (True, False)
    ```
    """

    reads_tokens: bool = False

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = check_count("units", units)

    def build(self, features_shape: Any, present_shape: Any = None) -> None:
        """Check the shapes, and build for so many modalities of such a width."""
        rank = 3 if self.reads_tokens else 2
        shapes = [tuple(shape) for shape in features_shape]
        widths = {shape[-1] for shape in shapes}
        if not shapes or any(len(shape) != rank for shape in shapes) or len(widths) > 1:
            what = "(batch, tokens, width)" if self.reads_tokens else "(batch, width)"
            raise ValueError(
                f"The features of `{type(self).__name__}` should be tensors {what} of one width. "
                f"Received: shapes={shapes}"
            )
        self.build_for(len(shapes), widths.pop())

    def build_for(self, modalities: int, width: int) -> None:
        """Make the variables."""
        raise NotImplementedError

    def compute_output_shape(self, features_shape: Any, *rest: Any) -> tuple[int | None, int]:
        """`(batch, units)`."""
        return (features_shape[0][0], self.units)

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """None: there are no positions left."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "units": self.units}

    def scaled(self, scale: float) -> "Fusion":
        """A new layer like this one, of another width.

        Args:
            scale: positive number, factor of `units`, which become at least 1.
        """
        units = max(1, round(self.units * scale))
        return type(self).from_config({**self.get_config(), "units": units})

    def _dense(self, name: str, units: int | None = None, **arguments: Any) -> Any:
        units = self.units if units is None else units
        return keras.layers.Dense(units, name=name, dtype=self.dtype_policy, **arguments)


def masked(features: list, present: Any) -> list:
    """Each modality's features, zero in the rows that lack it."""
    result = []
    for i, each in enumerate(features):
        there = ops.reshape(present[:, i], (-1,) + (1,) * (len(each.shape) - 1))
        # Not a product: what stands in for a missing modality may be NaN.
        result.append(ops.where(there > 0, each, ops.zeros_like(each)))
    return result


@keras.saving.register_keras_serializable(package="mtlzoo")
class ConcatenationFusion(Fusion):
    r"""One fully connected layer on all modalities side by side (Ngiam et al., 2011).

    $$y = [p_1 x_1, \ldots, p_M x_M, p]\, W + b,$$

    where $p_m$ is 1 if modality $m$ is there, else 0.

    Args:
        units: width of the result.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of $M$ tensors `(batch, width)` and `(batch, M)`; `(batch, units)` out.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import ConcatenationFusion

    image, caption = np.ones((2, 4), "float32"), np.ones((2, 4), "float32")
    ConcatenationFusion(8)([image, caption], np.array([[1, 1], [1, 0]])).shape  # (2, 8)
    ```

    References:
        Ngiam et al., *Multimodal Deep Learning*, ICML 2011.

    *Differences from the paper*: the layer is also told which modalities are there.
    """

    def build_for(self, modalities: int, width: int) -> None:
        """One kernel and one bias."""
        self.projection = self._dense("projection")
        self.projection.build((None, modalities * (width + 1)))

    def call(self, features: list, present: Any) -> Any:
        """The fused vector."""
        parts = masked(features, present)
        return self.projection(ops.concatenate([*parts, ops.cast(present, parts[0].dtype)], -1))


@keras.saving.register_keras_serializable(package="mtlzoo")
class GatedFusion(Fusion):
    r"""A gated unit: modalities are weighed by gates that read all of them (Arevalo et al., 2017).

    $$y = \sum_m z_m \odot h_m, \quad h_m = \tanh(x_m W_m + b_m), \quad
    z = \mathrm{softmax}_m([p_1 x_1, \ldots, p_M x_M]\, V_m + c_m),$$

    the softmax taken, unit by unit, over the modalities that are there.

    Args:
        units: width of the result.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of $M$ tensors `(batch, width)` and `(batch, M)`. Out are `(batch, units)` and the
        gates `(batch, M, units)`, which sum to 1 over the modalities, and are 0 for a row without
        any.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import GatedFusion

    image, caption = np.ones((2, 4), "float32"), np.ones((2, 4), "float32")
    fused, gates = GatedFusion(8)([image, caption], np.array([[1, 1], [1, 0]]))
    fused.shape, gates[1, 1]  # (2, 8), zeros
    ```

    References:
        Arevalo et al., *Gated Multimodal Units for Information Fusion*, ICLR workshop 2017.

    *Differences from the paper*: a softmax over any number of modalities. For two that is the
    paper's bimodal unit, $z$ and $1 - z$ with $z$ a sigmoid of the difference; for more the paper
    has sigmoids that do not sum to 1.
    """

    def build_for(self, modalities: int, width: int) -> None:
        """A hidden layer for each modality, and one layer of all gates."""
        self.hidden = [self._dense(f"hidden_{m}", activation="tanh") for m in range(modalities)]
        for layer in self.hidden:
            layer.build((None, width))
        self.gates = self._dense("gates", modalities * self.units)
        self.gates.build((None, modalities * width))

    def call(self, features: list, present: Any) -> Any:
        """The fused vector and the gates."""
        features = masked(features, present)
        hidden = ops.stack([h(x) for h, x in zip(self.hidden, features, strict=True)], axis=1)
        logits = self.gates(ops.concatenate(features, -1))
        logits = ops.reshape(logits, (-1, len(features), self.units))
        gates = masked_softmax(logits, ops.expand_dims(present, -1), axis=1)
        return ops.sum(gates * hidden, axis=1), gates

    def compute_output_shape(self, features_shape: Any, *rest: Any) -> Any:
        """`(batch, units)` and `(batch, modalities, units)`."""
        batch = features_shape[0][0]
        return (batch, self.units), (batch, len(features_shape), self.units)


def masked_softmax(logits: Any, mask: Any, axis: int) -> Any:
    """The softmax over those entries whose mask is not 0; zeros where there is none."""
    mask = ops.broadcast_to(mask > 0, ops.shape(logits))
    zeros = ops.zeros_like(logits)
    largest = ops.max(ops.where(mask, logits, zeros - 1e4), axis=axis, keepdims=True)
    powers = ops.where(mask, ops.exp(ops.where(mask, logits - largest, zeros)), zeros)
    total = ops.sum(powers, axis=axis, keepdims=True)
    return powers / ops.where(total > 0, total, ops.ones_like(total))


@keras.saving.register_keras_serializable(package="mtlzoo")
class LowRankFusion(Fusion):
    r"""The outer product of all modalities, by a weight tensor of low rank (Liu et al., 2018).

    $$y = b + \sum_{r=1}^{R} w_r \bigodot_{m=1}^{M} [x_m, 1]\, W_m^{(r)},$$

    with $x_m = 0$ for a modality that is missing, so that it enters as its constant alone.

    Args:
        units: width of the result.
        rank: rank $R$ of the tensor. Defaults to 4, as in the authors' code.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of $M$ tensors `(batch, width)` and `(batch, M)`; `(batch, units)` out.

    Raises:
        ValueError: if a number is not a positive integer, or the widths differ.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import LowRankFusion

    image, caption = np.ones((2, 4), "float32"), np.ones((2, 4), "float32")
    LowRankFusion(8, rank=2)([image, caption], np.ones((2, 2))).shape  # (2, 8)
    ```

    References:
        Liu et al., *Efficient Low-rank Multimodal Fusion with Modality-Specific Factors*, ACL 2018.

    *Differences from the paper*: the factors of the constants begin at 1, so that a product over
    many modalities does not begin near 0.
    """

    def __init__(self, units: int, rank: int = 4, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.rank = check_count("rank", rank)

    def build_for(self, modalities: int, width: int) -> None:
        """The factors of each modality; their last row is for the constant."""
        self.factors = [
            self._dense(f"factor_{m}", self.rank * self.units, bias_initializer="ones")
            for m in range(modalities)
        ]
        for layer in self.factors:
            layer.build((None, width))
        self.rank_weights = self.add_weight(
            name="rank_weights", shape=(self.rank,), initializer="glorot_uniform"
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, features: list, present: Any) -> Any:
        """The fused vector."""
        product: Any = 1
        for factor, each in zip(self.factors, masked(features, present), strict=True):
            product = product * factor(each)
        product = ops.reshape(product, (-1, self.rank, self.units))
        weights = ops.cast(self.rank_weights, product.dtype)
        return ops.einsum("r,bru->bu", weights, product) + ops.cast(self.bias, product.dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "rank": self.rank}
