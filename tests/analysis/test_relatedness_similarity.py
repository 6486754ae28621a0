"""CKA and RSA: against their formulas, what does not change them, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from mtlzoo import HardSharing, Regression
from mtlzoo.analysis import Finding, representation_similarity
from mtlzoo.backbones import MLP

ROWS = 20


def model_of(weights, name="features"):
    """A model whose one layer multiplies with `weights`."""
    inputs = keras.Input((len(weights),), dtype="float64")
    layer = keras.layers.Dense(len(weights[0]), use_bias=False, name=name, dtype="float64")
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.asarray(weights)])
    return model


@pytest.fixture(scope="module")
def rows():
    rows = np.random.default_rng(0).normal(size=(ROWS, 6)) + 0.5
    return rows.astype("float32").astype("float64")  # `predict` reads float32


@pytest.fixture(scope="module")
def models():
    rng = np.random.default_rng(1)
    return {name: model_of(rng.normal(size=(6, units))) for name, units in (("a", 4), ("b", 30))}


def features(models, x):
    return [x @ model.get_weights()[0] for model in models.values()]


def hsic(k, l_):
    """Song et al. 2012, equation 5: the unbiased estimate."""
    n = len(k)
    k, l_ = k - np.diag(np.diag(k)), l_ - np.diag(np.diag(l_))
    ones = np.ones(n)
    first = np.trace(k @ l_)
    second = (ones @ k @ ones) * (ones @ l_ @ ones) / ((n - 1) * (n - 2))
    third = 2 * (ones @ k @ l_ @ ones) / (n - 2)
    return (first + second - third) / (n * (n - 3))


def cka(x, y):
    """Kornblith et al. 2019, from the features."""
    x, y = x - x.mean(0), y - y.mean(0)
    between = np.linalg.norm(y.T @ x) ** 2
    return between / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def debiased_cka(x, y):
    k, l_ = x @ x.T, y @ y.T
    return hsic(k, l_) / np.sqrt(hsic(k, k) * hsic(l_, l_))


def rsa(x, y):
    upper = np.triu_indices(len(x), 1)
    return stats.spearmanr(1 - np.corrcoef(x)[upper], 1 - np.corrcoef(y)[upper])[0]


@pytest.mark.parametrize(
    ("method", "debiased", "reference"),
    [("cka", False, cka), ("cka", True, debiased_cka), ("rsa", False, rsa)],
)
def test_they_are_what_their_formulas_say(models, rows, method, debiased, reference):
    found = representation_similarity(
        models, rows, layer="features", method=method, debiased=debiased
    )
    assert found["a", "b"] == pytest.approx(reference(*features(models, rows)), rel=1e-9)
    assert found["a", "a"] == pytest.approx(1) and found["a", "b"] < 0.99
    assert isinstance(found, Finding) and not found.directed
    assert found.signed == (method == "rsa")


def test_cka_knows_no_rotation_and_no_scale(models, rows):
    weights = models["b"].get_weights()[0]
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(30, 30)))[0]
    turned = {"b": models["b"], "turned": model_of(7 * weights @ rotation)}
    for debiased in (False, True):
        found = representation_similarity(turned, rows, layer="features", debiased=debiased)
        assert found["b", "turned"] == pytest.approx(1)


def test_rsa_knows_no_order_of_units_and_no_scale(models, rows):
    weights = models["b"].get_weights()[0]
    turned = {"b": models["b"], "turned": model_of(3 * weights[:, ::-1])}
    found = representation_similarity(turned, rows, layer="features", method="rsa")
    assert found["b", "turned"] == pytest.approx(1)


def test_without_bias_unrelated_features_are_not_alike():
    """Of few rows and many units plain CKA is high for anything."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 200))
    halves = np.concatenate([np.eye(100), np.zeros((100, 100))])
    two = {"left": model_of(halves), "right": model_of(halves[::-1])}
    plain = representation_similarity(two, x, layer="features")
    debiased = representation_similarity(two, x, layer="features", debiased=True)
    assert plain["left", "right"] > 0.7
    assert abs(debiased["left", "right"]) < 0.1


def test_layers_of_one_model_and_of_models_inside(rows):
    inputs = keras.Input((6,))
    tasks = [Regression("a"), Regression("b")]
    backbone = MLP((6,), units=(5, 3), name="trunk")
    model = HardSharing(inputs, tasks, backbone=backbone, tower_units=[4])
    towers = {name: next(n for n in (l_.name for l_ in model.layers) if n.startswith(f"{name}_"))
              for name in "ab"}  # fmt: skip
    found = representation_similarity(model, rows, layer=towers)
    inside = keras.Model(model.input, [model.get_layer(towers[n]).output for n in "ab"])
    assert found["a", "b"] == pytest.approx(cka(*inside.predict(rows, verbose=0)), rel=1e-4)
    data = tf.data.Dataset.from_tensor_slices((rows, {"a": rows[:, 0]})).batch(8)
    some = representation_similarity(model, data, layer=towers, rows=12)
    assert some["a", "b"] == representation_similarity(model, rows[:12], layer=towers)["a", "b"]
    pair = {name: model for name in "ab"}
    deep = f"{backbone.name}/{backbone.layers[-1].name}"
    assert representation_similarity(pair, rows, layer=deep)["a", "b"] == pytest.approx(1)


def test_what_cannot_be_compared_is_refused(models, rows):
    def refused(error, models=models, x=rows, layer="features", **options):
        with pytest.raises(ValueError, match=error):
            representation_similarity(models, x, layer=layer, **options)

    refused(r"`method` should be one of \['cka', 'rsa'\]. Received: method='cca'", method="cca")
    refused(r"`debiased` should be False with 'rsa'", method="rsa", debiased=True)
    refused(r"of two tasks or more.*nothing to compare with one", models={"a": models["a"]})
    refused(r"`layer` should name a layer of the model .* Received: layer='no'", layer="no")
    refused(
        r"`layer` should be a name, or one for each of the tasks \['a', 'b'\]", layer={"a": "f"}
    )
    refused(r"`layer` should be a dict of a layer for each task where one", models=models["a"])
    refused(r"functional models. Received: one of type Subclassed", models={"a": Subclassed()})
    refused(r"`x` should have four rows or more. Received: 3", x=rows[:3])
    refused(r"the same for all rows of task `a`", x=np.ones((5, 6)))
    narrow = {name: model_of(np.ones((6, 1))) for name in "ab"}
    refused(r"of task `a` \(one unit alone has no correlation: use 'cka'\)", narrow, method="rsa")
    refused(r"should put out finite numbers", x=np.full((5, 6), np.nan))


class Subclassed(keras.Model):
    pass
