"""Whether an explanation depends on what the model has learned."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo.analysis import drawing
from mtlzoo.analysis.explanation import points, targets, views
from mtlzoo.analysis.explanation.explaining import explain
from mtlzoo.analysis.explanation.explanation import TITLES
from mtlzoo.analysis.explanation.side_by_side import similarity

# Below this mean rank correlation a map is said to be another one.
_ALIKE = 0.5


class RandomizationTest:
    """How alike explanations are to those of the same model with weights that mean nothing.

    `randomization_test` makes it.

    Args:
        task: The task.
        method: Name of the method.
        layers: What was randomized first, what besides, and so on.
        similarities: `(number of layers, B)`, the rank correlation with the map of the model, NaN
            where there is none.

    Attributes:
        depends: Whether the method depends on the weights here: whether with all of them
            randomized the mean similarity is below 0.5. `None` where no row has any.
        title: A headline.
    """

    def __init__(
        self, task: str, method: str, layers: Sequence[str], similarities: np.ndarray
    ) -> None:
        self.task, self.method, self.layers = task, method, list(layers)
        self.similarities = np.asarray(similarities, "float64")
        self.means = np.array(
            [
                r[np.isfinite(r)].mean() if np.isfinite(r).any() else np.nan
                for r in self.similarities
            ]
        )
        end = self.means[-1]
        self.depends = None if np.isnan(end) else bool(end < _ALIKE)

    @property
    def title(self) -> str:
        """A headline."""
        return f"{TITLES[self.method]} of task {self.task} with randomized weights"

    def words(self) -> str:
        """Whether the method depends on the weights, and what does not follow."""
        count = self.similarities.shape[1]
        if self.depends is None:
            return (
                f"With randomized weights {TITLES[self.method]} of task {self.task} is the same "
                f"everywhere in all of {count} rows, so that nothing can be compared."
            )
        end = self.means[-1]
        said = (
            f"With all weights randomized, {TITLES[self.method]} of task {self.task} has a rank "
            f"correlation of {end:.2f} with that of the model, in the mean of {count} rows. "
        )
        if self.depends:
            said += "So the method depends on the weights here."
            return f"{said} That is necessary for an explanation, and not enough."
        return (
            f"{said}So it shows mostly what the input and the architecture are like, and not what "
            "the model has learned: use another method."
        )

    def rows(self) -> list[list[str]]:
        """For each stage what was randomized, and the similarity."""
        head = ["randomized down to", "mean rank correlation", "least", "greatest"]
        found = []
        for name, mean, values in zip(self.layers, self.means, self.similarities, strict=True):
            known = values[np.isfinite(values)]
            ends = [f"{known.min():.2f}", f"{known.max():.2f}"] if known.size else ["–", "–"]
            found.append([name, f"{mean:.2f}" if known.size else "–", *ends])
        return [head, *found]

    def figure(self) -> Any:
        """The similarity over the layers that were randomized, from the head down.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        figure = drawing.new_figure(2.6 + 0.45 * max(6, len(self.layers)), 3.6)
        panel = figure.subplots()
        places = np.arange(len(self.layers))
        for row in self.similarities.T:
            panel.plot(places, row, color="grey", linewidth=0.6, alpha=0.6)
        panel.plot(places, self.means, "o-", color=drawing.COLOURS[0], label="mean of the rows")
        panel.axhline(_ALIKE, color=drawing.COLOURS[1], linestyle="--", label="below: another map")
        panel.set_xticks(places, self.layers, rotation=40, ha="right", fontsize=7)
        panel.set_ylim(-1.05, 1.05)
        panel.set_xlabel("weights randomized from the head down to this layer")
        panel.set_ylabel("rank correlation with the map\nof the trained model")
        panel.set_title(self.title, fontsize=10)
        panel.legend(fontsize=8, frameon=False)
        panel.spines[["top", "right"]].set_visible(False)
        return figure


def randomization_test(
    model: keras.Model,
    task: str,
    x: Any,
    *,
    method: str = "grad_cam",
    cascading: bool = False,
    seed: int = 0,
    **options: Any,
) -> RandomizationTest:
    """Compare explanations with those of the same model with randomized weights.

    An explanation of what a model has learned must change when that is gone. The numbers of every
    weight are put in a random order, and the model has its own again when this returns or
    fails. Nothing else should use the model meanwhile. What is explained stays the same.

    Args:
        model: As for `explain`.
        task: The task.
        x: Rows, as the model takes them.
        method: As for `explain`. Defaults to `"grad_cam"`.
        cascading: Whether to go layer by layer, from the head to the input, and compare after each.
            Defaults to `False`: all at once.
        seed: Of the random order. Defaults to 0.
        **options: Further arguments of `explain`.

    Returns:
        A `RandomizationTest`, a `Finding`.

    Raises:
        ValueError: As of `explain`, or if the task depends on no weights.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, HardSharing, Regression, analysis
    from mtlzoo.backbones import ConvNet

    tasks = [BinaryClassification("cat"), Regression("age")]
    model = HardSharing(keras.Input((12, 12, 1)), tasks, backbone=ConvNet((12, 12, 1), (4,)))
    x = np.random.default_rng(0).uniform(size=(2, 12, 12, 1))
    print(analysis.randomization_test(model, "cat", x, method="integrated_gradients").words())
    ```

    References:
        Adebayo et al., *Sanity Checks for Saliency Maps*, NeurIPS 2018.

    *Differences from the paper*: the numbers of each weight change places instead of being
    initialized anew, so that their spread stays; similarity is the rank correlation of absolute
    values.
    """
    found = explain(model, task, x, method=method, **options)
    # The answers will be others; what is explained must not.
    options["target"] = found.targets
    if targets.is_yes_no(views.task_of(model, task)):
        options.pop("sign", None)  # which the targets have in them
    stages = _stages(model, task)
    generator = np.random.default_rng(seed)
    similarities = []
    with _restored([v for _, variables in stages for v in variables]):
        for i, (_, variables) in enumerate(stages):
            for variable in variables:
                values = variable.numpy()
                variable.assign(generator.permutation(values.ravel()).reshape(values.shape))
            if cascading or i == len(stages) - 1:
                other = explain(model, task, x, method=method, **options)
                similarities.append(similarity(found, other))
    names = [name for name, _ in stages]
    return RandomizationTest(
        task, method, names if cascading else ["all weights"], np.stack(similarities)
    )


@contextlib.contextmanager
def _restored(variables: Sequence[Any]) -> Iterator[None]:
    """Give variables their values again at the end."""
    before = [variable.numpy() for variable in variables]
    try:
        yield
    finally:
        for variable, values in zip(variables, before, strict=True):
            variable.assign(values)


def _stages(model: keras.Model, task: str) -> list[tuple[str, list[Any]]]:
    """The layers with numbers that the task depends on, and these, from the head to the input."""
    stages: list[tuple[str, list[Any]]] = []
    seen: set[int] = set()
    for place in reversed(points.survey(model, task)):
        variables = [
            variable
            for variable in getattr(place.operation, "variables", [])
            if id(variable) not in seen and "float" in variable.dtype and variable.shape
        ]
        seen |= set(map(id, variables))
        if variables:
            stages.append((place.name, variables))
    if not stages:
        raise ValueError(f"Task `{task}` should depend on weights. Received: a model without any")
    return stages
