"""One training pass of a model in stages and micro-batches, forward and backward."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from mtlzoo.distribution.apart import (
    check_dense,
    gradients,
    is_nothing,
    learnable,
    split_off,
    taking_losses,
)
from mtlzoo.distribution.micro_batches import MicroBatches, later, total
from mtlzoo.distribution.schedules import FORWARD, Schedule
from mtlzoo.gramian import dense
from mtlzoo.layers.positions import with_mask
from mtlzoo.models.second_forward import Moved, assign


class Stage:
    """A part of a model that runs as one.

    Args:
        model: from the list of what it takes to that of what it gives.
        takes: keys of its inputs.
        gives: keys of its outputs.
        device: where it runs, or `None`.
    """

    def __init__(
        self, model: keras.Model, takes: list[int], gives: list[int], device: str | None
    ) -> None:
        self.model, self.takes, self.gives, self.device = model, takes, gives, device
        layers = model._flatten_layers(include_self=False)
        # Its inputs are layers that the whole model does not have.
        self.layers = [x for x in layers if not isinstance(x, keras.layers.InputLayer)]


@dataclass
class _Run:
    """One stage's pass forward of one micro-batch.

    Attributes:
        inputs: its inputs.
        results: its outputs, then the losses that its layers added.
        tape: it has seen how, or `None` if that must be found out again.
        before: the state that a second run has to start from.
    """

    inputs: list
    results: list
    tape: tf.GradientTape | None
    before: Moved | None


class StagedPass:
    """Runs a batch through stages in the order of a schedule.

    To everything outside it is one operation, of which any number of gradients can be taken: so
    that losses, balancers and the training step are those of the whole batch.

    Args:
        stages: the stages.
        schedule: in which order they work on the micro-batches.
        rematerialized: whether to keep the inputs of stages alone, and to compute the rest again
            where it is needed.
    """

    def __init__(self, stages: list[Stage], schedule: Schedule, rematerialized: bool) -> None:
        self.stages = stages
        self.schedule = schedule
        self.keeps = not (rematerialized or schedule.replays)

    def __call__(self, known: dict[int, Any], wanted: list[int]) -> list:
        """The outputs.

        Args:
            known: the inputs by key.
            wanted: the keys of the outputs.
        """
        check_dense(list(known.values()))
        keys = [key for key, given in known.items() if tf.is_tensor(given)]
        masks = {key: getattr(known[key], "_keras_mask", None) for key in keys}
        made: dict[str, Any] = {}

        @tf.custom_gradient
        def run(*tensors):
            given = dict(zip(keys, tensors, strict=True))
            parts = MicroBatches(given, masks, self.schedule.micro_batches)
            first = _Wave(self.stages, parts.inputs())
            for _, stage, part in self.schedule.forward_pass():
                first.forward(stage, part, self.keeps)
            outputs = [parts.join([values[key] for values in first.values]) for key in wanted]
            losses, made["of"] = first.added(parts)
            made["outputs"] = outputs

            def backward(*seeds, variables=None):
                found = self._backward(first, parts, wanted, seeds, variables or ())
                of_inputs = [found.of_input(parts, key, given[key]) for key in keys]
                of_variables = [total(found.of_variables[v.ref()]) for v in variables or ()]
                return of_inputs if variables is None else (of_inputs, of_variables)

            return [*outputs, *losses], backward

        outputs, losses = split_off(run(*(known[key] for key in keys)), len(made["of"]))
        for stage, loss in zip(made["of"], losses, strict=True):
            self.stages[stage].layers[0]._losses.extend([loss])
        pairs = zip(outputs, made["outputs"], strict=True)
        return [with_mask(output, inner) for output, inner in pairs]

    def _backward(self, first, parts, wanted, seeds, variables):
        """The wave that goes backward from the gradients by the outputs and the added losses."""
        seeds = [None if is_nothing(seed) else dense(seed) for seed in seeds]
        given = [seed for seed in seeds if seed is not None]
        wave = _Wave(self.stages, [], after=given)
        if not given:
            return wave
        if self.schedule.replays:
            wave.values = parts.inputs(after=given)
            wave.earlier = first.runs
        else:
            wave.runs = dict(first.runs)
        of_outputs, of_losses = seeds[: len(wanted)], seeds[len(wanted) :]
        wave.seeds = [defaultdict(list) for _ in range(parts.count)]
        for key, seed in zip(wanted, of_outputs, strict=True):
            if seed is not None:
                for part, own in enumerate(parts.split(seed)):
                    wave.seeds[part][key].append(own)
        for (stage, i), seed in zip(first.places, of_losses, strict=True):
            for part in range(parts.count):
                own = None if seed is None else parts.share(seed, part)
                wave.of_losses.setdefault((stage, part), {})[i] = own
        for kind, stage, part in self.schedule.backward_pass():
            if kind == FORWARD:
                wave.forward(stage, part, keep=True)
            else:
                wave.backward(stage, part, variables)
        return wave


class _Wave:
    """The work of all stages on all micro-batches, each stage doing one thing after the other.

    Args:
        stages: the stages.
        values: by micro-batch the tensors by key.
        after: what must have been computed before anything.
    """

    def __init__(self, stages: list[Stage], values: list[dict], after: Sequence = ()) -> None:
        self.stages = stages
        self.values = values
        self.runs: dict[tuple[int, int], _Run] = {}
        self.earlier: dict[tuple[int, int], _Run] = {}  # of the wave that this one repeats
        self.seeds: list[dict] = []  # by micro-batch the gradients by key
        self.of_losses: dict[tuple[int, int], dict[int, Any]] = {}
        self.of_variables: dict[Any, list] = defaultdict(list)
        self.places: list[tuple[int, int]] = []
        self._last = [list(after) for _ in stages]

    def _turn(self, stage: int) -> ExitStack:
        """The scope of what a stage does next, on its device, after what it did before."""
        scope = ExitStack()
        device = self.stages[stage].device
        if device is not None:  # which would leave the device of a replica
            scope.enter_context(tf.device(device))
        scope.enter_context(tf.control_dependencies(self._last[stage]))
        return scope

    def forward(self, stage: int, part: int, keep: bool) -> None:
        """One stage's pass forward of one micro-batch."""
        piece, values = self.stages[stage], self.values[part]
        inputs = [values.get(key) for key in piece.takes]
        earlier = self.earlier.get((stage, part))
        run = self._run(stage, inputs, keep, earlier.before if earlier else None)
        self.runs[stage, part] = run
        values.update(zip(piece.gives, run.results, strict=False))

    def _run(self, stage: int, inputs: list, keep: bool, start: Moved | None) -> _Run:
        """Run forward; from the state `start` on if this has run before."""
        piece = self.stages[stage]
        before, after, tape = None, None, None
        with self._turn(stage):
            if start is not None:
                after = start.restore()
            elif not keep:
                before = Moved(piece.layers)

            def call():
                return keras.tree.flatten(piece.model(inputs, training=True))

            if keep:
                with tf.GradientTape(persistent=True) as tape:
                    tape.watch(learnable(inputs))
                    outputs, losses = taking_losses(piece.layers, call)
            else:
                outputs, losses = taking_losses(piece.layers, call)
            if after is not None:
                assign(after)
        self._last[stage] = [*outputs, *losses]
        return _Run(inputs, [*outputs, *losses], tape, before)

    def backward(self, stage: int, part: int, variables: Sequence) -> None:
        """One stage's pass backward of one micro-batch."""
        piece, seeds, run = self.stages[stage], self.seeds[part], self.runs.pop((stage, part))
        used = [total(seeds.pop(key, [])) for key in piece.gives]
        added = self.of_losses.get((stage, part), {})
        used += [added.get(i) for i in range(len(run.results) - len(used))]
        if all(seed is None for seed in used):
            return
        if run.tape is None:
            inputs = [None if t is None else later(t, used) for t in run.inputs]
            run = self._run(stage, inputs, True, run.before)
        own = {v.value.ref() for v in piece.model.trainable_variables}
        own_variables = [v for v in variables if v.ref() in own]
        keys = [key for key, t in zip(piece.takes, run.inputs, strict=True) if t is not None]
        tensors = [t for t in run.inputs if t is not None]
        with self._turn(stage):
            found, of_variables = gradients(run.tape, run.results, used, tensors, own_variables)
        for key, gradient in zip(keys, found, strict=True):
            if gradient is not None:
                seeds[key].append(dense(gradient))
        for variable, gradient in zip(own_variables, of_variables, strict=True):
            if gradient is not None:
                self.of_variables[variable.ref()].append(gradient)
        ends = [g for g in [*found, *of_variables] if g is not None]
        self._last[stage] = [g.values if isinstance(g, tf.IndexedSlices) else g for g in ends]

    def added(self, parts: MicroBatches) -> tuple[list, list[int]]:
        """The losses that layers added, means over all rows, and the stage of each."""
        losses = []
        for stage, piece in enumerate(self.stages):
            of_parts = [self.runs[stage, m].results[len(piece.gives) :] for m in range(parts.count)]
            for i, loss in enumerate(zip(*of_parts, strict=True)):
                losses.append(parts.mean(loss))
                self.places.append((stage, i))
        return losses, [stage for stage, _ in self.places]

    def of_input(self, parts: MicroBatches, key: int, tensor: tf.Tensor) -> Any:
        """The gradient by an input of the batch, `None` where nothing depends on it."""
        of_parts = [total(seeds.get(key, [])) for seeds in self.seeds]
        if not of_parts or all(gradient is None for gradient in of_parts):
            return None
        return parts.join(
            [
                tf.zeros_like(own) if gradient is None else gradient
                for gradient, own in zip(of_parts, parts.split(tensor), strict=True)
            ]
        )
