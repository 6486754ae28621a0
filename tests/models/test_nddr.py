"""NDDR: its graph against NumPy, its matrices, what is shared."""

import keras
import numpy as np
import pytest
from model_cases import assert_all_moved, assert_same, compiled, copies, data, tasks, train
from stage_cases import (
    assert_predicts,
    assert_rebuilt,
    batch_norm,
    conv_data,
    conv_model,
    randomized,
    values,
)

from mtlzoo import NDDR


def nddr(given=None, **arguments):
    keras.utils.set_random_seed(1)
    arguments = {"units": (5, 3), "activation": "tanh", **arguments}
    return NDDR(keras.Input((4,), name="x"), given or tasks(), **arguments)


def test_it_is_the_equations_written_out_by_hand():
    model = randomized(nddr())
    x, _ = data()
    found = values(model)
    features = dict.fromkeys("ab", x.astype("float64"))
    for i in range(2):
        ends = []
        for name in "ab":
            layer = f"{name}_column_units_{i}"
            hidden = features[name] @ found[f"{layer}/kernel"] + found[f"{layer}/bias"]
            ends.append(np.tanh(hidden))
        for name in "ab":
            unit = f"fusion_{name}_units_{i}"
            fused = np.concatenate(ends, axis=1) @ found[f"{unit}/kernel"]
            features[name] = np.maximum(batch_norm(fused, found, f"{unit}/norm"), 0)
    expected = {n: features[n] @ found[f"{n}/kernel"] + found[f"{n}/bias"] for n in "ab"}
    assert_predicts(model, x, expected)


def test_parameters():
    columns = 2 * (4 * 5 + 5 + 5 * 3 + 3)
    fusion = 2 * (10 * 5 + 4 * 5 + 6 * 3 + 4 * 3)  # kernel; scale, shift, mean and variance
    heads = 2 * (3 + 1)
    assert nddr().count_params() == columns + fusion + heads


def test_matrices_by_stage_receiver_and_giver():
    for given in (tasks(), tasks()[::-1]):
        model = nddr(given, within=0.8, between=0.3)
        found = model.fusion_matrices()
        assert list(found) == ["units_0", "units_1"]
        matrix = found["units_1"]
        assert matrix.shape == (2, 2, 3, 3)
        for i in range(2):
            for j in range(2):
                expected = np.eye(3) * (0.8 if i == j else 0.3)
                np.testing.assert_allclose(matrix[i, j], expected, rtol=1e-6)
        kernel = np.arange(18.0).reshape(6, 3)
        model.get_layer("fusion_b_units_1").kernel.assign(kernel)
        matrix = model.fusion_matrices()["units_1"]
        np.testing.assert_array_equal(matrix[1], [kernel[:3], kernel[3:]])


def test_columns_are_shared_and_the_last_fusion_is_the_tasks():
    model = nddr()
    for name in ("a", "b"):
        layers = {v.path.split("/")[0] for v in model.task_variables(name)}
        assert layers == {f"fusion_{name}_units_1", name}
    assert [t.shape for t in model.boundary] == [(None, 3)] * 2


def test_nothing_of_an_absent_tasks_fusion_moves():
    model = compiled(nddr(), "pcgrad")
    x, y = data()
    own = model.get_layer("fusion_b_units_1").variables
    other = model.get_layer("fusion_a_units_1").variables
    before, of_other = copies(own), copies(other)
    train(model, x, {**y, "b": np.full_like(y["b"], np.nan)})
    assert_same(own, before)
    assert_all_moved(other, of_other)


def test_weight_decay_of_all_fusion_is_added_to_the_loss():
    model = nddr(weight_decay=0.1)
    expected = sum(0.1 * (m**2).sum() for m in model.fusion_matrices().values())
    np.testing.assert_allclose(sum(map(float, model.losses)), expected, rtol=1e-5)
    assert not nddr().losses


@pytest.mark.slow
def test_it_takes_maps_with_tasks_of_pixels_and_of_rows():
    model = conv_model(NDDR)
    x, y = conv_data()
    assert_rebuilt(model, x)
    compiled(model, "pcgrad", metrics={"parts": [], "size": []})
    before = copies(model.shared_variables)
    train(model, x, y)
    assert_all_moved(model.shared_variables, before)
    assert model.fusion_matrices()["two"].shape == (2, 2, 4, 4)


def test_config_and_student():
    model = nddr(within=0.8, between=0.1, fusion_activation=None, weight_decay=0.1, name="mine")
    x, _ = data()
    assert_rebuilt(model, x)
    assert model.student(0.4).fusion_matrices()["units_0"].shape == (2, 2, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"within": None}, r"`within` should be a number. Received: within=None"),
        ({"weight_decay": -0.1}, r"`weight_decay` should be a number of at least 0"),
        ({"units": [3, -1]}, "`units` should be a tuple of positive integers"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        nddr(**arguments)
