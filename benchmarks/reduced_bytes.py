"""How many bytes a replica gives to be summed over the replicas in one training step.

For every balancer, at both levels: what the traced step of two replicas reduces, beside a formula
of the numbers of tasks T and variables P. Bytes on the wire are 2 (R - 1) / R times as many for
each replica in a ring of R replicas. The numbers do not depend on the machine.

    python -m benchmarks.reduced_bytes [--tasks=2,8] [--units=64,32] [--methods=all]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks.networks import fully_connected
from mtlzoo import MultiTaskModel, PCGrad, Regression, balancing
from mtlzoo.balancing import Balancer

FLAGS = flags.FLAGS
REPLICAS = 2
ROWS = 4  # of a replica
FEATURES = 16


# -- what is measured -----------------------------------------------------------------------------


@dataclass
class Traced:
    """A traced training step of all replicas.

    Attributes:
        function: the step.
        calls: for each reduction of one replica, the bytes of each tensor.
    """

    function: tf.types.experimental.ConcreteFunction
    calls: list[list[int]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Those that one replica gives."""
        return sum(map(sum, self.calls))


def trace(model: MultiTaskModel, rows: Callable, keeps_weights: bool = False) -> Traced:
    """Trace one training step, and note what is reduced over the replicas.

    Every call of `ReplicaContext.all_reduce` while the step is traced is one reduction in each
    step; Keras's optimizers and synchronized normalization use it too.

    Args:
        model: a compiled model of several replicas.
        rows: a function without arguments that gives the batch of a replica.
        keeps_weights: whether the step is one in which the balancer keeps its weights. Defaults to
            `False`.
    """
    strategy = model.distribute_strategy
    data = tf.nest.map_structure(
        lambda t: strategy.experimental_distribute_values_from_function(lambda _: tf.constant(t)),
        rows(),
    )
    model._step.keeps_weights = keeps_weights
    try:
        with _noted() as calls:
            step = tf.function(lambda data: strategy.run(model.train_step, args=(data,)))
            function = step.get_concrete_function(data)
    finally:
        model._step.keeps_weights = False
    # Replicas run in step: each of their calls stands beside those of the others.
    return Traced(function, calls[:: strategy.num_replicas_in_sync])


@contextlib.contextmanager
def _noted() -> Iterator[list[list[int]]]:
    kind = tf.distribute.ReplicaContext
    original, calls = kind.all_reduce, []

    def all_reduce(context, operation, value, options=None):
        calls.append([_bytes(tensor) for tensor in tf.nest.flatten(value)])
        return original(context, operation, value, options)

    kind.all_reduce = all_reduce
    try:
        yield calls
    finally:
        kind.all_reduce = original


def _bytes(tensor):
    if isinstance(tensor, tf.IndexedSlices):  # gathered: values and ids
        return _bytes(tensor.values) + _bytes(tensor.indices)
    return int(np.prod(tensor.shape.as_list(), dtype="int64")) * tensor.dtype.size


# -- what is expected -----------------------------------------------------------------------------


def expected(model: MultiTaskModel, replicas: int, keeps_weights: bool = False) -> dict[str, int]:
    """Bytes that one replica gives in a step, by what they are, for dense gradients in float32.

    Args:
        model: the compiled model.
        replicas: their number R.
        keeps_weights: as in `trace`. Defaults to `False`.
    """
    method = model.balancer.phases[model.balancer.phase()]
    tasks = len(model.task_names)
    whole, shared = map(_size, (model.trained_variables, model.shared_variables))
    # Labels and illegal ones, the losses, the value and the place of an illegal label; rows.
    numbers = 5 * tasks + 1
    gradients = 0
    of_gradients = method.gradient_part
    if of_gradients is not None and not keeps_weights:
        if of_gradients.wrt == "parameters":
            gradients = min(method.n_batches, 2) * tasks * shared
        elif "jacobian" in of_gradients.needs:
            numbers += tasks  # whether each is finite
        else:
            numbers += tasks * tasks  # the Gramian
    if method.n_batches > 1:
        numbers += replicas + method.n_batches * tasks  # rows of each replica, labels of each part
    if "second_forward" in method.needs:
        numbers += tasks  # losses
    held_out = 0
    if "holdout" in method.needs:
        numbers += replicas + 4 * tasks  # labels of both parts, losses, products
        held_out = whole - _size(model.balancer_variables)
    counts = {
        "update": whole,
        "task gradients": gradients,
        "held-out gradient": held_out,
        "numbers": numbers,
    }
    return {what: 4 * count for what, count in counts.items()}


