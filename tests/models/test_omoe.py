"""OMoE: its graph against NumPy, and what is shared."""

import keras
import numpy as np
import pytest
from model_cases import data, tasks

from mtlzoo import OMoE
from mtlzoo.layers import TopKGate


def omoe(given=None, **arguments):
    arguments = {"num_experts": 3, "expert_units": (5,), "tower_units": (2,), **arguments}
    return OMoE(keras.Input((4,), name="x"), given or tasks(), activation="tanh", **arguments)


def test_it_is_the_mixture_written_out_by_hand():
    model = omoe()
    x = data()[0].astype("float64")
    weights = {v.path: np.array(v, "float64") for v in model.variables}
    scores = np.exp(x @ weights["shared_gate/kernel"])
    gate = scores / scores.sum(1, keepdims=True)
    kernels = weights["experts/kernel_0"].reshape(4, 3, 5)
    mixed = sum(
        gate[:, k, None] * np.tanh(x @ kernels[:, k] + weights["experts/bias_0"][k])
        for k in range(3)
    )
    outputs = model.predict(x, verbose=0)
    for name in ("a", "b"):
        tower = mixed @ weights[f"{name}_tower_0/kernel"] + weights[f"{name}_tower_0/bias"]
        expected = np.tanh(tower) @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(model.gate_weights(x, batch_size=3)[name], gate, rtol=1e-5)


def test_parameters_and_who_owns_them():
    model = omoe()
    experts, gate = 4 * 3 * 5 + 3 * 5, 4 * 3
    of_task = 5 * 2 + 2 + 2 + 1
    assert model.count_params() == experts + gate + 2 * of_task
    shared = {v.path.split("/")[0] for v in model.shared_variables}
    assert shared == {"experts", "shared_gate"}
    assert {v.path.split("/")[0] for v in model.task_variables("a")} == {"a_tower_0", "a"}
    (boundary,) = model.boundary
    assert boundary.shape == (None, 5)  # the mixture


def test_the_gate_is_chosen_and_saved(tmp_path):
    model = omoe(gate=TopKGate(k=1, noise=0.0))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x = data()[0]
    for each in (model, loaded):
        assert ((each.gate_weights(x)["b"] > 0).sum(1) == 1).all()
    assert loaded.get_layer("shared_gate").k == 1
    with pytest.raises(ValueError, match=r"`gate` should be one of .* Received: gate='best'"):
        omoe(gate="best")


def test_a_student_is_narrower():
    student = omoe(expert_units=(8,), tower_units=(4,)).student(0.5)
    assert student.get_layer("experts").units == (4,)
    assert student.get_layer("experts").num_experts == 3


@pytest.mark.parametrize("num_experts", [0, 2.0, None, True])
def test_the_number_of_experts_should_be_a_positive_integer(num_experts):
    with pytest.raises(ValueError, match="`num_experts` should be a positive integer"):
        omoe(num_experts=num_experts)
