"""SoftSharing: its columns and its penalty against NumPy, what moves and what does not."""

import keras
import numpy as np
import pytest
from model_cases import assert_all_moved, assert_same, compiled, copies, data, tasks, train
from stage_cases import (
    assert_predicts,
    assert_rebuilt,
    conv_backbone,
    conv_data,
    conv_model,
    randomized,
    values,
)

from mtlzoo import BinaryClassification, Regression, SoftSharing


def three():
    return [BinaryClassification("a"), Regression("b"), Regression("c")]


def soft_sharing(given=None, **arguments):
    keras.utils.set_random_seed(1)
    arguments = {"units": (5, 3), "activation": "tanh", **arguments}
    return SoftSharing(keras.Input((4,), name="x"), given or tasks(), **arguments)


def test_it_is_a_network_for_each_task():
    model = randomized(soft_sharing())
    x, _ = data()
    found, expected = values(model), {}
    for name in "ab":
        hidden = x.astype("float64")
        for i in range(2):
            layer = f"{name}_column_units_{i}"
            hidden = np.tanh(hidden @ found[f"{layer}/kernel"] + found[f"{layer}/bias"])
        expected[name] = hidden @ found[f"{name}/kernel"] + found[f"{name}/bias"]
    assert_predicts(model, x, expected)
    assert model.count_params() == 2 * (4 * 5 + 5 + 5 * 3 + 3 + 3 + 1)


def test_the_penalty_is_the_squared_distance_of_the_kernels_of_each_pair():
    model = randomized(soft_sharing(three(), strength=0.3))
    found = values(model)
    distances, expected = model.distances(), 0.0
    for i in range(2):
        kernels = [found[f"{name}_column_units_{i}/kernel"] for name in "abc"]
        for s in range(3):
            for t in range(3):
                squared = ((kernels[s] - kernels[t]) ** 2).sum()
                np.testing.assert_allclose(
                    distances[f"units_{i}"][s, t], np.sqrt(squared), rtol=1e-5
                )
                expected += 0.3 * squared / 2
    (loss,) = model.losses
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert not soft_sharing(strength=0).losses
    assert not soft_sharing([Regression("b")]).losses


def test_a_step_takes_the_gradient_of_the_penalty_to_both_columns():
    start, rate, strength = copies(soft_sharing().variables), 0.1, 0.5
    x, y = data(4)
    after = []
    for given in (0.0, strength):
        model = compiled(soft_sharing(strength=given), optimizer=keras.optimizers.SGD(rate))
        assert_same(model.variables[: len(start)], start)
        history = train(model, x, y)
        after.append(values(model))
    first = dict(zip([v.path for v in soft_sharing().variables], start, strict=True))
    expected = 0.0
    for i in range(2):
        paths = [f"{name}_column_units_{i}/kernel" for name in "ab"]
        difference = first[paths[0]] - first[paths[1]]
        expected += strength * (difference**2).sum()
        for path, sign in zip(paths, (1, -1), strict=True):
            moved = after[1][path] - after[0][path]
            np.testing.assert_allclose(moved, -rate * strength * 2 * sign * difference, atol=1e-5)
    for path, value in after[0].items():
        if path in first and not path.endswith("units_0/kernel") and "units_1/kernel" not in path:
            np.testing.assert_array_equal(after[1][path], value)
    total = history["a_loss"][0] + history["b_loss"][0] + expected
    np.testing.assert_allclose(history["loss"][0], total, rtol=1e-5)


def test_an_absent_tasks_column_rests_and_the_other_is_drawn_to_it():
    model = compiled(soft_sharing(strength=5.0), optimizer=keras.optimizers.SGD(0.01))
    x, y = data()
    own, before = model.task_variables("b"), copies(model.task_variables("b"))
    distance = model.distances()["units_0"][0, 1]
    train(model, x, {**y, "b": np.full_like(y["b"], np.nan)})
    assert_same(own, before)
    assert model.distances()["units_0"][0, 1] < 0.95 * distance


def test_no_variable_is_shared_so_that_gradient_balancers_are_refused():
    model = soft_sharing()
    assert model.shared_variables == []
    with pytest.raises(ValueError, match="`balancer` should be one that weighs losses"):
        model.compile("sgd", balancer="pcgrad")


@pytest.mark.slow
def test_columns_begin_with_the_backbones_weights_and_biases_and_norms_are_free():
    model = conv_model(SoftSharing, backbone=conv_backbone(norm=True), strength=0.1)
    assert all(not matrix.any() for matrix in model.distances().values())
    x, y = conv_data()
    assert_rebuilt(model, x)
    compiled(model, metrics={"parts": [], "size": []})
    before = copies(model.trainable_variables)
    train(model, x, y)
    assert_all_moved(model.trainable_variables, before)
    distances = model.distances()
    assert list(distances) == ["one", "two", "three"]
    assert all(matrix[0, 1] > 0 for matrix in distances.values())
    layer = model.get_layer("parts_column_norm")
    for variable in [*layer.variables, model.get_layer("parts_column_one").bias]:
        variable.assign(variable + 1.0)
    np.testing.assert_array_equal(model.distances()["one"], distances["one"])
    np.testing.assert_array_equal(model.distances()["two"], distances["two"])


def test_stages_without_weights_have_no_distance():
    image = keras.Input((8, 8, 3), name="image")
    model = SoftSharing(image, tasks(), backbone=conv_backbone(pooled=True), stages=["three"])
    np.testing.assert_array_equal(model.distances()["mean"], np.zeros((2, 2)))


def test_config_and_student():
    model = soft_sharing(strength=0.2, dropout=0.1, name="mine")
    x, _ = data()
    assert_rebuilt(model, x)
    student = model.student(0.4)
    assert student.get_layer("a_column_units_0").units == 2
    assert student.get_config()["strength"] == 0.2


@pytest.mark.parametrize("strength", [-0.1, None, "1", True, float("nan")])
def test_the_strength_is_checked(strength):
    message = rf"`strength` should be a number of at least 0. Received: strength={strength!r}"
    with pytest.raises(ValueError, match=message):
        soft_sharing(strength=strength)


def test_biases_with_more_than_one_dimension_are_free():
    tokens = keras.Input((3, 4), name="tokens")
    x = keras.layers.MultiHeadAttention(2, 2, name="attention")(tokens, tokens)
    backbone = keras.Model(tokens, keras.layers.GlobalAveragePooling1D(name="mean")(x))
    model = SoftSharing(keras.Input((3, 4), name="tokens"), tasks(), backbone=backbone)
    biases = [v for v in model.variables if v.name == "bias" and len(v.shape) > 1]
    assert len(biases) == 3 * len(tasks())  # of queries, keys and values
    for bias in biases:
        bias.assign(bias + np.random.default_rng(0).normal(size=bias.shape))
    assert all(not matrix.any() for matrix in model.distances().values())
