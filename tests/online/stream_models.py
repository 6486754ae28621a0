"""Small models and streams for the tests of this folder."""

import copy

import keras
import numpy as np

from mtlzoo import BinaryClassification, HardSharing, Regression
from mtlzoo.online.history import PLACES
from mtlzoo.training import model_state

_MADE: dict = {}


def compiled(balancer="equal", optimizer=None, dropout=0.0, metrics=False, **kwargs):
    """A new compiled model of two tasks."""
    keras.utils.set_random_seed(1)
    click = BinaryClassification("click", metrics=["auc"] if metrics else [])
    tasks = [click, Regression("stay", metrics=["rmse"])]
    made = HardSharing(keras.Input((4,)), tasks, shared_units=[8], dropout=dropout)
    made.compile(optimizer or keras.optimizers.Adam(0.01), balancer=balancer, **kwargs)
    model_state.build_metrics(made)
    return made


def model(balancer="equal", **kwargs):
    """A model that was compiled before, as it was then, since tracing takes a second."""
    key = (balancer, *kwargs.items())
    if key not in _MADE:
        made = compiled(balancer, **kwargs)
        _MADE[key] = made, copy.deepcopy(model_state.read(made))
    made, state = _MADE[key]
    model_state.restore(made, state)
    return made


def rows(number, seed=0, missing=0.0):
    """Inputs and labels of a learnable problem, some of the labels missing."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(number, 4)).astype("float32")
    click = (x[:, 0] + 0.3 * random.normal(size=number) > 0).astype("float32")
    stay = (x[:, 1] - x[:, 2] + 0.1 * random.normal(size=number)).astype("float32")
    click[random.random(number) < missing] = -1
    stay[random.random(number) < missing] = np.nan
    return x, {"click": click, "stay": stay}


def elements(x, y, size, begin=0, end=None):
    """The rows as a stream of batches."""
    for i in range(begin, len(x) if end is None else end, size):
        yield x[i : i + size], {name: labels[i : i + size] for name, labels in y.items()}


def weights(made):
    """All variables of a model and its optimizer."""
    return [np.array(v) for v in [*made.variables, *made.optimizer.variables]]


def same(one, other):
    """Whether two lists of arrays are the same, bit by bit."""
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


def accounted(counts):
    """Whether every row is in one place."""
    return counts["read"] == sum(counts[place] for place in PLACES)
