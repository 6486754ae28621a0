"""What the functions of a data set, such as that of a `map`, draw, and what they remember."""

import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

# What a function of a data set may call whose state is out of sight.
OUT_OF_SIGHT = {"EagerPyFunc", "GeneratorDataset", "PyFunc", "PyFuncStateless"}
# Operations that change a variable, the state of a random generator or a table.
WRITES = re.compile(
    r"Assign|Resource(Apply|Scatter|Strided)|Rng|LookupTable(Import|Insert|Remove)"
    r"|Stateful(Random|Standard|Truncated|Uniform)"
)
# Data sets inside functions that take two seeds, and the place of the first among their inputs.
SEEDED = {
    **{"RandomDataset": 0, "RandomDatasetV2": 0, "ShuffleDataset": 2, "ShuffleDatasetV3": 2},
    **{"ShuffleAndRepeatDataset": 2, "ShuffleAndRepeatDatasetV2": 2},
}


class Functions:
    """What the functions of one data set, and those that they call, do.

    A data set that a function has captured is not looked into.

    Args:
        part: the data set, without its inputs.

    Attributes:
        unseeded: the first operation that is random without a seed; `None` if there is none.
        unordered: whether a data set inside need not be in a fixed order.
        changing: the first operation that has a state, which changes with each call; `None` if
            there is none.
        parallel: whether a function inside is called by several threads.
        remembers: whether what they give depends on how often they were called, or may do so.
    """

    def __init__(self, part: Any) -> None:
        functions = [each.function for each in vars(part).values() if hasattr(each, "function")]
        functions = [each for each in functions if hasattr(each, "graph")]
        self.unseeded: str | None = None
        self.changing: str | None = None
        self.unordered = self.parallel = self.remembers = False
        for function in functions:
            if any(each.dtype == tf.variant for each in function.captured_inputs):
                self.remembers = True
            definition = function.graph.as_graph_def()
            for nodes in [definition.node, *(f.node_def for f in definition.library.function)]:
                self._read({node.name: node for node in nodes})

    def _read(self, nodes: dict[str, Any]) -> None:
        for node in nodes.values():
            seeds = list(_seeds(node, nodes))
            if seeds and not any(seeds):
                self.unseeded = self.unseeded or node.op
            draws = "seed" in node.attr and "seed2" in node.attr
            if draws or WRITES.match(node.op):
                self.changing = self.changing or node.op
            if WRITES.match(node.op) or node.op in OUT_OF_SIGHT:
                self.remembers = True
            if node.attr["deterministic"].s == b"false":
                self.unordered = True
            if node.op.startswith("Parallel"):
                self.parallel = True


def _seeds(node: Any, nodes: dict[str, Any]) -> Iterator[int]:
    """The seeds of what is random, as far as they are known."""
    if "seed" in node.attr and "seed2" in node.attr:
        yield from (node.attr["seed"].i, node.attr["seed2"].i)
    elif node.op in SEEDED:
        first = SEEDED[node.op]
        for name in node.input[first : first + 2]:
            given = nodes.get(name.split(":")[0])
            # TensorFlow computes seeds that are given, and never has both of them 0 then.
            if given is not None and given.op == "Const":
                yield int(tf.make_ndarray(given.attr["value"].tensor))
            else:
                yield 1
