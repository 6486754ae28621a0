"""What a multi-task model keeps that is no layer of it."""

from typing import Any

import keras

from mtlzoo.balancing import Balancer
from mtlzoo.models.training_step import TrainingStep
from mtlzoo.tasks import Task


class Held:
    """What a model keeps without Keras tracking it as a layer or its state."""

    def __init__(self, preprocessor: keras.Model | None) -> None:
        self.preprocessor = preprocessor
        self.tasks: dict[str, Task] = {}
        self.step: TrainingStep | None = None  # from `compile` on, as is the next
        self.balancer: Balancer | None = None
        self.compile_config: dict[str, Any] = {}
        self.arguments: dict[str, Any] = {}  # those of an architecture's constructor
        self.of_other_tasks: ValueError | None = None  # why weights were refused
        self.row_of: dict[str, str] = {}  # tasks that are balanced with another one
        self.plan: Any = None  # how the model is run
        self.runner: keras.Model | None = None  # the model as it is run, made when needed
        self.inside: dict[str, keras.Model] = {}  # what an architecture lets one read, by name
