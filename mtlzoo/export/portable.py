"""SavedModels that other formats can be made of."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2


def make_portable(folder: str) -> None:
    """Change a SavedModel so that converters read all of it; the answers stay.

    Two things stand in their way:

    * `keras.ops.argmax` makes minus zero less than zero by looking at bits, for which no other
      format has an operation. Here the two are equal, and the first of them is chosen.
    * TensorFlow's converter to LiteRT takes an attribute `serve` for a sign of Keras's own export,
      and then drops all other signatures without a word.

    Args:
        folder: the directory of the SavedModel, which is written anew.
    """
    path = Path(folder, "saved_model.pb")
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in saved.meta_graphs:
        for function in graph.graph_def.library.function:
            _plain_argmax(function)
        for child in graph.object_graph_def.nodes[0].children:
            if child.local_name == "serve":
                child.local_name = "all_tasks"
    path.write_bytes(saved.SerializeToString())


def _plain_argmax(function: Any) -> None:
    """Let an `ArgMax` read what is behind the choice between a value and minus the tiniest."""
    nodes = {node.name: node for node in function.node_def}

    def source(reference: str) -> Any:
        return nodes.get(reference.split(":")[0])

    for node in function.node_def:
        if node.op != "ArgMax":
            continue
        reader, choice = node, source(node.input[0])
        if choice is not None and choice.op == "Reshape":  # of all axes
            reader, choice = choice, source(choice.input[0])
        if choice is None or choice.op != "SelectV2":
            continue
        condition = source(choice.input[0])
        if condition is not None and condition.op == "LogicalAnd":
            signs = [source(each) for each in condition.input]
            if [each and each.op for each in signs] == ["Equal", "Less"]:
                reader.input[0] = choice.input[2]


def refusal(format: str, operations: Iterable[str], error: Exception | None) -> ValueError:
    """The error for a model that could not be converted.

    Args:
        format: the format.
        operations: the names of TensorFlow's operations that it does not have.
        error: what the converter says, told where it names no operation.
    """
    names = sorted({name for each in operations for name in re.findall(r"\w+", each)})
    if not names:
        return ValueError(
            f"The model could not be converted to the format {format!r}; `options` should fit the "
            f"converter, and the model. Received from it: {type(error).__name__}: {error}"
        )
    return ValueError(
        f"`format` should be one that has all operations of the model. Received: format={format!r} "
        f"for a model with the operations {names}, which it does not have. Where they "
        "are of the preprocessor, write the model with `preprocessor=None` and give it "
        "preprocessed rows; where they are of one task, leave it out of `tasks`; the format "
        "'tf_saved_model' has all"
    )
