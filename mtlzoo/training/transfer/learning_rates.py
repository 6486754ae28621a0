"""Learning rates that fall with the depth of a layer."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtlzoo.layers.arguments import check_number
from mtlzoo.layers.trainability import own_variables
from mtlzoo.models import MultiTaskModel
from mtlzoo.training.transfer.matching import close_to, inside, match
from mtlzoo.training.transfer.stages import trunk_stages


def layerwise_learning_rates(
    model: MultiTaskModel,
    optimizer: Any = "adam",
    decay: float = 2.6,
    factors: Mapping[str, float] | None = None,
) -> keras.optimizers.Optimizer:
    r"""An optimizer for `compile` that trains lower stages more slowly (Howard & Ruder, 2018).

    The tasks' own parts have the rate $\eta$ of `optimizer`, and the stage that is $d$ below them,
    1 for the last one,

    $$\eta_d = \eta / \mathit{decay}^{\,d}.$$

    Each stage has an optimizer of its own in a Keras `MultiOptimizer`, which is saved with the
    model and takes frozen stages. It has no `learning_rate`, so that callbacks which set that
    cannot be used; schedules can, and count the steps in which any of their stage is trained.
    What `optimizer` excludes from weight decay (`exclude_from_weight_decay`), every stage's does.
    Keras does not save that, of any optimizer: one that is loaded decays all.

    Args:
        model: the model that is compiled with it.
        optimizer: a Keras optimizer that is not built, or its name, of which each stage has a copy.
            Defaults to `"adam"`.
        decay: what the rate is divided by from one stage to the one below. Defaults to 2.6.
        factors: by name of a stage (see `trunk_stages`), or of layers or a pattern of their names,
            what the rate is multiplied by instead; a later entry counts where several fit. Defaults
            to None.

    Returns:
        The optimizer.

    Raises:
        ValueError: for an optimizer that clips by the length of all gradients together or looks at
            them in another such way, a factor below 0, or layers that the model does not have.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.training import layerwise_learning_rates

    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=[8, 8])
    optimizer = layerwise_learning_rates(model, keras.optimizers.Adam(1e-3), decay=2.6)
    model.compile(optimizer, balancer="pcgrad")
    ```

    References:
        Howard & Ruder, *Universal Language Model Fine-tuning for Text Classification*, ACL 2018.
    """
    made = keras.optimizers.get(optimizer)
    decay = check_number("decay", decay, "a positive number", 1e-12)
    if made.built:
        raise ValueError(
            f"`optimizer` should be one that is not built. Received: optimizer={optimizer!r}"
        )
    if isinstance(made, keras.optimizers.MultiOptimizer) or hasattr(made, "inner_optimizer"):
        raise ValueError(
            "`optimizer` should be a plain optimizer; dynamic loss scaling comes with `compile`. "
            f"Received: optimizer={optimizer!r}"
        )
    if made.global_clipnorm or made.gradient_accumulation_steps:
        raise ValueError(
            "`optimizer` should neither clip by the length of all gradients together nor "
            "accumulate, since each stage has an optimizer of its own. Received: "
            f"global_clipnorm={made.global_clipnorm!r}, "
            f"gradient_accumulation_steps={made.gradient_accumulation_steps!r}"
        )
    stages = trunk_stages(model)
    names = list(stages)
    of: dict[int, tuple[float, keras.Variable]] = {}
    for depth, stage in enumerate(reversed(names), 1):
        for layer in inside(stages[stage]):
            of |= {id(v): (decay**-depth, v) for v in own_variables(layer)}
    for name, factor in (factors or {}).items():
        factor = check_number(f"factors[{name!r}]", factor, "a number of at least 0", 0)
        found = stages.get(name) or _named(model, name, names)
        for layer in inside(found):
            of |= {id(v): (factor, v) for v in own_variables(layer)}
    made_for = {id(v): 0 for v in model.variables}
    optimizers, places = [made], {1.0: 0}
    for key, (factor, _) in of.items():
        if factor not in places:
            places[factor] = len(optimizers)
            optimizers.append(_copy(made, factor, f"{made.name}_{len(optimizers)}"))
        made_for[key] = places[factor]
    layerwise = LayerwiseOptimizer(optimizers)
    layerwise.make_for(model, made_for)
    return layerwise


def _named(model, name, stages):
    try:
        return match(model, "factors", [name])[name]
    except ValueError as error:
        raise ValueError(
            f"`factors` should name stages of the model `{model.name}`, or layers; "
            f"{close_to(str(name), stages)}. Received: {name!r}"
        ) from error


def _copy(optimizer, factor, name):
    config = {**optimizer.get_config(), "name": name}
    if isinstance(config["learning_rate"], Mapping):
        schedule = keras.saving.deserialize_keras_object(config["learning_rate"])
        config["learning_rate"] = TimesFactor(schedule, factor)
    else:
        config["learning_rate"] *= factor
    copied = type(optimizer).from_config(config)
    # Not in the config: what `exclude_from_weight_decay` was told.
    for key in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, key):
            setattr(copied, key, copy.copy(getattr(optimizer, key)))
    return copied


@keras.saving.register_keras_serializable(package="mtlzoo")
class LayerwiseOptimizer(keras.optimizers.MultiOptimizer):
    """A `MultiOptimizer` that knows variables by their places among those that it is built for,
    which are the same in a loaded model, where paths need not be; made by
    `layerwise_learning_rates`.

    It takes the gradients of some of its variables, where the others are frozen, as all other
    optimizers of Keras do.

    Args:
        optimizers: list of optimizers.
        places: for each variable the index of its optimizer. Defaults to None: known when it is
            built, from the model that it is made for.
        loss_scale_factor, name: as in Keras.
    """

    def __init__(
        self,
        optimizers: Sequence[keras.optimizers.Optimizer],
        places: Sequence[int] | None = None,
        loss_scale_factor: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(_Choice(optimizers, places), loss_scale_factor, name)

    def make_for(self, model: keras.Model, indices: Mapping[int, int]) -> None:
        """Say which optimizer each variable of a model has.

        Args:
            model: the model.
            indices: by id of its variables the index of the optimizer.
        """
        self._optimizer_map.make_for(model.name, model.variables, indices)

    def build(self, var_list: Any) -> None:
        """Make the slots for these variables.

        Raises:
            ValueError: if they are those of another model.
        """
        if not self.built:
            self._optimizer_map.build(var_list)
            super().build(var_list)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        choice = self._optimizer_map
        return {
            "optimizers": [keras.saving.serialize_keras_object(o) for o in choice.optimizers],
            "places": choice.places,
            "loss_scale_factor": self.loss_scale_factor,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The optimizer of a config."""
        read = keras.saving.deserialize_keras_object
        optimizers = [read(each, custom_objects) for each in config["optimizers"]]
        return cls(**{**config, "optimizers": optimizers})

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update these variables, or all."""
        known = self._trainable_variables
        if trainable_variables is None or len(trainable_variables) == len(known):
            super().apply(grads, trainable_variables)
            return
        parts: dict[int, list] = {}
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            parts.setdefault(id(self._optimizer_map(variable)), []).append((gradient, variable))
        for optimizer in self.optimizers:
            if id(optimizer) in parts:
                own_grads, own = zip(*parts[id(optimizer)], strict=True)
                optimizer.apply(list(own_grads), list(own))
        self.iterations.assign_add(1)


class _Choice:
    """Which optimizer a variable has, in the place of Keras's `OptimizerMap`."""

    def __init__(self, optimizers, places) -> None:
        self.optimizers = list(optimizers)
        self.places = None if places is None else list(places)
        self._model = ""
        self._variables: list[keras.Variable] = []
        self._indices: dict[int, int] = {}

    def make_for(self, model, variables, indices) -> None:
        self._model, self._variables = model, list(variables)  # held, so that ids stay theirs
        self._indices = dict(indices)

    def values(self):
        return self.optimizers

    def build(self, variables) -> None:
        if self.places is None:
            if not any(id(v) in self._indices for v in variables):
                raise ValueError(
                    "`optimizer` should be given to the model that it was made for, "
                    f"`{self._model}`. Received: the variables of another model"
                )
            # The others are the balancer's, or came later.
            self.places = [self._indices.get(id(v), 0) for v in variables]
        elif len(self.places) != len(variables):
            raise ValueError(
                f"`places` should be one for each of the {len(variables)} variables. "
                f"Received: {len(self.places)} places"
            )
        self._indices = {id(v): i for v, i in zip(variables, self.places, strict=True)}
        self._variables = list(variables)

    def __call__(self, variable):
        return self.optimizers[self._indices[id(variable)]]


@keras.saving.register_keras_serializable(package="mtlzoo")
class TimesFactor(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of learning rates, times a factor.

    Args:
        schedule: the schedule.
        factor: the factor.
    """

    def __init__(
        self, schedule: keras.optimizers.schedules.LearningRateSchedule, factor: float
    ) -> None:
        super().__init__()
        self.schedule, self.factor = schedule, factor

    def __call__(self, step: Any) -> Any:
        return self.factor * self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "factor": self.factor}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TimesFactor":
        """The schedule of a config."""
        schedule = keras.saving.deserialize_keras_object(config["schedule"], custom_objects)
        return cls(schedule, config["factor"])
