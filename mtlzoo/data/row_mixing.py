"""MixUp and CutMix: two rows in one, with the labels of every task mixed as it can be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.data.elements import check_elements, check_tasks, mapped_with_numbers, spread
from mtlzoo.data.images import check_pixels, image_spec

if TYPE_CHECKING:
    import tensorflow as tf

    from mtlzoo.tasks import Task


class _Pairs(NamedTuple):
    """Which rows are mixed with which.

    Attributes:
        partner: `(B,)`, for each row the number of the other one.
        share: `(B,)`, how much of the first row is in the mixture, from 0 to 1.
        drawn: bool `(B,)`: whether the first row gives the labels that cannot be mixed; true with
            the probability `share`.
        seed: of further draws.
    """

    partner: Any
    share: Any
    drawn: Any
    seed: Any


def mix_up(
    dataset: tf.data.Dataset,
    tasks: Sequence[Task],
    *,
    alpha: float = 0.2,
    inputs: Collection[str] | None = None,
    seed: int = 0,
) -> tf.data.Dataset:
    r"""Mix each row of a batch with another one of it: the inputs, and the labels of all tasks.

    With $\lambda \sim \mathrm{Beta}(\alpha, \alpha)$ drawn for each row and its partner $j$,

    $$\tilde x = \lambda x_i + (1 - \lambda) x_j, \qquad
    \tilde y = \lambda y_i + (1 - \lambda) y_j.$$

    * Classes become distributions over the classes, yes and no numbers between 0 and 1, and real
      values their mean.
    * Labels that have no mean (classes of pixels and steps, boxes, spans, depths, normals, those of
      a generic task) are those of row $i$ with the probability $\lambda$, else those of row $j$:
      the expected loss is that of both.
    * Where one of two labels is missing, the other one stays with the probability of its share,
      else there is none.
    * Sample weights are mixed too, and labels in proportion to share times weight.

    Args:
        dataset: Batches `(x, y)` or `(x, y, sample_weight)` of float inputs. Use it on training
            data only.
        tasks: The tasks.
        alpha: Parameter of the distribution, above 0: near 0 rows stay almost as they are, and
            with 1 every share is equally likely. Defaults to 0.2.
        inputs: Names of the inputs that are mixed; others stay those of row $i$. Defaults to
            `None`, for all.
        seed: Integer of at least 0. Defaults to 0.

    Returns:
        Batches `(x, y, sample_weight)`.

    Raises:
        ValueError: If a task or input is unknown, an input to mix is not float, or an argument is
            out of its range.

    Example:
    ```python
    from mtlzoo import data

    census = data.load("census_income")
    train = data.mix_up(census.train, census.tasks)
    ```

    References:
        Zhang et al., *mixup: Beyond Empirical Risk Minimization*, ICLR 2018.

    *Differences from the paper*: a share is drawn for each row, not for each batch.
    """
    by_name = _check(dataset, tasks, alpha, seed)
    chosen = _mixed_inputs(dataset.element_spec[0], inputs)

    def change(x: Any, y: Any, w: Any, number: Any) -> tuple:
        pairs = _pairs(y, alpha, seed, number)

        def mixed(values: Any) -> Any:
            return _mean(values, pairs)

        if isinstance(x, dict):
            x = {n: mixed(values) if n in chosen else values for n, values in x.items()}
        else:
            x = mixed(x)
        return (x, *_labels(by_name, y, w, pairs))

    return mapped_with_numbers(dataset, change, seed)


def cut_mix(
    dataset: tf.data.Dataset,
    tasks: Sequence[Task],
    *,
    alpha: float = 1.0,
    image: str | None = None,
    seed: int = 0,
) -> tf.data.Dataset:
    r"""Paste a rectangle of another image of the batch into each image, with the labels there.

    With $\lambda \sim \mathrm{Beta}(\alpha, \alpha)$ a rectangle has the part $1 - \lambda$ of the
    image's area before it is cut at the border. Classes of pixels, depths and normals come from
    where the pixel comes from. Labels of rows are mixed as in `mix_up`, by the areas that are seen.
    Other inputs stay those of the first row.

    Args:
        dataset: Batches `(x, y)` or `(x, y, sample_weight)`. Use it on training data only.
        tasks: The tasks; none of them of boxes.
        alpha: Parameter of the distribution, above 0. Defaults to 1.
        image: Name of the input that is cut. Defaults to `None`, for the only input.
        seed: Integer of at least 0. Defaults to 0.

    Returns:
        Batches `(x, y, sample_weight)`.

    Raises:
        ValueError: If a task or the input is unknown, a task is of boxes, labels of pixels do not
            have the size of the image, or an argument is out of its range.

    Example:
    ```python
    import numpy as np
    import tensorflow as tf
    from mtlzoo import data
    from mtlzoo.tasks import Classification

    images = np.random.uniform(size=(8, 6, 6, 3)).astype("float32")
    kinds = {"kind": np.random.randint(0, 3, 8)}
    batches = tf.data.Dataset.from_tensor_slices((images, kinds)).batch(4)
    train = data.cut_mix(batches, [Classification("kind", 3)])
    print(train.element_spec[1]["kind"].shape)  # (None, 3): distributions over the classes
    ```

    References:
        Yun et al., *CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
        Features*, ICCV 2019.

    *Differences from the paper*: a share and a rectangle are drawn for each image, not for each
    batch.
    """
    import tensorflow as tf

    by_name = _check(dataset, tasks, alpha, seed)
    labels, _ = check_elements("dataset", dataset)
    image, height, width = _check_image(dataset.element_spec[0], image, labels, by_name)

    def change(x: Any, y: Any, w: Any, number: Any) -> tuple:
        pairs = _pairs(y, alpha, seed, number)
        inside = _rectangles(pairs, height, width)
        seen = 1 - tf.reduce_mean(tf.cast(inside, "float32"), axis=(1, 2))
        pairs = pairs._replace(share=seen, drawn=_uniform(pairs.seed, 1, y) < seen)
        if image is None:
            x = _pasted(x, pairs, inside)
        else:
            x = {**x, image: _pasted(x[image], pairs, inside)}
        return (x, *_labels(by_name, y, w, pairs, inside))

    return mapped_with_numbers(dataset, change, seed)


# --- Pairs ---------------------------------------------------------------------------------------


def _pairs(y: Mapping, alpha: float, seed: int, number: Any) -> _Pairs:
    """Draw the pairs of a batch."""
    import tensorflow as tf

    seeds = tf.stack([tf.constant(seed, "int64"), number])
    rows = tf.shape(next(iter(y.values())))[0]
    order = tf.random.experimental.stateless_shuffle(tf.range(rows), seeds)
    one, other = (
        tf.random.stateless_gamma((rows,), _step(seeds, step), alpha, dtype="float64")
        for step in (1, 2)
    )
    # Both may be 0 where alpha is small.
    share = tf.cast(tf.math.divide_no_nan(one, one + other), "float32")
    return _Pairs(order, share, _uniform(seeds, 3, y) < share, seeds)


def _step(seeds: Any, step: int) -> tf.Tensor:
    """The seeds of one of the draws for a batch."""
    import tensorflow as tf

    return seeds + tf.constant([0, step], "int64")


def _uniform(seed: Any, step: int, y: Mapping) -> tf.Tensor:
    import tensorflow as tf

    rows = tf.shape(next(iter(y.values())))[0]
    return tf.random.stateless_uniform((rows,), _step(seed, step))


def _rectangles(pairs: _Pairs, height: int, width: int) -> tf.Tensor:
    """Where the other image is seen, `(B, H, W)`: a rectangle around a random middle."""
    import tensorflow as tf

    sides = tf.sqrt(1 - pairs.share)
    inside = []
    for step, size in ((4, height), (5, width)):
        middle = tf.random.stateless_uniform(tf.shape(sides), _step(pairs.seed, step)) * size
        half = sides * size / 2
        place = tf.range(size, dtype="float32") + 0.5
        inside.append(tf.abs(place[None] - middle[:, None]) < half[:, None])
    return inside[0][:, :, None] & inside[1][:, None, :]


def _mean(values: Any, pairs: _Pairs) -> tf.Tensor:
    import tensorflow as tf

    share = spread(tf.cast(pairs.share, values.dtype), values)
    return share * values + (1 - share) * tf.gather(values, pairs.partner)


def _pasted(values: Any, pairs: _Pairs, inside: Any) -> tf.Tensor:
    """Values of pixels, inside the rectangles those of the partner."""
    import tensorflow as tf

    return tf.where(spread(inside, values), tf.gather(values, pairs.partner), values)


# --- Labels --------------------------------------------------------------------------------------


def _labels(
    tasks: Mapping[str, Task], y: Mapping, w: Mapping, pairs: _Pairs, inside: Any = None
) -> tuple[dict, dict]:
    """Labels and sample weights of mixed rows."""
    labels, weights = {}, {}
    for name, given in y.items():
        task, weight = tasks[name], w[name]
        if inside is not None and task.loss_rank == 3:
            labels[name] = _pasted(given, pairs, inside)
            if len(weight.shape) == 1:
                weight = _of_pixels(weight, inside)
            weights[name] = _pasted(weight, pairs, inside)
        else:
            labels[name], weights[name] = _of_rows(task, given, weight, pairs)
    return labels, weights


def _of_pixels(weights: Any, inside: Any) -> tf.Tensor:
    """A weight for each pixel."""
    import tensorflow as tf

    return spread(weights, inside) * tf.ones_like(tf.cast(inside, weights.dtype))


def _of_rows(task: Task, labels: Any, weights: Any, pairs: _Pairs) -> tuple[Any, Any]:
    """Labels and sample weights of a task with labels of rows."""
    import tensorflow as tf

    from mtlzoo.tasks import (
        BinaryClassification,
        Classification,
        MultiLabelClassification,
        Regression,
    )

    if not isinstance(
        task, BinaryClassification | Classification | MultiLabelClassification | Regression
    ):
        labels, weights = (
            tf.where(spread(pairs.drawn, part), part, tf.gather(part, pairs.partner))
            for part in (labels, weights)
        )
        return labels, weights
    if len(task.label_shape) == 1 and task.label_shape[0] != 1:
        return _of_cells(task, labels, weights, pairs)
    read = task.read_labels(labels)
    values = read.values
    if values.dtype.is_integer:
        values = tf.one_hot(values, task.output_shape[0])
    here = tf.reshape(read.present, (-1,)) & (weights > 0)
    there = tf.gather(here, pairs.partner)
    both, own, other = here & there, here & pairs.drawn, there & ~pairs.drawn
    part, total = _weights(weights, pairs)
    mixed = _by_parts(values, part, pairs)
    alone = tf.where(spread(own, values), values, tf.gather(values, pairs.partner))
    found = tf.where(spread(both, values), mixed, alone)
    exists = both | own | other
    found = tf.where(spread(exists, values), found, tf.cast(task.missing, values.dtype))
    weight = tf.where(own, weights, tf.gather(weights, pairs.partner))
    return found, tf.where(exists, tf.where(both, total, weight), 0)


def _of_cells(task: Task, labels: Any, weights: Any, pairs: _Pairs) -> tuple[Any, Any]:
    """Labels of several numbers, each of which may be missing in one of the rows."""
    import tensorflow as tf

    values = task.canonical(labels)
    counts = weights > 0
    others = tf.gather(counts, pairs.partner)
    # A row whose partner counts nothing stays as a whole, with the probability of its share.
    part, total = _weights(weights, pairs)
    part = tf.where(counts & others, part, tf.cast(pairs.drawn, part.dtype))
    total = tf.where(counts & others, total, tf.where(pairs.drawn, weights, 0))
    total = tf.where(counts | ~others | pairs.drawn, total, tf.gather(weights, pairs.partner))
    here = task.legal(values) & ~task.is_missing(values) & spread(counts, values)
    there, other = tf.gather(here, pairs.partner), tf.gather(values, pairs.partner)
    numbers = tf.random.stateless_uniform(
        tf.shape(values), _step(pairs.seed, 6), dtype=values.dtype
    )
    kept = numbers < spread(tf.cast(part, values.dtype), values)
    alone = tf.where(here & kept, values, tf.cast(task.missing, values.dtype))
    alone = tf.where(there & ~here & ~kept, other, alone)
    return tf.where(here & there, _by_parts(values, part, pairs), alone), total


def _weights(own: Any, pairs: _Pairs) -> tuple[Any, Any]:
    """What part of the mixtures the first rows have by share times weight, and the weights."""
    import tensorflow as tf

    first = pairs.share * own
    total = first + (1 - pairs.share) * tf.gather(own, pairs.partner)
    return tf.math.divide_no_nan(first, total), total


def _by_parts(values: Any, part: Any, pairs: _Pairs) -> tf.Tensor:
    """The mean of both rows' values, by the part of the first."""
    import tensorflow as tf

    part = spread(tf.cast(part, values.dtype), values)
    return part * values + (1 - part) * tf.gather(values, pairs.partner)


