"""Augmentation by Keras layers: of each input, and of images together with their labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtlzoo.data import moving
from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.data.elements import check_elements, check_tasks, mapped_with_numbers, spread
from mtlzoo.data.images import check_pixels, image_spec

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from mtlzoo.tasks import Task

DEPTHS = ("distance", "inverse", None)
# Layers of Keras that move pixels. `RandomElasticTransform` is not among them: where the number of
# rows is not known, as in a data set, Keras gives all rows the first one's image.
_AFFINE = (
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
)
_GEOMETRIC = (*_AFFINE, "RandomPerspective")
# Layers that would leave the labels behind.
_NOT_ALONE = (*_GEOMETRIC, "RandomElasticTransform", "CutMix", "MixUp")
_NOT_WITH_PLACES = ("AugMix", "RandAugment")


def augment(
    dataset: tf.data.Dataset,
    tasks: Sequence[Task],
    *,
    geometric: Sequence[keras.layers.Layer] = (),
    layers: Sequence[keras.layers.Layer] | Mapping[str, Sequence[keras.layers.Layer]] = (),
    image: str | None = None,
    only: Collection[str] | None = None,
    depth: str | None = "distance",
    normals_up: bool = False,
    min_visible: float = 0.1,
    seed: int = 0,
) -> tf.data.Dataset:
    """Augment training data: move images and their labels together, change inputs alone.

    Labels that belong to places move with the image: classes of pixels, depths and normals take the
    nearest pixel, boxes become the boxes around their moved corners. Where a moved image shows
    what was outside, and the layer fills it with a constant, pixels are missing. Besides,

    * depths are divided by the scale of a zoom, since what looks larger looks nearer;
    * normals turn, and are mirrored, in the plane of the image.

    Labels of rows stay as they are: whether a class survives a flip, or a count a crop, is for you
    to know.

    Args:
        dataset: Batches `(x, y)` or `(x, y, sample_weight)`.
        tasks: The tasks.
        geometric: Keras layers that move pixels, of the image and all its labels alike:
            `RandomFlip`, `RandomRotation`, `RandomZoom`, `RandomTranslation`, `RandomShear`,
            `RandomCrop`; and, without boxes and normals, `RandomPerspective`. The middle of the
            image should stay inside (a shift by less than half of it), since boxes and normals
            follow what happens there. Defaults to none.
        layers: Layers for one input alone, after these: a dict by input, or a list if there is one
            input, such as `RandomBrightness` for an image and `GaussianNoise` for numbers. Their
            outputs have the shape of their inputs; integers are rounded. Defaults to none.
        image: Name of the input that `geometric` moves. Defaults to `None`, for the only input.
        only: Names of tasks: rows without a label of any of these stay as they are, so that a
            task with few rows gets more that differ. Defaults to `None`, for all rows.
        depth: What depths are: `"distance"`, `"inverse"`, or `None` to leave their scale as it is.
            Defaults to `"distance"`.
        normals_up: Whether normals have y up instead of down. Defaults to `False`.
        min_visible: Least part of a moved box that must be inside the image; others are no boxes.
            Defaults to 0.1.
        seed: Integer of at least 0. Image layers of Keras draw from it, differently in each batch
            and epoch; other layers, and those made of several, draw from their own seeds. Defaults
            to 0.

    Returns:
        Batches `(x, y, sample_weight)`.

    Raises:
        ValueError: If an input or a task is unknown, a layer cannot do what the tasks need, or
            labels of pixels do not have the size of the image.

    Example:
    ```python
    import keras
    import numpy as np
    import tensorflow as tf
    from mtlzoo import data
    from mtlzoo.tasks import SemanticSegmentation

    images = np.random.uniform(size=(4, 8, 8, 3)).astype("float32")
    parts = {"parts": np.random.randint(0, 3, (4, 8, 8))}
    batches = tf.data.Dataset.from_tensor_slices((images, parts)).batch(2)
    train = data.augment(
        batches,
        [SemanticSegmentation("parts", 3)],
        geometric=[keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)],
        layers=[keras.layers.RandomBrightness(0.2, value_range=(0, 1))],
    )
    ```
    """
    labels, _ = check_elements("dataset", dataset)
    by_name = check_tasks(tasks, labels)
    inputs = dataset.element_spec[0]
    _check(labels, only, depth, min_visible, seed)
    of_inputs = _by_input(layers, inputs)
    _check_alone(of_inputs, by_name)
    if geometric or image is not None:
        _check_layers(geometric)
        image, spec = image_spec(inputs, image, "`geometric` moves")
        _check_labels(geometric, labels, by_name, spec, depth)
    options = {"depth": depth, "normals_up": normals_up, "min_visible": min_visible}
    alone = not isinstance(inputs, dict)

    def change(x: Any, y: Any, w: Any, number: Any) -> tuple:
        seeds = _seeds(seed, number)
        chosen = None if only is None else _has_label(only, by_name, y, w)
        given = {None: x} if alone else dict(x)
        found = dict(given)
        if geometric:
            found[image], motion = moving.move(given[image], geometric, seeds)
            y, w = _moved_labels(by_name, y, w, motion, chosen, options)
        for name, applied in of_inputs.items():
            for layer in applied:
                found[name] = _alone(layer, found[name], seeds, name)
        for name, values in found.items():
            if values is not given[name]:
                found[name] = _where(chosen, values, given[name], name)
        return (found[None] if alone else found), y, w

    return mapped_with_numbers(dataset, change, seed)


def _alone(layer: Any, values: Any, seeds: Any, name: str | None) -> Any:
    """Apply a layer to one input, integers as floats."""
    import tensorflow as tf

    values = tf.cast(values, "float32") if values.dtype.is_integer else values
    found = moving.run(layer, values, seeds)
    if not found.shape.is_compatible_with(values.shape):
        raise ValueError(
            "`layers` should leave the shape of an input as it is. Received: "
            f"{type(layer).__name__} for `{name or 'x'}`, {tuple(values.shape)} becomes "
            f"{tuple(found.shape)}"
        )
    return found


def _seeds(seed: int, number: Any) -> keras.random.SeedGenerator:
    """Seeds of one batch: the first number is the batch's, the second counts the draws."""
    import keras
    import tensorflow as tf

    class Seeds(keras.random.SeedGenerator):
        def __init__(self) -> None:
            self._count = 0

        def next(self, ordered: bool = True) -> Any:
            self._count += 1
            second = (seed * 1000 + self._count) % 2**31
            return tf.stack([number, tf.constant(second, "int64")])

    return Seeds()


