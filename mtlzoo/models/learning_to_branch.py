"""A network that learns where its tasks part."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_rate, check_units
from mtlzoo.layers.branching import Branching
from mtlzoo.models.architecture import Architecture, dense_stack, policy_config
from mtlzoo.models.hard_sharing import HardSharing, Tree, prefix_of
from mtlzoo.models.stages import copy_weights, stages_of
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class LearningToBranch(Architecture):
    r"""Learns a tree of sharing: each task's path through several copies of every stage.

    Stage l of the network is there $N_l$ times (Guo et al., 2020). Each of these nodes reads a
    mixture of the nodes of the stage before, and each task one of those of the last stage:

    $$y_j^{(l)} = f_j^{(l)}\Big(\sum_i d_{ij}^{(l)} y_i^{(l-1)}\Big), \quad
    d_j^{(l)} \sim \mathrm{GumbelSoftmax}(\theta_j^{(l)}, \tau),$$

    with a new draw for each step of training, while the temperature $\tau$ falls: see
    `mtlzoo.layers.Branching`. Outside of training each node reads its most probable parent alone.
    `freeze` makes that tree a model of its own, a `HardSharing` without the nodes that no task
    uses. A step of training computes all nodes, and so does prediction before `freeze`.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a functional Keras model, a `Sequential` or a layer, which is copied for each
            node, its weights with it. Without it the inputs are vectors of floats.
        stages: names of the layers of the backbone at which its stages end. Defaults to
            `backbone.stage_names`, or for a backbone without it the whole as one stage.
        units: widths of fully connected layers after the backbone, each a stage. Defaults to none.
        num_nodes: how many copies of each stage there are, a number or a list of one for each
            stage. Defaults to the number of tasks.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to none.
        activation: activation of all these layers. Defaults to `"relu"`.
        dropout: rate of the dropout after each of them. Defaults to 0.
        temperature: the temperature at the start. Defaults to 10.0, as in the paper for CelebA.
        min_temperature: the least temperature. Defaults to 0.1.
        warm_up_steps: how many steps the nodes are trained with equal weights before the choice
            begins. Defaults to 0.
        seed: seed of the draws. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, widths, rates or dtypes, a backbone that cannot be
            copied in stages, or none at all.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, LearningToBranch, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = LearningToBranch(keras.Input((8,)), tasks, units=(32, 16))
    model.compile("adam")
    model.branching_probabilities()["tasks"]  # [[0.5, 0.5], [0.5, 0.5]]
    model.freeze().tree  # [[["click", "stay"]], [["click", "stay"]]]
    ```

    References:
        Guo, Lee & Ulbricht, *Learning to Branch for Multi-Task Learning*, ICML 2020.
        Jang, Gu & Poole, *Categorical Reparameterization with Gumbel-Softmax*, ICLR 2017.

    *Differences from the paper*: weights and branches are trained together, where the paper
    alternates between two halves of the data; the frozen tree keeps the trained weights, where the
    paper trains it anew.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        stages: Sequence[str] | None = None,
        units: Sequence[int] = (),
        num_nodes: int | Sequence[int] | None = None,
        tower_units: Sequence[int] = (),
        activation: Any = "relu",
        dropout: float = 0.0,
        temperature: float = 10.0,
        min_temperature: float = 0.1,
        warm_up_steps: int = 0,
        seed: int = 0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        units = check_units("units", units)
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        start, chain = stages_of(inputs, backbone, stages, units, activation, dropout, dtype)
        counts = _check_nodes(num_nodes, len(by_name), len(chain))
        seeds = itertools.count(seed)  # so that no two children draw the same

        def branch(child):
            return Branching(
                temperature,
                min_temperature,
                warm_up_steps,
                next(seeds),
                name=f"{child}_branch",
                dtype=dtype,
            )

        # --- Graph ---
        nodes = [start]
        for level, (stage, count) in enumerate(zip(chain, counts, strict=True)):
            reads = nodes * count
            if level > 0:
                reads = [branch(f"node_{j}_{stage.name}")(nodes) for j in range(count)]
            nodes = [stage.draw(reads[j], f"node_{j}") for j in range(count)]
        outputs, before_tower = {}, {}
        for task_name, task in by_name.items():
            before_tower[task_name] = branch(task_name)(nodes)
            tower = dense_stack(
                before_tower[task_name],
                tower_units,
                f"{task_name}_tower",
                activation,
                dropout,
                dtype,
            )
            outputs[task_name] = task.head(tower)

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "stages": None if stages is None else list(stages),
            "units": list(units),
            "num_nodes": list(num_nodes) if isinstance(num_nodes, tuple) else num_nodes,
            "tower_units": list(tower_units),
            "activation": activation,
            "dropout": dropout,
            "temperature": temperature,
            "min_temperature": min_temperature,
            "warm_up_steps": warm_up_steps,
            "seed": seed,
            "dtype": dtype,
        }
        inside = {"before_tower": before_tower}
        tasks = list(by_name.values())
        super().__init__(inputs, outputs, tasks, arguments, preprocessor, name, inside)
        self._stage_names = [stage.name for stage in chain]
        self._layer_names = [stage.layer_names for stage in chain]
        self._node_counts = counts

    # -- the branches ----------------------------------------------------------------------

    @property
    def temperature(self) -> float:
        """The temperature of the next step of training."""
        return self.get_layer(f"{self.task_names[0]}_branch").current_temperature()

    def branching_probabilities(self) -> dict[str, np.ndarray]:
        """How probable each parent is.

        Returns:
            dict by the name of the stage, from the second on, of arrays `(children, parents)`;
            under `"tasks"` that of the tasks, in sorted-name order.
        """
        found = {}
        for stage, count in zip(self._stage_names[1:], self._node_counts[1:], strict=True):
            layers = [self.get_layer(f"node_{j}_{stage}_branch") for j in range(count)]
            found[stage] = np.stack([layer.probabilities() for layer in layers])
        layers = [self.get_layer(f"{name}_branch") for name in self.task_names]
        found["tasks"] = np.stack([layer.probabilities() for layer in layers])
        return found

    def paths(self) -> dict[str, list[int]]:
        """The nodes that each task uses outside of training, one in each stage, first to last."""
        probabilities = self.branching_probabilities()
        found = {}
        for name, of_task in zip(self.task_names, probabilities["tasks"], strict=True):
            path = [int(of_task.argmax())]
            for stage in self._stage_names[:0:-1]:
                path.insert(0, int(probabilities[stage][path[0]].argmax()))
            found[name] = path
        return found

    def freeze(self, name: str | None = None) -> HardSharing:
        """The tree of the most probable branches, with the weights of the nodes on it.

        Its predictions are those of this model.

        Args:
            name: name of the new model. Defaults to this model's, with `_frozen`.
        """
        paths = self.paths()
        tree: Tree = [
            _groups({task: path[level] for task, path in paths.items()})
            for level in range(len(self._stage_names))
        ]
        config = self.get_config()
        arguments = {
            ("shared_units" if key == "units" else key): config[key]
            for key in (
                *("inputs", "tasks", "backbone", "stages", "units", "tower_units", "activation"),
                *("dropout", "dtype"),
            )
        }
        arguments["name"] = f"{self.name}_frozen" if name is None else name
        frozen = HardSharing.from_config({**arguments, "tree": tree, "preprocessor": None})
        frozen._held.preprocessor = self.preprocessor  # not its config, which lacks what it adapted
        for level, (groups, names) in enumerate(zip(tree, self._layer_names, strict=True)):
            for group in groups:
                prefix = prefix_of(group, len(paths))
                for layer in names:
                    node = self.get_layer(f"node_{paths[group[0]][level]}_{layer}")
                    copy_weights(node, frozen.get_layer(f"{prefix}_{layer}"))
        for task in self.task_names:
            own, new = (
                keras.Model(model._held.inside["before_tower"].output[task], model.output[task])
                for model in (self, frozen)
            )
            copy_weights(own, new)
        return frozen


def _groups(node_of: dict[str, int]) -> list[list[str]]:
    """The tasks at each node, in sorted order."""
    return sorted(
        sorted(task for task, node in node_of.items() if node == shared)
        for shared in set(node_of.values())
    )


def _check_nodes(num_nodes: Any, tasks: int, stages: int) -> list[int]:
    counts = tasks if num_nodes is None else num_nodes
    counts = [counts] * stages if isinstance(counts, int) else counts
    if (
        isinstance(counts, list | tuple)
        and len(counts) == stages
        and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in counts)
    ):
        return list(counts)
    raise ValueError(
        f"`num_nodes` should be a positive integer, or a list of one for each of the {stages} "
        f"stages. Received: num_nodes={num_nodes!r}"
    )
