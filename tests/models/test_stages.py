"""Networks cut into stages that are drawn again: the copies, the cuts, the refusals."""

import keras
import numpy as np
import pytest

from mtlzoo import AdapterSharing, Regression
from mtlzoo.models.resizing import resized
from mtlzoo.models.stages import stages_of

layers = keras.layers


def chain(inputs, backbone=None, stages=None, units=()):
    return stages_of(inputs, backbone, stages, units, "tanh", 0.0, None)


def drawn(inputs, backbone, stages=None, units=(), prefix="copy"):
    """A model of all stages, drawn one after the other, and their names."""
    start, parts = chain(inputs, backbone, stages, units)
    features = start
    for stage in parts:
        features = stage.draw(features, prefix)
    return keras.Model(inputs, features), [stage.name for stage in parts]


def vectors(count=4):
    return np.random.default_rng(0).normal(size=(5, count)).astype("float32")


def residual():
    """Two blocks, of which each has a tensor that leads past its layers."""
    x = keras.Input((4,), name="x")
    one = layers.Add(name="one")([x, layers.Dense(4, "tanh", name="inner_one")(x)])
    two = layers.Add(name="two")([one, layers.Dense(4, "tanh", name="inner_two")(one)])
    return keras.Model(x, layers.Dense(3, name="three")(two), name="backbone")


def assert_is_a_copy(model, backbone, x):
    np.testing.assert_array_equal(model(x), backbone(x))
    assert not {id(v) for v in model.variables} & {id(v) for v in backbone.variables}


@pytest.mark.parametrize("stages", [None, ["one"], ["one", "two"], ["one", "two", "three"]])
def test_wherever_it_is_cut_a_copy_computes_what_the_original_does(stages):
    backbone = residual()
    model, names = drawn(keras.Input((4,), name="x"), backbone, stages)
    assert names == [*(s for s in stages or [] if s != "three"), "three"]
    assert_is_a_copy(model, backbone, vectors())
    assert {layer.name for layer in model.layers if layer.weights} == {
        "copy_inner_one",
        "copy_inner_two",
        "copy_three",
    }


def test_copies_begin_with_pretrained_weights_and_go_their_own_ways():
    backbone = residual()
    x = keras.Input((4,), name="x")
    one, _ = drawn(x, backbone, ["one"], prefix="first")
    before = np.array(one(vectors()))
    for variable in backbone.variables:
        variable.assign(variable + 1.0)
    two, _ = drawn(x, backbone, ["one"], prefix="second")
    np.testing.assert_array_equal(one(vectors()), before)
    np.testing.assert_array_equal(two(vectors()), backbone(vectors()))


def test_stages_are_models_of_their_own_too():
    start, parts = chain(keras.Input((4,), name="x"), residual(), ["one", "two"])
    model = parts[0].model(start, "expert")
    assert model.name == "expert_one"
    assert model.output.shape == (None, 4)
    np.testing.assert_array_equal(model(vectors()), parts[0].part(vectors()))


def test_units_follow_the_backbone_and_begin_anew():
    backbone = keras.Sequential([layers.Dense(3, name="units")])
    model, names = drawn(keras.Input((4,)), backbone, units=(6, 2))
    assert names == ["units", "units_0", "units_1"]
    assert model.output.shape == (None, 2)
    model, names = drawn(keras.Input((4,)), None, units=(6, 2))
    assert names == ["units_0", "units_1"]
    assert [layer.name for layer in model.layers[1:]] == ["copy_units_0", "copy_units_1"]


def test_a_sequential_is_cut_by_the_names_of_its_layers():
    backbone = keras.Sequential(
        [layers.Dense(3, "tanh", name="one"), layers.Dense(2, name="two")], name="backbone"
    )
    model, names = drawn(keras.Input((4,), name="x"), backbone, ["one"])
    assert names == ["one", "two"]
    assert_is_a_copy(model, backbone, vectors())


def test_a_layer_is_one_stage():
    backbone = layers.Dense(3, "tanh", name="only")
    model, names = drawn(keras.Input((4,)), backbone)
    assert names == ["only"]
    assert_is_a_copy(model, backbone, vectors())


