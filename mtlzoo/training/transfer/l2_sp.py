"""A penalty that pulls weights towards where they started from."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_number
from mtlzoo.layers.trainability import drawn_with, own_variables
from mtlzoo.models import MultiTaskModel
from mtlzoo.training.transfer.matching import inside, match
from mtlzoo.training.transfer.stages import trunk_stages


def add_l2_sp(
    model: MultiTaskModel, *layers: str, alpha: float = 0.1, beta: float = 0.01
) -> "L2SP":
    r"""Pull what is pretrained towards its values of now, and what is new towards 0
    (L2-SP, Li et al., 2018).

    $$\Omega(w) = \frac{\alpha}{2} \lVert w_S - w_S^0 \rVert^2
    + \frac{\beta}{2} \lVert w_{\bar S} \rVert^2.$$

    As any regularization it is added to the loss beside those of the tasks, and no balancer weighs
    it. Frozen variables are left out. The starting point is saved with the model, and so takes the
    room of the pretrained variables once more. `add_task`, `remove_task` and `student` make models
    without it.

    Args:
        model: a multi-task model with the weights that it starts from.
        *layers: names of the pretrained layers, or patterns, as for `freeze`. Without any, all that
            the tasks share.
        alpha: factor of the distance from the starting point. Defaults to 0.1.
        beta: factor of the squared length of all other variables that the model trains. Defaults to
            0.01.

    Returns:
        The layer that holds the starting point, `model.attached`.

    Raises:
        ValueError: for unknown layers, factors below 0, and a model that has such a penalty, or
            layers with Keras's updates of low rank.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.training import add_l2_sp

    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=[8])
    add_l2_sp(model, alpha=0.1, beta=0.01)
    model.compile("adam", balancer="pcgrad")
    ```

    References:
        Li, Grandvalet & Davoine, *Explicit Inductive Bias for Transfer Learning with Convolutional
        Networks*, ICML 2018.

    *Differences from the paper*: none in the penalty; scales and offsets of normalization are
    variables as the others.
    """
    if not isinstance(model, MultiTaskModel):
        raise ValueError(
            f"`model` should be a multi-task model. Received: a {type(model).__name__}"
        )
    for layer in model._flatten_layers():
        if getattr(layer, "lora_enabled", False):
            raise ValueError(
                "`model` should be one without updates of low rank by Keras, which are merged into "
                "the kernels when it is saved: call `enable_lora` afterwards. "
                f"Received: `{model.name}`, whose layer `{layer.name}` has one"
            )
    if layers:
        named = [la for found in match(model, "layers", layers).values() for la in found]
    else:
        named = [layer for stage in trunk_stages(model).values() for layer in stage]
    pretrained = {id(v) for layer in inside(named) for v in own_variables(layer)}
    places = [i for i, v in enumerate(_variables(model)) if id(v) in pretrained]
    penalty = L2SP(places, alpha, beta)
    penalty.attach(model)
    return penalty


@keras.saving.register_keras_serializable(package="mtlzoo")
class L2SP(keras.layers.Layer):
    """The starting point of a model, and the penalty for leaving it; made by `add_l2_sp`.

    Args:
        places: which of the variables of the model are pretrained.
        alpha: see `add_l2_sp`.
        beta: see `add_l2_sp`.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        ValueError: for factors below 0.
    """

    beside_graph = True

    def __init__(
        self, places: Sequence[int], alpha: float = 0.1, beta: float = 0.01, **kwargs: Any
    ) -> None:
        super().__init__(**{"name": "l2_sp", **kwargs, "dtype": keras.backend.floatx()})
        self.places = list(places)
        self.alpha = check_number("alpha", alpha, "a number of at least 0", 0)
        self.beta = check_number("beta", beta, "a number of at least 0", 0)

    def attach(self, model: Any) -> None:
        """Add the penalty to a model, whose values are the starting point until others are loaded.

        Args:
            model: the model.

        Raises:
            ValueError: if it has such a penalty.
        """
        if getattr(model, "attached", None) is not None:
            raise ValueError(
                "`model` should be one without such a penalty. "
                f"Received: `{model.name}`, which has one"
            )
        variables = _variables(model)
        pretrained = set(self.places)
        start = {}
        with model.distribute_strategy.scope():
            for i in self.places:
                start[i] = self.add_weight(
                    name=f"start_{i}",
                    shape=variables[i].shape,
                    trainable=False,
                    initializer="zeros",
                )
                start[i].assign(variables[i])
        self.built = True
        for i, variable in enumerate(variables):
            factor = self.alpha if i in pretrained else self.beta
            if factor:
                variable.regularizer = _Pull(factor, start.get(i), variable.regularizer)
        model.attached = self

    def move_start(self, model: Any) -> None:
        """Pull towards the values of now from the next step on.

        Args:
            model: the model that has this penalty.
        """
        variables = _variables(model)
        for i, start in zip(self.places, self.variables, strict=True):
            start.assign(variables[i])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "places": self.places,
            "alpha": self.alpha,
            "beta": self.beta,
        }


class _Pull:
    """Half the squared distance from where a variable started, times a factor."""

    def __init__(self, factor: float, start: keras.Variable | None, before: Any) -> None:
        self._factor, self._start, self._before = factor, start, before

    def __call__(self, variable: Any) -> Any:
        value = ops.convert_to_tensor(variable)
        moved = value if self._start is None else value - ops.cast(self._start, value.dtype)
        penalty = self._factor / 2 * ops.sum(ops.square(moved))
        return penalty if self._before is None else penalty + self._before(variable)


def _variables(model: Any) -> list[keras.Variable]:
    """The variables that a model was drawn with and that can be trained."""
    found = {id(v): v for layer in drawn_with(model) for v in own_variables(layer)}
    return list(found.values())
