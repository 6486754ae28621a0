"""ESMM: its products against NumPy, its conditional probabilities, what its steps share."""

import json

import keras
import numpy as np
import pytest
from model_cases import assert_all_moved, assert_same, copies

from mtlzoo import ESMM, BinaryClassification, PCGrad, Regression

FUNNEL = ("click", "cart", "buy")


def tasks(**arguments):
    return [*(BinaryClassification(n, **arguments) for n in FUNNEL), Regression("stay")]


def esmm(given=None, seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {"funnel": FUNNEL, "tower_units": (3,), **arguments}
    return ESMM(keras.Input((4,), name="x"), given or tasks(), activation="tanh", **arguments)


def data(rows=8):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)).astype("float32")
    steps = np.cumprod(rng.integers(0, 2, (rows, 3)), axis=1)
    return x, {**dict(zip(FUNNEL, steps.T, strict=True)), "stay": x[:, 0]}


def rates_by_hand(model, x):
    weights = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(features, name):
        return features @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    towers = {n: np.tanh(dense(x, f"{n}_tower_0")) for n in model.task_names}
    rates = {n: 1 / (1 + np.exp(-dense(towers[n], f"{n}_logit"))) for n in FUNNEL}
    return rates, dense(towers["stay"], "stay")


def test_outputs_are_logits_of_products_of_conditional_probabilities():
    model = esmm()
    x, _ = data()
    rates, stay = rates_by_hand(model, x.astype("float64"))
    found = model.predict(x, verbose=0)
    p = 1.0
    for step in FUNNEL:
        p = p * rates[step]
        np.testing.assert_allclose(found[step], np.log(p / (1 - p)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["stay"], stay, rtol=1e-5, atol=1e-6)
    read = model.conversion_rates(x, batch_size=3)
    assert tuple(read) == FUNNEL
    for step in FUNNEL:
        np.testing.assert_allclose(read[step], rates[step], rtol=1e-5)


def test_outputs_may_be_probabilities():
    x, _ = data()
    logits = esmm().predict(x, verbose=0)
    found = esmm(tasks(from_logits=False)).predict(x, verbose=0)
    for step in FUNNEL:
        np.testing.assert_allclose(found[step], 1 / (1 + np.exp(-logits[step])), rtol=1e-5)


def test_a_later_step_is_never_more_likely_than_an_earlier_one():
    keras.utils.set_random_seed(3)
    found = esmm().predict(np.random.normal(size=(200, 4)) * 30, verbose=0)
    assert (found["cart"] <= found["click"]).all() and (found["buy"] <= found["cart"]).all()


def test_the_tower_of_a_step_serves_this_step_and_all_after_it():
    model = esmm()
    shared = {v.path.split("/")[0] for v in model.shared_variables}
    assert shared == {f"{step}_{part}" for step in FUNNEL[:2] for part in ("tower_0", "logit")}
    owned = {
        name: sorted({v.path.split("/")[0] for v in model.task_variables(name)})
        for name in model.task_names
    }
    assert owned == {
        **{"click": [], "cart": []},
        **{"buy": ["buy_logit", "buy_tower_0"], "stay": ["stay", "stay_tower_0"]},
    }
    tower = 4 * 3 + 3 + 3 * 1 + 1
    assert model.count_params() == 4 * tower


@pytest.mark.slow
def test_the_shared_part_ends_at_the_logits_of_all_steps_but_the_last():
    shapes = [tensor.shape for tensor in esmm().boundary]
    assert shapes == [(None, 1), (None, 1)]
    shapes = [tensor.shape for tensor in esmm(backbone=keras.layers.Dense(5)).boundary]
    assert sorted(shapes) == [(None, 1), (None, 1), (None, 5)]
    model = esmm()
    model.compile(keras.optimizers.SGD(0.1), PCGrad(wrt="features"), run_eagerly=True)
    before = copies(model.trainable_variables)
    model.fit(*data(), verbose=0)
    assert_all_moved(model.trainable_variables, before)


def test_the_order_of_tasks_means_nothing_and_that_of_the_funnel_everything():
    x, _ = data()
    found = [esmm(order).predict(x, verbose=0) for order in (tasks(), tasks()[::-1])]
    other = esmm(funnel=FUNNEL[::-1]).predict(x, verbose=0)
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])
    assert np.abs(other["click"] - found[0]["click"]).max() > 0


def test_one_step_alone_is_a_tower():
    model = esmm([BinaryClassification("buy")], funnel=["buy"])
    x, _ = data()
    rate = model.conversion_rates(x)["buy"]
    np.testing.assert_allclose(
        model.predict(x, verbose=0)["buy"], np.log(rate / (1 - rate)), rtol=1e-4, atol=1e-5
    )


def test_it_is_rebuilt_from_its_config_and_its_file(tmp_path):
    model = esmm(dropout=0.1, name="mine", backbone=keras.layers.Dense(5, name="bottom"))
    config = json.loads(json.dumps(model.get_config()))
    again = ESMM.from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x, _ = data()
    expected = model.conversion_rates(x)
    assert_same(list(loaded.conversion_rates(x).values()), list(expected.values()))
    model.conversion_model.save(tmp_path / "rates.keras")
    plain = keras.saving.load_model(tmp_path / "rates.keras")
    assert_same(list(plain.predict(x, verbose=0).values()), list(expected.values()))


def test_the_default_funnel():
    given = [BinaryClassification("purchase"), BinaryClassification("click")]
    model = ESMM(keras.Input((4,)), given)
    assert model.get_config()["funnel"] == ["click", "purchase"]
    assert [layer.units for layer in model.layers if "click_tower" in layer.name] == [200, 80]


@pytest.mark.parametrize(
    ("funnel", "message"),
    [
        ((), r"`funnel` should be a non-empty tuple of names of tasks. Received: funnel=\(\)"),
        ("click", "`funnel` should be a non-empty tuple of names of tasks. Received: funnel='cli"),
        (("click", "view"), "`funnel` should name some of the tasks .*Received: 'view' in funnel="),
        (("click", 3), "`funnel` should name some of the tasks .*Received: 3 in funnel="),
        (("click", "click"), "`funnel` should name each task once. Received: 'click' twice"),
        (("click", "stay"), "should name `BinaryClassification` tasks.*<Regression name=stay>"),
    ],
)
def test_a_funnel_should_be_of_binary_tasks(funnel, message):
    with pytest.raises(ValueError, match=message):
        esmm(funnel=funnel)