def _is_one_of(layer: Any, names: Sequence[str]) -> bool:
    import keras

    return isinstance(layer, tuple(getattr(keras.layers, name) for name in names))


def _moved_labels(
    tasks: Mapping[str, Task], y: Any, w: Any, motion: Any, chosen: Any, options: Mapping
) -> tuple[dict, dict]:
    """Labels and sample weights of moved images."""
    labels, weights = dict(y), dict(w)
    for name, given in y.items():
        found = _moved(tasks[name], given, motion, options)
        if found is not given:
            labels[name] = _where(chosen, found, given, name)
        if len(w[name].shape) == 3:
            of_pixels = moving.pixels(w[name], motion, 0)
            weights[name] = _where(chosen, of_pixels, w[name], name)
    return labels, weights


def _moved(task: Task, labels: Any, motion: Any, options: Mapping) -> Any:
    """The labels of a task for moved images."""
    import tensorflow as tf

    from mtlzoo.tasks import DepthEstimation, ObjectDetection, SurfaceNormalEstimation

    if isinstance(task, ObjectDetection):
        return moving.boxes(labels, motion, options["min_visible"])
    if task.loss_rank != 3:
        return labels
    found = moving.pixels(labels, motion, task.missing)
    if isinstance(task, DepthEstimation) and options["depth"] is not None:
        factor = moving.scale(motion)
        factor = 1 / factor if options["depth"] == "distance" else factor
        scaled = _in_type(tf.cast(found, "float32") * spread(factor, found), found.dtype)
        missing = tf.cast(task.missing, found.dtype)
        found = tf.where(found == missing, missing, scaled)
    if isinstance(task, SurfaceNormalEstimation):
        up = tf.constant([1.0, -1.0 if options["normals_up"] else 1.0, 1.0])
        turned = moving.turned(tf.cast(found, "float32") * up, motion) * up
        there = tf.reshape(task.read_labels(found).present, (*tf.unstack(tf.shape(found)[:3]), 1))
        found = tf.where(there, tf.cast(turned, found.dtype), found)
    return found


def _where(chosen: Any, found: Any, given: Any, name: str | None) -> Any:
    """The changed values in the chosen rows, the given ones in others; in the type given."""
    import tensorflow as tf

    found = _in_type(found, given.dtype)
    if chosen is None:
        return found
    if not found.shape[1:].is_compatible_with(given.shape[1:]):
        raise ValueError(
            "`only` should not be given with layers that change the size of an image. Received: "
            f"`{name or 'x'}` of shape {tuple(given.shape)} becomes {tuple(found.shape)}"
        )
    return tf.where(spread(chosen, given), found, given)


def _in_type(values: Any, dtype: Any) -> Any:
    """Values in a type, rounded and cut where it is one of integers."""
    import tensorflow as tf

    if dtype.is_integer and values.dtype.is_floating:
        return tf.saturate_cast(tf.round(values), dtype)
    return tf.cast(values, dtype)


def _has_label(only: Collection[str], tasks: Mapping[str, Task], y: Any, w: Any) -> Any:
    """Which rows have a label that counts of one of the tasks, `(B,)`."""
    import tensorflow as tf

    found = []
    for name in sorted(only):
        there = tasks[name].read_labels(y[name]).present
        there = tf.reduce_any(tf.reshape(there, (tf.shape(there)[0], -1)), axis=1)
        weight = tf.reshape(w[name], (tf.shape(there)[0], -1))
        found.append(there & tf.reduce_any(weight > 0, axis=1))
    return tf.reduce_any(tf.stack(found), axis=0)


# --- Checks --------------------------------------------------------------------------------------


