"""What every architecture of the zoo has in common: inputs, a backbone, a config, a student."""

import contextlib
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras

from mtlzoo.layers.policies import policy_config as policy_config
from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.tasks import Task
from mtlzoo.tasks.configs import check_config


class Architecture(MultiTaskModel):
    """Base of the prebuilt models: a graph drawn from arguments, rebuilt from the same arguments.

    A subclass draws its graph in `__init__` in three steps (layers, graph, config) and hands its
    own arguments to this constructor.

    Args:
        inputs: the `keras.Input`, or the list or dict of them.
        outputs: dict of output tensors by task name.
        tasks: list of tasks.
        arguments: the subclass's other arguments, as `get_config` should return them.
        preprocessor, name: as for `MultiTaskModel`.
        inside: dict of what else can be read for given inputs, such as gates: tensors of the
            graph, or nested dicts of them.
    """

    # The arguments, besides `units` and those that end with `_units`, that a student has fewer of.
    scaled_arguments: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        tasks: Sequence[Task],
        arguments: Mapping[str, Any],
        preprocessor: keras.Model | None = None,
        name: str | None = None,
        inside: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(inputs, outputs, name=name, tasks=tasks, preprocessor=preprocessor)
        self._held.arguments = dict(arguments)
        self._held.inside = {
            key: keras.Model(inputs, tensors, name=key) for key, tensors in (inside or {}).items()
        }

    def _read(self, key: str, x: Any, batch_size: int | None = None) -> Any:
        """The values of the tensors `inside[key]` as arrays, for `x` as `predict` takes it."""
        return self._held.inside[key].predict(x, batch_size=batch_size, verbose=0)

    def student(
        self, scale: float = 0.5, *, name: str | None = None, **arguments: Any
    ) -> "Architecture":
        """A smaller twin: the same architecture for the same tasks, with new variables.

        Args:
            scale: factor of all widths, rounded, at least 1, those of the tasks' heads among them.
                Ranks, such as that of a LoRA, stay as they are. Defaults to 0.5, which leaves about
                a quarter of the parameters. A backbone is `backbone.scaled(scale)`, which those of
                `mtlzoo.backbones` have; an `expert_network` too.
            name: name of the twin. Defaults to this model's, with `_student`.
            **arguments: arguments of the constructor that are to differ otherwise, `backbone` for
                instance.

        Raises:
            ValueError: if `scale` is not positive, or a network must be given because it cannot be
                scaled.
        """
        is_number = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
        if not is_number or not 0 < scale < float("inf"):
            raise ValueError(f"`scale` should be a positive number. Received: scale={scale!r}")
        own = {key: value for key, value in self._held.arguments.items() if key not in arguments}
        smaller: dict[str, Any] = {}
        if "tasks" not in arguments:
            smaller["tasks"] = [_scaled_task(task, scale) for task in self.tasks.values()]
        for key, value in own.items():
            if key in ("backbone", "encoders", "expert_network"):
                smaller[key] = _scaled_networks(key, value, scale)
            elif key == "units" or key.endswith("_units") or key in self.scaled_arguments:
                smaller[key] = _scaled(value, scale, self._width_unit(key))
            elif isinstance(value, keras.layers.Layer) and hasattr(value, "scaled"):
                smaller[key] = value.scaled(scale)
        config = self.get_config()
        inputs = _deserialize_inputs(config.pop("inputs"))
        for key in self._added_later():  # the twin has learned nothing that it could stay at
            del config[key]
        rest = {
            key: keras.saving.deserialize_keras_object(value)
            for key, value in config.items()
            if key not in smaller and key not in arguments and key != "preprocessor"
        }
        # Not its config, which lacks what it has adapted to.
        rest["preprocessor"] = self.preprocessor
        rest["name"] = f"{self.name}_student" if name is None else name
        return type(self)(inputs, **{**rest, **smaller, **arguments})

    def _width_unit(self, argument: str) -> int:
        """What the widths of this argument must be multiples of."""
        return 1

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, the inputs as specifications; and the frozen layers."""
        serialize = keras.saving.serialize_keras_object
        return {
            "inputs": _serialize_inputs(self.input),
            "tasks": serialize(list(self.tasks.values())),
            **{key: serialize(value) for key, value in self._held.arguments.items()},
            "preprocessor": serialize(self.preprocessor) if self.preprocessor else None,
            "name": self.name,
            **self._added_later(),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "Architecture":
        """The model of a config, with new variables."""
        config = check_config(f"a `{cls.__name__}`", config, "inputs", "tasks")
        inputs = _deserialize_inputs(config.pop("inputs"))
        later = cls._take_later(config)
        # Keras's scope would hide one around it.
        given = custom_objects or {}
        with keras.saving.custom_object_scope(given) if given else contextlib.nullcontext():
            arguments = {
                key: keras.saving.deserialize_keras_object(value) for key, value in config.items()
            }
            return cls(inputs, **arguments)._add_again(*later)


def check_inputs(inputs: Any) -> list:
    """The inputs in a flat list, if they are `keras.Input`s.

    Raises:
        ValueError: if there is none, or another tensor among them.
    """
    flat = keras.tree.flatten(inputs)
    if not flat:
        raise ValueError(f"`inputs` should be `keras.Input`s. Received: inputs={inputs!r}")
    for tensor in flat:
        if not isinstance(tensor, keras.KerasTensor) or not isinstance(
            tensor._keras_history.operation, keras.layers.InputLayer
        ):
            raise ValueError(
                "`inputs` should be `keras.Input`s; what is learned before the tasks part is "
                f"`backbone`. Received: {tensor!r}"
            )
    return flat


def features_of(inputs: Any, backbone: Any = None, dtype: Any = None) -> Any:
    """The features that the tasks' layers start from.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        backbone: a Keras model or layer, or a function, from the inputs to one feature tensor;
            `None` for inputs that are features already: one tensor, or several that are joined.
        dtype: dtype policy of the layer that joins them.

    Raises:
        ValueError: for inputs that are no `keras.Input`s, or that need a backbone.
    """
    flat = check_inputs(inputs)
    if backbone is not None:
        if not callable(backbone):
            raise ValueError(
                "`backbone` should be a Keras model, a layer or a function, or None. "
                f"Received: backbone={backbone!r}"
            )
        features = backbone(inputs)
        if not isinstance(features, keras.KerasTensor):
            raise ValueError(
                f"`backbone` should return one tensor of features. Received: {features!r}"
            )
        return features
    for tensor in flat:
        if len(tensor.shape) != 2 or not keras.backend.is_float_dtype(tensor.dtype):
            raise ValueError(
                "`inputs` should be vectors of floats where there is no `backbone`. Received: "
                f"input `{tensor.name}` of shape {tensor.shape} and dtype {tensor.dtype}"
            )
    if len(flat) == 1:
        return flat[0]
    return keras.layers.Concatenate(name="features", dtype=dtype)(flat)


def dense_stack(
    features: Any,
    units: Sequence[int],
    prefix: str,
    activation: Any,
    dropout: float,
    dtype: Any,
    first: int = 0,
) -> Any:
    """Fully connected layers `<prefix>_<first>`, ... with dropout after each."""
    for i, width in enumerate(units, first):
        features = keras.layers.Dense(
            width, activation=activation, name=f"{prefix}_{i}", dtype=dtype
        )(features)
        if dropout:
            features = keras.layers.Dropout(dropout, name=f"{prefix}_{i}_dropout", dtype=dtype)(
                features
            )
    return features


def _scaled(widths: Any, scale: float, unit: int) -> Any:
    """A width, or a structure of widths, times `scale`, as multiples of `unit`; None stays None."""
    return keras.tree.map_structure(
        lambda width: None if width is None else unit * max(1, round(width * scale / unit)), widths
    )


def _scaled_task(task: Task, scale: float) -> Task:
    """A twin of the task, with the widths of its head times `scale`."""
    config = task.get_config()
    for key in task.width_arguments:
        config[key] = _scaled(config[key], scale, 1)
    return type(task).from_config(config)


def _scaled_networks(argument: str, network: Any, scale: float) -> Any:
    """A network, or a dict of them, with its widths times `scale`."""
    if isinstance(network, Mapping):
        return {
            key: _scaled_networks(f"{argument}[{key!r}]", each, scale)
            for key, each in network.items()
        }
    if network is not None and not hasattr(network, "scaled"):
        raise ValueError(
            f"`{argument.split('[')[0]}` should be given for the student: `{argument}` of this "
            f"model has no method `scaled`. Received: a {type(network).__name__}"
        )
    return None if network is None else network.scaled(scale)


def _serialize_inputs(inputs):
    def spec(tensor):
        return tensor._keras_history.operation.get_config()

    if isinstance(inputs, Mapping):
        return {"dict": {key: spec(t) for key, t in inputs.items()}}
    if isinstance(inputs, list | tuple):
        return {"list": [spec(t) for t in inputs]}
    return {"single": spec(inputs)}


def _deserialize_inputs(config):
    def tensor(spec):
        return keras.layers.InputLayer.from_config(spec).output

    if not isinstance(config, Mapping) or list(config) not in (["dict"], ["list"], ["single"]):
        raise ValueError(
            "`inputs` of a config should be a dict with one key, 'single', 'list' or 'dict'. "
            f"Received: inputs={config!r}"
        )
    if "dict" in config:
        return {key: tensor(spec) for key, spec in config["dict"].items()}
    if "list" in config:
        return [tensor(spec) for spec in config["list"]]
    return tensor(config["single"])
