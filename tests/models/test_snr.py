"""SNR: its graph against NumPy, parameters, owners, routing."""

import keras
import numpy as np
import pytest
from model_cases import assert_same, compiled, data, tasks, train

from mtlzoo import SNR

COUNT, UNITS, TOWER = 3, (6, 5), 2


def snr(given=None, seed=1, seed_of_draws=None, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {
        "num_subnetworks": COUNT,
        "subnetwork_units": UNITS,
        "tower_units": (TOWER,),
        "seed": seed_of_draws,
        **arguments,
    }
    return SNR(keras.Input((4,), name="x"), given or tasks(), activation="tanh", **arguments)


def routed(weights, name, hidden, count, form):
    """What the sub-networks above get, connection by connection."""
    alpha = weights[f"{name}/log_alpha"]
    z = np.clip(1.2 / (1 + np.exp(-alpha)) - 0.1, 0, 1)
    width = hidden[0].shape[1]
    above = []
    for j in range(count):
        total = 0
        for i, value in enumerate(hidden):
            if form == "trans":
                kernel = weights[f"{name}/kernel"].reshape(len(hidden), width, count, width)
                value = value @ kernel[i, :, j]
            total = total + z[i, j] * value
        above.append(total)
    return above


@pytest.mark.parametrize("form", ["trans", "aver"])
def test_it_is_the_paper_written_out_by_hand(form):
    model = snr(routing=form)
    for layer in model.layers:
        if layer.name.endswith("routing") or layer.name == "routing_1":
            layer.log_alpha.assign(np.random.default_rng(2).normal(size=layer.log_alpha.shape) * 2)
    x = data()[0].astype("float64")
    weights = {v.path: np.array(v, "float64") for v in model.variables}
    kernels = weights["subnetworks_0/kernel_0"].reshape(4, COUNT, UNITS[0])
    biases = weights["subnetworks_0/bias_0"]
    hidden = [np.tanh(x @ kernels[:, k] + biases[k]) for k in range(COUNT)]
    above = routed(weights, "routing_1", hidden, COUNT, form)
    kernels, biases = weights["subnetworks_1/kernel"], weights["subnetworks_1/bias"]
    hidden = [np.tanh(above[k] @ kernels[k] + biases[k]) for k in range(COUNT)]
    outputs = model.predict(x, verbose=0)
    for name in ("a", "b"):
        (value,) = routed(weights, f"{name}_routing", hidden, 1, form)
        tower = value @ weights[f"{name}_tower_0/kernel"] + weights[f"{name}_tower_0/bias"]
        expected = np.tanh(tower) @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["trans", "aver"])
def test_the_number_of_parameters(form):
    first, second = UNITS
    total = COUNT * 5 * first + COUNT * (first + 1) * second
    total += COUNT * COUNT + 2 * COUNT  # log alpha
    if form == "trans":
        total += COUNT * COUNT * first**2 + 2 * COUNT * second**2
    total += 2 * ((second + 1) * TOWER + TOWER + 1)
    assert snr(routing=form).count_params() == total


def test_who_owns_what_and_where_the_shared_part_ends():
    model = snr()
    shared = {v.path.split("/")[0] for v in model.shared_variables}
    assert shared == {"subnetworks_0", "routing_1", "subnetworks_1"}
    assert {v.path.split("/")[0] for v in model.task_variables("b")} == {
        *("b_routing", "b_tower_0", "b")
    }
    (boundary,) = model.boundary
    assert boundary.shape == (None, COUNT, UNITS[-1])


def test_sub_networks_start_with_the_scale_of_dense_layers():
    model = snr(subnetwork_units=(50, 60))
    limit = np.sqrt(6 / (50 + 60))
    for kernel in np.array(model.get_layer("subnetworks_1").kernel):
        assert 0.95 * limit < np.abs(kernel).max() <= limit