def _check(labels: Mapping, only: Any, depth: Any, min_visible: Any, seed: Any) -> None:
    check_count("seed", seed, least=0)
    if only is not None and (isinstance(only, str) or not only or not set(only) <= set(labels)):
        raise ValueError(
            f"`only` should be names among the tasks {sorted(labels)}. Received: only={only!r}"
        )
    if depth not in DEPTHS:
        raise ValueError(f"`depth` should be one of {list(DEPTHS)}. Received: depth={depth!r}")
    if not is_number(min_visible) or not 0 <= min_visible <= 1:
        raise ValueError(
            f"`min_visible` should be a number from 0 to 1. Received: min_visible={min_visible!r}"
        )


def _by_input(layers: Any, inputs: Any) -> dict[str | None, list]:
    """The layers of each input; that of a single tensor has the name `None`."""
    names = sorted(inputs) if isinstance(inputs, dict) else [None]
    if not isinstance(layers, Mapping) and len(names) == 1:
        layers = {names[0]: layers}
    if not isinstance(layers, Mapping):
        if layers:
            raise ValueError(
                f"`layers` should be a dict by input, {sorted(inputs)}. Received: {layers!r}"
            )
        return {}
    if names == [None] and set(layers) != {None}:
        raise ValueError(
            f"`layers` should be a list where `x` is one tensor. Received: keys {sorted(layers)}"
        )
    if unknown := sorted(set(layers) - set(names)):
        raise ValueError(f"`layers` should have keys among the inputs {names}. Received: {unknown}")
    for name, applied in layers.items():
        if not isinstance(applied, list | tuple):
            raise ValueError(
                f"`layers` should have lists of layers. Received: {applied!r} for `{name or 'x'}`"
            )
    return {name: list(applied) for name, applied in layers.items()}


def _check_alone(of_inputs: Mapping[str | None, list], tasks: Mapping[str, Task]) -> None:
    """Check that layers of one input leave no labels behind."""
    from mtlzoo.tasks import ObjectDetection

    places = [n for n, t in tasks.items() if t.loss_rank == 3 or isinstance(t, ObjectDetection)]
    for layer in (layer for applied in of_inputs.values() for layer in applied):
        if _is_one_of(layer, _NOT_ALONE):
            raise ValueError(
                "`layers` should not move images or mix rows: what moves pixels belongs to "
                "`geometric`, and rows are mixed by `mix_up` and `cut_mix`. "
                f"Received: {type(layer).__name__}"
            )
        if places and _is_one_of(layer, _NOT_WITH_PLACES):
            raise ValueError(
                f"`layers` should not move images that the tasks {places} have places of. "
                f"Received: {type(layer).__name__}, which moves some"
            )


def _check_layers(geometric: Sequence[Any]) -> None:
    """Check that layers move pixels."""
    if not isinstance(geometric, list | tuple):
        raise ValueError(f"`geometric` should be a list of layers. Received: {geometric!r}")
    for layer in geometric:
        if getattr(layer, "compute_dtype", "float32") != "float32":
            raise ValueError(
                "`geometric` should be layers that compute in float32, since places of pixels do "
                f"not fit into less. Received: {type(layer).__name__} in {layer.compute_dtype}; "
                "make it with dtype='float32'"
            )
        if not _is_one_of(layer, _GEOMETRIC):
            raise ValueError(
                f"`geometric` should be layers that move pixels: {list(_GEOMETRIC)}. Received: "
                f"{type(layer).__name__}"
            )


def _check_labels(
    geometric: Sequence[Any], labels: Mapping, tasks: Mapping[str, Task], spec: Any, depth: Any
) -> None:
    """Check that labels can be moved as the image is."""
    from mtlzoo.tasks import DepthEstimation, ObjectDetection, SurfaceNormalEstimation

    for name, label in labels.items():
        task = tasks[name]
        check_pixels(task, label, tuple(spec.shape[1:3]))
        fills = any(getattr(layer, "fill_mode", None) == "constant" for layer in geometric)
        if fills and task.loss_rank == 3 and not _holds(label.dtype, task.missing):
            raise ValueError(
                f"Labels of task `{name}` should have a type that holds {task.missing}, its "
                f"missing value, since pixels may come from outside. Received: {label.dtype.name}"
            )
        placed = isinstance(task, ObjectDetection | SurfaceNormalEstimation)
        scaled = isinstance(task, DepthEstimation) and depth is not None
        for layer in geometric:
            if placed and not _is_one_of(layer, _AFFINE):
                raise ValueError(
                    f"`geometric` should not bend images where task `{name}` has boxes or "
                    f"normals. Received: {type(layer).__name__}"
                )
            if (placed or scaled) and getattr(layer, "interpolation", None) == "nearest":
                raise ValueError(
                    f"`geometric` should interpolate where task `{name}` has depths, boxes or "
                    f"normals. Received: {type(layer).__name__} with interpolation='nearest'"
                )


def _holds(dtype: Any, value: float) -> bool:
    """Whether a type has a value."""
    if not dtype.is_integer:
        return True
    return value == value and dtype.min <= value <= dtype.max
