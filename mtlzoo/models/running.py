"""How the graph of a multi-task model is run: as it stands, or by a plan."""

from collections.abc import Callable
from typing import Any, Protocol

import keras

from mtlzoo.models.saving import SavedByName


class Plan(Protocol):
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

    def run_by(self, plan: Plan | None) -> None:
        """Run by a plan from now on. What was compiled has to be compiled again.

        Args:
            plan: the plan, or `None` for none.
        """
        self._held.plan = plan
        self._held.runner = None
        self.predict_function = None

    def as_planned(self, part: keras.Model) -> keras.Model:
        """The model, or a part of it with the same layers, run by its plan.

        Args:
            part: a functional model.
        """
        return part if self.plan is None else self.plan.transform(part)

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

    def compiled_state(self) -> dict[str, Any] | None:
        """What `compile_again` needs to go on where the model is, `None` if it is not compiled."""
        if not self.compiled:
            return None
        # Variables that have moved are new ones to an optimizer, which knows each by its id.
        optimizer = type(self.optimizer).from_config(self.optimizer.get_config())
        return {
            "arguments": {**self._held.compile_config, "optimizer": optimizer},
            "values": [keras.ops.convert_to_numpy(v) for v in self.optimizer.variables],
            "tasks": self.task_mask,
        }

    def compile_again(self, state: dict[str, Any] | None) -> None:
        """Compile as before, with a new optimizer that goes on where the old one was.

        Args:
            state: what `compiled_state` has returned.
        """
        if state is None:
            return
        self.compile(**state["arguments"])
        for variable, value in zip(self.optimizer.variables, state["values"], strict=True):
            variable.assign(value)
        self.switch_tasks(**state["tasks"])