def test_routing_probabilities_follow_the_training():
    model = compiled(snr(l0_weight=1.0), "pcgrad", keras.optimizers.Adam(0.05))
    before = model.routing_probabilities()
    assert {name: value.shape for name, value in before.items()} == {
        "routing_1": (COUNT, COUNT),
        "a_routing": (COUNT, 1),
        "b_routing": (COUNT, 1),
    }
    for value in before.values():
        np.testing.assert_allclose(value, 1 / (1 + 11 ** (-2 / 3)), atol=0.02)
    train(model, *data())
    for name, value in model.routing_probabilities().items():
        assert value.mean() < before[name].mean()  # a heavy penalty


def test_connections_are_what_predictions_are_made_with():
    model = snr(routing="aver", subnetwork_units=(6,), tower_units=())
    layer = model.get_layer("a_routing")
    layer.log_alpha.assign([[-4.0], [0.5], [4.0]])
    found = model.connections()
    assert {name: value.shape for name, value in found.items()} == {
        "a_routing": (COUNT, 1),
        "b_routing": (COUNT, 1),
    }
    between = 1.2 / (1 + np.exp(-0.5)) - 0.1
    np.testing.assert_allclose(found["a_routing"], [[0], [between], [1]], rtol=1e-6)
    x, _ = data()
    hidden = keras.Model(model.input, layer.input).predict(x, verbose=0)
    head = model.get_layer("a")
    routed = between * hidden[:, 1] + hidden[:, 2]
    expected = routed @ np.array(head.kernel) + np.array(head.bias)
    np.testing.assert_allclose(model.predict(x, verbose=0)["a"], expected, rtol=1e-4, atol=1e-5)


def test_a_seed_settles_the_draws():
    models = [snr(seed_of_draws=5), snr(seed=2, seed_of_draws=5), snr()]
    models += [SNR.from_config(models[0].get_config())]
    x, _ = data()
    found = []
    for model in models:
        model.set_weights(models[0].get_weights())
        found.append(np.array(model(x, training=True)["a"]))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[3])
    assert np.abs(found[0] - found[2]).max() > 1e-4
    seeds = [layer.seed for layer in models[0].layers if "routing" in layer.name]
    assert sorted(seeds) == [5, 6, 7]


@pytest.mark.slow
def test_it_is_random_in_training_and_resumes_exactly(tmp_path):
    model = compiled(snr(dropout=0.2))
    x, y = data()
    assert np.abs(model(x, training=True)["a"] - model(x, training=True)["a"]).max() > 1e-4
    np.testing.assert_array_equal(model(x)["a"], model(x)["a"])
    train(model, x, y)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert train(loaded, x, y) == train(model, x, y)
    assert_same(loaded.variables, model.variables)


def test_one_layer_has_routings_to_the_tasks_only():
    model = snr(subnetwork_units=(6,), routing="aver")
    assert set(model.routing_probabilities()) == {"a_routing", "b_routing"}


def test_a_student_is_narrower():
    student = snr(subnetwork_units=(8, 6), tower_units=(4,)).student(0.5)
    assert student.get_layer("subnetworks_0").units == (4,)
    assert student.get_layer("subnetworks_1").kernel.shape == (COUNT, 4, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_subnetworks": 0}, "`num_subnetworks` should be a positive integer. Received: num_"),
        ({"subnetwork_units": ()}, "`subnetwork_units` should have at least one layer. Received"),
        ({"subnetwork_units": (0,)}, "`subnetwork_units` should be a tuple of positive integers"),
        ({"routing": "both"}, "`routing` should be 'trans' or 'aver'. Received: routing='both'"),
        ({"l0_weight": -0.1}, "`l0_weight` should be a finite number that is not negative"),
        ({"seed_of_draws": 0.5}, "`seed` should be an integer or None. Received: seed=0.5"),
        ({"sample": None}, "`sample` should be a bool. Received: sample=None"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        snr(**arguments)
