"""PLE: its graph against NumPy level by level, parameters, owners, gates."""

import json
import re

import keras
import numpy as np
import pytest
from model_cases import assert_same, compiled, copies, data, tasks, train

from mtlzoo import PLE, Regression
from mtlzoo.layers import DSelectKGate, SoftmaxGate, TopKGate

WIDTH, OWN, SHARED, UNITS, TOWER = 4, 2, 3, (6, 5), 2
NAMES = ("a", "b")


def ple(given=None, seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {
        "num_shared_experts": SHARED,
        "num_task_experts": OWN,
        "expert_units": UNITS,
        "tower_units": (TOWER,),
        **arguments,
    }
    inputs = keras.Input((WIDTH,), name="x")
    return PLE(inputs, given or tasks(), activation="tanh", **arguments)


def softmax(logits):
    scores = np.exp(logits)
    return scores / scores.sum(1, keepdims=True)


def by_hand(model, x, levels, counts=None, units=None):
    """Outputs and gates, level by level and expert by expert."""
    counts = counts or [{"a": OWN, "b": OWN, "shared": SHARED}] * levels
    units = units or [UNITS] * levels
    weights = {v.path: np.array(v, "float64") for v in model.variables}
    features = dict.fromkeys([*NAMES, "shared"], x)
    gates = {}
    for level in range(levels):
        experts = {}
        for owner, value in features.items():
            prefix = f"level_{level}_{owner}_experts"
            count = counts[level][owner]
            first = weights[f"{prefix}/kernel_0"].reshape(value.shape[1], count, units[level][0])
            experts[owner] = []
            for k in range(count):
                hidden = np.tanh(value @ first[:, k] + weights[f"{prefix}/bias_0"][k])
                for i in range(1, len(units[level])):
                    hidden = hidden @ weights[f"{prefix}/kernel_{i}"][k]
                    hidden = np.tanh(hidden + weights[f"{prefix}/bias_{i}"][k])
                experts[owner].append(hidden)
        mixes = {name: experts[name] + experts["shared"] for name in NAMES}
        if level < levels - 1:
            mixes["shared"] = experts["a"] + experts["b"] + experts["shared"]
        of_level = {
            owner: softmax(features[owner] @ weights[f"level_{level}_{owner}_gate/kernel"])
            for owner in mixes
        }
        features = {
            owner: sum(of_level[owner][:, k, None] * expert for k, expert in enumerate(mixed))
            for owner, mixed in mixes.items()
        }
        gates[f"level_{level}"] = of_level
    outputs = {}
    for name in NAMES:
        tower = features[name] @ weights[f"{name}_tower_0/kernel"] + weights[f"{name}_tower_0/bias"]
        outputs[name] = np.tanh(tower) @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
    return outputs, gates


@pytest.mark.one_in(3)
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_it_is_the_paper_written_out_by_hand(levels):
    model = ple(num_levels=levels)
    x, _ = data()
    outputs, gates = by_hand(model, x.astype("float64"), levels)
    for name, value in model.predict(x, verbose=0).items():
        np.testing.assert_allclose(value, outputs[name], rtol=1e-4, atol=1e-5)
    found = model.gate_weights(x, batch_size=3)
    assert list(found) == list(gates)
    for level, of_level in found.items():
        assert set(of_level) == set(gates[level])
        for owner, value in of_level.items():
            np.testing.assert_allclose(value, gates[level][owner], rtol=1e-4, atol=1e-6)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("count", [2, 3])
def test_the_number_of_parameters(levels, count):
    given = [Regression(name) for name in "abc"[:count]]
    model = ple(given, num_levels=levels)
    total = 0
    for level in range(levels):
        width = WIDTH if level == 0 else UNITS[-1]
        expert = (width + 1) * UNITS[0] + (UNITS[0] + 1) * UNITS[1]
        total += (count * OWN + SHARED) * expert
        total += count * width * (OWN + SHARED)
        if level < levels - 1:
            total += width * (count * OWN + SHARED)
    total += count * ((UNITS[-1] + 1) * TOWER + TOWER + 1)
    assert model.count_params() == total


UNEQUAL = {
    "num_levels": 3,
    "num_shared_experts": (1, 2, 3),
    "num_task_experts": [{"a": 3, "b": 1}, 2, {"b": 2, "a": 1}],
    "expert_units": [(6,), (3, 5), (4,)],
}
COUNTS = [
    {"a": 3, "b": 1, "shared": 1},
    {"a": 2, "b": 2, "shared": 2},
    {"a": 1, "b": 2, "shared": 3},
]


def test_levels_and_tasks_may_differ():
    model = ple(**UNEQUAL)
    x, _ = data()
    outputs, gates = by_hand(model, x.astype("float64"), 3, COUNTS, UNEQUAL["expert_units"])
    for name, value in model.predict(x, verbose=0).items():
        np.testing.assert_allclose(value, outputs[name], rtol=1e-4, atol=1e-5)
    for level, of_level in model.gate_weights(x).items():
        for owner, value in of_level.items():
            np.testing.assert_allclose(value, gates[level][owner], rtol=1e-4, atol=1e-6)
    total, width = 0, WIDTH
    for level, (counts, units) in enumerate(zip(COUNTS, UNEQUAL["expert_units"], strict=True)):
        gates_of_all = sum(counts[name] + counts["shared"] for name in NAMES)
        total += width * (gates_of_all + (sum(counts.values()) if level < 2 else 0))
        for layer in units:
            total += sum(counts.values()) * (width + 1) * layer
            width = layer
    assert model.count_params() == total + 2 * ((4 + 1) * TOWER + TOWER + 1)


def test_what_differs_is_in_the_config_and_in_a_student():
    model = ple(**UNEQUAL)
    config = json.loads(json.dumps(model.get_config()))
    again = PLE.from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]
    student = model.student(0.5)
    assert student.get_config()["expert_units"] == [[3], [2, 2], [2]]
    assert student.get_layer("level_0_a_experts").num_experts == 3
    for_all = ple(num_task_experts={"a": 1, "b": 2})
    counts = [for_all.get_layer(f"level_{i}_{n}_experts").num_experts for i in (0, 1) for n in "ab"]
    assert counts == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"num_task_experts": {"a": 1}},
            "`num_task_experts` should have a number for each of the tasks ['a', 'b'] and no "
            "other. Received: num_task_experts={'a': 1}",
        ),
        (
            {"num_task_experts": [2, {"a": 1, "c": 1}]},
            "`num_task_experts[1]` should have a number for each of the tasks ['a', 'b'] and",
        ),
        (
            {"num_task_experts": [{"a": 1, "b": 0}, 2]},
            "`num_task_experts[0]['b']` should be a positive integer. "
            "Received: num_task_experts[0]['b']=0",
        ),
        (
            {"num_task_experts": [1, 2, 3]},
            "`num_task_experts` should have an entry for each of 2 levels. Received: "
            "num_task_experts=[1, 2, 3]",
        ),
        (
            {"num_shared_experts": [2, 1.5]},
            "`num_shared_experts[1]` should be a positive integer. Received: num_shared_experts[1",
        ),
        ({"num_shared_experts": [2]}, "`num_shared_experts` should have an entry for each of 2"),
        ({"num_shared_experts": {"a": 2}}, "`num_shared_experts` should be a positive integer."),
        (
            {"expert_units": [(4,), (0,)]},
            "`expert_units[1]` should be a tuple of positive integers. Received: expert_units[1]",
        ),
        ({"expert_units": [(4,), 4]}, "`expert_units[1]` should be a tuple of positive integers"),
        ({"expert_units": [(4,)]}, "`expert_units` should have an entry for each of 2 levels"),
        ({"expert_units": 4}, "`expert_units` should be a tuple of positive integers"),
        ({"expert_units": [(4,), ()]}, "`units` should have at least one layer"),
    ],
)
def test_what_differs_is_checked(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ple(**arguments)


def owners(model, name):
    return {v.path.split("/")[0] for v in model.task_variables(name)}


def test_with_one_level_experts_and_gate_are_the_tasks():
    model = ple(num_levels=1)
    assert {v.path.split("/")[0] for v in model.shared_variables} == {"level_0_shared_experts"}
    expected = {"level_0_a_experts", "level_0_a_gate", "a_tower_0", "a"}
    assert owners(model, "a") == expected
    (boundary,) = model.boundary
    assert boundary.shape == (None, SHARED, UNITS[-1])


def test_before_the_last_level_experts_are_shared():
    model = ple(num_levels=3)
    own = {"level_2_a_experts", "level_2_a_gate", "level_1_a_gate", "a_tower_0", "a"}
    assert owners(model, "a") == own
    shared = {v.path.split("/")[0] for v in model.shared_variables}
    of_level = {f"{owner}_experts" for owner in ("a", "b", "shared")}
    assert shared == {
        *(f"level_{level}_{layer}" for level in (0, 1) for layer in of_level),
        *("level_0_a_gate", "level_0_b_gate", "level_0_shared_gate", "level_1_shared_gate"),
        "level_2_shared_experts",
    }


@pytest.mark.one_in(2)
@pytest.mark.parametrize("levels", [1, 2])
def test_an_absent_task_rests_and_the_rest_is_trained(levels):
    model = compiled(ple(num_levels=levels), "pcgrad", keras.optimizers.Adam(0.01))
    x, y = data()
    y["b"][:] = np.nan
    own, shared = copies(model.task_variables("b")), copies(model.shared_variables)
    train(model, x, y)
    assert_same(model.task_variables("b"), own)
    for variable, before in zip(model.shared_variables, shared, strict=True):
        assert np.abs(np.array(variable) - before).max() > 0, variable.path


def test_one_task_alone_owns_everything():
    model = ple([Regression("b")])
    assert not model.shared_variables
    assert set(model.gate_weights(data()[0])["level_0"]) == {"b", "shared"}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("gate", [SoftmaxGate(), TopKGate(k=1, noise=0.0), DSelectKGate()])
def test_gates_are_chosen_and_saved(gate, tmp_path):
    model = ple(gate=gate)
    kinds = {type(layer) for layer in model.layers if layer.name.endswith("_gate")}
    assert kinds == {type(gate)}
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x, _ = data()
    for level, of_level in model.gate_weights(x).items():
        for owner, value in of_level.items():
            np.testing.assert_array_equal(loaded.gate_weights(x)[level][owner], value)
            if isinstance(gate, TopKGate):
                assert ((value > 0).sum(1) == 1).all()


@pytest.mark.slow
def test_losses_of_gates_count_in_training_with_any_balancer():
    logs = []
    for weight in (0.0, 2.0):
        model = compiled(ple(gate=SoftmaxGate(importance_weight=weight)), "mgda")
        logs.append(train(model, *data(), batch_size=8))
    assert logs[1]["loss"][0] > logs[0]["loss"][0] + 1e-3
    np.testing.assert_allclose(logs[1]["a_loss"], logs[0]["a_loss"], rtol=1e-6)


def test_permuted_tasks_give_the_same_model_and_the_same_weights_file(tmp_path):
    first, second = ple(), ple(tasks()[::-1])
    assert_same(first.variables, second.variables)
    third = ple(tasks()[::-1], seed=5)
    first.save_weights(tmp_path / "m.weights.h5")
    third.load_weights(tmp_path / "m.weights.h5")
    assert_same(third.variables, first.variables)


def test_a_student_is_narrower():
    student = ple(expert_units=(8,), tower_units=(4,)).student(0.5)
    assert student.get_layer("level_1_a_experts").units == (4,)
    assert student.get_layer("level_1_a_experts").num_experts == OWN


@pytest.mark.parametrize("argument", ["num_levels", "num_shared_experts", "num_task_experts"])
@pytest.mark.parametrize("value", [0, 1.0, True])
def test_numbers_are_checked(argument, value):
    message = f"`{argument}` should be a positive integer. Received: {argument}={value!r}"
    with pytest.raises(ValueError, match=message):
        ple(**{argument: value})


def test_names_and_gates_are_checked():
    with pytest.raises(ValueError, match="`tasks` should not have the name of the shared part"):
        ple([Regression("shared"), Regression("a")])
    message = "`num_experts` of `gate` should be None or 7, that of the layer `level_0_shared_gate`"
    with pytest.raises(ValueError, match=message):
        ple(gate=SoftmaxGate(5))
    assert ple(gate=SoftmaxGate(5), num_levels=1)
