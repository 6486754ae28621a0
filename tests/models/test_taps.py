"""Outputs of layers, also of those inside the models that a model is made of."""

import keras
import numpy as np
import pytest

from mtlzoo.models.taps import tapped

layers = keras.layers


def nested():
    """A model in a model in a model, of which two layers have the same name."""
    x = keras.Input((4,), name="deep_x")
    deep = keras.Model(x, layers.Dense(3, name="same")(layers.Dense(5, name="low")(x)), name="deep")
    x = keras.Input((4,), name="trunk_x")
    trunk = keras.Model(x, layers.Dense(2, name="high")(deep(x)), name="trunk")
    x = keras.Input((4,), name="x")
    features = trunk(x)
    outputs = {
        "a": layers.Dense(1, name="a")(features),
        "b": layers.Dense(1, name="same")(features),
    }
    return keras.Model(x, outputs, name="net")


def test_layers_at_any_depth():
    model = nested()
    names = ["low", "trunk/deep/same", "high", "a", "deep"]
    outputs, found = tapped(model, names, "layer")
    assert set(outputs) == {"a", "b"} and list(found) == names
    reader = keras.Model(model.input, {"outputs": outputs, "found": found})
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    read = reader(x)
    for name, values in model(x).items():
        np.testing.assert_array_equal(read["outputs"][name], values)
    trunk = model.get_layer("trunk")
    deep = trunk.get_layer("deep")
    low = deep.get_layer("low")(x)
    np.testing.assert_allclose(read["found"]["low"], low, atol=1e-6)
    same = deep.get_layer("same")(low)
    np.testing.assert_allclose(read["found"]["trunk/deep/same"], same, atol=1e-6)
    np.testing.assert_allclose(read["found"]["deep"], same, atol=1e-6)
    np.testing.assert_allclose(read["found"]["high"], trunk(x), atol=1e-6)
    assert {id(v) for v in reader.variables} == {id(v) for v in model.variables}


def test_at_the_top_the_graph_is_as_it_was():
    model = nested()
    outputs, found = tapped(model, ["a", "same"], "layer")
    assert outputs is model.output or outputs == model.output
    assert found["a"] is model.output["a"] and found["same"] is model.output["b"]


def test_bad_names():
    model = nested()
    with pytest.raises(
        ValueError, match=r"`layer` should name a layer of the model `net`.*'lower'"
    ):
        tapped(model, ["lower"], "layer")
    with pytest.raises(ValueError, match=r"`layer` should name a layer .*Received: layer=3"):
        tapped(model, [3], "layer")
    x = keras.Input((4,))
    one, two = keras.Model(x, layers.Dense(4, name="d")(x), name="one"), keras.Input((4,))
    other = keras.Model(two, layers.Dense(4, name="d")(two), name="two")
    z = keras.Input((4,))
    both = keras.Model(z, other(one(z)))
    with pytest.raises(ValueError, match=r"should name one layer .*'one/d', 'two/d'.*layer='d'"):
        tapped(both, ["d"], "layer")
    twice = keras.Model(z, one(one(z)))
    with pytest.raises(
        ValueError, match=r"puts out one tensor\. Received: layer='one'.*puts out 2"
    ):
        tapped(twice, ["one"], "layer")
