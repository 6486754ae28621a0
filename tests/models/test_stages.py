"""Networks cut into stages that are drawn again: the copies, the cuts, the refusals."""

import keras
import numpy as np
import pytest

from mtlzoo import (
    MTAN,
    AdapterSharing,
    CrossStitch,
    DynamicSharing,
    Regression,
    Sluice,
    SoftSharing,
)
from mtlzoo.backbones import ResNet
from mtlzoo.models.resizing import resized, same_positions
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


class AtLeast(layers.Layer):
    """Takes no smaller maps, as it says when it sees the size."""

    def __init__(self, least):
        super().__init__()
        self.least = least

    def call(self, maps):
        return maps

    def compute_output_spec(self, maps):
        if (maps.shape[1] or self.least) < self.least:
            raise ValueError("too small")
        return keras.KerasTensor(maps.shape, maps.dtype)


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


def in_two_stages(layer):
    """Two stages, `s0` and `s1`, of which each begins with this layer."""
    x = keras.Input((4,), name="x")
    first = layers.Dense(4, "tanh", name="s0")(layer(x))
    return keras.Model(x, layers.Dense(4, "tanh", name="s1")(layer(first)), name="backbone")


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dense(4, name="twice"),
        keras.Sequential([layers.Dense(4)], name="twice"),
    ],
    ids=["layer", "model"],
)
@pytest.mark.parametrize("architecture", [DynamicSharing, CrossStitch, AdapterSharing])
def test_a_layer_with_weights_in_two_stages_is_refused(architecture, layer):
    message = "layer with weights is in one stage only.*the layer 'twice' in the stages 's0' and 's"
    backbone = in_two_stages(layer)
    with pytest.raises(ValueError, match=message):
        architecture(keras.Input((4,)), [Regression("a")], backbone=backbone, stages=["s0", "s1"])
    model, _ = drawn(keras.Input((4,), name="x"), backbone)  # one stage
    assert_is_a_copy(model, backbone, vectors())


@pytest.mark.one_in(4)
@pytest.mark.parametrize("layer", [layers.ReLU(name="twice"), layers.Dropout(0.5, name="twice")])
@pytest.mark.parametrize("architecture", [DynamicSharing, CrossStitch, SoftSharing, AdapterSharing])
def test_a_layer_without_weights_may_be_in_two_stages(architecture, layer):
    backbone = in_two_stages(layer)
    model, _ = drawn(keras.Input((4,), name="x"), backbone, ["s0", "s1"])
    assert_is_a_copy(model, backbone, vectors())
    names = {each.name for each in model.layers}
    assert {"copy_s0", "copy_s1", "copy_twice", "copy_s1_twice"} <= names
    zoo = architecture(keras.Input((4,)), [Regression("a")], backbone=backbone, stages=["s0", "s1"])
    assert zoo.predict(vectors(), verbose=0)["a"].shape == (5, 1)


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
    found = resized(features, keras.Input(new), kind, "resized", None)
    assert found.shape == (None, *new[:-1], old[-1])
    made = found._keras_history.operation
    assert (type(made).__name__, made.name) == (layer, "resized")


def test_features_of_the_same_positions_stay():
    for shape in ((4,), (8, 8, 3), (None, None, 3)):
        features = keras.Input(shape)
        other = keras.Input((*shape[:-1], 9))
        assert resized(features, other, "Max", "resized", None) is features


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
        resized(keras.Input(old), keras.Input(new), "Max", "resized", None)


@pytest.mark.parametrize("least", [1, 100])
@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(2, 3, padding="same"),
        layers.Conv2D(2, 3, 2, padding="same"),
        layers.MaxPooling2D((4, 1), padding="same"),
        layers.Conv2DTranspose(2, 3, 2, padding="same"),
    ],
    ids=["stays", "halved", "one quartered", "doubled"],
)
def test_features_of_unknown_size_get_the_positions_of_others_for_every_size(layer, least):
    image = keras.Input((None, None, 1))
    end = layer(AtLeast(least)(image))
    model = keras.Model(image, [end, resized(image, end, "Max", "resized", None)])
    for rows, columns in ((130, 133), (131, 135), (132, 134)):
        there, brought = model.compute_output_shape((2, rows, columns, 1))
        assert there[:-1] == brought[:-1]
    assert same_positions(image, end) is (layer.strides == (1, 1))


def test_features_of_unknown_size_without_a_fixed_ratio_are_refused():
    image = keras.Input((None, None, 1))
    message = "where sizes are not known, a whole number of times smaller, rounded up"
    for layer in (layers.Conv2D(2, 3), layers.MaxPooling2D(2), layers.ZeroPadding2D(1)):
        with pytest.raises(ValueError, match=message):
            resized(image, layer(image), "Max", "resized", None)


def test_features_that_look_alike_stay_where_no_size_can_be_tried():
    image = keras.Input((None, None, 1))
    assert resized(image, AtLeast(10**6)(image), "Max", "resized", None) is image


@pytest.mark.one_in(2)
@pytest.mark.parametrize("architecture", [MTAN, Sluice])
def test_images_of_unknown_size_are_treated_as_those_of_known_size(architecture):
    def model(size):
        trunk = ResNet((size, size, 3), blocks=(1, 1), widths=(2, 4), pooled=False)
        return architecture(trunk.input, [Regression("a")], backbone=trunk)

    known, unknown = model(9), model(None)
    unknown.set_weights(known.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 9, 9, 3))
    np.testing.assert_array_equal(unknown(x)["a"], known(x)["a"])
    assert unknown(x[:, :7])["a"].shape == (2, 1)


def test_both_tensors_of_a_stage_have_the_same_positions_also_where_sizes_are_not_known():
    trunk = ResNet((None, None, 3), blocks=(1, 1), widths=(2, 4), pooled=False)
    with pytest.raises(ValueError, match="two tensors of a stage should have the same positions"):
        MTAN(trunk.input, [Regression("a")], backbone=trunk, stages=[("stage_1", "stage_2")])


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