# --- Checks --------------------------------------------------------------------------------------


def _check(
    dataset: tf.data.Dataset, tasks: Sequence[Task], alpha: Any, seed: Any
) -> dict[str, Task]:
    """The tasks by name."""
    labels, _ = check_elements("dataset", dataset)
    check_count("seed", seed, least=0)
    if not is_number(alpha) or alpha <= 0:
        raise ValueError(f"`alpha` should be a number above 0. Received: alpha={alpha!r}")
    return check_tasks(tasks, labels)


def _mixed_inputs(inputs: Any, names: Collection[str] | None) -> set[str | None]:
    """The names of the inputs that are mixed, checked."""
    known: dict[str | None, Any] = dict(inputs) if isinstance(inputs, dict) else {None: inputs}
    chosen: set[str | None] = set(known if names is None else names)
    if isinstance(names, str) or not chosen <= set(known):
        raise ValueError(
            f"`inputs` should be names among {sorted(map(str, known))}. Received: inputs={names!r}"
        )
    for name in sorted(chosen, key=str):
        if not known[name].dtype.is_floating:
            raise ValueError(
                "`inputs` should be those of float type, since others have no mean. Received: "
                f"`{name or 'x'}` of type {known[name].dtype.name}"
            )
    return chosen


def _check_image(
    inputs: Any, image: str | None, labels: Mapping, tasks: Mapping[str, Task]
) -> tuple[str | None, int, int]:
    """The input with the images, and their size, checked against the labels of pixels."""
    from mtlzoo.tasks import ObjectDetection

    image, spec = image_spec(inputs, image, "is cut")
    size = tuple(spec.shape[1:3])
    for name, label in labels.items():
        if isinstance(tasks[name], ObjectDetection):
            raise ValueError(
                "Images with boxes should not be cut: a part of an object has no label. Received: "
                f"task `{name}`"
            )
        check_pixels(tasks[name], label, size)
    return image, *size
