"""Models in which one model teaches another: what they add to the registry's cases."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from conformance.registry import Case
from mtlzoo import HardSharing, MultiTaskModel
from mtlzoo.training import Distillation, Hint


def network(tasks, units=(8,)) -> MultiTaskModel:
    """A network with a layer `shared_0` whose features can be hints."""
    inputs = {"features": keras.Input((6,), name="features")}
    return HardSharing(inputs, tasks, shared_units=units, activation="tanh")


def distillation(tasks, **arguments):
    """A student with one teacher of all tasks, and a hint."""
    teacher = network(tasks, (10, 9))
    hint = Hint("shared_0", "shared_1")
    return Distillation(network(tasks), teacher, hints=[hint], **arguments)


def single_task_teachers(tasks):
    """A teacher for each task but the last, whose soft targets are tasks of their own."""
    teachers = {task.name: network([task], (9,)) for task in tasks[:-1]}
    return Distillation(network(tasks), teachers, balance_soft=True)


def annealed(tasks):
    return distillation(tasks, annealing_steps=50)


def online(tasks):
    return distillation(tasks, online=True)


MODELS: dict[str, Callable] = {
    "Distillation": distillation,
    "Distillation, single-task teachers": single_task_teachers,
    "Distillation, annealed": annealed,
    "Distillation, online": online,
}


@dataclass(frozen=True)
class TaughtCase(Case):
    """One of these models with one balancer."""

    def build(self, tasks=None, seed: int = 1) -> MultiTaskModel:
        """The model, the same at each call."""
        keras.utils.set_random_seed(seed)
        return MODELS[self.architecture](self.tasks() if tasks is None else tasks)
