"""How a model is run: which of its layers run where, and in which stages it is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from mtlzoo.distribution.apart import on_device
from mtlzoo.distribution.schedules import GPIPE, Schedule
from mtlzoo.distribution.staged import Stage, StagedPass
from mtlzoo.models import MultiTaskModel
from mtlzoo.models.cutting import pieces_of


@dataclass(frozen=True)
class Stages:
    """That a model is trained in stages.

    Attributes:
        at: the names of the layers at which all stages but the last end.
        micro_batches: into how many parts a batch is divided.
        schedule: name of the schedule.
        rematerialized: whether a stage keeps its inputs alone until it runs backward.
        devices: by stage where it runs; empty where that is left to TensorFlow.
    """

    at: list[str]
    micro_batches: int = 1
    schedule: str = GPIPE
    rematerialized: bool = False
    devices: list[str] = field(default_factory=list)


class Plan:
    """How a model is run; `mtlzoo.models.running.RunPlan` is what the model knows of it.

    Args:
        placed: layers, and other operations, each with its device.
        stages: the stages, if there are any.
        stage_of: by the id of each operation of the model the number of its stage.
        staged: the operations of stages with a device, each with that.
        rows: what `summary` says, by who has said it.
    """

    def __init__(
        self,
        placed: Sequence[tuple[Any, str]] = (),
        stages: Stages | None = None,
        stage_of: Mapping[int, int] | None = None,
        staged: Sequence[tuple[Any, str]] = (),
        rows: Mapping[str, list[list[str]]] | None = None,
    ) -> None:
        self.placed, self.stages, self.staged = list(placed), stages, list(staged)
        self.stage_of, self.rows = dict(stage_of or {}), dict(rows or {})
        self._devices = {id(operation): device for operation, device in placed}
        self._of_stages = {id(operation): device for operation, device in staged}

    @staticmethod
    def of(model: MultiTaskModel) -> "Plan":
        """The plan of a model, one that says nothing if it has none."""
        if not isinstance(model, MultiTaskModel):
            raise ValueError(f"`model` should be a `MultiTaskModel`. Received: model={model!r}")
        return model.plan or Plan()

    def give_to(self, model: MultiTaskModel) -> None:
        """Have a model run by this plan in place of that which it has; variables move.

        Raises:
            ValueError: if the model cannot run by it; then nothing has changed.
        """
        before, after = Plan.of(model)._of_variables(), self._of_variables()
        moving: dict[int, str | None] = {key: None for key in before if key not in after}
        moving |= {key: device for key, device in after.items() if before.get(key) != device}
        model.run_by(self if self.placed or self.stages else None, moving)

    def _of_variables(self) -> dict[int, str]:
        """By the id of each variable of a layer with a device that device."""
        return {
            id(variable): device
            for operation, device in [*self.placed, *self.staged]
            for variable in getattr(operation, "weights", ())
        }

    @property
    def on_devices(self) -> bool:
        """Whether anything runs elsewhere than TensorFlow would run it."""
        return bool(self.placed or self.staged)

    @property
    def in_parts(self) -> bool:
        """Whether a batch is divided into micro-batches."""
        return self.stages is not None and self.stages.micro_batches > 1

    def rows_of_summary(self) -> list[list[str]]:
        """What is where: rows of a name, the device, and numbers of layers and parameters."""
        return [row for rows in self.rows.values() for row in rows]

    def transform(self, model: keras.Model) -> keras.Model:
        """The same functional model, with the same layers, run by this plan.

        Args:
            model: the whole model, or a part of it with the same layers, such as its trunk.
        """
        return Planned(model.input, model.output, self, model.name, self._stages_of(model))

    def stand_in(self, operation: Any, in_stage: bool) -> Any:
        """What runs in the place of a layer or other operation.

        Args:
            operation: the layer.
            in_stage: whether it is run in a stage, which has its device.
        """
        device = self._devices.get(id(operation))
        if device is None and not in_stage:
            device = self._of_stages.get(id(operation))
        if device is not None:
            return on_device(operation, device)
        if any(id(layer) in self._devices for layer in layers_inside(operation)):
            return Planned(operation.input, operation.output, self, operation.name)
        return operation

    def _stages_of(self, model: keras.Model) -> list[Stage]:
        """The stages of the model, or of a part of it."""
        if self.stages is None:
            return []
        found = []
        for number, piece in pieces_of(model, self.stage_of).items():
            inner = piece.model(f"{model.name}_stage_{number}")
            run = Planned(inner.input, inner.output, self, inner.name, in_stage=True)
            device = self.stages.devices[number] if self.stages.devices else None
            takes, gives = ([id(t) for t in side] for side in (piece.takes, piece.gives))
            found.append(Stage(run, takes, gives, device))
        return found


def layers_inside(operation: Any) -> Sequence[keras.layers.Layer]:
    """The layers of a functional model that is used as a layer; none of anything else."""
    if isinstance(operation, keras.Model) and hasattr(operation, "_run_through_graph"):
        return operation._flatten_layers(include_self=False)
    return ()


class Planned(keras.Model):
    """A functional model over the graph of another, run by a plan.

    Args:
        inputs: those of the graph.
        outputs: those of the graph.
        plan: the plan.
        name: of the model.
        stages: its stages, if it is trained in such.
        in_stage: whether it is a stage itself.
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        plan: Plan,
        name: str,
        stages: Sequence[Stage] = (),
        in_stage: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, name=name)
        self._run = _Held(plan, list(stages), in_stage)

    def _run_through_graph(self, inputs, operation_fn=lambda op: op, call_fn=None):
        held = getattr(self, "_run", None)
        if call_fn is not None or held is None:  # Keras looks at the graph
            return super()._run_through_graph(inputs, operation_fn, call_fn)
        return super()._run_through_graph(inputs, lambda o: operation_fn(held.stand_in(o)))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Run the model, in training stage by stage if it has stages."""
        held, settings = self._run, self._run.plan.stages
        if not training or settings is None or not held.stages:
            return super().call(inputs, training=training, mask=mask)
        schedule = Schedule(settings.schedule, len(held.stages), settings.micro_batches)
        run = StagedPass(held.stages, schedule, settings.rematerialized)
        flat = self._standardize_inputs(inputs)
        known = {id(t): value for t, value in zip(self.inputs, flat, strict=True)}
        outputs = run(known, [id(tensor) for tensor in self.outputs])
        return keras.tree.pack_sequence_as(self.output, outputs)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """No mask but those that the layers inside set themselves."""


class _Held:
    """What a planned model keeps without Keras tracking it."""

    def __init__(self, plan: Plan, stages: list[Stage], in_stage: bool) -> None:
        self.plan, self.stages, self.in_stage = plan, stages, in_stage
        self._made: dict[int, Any] = {}

    def stand_in(self, operation: Any) -> Any:
        """What runs in the place of an operation, made once."""
        if id(operation) not in self._made:
            self._made[id(operation)] = self.plan.stand_in(operation, self.in_stage)
        return self._made[id(operation)]
