"""Sluice: its graph and its penalty against NumPy, its readers, what is shared."""

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

from mtlzoo import Sluice


def sluice(given=None, **arguments):
    keras.utils.set_random_seed(1)
    arguments = {"units": (6, 6, 4), "activation": "tanh", **arguments}
    return Sluice(keras.Input((4,), name="x"), given or tasks(), **arguments)


def test_it_is_the_equations_written_out_by_hand():
    model = randomized(sluice())
    x, _ = data()
    found = values(model)
    features = dict.fromkeys("ab", x.astype("float64"))
    layers = {"a": [], "b": []}
    for i in range(3):
        parts = []
        for name in "ab":
            layer = f"{name}_column_units_{i}"
            hidden = features[name] @ found[f"{layer}/kernel"] + found[f"{layer}/bias"]
            parts += np.split(np.tanh(hidden), 2, axis=1)
        for name in "ab":
            alpha = found[f"stitch_{name}_units_{i}/alpha"]
            received = np.einsum("gs,sbc->gbc", alpha, np.stack(parts))
            features[name] = np.concatenate(received, axis=1)
            as_last = features[name]
            if i < 2:
                as_last = as_last @ found[f"{name}_units_{i}_projected/kernel"]
            layers[name].append(as_last)
    expected = {}
    for name in "ab":
        mixed = np.einsum("k,kbc->bc", found[f"{name}_mixture/beta"], np.stack(layers[name]))
        expected[name] = mixed @ found[f"{name}/kernel"] + found[f"{name}/bias"]
    assert_predicts(model, x, expected)


def test_the_penalty_is_the_overlap_of_the_kernels_parts():
    model = randomized(sluice(orthogonality=0.3))
    found = values(model)
    expected = 0.0
    for name in "ab":
        for i in range(3):
            one, other = np.split(found[f"{name}_column_units_{i}/kernel"], 2, axis=1)
            expected += 0.3 * ((one.T @ other) ** 2).sum()
    (loss,) = model.losses
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert not sluice(orthogonality=0).losses
    assert not sluice(subspaces=1).losses
    three = randomized(sluice(units=(6,), subspaces=3, orthogonality=1.0))
    parts = [np.split(values(three)[f"{n}_column_units_0/kernel"], 3, axis=1) for n in "ab"]
    expected = sum(((p[g].T @ p[h]) ** 2).sum() for p in parts for g, h in ((0, 1), (0, 2), (1, 2)))
    np.testing.assert_allclose(three.losses[0], expected, rtol=1e-5)


def test_the_penalty_is_trained_and_logged():
    model = compiled(sluice(orthogonality=50.0), optimizer=keras.optimizers.SGD(0.001))
    x, y = data()
    before = float(model.losses[0])
    history = train(model, x, y)
    assert history["loss"][0] > history["a_loss"][0] + history["b_loss"][0] + 0.5 * before
    assert float(model.losses[0]) < before


def test_parameters():
    columns = 2 * (4 * 6 + 6 + 6 * 6 + 6 + 6 * 4 + 4)
    stitches, projections, mixtures = 3 * 4 * 4, 2 * 2 * 6 * 4, 2 * 3
    heads = 2 * (4 + 1)
    assert sluice().count_params() == columns + stitches + projections + mixtures + heads
    alike = sluice(units=(6, 6))
    assert alike.count_params() == 2 * (4 * 6 + 6 + 6 * 6 + 6) + 2 * 16 + 2 * 2 + 2 * 7


def test_readers_by_stage_and_by_task():
    for given in (tasks(), tasks()[::-1]):
        model = sluice(given)
        matrix = model.stitch_matrices()["units_1"]
        assert matrix.shape == (4, 4)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(np.diag(matrix), 0.9, rtol=1e-6)
        model.get_layer("b_mixture").beta.assign([1.0, 2.0, 3.0])
        found = model.layer_mixtures()
        assert found["b"] == {"units_0": 1.0, "units_1": 2.0, "units_2": 3.0}
        np.testing.assert_allclose(list(found["a"].values()), [0.05, 0.05, 0.9], rtol=1e-6)


def test_mixtures_projections_and_last_rows_are_the_tasks():
    model = sluice()
    for name in ("a", "b"):
        layers = {v.path.split("/")[0] for v in model.task_variables(name)}
        projected = {f"{name}_units_{i}_projected" for i in range(2)}
        assert layers == {f"stitch_{name}_units_2", f"{name}_mixture", name, *projected}
    assert {t.shape for t in model.boundary} == {(None, 6), (None, 4)}
    assert len(model.boundary) == 6


def test_nothing_of_an_absent_task_moves():
    model = compiled(sluice(), "pcgrad")
    x, y = data()
    own = model.task_variables("b")
    before, of_shared = copies(own), copies(model.shared_variables)
    train(model, x, {**y, "b": np.full_like(y["b"], np.nan)})
    assert_same(own, before)
    assert_all_moved(model.shared_variables, of_shared)


@pytest.mark.slow
def test_maps_are_averaged_to_the_positions_of_the_last_stage():
    model = conv_model(Sluice)
    x, y = conv_data()
    assert_rebuilt(model, x)
    layers = {layer.name for layer in model.layers}
    assert {"parts_one_resized", "parts_one_projected", "parts_two_resized"} <= layers
    assert "parts_two_projected" not in layers
    assert model.get_layer("parts_two_resized").pool_size == (2, 2)
    compiled(model, "pcgrad", metrics={"parts": [], "size": []})
    before = copies(model.shared_variables)
    train(model, x, y)
    assert_all_moved(model.shared_variables, before)
    assert len(model.losses) == 1


@pytest.mark.slow
def test_config_and_student():
    model = sluice(orthogonality=0.2, within=0.8, between=0.0, last=0.5, name="mine")
    x, _ = data()
    assert_rebuilt(model, x)
    assert model.student(2).get_layer("a_column_units_0").units == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subspaces": 0}, "`subspaces` should be a positive integer"),
        ({"orthogonality": -1}, "`orthogonality` should be a number of at least 0"),
        ({"last": "x"}, "`last` should be a number"),
        ({"units": (6, 5)}, "`stitch_a_units_1` receives should be divisible by `subspaces`"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        sluice(**arguments)
