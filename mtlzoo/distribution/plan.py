"""How a model is run: which of its layers run where, and in which stages it is trained."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from mtlzoo.distribution.apart import on_device
from mtlzoo.distribution.schedules import GPIPE, Schedule
from mtlzoo.distribution.staged import Stage, StagedPass
from mtlzoo.models import MultiTaskModel
from mtlzoo.models.cutting import cut


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
    """How a model is run. Models know of it what `mtlzoo.models.running.Plan` says.

    Attributes:
        devices: by the id of a layer, or other operation, its device.
        of_stages: the same of those in stages.
        stages: the stages, if there are any.
        rows: what `summary` says, by who has said it.
    """

    def __init__(self) -> None:
        self.devices: dict[int, str] = {}
        self.of_stages: dict[int, str] = {}
        self.stages: Stages | None = None
        self.rows: dict[str, list[list[str]]] = {}

    @staticmethod
    def of(model: MultiTaskModel) -> "Plan":
        """The plan of a model, a new one if it has none."""
        if not isinstance(model, MultiTaskModel):
            raise ValueError(f"`model` should be a `MultiTaskModel`. Received: model={model!r}")
        return model.plan or Plan()

    @contextlib.contextmanager
    def changing(self, model: MultiTaskModel) -> Iterator[None]:
        """The scope in which the plan of a model changes, and its variables move."""
        state = model.compiled_state()
        model.run_by(None)
        yield
        model.run_by(self if self.rows_of_summary() else None)
        model.compile_again(state)

    @property
    def on_devices(self) -> bool:
        """Whether anything runs elsewhere than TensorFlow would run it."""
        return bool(self.devices or self.of_stages)

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
        device = self.devices.get(id(operation))
        if device is None and not in_stage:
            device = self.of_stages.get(id(operation))
        if device is not None:
            return on_device(operation, device)
        if any(id(layer) in self.devices for layer in layers_inside(operation)):
            return Planned(operation.input, operation.output, self, operation.name)
        return operation

    def _stages_of(self, model: keras.Model) -> list[Stage]:
        """The stages of the model, or of a part of it."""
        if self.stages is None:
            return []
        names = {operation.name for operation in model.operations}
        ends = {tensor._keras_history.operation.name for tensor in model.outputs}
        # A cut where a part ends, as the trunk at the boundary, is one already.
        at = [name for name in self.stages.at if name in names - ends]
        found = []
        for i, piece in enumerate(cut(model, at)):
            inner = piece.model(f"{model.name}_stage_{i}")
            run = Planned(inner.input, inner.output, self, inner.name, in_stage=True)
            devices = [self.of_stages.get(id(operation)) for operation in piece.operations]
            device = next((each for each in devices if each), None)
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