def test_a_model_inside_the_backbone_is_copied_with_its_weights():
    inside = keras.Input((4,))
    inner = keras.Model(inside, layers.Dense(3, "tanh", name="deep")(inside), name="inner")
    x = keras.Input((4,), name="x")
    backbone = keras.Model(x, layers.Dense(2, name="outer")(inner(x)), name="backbone")
    for variable in backbone.variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    model, names = drawn(keras.Input((4,), name="x"), backbone, ["inner"])
    assert names == ["inner", "outer"]
    assert_is_a_copy(model, backbone, vectors())


def test_a_layer_that_is_used_twice_in_a_stage_is_one_layer_in_the_copy():
    x = keras.Input((4,), name="x")
    twice = layers.Dense(4, "tanh", name="twice")
    backbone = keras.Model(x, layers.Dense(2, name="end")(twice(twice(x))), name="backbone")
    model, _ = drawn(keras.Input((4,), name="x"), backbone)
    assert len(model.variables) == len(backbone.variables) == 4
    assert_is_a_copy(model, backbone, vectors())


def test_no_stage_ends_at_a_layer_that_is_used_twice():
    x = keras.Input((4,), name="x")
    twice = layers.Dense(4, name="twice")
    backbone = keras.Model(x, layers.Dense(2)(twice(twice(x))))
    with pytest.raises(ValueError, match="`stages` should be different layers with one output"):
        chain(x, backbone, ["twice"])


@pytest.mark.parametrize("form", ["dict", "list"])
def test_several_inputs_meet_in_the_first_stage(form):
    def inputs():
        found = {"b": keras.Input((2,), name="b"), "a": keras.Input((3,), name="a")}
        return found if form == "dict" else list(found.values())

    given = inputs()
    flat = list(given.values()) if form == "dict" else given
    hidden = layers.Dense(3, "tanh", name="one")(layers.Concatenate(name="both")(flat))
    backbone = keras.Model(given, layers.Dense(2, name="two")(hidden), name="backbone")
    model, _ = drawn(inputs(), backbone, ["one"])
    rows = {"b": vectors(2), "a": vectors(3)}
    rows = rows if form == "dict" else list(rows.values())
    assert_is_a_copy(model, backbone, rows)


def test_padding_is_masked_in_copies_as_in_the_original():
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = layers.Embedding(9, 3, mask_zero=True, name="words")(ids)
    x = layers.LSTM(4, name="reads")(x)
    backbone = keras.Model(ids, layers.Dense(2, name="end")(x), name="backbone")
    given = keras.Input((6,), dtype="int32", name="ids")
    model, names = drawn(given, backbone, ["reads"])
    assert names == ["reads", "end"]
    rows = np.array([[1, 2, 3, 0, 0, 0], [1, 2, 3, 7, 7, 7]])
    np.testing.assert_allclose(model(rows), backbone(rows), rtol=1e-5, atol=1e-6)
    before = np.array(model(rows))
    words = model.get_layer("copy_words").embeddings
    words.assign(words + 3 * np.eye(9, 1))  # what stands for padding
    np.testing.assert_array_equal(model(rows), before)
    with pytest.raises(ValueError, match="should cut the backbone where a single tensor passes"):
        chain(given, backbone, ["words"])  # past which the mask leads


def test_what_is_not_trained_is_not_trained_in_copies():
    backbone = residual()
    backbone.get_layer("inner_one").trainable = False
    model, _ = drawn(keras.Input((4,), name="x"), backbone, ["one"])
    assert not model.get_layer("copy_inner_one").trainable
    assert len(model.trainable_variables) == 4


