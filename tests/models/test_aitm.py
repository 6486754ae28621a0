"""AITM: its sequence against NumPy, its calibrator, what its tasks share."""

import json
from itertools import pairwise

import keras
import numpy as np
import pytest
from model_cases import assert_all_moved, assert_same, copies

from mtlzoo import AITM, BinaryClassification, PCGrad, Regression

SEQUENCE = ("click", "buy", "stay")
NO_METRICS = {name: [] for name in ("buy", "click", "side", "stay")}


def tasks(**arguments):
    steps = [BinaryClassification(name, **arguments) for name in ("click", "buy")]
    return [*steps, Regression("stay"), Regression("side")]


def aitm(given=None, seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {"sequence": SEQUENCE, "tower_units": (5, 3), **arguments}
    return AITM(keras.Input((4,), name="x"), given or tasks(), activation="tanh", **arguments)


def data(rows=8):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)).astype("float32")
    click, buy = rng.integers(0, 2, (2, rows))
    return x, {"click": click, "buy": buy, "stay": x[:, 0], "side": x[:, 1]}


def by_hand(model, x):
    """Outputs and attention, in double precision."""
    weights = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(features, name):
        return features @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    def tower(name):
        return np.tanh(dense(np.tanh(dense(x, f"{name}_tower_0")), f"{name}_tower_1"))

    z, attention, outputs = tower(SEQUENCE[0]), {}, {"side": dense(tower("side"), "side")}
    outputs["click"] = dense(z, "click")
    for previous, name in pairwise(SEQUENCE):
        parts = [np.tanh(dense(z, f"{previous}_transfer_0")), tower(name)]
        value, key, query = (
            [dense(part, f"{name}_attention/{kind}") for part in parts]
            for kind in ("value", "key", "query")
        )
        scores = [(k * r).sum(axis=1) / np.sqrt(3) for k, r in zip(key, query, strict=True)]
        scores = np.exp(np.stack(scores, axis=1))
        attention[name] = scores / scores.sum(axis=1, keepdims=True)
        z = sum(attention[name][:, i : i + 1] * value[i] for i in range(2))
        outputs[name] = dense(z, name)
    return outputs, attention


