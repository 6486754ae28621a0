"""A loss for probabilities that rise along a sequence in which they can only fall."""

from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_number
from mtlzoo.layers.policies import in_full


@keras.saving.register_keras_serializable(package="mtlzoo")
class Calibrator(keras.layers.Layer):
    r"""Hands an output on, and adds a loss where a step is more likely than the step before.

    In training, for $n$ rows with the probabilities $\hat y_{t-1}$ of a step and $\hat y_t$ of the
    next, which cannot be taken without it,

    $$\frac{\mathrm{weight}}{n} \sum \max(\hat y_t - \hat y_{t-1}, 0).$$

    The loss alone reads the probability of the earlier step, and the multi-task model is told so:
    what the earlier step is made of does not count as the later task's.

    Args:
        weight: non-negative number that multiplies the loss. Defaults to 0.6.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of three tensors in: the output to hand on, of any shape, then $\hat y_t$ and
        $\hat y_{t-1}$ of one shape. The output comes out as it is.

    Raises:
        ValueError: if `weight` is not a non-negative number, or if what the layer is called on is
            no list of three.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import Calibrator

    calibrator = Calibrator(0.5)
    click, purchase = np.array([[0.5], [0.5]]), np.array([[0.9], [0.1]])
    calibrator([purchase, purchase, click], training=True)
    calibrator.losses  # [0.1]
    ```

    References:
        Xi et al., *Modeling the Sequential Dependence among Audience Multi-step Conversions with
        Multi-task Learning in Targeted Display Advertising*, KDD 2021.
    """

    # Which of the inputs only the added loss reads, see `mtlzoo/models/graph.py`.
    only_for_losses = (2,)

    def __init__(self, weight: float = 0.6, **kwargs: Any) -> None:
        # An output that comes in full precision is handed on in full precision.
        super().__init__(autocast=False, **kwargs)
        self.weight = check_number("weight", weight, "a non-negative number", 0)

    def build(self, input_shape: Any) -> None:
        """Check that there are three inputs."""
        if len(input_shape) != 3 or not all(isinstance(s, list | tuple) for s in input_shape):
            raise ValueError(
                "`Calibrator` should be called on a list of an output and two probabilities. "
                f"Received: shapes={input_shape}"
            )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The output."""
        output, probability, previous = inputs
        if training and self.weight:
            excess = ops.relu(in_full(probability) - in_full(previous))
            self.add_loss(self.weight * ops.mean(excess))
        return output

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        """A tensor like the output."""
        return keras.KerasTensor(inputs[0].shape, dtype=inputs[0].dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "weight": self.weight}
