"""What all backbones have in common."""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import keras

from mtlzoo.layers.arguments import check_units
from mtlzoo.layers.trainability import freeze_again, frozen_layers


class Backbone(keras.Model):
    """Base of the backbones: a functional model from inputs to one tensor of features, in stages.

    A subclass draws its graph in `__init__` in three steps (layers, graph, config) and hands its
    own arguments to this constructor. A stage ends at a single tensor, over which nothing leads
    past: the graph can be cut there, and every layer made again from its configuration.

    Args:
        inputs: the `keras.Input`, or a dict of them by name.
        outputs: the tensor of features.
        stage_names: names of the layers at whose outputs the stages end, in order; the last is the
            layer of `outputs`.
        arguments: the subclass's other arguments, as `get_config` should return them.
        name: name of the model. Defaults to one made from the class.

    Raises:
        ValueError: if the last stage does not end at the output.
    """

    # The arguments that are widths: integers, or lists or dicts of them, or None.
    width_arguments: tuple[str, ...] = ()

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        stage_names: Sequence[str],
        arguments: Mapping[str, Any],
        name: str | None = None,
    ) -> None:
        last = outputs._keras_history.operation.name
        if not stage_names or stage_names[-1] != last:
            raise ValueError(
                f"The last of `stage_names` should be the layer of the output, `{last}`. "
                f"Received: stage_names={stage_names!r}"
            )
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        # A plain holder keeps Keras from wrapping what is in it.
        self._drawn = _Drawn(tuple(stage_names), dict(arguments))

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the layers at whose outputs the stages end; the last is the model's output."""
        return self._drawn.stage_names

    def scaled(self, scale: float) -> Self:
        """A new backbone of the same kind with other widths, such as a student's.

        Args:
            scale: positive number. Widths are multiplied by it and rounded, to multiples of what
                they must be divisible by, and to at least that.

        Returns:
            A backbone with variables and a name of its own.

        Raises:
            ValueError: if `scale` is not positive.
        """
        is_number = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
        if not (is_number and 0 < scale < math.inf):
            raise ValueError(f"`scale` should be a positive number. Received: scale={scale!r}")
        arguments = dict(self._drawn.arguments)
        for name in self.width_arguments:
            unit = self._width_unit(name)
            arguments[name] = keras.tree.map_structure(
                lambda width, unit=unit: _scaled(width, scale, unit), arguments[name]
            )
        return type(self)(**arguments)

    def _width_unit(self, argument: str) -> int:
        """What the widths of this argument must be multiples of."""
        return 1

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; and the frozen layers, if there are any."""
        serialize = keras.saving.serialize_keras_object
        arguments = {key: serialize(value) for key, value in self._drawn.arguments.items()}
        frozen = frozen_layers(self)
        return {**arguments, "name": self.name, **({"frozen": frozen} if frozen else {})}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The backbone of a config, with new variables."""
        deserialize = keras.saving.deserialize_keras_object
        config = dict(config)
        frozen = config.pop("frozen", ())
        backbone = cls(**{key: deserialize(value, custom_objects) for key, value in config.items()})
        freeze_again(backbone, frozen)
        return backbone


def _scaled(width: int | None, scale: float, unit: int) -> int | None:
    # Halves are rounded up.
    return None if width is None else unit * max(1, math.floor(width * scale / unit + 0.5))


class _Drawn:
    def __init__(self, stage_names: tuple[str, ...], arguments: dict[str, Any]) -> None:
        self.stage_names = stage_names
        self.arguments = arguments


def chain(
    tensor: Any, name: str, dtype: Any, steps: Sequence[tuple[str, Callable[..., Any]]]
) -> Any:
    """Runs layers one after the other, of which the last is called `name`.

    Args:
        tensor: the input of the first.
        name: the name of the last layer, and how the names of the others begin.
        dtype: dtype policy of the layers.
        steps: pairs of the rest of a name and what makes a layer of `name` and `dtype`.

    Returns:
        The output of the last.
    """
    for i, (rest, make) in enumerate(steps):
        is_last = i == len(steps) - 1
        tensor = make(name=name if is_last else f"{name}_{rest}", dtype=dtype)(tensor)
    return tensor


def check_positive(argument: str, value: Any, least: int = 1) -> int:
    """An integer of at least `least`.

    Raises:
        ValueError: naming the argument, for anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ValueError(
        f"`{argument}` should be an integer of at least {least}. Received: {argument}={value!r}"
    )


def check_widths(argument: str, widths: Sequence[int]) -> tuple[int, ...]:
    """A tuple of at least one positive width.

    Raises:
        ValueError: naming the argument, for anything else.
    """
    if not check_units(argument, widths):
        raise ValueError(f"`{argument}` should have at least one entry. Received: {argument}=()")
    return tuple(widths)


def check_input_shape(shape: Any, rank: int | None, form: str, unknown: int = 0) -> tuple:
    """The shape of an input without the batch.

    Args:
        shape: what was given.
        rank: how many sizes it should have; None for one or more.
        form: how to write such a shape, for the message.
        unknown: how many of the first sizes may be None.

    Raises:
        ValueError: for anything else.
    """
    is_shape = isinstance(shape, list | tuple) and len(shape) == (rank or max(1, len(shape)))
    if is_shape and all(
        (size is None and i < unknown)
        or (isinstance(size, int) and not isinstance(size, bool) and size > 0)
        for i, size in enumerate(shape)
    ):
        return tuple(shape)
    raise ValueError(f"`input_shape` should be {form}. Received: input_shape={shape!r}")
