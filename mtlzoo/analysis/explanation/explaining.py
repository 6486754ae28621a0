"""Explain what one task of a model answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo.analysis.explanation import drawn, maps, points, targets, views
from mtlzoo.analysis.explanation.explanation import TITLES, Explanation
from mtlzoo.analysis.explanation.integrated import integrated_gradients
from mtlzoo.analysis.explanation.precision import in_float32
from mtlzoo.analysis.explanation.task_view import empty
from mtlzoo.layers.arguments import check_count, check_number, check_seed

METHODS = tuple(sorted(TITLES))


def explain(
    model: keras.Model,
    task: str,
    x: Any,
    *,
    method: str = "integrated_gradients",
    target: int | Sequence[int] | None = None,
    sign: int | None = None,
    wrt: str | Sequence[str] | None = None,
    layer: str | None = None,
    baseline: Any = None,
    steps: int = 64,
    samples: int = 25,
    noise: float = 0.1,
    batch_size: int = 64,
    seed: int | None = 0,
    names: Mapping[str, Sequence] | None = None,
    classes: Sequence[str] | None = None,
) -> Explanation:
    r"""How much each part of the input has to do with what a task answers.

    For any task of any functional model with a dict of outputs, several inputs, one-unit heads,
    answers of pixels, and mixed precision (which is explained in float32) included.

    * `"integrated_gradients"`: of tables, ids such as words (at their embedding), sound, pictures.
      The attributions of a row add up to its score less that of a baseline.
    * `"saliency"`, `"smooth_grad"`: absolute gradients, the second their mean over noisy copies;
      of ids the gradient, or its mean, times their embedding.
    * `"grad_cam"`, `"grad_cam_pp"`, `"layer_cam"`, `"score_cam"`: where the last convolution sees
      what raises the answer.

    What is explained is the logit of a class or label, or a number; for tasks of pixels or steps
    its mean over them, for a detector its best cell.

    Args:
        model: A `MultiTaskModel`, or another functional Keras model with a dict of outputs.
        task: The task.
        x: Rows, as the model takes them.
        method: One of the above. Defaults to `"integrated_gradients"`.
        target: Index of the class, label or output that is explained, or one for each row; of a
            yes/no task 1 for yes and 0 for no. Defaults to `None`: the class or label that is
            answered, the class of most pixels, yes or no as answered, and of numbers the first.
        sign: 1 for what raises it, -1 for what lowers it. Defaults to `None`, 1.
        wrt: The input, or inputs, of interest; the others are held fixed in each row. Defaults to
            `None`: all that have a gradient; of maps the only one that is convolved.
        layer: Of maps, the layer that they are made of. Of other methods, a layer in place of the
            inputs, such as `"encoder/log_mel"` for a spectrogram. Defaults to `None`: of maps the
            last convolution that the task depends on, after its activation.
        baseline: Of integrated gradients, the row that stands for "nothing", or one for each row,
            as the model takes them. Defaults to `None`, zeros: black, silence, the mean of
            standardized columns, id 0.
        steps: Of integrated gradients, the places on the line. Defaults to 64.
        samples: Of `"smooth_grad"`, the noisy copies of each row. Defaults to 25.
        noise: Its standard deviation, as a share of the range of the row, or for inputs of one
            value in a row of the range of all rows. Defaults to 0.1.
        batch_size: Rows at once. Defaults to 64.
        seed: Of the noise. Defaults to 0; `None` for other noise every time.
        names: By input what its columns are called, or for each row its words. Defaults to none.
        classes: What classes, labels or outputs are called. Defaults to none.

    Returns:
        An `Explanation`, a `Finding`.

    Raises:
        ValueError: If there is no such task, method, input, layer or target, if `x` does not fit
            the model, if the model has no convolution for a map, or the task no gradient by
            the input or, for maps by gradients, by what the map is made of.
        ImportError: If tf-keras-vis is not installed, for all but integrated gradients.

    Example:
    ```python
    import numpy as np
    from mtlzoo import BinaryClassification, HardSharing, Regression, analysis
    from mtlzoo.backbones import TabularEncoder

    encoder = TabularEncoder({"user": 50}, ["age", "price"], embedding_dim=4)
    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(encoder.input, tasks, backbone=encoder, shared_units=(16,))
    x = {"user": np.array([3, 8]), "age": np.array([0.2, 1.0]), "price": np.array([0.5, -1.0])}
    found = analysis.explain(model, "click", x, target=1)
    found.attributions["age"].shape  # (2, 1)
    print(found.words())
    ```

    References:
        Sundararajan et al., *Axiomatic Attribution for Deep Networks*, ICML 2017.

        Simonyan et al., *Deep Inside Convolutional Networks*, 2013; Smilkov et al., *SmoothGrad*,
        2017.

        Selvaraju et al., *Grad-CAM*, ICCV 2017; Chattopadhay et al., *Grad-CAM++*, WACV 2018; Wang
        et al., *Score-CAM*, CVPRW 2020; Jiang et al., *LayerCAM*, TIP 2021.

    *Differences from the papers*: the integral is taken by Gauss and Legendre's rule instead of
    a sum of equal steps. Score-CAM explains numbers by their change against an empty input, and
    yes/no answers by their probability.
    """
    if method not in METHODS:
        raise ValueError(f"`method` should be one of {list(METHODS)}. Received: method={method!r}")
    check_count("steps", steps)
    check_count("samples", samples)
    check_count("batch_size", batch_size)
    check_number("noise", noise, "a number of at least 0", 0.0)
    check_seed(seed)
    if baseline is not None and method != "integrated_gradients":
        raise ValueError(
            f"`baseline` should be None but for 'integrated_gradients'. Received: method={method!r}"
        )
    is_map = method in maps.CAMS
    drawn.check_task(model, task)
    rows = views.prepared(model, x)
    kind = views.task_of(model, task)
    with in_float32(model):
        view = (points.view_with_map if is_map else points.view_of)(model, task, wrt, layer)
        held, raw, columns = _answers(view, rows, batch_size)
        _check_numbers(task, columns)
        index, signs = targets.choose(task, kind, raw, columns, target, sign)
        targets.check_classes(classes, columns.shape[1], kind)
        ends = None
        if is_map:
            found = [
                maps.class_activation(
                    view, method, held, rows, targets.kind_of(kind), index, signs, batch_size
                )
            ]
        elif method == "integrated_gradients":
            starts = view.read(_baseline(model, baseline, rows))
            found, ends = integrated_gradients(
                view, held, starts, rows, index, signs, steps, batch_size
            )
        else:
            number = samples if method == "smooth_grad" else 0
            found = maps.saliency(view, held, rows, index, signs, number, noise, seed, batch_size)
    signed = method == "integrated_gradients" or any(p.embeds for p in view.points)
    attributions: dict[str, Any] = {}
    shown = {}
    for point, values, at in zip(view.points, found, held, strict=True):
        if not is_map:
            values = _together(point, method, values, at)
        # Ids that several layers embed have a point for each.
        attributions[point.name] = attributions.get(point.name, 0) + values
        shown[point.name] = rows.get(point.name, at)
    _check_names(names, attributions, drawn.input_names(model))
    pairs = list(zip(index.tolist(), signs.tolist(), strict=True))
    return Explanation(
        task,
        method,
        attributions,
        shown,
        columns[np.arange(len(index)), index] * signs,
        targets.as_given(kind, index, signs),
        [targets.named(kind, i, s, classes) for i, s in pairs],
        targets.answers(kind, raw, columns, classes),
        baseline_scores=ends,
        signed=signed,
        names=names,
        notes=view.notes,
    )


def _answers(view, rows, batch_size):
    """What the points hold, the raw outputs and the columns."""
    count = len(next(iter(rows.values())))
    parts = []
    for part in views.slices(count, batch_size):
        batch = {name: values[part] for name, values in rows.items()}
        view.pin(batch)
        held = view.read(batch)
        parts.append((held, *view.answers(held)))
    held = [np.concatenate(of_point) for of_point in zip(*(p[0] for p in parts), strict=True)]
    return held, np.concatenate([p[1] for p in parts]), np.concatenate([p[2] for p in parts])


def _check_numbers(task, columns):
    wrong = np.flatnonzero(~np.isfinite(columns).all(1))
    if wrong.size:
        raise ValueError(
            f"`x` should be rows for which task `{task}` answers with finite numbers. Received: "
            f"NaN or infinite answers for {wrong.size} rows, the first of which is row {wrong[0]}"
        )


def _baseline(model, baseline, rows):
    if baseline is None:
        tensors = drawn.tensors_by_name(model).items()
        return {name: empty(tensor, rows[name]) for name, tensor in tensors}
    found = views.prepared(model, baseline)
    count = len(next(iter(rows.values())))
    lengths = {len(values) for values in found.values()}
    if not lengths <= {1, count}:
        raise ValueError(
            f"`baseline` should have one row, or as many as `x`, {count}. Received: {lengths} rows"
        )
    for name, values in found.items():
        if values.shape[1:] != rows[name].shape[1:]:
            raise ValueError(
                f"`baseline` should have rows as long as those of `x` for the input {name!r}, "
                f"{rows[name].shape[1:]}. Received: {values.shape[1:]}"
            )
    return found


def _together(point, method, values, at):
    """One number for all channels of a pixel, or the whole embedding of an id."""
    if point.embeds:
        return (values if method == "integrated_gradients" else values * at).sum(-1)
    values = values if method == "integrated_gradients" else np.abs(values)
    if values.ndim > 3:
        return values.sum(-1) if method == "integrated_gradients" else values.max(-1)
    return values


def _check_names(names, attributions, inputs):
    for name, given in (names or {}).items():
        if name not in attributions and name not in inputs:
            raise ValueError(
                f"`names` should be by input or layer, from {sorted({*inputs, *attributions})}. "
                f"Received: {name!r}"
            )
        values = attributions.get(name)
        if values is None or not len(given) or values.ndim != 2 or values.shape[1] == 1:
            continue
        by_row = not isinstance(given[0], str)
        what, count = (
            ("lists of words, one for each row", len(values))
            if by_row
            else ("names, one for each column", values.shape[1])
        )
        if len(given) != count:
            raise ValueError(
                f"`names[{name!r}]` should be {count} {what}. Received: {len(given)} of them"
            )
