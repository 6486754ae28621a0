"""What a functional Keras graph says about its tasks: who owns which variable, and where the
shared part ends.

Keras gives no public way to walk a functional graph, so this file, and only this file, reads its
nodes (`Functional._nodes_by_depth`, `Operation._inbound_nodes`). A test pins what it relies on.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from mtlzoo.tasks.names import check_name

Tasks = frozenset[str]

_AUTOMATIC = re.compile(r"(keras_tensor|input_layer|input)(_\d+)?")


def check_outputs(outputs: Any) -> dict[str, keras.KerasTensor]:
    """The outputs in sorted order of their names, if they can be those of tasks."""
    if not isinstance(outputs, Mapping) or not outputs:
        raise ValueError(
            "`outputs` should be a dict of tensors by task name, also for one task; of a model "
            "that is there, `MultiTaskModel(model.inputs, dict(zip(names, model.outputs)))`. "
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


def check_logits(task: Any, output: keras.KerasTensor) -> None:
    """Refuse probabilities as the output of a task that takes logits: losses would be wrong."""
    layer = output._keras_history.operation
    ends_in = getattr(getattr(layer, "activation", None), "__name__", None)
    if getattr(task, "from_logits", None) is True and (
        ends_in in ("sigmoid", "softmax") or isinstance(layer, keras.layers.Softmax)
    ):
        raise ValueError(
            f"The output of task `{task.name}` should be logits, or the task be made with "
            f"`from_logits=False`. Received: probabilities, the output of {layer.name!r}"
        )


def is_automatic(name: str) -> bool:
    """Whether the name of an input is one that Keras makes for those without one."""
    return _AUTOMATIC.fullmatch(name) is not None


def outputs_of(model: keras.Model, layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    """The tensors of the graph of `model` that `layer` puts out, one for each time it is called.

    Not `layer.output`, which of a model inside is that of its own graph.
    """
    nodes = [node for node in _nodes_from_outputs(model) if node.operation is layer]
    return [tensor for node in nodes for tensor in node.output_tensors]


def inputs_of(tensors: Iterable[keras.KerasTensor]) -> list[keras.KerasTensor]:
    """The inputs of the graph in which these tensors are made."""
    nodes = [node for node in _nodes_before(tensors) if node.is_input]
    return [tensor for node in nodes for tensor in node.output_tensors]


def check_names(outputs: Mapping) -> None:
    """Refuse a task whose name another layer has, too. Keras's message would not speak of tasks."""
    named: dict[str, Any] = {}
    for node in _nodes_before(outputs.values()):
        name, operation = node.operation.name, node.operation
        if named.setdefault(name, operation) is not operation and name in outputs:
            raise ValueError(
                "`name` of a task should be one that no other layer of the model has. "
                f"Received: a task and another layer named {name!r}"
            )


def _nodes_before(tensors: Iterable[keras.KerasTensor]):
    """Every node that these tensors come from, once."""
    todo, seen = list(tensors), set()
    while todo:
        operation, index, _ = todo.pop()._keras_history
        node = operation._inbound_nodes[index]
        if id(node) not in seen:
            seen.add(id(node))
            todo += node.input_tensors
            yield node


def check_inputs(inputs: Any, outputs: Mapping) -> None:
    """Refuse an input that has the name of a task."""
    for tensor in keras.tree.flatten(inputs):
        if getattr(tensor, "name", None) in outputs:
            raise ValueError(
                "An input and a task should not share a name. "
                f"Received: an input and a task named {tensor.name!r}"
            )


@dataclass(frozen=True)
class Ownership:
    """Which tasks' losses every variable of a model is connected to.

    Attributes:
        tasks_of: `id(variable)` -> the names of the tasks that depend on it. A variable that no
            output depends on has no entry.
        stated: the ids of those variables whose owner a layer stated by `task_variables(name)`.
    """

    tasks_of: Mapping[int, Tasks]
    stated: frozenset[int]

    def of(self, variable: keras.Variable) -> Tasks:
        """The names of the tasks whose loss depends on `variable`."""
        return self.tasks_of.get(id(variable), frozenset())

    def owned_by(self, name: str, variables: Iterable[keras.Variable]) -> list[keras.Variable]:
        """Those of `variables` that belong to the task `name` alone."""
        return [v for v in variables if self.of(v) == {name}]

    def shared(self, variables: Iterable[keras.Variable]) -> list[keras.Variable]:
        """Those of `variables` that belong to no single task."""
        return [v for v in variables if len(self.of(v)) != 1]


def _is_functional(operation) -> bool:
    return hasattr(operation, "_nodes_by_depth") and not isinstance(operation, keras.Sequential)


def _nodes_from_outputs(function):
    for _, nodes in sorted(function._nodes_by_depth.items()):
        yield from nodes


def nodes_from_inputs(model: keras.Model) -> list:
    """The calls of layers and other operations in the graph of `model`, inputs first."""
    return list(_nodes_from_outputs(model))[::-1]


