"""What `MultiTaskModel.compile` refuses, with a reason, before anything is trained."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mtlzoo import tasks as task_kinds
from mtlzoo.balancing import Balancer, GradientBalancer
from mtlzoo.balancing.balancer import NEEDS
from mtlzoo.models import graph
from mtlzoo.models.rows import Rows
from mtlzoo.tasks import Task

# What the training step can give to a balancer.
PROVIDED = NEEDS


def check_arguments(
    optimizer: Any,
    run_eagerly: Any,
    steps_per_execution: Any,
    jit_compile: Any,
    auto_scale_loss: Any,
    guard: Any,
) -> None:
    """Check the types of the arguments of `compile` that Keras would not."""
    _check_optimizer(optimizer)
    _check_steps(steps_per_execution)
    _check_option("run_eagerly", run_eagerly, (True, False))
    _check_option("jit_compile", jit_compile, (True, False, "auto"))
    _check_option("auto_scale_loss", auto_scale_loss, (True, False))
    if guard not in (None, "all"):
        raise ValueError(f"`guard` should be None or 'all'. Received: guard={guard!r}")


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


# By what TensorFlow calls them; the others are `OneDeviceStrategy`, `MirroredStrategy`,
# `MultiWorkerMirroredStrategy` and `TPUStrategy`.
REFUSED_STRATEGIES = {
    "ParameterServerStrategy": "Keras's `fit` does not run on it, and updates of several workers "
    "at once get lost",
    "CentralStorageStrategy": "its replicas cannot assign to variables, which a training step has "
    "to do",
}


def check_distribution(strategy: tf.distribute.Strategy) -> None:
    """Refuse `keras.distribution`, which does nothing at all on TensorFlow, and strategies of
    `tf.distribute` that the step cannot be trained on.
    """
    distribution = keras.distribution.distribution()
    if distribution is not None:
        raise ValueError(
            "`keras.distribution` should not be set, since it does nothing on TensorFlow: make the "
            "model in the scope of a `tf.distribute` strategy. "
            f"Received: keras.distribution.distribution()={distribution!r}"
        )
    kinds = {kind.__name__ for kind in type(strategy).__mro__}
    for refused, reason in REFUSED_STRATEGIES.items():
        if any(kind.startswith(refused) for kind in kinds):  # `ParameterServerStrategyV2`
            raise ValueError(
                "The model should be made in the scope of a strategy that it can be trained on, "
                f"see `mtlzoo.distribution.strategy`. Received: a {refused}; {reason}"
            )


def check_plan(
    model: keras.Model, plan: Any, jit_compile: bool | str, run_eagerly: bool
) -> bool | str:
    """Refuse what cannot be done by a plan.

    Returns:
        What `jit_compile` comes to.
    """
    if plan is None:
        return jit_compile
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1 and (plan.on_devices or plan.in_parts):
        raise ValueError(
            "A model with layers or stages on devices, or with micro-batches, should be trained on "
            f"one replica. Received: {replicas} replicas"
        )
    if run_eagerly:
        raise ValueError(
            "`run_eagerly` should be False for a model that runs by a plan, since only a graph "
            "tells a task that does not depend on a layer from one whose gradient is zero. "
            "Received: run_eagerly=True"
        )
    for layer in model._flatten_layers(include_self=False) if plan.in_parts else ():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            raise ValueError(
                "`micro_batches` should be 1 for a model with trainable batch normalization, whose "
                "statistics would be those of micro-batches: freeze it, or use another "
                f"normalization. Received: the layer {layer.name!r}"
            )
    if not plan.on_devices:
        return jit_compile
    if jit_compile is True:
        raise ValueError(
            "`jit_compile` should be False or 'auto' for a model with layers or stages on devices, "
            "since XLA compiles a step for one device. Received: jit_compile=True"
        )
    return False


def check_replicas(model: keras.Model, replicas: int) -> None:
    """Refuse what would not be the same step on several replicas."""
    if model.jit_compile:
        raise ValueError(
            "`jit_compile` should be False on several replicas, since TensorFlow cannot "
            "compile their step as a whole. Received: jit_compile=True with "
            f"{replicas} replicas"
        )
    for layer in model._flatten_layers(include_self=False):
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


def tasks_from(model: keras.Model, loss: Mapping | None) -> dict[str, Task]:
    """The tasks that the losses given to `compile` imply."""
    if not isinstance(loss, Mapping) or set(loss) != set(model.task_names):
        raise ValueError(
            "`loss` should be a dict with one loss for each output "
            f"{list(model.task_names)}, since the model was made without tasks. "
            f"Received: loss={loss!r}"
        )
    made = [
        task_kinds.from_loss(name, loss[name], model.output[name].shape[1:])
        for name in model.task_names
    ]
    return task_kinds.by_name(made)


def measured_groups(model: keras.Model) -> list[list[keras.Variable]]:
    """The groups of shared variables of which a model wants a Gramian of each step."""
    return model.measured_groups() if hasattr(model, "measured_groups") else []


def check_balancer(model: keras.Model, balancer: Balancer, rows: Rows) -> list[graph.Split | None]:
    """Refuse what this model cannot give to the balancer; cut the model if it is asked to.

    Args:
        model: the model.
        balancer: the balancer.
        rows: which tasks are balanced as one.

    Returns:
        The cut for each phase of the balancer, `None` where it needs none.
    """
    return [_check_method(model, method, rows) for method in balancer.phases]


def _check_method(model: keras.Model, balancer: Balancer, rows: Rows) -> graph.Split | None:
    missing = balancer.needs - PROVIDED
    if missing:
        raise ValueError(
            f"`balancer` should need only what the training step provides, "
            f"{sorted(PROVIDED)}. Received: {balancer!r}, which needs {sorted(missing)}"
        )
    if balancer.loss_part is None and balancer.needs & {"second_forward", "holdout"}:
        raise ValueError(
            "`balancer` should weigh losses to need a second forward pass or held-out rows. "
            f"Received: {balancer!r}, which does not"
        )
    if balancer.n_batches not in ((2, 3) if "n_batches" in balancer.needs else (1,)):
        raise ValueError(
            "`n_batches` of the balancer should be 2 or 3 if it needs parts of a batch, else 1. "
            f"Received: n_batches={balancer.n_batches} of {balancer!r}"
        )
    if "holdout" in balancer.needs and balancer.n_batches > 1:
        raise ValueError(
            "`balancer` should take a batch apart in one way: to hold rows out, or to compare "
            f"parts. Received: {balancer!r}, which does both"
        )
    rows.check(balancer)
    of_gradients = balancer.gradient_part
    if measured_groups(model) and not (
        isinstance(of_gradients, GradientBalancer)
        and of_gradients.wrt == "parameters"
        and of_gradients.n_batches == 1
    ):
        raise ValueError(
            "`balancer` should be a gradient balancer with `wrt='parameters'` of the whole batch, "
            "since this model follows the conflicts of gradients, which no other measures. "
            f"Received: {balancer!r}"
        )
    if of_gradients is None:
        return None
    # One that no output depends on is nobody's, and so among the shared ones too.
    tasks_of = map(model._ownership.of, model.shared_variables)
    if len(rows.names) > 1 and not any(tasks_of):
        raise ValueError(
            "`balancer` should be one that weighs losses, since this model has no trainable "
            f"variable that two tasks share. Received: {balancer!r}"
        )
    if of_gradients.wrt == "parameters" or len(rows.names) == 1:
        return None
    try:
        return graph.split(model, model._ownership)
    except graph.NoBoundary as reason:
        raise ValueError(
            f"`wrt` should be 'parameters' for this model: {reason}. "
            f"Received: balancer={balancer!r}"
        ) from None
