"""A part of a network that runs with a blend of two sets of weights."""

import numbers
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

# What a learned or measured strength starts from.
_HALF = 0.5
# How much of its old value a measured strength keeps in a step.
_KEEP = 0.95


@keras.saving.register_keras_serializable(package="mtlzoo")
class BlendedStage(keras.layers.Layer):
    r"""Runs a network with weights between its own and those of a shared one of equal shape.

    $$y = f(x;\ \alpha\, \theta_\text{shared} + (1 - \alpha)\, \theta_\text{own}).$$

    Only trainable weights are blended. All other state, such as the averages of normalization, is
    that of `own`, and is updated there. Several layers may hold one and the same `shared`. A model
    that Keras saves layer by layer would lose that: `DynamicSharing` keeps it, a graph of your own
    does not.

    Args:
        own: a built Keras model, whose graph is run.
        shared: a built Keras model of the same architecture, of which only weights are used.
        sharing: how strong the sharing is, $\alpha$: a number from 0 to 1; a tuple
            `(start, end, steps)`, linear over that many steps of training; a learning-rate
            schedule of Keras or a function of the step, cut off at 0 and 1; `"learned"`, the
            sigmoid of a trained variable that starts at 0; `"conflict"`, a variable that starts at
            0.5 and moves by `observe`. Defaults to 0.5.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        Those of `own`.

    Raises:
        ValueError: for another kind of `sharing`, or models whose weights differ in shape.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo.layers import BlendedStage

    def dense():
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])

    layer = BlendedStage(dense(), dense(), sharing=(1.0, 0.0, 100))
    layer(np.ones((4, 3), "float32"))
    layer.strength()  # 1.0
    ```
    """

    def __init__(
        self, own: keras.Model, shared: keras.Model, sharing: Any = _HALF, **kwargs: Any
    ) -> None:
        # The layers inside cast for themselves, but for those that must not.
        super().__init__(autocast=False, **kwargs)
        self.own = own
        self.shared = shared
        self.sharing: Any = check_sharing(sharing)
        shapes = [[tuple(v.shape) for v in part.variables] for part in (own, shared)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                "`shared` should have variables of the shapes of those of `own`, "
                f"{shapes[0]}. Received: {shapes[1]}"
            )
        # Of now: weights that are frozen later are still blended.
        self._is_blended = tuple(v.trainable for v in own.variables)

        self._uncast = Uncast(name="uncast", dtype=self.variable_dtype)

    def build(self, input_shape: Any) -> None:
        """Make what the strength is kept in, if it changes."""
        self.logit: Any = None
        self.measured: Any = None
        self.steps: Any = None
        if self.sharing == "learned":
            self.logit = self.add_weight(name="logit", shape=(), initializer="zeros")
        elif self.sharing == "conflict":
            self.measured = self.add_weight(
                name="measured",
                shape=(),
                initializer=keras.initializers.Constant(_HALF),
                trainable=False,
                aggregation="only_first_replica",
            )
        elif not isinstance(self.sharing, float):
            self.steps = self.add_weight(
                name="steps",
                shape=(),
                dtype="int32",
                initializer="zeros",
                trainable=False,
                aggregation="only_first_replica",
            )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The output of `own` with the blended weights."""
        # In mixed precision the sum is cast, not its terms.
        values = self._uncast(read=self._values)
        outputs, scope = run_with(values, self.own, self, inputs, training=training)
        if training:
            blended = zip(self.own.variables, self._is_blended, strict=True)
            others = [variable for variable, is_blended in blended if not is_blended]
            for variable in others:
                variable.assign(scope.get_current_value(variable))
            if self.steps is not None:
                self.steps.assign(self.steps + 1)
        return outputs

    def _values(self) -> list:
        strength = self._strength()
        return [
            _blend(strength, own, shared) if is_blended else ops.convert_to_tensor(own)
            for own, shared, is_blended in zip(
                self.own.variables, self.shared.variables, self._is_blended, strict=True
            )
        ]

    def _strength(self) -> Any:
        if self.logit is not None:
            return ops.sigmoid(ops.convert_to_tensor(self.logit))
        if self.measured is not None:
            return ops.convert_to_tensor(self.measured)
        if isinstance(self.sharing, float):
            return ops.convert_to_tensor(self.sharing, dtype=self.variable_dtype)
        step = ops.cast(ops.convert_to_tensor(self.steps), self.variable_dtype)
        if isinstance(self.sharing, tuple):
            start, end, steps = self.sharing
            return start + (end - start) * ops.minimum(step / steps, 1.0)
        return ops.clip(ops.cast(self.sharing(step), self.variable_dtype), 0.0, 1.0)

    def strength(self) -> float:
        """How strong the sharing is now."""
        return float(ops.convert_to_numpy(self._strength()))

    def observe(self, cosine: Any, known: Any = True) -> None:
        """Move the strength of `sharing="conflict"` towards (1 + `cosine`) / 2.

        Args:
            cosine: scalar, the cosine between this task's gradient and those of others.
            known: scalar bool, whether there is one in this step. Defaults to True.
        """
        old = ops.convert_to_tensor(self.measured)
        new = _KEEP * old + (1.0 - _KEEP) * (1.0 + ops.cast(cosine, old.dtype)) / 2.0
        self.measured.assign(ops.where(known, new, old))

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """That of `own`."""
        return self.own.compute_output_spec(inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "own": serialize(self.own),
            "shared": serialize(self.shared),
            "sharing": serialize(self.sharing),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BlendedStage":
        """The layer of a config, with new variables."""
        config = dict(config)
        for key in ("own", "shared", "sharing"):
            config[key] = keras.saving.deserialize_keras_object(config[key])
        return cls(**config)


def run_with(
    values: list,
    layer: keras.layers.Layer,
    around: keras.layers.Layer,
    inputs: Any,
    **arguments: Any,
) -> tuple[Any, keras.StatelessScope]:
    """Call a layer with other values of its variables; the losses that it adds are `around`'s.

    Args:
        values: those of `layer.variables`.
        layer: the layer.
        around: the layer in whose `call` this is.
        inputs: what the layer is called on.
        **arguments: of the layer's `call`.

    Returns:
        The outputs, and the scope, which knows what the layer has assigned.
    """
    mapping = zip(layer.variables, values, strict=True)
    with keras.StatelessScope(mapping, collect_losses=True) as scope:
        outputs = layer(inputs, **arguments)
    for loss in scope.losses:
        around.add_loss(loss)
    return outputs, scope


class Uncast(keras.layers.Layer):
    """Reads variables as they are stored, also inside a layer that casts them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, read: Callable[[], Any]) -> Any:
        """What the function reads."""
        return read()


def _blend(strength: Any, own: Any, shared: Any) -> Any:
    own, shared = ops.convert_to_tensor(own), ops.convert_to_tensor(shared)
    strength = ops.cast(strength, own.dtype)
    return strength * shared + (1.0 - strength) * own


def check_sharing(sharing: Any) -> float | str | tuple | Callable:
    """A strength of sharing, as `BlendedStage` takes it.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(sharing, str) and sharing in ("learned", "conflict"):
        return sharing
    if _is_number(sharing) and 0 <= sharing <= 1:
        return float(sharing)
    if isinstance(sharing, list | tuple) and len(sharing) == 3 and all(map(_is_number, sharing)):
        start, end, steps = sharing
        if 0 <= start <= 1 and 0 <= end <= 1 and steps > 0:
            return (float(start), float(end), int(np.ceil(steps)))
    if callable(sharing):
        return sharing
    raise ValueError(
        "`sharing` should be a number from 0 to 1, a tuple (start, end, steps) of two such numbers "
        "and a positive one, a schedule, 'learned' or 'conflict'. "
        f"Received: sharing={sharing!r}"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
