"""The same training in sequences of steps, in half precision, with accumulated gradients."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from model_cases import (
    Constant,
    Diagonal,
    StepNumber,
    assert_close,
    compiled,
    copies,
    data,
    hard_sharing,
    train,
)

from mtlzoo import Uncertainty


def trained(balancer, rows, epochs, **arguments):
    model = compiled(hard_sharing(), balancer, keras.optimizers.Adam(0.01), **arguments)
    logs = train(model, *data(rows), epochs=epochs)
    everything = [*model.variables, *model.optimizer.variables]
    return list(logs.values()), copies(everything)


@pytest.mark.slow
@pytest.mark.parametrize("balancer", [Uncertainty, lambda: Constant(wrt="features", every=2)])
def test_seven_batches_in_sequences_of_three_are_seven_steps(balancer):
    one, three = (
        trained(balancer(), 26, 2, run_eagerly=False, steps_per_execution=steps) for steps in (1, 3)
    )
    np.testing.assert_allclose(three[0], one[0], rtol=1e-6)
    assert_close(three[1], one[1], 1e-6)


def test_the_step_of_the_balancer_counts_batches_not_sequences():
    model = compiled(hard_sharing(), StepNumber(), run_eagerly=False, steps_per_execution=3)
    train(model, *data(28))
    assert int(model.balancer.step) == 7
    assert model.task_weights == {"a": 7.0, "b": 7.0}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("wrt", ["parameters", "features"])
def test_weights_under_loss_scaling_are_those_of_unscaled_gradients(wrt):
    keras.config.set_dtype_policy("mixed_float16")
    half = hard_sharing()
    keras.config.set_dtype_policy("float32")
    single = hard_sharing()
    half.set_weights(single.get_weights())
    for model in (half, single):
        compiled(model, Diagonal(wrt=wrt))
        train(model, *data(), batch_size=8)
    assert half.get_layer("shared_0").compute_dtype == "float16"
    assert float(half.optimizer.dynamic_scale) == 2.0**15
    for name, weight in single.task_weights.items():
        assert half.task_weights[name] == pytest.approx(weight, rel=0.02)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("wrt", ["parameters", "features"])
def test_the_update_in_half_precision_is_that_of_single_precision(wrt):
    keras.config.set_dtype_policy("mixed_float16")
    half = hard_sharing()
    keras.config.set_dtype_policy("float32")
    single = hard_sharing()
    half.set_weights(single.get_weights())
    before = copies(single.trainable_variables)
    for model in (half, single):
        compiled(model, Constant(wrt=wrt), keras.optimizers.SGD(1.0))
        train(model, *data(), batch_size=8)
    for found, expected, old in zip(
        copies(half.trainable_variables), copies(single.trainable_variables), before, strict=True
    ):
        step = np.abs(expected - old).max()
        assert step > 0
        np.testing.assert_allclose(found, expected, atol=0.02 * step)


def test_gradient_accumulation_applies_each_other_step():
    model = compiled(
        hard_sharing(), Constant(), keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    )
    seen = [copies(model.trainable_variables)]
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(copies(model.trainable_variables))
    )
    train(model, *data(16), callbacks=[watch])
    moved = [
        any(np.abs(a - b).max() > 0 for a, b in zip(before, after, strict=True))
        for before, after in pairwise(seen)
    ]
    assert moved == [False, True, False, True]


@pytest.mark.slow
def test_dropout_differs_from_step_to_step_and_stops_in_evaluation():
    model = compiled(hard_sharing(dropout=0.5), "pcgrad", keras.optimizers.SGD(0.0))
    x, y = data(4)
    losses = train(model, x, y, epochs=3)["loss"]
    assert len(set(losses)) == 3
    assert model.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("wrt", ["parameters", "features"])
def test_weights_out_of_an_overflow_of_one_task_are_not_kept(wrt):
    """Else the other steps would go on with a weight of zero for it."""
    keras.config.set_dtype_policy("mixed_float16")
    model = hard_sharing()
    keras.config.set_dtype_policy("float32")
    compiled(model, Constant(wrt=wrt, every=4))
    x, y = data(12)
    y["b"][:4] = 3e4  # whose squares are too much for the scale, where those of `a` are not
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(
            (copies(model.shared_variables), dict(model.task_weights))
        )
    )
    before = copies(model.shared_variables)
    train(model, x, y, callbacks=[watch])
    assert float(model.optimizer.dynamic_scale) == 2.0**14
    for one, old in zip(seen[0][0], before, strict=True):
        np.testing.assert_array_equal(one, old)
    for variables, weights in seen[1:]:
        assert weights == {"a": 2.0, "b": 0.5}
        assert np.abs(variables[0] - before[0]).max() > 0
