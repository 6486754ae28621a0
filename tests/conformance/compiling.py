"""What promises of every step that a TPU can compile it."""

import re

import keras
import tensorflow as tf

from conformance.registry import TASKS, Case, rows
from conformance.training import BATCH

# Operations that leave the device, that XLA does not have, or whose result has a size that only the
# data tell.
NOT_FOR_TPUS = {
    *("PyFunc", "PyFuncStateless", "EagerPyFunc", "PrintV2", "StringFormat", "LookupTableFindV2"),
    *("Unique", "UniqueV2", "UniqueWithCounts", "Where", "DynamicPartition", "NonMaxSuppressionV5"),
    *("SegmentSum", "SegmentMean", "SparseSegmentSum", "RaggedTensorToTensor", "SparseToDense"),
    *("RandomShuffle", "LogUniformCandidateSampler", "HistogramFixedWidth"),
    *("MatrixDeterminant", "MatrixSquareRoot", "ImageProjectiveTransformV3"),
}


def operations_of(function: tf.types.experimental.ConcreteFunction) -> list[tf.Operation]:
    """Those of a traced function and of all functions that it calls, gradients among them."""
    graph = function.graph
    found = list(graph.get_operations())
    for name in graph._functions:
        inner = graph._get_function(name)
        found += inner.graph.get_operations() if hasattr(inner, "graph") else []
    return found


def check_compiles_for_tpus(case: Case, tmp_path):
    """The whole training step compiles, with known shapes and without a call of the host."""
    # The metrics are those of the tasks: they are compiled with one balancer.
    metrics = None if case == Case(case.architecture) else {name: [] for name in TASKS}
    model = case.compiled(keras.optimizers.Adam(0.01), metrics=metrics)
    data = tf.nest.map_structure(tf.constant, rows(model, BATCH))
    step = tf.function(model.train_step, jit_compile=True)
    kinds = {operation.type for operation in operations_of(step.get_concrete_function(data))}
    assert "MatMul" in kinds
    assert faults_for_tpus(step, data) == []


def faults_for_tpus(step: tf.types.experimental.PolymorphicFunction, data) -> list[str]:
    """What of a step on a batch of static shapes a TPU could not run."""
    traced = step.get_concrete_function(data)
    kinds = {operation.type for operation in operations_of(traced)}
    faults = [f"the operation {kind}" for kind in sorted(kinds & NOT_FOR_TPUS)]
    if faults:
        return faults
    program = step.experimental_get_compiler_ir(data)(stage="hlo")
    assert "HloModule" in program
    if "<=" in re.sub(r"/\*.*?\*/", "", program):
        faults.append("a shape that only the data tell")
    calls = set(re.findall(r'custom_call_target="([^"]*)"', program))
    of_host = sorted(call for call in calls if "callback" in call.lower() or "py" in call.lower())
    return faults + [f"a call of the host, {call}" for call in of_host]
