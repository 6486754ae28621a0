"""The probability that every step of a funnel is taken."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_bool
from mtlzoo.layers.policies import in_full


@keras.saving.register_keras_serializable(package="mtlzoo")
class ProductOfProbabilities(keras.layers.Layer):
    r"""The logit of a product of probabilities that are given by their logits.

    $$z = \log \frac{p}{1 - p}, \quad p = \prod_{i=1}^{n} \sigma(a_i).$$

    No probability is formed on the way. For two logits,

    $$z = -\log(e^{-a} + e^{-b} + e^{-a-b}),$$

    and since this is the logit of $\sigma(a)\,\sigma(b)$, the next one is joined to it in the same
    way. So the result is exact where $p$ or $1 - p$ is too small for a number of its own, and its
    derivatives, which lie between 0 and 1, are too.

    Args:
        from_logits: Whether the result is the logit; else it is the probability. Defaults to
            `True`.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of logits of one shape in, a tensor of that shape out, in float32, or in float64 if
        a logit is.

    Raises:
        ValueError: if `from_logits` is no bool, or if what the layer is called on is no list of
            logits of one shape.

    Example:
    ```python
    import keras
    from mtlzoo.layers import ProductOfProbabilities

    click, purchase = keras.ops.array([[0.0], [200.0]]), keras.ops.array([[0.0], [-90.0]])
    ProductOfProbabilities()([click, purchase])  # [[-1.0986], [-90.]], log(1/3) and -90
    ```
    """

    def __init__(self, from_logits: bool = True, **kwargs: Any) -> None:
        # Logits that come in full precision are not rounded to the compute dtype.
        super().__init__(autocast=False, **kwargs)
        self.from_logits = check_bool("from_logits", from_logits)

    def build(self, input_shape: Any) -> None:
        """Check the shapes of the logits."""
        shapes = list(input_shape)
        if not shapes or not all(isinstance(shape, list | tuple) for shape in shapes):
            raise ValueError(
                "`ProductOfProbabilities` should be called on a list of logits. Received: "
                f"shape={tuple(input_shape)}"
            )
        if len({tuple(shape) for shape in shapes}) > 1:
            raise ValueError(
                "The logits of `ProductOfProbabilities` should have one shape. Received: "
                f"shapes={[tuple(shape) for shape in shapes]}"
            )

    def call(self, logits: Sequence[Any]) -> Any:
        """The logit or the probability of the product."""
        logit = reduce(_logit_of_both, [in_full(a) for a in logits])
        return logit if self.from_logits else ops.sigmoid(logit)

    def compute_output_spec(self, logits: Sequence[Any]) -> keras.KerasTensor:
        """A tensor like one of the logits."""
        is_double = any(keras.backend.standardize_dtype(a.dtype) == "float64" for a in logits)
        return keras.KerasTensor(logits[0].shape, dtype="float64" if is_double else "float32")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "from_logits": self.from_logits}


def _logit_of_both(a: Any, b: Any) -> Any:
    return -ops.logsumexp(ops.stack([-a, -b, -a - b]), axis=0)
