"""Auto-λ: its Adam step against NumPy, and what it learns in training."""

import keras
import numpy as np
import pytest
from gradient_cases import tasks

from mtlzoo import AutoLambda, HardSharing, Regression

THREE = tasks(a="regression", b="regression", c="regression")


def test_is_adam_up_the_agreement():
    method = AutoLambda(initial=0.2, learning_rate=0.05)
    method.build(THREE)
    rng = np.random.default_rng(0)
    weights, first, second = np.full(3, 0.2), np.zeros(3), np.zeros(3)
    for step in range(1, 8):
        agreement = rng.normal(size=3) * [1.0, 1e-3, 1e3]
        first = 0.9 * first - 0.1 * agreement
        second = 0.999 * second + 0.001 * agreement**2
        mean, size = first / (1 - 0.9**step), np.sqrt(second / (1 - 0.999**step))
        weights = weights - 0.05 * mean / (size + 1e-8)
        for name, value in method.after_holdout(agreement.astype("float32")).items():
            method.state[name].assign(value)
        np.testing.assert_allclose(method.state["lambda"], np.maximum(weights, 0), rtol=1e-4)
        weights = np.maximum(weights, 0)
    losses = np.array([1.0, 10.0, 100.0])
    assert float(method.objective(losses)) == pytest.approx(weights @ losses, rel=1e-4)


def test_an_absent_task_keeps_its_weight():
    method = AutoLambda()
    method.build(THREE)
    new = method.after_holdout(np.array([1.0, 5.0, -1.0], "float32"), [True, False, True])
    weights = np.array(new["lambda"])
    assert weights[0] > 0.1 and weights[2] < 0.1
    assert weights[1] == np.float32(0.1) and np.array(new["moves"])[1] == 0


def test_weights_do_not_become_negative():
    method = AutoLambda(learning_rate=0.5)
    method.build(THREE)
    new = method.after_holdout(np.array([-1.0, 1.0, 0.0], "float32"))
    np.testing.assert_allclose(new["lambda"], [0.0, 0.6, 0.1], rtol=1e-5)


@pytest.mark.slow
def test_a_task_that_harms_the_primary_one_loses_its_weight():
    """`same` has the labels of the primary task, `opposite` their negatives through one head's
    features: following it raises the held-out loss of the primary task."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 6)).astype("float32")
    target = (x @ rng.normal(size=6)).astype("float32")
    y = {"main": target, "opposite": -target, "same": target}
    keras.utils.set_random_seed(0)
    model = HardSharing(keras.Input((6,)), [Regression(n) for n in y], shared_units=(8,))
    # Heads that stay as they are and equal, so that the trunk cannot serve opposite labels.
    first = model.task_variables("main")
    for name in ("opposite", "same"):
        for variable, value in zip(model.task_variables(name), first, strict=True):
            variable.assign(value)
    for name in y:
        model.get_layer(name).trainable = False
    model.compile("adam", balancer=AutoLambda(["main"], learning_rate=0.01), jit_compile=False)
    model.fit(x, y, batch_size=32, epochs=4, verbose=0)
    found = dict(zip(model.task_names, np.array(model.balancer.state["lambda"]), strict=True))
    assert found["opposite"] < 0.05 < 0.15 < found["same"]


def test_arguments_are_checked():
    for wrong in ("a", [], [1], {"a": 1}):
        with pytest.raises(ValueError, match="`primary` should be a list of task names"):
            AutoLambda(wrong)
    with pytest.raises(ValueError, match=r"`primary` should name some of the tasks \['a', 'b', 'c"):
        AutoLambda(["z"]).build(THREE)
    with pytest.raises(ValueError, match="`initial` should be a positive number"):
        AutoLambda(initial=0.0)
    with pytest.raises(ValueError, match="`learning_rate` should be a positive number"):
        AutoLambda(learning_rate=-1)
    with pytest.raises(ValueError, match="`AutoLambda` should be built with its tasks"):
        AutoLambda().objective([1.0, 2.0])
