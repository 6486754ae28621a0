"""How alike the features are that models have learned for different tasks."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.analysis.statistics import ranks
from mtlzoo.analysis.task_matrix import TaskMatrix
from mtlzoo.layers.arguments import check_bool, check_count
from mtlzoo.models.taps import tapped

BATCH = 256
MEASURES = {"cka": "linear CKA", "rsa": "RSA"}


def representation_similarity(
    models: Mapping[str, keras.Model] | keras.Model,
    x: Any,
    *,
    layer: str | Mapping[str, str],
    method: str = "cka",
    debiased: bool = False,
    rows: int = 1000,
) -> TaskMatrix:
    r"""How alike the features are that each task's model has of the same rows.

    Linear CKA: Kornblith et al., *Similarity of Neural Network Representations Revisited*, ICML
    2019. RSA: Kriegeskorte et al., 2008; between networks of different tasks Dwivedi and Roig,
    *Representation Similarity Analysis for Efficient Task Taxonomy & Transfer Learning*, CVPR 2019.

    With features $X$ and $Y$ of the same rows, and their Gram matrices $K$ and $L$, centered,

    $$\text{CKA} = \frac{\langle K, L \rangle}{\|K\| \|L\|}$$

    RSA is Spearman's rank correlation of the dissimilarities of all pairs of rows, one minus
    Pearson's correlation of their features. Neither is changed by the order of units or a common
    scale; CKA by no rotation either, RSA by no scale of a single row.

    Args:
        models: Functional models by task, single-task ones for instance; or one model, of which
            `layer` names a layer for each task.
        x: Inputs of all models, as `predict` takes them. A `tf.data.Dataset` of batches with labels
            is read too.
        layer: Name of the layer whose output counts, flattened by row: one for all models, or one
            for each task. `"backbone/stage_1"` is inside the model `backbone`.
        method: `"cka"` or `"rsa"`. Defaults to `"cka"`.
        debiased: Whether to estimate CKA without bias (Song et al., JMLR 2012): with few rows and
            many units plain CKA is high for anything. Defaults to `False`.
        rows: How many rows to compare at most, the first ones. Memory is their square. Defaults to
            1000.

    Returns:
        A symmetric matrix. CKA is from 0 to 1 (debiased ones may be a little below 0), RSA from -1
        to 1. How much is much depends on layer and data: compare pairs with each other.

    Raises:
        ValueError: For fewer than two tasks, an unknown layer, too few rows, or features that are
            not finite or all the same.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import representation_similarity

    single = {
        n: HardSharing(keras.Input((4,)), [Regression(n)], shared_units=[8]) for n in ("a", "b")
    }
    single["a"].layers[1].name  # "shared_0"
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    representation_similarity(single, x, layer="shared_0")["a", "b"]
    ```

    *Differences from the papers*: none.
    """
    if method not in MEASURES:
        raise ValueError(f"`method` should be one of {list(MEASURES)}. Received: method={method!r}")
    if check_bool("debiased", debiased) and method != "cka":
        raise ValueError(f"`debiased` should be False with {method!r}. Received: debiased=True")
    check_count("rows", rows)
    layers = _layers(models, layer)
    x = _first_rows(x, rows)
    kept = {
        name: _features(models[name] if isinstance(models, Mapping) else models, own, x)
        for name, own in layers.items()
    }
    made = {name: _compared(name, found, method, debiased) for name, found in kept.items()}
    names = sorted(made)
    values = np.array([[np.vdot(made[a], made[b]) for b in names] for a in names])
    what = f"debiased {MEASURES[method]}" if debiased else MEASURES[method]
    title = f"How alike the features of tasks are ({what})"
    return TaskMatrix(names, values, what, signed=method == "rsa", title=title)


def _layers(models, layer) -> dict[str, str]:
    """The layer of each task."""
    if isinstance(models, Mapping):
        layers = dict(layer) if isinstance(layer, Mapping) else dict.fromkeys(models, layer)
        if set(layers) != set(models):
            raise ValueError(
                f"`layer` should be a name, or one for each of the tasks {sorted(models)}. "
                f"Received: layer={layer!r}"
            )
        given = list(models.values())
    else:
        if not isinstance(layer, Mapping):
            raise ValueError(
                "`layer` should be a dict of a layer for each task where one model is given: a "
                f"layer that all share is as like as can be. Received: layer={layer!r}"
            )
        layers, given = dict(layer), [models]
    for model in given:
        if not hasattr(model, "_run_through_graph"):
            raise ValueError(
                "`models` should be functional models. Received: one of type "
                f"{type(model).__name__}"
            )
    if len(layers) < 2:
        raise ValueError(
            "`models` should be of two tasks or more, since there is nothing to compare with one. "
            f"Received: {list(layers)}"
        )
    return layers


def _first_rows(x, rows):
    if isinstance(x, tf.data.Dataset):
        batches, count = [], 0
        for element in x:
            inputs = element[0] if isinstance(element, tuple) else element
            batches.append(inputs)
            count += len(keras.tree.flatten(inputs)[0])
            if count >= rows:
                break
        if not batches:
            raise ValueError("`x` should have rows. Received: an empty data set")
        x = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *batches)
    x = tf.nest.map_structure(lambda t: np.asarray(t)[:rows], x)
    count = len(keras.tree.flatten(x)[0])
    if count < 4:
        raise ValueError(f"`x` should have four rows or more. Received: {count}")
    return x


def _features(model, layer, x) -> np.ndarray:
    """(N, D), float64."""
    _, found = tapped(model, [layer], "layer")
    up_to = keras.Model(model.input, found[layer])
    count = len(keras.tree.flatten(x)[0])
    parts = []
    for start in range(0, count, BATCH):  # not by `predict`, which would be traced for each task
        rows = tf.nest.map_structure(lambda t, at=start: t[at : at + BATCH], x)
        parts.append(keras.ops.convert_to_numpy(up_to(rows, training=False)))
    values = np.concatenate(parts).astype("float64").reshape(count, -1)
    if not np.isfinite(values).all():
        raise ValueError(
            f"`layer` should put out finite numbers. Received: layer={layer!r} of the model "
            f"`{model.name}`, which does not"
        )
    return values


def _compared(name, features, method, debiased) -> np.ndarray:
    """What of one task is compared, of the length one."""
    if method == "cka":
        made = _debiased(features) if debiased else _centered(features)
        least, hint = 1e-12 * float(np.square(features).sum()), ""
    else:
        made = ranks(_dissimilarities(features))
        made -= made.mean()
        least, hint = 0.0, " (one unit alone has no correlation: use 'cka')"
    length = np.linalg.norm(made)
    if not length > least:
        raise ValueError(
            "`layer` should put out other features for other rows. Received: the same for all "
            f"rows of task `{name}`{hint}"
        )
    return made / length


def _centered(features):
    features = features - features.mean(0)
    return features @ features.T


def _debiased(features):
    """Székely and Rizzo's U-centering, whose products are the estimate of Song et al."""
    gram = _centered(features)  # the estimate is the same for features that were shifted
    np.fill_diagonal(gram, 0)
    count = len(gram)
    means = gram.sum(0) / (count - 2)
    gram += gram.sum() / ((count - 1) * (count - 2)) - means - means[:, None]
    np.fill_diagonal(gram, 0)
    return gram


def _dissimilarities(features):
    """One minus Pearson's correlation, for each pair of rows; one where a row has no variation."""
    features = features - features.mean(1, keepdims=True)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    features = np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0)
    distances = 1 - features @ features.T
    # Equal rows have equal ranks, whatever rounding makes of their products.
    return np.round(distances[np.triu_indices(len(features), 1)], 12)
