"""A small model that people can read, in place of one task of a large one."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo.analysis.simplification.surrogate_columns import Columns
from mtlzoo.analysis.simplification.surrogate_finding import Surrogate
from mtlzoo.layers.arguments import check_count
from mtlzoo.models import MultiTaskModel
from mtlzoo.tasks import BinaryClassification, Classification, Regression

KINDS = ("tree", "linear")


def surrogate(
    model: MultiTaskModel,
    task: str,
    x: Any,
    kind: str = "tree",
    *,
    columns: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    max_depth: int = 4,
    min_rows: int = 20,
    test_share: float = 0.3,
    seed: int = 0,
    batch_size: int | None = None,
) -> Surrogate:
    """A decision tree or a linear model that imitates one task's answers (Craven & Shavlik, 1996).

    It learns from what the model answers, not from labels, on some rows, and how well it imitates
    the model is measured on the others: the part of the variance of the answers that it explains
    (R²), and for classes in how many rows it answers the same class. Where that fidelity is poor,
    what it says is not what the model does, and `words` say so.

    Of `BinaryClassification` it imitates the probability (a linear model: the logit), of
    `Classification` the class, and of a `Regression` with one number the number.

    Args:
        model: A multi-task model.
        task: The name of one of its tasks.
        x: Many rows: raw columns, a dict of arrays `(rows,)` or `(rows, 1)` by name, for a model
            with a preprocessor for them, or inputs as for `model.predict`, `(rows, features)`.
            Text becomes a yes or no for each of its values. Numbers may be NaN for a tree, which
            asks for them like for others.
        kind: `"tree"` or `"linear"` (of columns brought to one scale). Defaults to `"tree"`.
        columns: The names of the columns that it reads. Defaults to all.
        names: Names of the features of inputs that are one array. Defaults to `x0`, `x1`, ...
        max_depth: The depth of a tree. Defaults to 4.
        min_rows: The least number of rows in a leaf. Defaults to 20.
        test_share: The part of the rows on which fidelity is measured, between 0 and 1. Defaults
            to 0.3.
        seed: That of the choice of these rows. Defaults to 0.
        batch_size: As for `predict`. Defaults to `None`.

    Returns:
        The surrogate, a `Finding`.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: For an unknown task or one of another kind, unknown columns, numbers out of
            their range, and too few rows; for a linear model of columns with NaN, or of a model
            that answers one class only.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import surrogate

    model = HardSharing(keras.Input((3,)), [Regression("stay")], shared_units=(8,))
    rows = np.random.default_rng(0).normal(size=(300, 3)).astype("float32")
    found = surrogate(model, "stay", rows, "linear", names=["age", "pay", "year"])
    print(found.words())
    found.fidelity["R²"]  # of 90 rows that it has not seen
    ```

    References:
        Craven & Shavlik, *Extracting Tree-Structured Representations of Trained Networks*, NeurIPS
        1996.

    *Differences from the paper*: an ordinary tree (CART) on the rows that there are, where the
    paper asks the model about further rows that it draws.
    """
    if not isinstance(model, MultiTaskModel) or not model.tasks:
        raise ValueError(
            f"`model` should be a `MultiTaskModel` with tasks. Received: model={model!r}"
        )
    if task not in model.task_names:
        raise ValueError(
            f"`task` should be one of the tasks {list(model.task_names)}. Received: task={task!r}"
        )
    if kind not in KINDS:
        raise ValueError(f"`kind` should be one of {list(KINDS)}. Received: kind={kind!r}")
    _check_task(model, task)
    for name, number in (("max_depth", max_depth), ("min_rows", min_rows)):
        check_count(name, number)
    if isinstance(test_share, bool) or not 0 < test_share < 1:
        raise ValueError(
            f"`test_share` should be between 0 and 1. Received: test_share={test_share!r}"
        )
    read = Columns(x, columns, names)
    order = np.random.default_rng(seed).permutation(read.rows)
    count = round(test_share * read.rows)
    test, train = order[:count], order[count:]
    if len(train) < 2 * min_rows or len(test) < 10:
        raise ValueError(
            f"`x` should have at least {2 * min_rows} rows to learn from and 10 to measure "
            f"fidelity on. Received: {len(train)} and {len(test)}"
        )
    answers = _answers(model, task, x, kind, batch_size)
    if len(answers) != read.rows:
        raise ValueError(
            f"`x` should have as many rows in each column. Received: {read.rows} rows, and "
            f"{len(answers)} answers"
        )
    has_classes = isinstance(model.tasks[task], Classification)
    # Only values that are seen in training have a column.
    values = read.encoded(train)
    if kind == "linear":
        _check_linear(values, read.encoded_names, answers[train] if has_classes else None, task)
    learner = _learner(kind, has_classes, max_depth, min_rows, seed)
    learner.fit(values[train], answers[train])
    of = _what(model, task, kind)
    return Surrogate(
        task, kind, of, learner, read.encoded_names, values, answers, train, test, has_classes
    )


def _check_task(model: MultiTaskModel, task: str) -> None:
    own = model.tasks[task]
    single = isinstance(own, Regression) and model.output[task].shape[1:] == (1,)
    if not (isinstance(own, BinaryClassification | Classification) or single):
        raise ValueError(
            "`task` should be a binary or other classification, or a regression with one number, "
            f"which trees and linear models answer. Received: task={task!r}, a "
            f"{type(own).__name__} of shape {model.output[task].shape[1:]}"
        )


def _check_linear(values: np.ndarray, names: Sequence[str], classes: Any, task: str) -> None:
    """Refuse what a linear model cannot be fitted to."""
    lacking = [
        name for name, whole in zip(names, np.isfinite(values).all(0), strict=True) if not whole
    ]
    if lacking:
        raise ValueError(
            '`x` should have finite numbers in all columns for `kind="linear"`; leave some out by '
            f'`columns`, or use `kind="tree"`. Received: others in {lacking}'
        )
    if classes is not None and len(np.unique(classes)) == 1:
        raise ValueError(
            '`x` should have rows of several answers for `kind="linear"`. Received: the model '
            f"answers class {classes[0]} of `{task}` for all, so that nothing can be imitated"
        )


def _what(model: MultiTaskModel, task: str, kind: str) -> str:
    own = model.tasks[task]
    if isinstance(own, BinaryClassification):
        return "logit" if kind == "linear" else "probability"
    return "class" if isinstance(own, Classification) else "value"


def _answers(model, task, x, kind, batch_size) -> np.ndarray:
    """What is imitated, a number for each row."""
    if isinstance(x, Mapping) and model.preprocessor is not None:
        x = _preprocessed(model.preprocessor, x)
    raw = model.predict(x, batch_size=batch_size, verbose=0)[task]
    own = model.tasks[task]
    if isinstance(own, BinaryClassification) and kind == "linear":
        return _logits(own, raw)
    if isinstance(own, Classification):
        return np.asarray(own.serve(raw)[f"{task}_class"]).ravel()
    return np.asarray(own.serve(raw)[task]).reshape(len(raw))


def _logits(task: BinaryClassification, raw: np.ndarray) -> np.ndarray:
    if task.from_logits:
        return raw.reshape(len(raw))
    odds = np.clip(raw.reshape(len(raw)).astype("float64"), 1e-7, 1 - 1e-7)
    return np.log(odds / (1 - odds))


def _preprocessed(preprocessor: Any, x: Mapping[str, Any]) -> Any:
    wanted = preprocessor.input
    for name in wanted:
        if name in x and any(value is None for value in np.asarray(x[name]).ravel()):
            raise ValueError(
                "`x` should have a value in each row, such as '' for no text. "
                f"Received: None in `{name}`"
            )
    columns = {name: _as_column(x[name], wanted[name]) for name in wanted if name in x}
    missing = [name for name in wanted if name not in x]
    if missing:
        raise ValueError(
            f"`x` should have the columns that the preprocessor of the model reads. Received: "
            f"columns without {missing}"
        )
    parts = [
        preprocessor({k: v[i : i + 4096] for k, v in columns.items()}, training=False)
        for i in range(0, len(next(iter(columns.values()))), 4096)
    ]
    return keras.tree.map_structure(lambda *each: np.concatenate(each), *parts)


def _as_column(values: Any, like: Any) -> Any:
    values = np.asarray(values)
    if len(like.shape) == 2 and values.ndim == 1:
        values = values[:, None]
    # numpy's own texts are no strings to TensorFlow
    return keras.ops.convert_to_tensor(
        values.astype(object) if values.dtype.kind in "US" else values
    )


def _learner(kind: str, has_classes: bool, depth: int, rows: int, seed: int) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
    except ImportError as error:
        raise ImportError(
            "Surrogates should have scikit-learn. Install it with `pip install 'mtlzoo[analysis]'`"
        ) from error
    if kind == "tree":
        grown = DecisionTreeClassifier if has_classes else DecisionTreeRegressor
        return grown(max_depth=depth, min_samples_leaf=rows, random_state=seed)
    fitted = LogisticRegression(max_iter=1000) if has_classes else Ridge(alpha=1.0)
    return make_pipeline(StandardScaler(), fitted)
