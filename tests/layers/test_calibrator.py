"""The loss for a step that is more likely than the step before."""

import keras
import numpy as np
import pytest

from mtlzoo.layers import Calibrator


def test_the_loss_is_the_mean_excess_times_the_weight():
    probability = np.array([[0.9], [0.3], [0.2], [0.7]], "float32")
    previous = np.array([[0.5], [0.6], [0.2], [0.6]], "float32")
    output = np.arange(8.0, dtype="float32").reshape(4, 2)
    calibrator = Calibrator(0.5)
    np.testing.assert_array_equal(calibrator([output, probability, previous]), output)
    assert calibrator.losses == []
    found = calibrator([output, probability, previous], training=True)
    np.testing.assert_array_equal(found, output)
    np.testing.assert_allclose(calibrator.losses, [0.5 * (0.4 + 0.1) / 4], rtol=1e-6)


def test_the_output_keeps_its_precision_and_half_precision_does_not_enter_the_loss():
    calibrator = Calibrator(1.0, dtype="float16")
    output = np.array([[1.0000001]], "float32")
    found = calibrator([output, np.array([[0.5001]]), np.array([[0.5]])], training=True)
    np.testing.assert_array_equal(found, output)
    np.testing.assert_allclose(calibrator.losses, [1e-4], rtol=1e-3)
    symbolic = calibrator([keras.Input((1,), dtype="float64")] * 3)
    assert (symbolic.shape, symbolic.dtype) == ((None, 1), "float64")


def test_the_config_gives_the_same_layer():
    layer = Calibrator(0.25, name="after_click")
    again = Calibrator.from_config(layer.get_config())
    assert (again.weight, again.name) == (0.25, "after_click")
    assert Calibrator().weight == 0.6


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf"), "1", None, True])
def test_a_weight_should_be_a_non_negative_number(weight):
    message = rf"`weight` should be a non-negative number. Received: weight={weight!r}"
    with pytest.raises(ValueError, match=message):
        Calibrator(weight)


def test_it_is_called_on_three():
    with pytest.raises(ValueError, match="on a list of an output and two probabilities"):
        Calibrator()([np.ones((2, 1))] * 2)
