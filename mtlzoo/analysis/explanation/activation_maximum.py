"""Inputs that raise a task's answer as far as they can."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.analysis import drawing
from mtlzoo.analysis.explanation import drawn, maps, pictures, targets, views
from mtlzoo.analysis.explanation.points import view_of
from mtlzoo.analysis.explanation.precision import in_float32
from mtlzoo.analysis.explanation.task_view import empty, inputs_of
from mtlzoo.layers.arguments import check_count, check_number, check_seed

# RMSprop's step of 1 is that of tf-keras-vis for values from 0 to 255.
_STEP_OF_RANGE = 1 / 255


class ActivationMaximum:
    """Inputs that were made to raise a class, label or number of a task.

    `activation_maximization` makes it.

    Args:
        task: The task.
        name: The input.
        inputs: `(B, ...)`, one for each target.
        asked: What each was to raise, in words.
        scores: `(B,)`, the logit or number of `inputs`, the best that was reached.
        start_scores: `(B,)`, that of the noise it began with.

    Attributes:
        title: A headline.
    """

    def __init__(
        self,
        task: str,
        name: str,
        inputs: np.ndarray,
        asked: Sequence[str],
        scores: np.ndarray,
        start_scores: np.ndarray,
    ) -> None:
        self.task, self.name, self.inputs = task, name, inputs
        self.asked, self.scores, self.start_scores = list(asked), scores, start_scores

    @property
    def title(self) -> str:
        """A headline."""
        return f"What raises the answers of task {self.task} most"

    def words(self) -> str:
        """How far each answer was raised, and what does not follow."""
        triples = zip(self.asked, self.start_scores, self.scores, strict=True)
        reached = ", ".join(f"{what} from {a:.3g} to {b:.3g}" for what, a, b in triples)
        said = (
            f"Noise in `{self.name}` was changed to raise answers of task {self.task}: {reached}. "
        )
        pairs = zip(self.start_scores, self.scores, strict=True)
        stuck = [what for what, (a, b) in zip(self.asked, pairs, strict=True) if not b > a]
        if stuck:
            said += (
                f"For {', '.join(stuck)} no step came above the noise, which is what is shown: "
                "try more steps, or less smoothness. "
            )
        return said + "Such inputs need not look like any of the data."

    def rows(self) -> list[list[str]]:
        """What was raised, from where and how far."""
        triples = zip(self.asked, self.start_scores, self.scores, strict=True)
        return [
            ["raised", "score of the noise", "score reached"],
            *([what, f"{a:.3g}", f"{b:.3g}"] for what, a, b in triples),
        ]

    def figure(self) -> Any:
        """The inputs: pictures, or lines over steps or columns.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        count = len(self.inputs)
        columns = min(count, 5)
        lines = -(-count // columns)
        figure = drawing.new_figure(max(4.0, 2.1 * columns), 0.7 + 2.3 * lines)
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, values, what, score in zip(
            panels, self.inputs, self.asked, self.scores, strict=False
        ):
            if values.ndim > 2:
                pictures.show_picture(panel, values)
            elif values.ndim == 2:
                panel.imshow(values.T, cmap=drawing.SEQUENTIAL, origin="lower", aspect="auto")
                panel.set_xlabel("step", fontsize=8)
            else:
                panel.plot(values, color=drawing.COLOURS[0], linewidth=0.8)
                panel.set_xlabel("step or column", fontsize=8)
            panel.set_title(f"{what}: {score:.3g}", fontsize=8)
        for panel in panels[count:]:
            panel.set_visible(False)
        figure.suptitle(self.title, fontsize=11)
        return figure


def activation_maximization(
    model: keras.Model,
    task: str,
    *,
    target: int | Sequence[int] = 0,
    sign: int | None = None,
    wrt: str | None = None,
    pinned: Mapping[str, Any] | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
    steps: int = 200,
    smoothness: float = 0.2,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> ActivationMaximum:
    """Change noise until it raises what a task answers as far as it can.

    What is returned is the best input of all steps. Where no step raised the answer, that is the
    noise, and `words()` says so.

    Args:
        model: As for `explain`.
        task: The task.
        target: Index of the class, label or output to raise, or several; of yes/no 1 for yes, 0 for
            no. Defaults to 0.
        sign: 1 to raise it, -1 to lower it. Defaults to `None`, 1.
        wrt: The input to change, one of numbers. Defaults to `None`, the only one.
        pinned: By name what the other inputs hold that the task depends on, one row. Defaults to
            none.
        value_range: Least and greatest value of the input. Defaults to `(0.0, 1.0)`.
        steps: Number of changes. Defaults to 200.
        smoothness: How strongly the total variation of a picture is kept small, as a share of how
            strongly the answer is raised, by their gradients at the noise. Defaults to 0.2.
        seed: Of the noise and of the shifts and turns by which pictures are kept smooth.
            Defaults to 0.
        classes: What classes, labels or outputs are called. Defaults to none.

    Returns:
        An `ActivationMaximum`, a `Finding`.

    Raises:
        ValueError: If there is no such task, input or target, the input has no gradient or is of
            any size, or another one is not pinned.
        ImportError: If tf-keras-vis is not installed.

    Example:
    ```python
    import keras
    from mtlzoo import Classification, HardSharing, Regression, analysis
    from mtlzoo.backbones import ConvNet

    tasks = [Classification("animal", 3), Regression("age")]
    model = HardSharing(keras.Input((12, 12, 1)), tasks, backbone=ConvNet((12, 12, 1), (4,)))
    found = analysis.activation_maximization(model, "animal", target=[0, 2], steps=3)
    found.inputs.shape  # (2, 12, 12, 1)
    ```

    References:
        Erhan et al., *Visualizing Higher-Layer Features of a Deep Network*, 2009; Simonyan et al.,
        *Deep Inside Convolutional Networks*, 2013.
    """
    drawn.check_task(model, task)
    check_count("steps", steps)
    check_number("smoothness", smoothness, "a number of at least 0", 0.0)
    check_seed(seed)
    low, high = _check_range(value_range)
    names = drawn.input_names(model)
    if wrt is None and len(names) > 1:
        raise ValueError(
            f"`wrt` should name one of the inputs {names}, of several. Received: wrt=None"
        )
    name = names[0] if wrt is None else wrt
    chosen = [target] if isinstance(target, int | np.integer) else list(target)
    if not chosen:
        raise ValueError("`target` should have at least one index. Received: target=[]")
    tensors = drawn.tensors_by_name(model)
    with in_float32(model):
        view = view_of(model, task, name)
        if view.points[0].place is not None:
            raise ValueError(
                f"`wrt` should name an input of numbers, which can be changed little by little. "
                f"Received: {name!r}, which holds {tensors[name].dtype}"
            )
        shape = tuple(tensors[name].shape[1:])
        if None in shape:
            raise ValueError(
                f"`wrt` should name an input of one size. Received: {name!r} of the shape "
                f"{(None, *shape)}"
            )
        given = {n: rows for n, rows in (pinned or {}).items() if n != name}
        others = views.prepared_some(model, given)
        missing = [n for n in inputs_of(model, task) if n != name and n not in others]
        if missing:
            raise ValueError(
                f"`pinned` should have an entry for the inputs {missing}, which task `{task}` "
                f"depends on too. Received: pinned={sorted(given)}"
            )
        view.check_gradient()
        held = {n: empty(t) for n, t in tensors.items()} | others
        generator = np.random.default_rng(seed)
        noise = generator.uniform(low, high, (len(chosen), *shape)).astype("float32")
        view.pin(held)
        raw, columns = view.answers([noise])
        kind = views.task_of(model, task)
        index, signs = targets.choose(task, kind, raw, columns, chosen, sign)
        targets.check_classes(classes, columns.shape[1], kind)
        best = _Best(view, noise, index, signs)
        start_scores = best.scores
        _climb(view, noise, index, signs, (low, high), steps, smoothness, seed, best)
    pairs = zip(index.tolist(), signs.tolist(), strict=True)
    return ActivationMaximum(
        task,
        name,
        best.inputs,
        [targets.named(kind, i, s, classes) for i, s in pairs],
        best.scores,
        start_scores,
    )


class _Best:
    """The best inputs so far; a callback of tf-keras-vis.

    Scores are those of the inputs themselves, which that of a step are not: a step begins with
    shifts and turns, and its values may leave the range.
    """

    def __init__(self, view, noise, index, signs):
        self.view, self.index, self.signs = view, index, signs
        self.inputs, self.scores = noise, self._scores(noise)

    def _scores(self, inputs):
        return self.view.answers([inputs])[1][np.arange(len(self.index)), self.index] * self.signs

    def on_begin(self, **kwargs):
        """Nothing."""

    def __call__(self, step, values, *args, **kwargs):
        inputs = np.asarray(values[0])
        scores = self._scores(inputs)
        better = scores > self.scores
        wide = better.reshape((-1,) + (1,) * (inputs.ndim - 1))
        self.inputs = np.where(wide, inputs, self.inputs)
        self.scores = np.where(better, scores, self.scores)

    def on_end(self):
        """Nothing."""


def _climb(view, noise, index, signs, value_range, steps, smoothness, seed, best):
    made = maps.tf_keras_vis("activation_maximization", "ActivationMaximization")(view.scores)
    low, high = value_range
    # tf-keras-vis itself brings only what it returns into the range, not what it goes on with.
    into_range = functools.partial(tf.clip_by_value, clip_value_min=low, clip_value_max=high)
    options: dict[str, Any] = {"input_modifiers": [into_range], "regularizers": None}
    if noise.ndim == 4:  # what keeps pictures smooth knows of no others
        modifiers = "activation_maximization.input_modifiers"
        regularizers = "activation_maximization.regularizers"
        turn = maps.tf_keras_vis(modifiers, "Rotate2D")(degree=1)
        turn.random_generator = np.random.default_rng(seed)  # it has one of its own
        shift = maps.tf_keras_vis(modifiers, "Jitter")(jitter=max(1, noise.shape[1] // 16))
        options["input_modifiers"] = [shift, turn, into_range]
        variation = maps.tf_keras_vis(regularizers, "TotalVariation2D")
        (by_score,) = view.gradients([noise], index, signs)
        weight = smoothness * np.abs(by_score).mean() / _variation_gradient(variation, noise)
        options["regularizers"] = [variation(weight=weight)]
    with maps.numpy_seeded(seed):
        made(
            maps.score_of(index, signs),
            seed_input=noise,
            input_range=value_range,
            steps=steps,
            optimizer=keras.optimizers.RMSprop(_STEP_OF_RANGE * (high - low), rho=0.999),
            callbacks=[best],
            **options,
        )


def _variation_gradient(variation, noise):
    """The mean absolute gradient of the total variation by noise."""
    noise = tf.constant(noise)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(noise)
        total = variation(weight=1.0)(noise)
    return np.abs(tape.gradient(total, noise).numpy()).mean() or 1.0


def _check_range(value_range):
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not -np.inf < low < high < np.inf:
        raise ValueError(
            "`value_range` should be the least and the greatest value. "
            f"Received: value_range={value_range!r}"
        )
    return low, high
