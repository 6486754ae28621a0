"""Training a model of a case for a few steps, and looking at what it did."""

import keras
import numpy as np

from conformance.registry import TASKS

BATCH = 4


def train(model, data, epochs=1, **arguments):
    """Three steps for each epoch."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    arguments |= {"epochs": epochs, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    return model.fit(x, y, sample_weight=weights, **arguments)


def small(case, optimizer=None, **arguments):
    """The compiled model without metrics, run eagerly: `check_modes` shows that graphs compute the
    same, and tracing them takes longer than these few steps."""
    names = arguments.pop("names", TASKS)
    arguments = {"run_eagerly": True, "metrics": {name: [] for name in names}, **arguments}
    return case.compiled(optimizer, **arguments)


def answers(model, x):
    outputs = model(x, training=False)
    return [keras.ops.convert_to_numpy(outputs[name]) for name in TASKS]


def copies(variables):
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def everything(model):
    """All state that training goes on from: weights, optimizer, balancer."""
    return [*model.variables, *model.optimizer.variables, *model.balancer.variables]


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def assert_close(found, expected, tolerance):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            np.asarray(one), np.asarray(other), rtol=tolerance, atol=tolerance
        )


def assert_moved(variables, before):
    for variable, old in zip(variables, before, strict=True):
        assert np.abs(keras.ops.convert_to_numpy(variable) - old).max() > 0, variable.path


def owned(model, name):
    """The variables of a task, trained or not, and the optimizer's variables for them, which are
    named after them."""
    own = model.task_variables(name)
    paths = {v.path.replace("/", "_") for v in own}
    slots = [v for v in model.optimizer.variables if any(p in v.path for p in paths)]
    return own, slots
