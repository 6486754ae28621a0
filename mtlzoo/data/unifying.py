"""Data sets with other inputs and other tasks, given one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mtlzoo.data.elements import check_elements

if TYPE_CHECKING:
    import tensorflow as tf


def unify(datasets: Mapping[str, tf.data.Dataset]) -> dict[str, tf.data.Dataset]:
    """Give data sets the inputs and the labels of all of them.

    Labels that a data set does not have are zeros with the sample weight 0. Inputs that it does not
    have are zeros; where that happens, all get a boolean input `<input>_present`.

    Args:
        datasets: by name, data sets of batches `(x, y)` or `(x, y, sample_weight)`.

    Returns:
        By name, data sets of batches `(x, y, sample_weight)` of one form.

    Raises:
        ValueError: if one has another structure, or they have the same input or label in other
            forms.
    """
    import tensorflow as tf

    specs = {name: _specs(name, dataset) for name, dataset in datasets.items()}
    as_dict = {name: isinstance(x, dict) for name, (x, _, _) in specs.items()}
    if len(set(as_dict.values())) > 1:
        one, other = (next(n for n, d in as_dict.items() if d == kind) for kind in (True, False))
        raise ValueError(
            "`datasets` should all have dicts of inputs, or all have one tensor. "
            f"Received: a dict in `{one}`, a tensor in `{other}`"
        )
    whole = all(as_dict.values())
    inputs = _joined("input", {n: x if whole else {"x": x} for n, (x, _, _) in specs.items()})
    labels = _joined("label", {n: y for n, (_, y, _) in specs.items()})
    weights = _joined("sample weight", {n: w for n, (_, _, w) in specs.items()})
    flags = {f"{n}_present" for n in inputs if whole} & set(inputs)
    own = {n: spec for n, spec in inputs.items() if n not in flags}
    optional = [
        n
        for n in own
        if f"{n}_present" in flags or (whole and not all(n in x for x, _, _ in specs.values()))
    ]

    def one_form(x: Any, y: Any, w: Any = None) -> tuple:
        rows = tf.shape(next(iter(y.values())))[0]
        x, w = x if whole else {"x": x}, w or {}
        filled = {n: x[n] if n in x else _filled(spec, rows, 0) for n, spec in own.items()}
        for n in optional:
            flag, spec = f"{n}_present", tf.TensorSpec((None,), "bool")
            filled[flag] = x[flag] if flag in x else _filled(spec, rows, n in x)
        all_labels, all_weights = {}, {}
        for n, spec in labels.items():
            all_labels[n] = y[n] if n in y else _filled(spec, rows, 0)
            of_weight = weights.get(n, tf.TensorSpec((None,), "float32"))
            all_weights[n] = w[n] if n in w else _filled(of_weight, rows, int(n in y))
        return (filled if whole else filled["x"]), all_labels, all_weights

    return {
        name: dataset.map(one_form, num_parallel_calls=tf.data.AUTOTUNE)
        for name, dataset in datasets.items()
    }


def _specs(name: str, dataset: tf.data.Dataset) -> tuple[Any, dict, dict]:
    """The specs of inputs, labels and sample weights of a data set."""
    labels, weights = check_elements(f"datasets[{name!r}]", dataset)
    return dataset.element_spec[0], labels, weights


def _joined(kind: str, given: Mapping[str, dict]) -> dict[str, Any]:
    """The specs of all keys; each is the same wherever it is."""
    found: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for dataset, specs in given.items():
        for key, spec in specs.items():
            shape = spec.shape[1:] if spec.shape.rank else None
            if key in found:
                known = found[key]
                if known.dtype != spec.dtype or not known.shape[1:].is_compatible_with(shape):
                    raise ValueError(
                        f"`datasets` should have the {kind} `{key}` in one form. Received: "
                        f"{known.dtype.name} {tuple(known.shape)} in `{owner[key]}`, "
                        f"{spec.dtype.name} {tuple(spec.shape)} in `{dataset}`"
                    )
            else:
                if shape is None:
                    raise ValueError(
                        f"`datasets[{dataset!r}]` should have batches. "
                        f"Received: a scalar {kind} `{key}`"
                    )
                found[key], owner[key] = spec, dataset
    return {key: found[key] for key in sorted(found)}


def _filled(spec: Any, rows: Any, value: Any) -> tf.Tensor:
    """A tensor of the form of a spec, of one value; strings are empty."""
    import tensorflow as tf

    shape = spec.shape[1:]
    if not shape.is_fully_defined():
        raise ValueError(
            "`datasets` should have known shapes where one of them lacks the input or label. "
            f"Received: {spec}"
        )
    shape = tf.concat([[rows], tf.constant(shape.as_list(), "int32")], 0)
    return tf.fill(shape, "" if spec.dtype == tf.string else tf.cast(value, spec.dtype))


def check_datasets(datasets: Any) -> None:
    """Check data sets by name.

    Args:
        datasets: What was given.

    Raises:
        ValueError: If it is no dict of `tf.data.Dataset`, or an empty one.
    """
    import tensorflow as tf

    if not isinstance(datasets, Mapping) or not datasets:
        raise ValueError(
            f"`datasets` should be a dict from names to data sets. Received: datasets={datasets!r}"
        )
    for name, dataset in datasets.items():
        if not isinstance(name, str) or not isinstance(dataset, tf.data.Dataset):
            raise ValueError(
                f"`datasets[{name!r}]` should be a `tf.data.Dataset`. Received: {dataset!r}"
            )
