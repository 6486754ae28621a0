"""How the graph of a multi-task model is run: as it stands, or by a plan."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras

from mtlzoo.models import compile_checks
from mtlzoo.models.graph import Split
from mtlzoo.models.moving import move
from mtlzoo.models.saving import SavedByName


class RunPlan(Protocol):
    """What a model knows of a plan, such as those of `mtlzoo.distribution`.

    Attributes:
        on_devices: whether anything runs elsewhere than TensorFlow would run it.
        in_parts: whether a batch is divided into micro-batches.
    """

    @property
    def on_devices(self) -> bool:
        """Whether it names devices."""

    @property
    def in_parts(self) -> bool:
        """Whether it divides batches."""

    def transform(self, model: keras.Model) -> keras.Model:
        """The same functional model, with the same layers, run by the plan."""

    def rows_of_summary(self) -> list[list[str]]:
        """What is where: a name, the device, and numbers of layers and parameters."""


class RunByPlan(SavedByName):
    """The part of `MultiTaskModel` that runs its graph."""

    @property
    def plan(self) -> Any:
        """The plan, or `None`."""
        return self._held.plan

    def run_by(self, plan: RunPlan | None, devices: Mapping[int, str | None]) -> None:
        """Run by a plan from now on; a compiled model goes on with what it has learned.

        Args:
            plan: the plan, or `None` for none.
            devices: by the id of a variable of the model where it is to be from now on, `None` for
                where TensorFlow puts it.

        Raises:
            ValueError: if the model cannot run by it; then nothing has changed.
        """
        given = self._held.compile_config if self.compiled else {}
        jit_compile = compile_checks.check_plan(
            self, plan, given.get("jit_compile", "auto"), given.get("run_eagerly", False)
        )
        variables = {id(v): v for v in self.variables}
        slots = self._step.slots if self.compiled else None
        move([(variables[key], device) for key, device in devices.items()], slots)
        self._held.plan, self._held.runner = plan, None
        self.predict_function = None
        if self.compiled:
            # Keras finds out what "auto" means where nothing is set.
            self.jit_compile = None if jit_compile == "auto" else jit_compile
            self._step.run_by_plan()
            self.train_function = self.test_function = None

    def as_planned(self, part: keras.Model) -> keras.Model:
        """The model, or a part of it with the same layers, run by its plan.

        Args:
            part: a functional model.
        """
        return part if self.plan is None else self.plan.transform(part)

    def split_as_planned(self, split: Split | None) -> Split | None:
        """The two parts of the model cut at its boundary, run by its plan.

        Args:
            split: the parts, or `None`.
        """
        if split is None or self.plan is None:
            return split
        trunk, heads = self.as_planned(split.trunk), self.as_planned(split.heads)
        return dataclasses.replace(split, trunk=trunk, heads=heads)

    # A method, since Keras's saving reads properties, and would go round in circles here.
    def runner(self) -> keras.Model:
        """The whole model as it is run."""
        if self._held.runner is None:
            self._held.runner = self.as_planned(self)
        return self._held.runner

    def predict_step(self, data: Any) -> Any:
        """The raw outputs of a batch; used by `predict`."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.runner()(x, training=False)

    def summary(self, *args: Any, print_fn: Callable | None = None, **kwargs: Any) -> None:
        """Print what Keras does, and the plan if there is one.

        Args:
            *args: those of `keras.Model.summary`.
            print_fn: what to print lines with. Defaults to `print`.
            **kwargs: those of `keras.Model.summary`.
        """
        super().summary(*args, print_fn=print_fn, **kwargs)
        if self.plan is None:
            return
        rows = [["", "device", "layers", "parameters"], *self.plan.rows_of_summary()]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ["Runs by a plan, which is not saved:"]
        for name, *others in rows:
            cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
            lines.append("  ".join([f" {name.ljust(widths[0])}", *cells]))
        (print_fn or print)("\n".join(lines))
