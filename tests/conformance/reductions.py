"""Bytes that the replicas reduce in a training step: `python -m conformance.reductions CASE ...`.

Each case is traced for models of two sizes and prints one line of JSON: its name, and for each
size what one replica gives by what is expected, by the calls, and by the collectives of the graph.
"""

import json
import sys
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from benchmarks import reduced_bytes
from conformance.compiling import NOT_FOR_TPUS, operations_of
from mtlzoo import MultiTaskModel, PCGrad, balancing
from mtlzoo.balancing import Combined, Uncertainty, WarmUp

TASKS = 3
SIZES = ([8], [40])
ALL = {
    **reduced_bytes.methods(list(balancing.names())),
    "pcgrad, every 2": lambda: PCGrad(every=2),
    "pcgrad, features, every 2": lambda: PCGrad(wrt="features", every=2),
    "pcgrad, groups": lambda: PCGrad(groups="layers"),
    "combined": lambda: Combined(Uncertainty(), PCGrad(every=2)),
    "warm_up": lambda: WarmUp(Uncertainty(), PCGrad()),
}
# With these the update is summed twice: before it is clipped or unscaled, and by Keras after it.
SUMMED_TWICE = {
    "clipped": lambda: keras.optimizers.SGD(0.1, global_clipnorm=1.0),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
}


def collectives(function) -> int:
    """Bytes that one replica gives to the collectives of the graph."""
    found = [o for o in operations_of(function) if o.type.startswith("Collective")]
    assert {o.type for o in found} == {"CollectiveReduceV2"}
    sizes = [np.prod(o.inputs[0].shape.as_list()) * o.inputs[0].dtype.size for o in found]
    return int(sum(sizes)) // reduced_bytes.REPLICAS


def not_for_tpus(function) -> list[str]:
    """Operations that TPUs do not have, or whose shapes are unknown with a batch of known shape."""
    found = operations_of(function)
    unknown = {
        operation.type
        for operation in found
        for tensor in operation.outputs
        if operation.type != "Placeholder"  # of a loop's body: what goes in has a shape
        and tensor.dtype not in (tf.resource, tf.variant)
        and not tensor.shape.is_fully_defined()
    }
    return sorted(unknown | ({operation.type for operation in found} & NOT_FOR_TPUS))


def measure(model: MultiTaskModel, kept: bool) -> dict:
    read = mock.Mock(wraps=keras.ops.convert_to_numpy)
    with mock.patch.object(keras.ops, "convert_to_numpy", read):
        traced = reduced_bytes.trace(model, lambda: reduced_bytes.rows(TASKS), kept)
    # `MirroredStrategy` sums int32, here where each replica's rows begin, without a collective.
    counted = model.balancer.needs & {"n_batches", "holdout"}
    return {
        "integers": 4 * reduced_bytes.REPLICAS if counted else 0,
        "expected": reduced_bytes.expected(model, reduced_bytes.REPLICAS, kept),
        "calls": traced.bytes,
        "graph": collectives(traced.function),
        "read by the host": read.call_count,
        "not for TPUs": not_for_tpus(traced.function),
    }


def main(chosen) -> None:
    strategy = reduced_bytes.replicated()
    for name in chosen:
        found: dict[str, list] = {"steps": [], "kept": []}
        for units in SIZES:
            with strategy.scope():
                make = ALL.get(name, ALL["equal"])
                model = reduced_bytes.network(TASKS, units, make())
                if name in SUMMED_TWICE:
                    model.compile(SUMMED_TWICE[name](), balancer="equal", jit_compile=False)
            found["steps"].append(measure(model, False))
            if model.balancer.every > 1:
                found["kept"].append(measure(model, True))
        print(json.dumps({"case": name, **found}), flush=True)


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main(sys.argv[1:])
