"""Hard parameter sharing."""

from collections.abc import Collection, Sequence
from typing import Any

import keras

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_rate, check_units
from mtlzoo.models.architecture import Architecture, dense_stack, features_of, policy_config
from mtlzoo.models.stages import stages_of
from mtlzoo.tasks import Task

# By stage the groups of tasks that share it.
Tree = list[list[list[str]]]


@keras.saving.register_keras_serializable(package="mtlzoo")
class HardSharing(Architecture):
    r"""One trunk that all tasks share, and a tower and head for each task (Caruana, 1997).

    $$y_t = h_t(f(x)).$$

    With `tree` the tasks part at different depths: at each stage of the network every group of
    tasks has its own copy, that reads the copy of the group that it was part of before:

    $$y_t = h_t\big(f^{(n)}_{g_n(t)}(\ldots f^{(1)}_{g_1(t)}(x) \ldots)\big), \quad
    t \in g_n(t) \subseteq \ldots \subseteq g_1(t).$$

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a Keras model or layer from the inputs to features. Without a `tree` it is used
            itself, so that two models that are built on one backbone share its variables; with one
            it is copied. Without it the inputs are vectors of floats.
        shared_units: widths of fully connected layers that all tasks share, after the backbone.
            Defaults to none.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to none.
        activation: activation of both. Defaults to `"relu"`.
        dropout: rate of the dropout after each of these layers. Defaults to 0.
        tree: which tasks share how much: a list with one entry for each stage, first those of the
            backbone, then each of `shared_units`. An entry is the list of groups of task names
            that share that stage, and each group lies within one of the entry before. After the
            last entry the groups stay as they are. Neither the order of groups nor that within a
            group means anything. Defaults to one trunk for all.
        stages: with `tree`, the names of the layers of the backbone at which its stages end.
            Defaults to `backbone.stage_names`, or for a backbone without it the whole as one.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, widths, rates or dtypes, a backbone that cannot be
            copied in stages, or a tree that is none of these tasks.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(32,), tower_units=(16,))

    tasks.append(BinaryClassification("buy"))
    tree = [[("click", "buy", "stay")], [("click", "buy"), ("stay",)]]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(32, 16), tree=tree)
    ```

    References:
        Caruana, *Multitask Learning*, Machine Learning 28, 1997.

    *Differences from the paper*: rectified instead of sigmoid units, any backbone, and trees. With
    a tree the backbone is copied, its weights with it, and the layers' names begin with `shared` or
    with the names of a group's tasks, joined by dots.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        shared_units: Sequence[int] = (),
        tower_units: Sequence[int] = (),
        activation: Any = "relu",
        dropout: float = 0.0,
        tree: Sequence | None = None,
        stages: Sequence[str] | None = None,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        shared_units = check_units("shared_units", shared_units)
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)

        if tree is None and stages is not None:
            raise ValueError(
                f"`stages` should be None where there is no `tree`. Received: stages={stages!r}"
            )

        # --- Graph ---
        inside = {}
        if tree is None:
            features = features_of(inputs, backbone, dtype)
            features = dense_stack(features, shared_units, "shared", activation, dropout, dtype)
            before_tower = dict.fromkeys(by_name, features)
        else:
            start, chain = stages_of(
                inputs, backbone, stages, shared_units, activation, dropout, dtype
            )
            tree = check_tree(tree, list(by_name), len(chain))
            before_tower = dict.fromkeys(by_name, start)
            for groups, stage in zip(tree, chain, strict=True):
                for group in groups:
                    end = stage.draw(before_tower[group[0]], prefix_of(group, len(by_name)))
                    before_tower |= dict.fromkeys(group, end)
            inside = {"before_tower": before_tower}
        outputs = {}
        for task_name, task in by_name.items():
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
            "shared_units": list(shared_units),
            "tower_units": list(tower_units),
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        if tree is not None:
            arguments |= {"tree": tree, "stages": None if stages is None else list(stages)}
        tasks = list(by_name.values())
        super().__init__(inputs, outputs, tasks, arguments, preprocessor, name, inside)

    @property
    def tree(self) -> Tree | None:
        """By stage the groups of tasks that share it; `None` where all share everything."""
        return self._held.arguments.get("tree")


def prefix_of(group: Sequence[str], count: int) -> str:
    """What the names of a group's layers begin with, in a model of `count` tasks."""
    # A dot is in no name of a task, so that no two groups have one prefix.
    return ".".join(group) if len(group) < count or count == 1 else "shared"


def check_tree(tree: Any, names: Sequence[str], count: int) -> Tree:
    """A tree of sharing for `count` stages, in sorted order.

    Raises:
        ValueError: if an entry is no partition of the tasks, or does not refine the one before.
    """
    if not isinstance(tree, list | tuple) or not 0 < len(tree) <= count:
        raise ValueError(
            f"`tree` should be a list of 1 to {count} entries, at most one for each stage. "
            f"Received: tree={tree!r}"
        )
    checked: Tree = []
    for i, groups in enumerate(tree):
        found = _check_groups(i, groups, names)
        for group in found if checked else ():
            if not any(set(group) <= set(before) for before in checked[-1]):
                raise ValueError(
                    f"Each group of `tree[{i}]` should lie within one of `tree[{i - 1}]`, since "
                    "tasks that have parted share nothing further. "
                    f"Received: {group} after {checked[-1]}"
                )
        checked.append(found)
    return checked + [checked[-1]] * (count - len(checked))


def _check_groups(index: int, groups: Any, names: Sequence[str]) -> list[list[str]]:
    kinds = (list, tuple, set, frozenset)
    if not isinstance(groups, kinds) or not all(isinstance(g, kinds) and g for g in groups):
        raise ValueError(
            f"`tree[{index}]` should be a list of groups, each a tuple of task names. "
            f"Received: {groups!r}"
        )
    given: Collection = [name for group in groups for name in group]
    for name in given:
        if name not in names:
            raise ValueError(
                f"`tree[{index}]` should name the tasks {list(names)}. Received: {name!r}"
            )
        if list(given).count(name) > 1:
            raise ValueError(
                f"`tree[{index}]` should name each task once. Received: {name!r} twice"
            )
    for name in names:
        if name not in given:
            raise ValueError(
                f"`tree[{index}]` should name each task once. "
                f"Received: {groups!r}, without {name!r}"
            )
    return sorted(sorted(group) for group in groups)
