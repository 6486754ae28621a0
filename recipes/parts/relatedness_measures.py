"""What the recipe on relatedness measures, on any data set in memory."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import HardSharing, MultiTaskModel, analysis
from mtlzoo.analysis import GroupTrainings, TaskMatrix
from recipes.parts import strategies

BATCH_SIZE = 64
LOOK_AHEAD = 0.05  # the learning rate of the steps that are looked ahead


class Networks:
    """Makes models of some of the tasks, all with the same shared layer.

    Args:
        width: of the inputs.
        tasks: all tasks.
        units: of the shared layer.
        learning_rate: that of Adam.
        epochs: of each training.
    """

    def __init__(
        self, width: int, tasks: list, *, units: int, learning_rate: float, epochs: int
    ) -> None:
        self._width, self._units, self._rate = width, units, learning_rate
        self.tasks = {task.name: task for task in tasks}
        self.epochs = epochs

    def __call__(self, names: Any, balancer: str = "equal", **options: Any) -> MultiTaskModel:
        with strategies.scope():
            inputs = keras.Input((self._width,), name="features")
            tasks = [self.tasks[name] for name in names]
            model = HardSharing(inputs, tasks, shared_units=(self._units,))
            model.compile(
                keras.optimizers.Adam(self._rate),
                balancer,
                metrics={task.name: [task.monitor] for task in tasks},
                jit_compile=False,
                **options,
            )
        return model


def gradients_of(build: Networks, train: tuple, seed: int) -> list[TaskMatrix]:
    """The cosine of the gradients and the look-ahead affinity in a training of all tasks."""
    keras.utils.set_random_seed(seed)
    model = build(build.tasks, balancer="pcgrad", track_gramian="shared")
    part = keras.tree.map_structure(lambda values: values[:1024], train)
    gramians = analysis.GramianHistory()
    affinities = analysis.AffinityHistory(part, learning_rate=LOOK_AHEAD)
    model.fit(
        *train,
        batch_size=BATCH_SIZE,
        epochs=build.epochs,
        callbacks=[gramians, affinities],
        verbose=0,
    )
    return [gramians.matrix("cosine"), affinities.matrix()]


class Trainings:
    """The trainings of groups of tasks, and what the single-task models among them have learned.

    Args:
        build: makes the models.
        train: inputs and labels.
        valid: the same of the rows that models are scored on.
        seeds: of the trainings of each group.
    """

    def __init__(self, build: Networks, train: tuple, valid: tuple, seeds: Sequence[int]) -> None:
        self._build = build
        self._kept: dict[int, dict[str, MultiTaskModel]] = {}  # by seed and task
        self.groups = GroupTrainings(
            build,
            list(build.tasks),
            train,
            valid,
            epochs=build.epochs,
            seeds=seeds,
            batch_size=BATCH_SIZE,
            on_trained=self._keep,
        )

    def _keep(self, names: tuple[str, ...], seed: int, model: MultiTaskModel) -> None:
        if len(names) == 1:
            copy = self._build(names)
            copy.set_weights(model.get_weights())
            self._kept.setdefault(seed, {})[names[0]] = copy

    def similarity(self, x: np.ndarray) -> analysis.SampledMatrix:
        """Debiased CKA of the shared layers of single-task models, a sample for each seed."""
        found = [
            analysis.representation_similarity(models, x, layer="shared_0", debiased=True)
            for models in self._kept.values()
        ]
        names, samples = found[0].names, [matrix.values for matrix in found]
        return analysis.SampledMatrix(
            names, samples, found[0].measure, sampled="seeds", directed=False, signed=False
        )
