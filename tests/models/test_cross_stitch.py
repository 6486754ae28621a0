"""CrossStitch: its graph against NumPy, its matrices, what is shared."""

import keras
import numpy as np
import pytest
from model_cases import assert_all_moved, assert_same, compiled, copies, data, tasks, train
from stage_cases import (
    assert_predicts,
    assert_rebuilt,
    conv_data,
    conv_model,
    randomized,
    values,
)

from mtlzoo import CrossStitch


def cross_stitch(given=None, seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {"units": (5, 3), "activation": "tanh", **arguments}
    return CrossStitch(keras.Input((4,), name="x"), given or tasks(), **arguments)


def by_hand(model, x, per_channel):
    found = values(model)
    features = {"a": x, "b": x}
    for i in range(2):
        ends = {}
        for name in ("a", "b"):
            layer = f"{name}_column_units_{i}"
            ends[name] = np.tanh(features[name] @ found[f"{layer}/kernel"] + found[f"{layer}/bias"])
        features = {}
        for name in ("a", "b"):
            alpha = found[f"stitch_{name}_units_{i}/alpha"][0]
            assert alpha.ndim == (2 if per_channel else 1)
            features[name] = alpha[0] * ends["a"] + alpha[1] * ends["b"]
    return {n: features[n] @ found[f"{n}/kernel"] + found[f"{n}/bias"] for n in features}


@pytest.mark.parametrize("per_channel", [False, True])
def test_it_is_the_equations_written_out_by_hand(per_channel):
    model = randomized(cross_stitch(per_channel=per_channel))
    x, _ = data()
    assert_predicts(model, x, by_hand(model, x.astype("float64"), per_channel))


@pytest.mark.parametrize("per_channel", [False, True])
def test_parameters(per_channel):
    columns = 2 * (4 * 5 + 5 + 5 * 3 + 3)
    stitches = 4 * (5 + 3) if per_channel else 4 * 2
    heads = 2 * (3 + 1)
    assert cross_stitch(per_channel=per_channel).count_params() == columns + stitches + heads


@pytest.mark.slow
def test_matrices_by_stage_with_a_row_for_each_receiving_task():
    for given in (tasks(), tasks()[::-1]):
        model = cross_stitch(given)
        found = model.stitch_matrices()
        assert list(found) == ["units_0", "units_1"]
        for matrix in found.values():
            np.testing.assert_allclose(matrix, [[0.9, 0.1], [0.1, 0.9]], rtol=1e-6)
        model.get_layer("stitch_b_units_0").alpha.assign([[3.0, 4.0]])
        np.testing.assert_allclose(
            model.stitch_matrices()["units_0"], [[0.9, 0.1], [3, 4]], rtol=1e-6
        )
    found = cross_stitch(per_channel=True, within=0.7, between=0.2).stitch_matrices()["units_1"]
    assert found.shape == (2, 2, 3)
    np.testing.assert_allclose(found[..., 0], [[0.7, 0.2], [0.2, 0.7]], rtol=1e-6)


def test_columns_are_shared_and_the_last_rows_are_the_tasks():
    model = cross_stitch()
    for name in ("a", "b"):
        layers = {v.path.split("/")[0] for v in model.task_variables(name)}
        assert layers == {f"stitch_{name}_units_1", name}
    layers = {v.path.split("/")[0] for v in model.shared_variables}
    columns = {f"{name}_column_units_{i}" for name in "ab" for i in range(2)}
    assert layers == {*columns, "stitch_a_units_0", "stitch_b_units_0"}


@pytest.mark.slow
def test_features_level_compares_gradients_at_the_ends_of_the_columns():
    model = cross_stitch()
    assert [t.shape for t in model.boundary] == [(None, 3)] * 2
    x, y = data()
    compiled(model, "mgda")
    from mtlzoo import PCGrad

    model.compile("sgd", balancer=PCGrad(wrt="features"), run_eagerly=True, metrics={})
    before = copies(model.shared_variables)
    train(model, x, y)
    assert_all_moved(model.shared_variables, before)


def test_an_absent_tasks_row_rests():
    model = compiled(cross_stitch(), "pcgrad")
    x, y = data()
    own, before = model.task_variables("b"), copies(model.task_variables("b"))
    others = [*model.shared_variables, *model.task_variables("a")]
    of_others = copies(others)
    train(model, x, {**y, "b": np.full_like(y["b"], np.nan)})
    assert_same(own, before)
    assert_all_moved(others, of_others)


@pytest.mark.slow
def test_it_takes_maps_with_tasks_of_pixels_and_of_rows():
    model = conv_model(CrossStitch)
    x, y = conv_data()
    assert_rebuilt(model, x)
    assert {n: v.shape for n, v in model.predict(x, verbose=0).items()} == {
        "parts": (4, 4, 4, 3),
        "size": (4, 1),
    }
    assert list(model.stitch_matrices()) == ["one", "two", "three"]
    before = copies(model.shared_variables)
    compiled(model, "pcgrad", metrics={"parts": [], "size": []})
    train(model, x, y)
    assert_all_moved(model.shared_variables, before)


def test_config_and_student():
    model = cross_stitch(per_channel=True, within=0.8, between=0.1, dropout=0.1, name="mine")
    x, _ = data()
    assert_rebuilt(model, x)
    student = model.student(0.5)
    assert student.get_layer("a_column_units_0").units == 2
    assert student.stitch_matrices()["units_1"].shape == (2, 2, 2)


def test_permuted_tasks_give_the_same_model():
    assert_same(cross_stitch().variables, cross_stitch(tasks()[::-1]).variables)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"within": "1"}, r"`within` should be a number. Received: within='1'"),
        ({"between": None, "per_channel": "yes"}, r"`per_channel` should be a bool"),
        ({"units": (0,)}, "`units` should be a tuple of positive integers"),
        ({"units": ()}, r"There should be a `backbone` or `units`. Received: neither"),
        ({"stages": ["x"]}, "`stages` should be None where there is no backbone"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        cross_stitch(**arguments)