def nodes_by_depth(model: keras.Model) -> list[list]:
    """The same in lists of those that lie side by side."""
    return [nodes for _, nodes in sorted(model._nodes_by_depth.items(), reverse=True)]


def _walk(function, tasks_of_tensor: dict[int, Tasks], visit: Callable) -> None:
    """Carry the task names from the outputs of `function` back to its inputs.

    `tasks_of_tensor` maps `id(KerasTensor)` to task names; it is filled in place. `visit(node,
    tasks)` is called for every node that is not itself a functional model.
    """
    for node in _nodes_from_outputs(function):
        of_outputs = [tasks_of_tensor.get(id(t), frozenset()) for t in node.output_tensors]
        if node.is_input:
            continue
        if _is_functional(node.operation):
            inner = node.operation
            inner_tasks: dict[int, Tasks] = {}
            for tensor, tasks in zip(inner.outputs, of_outputs, strict=True):
                inner_tasks[id(tensor)] = inner_tasks.get(id(tensor), frozenset()) | tasks
            _walk(inner, inner_tasks, visit)
            for tensor, inner_tensor in _call_inputs(node):
                tasks = inner_tasks.get(id(inner_tensor), frozenset())
                known = tasks_of_tensor.get(id(tensor), frozenset())
                tasks_of_tensor[id(tensor)] = known | tasks
            continue
        else:
            union = frozenset().union(*of_outputs)
            visit(node, union)
            # What a layer reads for the losses that it adds has no part in its output.
            aside = getattr(node.operation, "only_for_losses", ())
            of_inputs = [
                frozenset() if i in aside else union for i in range(len(node.input_tensors))
            ]
        for tensor, tasks in zip(node.input_tensors, of_inputs, strict=True):
            tasks_of_tensor[id(tensor)] = tasks_of_tensor.get(id(tensor), frozenset()) | tasks


def _call_inputs(node):
    """The tensors that a nested functional model was called on, each with its input inside."""
    inner = node.operation
    call = [*node.arguments.args, *node.arguments.kwargs.values()]
    given = next(a for a in call if keras.tree.flatten(a))
    if isinstance(given, Mapping) and not isinstance(inner.input, Mapping):
        return [(given[t.name], t) for t in inner.inputs]
    if isinstance(given, Mapping):
        return [(given[key], t) for key, t in inner.input.items()]
    return zip(node.input_tensors, inner.inputs, strict=True)


def _outputs(model, by_row=True):
    """The output tensors, each with the name of its task, or of the one it is balanced with."""
    row_of = model.row_of if by_row else {}
    return [(row_of.get(name, name), tensor) for name, tensor in model.output.items()]


def _seed(model, by_row=True) -> dict[int, Tasks]:
    tasks: dict[int, Tasks] = {}
    for name, tensor in _outputs(model, by_row):
        tasks[id(tensor)] = tasks.get(id(tensor), frozenset()) | {name}
    return tasks


def read_ownership(model: keras.Model, by_row: bool = True) -> Ownership:
    """Read from the graph which tasks each variable serves.

    Args:
        model: a functional model whose output is a dict of tensors by task name.
        by_row: whether a task that is balanced with another one counts as that. Defaults to `True`.

    Returns:
        The `Ownership` of its variables, trainable or not. Nested functional models are walked;
        any other layer, `Sequential`s and subclassed models included, is taken as one piece,
        except for variables that the layer, or one inside it, assigns itself through a method
        `task_variables(name) -> list`.
    """
    tasks_of: dict[int, Tasks] = {}
    stated: dict[int, Tasks] = {}

    def visit(node, tasks: Tasks) -> None:
        layer = node.operation
        if not isinstance(layer, keras.layers.Layer):
            return
        for variable in layer.variables:
            tasks_of[id(variable)] = tasks_of.get(id(variable), frozenset()) | tasks
        for part in layer._flatten_layers():
            # A multi-task model inside speaks of tasks of its own.
            if hasattr(part, "task_variables") and not _is_functional(part):
                for name in tasks:
                    for variable in part.task_variables(name):
                        stated[id(variable)] = frozenset({name})

    _walk(model, _seed(model, by_row), visit)
    return Ownership({**tasks_of, **stated}, frozenset(stated))


@dataclass(frozen=True)
class Split:
    """A model cut where its shared part ends: `trunk: inputs -> boundary`, `heads: boundary ->
    outputs`.

    Attributes:
        boundary: the tensors that leave the shared part, those among them that learning can reach
            (`watched[i]` is True) and those that it cannot, such as raw inputs read by a head.
        watched: for each boundary tensor, whether gradients pass through it into the trunk.
        trunk: the functional model from the inputs to the list of boundary tensors.
        heads: the functional model from the list of boundary tensors to the dict of outputs.
        on_both_sides: layers that both call.
    """

    boundary: list
    watched: list[bool]
    trunk: keras.Model
    heads: keras.Model
    on_both_sides: list[keras.layers.Layer]


