"""Modalities that are missing, made missing in training, and brought together."""

from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_rate


@keras.saving.register_keras_serializable(package="mtlzoo")
class ModalityDropout(keras.layers.Layer):
    r"""Makes whole modalities missing in training, row by row (Neverova et al., 2016).

    Each modality that is there is dropped with probability `rate`, but never the last one: if all
    would be, the one with the largest random number stays.

    Args:
        rate: probability with which a modality is dropped, from 0 to below 1.
        seed: seed of the random numbers.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, modalities)` of ones and zeros in and out.

    Raises:
        ValueError: if `rate` is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import ModalityDropout

    present = np.array([[1.0, 1.0], [1.0, 0.0]])
    ModalityDropout(0.5)(present, training=True)[1]  # [1., 0.]
    ```

    References:
        Neverova et al., *ModDrop: Adaptive Multi-modal Gesture Recognition*, TPAMI 2016.

    *Differences from the paper*: the last modality of a row is never dropped.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = check_rate("rate", rate)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, present: Any, training: bool | None = None) -> Any:
        """Which modalities are left."""
        if not training or not self.rate:
            return present
        drawn = keras.random.uniform(ops.shape(present), seed=self.seed_generator)
        there = present > 0
        drawn = ops.where(there, drawn, -ops.ones_like(drawn))
        last = drawn >= ops.max(drawn, axis=1, keepdims=True)
        kept = ops.logical_and(there, ops.logical_or(drawn >= self.rate, last))
        return ops.cast(kept, present.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="mtlzoo")
class ContrastiveAlignment(keras.layers.Layer):
    r"""Draws the vectors of one row's modalities together and those of different rows apart.

    For each pair of modalities, over the rows that have both, the symmetric InfoNCE loss of
    Radford et al. (2021) on the normalised vectors $u$ and $v$,

    $$L = -\frac{1}{2N} \sum_i \log \frac{e^{\langle u_i, v_i \rangle / \tau}}
    {\sum_j e^{\langle u_i, v_j \rangle / \tau}} + \log \frac{e^{\langle u_i, v_i \rangle / \tau}}
    {\sum_j e^{\langle u_j, v_i \rangle / \tau}},$$

    averaged over the pairs, times `weight`, is added to the model's losses in training.

    Args:
        weight: factor of the loss, at least 0.
        temperature: $\tau$. Defaults to 0.07, where Radford et al. begin.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of $M$ tensors `(batch, width)` and `(batch, M)` of ones and zeros. Out are the
        normalised vectors `(batch, M, width)`, zero where a modality is missing, and the ones and
        zeros again: what reads those has the layer before it in a graph.

    Raises:
        ValueError: if `weight` is negative or `temperature` not positive.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import ContrastiveAlignment

    layer = ContrastiveAlignment(1.0)
    joint, present = layer([np.eye(2), np.eye(2)], np.ones((2, 2)), training=True)
    joint.shape  # (2, 2, 2)
    layer.losses  # about 0, since each row is nearest to itself
    ```

    References:
        Radford et al., *Learning Transferable Visual Models From Natural Language Supervision*,
        ICML 2021.

    *Differences from the paper*: a fixed temperature, any number of modalities, any of which may be
    missing. On several replicas the rows are those of each replica.
    """

    def __init__(self, weight: float, temperature: float = 0.07, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = _number("weight", weight, 0, "of at least 0")
        self.temperature = _number("temperature", temperature, 1e-9, "above 0")
        self.built = True

    def call(self, features: list, present: Any, training: bool | None = None) -> Any:
        """The normalised vectors, and which of them are there."""
        # Float32 at least: at a temperature of 0.07, e^(1 / 0.07) is beyond float16.
        wide = keras.backend.result_type(features[0].dtype, "float32")
        there = ops.cast(present > 0, wide)
        units = []
        for i, each in enumerate(features):
            each = ops.cast(each, wide)
            each = ops.where(there[:, i : i + 1] > 0, each, ops.zeros_like(each))
            # Not `normalize`: the gradient of a norm at 0, a missing modality, is not finite.
            squared = ops.sum(each**2, axis=-1, keepdims=True)
            units.append(each * ops.rsqrt(ops.maximum(squared, 1e-12)))
        if training and self.weight and len(units) > 1:
            pairs = [(i, j) for j in range(len(units)) for i in range(j)]
            terms = [
                _info_nce(units[i], units[j], there[:, i] * there[:, j], self.temperature)
                for i, j in pairs
            ]
            self.add_loss(self.weight * sum(terms) / len(pairs))
        return ops.cast(ops.stack(units, axis=1), features[0].dtype), present

    def compute_output_shape(self, features_shape: Any, present_shape: Any) -> Any:
        """`(batch, modalities, width)` and `(batch, modalities)`."""
        batch, width = features_shape[0]
        return (batch, len(features_shape), width), present_shape

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """None: there are no positions."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "weight": self.weight,
            "temperature": self.temperature,
        }


def _info_nce(left: Any, right: Any, counts: Any, temperature: float) -> Any:
    """The mean over the rows that count; 0 without any."""
    logits = ops.matmul(left, ops.transpose(right)) / temperature
    counted = ops.expand_dims(counts, 0) * ops.expand_dims(counts, 1) > 0
    logits = ops.where(counted, logits, ops.cast(-1e9, logits.dtype))
    diagonal = ops.sum(left * right, axis=-1) / temperature
    total = 2 * diagonal - ops.logsumexp(logits, axis=0) - ops.logsumexp(logits, axis=1)
    total = ops.where(counts > 0, total, ops.zeros_like(total))
    return -ops.sum(total) / (2 * ops.maximum(ops.sum(counts), 1))


def _number(argument: str, value: float, least: float, what: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and least <= value < float("inf"):
        return float(value)
    raise ValueError(f"`{argument}` should be a number {what}. Received: {argument}={value!r}")
