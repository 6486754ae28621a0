"""The multi-task model: any functional Keras graph whose outputs are named by task."""

import inspect
import itertools
import os
import types
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo import balancing
from mtlzoo import tasks as task_kinds
from mtlzoo.balancing import Balancer, GradientBalancer, JacobianBalancer
from mtlzoo.models import graph, optimizers
from mtlzoo.models.balancer_state import BalancerState
from mtlzoo.models.callbacks import BalancerEpochs, set_modes
from mtlzoo.models.objectives import Objectives
from mtlzoo.models.optimizer_slots import OptimizerSlots
from mtlzoo.models.replica_losses import keep_apart
from mtlzoo.models.training_step import TrainingStep
from mtlzoo.tasks import Task
from mtlzoo.tasks.configs import check_config
from mtlzoo.tasks.names import check_name

# What the training step can give to a balancer.
PROVIDED = frozenset({"losses", "gramian", "jacobian"})
# Keys in a weights file.
_TASK_NAMES, _SEEDS = "task_names", "seeds"


@keras.saving.register_keras_serializable(package="mtlzoo")
class MultiTaskModel(keras.Model):
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
            output of a wrong shape.

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

    train_function: Any  # Keras's; it has no types
    test_function: Any

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        name: str | None = None,
        *,
        tasks: Sequence[Task] | None = None,
        preprocessor: keras.Model | None = None,
        trainable: bool | None = None,
    ) -> None:
        outputs = _check_outputs(outputs)
        _check_inputs(inputs, outputs)
        if preprocessor is not None and not isinstance(preprocessor, keras.Model):
            raise ValueError(
                "`preprocessor` should be a Keras model or None. "
                f"Received: preprocessor={preprocessor!r}"
            )
        super().__init__(inputs, outputs, name=name, trainable=trainable)
        self.task_names = tuple(outputs)
        # Neither tasks nor preprocessor are layers of this model: plain holders keep Keras from
        # tracking them (a preprocessor's string lookups would switch XLA off, for one).
        self._held = _Held(preprocessor)
        self._declared = tasks is not None
        if tasks is not None:
            self._set_tasks(task_kinds.by_name(tasks))

    # -- tasks and variables ----------------------------------------------------------------

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks by name, in sorted order; empty before `compile` if none were given."""
        return dict(self._held.tasks)

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
        self._held.tasks = tasks

    @property
    def _ownership(self) -> graph.Ownership:
        # Read anew each time, since layers may get other variables (`enable_lora`, `quantize`).
        return graph.read_ownership(self)

    @property
    def shared_variables(self) -> list[keras.Variable]:
        """The trainable variables that several tasks depend on."""
        return self._ownership.shared(self._own_trainable_variables())

    def task_variables(self, name: str) -> list[keras.Variable]:
        """The trainable variables that only the task `name` depends on."""
        self._check_name(name)
        return self._ownership.owned_by(name, self._own_trainable_variables())

    @property
    def balancer_variables(self) -> list[keras.Variable]:
        """The trainable variables of the balancer."""
        return list(self.balancer.trainable_variables) if self.balancer is not None else []

    def _own_trainable_variables(self) -> list[keras.Variable]:
        of_balancer = {id(v) for v in self.balancer_variables}
        return [v for v in self.trainable_variables if id(v) not in of_balancer]

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

        Raises:
            ValueError: for unknown tasks or balancers, a balancer that this model cannot use, or
                an optimizer that was built before.
        """
        self._held.step = None  # what is refused below must not go on with the step of before
        _check_optimizer(optimizer)
        _check_steps(steps_per_execution)
        _check_option("run_eagerly", run_eagerly, (True, False))
        _check_option("jit_compile", jit_compile, (True, False, "auto"))
        _check_option("auto_scale_loss", auto_scale_loss, (True, False))
        with self.distribute_strategy.scope():
            super().compile(
                optimizer,
                run_eagerly=run_eagerly,
                steps_per_execution=steps_per_execution,
                jit_compile=jit_compile,
                auto_scale_loss=auto_scale_loss,
            )
            replicas = self.distribute_strategy.num_replicas_in_sync
            if replicas > 1:
                self._check_for_replicas(replicas)
                keep_apart(self)
            if not self._declared:
                self._set_tasks(self._tasks_from(loss))
            objectives = Objectives(self.tasks, loss, loss_weights, metrics, weighted_metrics)
            if replicas > 1:
                self.distribute_strategy.run(objectives.build_metrics)
            balancer = balancing.get(balancer)
            if balancer.built and balancer is not self.balancer:
                # Its state is that of another model.
                balancer = type(balancer).from_config(balancer.get_config())
            split = self._check_balancer(balancer)
            if guard not in (None, "all"):
                raise ValueError(f"`guard` should be None or 'all'. Received: guard={guard!r}")
            balancer.build(list(self.tasks.values()))
            optimizers.check(self.optimizer, replicas)
            slots = OptimizerSlots(self.optimizer)
            self._hold_balancer(balancer)
            if balancer.trainable_variables:
                optimizers.exclude_from_weight_decay(self.optimizer, balancer.trainable_variables)
            self.optimizer.build(self.trainable_variables)
            slots.check(self.trainable_variables)
            self._held.step = TrainingStep(
                self, objectives, balancer, self._ownership, slots, split, guard
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
        }

    def _check_for_replicas(self, replicas: int) -> None:
        """Refuse what would not be the same step on several replicas."""
        if self.jit_compile:
            raise ValueError(
                "`jit_compile` should be False on several replicas, since TensorFlow cannot "
                "compile their step as a whole. Received: jit_compile=True with "
                f"{replicas} replicas"
            )
        for layer in self._flatten_layers(include_self=False):
            if (
                isinstance(layer, keras.layers.BatchNormalization)
                and layer.trainable
                and not layer.synchronized
            ):
                raise ValueError(
                    f"`synchronized` of the layer `{layer.name}` should be True on several "
                    "replicas (`layer.synchronized = True` before `compile`), or the layer not "
                    "trainable: else each replica has statistics of its own rows, and none where "
                    f"it has no rows. Received: synchronized=False with {replicas} replicas"
                )

    def _tasks_from(self, loss: Mapping | None) -> dict[str, Task]:
        if not isinstance(loss, Mapping) or set(loss) != set(self.task_names):
            raise ValueError(
                "`loss` should be a dict with one loss for each output "
                f"{list(self.task_names)}, since the model was made without tasks. "
                f"Received: loss={loss!r}"
            )
        made = [
            task_kinds.from_loss(name, loss[name], self.output[name].shape[1:])
            for name in self.task_names
        ]
        return task_kinds.by_name(made)

    def _check_balancer(self, balancer: Balancer) -> graph.Split | None:
        """Refuse what this model cannot give to the balancer; cut the model if it is asked to."""
        missing = balancer.needs - PROVIDED
        if missing:
            raise ValueError(
                f"`balancer` should need only what the training step provides, "
                f"{sorted(PROVIDED)}. Received: {balancer!r}, which needs {sorted(missing)}"
            )
        if not isinstance(balancer, GradientBalancer | JacobianBalancer):
            return None
        # One that no output depends on is nobody's, and so among the shared ones too.
        tasks_of = map(self._ownership.of, self.shared_variables)
        if len(self.task_names) > 1 and not any(tasks_of):
            raise ValueError(
                "`balancer` should be one that weighs losses, since this model has no trainable "
                f"variable that two tasks share. Received: {balancer!r}"
            )
        if balancer.wrt == "parameters" or len(self.task_names) == 1:
            return None
        try:
            return graph.split(self, self._ownership)
        except graph.NoBoundary as reason:
            raise ValueError(
                f"`wrt` should be 'parameters' for this model: {reason}. "
                f"Received: balancer={balancer!r}"
            ) from None

    def _hold_balancer(self, balancer: Balancer) -> None:
        """Have Keras save the balancer's state and train its trainable variables."""
        if getattr(self, "_balancer_state", None) is None:
            self._balancer_state = BalancerState()
        self._balancer_state.hold(balancer.variables)
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
        """The weights that the balancer gave the tasks in the last training step."""
        weights = keras.ops.convert_to_numpy(self._step.balancer.task_weights)
        return dict(zip(self.task_names, weights.tolist(), strict=True))

    @property
    def initial_losses(self) -> dict[str, float]:
        """The tasks' losses in the first step after `compile`, NaN for a task without labels there.

        They are logged too, with a warning if they are more than 100-fold apart.
        """
        return dict(self._step.initial_losses)

    @property
    def task_mask(self) -> dict[str, bool]:
        """Which tasks take part; those switched off count as absent from every batch."""
        mask = keras.ops.convert_to_numpy(self._step.mask)
        return dict(zip(self.task_names, mask.tolist(), strict=True))

    def switch_tasks(self, **active: bool) -> None:
        """Switch tasks on or off by name, e.g. `model.switch_tasks(click=False)`."""
        mask = self.task_mask
        for name, on in active.items():
            self._check_name(name)
            if not isinstance(on, bool | np.bool_):
                raise ValueError(
                    f"Task `{name}` should be switched by a bool. Received: {name}={on!r}"
                )
            mask[name] = bool(on)
        self._step.mask.assign(list(mask.values()))

    def train_step(self, data: Any) -> Any:
        """One training step on `(x, y)` or `(x, y, sample_weight)`; used by `fit`."""
        self._step.train(*keras.utils.unpack_x_y_sample_weight(data))
        return self.get_metrics_result()

    def test_step(self, data: Any) -> Any:
        """One evaluation step; used by `evaluate`."""
        self._step.test(*keras.utils.unpack_x_y_sample_weight(data))
        return self.get_metrics_result()

    def make_train_function(self, force: bool = False) -> Any:
        """Keras's training function, which then reports a failed step with its task's name."""
        if self.train_function is None or force:
            if self.distribute_strategy.num_replicas_in_sync > 1:
                self.train_function = self._replicated(self.train_step)
            else:
                super().make_train_function(force)
            self.train_function = self._reporting(self.train_function, training=True)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """Keras's evaluation function, which then reports illegal labels."""
        if self.test_function is None or force:
            if self.distribute_strategy.num_replicas_in_sync > 1:
                self.test_function = self._replicated(self.test_step)
            else:
                super().make_test_function(force)
            self.test_function = self._reporting(self.test_function)
        return self.test_function

    def _replicated(self, step):
        """Several steps of all replicas, each a call of one traced function.

        Keras's own loop nests branches, which TensorFlow cannot place on several devices: there
        `steps_per_execution` fails with "You must feed a value for placeholder tensor". And a loop
        in a graph that runs out of data cancels the step that it is in.
        """
        strategy = self.distribute_strategy

        def one(data):
            logs = strategy.run(step, args=(data,))
            return {
                key: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
                for key, value in logs.items()
            }

        if not self.run_eagerly:
            one = tf.function(one, reduce_retracing=True)

        def several(iterator):
            logs = one(next(iterator))
            for data in itertools.islice(iterator, self.steps_per_execution - 1):
                logs = one(data)
            return logs

        return several

    def _reporting(self, function, training=False):
        def reporting(iterator):
            try:
                logs = function(iterator)
            finally:  # also when the data ended within the function
                self._step.raise_on_failure()
            if training:
                self._step.report_scales()
            return logs

        return reporting

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Everything is built in `__init__` and `compile`. Under a strategy Keras would first
        # average a batch over the replicas here, which fails where it does not divide evenly.
        return

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train as `keras.Model.fit` does, with labels and sample weights as dicts by task.

        Sample weights may be given for some of the tasks only; the others have 1. Callbacks that
        monitor a task's loss or deciding metric with `mode="auto"` are told the direction by the
        task. The balancer's epoch end comes before that of the other callbacks.

        Raises:
            ValueError: for labels that are not those of the tasks.
            FloatingPointError: when a task's loss is not finite; its gradients were not applied.
        """
        self._assert_compile_called("fit")
        given = inspect.signature(super().fit).bind(x, y, *args, **kwargs).arguments
        if x is None:
            raise ValueError("`x` should be inputs, or batches with labels. Received: x=None")
        if y is not None:
            given["y"], given["sample_weight"] = self._arrays(y, given.get("sample_weight"))
        elif isinstance(x, types.GeneratorType):
            given["x"] = self._checked(x)
        validation = given.get("validation_data")
        if isinstance(validation, list | tuple):
            val_x, val_y, val_weight = keras.utils.unpack_x_y_sample_weight(tuple(validation))
            given["validation_data"] = (val_x, *self._arrays(val_y, val_weight))
        elif isinstance(validation, types.GeneratorType):
            given["validation_data"] = self._checked(validation)
        elif isinstance(validation, tf.data.Dataset):  # else seen at the end of the first epoch
            self._step.objectives.check_batches(validation.element_spec)
        elif hasattr(validation, "shape") or isinstance(validation, Mapping):
            self._step.objectives.check_batches((validation,))
        assert self.balancer is not None  # compiled
        hook = BalancerEpochs(self.balancer)
        callbacks = given.get("callbacks")
        if isinstance(callbacks, keras.callbacks.CallbackList):
            others = [c for c in callbacks.callbacks if not isinstance(c, BalancerEpochs)]
            callbacks.callbacks[:] = [hook, *others]  # used again, it has the hook of last time
            set_modes(callbacks.callbacks, self)
        else:
            callbacks = keras.tree.flatten(callbacks) if callbacks is not None else []
            for callback in callbacks:
                if not isinstance(callback, keras.callbacks.Callback):
                    raise ValueError(
                        f"`callbacks` should hold Keras callbacks only. Received: {callback!r}"
                    )
            set_modes(callbacks, self)
            given["callbacks"] = [hook, *callbacks]
        return super().fit(**given)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as `keras.Model.evaluate` does, with labels as a dict by task.

        Raises:
            ValueError: for labels that are not those of the tasks.
        """
        self._assert_compile_called("evaluate")
        if y is None or "_use_cached_eval_dataset" in kwargs:
            return super().evaluate(x, y, *args, **kwargs)
        given = inspect.signature(super().evaluate).bind(x, y, *args, **kwargs).arguments
        given["y"], given["sample_weight"] = self._arrays(y, given.get("sample_weight"))
        return super().evaluate(**given)

    def _checked(self, batches):
        """The batches of a generator, of which Keras would name no task."""
        for batch in batches:
            self._step.objectives.check_batches(batch)
            yield batch

    def _arrays(self, y, sample_weight):
        return self._step.objectives.arrays(y, sample_weight)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss tracker, then each task's loss and metrics, then those of layers."""
        metrics = super().metrics
        if self._held.step is None:
            return metrics
        return [*metrics[:1], *self._step.objectives.all_metrics(), *metrics[1:]]

    def get_metrics_result(self) -> dict[str, Any]:
        """The logs: `loss`, `<task>_loss`, `<task>_<metric>`.

        `loss` is the mean over rows of the sum of a batch's task losses times their loss weights,
        plus regularization: it means the same with every balancer. `<task>_loss` is without loss
        weight, the mean over the task's labels.
        """
        objectives = self._step.objectives
        own = {id(m) for m in objectives.all_metrics()}
        logs = {m.name: m.result() for m in self.metrics if id(m) not in own}
        loss = logs.pop("loss")
        return {"loss": loss, **objectives.results(), **logs}

    # -- saving -----------------------------------------------------------------------------

    def save(self, filepath: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Save as `keras.Model.save` does, in the format `.keras`.

        Raises:
            ValueError: for the old format `.h5`, from which the model could not be loaded.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "`filepath` should end in '.keras', or be given to `save_weights`: a model with "
                f"tasks cannot be loaded from HDF5. Received: filepath={str(filepath)!r}"
            )
        super().save(filepath, *args, **kwargs)

    def load_weights(self, filepath: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Load as `keras.Model.load_weights` does, or nothing at all.

        Raises:
            ValueError: for weights of other tasks, of another balancer or of another architecture.
        """
        variables = [*self.variables, *(self.optimizer.variables if self.compiled else [])]
        before = [keras.ops.convert_to_numpy(v).copy() for v in variables]
        self._held.of_other_tasks = None
        try:
            super().load_weights(filepath, *args, **kwargs)
            if self._held.of_other_tasks:  # which `skip_mismatch=True` would put in their places
                raise self._held.of_other_tasks
        except Exception:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
            raise

    def save_own_variables(self, store: Any) -> None:
        """Store also what Keras does not: the names of the tasks, since layers are saved by
        position only, and the state of random generators (dropout).
        """
        super().save_own_variables(store)
        store[_TASK_NAMES] = np.frombuffer(" ".join(self.task_names).encode(), "uint8")
        seeds = [keras.ops.convert_to_numpy(v) for v in self._seeds()]
        if seeds:
            store[_SEEDS] = np.stack(seeds)

    def load_own_variables(self, store: Any) -> None:
        """Check that the weights are those of the same tasks; load the state of generators.

        Raises:
            ValueError: if they are of other tasks, whose heads would be taken for these.
        """
        stored = {key: store[key] for key in store.keys()}  # noqa: SIM118
        names = stored.pop(_TASK_NAMES, None)
        seeds = stored.pop(_SEEDS, ())
        if names is not None:
            saved = bytes(np.array(names)).decode().split()
            if saved != list(self.task_names):
                self._held.of_other_tasks = ValueError(
                    f"The weights should be those of the tasks {list(self.task_names)}. "
                    f"Received: weights of the tasks {saved}"
                )
                raise self._held.of_other_tasks
        super().load_own_variables(stored)
        own = self._seeds()
        if len(own) == len(seeds):  # else of the same layers with another dropout
            for variable, seed in zip(own, seeds, strict=True):
                variable.assign(seed)

    def _seeds(self) -> list[keras.Variable]:
        return [v for v in self.variables if v.name == "seed_generator_state"]

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

    def get_compile_config(self) -> dict[str, Any]:
        """What `compile` was called with."""
        if not self.compiled:
            return {}
        return {
            key: keras.saving.serialize_keras_object(value)
            for key, value in self._held.compile_config.items()
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the saved model was."""
        keys = ("optimizer", "balancer")
        config = check_config("`compile`", config, *keys)
        self.compile(**keras.saving.deserialize_keras_object(config))

    def export(self, filepath: Any, format: Any = "tf_saved_model", **kwargs: Any) -> Any:
        """Export for serving; a SavedModel has the signature `serve` and one for each task.

        See `mtlzoo.export.save`, which this calls; other formats are Keras's own.
        """
        if format != "tf_saved_model":
            return super().export(filepath, format=format, **kwargs)
        from mtlzoo import export

        return export.save(self, filepath, **kwargs)


class _Held:
    """What a model keeps without Keras tracking it as a layer or its state."""

    def __init__(self, preprocessor: keras.Model | None):
        self.preprocessor = preprocessor
        self.tasks: dict[str, Task] = {}
        self.step: TrainingStep | None = None  # from `compile` on, as is the next
        self.balancer: Balancer | None = None
        self.compile_config: dict[str, Any] = {}
        self.arguments: dict[str, Any] = {}  # those of an architecture's constructor
        self.of_other_tasks: ValueError | None = None  # why weights were refused
        self.gates: Any = None  # from the inputs to the gates of a mixture


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, str | Mapping | keras.optimizers.Optimizer):
        raise ValueError(
            "`optimizer` should be a Keras optimizer or its name. "
            f"Received: optimizer={optimizer!r}"
        )


def _check_steps(steps: Any) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(
            "`steps_per_execution` should be an integer of at least 1. "
            f"Received: steps_per_execution={steps!r}"
        )


def _check_option(argument: str, value: Any, options: tuple) -> None:
    if not isinstance(value, bool | str) or value not in options:
        raise ValueError(
            f"`{argument}` should be one of {list(options)}. Received: {argument}={value!r}"
        )


def _check_outputs(outputs) -> dict[str, keras.KerasTensor]:
    if not isinstance(outputs, Mapping) or not outputs:
        raise ValueError(
            "`outputs` should be a dict of tensors by task name, also for one task. "
            f"Received: outputs={outputs!r}"
        )
    for name, tensor in outputs.items():
        check_name(name)
        if not isinstance(tensor, keras.KerasTensor):
            raise ValueError(
                f"The output of task `{name}` should be a tensor of a functional graph. "
                f"Received: {tensor!r}"
            )
    return {name: outputs[name] for name in sorted(outputs)}


def _check_inputs(inputs, outputs) -> None:
    for tensor in keras.tree.flatten(inputs):
        if getattr(tensor, "name", None) in outputs:
            raise ValueError(
                "An input and a task should not share a name. "
                f"Received: an input and a task named {tensor.name!r}"
            )
