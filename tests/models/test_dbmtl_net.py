"""DBMTLNet: its network of tasks against NumPy, its relations, what its tasks share."""

import json

import keras
import numpy as np
import pytest
from model_cases import assert_same

from mtlzoo import BinaryClassification, DBMTLNet, PCGrad, Regression

RELATIONS = {"buy": ("click", "stay"), "stay": ("click",)}


def tasks():
    return [BinaryClassification("click"), BinaryClassification("buy"), Regression("stay")]


def dbmtl_net(given=None, seed=1, relations=RELATIONS, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {"tower_units": (5,), "relation_units": (3,), **arguments}
    inputs = keras.Input((4,), name="x")
    return DBMTLNet(inputs, given or tasks(), relations=relations, activation="tanh", **arguments)


def data(rows=8):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 4)).astype("float32")


def by_hand(model, x, parents):
    """Outputs, of inputs or of a dict by task of what its tower reads."""
    weights = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(features, name):
        return features @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    if not isinstance(x, dict):
        x = dict.fromkeys(parents, np.tanh(dense(x, "shared_0")))
    z = {}
    for name in ("click", "stay", "buy"):
        tower = np.tanh(dense(x[name], f"{name}_tower_0"))
        joined = np.concatenate([tower, *(z[parent] for parent in parents[name])], axis=1)
        z[name] = np.tanh(dense(joined, f"{name}_relation_0"))
    return {name: dense(features, name) for name, features in z.items()}


def test_it_is_the_network_written_out_by_hand():
    model = dbmtl_net(shared_units=(6,))
    x = data()
    parents = {"click": [], "stay": ["click"], "buy": ["click", "stay"]}
    expected = by_hand(model, x.astype("float64"), parents)
    found = model.predict(x, verbose=0)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)
    bottom, tower, head = 4 * 6 + 6, 6 * 5 + 5, 3 + 1
    relations = sum((5 + 3 * len(p)) * 3 + 3 for p in parents.values())
    assert model.count_params() == bottom + 3 * (tower + head) + relations


def test_what_others_depend_on_is_shared():
    model = dbmtl_net()
    owned = {n: {v.path.split("/")[0] for v in model.task_variables(n)} for n in model.task_names}
    assert owned == {
        "buy": {"buy_tower_0", "buy_relation_0", "buy"},
        "click": {"click"},
        "stay": {"stay"},
    }
    shared = {v.path.split("/")[0] for v in model.shared_variables}
    assert shared == {f"{n}_{part}_0" for n in ("click", "stay") for part in ("tower", "relation")}
    # `buy` reads both; what `stay` reads of `click` is a shared layer's.
    assert [tensor.shape for tensor in model.boundary] == [(None, 3), (None, 3)]


def test_without_relations_tasks_are_independent():
    for relations in (None, {}, {"buy": ()}):
        model = dbmtl_net(relations=relations)
        assert model.shared_variables == []
        with pytest.raises(ValueError, match="has no shared variable"):
            _ = model.boundary
        with pytest.raises(ValueError, match="no trainable variable that two tasks share"):
            model.compile("sgd", PCGrad(wrt="features"))
    shared = dbmtl_net(relations=None, shared_units=(6,))
    (boundary,) = shared.boundary
    assert boundary.shape == (None, 6)


@pytest.mark.slow
def test_no_order_means_anything():
    x = data()
    first = dbmtl_net()
    orders = [
        dbmtl_net(tasks()[::-1]),
        dbmtl_net(relations={"stay": ["click"], "buy": ["stay", "click", "stay"]}),
    ]
    for other in orders:
        assert_same(other.variables, first.variables)
        expected = first.predict(x, verbose=0)
        assert_same(list(other.predict(x, verbose=0).values()), list(expected.values()))


def test_tasks_may_have_mixtures_of_experts():
    model = dbmtl_net(shared_units=(6,), num_experts=2, expert_units=(4,))
    x = data()
    weights = {v.path: np.array(v, "float64") for v in model.variables}
    bottom = np.tanh(x @ weights["shared_0/kernel"] + weights["shared_0/bias"])
    kernels = weights["experts/kernel_0"].reshape(6, 2, 4)
    experts = [np.tanh(bottom @ kernels[:, k] + weights["experts/bias_0"][k]) for k in range(2)]
    towers = {}
    for name in model.task_names:
        scores = np.exp(bottom @ weights[f"{name}_gate/kernel"])
        gate = scores / scores.sum(1, keepdims=True)
        np.testing.assert_allclose(model.gate_weights(x)[name], gate, rtol=1e-5)
        towers[name] = gate[:, :1] * experts[0] + gate[:, 1:] * experts[1]
    parents = {"click": [], "stay": ["click"], "buy": ["click", "stay"]}
    expected = by_hand(model, towers, parents)
    for name, value in model.predict(x, verbose=0).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)
    plain = dbmtl_net(shared_units=(6,))
    experts, gates = 2 * (6 + 1) * 4, 3 * 6 * 2
    assert model.count_params() == plain.count_params() + experts + gates - 3 * (6 - 4) * 5
    gates = {f"{n}_gate" for n in ("click", "stay")}
    shared = {v.path.split("/")[0] for v in model.shared_variables}
    assert {layer for layer in shared if "gate" in layer} == gates
    assert "experts" in shared and "buy_gate" not in shared
    again = DBMTLNet.from_config(json.loads(json.dumps(model.get_config())))
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]


def test_experts_are_checked():
    for number in (-1, 1.0, True):
        with pytest.raises(ValueError, match="`num_experts` should be an integer of at least 0"):
            dbmtl_net(num_experts=number)
    with pytest.raises(ValueError, match="`num_experts` should be positive for gates to read"):
        dbmtl_net().gate_weights(data())


def test_networks_may_have_no_layers():
    model = dbmtl_net(relation_units=(), tower_units=())
    assert model.get_layer("stay").kernel.shape == (4 + 4, 1)
    assert model.get_layer("buy").kernel.shape == (4 + 4 + (4 + 4), 1)


def test_it_is_rebuilt_from_its_config_and_its_file(tmp_path):
    model = dbmtl_net(dropout=0.1, name="mine", shared_units=(6,))
    config = json.loads(json.dumps(model.get_config()))
    again = DBMTLNet.from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x = data()
    expected = model.predict(x, verbose=0)
    assert_same(list(loaded.predict(x, verbose=0).values()), list(expected.values()))


@pytest.mark.parametrize(
    ("relations", "message"),
    [
        ([("buy", "click")], "`relations` should be a dict from names of tasks"),
        ({"view": ("click",)}, "`relations` should name some of the tasks .*Received: 'view' in"),
        ({"buy": "click"}, "`relations` of task `buy` should be a tuple of names.*'click'"),
        ({"buy": ("view",)}, "`relations` of task `buy` should name some of .*Received: 'view'"),
        ({"buy": ("buy",)}, "should not lead in a circle. Received: buy -> buy"),
        (
            {"buy": ("click",), "click": ("stay",), "stay": ("buy",)},
            "should not lead in a circle. Received: buy -> stay -> click -> buy",
        ),
    ],
)
def test_relations_should_be_of_tasks_and_without_circles(relations, message):
    with pytest.raises(ValueError, match=message):
        dbmtl_net(relations=relations)
