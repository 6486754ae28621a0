"""MMoE: its graph against NumPy, its gates, its config."""

import json

import keras
import numpy as np
import pytest
from model_cases import assert_same, compiled, data, tasks, train

from mtlzoo import MMoE


def mmoe(given=None, seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {"num_experts": 3, "expert_units": (5, 4), "tower_units": (3,), **arguments}
    return MMoE(keras.Input((4,), name="x"), given or tasks(), activation="tanh", **arguments)


def by_hand(model, x):
    """Outputs and gates, expert by expert."""
    weights = {v.path: np.array(v, "float64") for v in model.variables}
    first = weights["experts/kernel_0"].reshape(4, 3, 5)
    experts = []
    for k in range(3):
        hidden = np.tanh(x @ first[:, k] + weights["experts/bias_0"][k])
        hidden = np.tanh(hidden @ weights["experts/kernel_1"][k] + weights["experts/bias_1"][k])
        experts.append(hidden)
    outputs, gates = {}, {}
    for name in ("a", "b"):
        scores = np.exp(x @ weights[f"{name}_gate/kernel"])
        gates[name] = scores / scores.sum(axis=1, keepdims=True)
        mixed = sum(gates[name][:, k : k + 1] * experts[k] for k in range(3))
        tower = mixed @ weights[f"{name}_tower_0/kernel"] + weights[f"{name}_tower_0/bias"]
        outputs[name] = np.tanh(tower) @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
    return outputs, gates


def test_it_is_the_mixture_written_out_by_hand():
    model = mmoe()
    x, _ = data()
    outputs, gates = by_hand(model, x.astype("float64"))
    for name, value in model.predict(x, verbose=0).items():
        np.testing.assert_allclose(value, outputs[name], rtol=1e-5, atol=1e-6)
    for name, value in model.gate_weights(x).items():
        np.testing.assert_allclose(value, gates[name], rtol=1e-5)


def test_gate_weights_are_distributions_by_task_name():
    x, _ = data()
    for given in (tasks(), tasks()[::-1]):
        model = mmoe(given)
        found = model.gate_weights(x, batch_size=3)
        assert set(found) == {"a", "b"}
        for gates in found.values():
            assert gates.shape == (8, 3) and (gates > 0).all()
            np.testing.assert_allclose(gates.sum(axis=1), 1, rtol=1e-6)
        model.get_layer("b_gate").kernel.assign(np.zeros((4, 3)))
        changed = model.gate_weights(x)
        np.testing.assert_allclose(changed["a"], found["a"], rtol=1e-5)
        np.testing.assert_allclose(changed["b"], 1 / 3, rtol=1e-6)


def test_experts_are_shared_and_gates_are_the_tasks():
    model = mmoe()
    assert {v.path.split("/")[0] for v in model.shared_variables} == {"experts"}
    for name in ("a", "b"):
        layers = {v.path.split("/")[0] for v in model.task_variables(name)}
        assert layers == {f"{name}_gate", f"{name}_tower_0", name}


@pytest.mark.slow
def test_gates_of_a_trained_model_follow_the_training_and_the_saved_file(tmp_path):
    model = compiled(mmoe(), "mgda")
    x, y = data()
    before = model.gate_weights(x)
    train(model, x, y)
    after = model.gate_weights(x)
    assert all(np.abs(after[name] - before[name]).max() > 0 for name in after)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert type(loaded) is MMoE
    assert_same(list(loaded.gate_weights(x).values()), [after["a"], after["b"]])


def test_the_config_rebuilds_the_graph():
    backbone = keras.Sequential([keras.layers.Dense(6, name="inner")], name="trunk")
    arguments = {"backbone": backbone, "dropout": 0.2, "tower_units": (), "name": "mine"}
    model = mmoe(**arguments)
    config = json.loads(json.dumps(model.get_config()))
    again = MMoE.from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]
    again.set_weights(model.get_weights())
    x, _ = data()
    expected = model.predict(x, verbose=0)
    assert_same(list(again.predict(x, verbose=0).values()), list(expected.values()))


def test_defaults_are_those_of_the_paper():
    model = MMoE(keras.Input((4,)), tasks())
    assert model.get_layer("experts").num_experts == 8
    assert model.get_layer("experts").units == (16,)
    assert model.get_layer("a_tower_0").units == 8


def test_permuted_tasks_give_the_same_model_and_the_same_weights_file(tmp_path):
    first, second = mmoe(), mmoe(tasks()[::-1])
    assert_same(first.variables, second.variables)
    third = mmoe(tasks()[::-1], seed=5)
    first.save_weights(tmp_path / "m.weights.h5")
    third.load_weights(tmp_path / "m.weights.h5")
    assert_same(third.variables, first.variables)


@pytest.mark.parametrize("num_experts", [0, -1, 2.0, "4", None, True])
def test_the_number_of_experts_should_be_a_positive_integer(num_experts):
    message = rf"`num_experts` should be a positive integer. Received: num_experts={num_experts!r}"
    with pytest.raises(ValueError, match=message):
        mmoe(num_experts=num_experts)
