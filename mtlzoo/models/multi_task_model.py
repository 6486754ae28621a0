"""The multi-task model: any functional Keras graph whose outputs are named by task."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import balancing
from mtlzoo import tasks as task_kinds
from mtlzoo.balancing import Balancer
from mtlzoo.models import gramian_record, graph, optimizers
from mtlzoo.models.balancer_state import BalancerState
from mtlzoo.models.compile_checks import (
    check_arguments,
    check_balancer,
    check_distribution,
    check_plan,
    check_replicas,
    tasks_from,
)
from mtlzoo.models.fitting import FittedByTask
from mtlzoo.models.held import Held
from mtlzoo.models.objectives import Objectives
from mtlzoo.models.optimizer_slots import OptimizerSlots
from mtlzoo.models.replica_losses import keep_apart
from mtlzoo.models.rows import Rows
from mtlzoo.models.training_step import TrainingStep
from mtlzoo.tasks import Task
from mtlzoo.tasks.configs import check_config


@keras.saving.register_keras_serializable(package="mtlzoo")
class MultiTaskModel(FittedByTask):
    r"""A functional Keras model whose outputs are named by task and trained in balance.

    Which variables are shared is read from the graph: a variable that two or more task losses
    depend on is shared, one that a single task's loss depends on belongs to that task. Everything
    that Keras does with a functional model (`summary`, `fit`, callbacks, saving, export) works
    unchanged; labels, sample weights, losses, metrics and logs are dicts by task name.

    One training step serves every balancer: with task losses $L_1, ..., L_T$ (each a weighted sum
    over the present labels, divided by their number in the global batch), shared variables
    $\theta$ and task variables $\phi_i$,

    $$G_{ij} = \langle \nabla_\theta L_i, \nabla_\theta L_j \rangle, \quad w = w(G), \quad
    \Delta\theta \propto \sum_i w_i \nabla_\theta L_i, \quad
    \Delta\phi_i \propto \nabla_{\phi_i} L_i.$$

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        outputs: dict of output tensors by task name.
        name: name of the model.
        tasks: list of `mtlzoo.Task`s with the same names as the outputs. Without it, the tasks are
            made from the losses given to `compile`.
        preprocessor: a Keras model from raw columns to `inputs`. It takes no part in training; it
            is saved with the model, and stands in front of it in the exported SavedModel.
        trainable: whether the variables are trained, as in Keras. Defaults to what they are.

    Attributes:
        tasks: dict of the tasks by name, in sorted order.
        task_names: their names, sorted: the order of every axis over tasks.

    Raises:
        ValueError: for unusable names, an output without a task, a task without an output, or an
            output of a wrong shape, or probabilities where a task takes logits.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, MultiTaskModel, PCGrad, Regression

    inputs = keras.Input((8,))
    trunk = keras.layers.Dense(16, activation="relu")(inputs)
    click, stay = BinaryClassification("click"), Regression("stay")
    model = MultiTaskModel(
        inputs, {"click": click.head(trunk), "stay": stay.head(trunk)}, tasks=[click, stay]
    )
    model.compile("adam", balancer=PCGrad())
    ```
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any = None,
        name: str | None = None,
        *,
        tasks: Sequence[Task] | None = None,
        preprocessor: keras.Model | None = None,
        trainable: bool | None = None,
    ) -> None:
        outputs = graph.check_outputs(outputs)
        graph.check_inputs(inputs, outputs)
        graph.check_names(outputs)
        if preprocessor is not None and not isinstance(preprocessor, keras.Model):
            raise ValueError(
                "`preprocessor` should be a Keras model or None. "
                f"Received: preprocessor={preprocessor!r}"
            )
        super().__init__(inputs, outputs, name=name, trainable=trainable)
        self.task_names = tuple(outputs)
        # Neither tasks nor preprocessor are layers of this model: plain holders keep Keras from
        # tracking them (a preprocessor's string lookups would switch XLA off, for one).
        self._held = Held(preprocessor)
        self._declared = tasks is not None
        if tasks is not None:
            self._set_tasks(task_kinds.by_name(tasks))

    # -- tasks and variables ----------------------------------------------------------------

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks by name, in sorted order; empty before `compile` if none were given."""
        return dict(self._held.tasks)

    @property
    def row_of(self) -> dict[str, str]:
        """By the name of a task that of another one with which it is balanced as one."""
        return self._held.row_of

    @property
    def preprocessor(self) -> keras.Model | None:
        """The model from raw columns to this model's inputs, if there is one."""
        return self._held.preprocessor

    def _set_tasks(self, tasks: dict[str, Task]) -> None:
        for name in self.task_names:
            if name not in tasks:
                raise ValueError(
                    f"`outputs` should be one for each of the tasks {list(tasks)}. "
                    f"Received: an output without a task, {name!r}"
                )
        for name, task in tasks.items():
            if name not in self.task_names:
                raise ValueError(
                    f"`tasks` should have one output each. Received: a task without an output, "
                    f"{name!r}; the outputs are {list(self.task_names)}"
                )
            task.check_output(self.output[name].shape)
            graph.check_logits(task, self.output[name])
        self._held.tasks = tasks

    @property
    def _ownership(self) -> graph.Ownership:
        # Read anew each time, since layers may get other variables (`enable_lora`, `quantize`).
        return graph.read_ownership(self)

    @property
    def shared_variables(self) -> list[keras.Variable]:
        """The trainable variables that several tasks depend on."""
        return self._ownership.shared(self._own_trainable_variables())

    def _shared_layers_variables(self) -> list[keras.Variable]:
        """The same with those that are frozen now, so that a balancer's state outlives it."""
        layers = self._flatten_layers(include_self=False)
        layers = [layer for layer in layers if not isinstance(layer, BalancerState)]
        found = {id(v): v for layer in layers for v in layer._trainable_variables}
        return self._ownership.shared(list(found.values()))

    def task_variables(self, name: str) -> list[keras.Variable]:
        """The trainable variables that only the task `name` depends on."""
        self._check_name(name)
        return self._ownership.owned_by(name, self._own_trainable_variables())

    @property
    def trained_variables(self) -> list[keras.Variable]:
        """What the optimizer trains: the trainable variables, without those of the balancers of
        multi-task models inside this one.
        """
        own = getattr(self, "_balancer_state", None)
        layers = self._flatten_layers(include_self=False)
        others = [s for s in layers if isinstance(s, BalancerState) and s is not own]
        left_out = {id(v) for state in others for v in state.variables}
        return [v for v in self.trainable_variables if id(v) not in left_out]

    @property
    def balancer_variables(self) -> list[keras.Variable]:
        """The trainable variables of the balancer."""
        return list(self.balancer.trainable_variables) if self.balancer is not None else []

    def _own_trainable_variables(self) -> list[keras.Variable]:
        of_balancer = {id(v) for v in self.balancer_variables}
        return [v for v in self.trained_variables if id(v) not in of_balancer]

    @property
    def boundary(self) -> list[keras.KerasTensor]:
        """The tensors at which the shared part ends.

        Raises:
            ValueError: if the model cannot be cut there; the message says why.
        """
        tensors, watched = graph.read_boundary(self, self._ownership)
        return [tensor for tensor, learned in zip(tensors, watched, strict=True) if learned]

    def single_task(self, name: str) -> keras.Model:
        """A plain `keras.Model` for one task that shares this model's variables.

        Args:
            name: name of the task. The output is the dict `{name: tensor}`.
        """
        self._check_name(name)
        return keras.Model(self.input, {name: self.output[name]}, name=f"{self.name}_{name}")

    def _check_name(self, name: str) -> None:
        if name not in self.task_names:
            raise ValueError(
                f"`name` should be one of the tasks {list(self.task_names)}. "
                f"Received: name={name!r}"
            )

    # -- training ---------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        balancer: str | Balancer = "equal",
        *,
        loss: Mapping | None = None,
        loss_weights: Mapping[str, float] | None = None,
        metrics: Mapping | None = None,
        weighted_metrics: Mapping | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
        guard: str | None = None,
        track_gramian: str | None = None,
        track_every: int = 10,
    ) -> None:
        """Configure training. Losses and metrics come from the tasks unless they are given here.

        Args:
            optimizer: a Keras optimizer or its name. Defaults to `"rmsprop"`.
            balancer: a balancer or its name, see `mtlzoo.balancing.names()`. Defaults to `"equal"`.
            loss: dict by task of Keras losses that replace the tasks' own.
            loss_weights: dict by task of factors that multiply the losses before anything else,
                the balancer included. Tasks without one have 1.
            metrics: dict by task of metrics that replace the task's own; they skip missing labels
                and ignore sample weights.
            weighted_metrics: dict by task of further metrics that use the sample weights.
            run_eagerly: as in Keras. Defaults to `False`.
            steps_per_execution: as in Keras; it also works on several replicas. Defaults to 1.
            jit_compile: as in Keras; refused on several replicas. Defaults to `"auto"`.
            auto_scale_loss: as in Keras. Defaults to `True`.
            guard: `None`: after a non-finite loss, nothing is updated on one replica; on several,
                the shared variables get a zero gradient in that step (an optimizer with momentum
                still moves them a little). `"all"`: nothing is updated on several replicas either,
                for the price of a copy of all variables in each step.
            track_gramian: whether the inner products of the tasks' gradients are kept, for
                `gramian_record`: `None`, `"shared"`, of all shared variables together (of the
                boundary tensors, where the balancer has `wrt="features"`), or `"groups"`, by layer
                too. Gradients are those of the losses times their loss weights, and times what a
                loss balancer before a gradient balancer makes of them. Defaults to `None`.
            track_every: in which steps that is measured with a balancer that does not make these
                products anyway, such as one that weighs losses: each n-th. They take a backward
                pass for each task. Defaults to 10.

        Raises:
            ValueError: for unknown tasks or balancers, a balancer that this model cannot use, an
                optimizer that was built before, or nothing that can be tracked.
        """
        self._held.step = None  # what is refused below must not go on with the step of before
        check_arguments(
            optimizer, run_eagerly, steps_per_execution, jit_compile, auto_scale_loss, guard
        )
        check_distribution(self.distribute_strategy)
        jit_compile_by_plan = check_plan(self, self.plan, jit_compile, run_eagerly)
        with self.distribute_strategy.scope():
            if auto_scale_loss:
                optimizer = optimizers.scaled(optimizer, self)
            super().compile(
                optimizer,
                run_eagerly=run_eagerly,
                steps_per_execution=steps_per_execution,
                jit_compile=jit_compile_by_plan,
                auto_scale_loss=auto_scale_loss,
            )
            replicas = self.distribute_strategy.num_replicas_in_sync
            if replicas > 1:
                check_replicas(self, replicas)
                keep_apart(self)
            if not self._declared:
                self._set_tasks(tasks_from(self, loss))
            objectives = Objectives(self.tasks, loss, loss_weights, metrics, weighted_metrics)
            if replicas > 1:
                self.distribute_strategy.run(objectives.build_metrics)
            balancer = balancing.get(balancer)
            if balancer is not self.balancer and any(part.built for part in balancer.whole):
                # Its state is that of another model.
                balancer = type(balancer).from_config(balancer.get_config())
            rows = Rows(self.task_names, self.row_of)
            splits = check_balancer(self, balancer, rows)
            of_rows = [self.tasks[name] for name in rows.names]
            balancer.build(of_rows, self._shared_layers_variables())
            balancer.check_metrics(objectives.metric_names)
            optimizers.check(self.optimizer, replicas)
            ownership = self._ownership
            record = gramian_record.made(self, rows, ownership, track_gramian, track_every)
            slots = OptimizerSlots(self.optimizer)
            self._hold_balancer(balancer)
            if balancer.trainable_variables:
                optimizers.exclude_from_weight_decay(self.optimizer, balancer.trainable_variables)
            self.optimizer.build(self.trained_variables)
            slots.check(self.trained_variables)
            self._held.step = TrainingStep(
                self, objectives, rows, balancer, ownership, slots, splits, guard, record
            )
        self._held.compile_config = {
            "optimizer": optimizer,
            "balancer": balancer,
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
            "auto_scale_loss": auto_scale_loss,
            "guard": guard,
            "track_gramian": track_gramian,
            "track_every": track_every,
        }

    def _hold_balancer(self, balancer: Balancer) -> None:
        """Have Keras save the balancer's state and train its trainable variables."""
        if getattr(self, "_balancer_state", None) is None:
            self._balancer_state = BalancerState()
        self._balancer_state.hold(balancer.state)
        self._held.balancer = balancer

    @property
    def _step(self) -> TrainingStep:
        if self._held.step is None:
            raise ValueError("The model should be compiled first, by `model.compile(...)`.")
        return self._held.step

    @property
    def balancer(self) -> Balancer | None:
        """The balancer of the last `compile`."""
        return self._held.balancer

    @property
    def task_weights(self) -> dict[str, float]:
        """The weights that the balancer gave the tasks in the last training step.

        With `groups`, the mean over them; `task_weights` of the gradient balancer has each.
        """
        weights = keras.ops.convert_to_numpy(self._step.weights)
        if np.isnan(weights).any():  # no step yet, unless it was before the model was saved
            of_rows = keras.ops.convert_to_numpy(self._step.balancer.task_weights)
            weights = keras.ops.convert_to_numpy(self._step.rows.spread(of_rows))
        if weights.ndim == 2:
            weights = weights.mean(0)
        return dict(zip(self.task_names, weights.tolist(), strict=True))

    @property
    def initial_losses(self) -> dict[str, float]:
        """The tasks' losses in the first step (or sequence of steps) after `compile` that computed
        them.

        NaN for a task without labels there, or that was not selected yet.

        They are logged too, with a warning if, times their loss weights, they are more than
        100-fold apart.
        """
        found = self._step.initial_losses
        return {name: found.get(name, float("nan")) for name in self.task_names if found}

    # -- config -----------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The graph, the tasks and the preprocessor."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "tasks": serialize(list(self.tasks.values())) if self._declared else None,
            "preprocessor": serialize(self.preprocessor) if self.preprocessor else None,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "MultiTaskModel":
        """The model of a config, with new variables."""
        keys = ("tasks", "preprocessor")
        config = check_config(f"a `{cls.__name__}`", config, *keys)
        for key in keys:
            config[key] = keras.saving.deserialize_keras_object(config[key], custom_objects)
        return super().from_config(config, custom_objects)
