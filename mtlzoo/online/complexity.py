"""How hard the rows of a stream are for a model, beside those that are usual."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mtlzoo.data.arguments import check_count
from mtlzoo.ensembles.scales import OneOfMany, YesOrNo, scale_of
from mtlzoo.online.running import Recent, Running
from mtlzoo.tasks import Task


class Complexity:
    r"""Scores rows by how unsure the predictions are and how new the inputs, from 0 to 1.

    Each part gives a number for each row:

    * the predictions of a task with classes: their entropy, divided by that of a uniform
      distribution, the mean over labels or places where there are several;
    * the predictions of any other task, which have no probabilities: how far they are from the
      recent ones, as for the inputs;
    * the inputs: $\sqrt{\frac{1}{F} \sum_f (x_f - \mu_f)^2 / \sigma_f^2}$, with a running mean
      $\mu$ and variance $\sigma^2$ of each of the $F$ columns; text does not count.

    A part's score is the share of the last `memory` rows that had a smaller number (half of those
    that had the same), so that 0.5 is usual whatever the unit. A row's score is the mean of its
    parts. Rows are scored first and remembered then, and what comes often becomes usual.

    Args:
        tasks: The tasks whose predictions count; none for the inputs alone.
        features: Whether the inputs count. Defaults to `True`.
        memory: Over how many rows what is usual is known. Defaults to 1024.

    Raises:
        ValueError: If nothing counts, or `memory` is not a positive integer.

    Example:
    ```python
    import numpy as np
    from mtlzoo.online import Complexity
    from mtlzoo.tasks import BinaryClassification

    complexity = Complexity([BinaryClassification("click")])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4))
    complexity.score({"click": rng.normal(size=(500, 1)) + 5}, x)  # about 0.5 on average
    complexity.score({"click": np.zeros((2, 1))}, x[:2] + 9)  # [1., 1.]
    ```
    """

    def __init__(
        self, tasks: Iterable[Task] = (), *, features: bool = True, memory: int = 1024
    ) -> None:
        self.tasks = {task.name: task for task in tasks}
        self.features = features
        self.memory = check_count("memory", memory)
        if not self.tasks and not features:
            raise ValueError(
                "`tasks` or `features` should be given. Received: tasks=[], features=False"
            )
        self._usual: dict[str, Recent] = {}
        self._running: dict[str, Running] = {}

    def score(
        self, outputs: Mapping[str, np.ndarray], features: np.ndarray | None = None
    ) -> np.ndarray:
        """Score rows, and remember them.

        Args:
            outputs: By task the raw outputs, rows first.
            features: The inputs, `(B, F)`; needed if they count. Defaults to `None`.

        Returns:
            `(B,)`, from 0 to 1.

        Raises:
            ValueError: If something that counts is missing, or the inputs have no column.
        """
        if self.features and features is not None and not np.size(features, 1):
            raise ValueError(
                "`features` should be False for a model without inputs that are numbers. Received: "
                "features=True"
            )
        missing = [name for name in self.tasks if name not in outputs]
        if missing or (self.features and features is None):
            raise ValueError(
                f"`outputs` should have the tasks {list(self.tasks)}, and `features` be given "
                f"if they count. Received: outputs of {sorted(outputs)}, "
                f"features={'None' if features is None else 'an array'}"
            )
        parts = []
        for name, task in self.tasks.items():
            scale = scale_of(task)
            if isinstance(scale, OneOfMany | YesOrNo):
                numbers = entropy(np.asarray(scale.read(outputs[name])), scale.axis)
            else:
                numbers = self._novelty(name, np.asarray(outputs[name]))
            parts.append(self._rank(name, numbers))
        if self.features:
            # No task is called so: a task's name is an identifier.
            parts.append(self._rank("inputs:", self._novelty("inputs:", np.asarray(features))))
        return np.mean(parts, axis=0)

    def get_state(self) -> dict[str, Any]:
        """What it remembers."""
        return {
            "usual": {name: each.get_state() for name, each in self._usual.items()},
            "running": {name: each.get_state() for name, each in self._running.items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self._usual = {name: Recent(self.memory) for name in state["usual"]}
        self._running = {name: Running(self.memory) for name in state["running"]}
        for mine, its in ((self._usual, state["usual"]), (self._running, state["running"])):
            for name, each in mine.items():
                each.set_state(its[name])

    def _novelty(self, name: str, values: np.ndarray) -> np.ndarray:
        running = self._running.setdefault(name, Running(self.memory))
        return running.distance(values.reshape(len(values), -1).astype("float64"))

    def _rank(self, name: str, numbers: np.ndarray) -> np.ndarray:
        return self._usual.setdefault(name, Recent(self.memory)).rank(numbers)


def entropy(log_probabilities: np.ndarray, axis: int) -> np.ndarray:
    """The entropy of each row's predictions, as a share of the most that there can be.

    Args:
        log_probabilities: Rows first, `(B, ...)`.
        axis: That of the classes.

    Returns:
        `(B,)`, from 0 to 1; the mean over all other axes.
    """
    logs = log_probabilities.astype("float64")
    chances = np.exp(logs)
    # A probability of 0 adds nothing, and its logarithm is not finite.
    terms = np.where(chances > 0, chances * np.where(chances > 0, logs, 0), 0)
    most = math.log(max(logs.shape[axis], 2))
    return -terms.sum(axis).reshape(len(logs), -1).mean(1) / most
