"""Class activation maps, saliency and preferred inputs by tf-keras-vis."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from mtlzoo.analysis.explanation import views
from mtlzoo.analysis.explanation.views import PENULTIMATE, View

CAMS = ("grad_cam", "grad_cam_pp", "layer_cam", "score_cam")


def tf_keras_vis(module: str, name: str) -> Any:
    """A class of tf-keras-vis.

    Raises:
        ImportError: if it is not installed.
    """
    import importlib
    import warnings

    try:
        with warnings.catch_warnings():
            # It imports a module of SciPy that SciPy 2 removes.
            warnings.simplefilter("ignore", DeprecationWarning)
            return getattr(importlib.import_module(f"tf_keras_vis.{module}"), name)
    except ImportError as error:
        raise ImportError(
            "Maps, saliency and preferred inputs should have tf-keras-vis. Install it with "
            "`pip install 'mtlzoo[vis]'`"
        ) from error


@contextlib.contextmanager
def numpy_seeded(seed: int | None) -> Iterator[None]:
    """Draw NumPy's global random numbers, which tf-keras-vis uses, from a seed; then as before."""
    before = np.random.get_state()
    try:
        if seed is not None:
            np.random.seed(seed)
        yield
    finally:
        np.random.set_state(before)


def class_activation(
    view: View,
    method: str,
    points: list[np.ndarray],
    x: Mapping[str, np.ndarray],
    kind: str,
    index: np.ndarray,
    sign: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    """A map for each row, of the input's size where it has as many axes, never negative.

    Args:
        view: with a tap.
        method: one of `CAMS`.
        points: what the one point holds.
        x: the rows.
        kind: of the task, see `targets.kind_of`.
        index: the target of each row.
        sign: its direction.
        batch_size: rows at once.

    Raises:
        ValueError: if the map of Score-CAM cannot be laid over the input, or others have no
            gradient.
    """
    (image,) = points
    tap = view.scores.get_layer(PENULTIMATE).output
    options: dict[str, Any] = {
        "penultimate_layer": PENULTIMATE,
        "seek_penultimate_conv_layer": False,
        "normalize_cam": False,
        # The map of a waveform's spectrogram, for one, cannot be laid over the waveform.
        "expand_cam": len(tap.shape) == image.ndim and image.ndim > 2,
    }
    found = []
    if method == "score_cam":
        if not options["expand_cam"]:
            raise ValueError(
                "`method` should not be 'score_cam' where the map has other axes than the input "
                f"{view.points[0].name!r}, which it would be laid over. Received: maps of the "
                f"shape {tuple(tap.shape)}, an input of {image.shape}"
            )
        made = tf_keras_vis("scorecam", "Scorecam")
        # So that memory holds not many more masked pictures than are predicted at once. Those of
        # several rows do not stand in the order of the pinned ones.
        at_once = 1 if view.is_pinned else max(1, 4 * batch_size // tap.shape[-1])
        for rows in views.slices(len(image), at_once):
            view.pin(x, rows)
            masked = _Masked(view, image[rows], kind, index[rows], sign[rows])
            found.append(made(masked)(masked.score, image[rows], batch_size=batch_size, **options))
        return np.concatenate(found)
    where = {
        "grad_cam": ("gradcam", "Gradcam"),
        "grad_cam_pp": ("gradcam_plus_plus", "GradcamPlusPlus"),
        "layer_cam": ("layercam", "Layercam"),
    }
    view.check_map_gradient()
    made = tf_keras_vis(*where[method])(view.scores)
    for rows in views.slices(len(image), batch_size):
        view.pin(x, rows)
        score = score_of(index[rows], sign[rows], centred=method == "grad_cam_pp")
        found.append(made(score, image[rows], **options))
    return np.maximum(np.concatenate(found), 0)


def saliency(
    view: View,
    points: list[np.ndarray],
    x: Mapping[str, np.ndarray],
    index: np.ndarray,
    sign: np.ndarray,
    samples: int,
    noise: float,
    seed: int | None,
    batch_size: int,
) -> list[np.ndarray]:
    """Gradients by each point: their absolute values, and of embeddings of ids signed ones.

    Args:
        view: the view.
        points: what its points hold.
        x: the rows.
        index: the target of each row.
        sign: its direction.
        samples: noisy copies of each row; 0 for the row itself.
        noise: standard deviation of the noise, as a share of the row's range, or of inputs of one
            value in a row of the range of all rows.
        seed: of the noise.
        batch_size: rows at once.
    """
    view.check_gradient()
    made = tf_keras_vis("saliency", "Saliency")(view.scores)
    generator = np.random.default_rng(seed)
    deviations = [noise * _ranges(p) for p in points]
    totals = [np.zeros(p.shape) for p in points]
    for rows in views.slices(len(index), batch_size):
        view.pin(x, rows)
        score = score_of(index[rows], sign[rows])
        # The noise is not left to tf-keras-vis: it gives none to inputs of one value in a row,
        # takes the absolute value of all points' gradients or of none, and nests its samples.
        for _ in range(max(samples, 1)):
            given = [p[rows] for p in points]
            if samples:
                pairs = zip(given, deviations, strict=True)
                given = [_noisy(p, deviation[rows], generator) for p, deviation in pairs]
            gradients = made(
                score,
                given,
                keepdims=True,
                normalize_map=False,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            for point, total, gradient in zip(view.points, totals, gradients, strict=True):
                gradient = np.asarray(gradient)
                total[rows] += gradient if point.embeds else np.abs(gradient)
    return [total / max(samples, 1) for total in totals]


def _ranges(values: np.ndarray) -> np.ndarray:
    """The range of each row, or where a row is one value that of all rows."""
    axes = tuple(range(1, values.ndim)) if values[0].size > 1 else None
    found = values.max(axes, keepdims=True) - values.min(axes, keepdims=True)
    return np.broadcast_to(found, (len(values), *found.shape[1:]))


def _noisy(values: np.ndarray, deviation: np.ndarray, generator: Any) -> np.ndarray:
    return (values + deviation * generator.normal(size=values.shape)).astype(values.dtype)


def score_of(index: Any, sign: Any, centred: bool = False) -> Callable[[Any], Any]:
    """The function from columns to each row's explained number that tf-keras-vis asks for.

    Args:
        index: the target of each row.
        sign: its direction.
        centred: whether the number is to be 0, with the gradient that it has. Defaults to `False`.
    """
    index, sign = tf.constant(index, "int32"), tf.constant(sign, "float32")

    def score(columns):
        chosen = tf.gather(columns, index, batch_dims=1) * tf.cast(sign, columns.dtype)
        # Grad-CAM++ takes the exponential of it, which is the same factor for the whole map.
        return chosen - tf.stop_gradient(chosen) if centred else chosen

    return score


class _Masked:
    """What Score-CAM asks of a model, for some rows.

    It takes the softmax of what is predicted, which of a single output is always 1. So it gets two
    columns, of which the second is the explained one. A number is explained by how much it
    changes against an empty input, as a share of the greatest change, so that no softmax is full.
    """

    def __init__(self, view, image, kind, index, sign):
        self.view, self.kind, self.index, self.sign = view, kind, index, sign
        self.inputs, self.outputs = view.scores.inputs, view.scores.outputs
        self.layers = view.scores.layers
        self.start = view.answers([np.zeros_like(image)])[1][np.arange(len(index)), index]

    def predict(self, given, batch_size):
        (images,) = given
        parts = [
            self.view.answers([images[rows]])[1] for rows in views.slices(len(images), batch_size)
        ]
        columns = np.concatenate(parts)
        if self.kind == "class":
            return columns
        # The rows change fastest, the channels that they are masked by slowest.
        columns = columns.reshape(-1, len(self.index), columns.shape[-1])
        chosen = columns[:, np.arange(len(self.index)), self.index]
        if self.kind == "number":
            chosen = chosen - self.start
            most = np.abs(chosen).max(0)
            chosen = chosen / np.where(most > 0, most, 1)
        return np.stack([np.zeros_like(chosen), chosen], -1).reshape(-1, 2)

    def score(self, probabilities):
        rows = np.arange(len(self.index))
        probabilities = np.asarray(probabilities)
        if self.kind == "number":
            odds = np.log(probabilities[:, 1]) - np.log(probabilities[:, 0])
            return odds * self.sign
        column = self.index if self.kind == "class" else 1
        share = probabilities[rows, column]
        return np.where(self.sign > 0, share, 1 - share)