def _size(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


# -- every balancer -------------------------------------------------------------------------------


def methods(names: list[str]) -> dict[str, Callable[[], Balancer]]:
    """By name, functions that make a balancer: each at every level that it takes.

    Args:
        names: names of balancers.
    """
    found: dict[str, Callable[[], Balancer]] = {}
    for name in names:
        kind = type(balancing.get(name))
        found[name] = kind
        try:
            kind(wrt="features")
        except (TypeError, ValueError):  # a method of losses, or one that needs the parameters
            continue
        found[f"{name}, features"] = lambda kind=kind: kind(wrt="features")
    return found


def network(tasks: int, units: list[int], balancer: Balancer) -> MultiTaskModel:
    """A trunk of fully connected layers, and as many heads as tasks, compiled.

    Args:
        tasks: the number of tasks.
        units: units of the layers of the trunk.
        balancer: the balancer.
    """
    inputs = keras.Input((FEATURES,))
    hidden = fully_connected(inputs, units)
    kinds = [Regression(f"t{i}", metrics=[]) for i in range(tasks)]
    outputs = {task.name: task.head(hidden) for task in kinds}
    model = MultiTaskModel(inputs, outputs, tasks=kinds)
    model.compile(keras.optimizers.SGD(0.1), balancer=balancer, jit_compile=False)
    return model


def rows(tasks: int):
    """The batch of a replica for `network`."""
    x = np.ones((ROWS, FEATURES), "float32")
    return x, {f"t{i}": np.ones(ROWS, "float32") for i in range(tasks)}


def replicated() -> tf.distribute.Strategy:
    """A strategy of two replicas on logical devices: once in a process, and before all else."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    tf.config.set_logical_device_configuration(cpu, devices)
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(REPLICAS)])


def main(argv):
    """Measure and print."""
    del argv
    strategy = replicated()
    units = list(map(int, FLAGS.units))
    names = balancing.names() if FLAGS.methods == ["all"] else FLAGS.methods
    chosen = methods(names)
    chosen["pcgrad, every=4: kept"] = lambda: PCGrad(every=4)
    for tasks in map(int, FLAGS.tasks):
        with strategy.scope():
            model = network(tasks, units, balancing.get("equal"))
        whole, shared = map(_size, (model.trained_variables, model.shared_variables))
        print(f"\n{tasks} tasks, {whole} variables, {shared} of them shared; bytes of one replica")
        heads = ("update", "task grads", "held-out", "numbers", "sum", "measured")
        print("".ljust(26) + "".join(f"{head:>12}" for head in heads))
        for name, make in chosen.items():
            kept = name.endswith("kept")
            with strategy.scope():
                model = network(tasks, units, make())
            parts = expected(model, REPLICAS, kept)
            measured = trace(model, lambda tasks=tasks: rows(tasks), kept).bytes
            columns = (*parts.values(), sum(parts.values()), measured)
            print(name.ljust(26) + "".join(f"{column:12}" for column in columns), flush=True)


if __name__ == "__main__":
    flags.DEFINE_list("tasks", ["2", "8"], "Numbers of tasks.")
    flags.DEFINE_list("units", ["64", "32"], "Units of the layers of the trunk.")
    flags.DEFINE_list("methods", ["all"], "Balancers by name, or all.")
    app.run(main)
