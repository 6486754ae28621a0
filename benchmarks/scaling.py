"""What a step costs with T tasks on R replicas: formulas, their check, and 64 accelerators.

First every formula is held against traced steps of small networks: multiplications and additions of
their matrix products and convolutions, and bytes that are summed over replicas. Then the formulas
are taken to large models and clusters, whose numbers are arguments. Nothing here is timed: all
numbers are the same on every machine.

    python -m benchmarks.scaling [--tasks=2,4,8] [--replicas=64] [--wanted=4]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import reduced_bytes
from benchmarks.networks import convolutions, fully_connected
from mtlzoo import GradDrop, MultiTaskModel, PCGrad, Regression
from mtlzoo.gramian import LARGE, MANY_TASKS

FLAGS = flags.FLAGS
BYTES = 4  # of a float32, which gradients are in mixed precision too
EVERY = 4  # of the row that keeps weights


# -- the formulas ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """What of a network the formulas need. A multiplication and an addition are two FLOPs.

    Attributes:
        trunk: FLOPs of the shared part, forward, for one row.
        first: those of its first layer, by whose inputs nothing is differentiated.
        head: FLOPs of one head, forward, for one row.
        shared: sizes of the shared variables, without embedding tables.
        own: the number of entries of one head's variables.
        boundary: that of the tensors where the shared part ends, for one row.
        rows: rows of a replica's batch.
        table: the number of entries of embedding tables.
        lookups: how many a row has.
        width: entries of each.
    """

    trunk: float
    first: float
    head: float
    shared: tuple[int, ...]
    own: int
    boundary: int
    rows: int
    table: int = 0
    lookups: int = 0
    width: int = 0


def flops(kind: str, network: Network, tasks: int) -> float:
    """Those of the matrix products and convolutions of one step, on one replica.

    Args:
        kind: one of `KINDS`, or "kept" for a step between two refreshments of the weights.
        network: the network.
        tasks: the number of tasks.
    """
    n, t = network, tasks
    if kind == f"parameters, every {EVERY}":
        kept = flops("kept", n, t)
        return kept + (flops("parameters", n, t) - kept) / EVERY
    forward = n.trunk + t * n.head
    trunk = 2 * n.trunk - n.first  # a backward pass: by variables, and by the inputs of layers
    backward = trunk + 2 * t * n.head
    by_task = t * trunk + 2 * t * n.head
    of_row = {
        "losses": forward + backward,
        "losses, second forward": 2 * forward + backward,
        "losses, held-out rows": 2 * forward + 2 * backward + by_task,
        "parameters": forward + by_task,
        "features": forward + backward,
        "jacobian": forward + by_task,
        "jacobian, features": forward + backward,
        # For each part the heads hand on what the trunk needs; they learn once.
        "parameters, 2 parts": forward + 2 * t * (trunk + n.head) + t * n.head,
        "parameters, 3 parts": forward + 2 * t * (trunk + n.head) + backward,
        "kept": forward + backward,
    }[kind]
    vectors, sizes = 0, ()
    if kind.startswith("parameters"):
        vectors, sizes = (2 * t if "parts" in kind else t), n.shared
    elif kind == "features":
        vectors, sizes = t, (n.rows * n.boundary,)
    return n.rows * of_row + sum(_of_gramian(vectors, size) for size in sizes)


def _of_gramian(vectors: int, size: int) -> int:
    """By pairs where gradients are large, else by a product of matrices."""
    by_pairs = vectors <= MANY_TASKS and size >= LARGE
    return (vectors + 1) * vectors * size if by_pairs else 2 * vectors**2 * size


def summed(kind: str, network: Network, tasks: int) -> float:
    """Bytes that one replica gives to be summed over the replicas in one step.

    Without the few numbers that travel in every step, 5 T + 1 and, by the kind, at most T T + R.

    Args:
        kind: as in `flops`.
        network: the network, without tables.
        tasks: the number of tasks.
    """
    shared, own = sum(network.shared), tasks * network.own
    update = shared + network.table + own
    gradients = {
        "parameters": tasks * shared,
        f"parameters, every {EVERY}": tasks * shared / EVERY,
        "jacobian": tasks * (shared + network.table),
        "parameters, 2 parts": 2 * tasks * shared,
        "parameters, 3 parts": 2 * tasks * shared,
        "losses, held-out rows": update,
    }.get(kind, 0)
    return BYTES * (update + gradients)


def gathered(kind: str, network: Network, tasks: int) -> float:
    """Bytes of looked-up rows that one replica gives to all others: for Gramians, gradients by
    embedding tables travel as the rows of the batch, with their ids.

    Args:
        kind: as in `flops`.
        network: the network.
        tasks: the number of tasks.
    """
    if not kind.startswith("parameters"):
        return 0.0
    lookups = network.rows * network.lookups
    of_step = BYTES * lookups * (tasks * network.width + 1) * (2 if "parts" in kind else 1)
    return of_step / EVERY if "every" in kind else of_step


def on_the_wire(kind: str, network: Network, tasks: int, replicas: int) -> float:
    """Bytes that each replica sends in one step around a ring of all.

    Args:
        kind: as in `flops`.
        network: the network.
        tasks: the number of tasks.
        replicas: their number R.
    """
    around = 2 * (replicas - 1) / replicas * summed(kind, network, tasks)
    return around + (replicas - 1) * gathered(kind, network, tasks)


def gradients_held(kind: str, network: Network, tasks: int) -> float:
    """Bytes of gradients that a replica of several holds at the same time.

    Args:
        kind: as in `flops`.
        network: the network.
        tasks: the number of tasks.
    """
    shared, own = sum(network.shared), tasks * network.own
    held = shared + network.table + own  # the update
    rows = tasks * network.rows * network.lookups * network.width
    if kind in ("parameters", f"parameters, every {EVERY}"):
        held += 2 * (tasks * shared + rows)  # of the replica's rows, and of all
    elif "parts" in kind:
        held += 4 * (tasks * shared + rows)
    elif kind == "jacobian":
        held += 2 * tasks * (shared + network.table)
    elif kind == "losses, held-out rows":
        held += tasks * shared + rows + own + shared + network.table
    elif "features" in kind:
        held += tasks * network.rows * network.boundary
    return BYTES * held


KINDS: dict[str, str] = {
    "losses": "equal",
    "losses, second forward": "famo",
    "losses, held-out rows": "auto_lambda",
    "features": "pcgrad at features level",
    "jacobian, features": "grad_drop at features level",
    f"parameters, every {EVERY}": f"pcgrad, every={EVERY}",
    "parameters": "pcgrad",
    "jacobian": "grad_drop",
    "parameters, 2 parts": "modo",
    "parameters, 3 parts": "sdmgrad",
}
MADE: dict[str, Callable] = {
    "features": lambda: PCGrad(wrt="features"),
    "jacobian, features": lambda: GradDrop(wrt="features"),
    f"parameters, every {EVERY}": lambda: PCGrad(every=EVERY),
}


# -- their check ----------------------------------------------------------------------------------


def measured_flops(function: tf.types.experimental.ConcreteFunction) -> int:
    """Those of the matrix products and convolutions that a traced function computes.

    Args:
        function: the function. What no result and no variable depends on is not run.
    """
    graph = function.graph
    found, waiting = set(), [*(t.op for t in graph.outputs), *graph.control_outputs]
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
            waiting += operation.control_inputs
    return sum(map(_flops_of, found))


def _flops_of(operation: tf.Operation) -> int:
    if operation.type in ("MatMul", "BatchMatMulV2"):
        transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
        inner = operation.inputs[0].shape[-2 if transposed else -1]
        return 2 * operation.outputs[0].shape.num_elements() * inner
    if operation.type == "Conv2D":
        return _of_convolution(operation.inputs[1].shape, operation.outputs[0].shape)
    if operation.type == "Conv2DBackpropInput":
        return _of_convolution(operation.inputs[1].shape, operation.inputs[2].shape)
    if operation.type == "Conv2DBackpropFilter":
        return _of_convolution(operation.outputs[0].shape, operation.inputs[2].shape)
    return 0


def _of_convolution(kernel, result) -> int:
    height, width, channels, _ = kernel
    return 2 * height * width * channels * result.num_elements()


def measured_network(kind: str, tasks: int, balancer) -> tuple[MultiTaskModel, Network, Callable]:
    """A small model, what the formulas need of it, and a replica's batch.

    Args:
        kind: "mlp" or "cnn".
        tasks: the number of tasks.
        balancer: a balancer or its name.
    """
    rows, shape = {"mlp": (8, (32,)), "cnn": (4, (16, 16, 3))}[kind]
    inputs = keras.Input(shape)
    ends = convolutions(inputs) if kind == "cnn" else fully_connected(inputs, (256, 128, 64))
    kinds = [Regression(f"t{i}", metrics=[]) for i in range(tasks)]
    model = MultiTaskModel(inputs, {k.name: k.head(ends) for k in kinds}, tasks=kinds)
    model.compile(keras.optimizers.SGD(0.1), balancer=balancer, jit_compile=False)
    names = set(model.task_names)
    trunk = [_forward(layer) for layer in model.layers if layer.name not in names]
    own = sum(int(np.prod(v.shape)) for v in model.task_variables("t0"))
    network = Network(
        trunk=sum(trunk),
        first=next(cost for cost in trunk if cost),
        head=_forward(model.get_layer("t0")),
        shared=tuple(int(np.prod(v.shape)) for v in model.shared_variables),
        own=own,
        boundary=int(ends.shape[-1]),
        rows=rows,
    )
    batch = np.ones((rows, *shape), "float32"), {k.name: np.ones(rows, "float32") for k in kinds}
    return model, network, lambda: batch


def _forward(layer: keras.layers.Layer) -> int:
    """FLOPs of one row."""
    if not hasattr(layer, "kernel"):
        return 0
    places = int(np.prod(layer.output.shape[1:-1])) if len(layer.output.shape) > 2 else 1
    return 2 * int(np.prod(layer.kernel.shape)) * places


def check(strategy: tf.distribute.Strategy, network: str, kind: str, tasks: int) -> list[float]:
    """FLOPs and summed bytes of one replica: the formula's, and those of the traced step.

    Args:
        strategy: of `reduced_bytes.REPLICAS` replicas.
        network: "mlp" or "cnn".
        kind: one of `KINDS`.
        tasks: the number of tasks.
    """
    with strategy.scope():
        balancer = MADE[kind]() if kind in MADE else KINDS[kind]
        model, described, rows = measured_network(network, tasks, balancer)
    traced = reduced_bytes.trace(model, rows)
    found = np.array([measured_flops(traced.function) / reduced_bytes.REPLICAS, traced.bytes])
    if "every" in kind:
        kept = reduced_bytes.trace(model, rows, keeps_weights=True)
        of_kept = measured_flops(kept.function) / reduced_bytes.REPLICAS, kept.bytes
        found = np.array(of_kept) + (found - of_kept) / EVERY
    numbers = reduced_bytes.expected(model, reduced_bytes.REPLICAS)["numbers"]
    expected = [flops(kind, described, tasks), summed(kind, described, tasks) + numbers]
    return [expected[0], found[0], expected[1], found[1]]


# -- large models and clusters --------------------------------------------------------------------


# A residual network as on ImageNet: 25 million parameters, 4 billion multiplications and additions
# of one picture (8 billion FLOPs), 118 million of them in the first layer; 100 classes.
RESNET = Network(
    trunk=8e9, first=2.4e8, head=4e5, shared=(25_000_000,), own=204_900, boundary=2048, rows=64
)
# A recommender: 26 lookups of 16 numbers in tables of a million rows, 13 quantities, three layers,
# and heads of 64 units.
RECOMMENDER = Network(
    trunk=2 * (429 * 1024 + 1024 * 512 + 512 * 256),
    first=0,  # the tables learn through it
    head=2 * (256 * 64 + 64),
    shared=(430 * 1024 + 1025 * 512 + 513 * 256,),
    own=257 * 64 + 65,
    boundary=256,
    rows=1024,
    table=16_000_000,
    lookups=26,
    width=16,
)


def extrapolate(title: str, network: Network, tasks: int, rate: float, bandwidth: float) -> None:
    """Print what every kind costs, with nothing done at the same time as anything else.

    Args:
        title: what is computed where.
        network: the network.
        tasks: the number of tasks.
        rate: FLOPs in a second that a replica reaches.
        bandwidth: bytes in a second that a replica's links reach.
    """
    print(f"\n{title}, {tasks} tasks, {network.rows} rows on each of {FLAGS.replicas} replicas")
    heads = ("GFLOPs", "wire MB", "compute ms", "wire ms", "sum ms", "to losses", "gradients MB")
    print("".ljust(24) + "".join(f"{head:>13}" for head in heads))
    least = 0.0
    for kind in KINDS:
        work = flops(kind, network, tasks)
        sent = on_the_wire(kind, network, tasks, FLAGS.replicas)
        compute, wire = 1e3 * work / rate, 1e3 * sent / bandwidth
        least = least or compute + wire
        held = gradients_held(kind, network, tasks)
        columns = (work / 1e9, sent / 1e6, compute, wire, compute + wire)
        line = kind.ljust(24) + "".join(f"{column:13.2f}" for column in columns)
        print(f"{line}{(compute + wire) / least:13.2f}{held / 1e6:13.0f}")


def main(argv):
    """Check and print."""
    del argv
    strategy = reduced_bytes.replicated()
    counts = list(map(int, FLAGS.tasks))
    print("Measured in traced steps as ratios to the formulas: FLOPs, and bytes that are summed")
    print("".ljust(28) + "".join(f"{f'T = {tasks}':>16}" for tasks in counts))
    for network in ("mlp", "cnn"):
        for kind in KINDS:
            line = f"{network}: {kind}".ljust(28)
            for tasks in counts:
                wanted, found, sent, reduced = check(strategy, network, kind, tasks)
                line += f"{found / wanted:8.3f}{reduced / sent:8.3f}"
            print(line, flush=True)
    links = {
        "within a pod": (FLAGS.flops, FLAGS.links),
        "hosts on a network": (FLAGS.flops_on_network, FLAGS.network),
    }
    for name, network in {"residual network": RESNET, "recommender": RECOMMENDER}.items():
        for where, (peak, bandwidth) in links.items():
            rate, reached = FLAGS.utilisation * peak, FLAGS.link_utilisation * bandwidth
            extrapolate(f"{name}, {where}", network, FLAGS.wanted, rate, reached)


if __name__ == "__main__":
    flags.DEFINE_list("tasks", ["2", "4", "8"], "Numbers of tasks of the check.")
    flags.DEFINE_integer("replicas", 64, "Accelerators of the extrapolation.")
    flags.DEFINE_integer("wanted", 4, "Tasks of the extrapolation.")
    flags.DEFINE_float("flops", 197e12, "FLOP/s; bfloat16 in the table of TPU v5e.")
    flags.DEFINE_float("links", 200e9, "Bytes/s; 1600 Gbit/s in the table of TPU v5e.")
    flags.DEFINE_float("flops_on_network", 312e12, "FLOP/s; bfloat16 in the data sheet of A100.")
    flags.DEFINE_float("network", 12.5e9, "Bytes/s; assumed are 100 Gbit/s between hosts.")
    flags.DEFINE_float("utilisation", 0.4, "Which part of the FLOP/s is reached; assumed.")
    flags.DEFINE_float("link_utilisation", 0.5, "Which part of the links; assumed.")
    app.run(main)
