"""Boosted trees on raw columns, to compare networks with."""

import numpy as np
import tensorflow as tf

from mtlzoo import data
from mtlzoo.data.census_income.columns import NUMBERS


def boosted_trees(raw: data.Loaded) -> dict[str, float]:
    """The deciding metrics on the test data of boosted trees for each task.

    A tenth of the training rows decides when to stop; the settings are otherwise scikit-learn's.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import f1_score, roc_auc_score
    except ImportError as error:
        raise ImportError("`--trees` needs scikit-learn: pip install scikit-learn") from error
    (x, y), (x_test, y_test) = _columns_of(raw.train), _columns_of(raw.test)
    categories = [name for name in x if name not in NUMBERS]
    for name in categories:
        x[name], x_test[name] = codes(x[name], x_test[name])
    train, test = (np.stack(list(part.values()), -1) for part in (x, x_test))
    found = {}
    for task in raw.tasks:
        model = HistGradientBoostingClassifier(
            max_iter=300,
            categorical_features=[name in categories for name in x],
            early_stopping=True,
            random_state=0,
        ).fit(train, y[task.name])
        if task.monitor == "auc":
            score = roc_auc_score(y_test[task.name], model.predict_proba(test)[:, 1])
        else:
            score = f1_score(y_test[task.name], model.predict(test), average="macro")
        found[f"{task.name}, {task.monitor}"] = float(score)
    return found


def _columns_of(part: tf.data.Dataset) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """All raw columns and labels of a data set, each `(rows,)`."""
    x, y = zip(*((x, y) for x, y, _ in part.as_numpy_iterator()), strict=True)
    return tuple({name: np.concatenate([b[name] for b in p]) for name in p[0]} for p in (x, y))


def codes(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values as numbers from 0; one that the training rows do not have is missing (NaN)."""
    known, numbers = np.unique(train.astype(str), return_inverse=True)
    test = test.astype(str)
    at = np.minimum(np.searchsorted(known, test), len(known) - 1)
    return numbers.astype("float32"), np.where(known[at] == test, at, np.nan).astype("float32")
