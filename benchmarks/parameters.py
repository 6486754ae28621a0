"""How many parameters every architecture has, beside one network for each task.

Prints a table for docs/zoo.md: 100 inputs, regression tasks, two layers of 64 and 32 units where an
architecture has layers to share or to copy, 4 experts of the same layers where it has experts.

    python -m benchmarks.parameters
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import math
from collections.abc import Callable
from itertools import pairwise

import keras

import mtlzoo
from mtlzoo import BinaryClassification, HardSharing, MultiTaskModel, Regression

INPUTS, LAYERS, TASKS = 100, (64, 32), (1, 2, 4, 8)


def staged(cls, **arguments) -> Callable:
    return lambda tasks: cls(features(), tasks, units=LAYERS, **arguments)


def mixture(cls, **arguments) -> Callable:
    return lambda tasks: cls(features(), tasks, expert_units=LAYERS, tower_units=(), **arguments)


def tree(tasks):
    """The first layer is shared by all, the second by halves of the tasks."""
    names = sorted(task.name for task in tasks)
    halves = [names[: len(names) // 2], names[len(names) // 2 :]]
    groups = [[names], [half for half in halves if half]]
    return HardSharing(features(), tasks, shared_units=LAYERS, tree=groups)


def funnel(tasks):
    backbone = keras.Sequential([keras.layers.Dense(LAYERS[0], "relu")])
    steps = [BinaryClassification(task.name) for task in tasks]
    names = [task.name for task in steps]
    return mtlzoo.ESMM(features(), steps, funnel=names, backbone=backbone, tower_units=LAYERS[1:])


def sequence(tasks):
    names = [task.name for task in tasks]
    return mtlzoo.AITM(features(), tasks, sequence=names, tower_units=LAYERS)


def relations(tasks):
    names = [task.name for task in tasks]
    pairs = {child: (parent,) for parent, child in pairwise(names)}
    return mtlzoo.DBMTLNet(
        features(),
        tasks,
        relations=pairs,
        shared_units=LAYERS,
        tower_units=(),
        relation_units=(16,),
    )


def attention(tasks):
    tokens = keras.Sequential([keras.layers.Dense(LAYERS[0]), keras.layers.Reshape((4, 16))])
    return mtlzoo.TaskQueryAttention(features(), tasks, backbone=tokens, num_heads=4, key_dim=8)


def fusion(tasks):
    """The inputs come as two modalities of 50 numbers each."""
    halves = {name: keras.Input((INPUTS // 2,), name=name) for name in ("left", "right")}
    return mtlzoo.CrossModalFusion(
        halves, tasks, projection_units=LAYERS[0], fusion_units=LAYERS[1]
    )


ARCHITECTURES: dict[str, Callable[[list], MultiTaskModel]] = {
    "HardSharing": lambda tasks: HardSharing(features(), tasks, shared_units=LAYERS),
    "HardSharing, tree": tree,
    "SoftSharing": staged(mtlzoo.SoftSharing),
    "CrossStitch": staged(mtlzoo.CrossStitch),
    "Sluice": staged(mtlzoo.Sluice),
    "NDDR": staged(mtlzoo.NDDR),
    "MMoE": mixture(mtlzoo.MMoE, num_experts=4),
    "OMoE": mixture(mtlzoo.OMoE, num_experts=4),
    "PLE": mixture(mtlzoo.PLE, num_levels=2, num_shared_experts=2, num_task_experts=1),
    "SNR": lambda tasks: mtlzoo.SNR(
        features(), tasks, num_subnetworks=4, subnetwork_units=LAYERS, tower_units=()
    ),
    "MTAN": staged(mtlzoo.MTAN),
    "TaskQueryAttention": attention,
    "LearningToBranch": staged(mtlzoo.LearningToBranch),
    "DynamicSharing": staged(mtlzoo.DynamicSharing),
    "AdapterSharing": staged(mtlzoo.AdapterSharing, adapter_units=8),
    "AITM": sequence,
    "DBMTLNet": relations,
    "ESMM": funnel,
    "CrossModalFusion": fusion,
}


def features():
    return keras.Input((INPUTS,), name="features")


def count(name: str, tasks: int) -> int:
    """What a model of so many tasks learns."""
    model = ARCHITECTURES[name]([Regression(f"task_{i}") for i in range(tasks)])
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def main() -> None:
    print("| model | " + " | ".join(f"T = {t}" for t in TASKS) + " |")
    print("|---|" + "--:|" * len(TASKS))
    single = count("HardSharing", 1)
    print("| one network for each task | " + " | ".join(f"{t * single:,}" for t in TASKS) + " |")
    for name in ARCHITECTURES:
        print(f"| `{name}` | " + " | ".join(f"{count(name, t):,}" for t in TASKS) + " |")


if __name__ == "__main__":
    main()