def test_a_backbone_names_its_own_stages():
    backbone = residual()
    backbone.stage_names = ("one", "three")
    assert drawn(keras.Input((4,), name="x"), backbone)[1] == ["one", "three"]
    assert drawn(keras.Input((4,), name="x"), backbone, ["two"])[1] == ["two", "three"]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (["inner_one"], "should cut the backbone where a single tensor passes. .*'three'"),
        (["inner_two", "two"], "should cut the backbone where a single tensor passes"),
        (["none"], r"`stages` should be names of layers of the backbone, \['x', 'inner_one'"),
        (["three", "three"], "`stages` should be different layers with one output each"),
        ("one", "`stages` should be a list of names of layers. Received: stages='one'"),
    ],
)
def test_cuts_that_are_none_are_refused(stages, message):
    with pytest.raises(ValueError, match=message):
        chain(keras.Input((4,), name="x"), residual(), stages)


def test_what_cannot_be_cut_is_refused():
    x = keras.Input((4,), name="x")
    message = "`backbone` should be a functional Keras model, so that it can be cut"
    for backbone, stages in ((lambda inputs: inputs, None), (layers.Dense(3), ["one"])):
        with pytest.raises(ValueError, match=message):
            chain(x, backbone, stages)
    with pytest.raises(ValueError, match="`stages` should be None where there is no backbone"):
        chain(x, None, ["one"], (3,))
    with pytest.raises(ValueError, match=r"There should be a `backbone` or `units`. Received: ne"):
        chain(x)


@pytest.mark.parametrize(
    ("old", "new", "kind", "layer"),
    [
        ((8, 8, 3), (4, 4, 5), "Max", "MaxPooling2D"),
        ((9, 8, 3), (5, 4, 5), "Average", "AveragePooling2D"),
        ((10, 10, 3), (6, 6, 5), "Max", "MaxPooling2D"),
        ((4, 4, 3), (8, 12, 5), "Max", "UpSampling2D"),
        ((9, 3), (3, 5), "Max", "MaxPooling1D"),
        ((3, 3), (9, 5), "Average", "UpSampling1D"),
        ((4, 4, 4, 3), (2, 2, 2, 5), "Max", "MaxPooling3D"),
        ((8, 8, 3), (7,), "Max", "GlobalMaxPooling2D"),
        ((8, 3), (7,), "Average", "GlobalAveragePooling1D"),
    ],
)
def test_features_are_brought_to_the_positions_of_others(old, new, kind, layer):
    features = keras.Input(old)
    found = resized(features, (None, *new), kind, "resized", None)
    assert found.shape == (None, *new[:-1], old[-1])
    made = found._keras_history.operation
    assert (type(made).__name__, made.name) == (layer, "resized")


def test_features_of_the_same_positions_stay():
    for shape in ((4,), (8, 8, 3), (None, None, 3)):
        features = keras.Input(shape)
        assert resized(features, (None, *shape[:-1], 9), "Max", "resized", None) is features


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ((4,), (2, 2, 3), "Stages should have maps of known size, as many dimensions in each"),
        ((None, None, 3), (2, 2, 3), "Stages should have maps of known size"),
        ((4, 4, 3), (6, 6, 3), "Maps of a stage should be a whole number of times as large"),
    ],
)
def test_features_that_cannot_be_brought_there_are_refused(old, new, message):
    with pytest.raises(ValueError, match=message):
        resized(keras.Input(old), (None, *new), "Max", "resized", None)


def adapted():
    norm = layers.Normalization(name="norm")
    norm.adapt(10.0 + 5.0 * vectors())
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.Dense(3, name="three")(norm(x)), name="backbone")


@pytest.mark.parametrize("stages", [None, ["norm"]])
def test_what_a_backbone_has_adapted_to_is_copied(stages):
    backbone = adapted()
    model, _ = drawn(keras.Input((4,), name="x"), backbone, stages)
    np.testing.assert_array_equal(model(vectors()), backbone(vectors()))


def test_what_a_layer_with_an_update_has_adapted_to_is_kept():
    backbone = adapted()
    norm = backbone.get_layer("norm")
    tasks = [Regression("a"), Regression("b")]
    for arguments in ({"adapter": "lora"}, {"adapter": "bottleneck"}):
        model = AdapterSharing(keras.Input((4,), name="x"), tasks, backbone=backbone, **arguments)
        of_first = next(layer for layer in model.layers if "norm" in layer.name)
        np.testing.assert_allclose(of_first(vectors()), norm(vectors()), atol=1e-6)
