"""Small models, data and assertions that the tests of models share."""

import keras
import numpy as np

from mtlzoo import BinaryClassification, HardSharing, Regression
from mtlzoo.balancing import GradientBalancer

NO_METRICS = {"a": [], "b": []}


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
class Constant(GradientBalancer):
    """The weights that it is given."""

    def __init__(self, values=(2.0, 0.5), **kwargs):
        super().__init__(**kwargs)
        self.values = tuple(values)

    def _weights(self, gramian, losses, present):
        values = keras.ops.cast(np.array(self.values), gramian.dtype)
        return keras.ops.broadcast_to(values, gramian.shape[:-1])

    def get_config(self):
        return {"values": self.values, **super().get_config()}


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
class Diagonal(GradientBalancer):
    """The squared length of each task's gradient as its weight: shows what a balancer sees."""

    def _weights(self, gramian, losses, present):
        return keras.ops.diagonal(gramian, axis1=-2, axis2=-1)


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
class StepNumber(GradientBalancer):
    """One plus the number of the step as each task's weight: shows when weights are computed."""

    def _weights(self, gramian, losses, present):
        step = keras.ops.cast(self.step, gramian.dtype)
        return keras.ops.ones_like(gramian[..., 0]) * (1.0 + step)


def tasks():
    return [BinaryClassification("a"), Regression("b")]


def hard_sharing(given=None, seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {"shared_units": (6,), "tower_units": (3,), "activation": "tanh", **arguments}
    return HardSharing(keras.Input((4,), name="x"), given or tasks(), **arguments)


def data(rows=8, seed=0):
    """Inputs (rows, 4) and labels for `tasks()`, in the precision of the moment."""
    rng = np.random.default_rng(seed)
    floatx = keras.config.floatx()
    x = rng.normal(size=(rows, 4)).astype(floatx)
    return x, {"a": rng.integers(0, 2, rows), "b": rng.normal(size=rows).astype(floatx)}


def double():
    """Everything from here on in double precision; undone after each test."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")


def compiled(model, balancer="equal", optimizer=None, **arguments):
    """`model`, compiled to run eagerly and without metrics, which is fast for a few steps."""
    optimizer = keras.optimizers.SGD(0.1) if optimizer is None else optimizer
    arguments = {"run_eagerly": True, "metrics": NO_METRICS, **arguments}
    if not arguments["run_eagerly"]:
        arguments.setdefault("jit_compile", False)
    model.compile(optimizer, balancer=balancer, **arguments)
    return model


def train(model, x, y, weights=None, batch_size=4, **arguments):
    arguments = {"epochs": 1, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(x, y, sample_weight=weights, batch_size=batch_size, **arguments).history


def copies(variables):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def state(model):
    """All that a training step may change, without the counters of metrics."""
    return [*model.variables, *model.optimizer.variables, *model.balancer.variables]


def slots(model, variables):
    """The optimizer's variables for `variables`, which are named after them."""
    paths = {v.path.replace("/", "_") for v in variables}
    found = [v for v in model.optimizer.variables if any(p in v.path for p in paths)]
    assert found
    return found


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(copies(found), copies(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def assert_close(found, expected, tolerance):
    assert len(found) == len(expected) > 0
    for one, other in zip(copies(found), copies(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def assert_all_moved(found, before):
    assert len(found) == len(before) > 0
    for one, other in zip(copies(found), copies(before), strict=True):
        assert np.abs(one - other).max() > 0


def adapted_preprocessor(width):
    """A preprocessor that has adapted to rows far from zero, and such rows."""
    raw = 10 + 5 * np.random.default_rng(0).normal(size=(20, width)).astype("float32")
    norm = keras.layers.Normalization()
    norm.adapt(raw)
    columns = keras.Input((width,), name="raw")
    return keras.Model(columns, norm(columns), name="preprocessor"), raw
