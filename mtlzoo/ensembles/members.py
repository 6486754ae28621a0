"""The models of an ensemble: read, checked, copied and frozen."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtlzoo.layers.normalization import finalize_normalizations
from mtlzoo.models.balancer_state import BalancerState
from mtlzoo.models.graph import is_automatic
from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.tasks import Task, spaces


@keras.saving.register_keras_serializable(package="mtlzoo")
class Member(keras.layers.Layer):
    """A model inside an ensemble, as one layer: frozen, and run as in `predict`.

    Nothing unfreezes it, and its dropout and its batch normalization never work as in training.

    Args:
        model: A model with a dict of outputs by task; its variables become untrainable.
        **kwargs: Those of a Keras layer.

    Shapes:
        What the model takes, and its outputs by task.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles.members import Member

    inputs = keras.Input((4,))
    model = HardSharing(inputs, [Regression("stay")], shared_units=())
    Member(model)(inputs)["stay"].shape  # (None, 1)
    ```
    """

    closed = True  # see `layers.trainability.open_layers`

    def __init__(self, model: Any, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")  # it computes nothing itself
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True
        if isinstance(model, dict):
            model = keras.saving.deserialize_keras_object(model)
        self.model = model
        self.model.trainable = False

    @property
    def trainable(self) -> bool:
        """Always False."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        """Without effect, so that an ensemble that is made trainable leaves its members frozen."""

    def build(self, input_shape: Any) -> None:
        """Nothing: the model is built."""

    def call(self, inputs: Any) -> dict[str, Any]:
        """The raw outputs of the model by task."""
        return self.model(inputs, training=False)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> dict[str, keras.KerasTensor]:
        """Those of the model."""
        return {
            name: keras.KerasTensor(tensor.shape, tensor.dtype)
            for name, tensor in self.model.output.items()
        }

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: labels say what counts."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        config = super().get_config()
        for key in ("autocast", "trainable"):
            config.pop(key, None)
        return {**config, "model": keras.saving.serialize_keras_object(self.model)}


def label(i: int, model: Any) -> str:
    """What messages call a model.

    Args:
        i: Its position in the list, from 0.
        model: The model.

    Example:
    ```python
    import keras
    from mtlzoo.ensembles.members import label

    label(1, keras.Sequential(name="small"))  # "model 1 (`small`)"
    ```
    """
    return f"model {i} (`{model.name}`)"


def read(models: Any, argument: str = "models") -> list[MultiTaskModel]:
    """The models of a list of models and of paths of `.keras` files.

    Args:
        models: The list.
        argument: Its name, for messages. Defaults to `"models"`.

    Raises:
        ValueError: For no list, an empty one, files that are not there, or models without tasks.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles.members import read

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=())
    read([model])[0] is model  # True
    ```
    """
    if not isinstance(models, list | tuple) or not models:
        raise ValueError(
            f"`{argument}` should be a list of one model at least, or of paths of `.keras` files. "
            f"Received: {argument}={models!r}"
        )
    return [_read_one(i, model, argument) for i, model in enumerate(models)]


def _read_one(i, given, argument):
    model = given
    if isinstance(given, str | os.PathLike):
        path = os.fspath(given)
        if not path.endswith(".keras") or not os.path.exists(path):
            raise ValueError(
                f"`{argument}` should hold models, or paths of `.keras` files that are there. "
                f"Received: {argument}[{i}]={path!r}"
            )
        model = keras.saving.load_model(path)
    if not isinstance(model, MultiTaskModel):
        raise ValueError(
            f"`{argument}` should hold multi-task models, which have named tasks. "
            f"Received: {argument}[{i}]={given!r}"
        )
    if not model.tasks:
        raise ValueError(
            f"`{argument}` should have tasks: make them with `tasks=`, or `compile` them before. "
            f"Received: {label(i, model)}, without tasks"
        )
    return model


def copy_of(model: MultiTaskModel, preprocessor: bool = False) -> MultiTaskModel:
    """A model of its own with the same graph, tasks and weights, without compilation.

    Args:
        model: The model.
        preprocessor: Whether the copy has the same preprocessor, else none. Defaults to `False`.

    Raises:
        ValueError: For a model that cannot be made again from its config.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles.members import copy_of

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=())
    copy_of(model).task_names  # ("stay",)
    ```
    """
    config = model.get_config()
    if "tasks" in config:  # also those that were made by `compile`
        config["tasks"] = keras.saving.serialize_keras_object(list(model.tasks.values()))
    if "preprocessor" in config:
        config["preprocessor"] = None  # its config lacks what it has adapted to
    # Kinds of one's own need not be registered for a copy.
    kinds = {type(task).__name__: type(task) for task in model.tasks.values()}
    try:
        copy = type(model).from_config(config, kinds)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`models` should be made of layers that can be made again from their config; those of "
            "your own need `@keras.saving.register_keras_serializable()`. Received: the model "
            f"`{model.name}`: {str(error)[:200]}"
        ) from error
    if preprocessor:
        copy._held.preprocessor = model.preprocessor
    for new, old in zip(_in_turn(copy), _in_turn(model), strict=True):
        new.assign(old)
    finalize_normalizations(copy)
    return copy


def _in_turn(model):
    """The weights of the members, one by one, since they may share some, and then the others."""
    inside = [la.model for la in model.layers if isinstance(la, Member)]
    found = [v for each in inside for v in _in_turn(each)]
    known = {id(v) for v in found}
    return found + [v for v in weights_of(model) if id(v) not in known]


def weights_of(model: keras.Model) -> list[keras.Variable]:
    """The weights of a model, without the state of balancers.

    Args:
        model: The model.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles.members import weights_of

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=())
    len(weights_of(model))  # 2
    ```
    """
    states = [s for s in model._flatten_layers(include_self=False) if isinstance(s, BalancerState)]
    left_out = {id(v) for state in states for v in state.variables}
    return [v for v in model.weights if id(v) not in left_out]


def check_inputs(models: Sequence[MultiTaskModel]) -> None:
    """Refuse models that take other inputs than the first.

    Args:
        models: The models.

    Raises:
        ValueError: Naming the model and the input.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles.members import check_inputs

    one, two = (
        HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=()) for _ in range(2)
    )
    check_inputs([one, two])
    ```
    """
    first = _specs(models[0])
    for i, model in enumerate(models):
        own = _specs(model)
        if own.keys() != first.keys():
            raise ValueError(
                f"`models` should all take the inputs of model 0, {_text(first)}. "
                f"Received: {label(i, model)} with the inputs {_text(own)}"
            )
        for key, (name, shape, dtype) in own.items():
            if (shape, dtype) != first[key][1:] or _differ(name, first[key][0]):
                raise ValueError(
                    f"`models` should all take the inputs of model 0. Received: {label(i, model)}, "
                    f"whose input {_words(own[key])} is {_words(first[key])} in model 0"
                )


def _specs(model):
    """By key or position: name, shape without the batch, dtype."""
    given = model.input
    if isinstance(given, Mapping):
        return {key: (key, tuple(t.shape[1:]), t.dtype) for key, t in sorted(given.items())}
    given = given if isinstance(given, list | tuple) else [given]
    return {i: (t.name, tuple(t.shape[1:]), t.dtype) for i, t in enumerate(given)}


def _differ(name, other):
    return name != other and not (is_automatic(name) or is_automatic(other))


def _words(spec):
    name, shape, dtype = spec
    return f"`{name}` of shape {(None, *shape)} and dtype {dtype}"


def _text(specs):
    return str([name for name, *_ in specs.values()])


def tasks_of(models: Sequence[MultiTaskModel]) -> dict[str, tuple[Task, list[int]]]:
    """By task name, in sorted order, the task and which models have it.

    Args:
        models: The models. The task object is that of the first that has it.

    Raises:
        ValueError: For tasks of one name that are not the same, naming task and model.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles.members import tasks_of

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=())
    tasks_of([model, model])["stay"][1]  # [0, 1]
    ```
    """
    found: dict[str, tuple[Task, list[int]]] = {}
    for i, model in enumerate(models):
        for name, task in model.tasks.items():
            having = found.setdefault(name, (task, []))[1]
            if having:
                _check_same(name, (having[0], models[having[0]]), (i, model))
            having.append(i)
    return dict(sorted(found.items()))


def _check_same(name, one, other):
    (i, first), (j, second) = one, other
    found = spaces.difference(first.tasks[name], second.tasks[name])
    shapes = tuple(first.output[name].shape), tuple(second.output[name].shape)
    if found is None and shapes[0] != shapes[1]:
        found = "output_shape", *shapes
    if found is not None:
        what, a, b = found
        raise ValueError(
            f"The task `{name}` should be the same in all models that have it. Received: "
            f"{what} {b} in {label(j, second)}, {a} in {label(i, first)}"
        )
