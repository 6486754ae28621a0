"""Fusions that are fitted on validation data: weights, a stacked layer, a temperature."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.ensembles.fusion import Fusion, get, named
from mtlzoo.ensembles.scales import YesOrNo
from mtlzoo.tasks import Task


@named("fitted_weights")
@keras.saving.register_keras_serializable(package="mtlzoo")
class FittedWeights(Fusion):
    r"""The weighted mean with weights that are learned, not negative and of sum 1.

    $$p(c) = \sum_m w_m p_m(c), \qquad \hat y = \sum_m w_m \hat y_m, \qquad
    w = \mathrm{softmax}(v)$$

    Each task has weights $v$ of its own, from 0 on: before `fit` it is `Mean`. Fit them on data
    that the models were not trained on. With `geometric=True` the mean is that of logits,
    $p(c) \propto \prod_m p_m(c)^{w_m}$. For classes under cross-entropy both are convex in $w$.

    Args:
        geometric: Whether the mean is the geometric one. Defaults to `False`.
        task: The task whose outputs are fused; `Ensemble` sets it. Defaults to `None`.
        **kwargs: Those of a Keras layer.

    Raises:
        ValueError: For a geometric mean of a task without classes.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles import Ensemble

    members = [HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=()) for _ in "ab"]
    x, y = np.eye(4, dtype="float32"), {"stay": np.ones((4, 1), "float32")}
    model = Ensemble(members, "fitted_weights")
    model.compile(keras.optimizers.Adam(0.1))
    model.fit(x, y, epochs=2, verbose=0)
    model.fusion_weights()["stay"]  # by model, of sum 1
    ```
    """

    def __init__(
        self, geometric: bool = False, task: Task | dict | None = None, **kwargs: Any
    ) -> None:
        super().__init__(task, **kwargs)
        if not isinstance(geometric, bool):
            raise ValueError(f"`geometric` should be a bool. Received: geometric={geometric!r}")
        self.geometric = self.needs_classes = geometric

    def build(self, input_shape: Any) -> None:
        """The weights, where there are several models."""
        self.logits = None
        if len(input_shape) > 1:
            self.logits = self.add_weight(
                (len(input_shape),), "zeros", name="logits", dtype=self.variable_dtype
            )

    def shares(self) -> Any:
        """The weights of the models, `(M,)`, of sum 1."""
        return ops.ones((1,)) if self.logits is None else ops.softmax(self.logits)

    def fuse(self, values: Any) -> Any:
        """The weighted mean over the first axis."""
        shape = (-1, *[1] * (len(values.shape) - 1))
        if self.scale.axis is None or self.geometric:
            return ops.sum(ops.reshape(self.shares(), shape) * values, axis=0)
        shares = ops.log_softmax(ops.convert_to_tensor(self.logits))
        return ops.logsumexp(ops.reshape(shares, shape) + values, axis=0)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"geometric": self.geometric, **super().get_config()}


@named("stacking")
@keras.saving.register_keras_serializable(package="mtlzoo")
class Stacking(Fusion):
    r"""Stacked generalization: a dense layer from the outputs of all models to that of the task.

    Wolpert, *Stacked Generalization*, Neural Networks 5 (1992).

    $$z = \sum_m (W_m^0 + D_m)\, x_m + b$$

    The inputs $x_m$ are the logarithms of the models' probabilities (the logits of yes), or their
    values; $W^0$ is the mean, so that before `fit` it is `GeometricMean`, or `Mean` of values.
    $D$ and $b$ are learned, from 0 on. Each pixel, token and cell is a row. Fit it on data that the
    models were not trained on.

    Args:
        l2: Factor of the sum of the squares of $D$ that is added to the loss, not negative. What
            few rows do not teach then stays the mean. Defaults to 0.0.
        task: The task whose outputs are fused; `Ensemble` sets it. Defaults to `None`.
        **kwargs: Those of a Keras layer.

    Raises:
        ValueError: If `l2` is no such number.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles import Ensemble, Stacking

    members = [HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=()) for _ in "ab"]
    model = Ensemble(members, Stacking(l2=1e-3))
    model.count_params()  # 13: 2 * (4 + 1) of the members, and 2 + 1 to learn
    ```

    References:
        Wolpert, Neural Networks 5, 241-259 (1992), doi:10.1016/S0893-6080(05)80023-1.

    *Differences from the paper*: the rows to learn from are one part of validation data, not the
    held-out parts of a cross-validation.
    """

    fits_one = True

    def __init__(self, l2: float = 0.0, task: Task | dict | None = None, **kwargs: Any) -> None:
        super().__init__(task, **kwargs)
        is_number = isinstance(l2, int | float) and not isinstance(l2, bool)
        if not is_number or not 0 <= l2 < float("inf"):
            raise ValueError(f"`l2` should be a number that is not negative. Received: l2={l2!r}")
        self.l2 = float(l2)

    def build(self, input_shape: Any) -> None:
        """The departure from the mean, and the bias."""
        count, size = len(input_shape), input_shape[0][-1]
        self.departure = self.add_weight(
            (count * size, size),
            "zeros",
            name="departure",
            dtype=self.variable_dtype,
            regularizer=keras.regularizers.L2(self.l2) if self.l2 else None,
        )
        self.bias = self.add_weight((size,), "zeros", name="bias", dtype=self.variable_dtype)

    def fuse(self, values: Any) -> Any:
        """The dense layer."""
        yes_or_no = isinstance(self.scale, YesOrNo)
        if yes_or_no:
            values = values[..., 1] - values[..., 0]
        joined = ops.concatenate([values[i] for i in range(values.shape[0])], axis=-1)
        fused = ops.mean(values, axis=0) + ops.matmul(joined, self.departure) + self.bias
        # Of no and yes the scale takes both.
        return ops.stack([ops.zeros_like(fused), fused], axis=-1) if yes_or_no else fused

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"l2": self.l2, **super().get_config()}


@named("temperature")
@keras.saving.register_keras_serializable(package="mtlzoo")
class Temperature(Fusion):
    r"""Temperature scaling of fused outputs: one number for a task, so that probabilities are true.

    Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017.

    $$p(c) \propto \bar p(c)^{1 / \tau}, \qquad \tau = e^{v}$$

    with $\bar p$ from another fusion; of `Ensemble([model], "temperature")` it is the model's own.
    The most probable class stays the same. $v$ is learned from 0 on, as is what the other fusion
    has to learn, on data that the models were not trained on.

    Args:
        fusion: The fusion whose outputs are scaled, or its name. Defaults to `"mean"`.
        task: The task whose outputs are fused; `Ensemble` sets it. Defaults to `None`.
        **kwargs: Those of a Keras layer.

    Raises:
        ValueError: For a task without classes.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing
    from mtlzoo.ensembles import Ensemble

    model = HardSharing(keras.Input((4,)), [BinaryClassification("click")], shared_units=())
    calibrated = Ensemble([model], "temperature")
    calibrated.temperatures()  # {"click": 1.0} before `fit`
    ```

    References:
        Guo et al., ICML 2017, arXiv:1706.04599.

    *Differences from the paper*: fitted by the optimizer of `compile`, not by L-BFGS; outputs
    may be fused ones.
    """

    needs_classes = True
    fits_one = True

    def __init__(
        self, fusion: Any = "mean", task: Task | dict | None = None, **kwargs: Any
    ) -> None:
        super().__init__(task, **kwargs)
        self.inner = get(fusion)

    def config_for(self, task: Task, members: Sequence[int], models: int | None) -> dict[str, Any]:
        """The inner fusion, for the task."""
        return {"fusion": self.inner.of(task, members, models)}

    def check(self, task: Task) -> None:
        """Refuse a task without classes, or one that the inner fusion refuses."""
        super().check(task)
        self.inner.check(task)

    def build(self, input_shape: Any) -> None:
        """The logarithm of the temperature."""
        self.inner.build(input_shape)
        self.log_temperature = self.add_weight(
            (), "zeros", name="log_temperature", dtype=self.variable_dtype
        )

    def fuse(self, values: Any) -> Any:
        """The inner fusion, divided by the temperature."""
        return self.inner.fused(values) * ops.exp(-ops.convert_to_tensor(self.log_temperature))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"fusion": keras.saving.serialize_keras_object(self.inner), **super().get_config()}