class NoBoundary(ValueError):
    """The model cannot be cut into a shared trunk and task heads; the message says why."""


def read_boundary(model: keras.Model, ownership: Ownership) -> tuple[list, list[bool]]:
    """Find the tensors at which the shared part of `model` ends.

    A node is *shared* when its outputs lead to two or more tasks. The boundary is every tensor
    that a shared node or an input hands to a node of a single task, or to an output.

    Returns:
        The boundary tensors and, for each, whether a trainable variable lies before it.

    Raises:
        NoBoundary: where the Gramian of gradients at the boundary would be meaningless.
    """
    tensor_tasks = _seed(model)
    _walk(model, tensor_tasks, lambda node, tasks: None)

    def tasks_of_node(node) -> Tasks:
        return frozenset().union(*(tensor_tasks.get(id(t), frozenset()) for t in node.outputs))

    nodes = list(_nodes_from_outputs(model))
    readers: dict[int, set[str]] = {}
    for name, tensor in _outputs(model):  # tasks may have one and the same output
        readers.setdefault(id(tensor), set()).add(name)
    for node in nodes:
        tasks = tasks_of_node(node)
        if len(tasks) == 1 and not node.is_input:
            for tensor in node.input_tensors:
                readers.setdefault(id(tensor), set()).update(tasks)

    boundary, watched = [], []
    learned: dict[int, bool] = {}  # whether a trainable variable lies before a tensor
    for node in reversed(nodes):  # inputs first
        own = _trainable(node.operation)
        before = any(learned.get(id(t), False) for t in node.input_tensors)
        shared = len(tasks_of_node(node)) > 1
        if own:
            _check_side(model, node, own, shared, ownership)
        for tensor in node.output_tensors:
            learned[id(tensor)] = before or bool(own)
            if id(tensor) in readers and (shared or node.is_input):
                boundary.append(tensor)
                watched.append(learned[id(tensor)] and keras.backend.is_float_dtype(tensor.dtype))

    cut = [t for t, watch in zip(boundary, watched, strict=True) if watch]
    if not cut:
        raise NoBoundary("it has no shared variable before its task-specific part")
    if all(len(readers[id(t)]) < 2 for t in cut):
        raise NoBoundary(
            "every tensor at which its shared part ends serves a single task, so that the Gramian "
            "there is diagonal and the method would silently do nothing"
        )
    ends = {id(tensor) for tensor in boundary}
    operations = {
        id(node.operation): node.operation
        for node in nodes
        if not node.is_input and any(id(t) in ends for t in node.output_tensors)
    }
    for node in nodes:
        if len(tasks_of_node(node)) == 1 and id(node.operation) in operations:
            raise NoBoundary(
                f"the shared part ends at layer `{node.operation.name}`, which is used again after "
                "it: a layer of its own, such as `keras.layers.Identity()`, after the shared part "
                "would mend that"
            )
    for tensor in cut:
        if tensor.shape[:1] != model.inputs[0].shape[:1]:
            raise NoBoundary(
                f"the boundary tensor `{tensor.name}` of shape {tensor.shape} has no batch axis"
            )
    return boundary, watched


def _trainable(operation) -> list[keras.Variable]:
    return list(getattr(operation, "trainable_variables", []))


def _check_side(model, node, variables, shared: bool, ownership: Ownership) -> None:
    where = f"layer `{node.operation.name}`"
    for variable in variables:
        tasks = ownership.of(variable)
        if shared and len(tasks) == 1:
            (name,) = tasks
            raise NoBoundary(
                f"the variable `{variable.path}` of task `{name}` lies in the shared part, in "
                f"{where}"
            )
        if not shared and len(tasks) > 1:
            raise NoBoundary(
                f"the shared variable `{variable.path}` is used after the shared part has ended, "
                f"in {where}"
            )


class _Heads(keras.Model):
    """Masks of the boundary reach the layers inside. Keras would warn that none comes out."""

    def compute_mask(self, inputs, previous_mask):
        """No mask but those that the layers inside set themselves."""
        return None


def split(model: keras.Model, ownership: Ownership) -> Split:
    """Cut `model` at its boundary into two functional models that share its layers.

    Raises:
        NoBoundary: see `read_boundary`.
    """
    boundary, watched = read_boundary(model, ownership)
    trunk = keras.Model(model.input, boundary, name=f"{model.name}_trunk")
    ends = {id(tensor) for tensor in boundary}
    outputs = {
        # An output that is itself at the boundary: Keras refuses one that is also an input.
        name: keras.layers.Identity(dtype=t.dtype)(t) if id(t) in ends else t
        for name, t in model.output.items()
    }
    heads = _Heads(boundary, outputs, name=f"{model.name}_heads")
    in_trunk = {id(layer) for layer in trunk._flatten_layers(include_self=False)}
    both = [layer for layer in heads._flatten_layers(include_self=False) if id(layer) in in_trunk]
    return Split(boundary, watched, trunk, heads, both)
