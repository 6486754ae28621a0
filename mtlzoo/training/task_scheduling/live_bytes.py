"""How many bytes the tensors of a graph have at a time."""

import math

import tensorflow as tf

# Operations whose output is the memory of their first input, or that of a variable.
_VIEWS = {
    *("Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "PreventGradient"),
    *("IdentityN", "Snapshot"),
}
_WITHOUT_MEMORY = {"Placeholder", "Const", "ReadVariableOp", "NoOp"}


def most_live_bytes(graph: tf.Graph) -> int:
    """The most bytes that tensors have at a time if operations run in the order of the graph.

    A tensor lives from the operation that makes it to the last one that reads it. Inputs,
    constants and variables are not counted, nor what is inside functions that operations call,
    such as the branches of a `cond`, nor tensors of unknown shape.

    Args:
        graph: the graph of a traced function.

    Example:
    ```python
    import tensorflow as tf
    from mtlzoo.training.task_scheduling.live_bytes import most_live_bytes

    function = tf.function(lambda x: tf.exp(tf.exp(tf.exp(x))))
    most_live_bytes(function.get_concrete_function(tf.zeros(100)).graph)  # 800
    ```
    """
    operations = graph.get_operations()
    memory: dict[str, str] = {}  # by tensor the one whose memory it has
    last: dict[str, int] = {}
    for i, operation in enumerate(operations):
        inputs = [t for t in operation.inputs if t.graph is graph]
        for tensor in inputs:
            last[memory.get(tensor.name, tensor.name)] = i
        for j, tensor in enumerate(operation.outputs):
            memory[tensor.name] = tensor.name
            if operation.type in _VIEWS and j < len(inputs):
                memory[tensor.name] = memory.get(inputs[j].name, inputs[j].name)
    for tensor in getattr(graph, "outputs", ()):
        last[memory.get(tensor.name, tensor.name)] = len(operations)
    freed: dict[int, int] = {}
    now = most = 0
    for i, operation in enumerate(operations):
        for tensor in operation.outputs:
            if memory[tensor.name] == tensor.name and operation.type not in _WITHOUT_MEMORY:
                size = _size(tensor)
                now += size
                end = last.get(tensor.name, i)
                freed[end] = freed.get(end, 0) + size
        most = max(most, now)
        now -= freed.get(i, 0)
    return most


def _size(tensor: tf.Tensor) -> int:
    if not tensor.shape.is_fully_defined() or tensor.dtype in (tf.resource, tf.variant, tf.string):
        return 0
    return math.prod(tensor.shape.as_list()) * tensor.dtype.size