def test_it_is_the_sequence_written_out_by_hand():
    model = aitm()
    x, _ = data()
    outputs, attention = by_hand(model, x.astype("float64"))
    found, read = model.predict(x, verbose=0), model.attention_weights(x, batch_size=3)
    assert set(found) == set(outputs) and set(read) == set(attention) == {"buy", "stay"}
    for name, expected in outputs.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)
    for name, expected in attention.items():
        np.testing.assert_allclose(read[name], expected, rtol=1e-4)
        np.testing.assert_allclose(read[name].sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("from_logits", [True, False])
def test_training_adds_the_loss_for_probabilities_that_rise(from_logits):
    x, _ = data()
    model, free = (aitm(tasks(from_logits=from_logits), calibration_weight=w) for w in (2.0, 0.0))
    raw = model(x, training=False)
    assert model.losses == []
    assert_same(free.variables, model.variables)
    p = {name: np.array(raw[name], "float64") for name in ("click", "buy")}
    if from_logits:
        p = {name: 1 / (1 + np.exp(-z)) for name, z in p.items()}
    expected = 2.0 * np.maximum(p["buy"] - p["click"], 0).mean()
    assert expected > 0
    trained = model(x, training=True)
    np.testing.assert_allclose(model.losses, [expected], rtol=1e-5)
    assert_same(list(trained.values()), list(raw.values()))  # it changes no output
    free(x, training=True)
    assert free.losses == []


@pytest.mark.slow
def test_the_calibrator_moves_the_earlier_head_and_does_not_make_it_shared():
    x, y = data()
    heads = []
    for weight in (0.0, 5.0):
        model = aitm(calibration_weight=weight)
        owned = {v.path.split("/")[0] for v in model.task_variables("click")}
        assert owned == {"click"}
        head = model.get_layer("click").variables
        before = copies(head)
        model.compile(keras.optimizers.SGD(0.1), "equal", run_eagerly=True, metrics=NO_METRICS)
        model.fit(x, y, batch_size=8, verbose=0)
        heads.append([a - b for a, b in zip(copies(head), before, strict=True)])
        assert_all_moved(head, before)
    # The bias of the logit rises by the mean of weight * sigmoid' where the later is more likely.
    model = aitm()
    outputs, _ = by_hand(model, x.astype("float64"))
    click, buy = (1 / (1 + np.exp(-outputs[name])) for name in ("click", "buy"))
    expected = 0.1 * 5.0 * np.mean((buy > click) * click * (1 - click))
    np.testing.assert_allclose(heads[1][1] - heads[0][1], [expected], rtol=1e-3)


@pytest.mark.slow
def test_an_absent_task_rests_although_the_calibrator_reads_it():
    x, y = data()
    model = aitm(calibration_weight=5.0)
    model.compile(keras.optimizers.Adam(0.1), "pcgrad", run_eagerly=True, metrics=NO_METRICS)
    before = copies(model.task_variables("click"))
    model.fit(x, {**y, "click": np.full(8, -1)}, batch_size=8, verbose=0)
    assert_same(model.task_variables("click"), before)


def test_towers_of_earlier_tasks_are_shared_and_heads_are_not():
    model = aitm()
    found = {n: {v.path.split("/")[0] for v in model.task_variables(n)} for n in model.task_names}
    assert found["click"] == {"click"} and found["buy"] == {"buy"}
    assert found["side"] == {"side_tower_0", "side_tower_1", "side"}
    assert {"stay_tower_0", "stay_tower_1", "buy_transfer_0", "stay_attention"} < found["stay"]
    shared = {v.path.split("/")[0] for v in model.shared_variables}
    assert shared == {
        *(f"{name}_tower_{i}" for name in ("click", "buy") for i in (0, 1)),
        *("click_transfer_0", "buy_attention"),
    }
    tower, transfer, attention, head = 4 * 5 + 5 + 5 * 3 + 3, 3 * 3 + 3, 3 * (3 * 3 + 3), 3 + 1
    assert model.count_params() == 4 * (tower + head) + 2 * (transfer + attention)


@pytest.mark.slow
def test_features_level_trains_and_keeps_the_calibrator():
    model = aitm(backbone=keras.layers.Dense(6, "tanh", name="bottom"))
    assert sorted(t.shape for t in model.boundary) == [(None, 3), (None, 3), (None, 6)]
    x, y = data()
    losses = []
    for weight in (0.0, 5.0):
        model = aitm(calibration_weight=weight)
        balancer = PCGrad(wrt="features")
        model.compile(keras.optimizers.SGD(0.1), balancer, run_eagerly=True, metrics=NO_METRICS)
        logs = model.fit(x, y, batch_size=8, verbose=0).history
        parts = sum(value[0] for key, value in logs.items() if key.endswith("_loss"))
        losses.append(logs["loss"][0] - parts)
    np.testing.assert_allclose(losses[0], 0, atol=1e-5)
    assert losses[1] > 1e-3


def test_only_neighbours_that_are_yes_or_no_are_calibrated():
    for sequence in (("click", "stay", "buy"), ("click", "side"), ("buy",)):
        names = [layer.name for layer in aitm(sequence=sequence).layers]
        assert not any("calibrator" in name for name in names)
    assert "buy_calibrator" in [layer.name for layer in aitm().layers]
    assert aitm(sequence=("buy",)).attention_weights(data()[0]) == {}


@pytest.mark.slow
def test_it_is_rebuilt_from_its_config_and_its_file(tmp_path):
    model = aitm(dropout=0.1, name="mine", calibration_weight=0.25)
    config = json.loads(json.dumps(model.get_config()))
    again = AITM.from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    assert config["sequence"] == list(SEQUENCE) and config["calibration_weight"] == 0.25
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x, _ = data()
    expected = model.attention_weights(x)
    assert_same(list(loaded.attention_weights(x).values()), list(expected.values()))
    outputs = model.predict(x, verbose=0)
    assert_same(list(loaded.predict(x, verbose=0).values()), list(outputs.values()))


def test_defaults_and_the_order_of_tasks():
    model = AITM(keras.Input((4,)), tasks()[::-1], sequence=SEQUENCE)
    assert [layer.units for layer in model.layers if "side_tower" in layer.name] == [128, 64, 32]
    assert model.get_config()["calibration_weight"] == 0.6
    assert_same(aitm(tasks()[::-1]).variables, aitm().variables)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence": ()}, "`sequence` should be a non-empty tuple of names of tasks"),
        ({"sequence": ("click", "view")}, "`sequence` should name some of the tasks .*'view'"),
        ({"sequence": ("buy", "buy")}, "`sequence` should name each task once"),
        ({"tower_units": ()}, r"`tower_units` should have at least one layer. Received: \(\)"),
        ({"calibration_weight": -1}, "`calibration_weight` should be a non-negative number"),
    ],
)
def test_misuse_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        aitm(**arguments)
