"""`task_view`: one tensor out, with what other explainers get wrong."""

import keras
import numpy as np
import pytest

from mtlzoo import (
    BinaryClassification,
    CrossModalFusion,
    HardSharing,
    MultiTaskModel,
    Regression,
    analysis,
)
from mtlzoo.backbones import ConvNet, TextEncoder

ROWS = np.random.default_rng(0)


def modalities():
    return {
        "image": ROWS.uniform(size=(3, 12, 12, 1)).astype("float32"),
        "words": np.array([[3, 7, 1, 0, 0], [1, 2, 0, 0, 0], [4, 4, 4, 4, 4]]),
        "words_present": np.array([True, True, False]),
    }


@pytest.fixture(scope="module")
def fused():
    """Encoders that are models, one of them a `Sequential`, and a modality that may be missing."""
    inputs = {
        # Not in the order that Keras sorts them into.
        "words": keras.Input((5,), dtype="int32", name="words"),
        "image": keras.Input((12, 12, 1), name="image"),
        "words_present": keras.Input((), dtype="bool", name="words_present"),
    }
    layers = [keras.Input((12, 12, 1)), keras.layers.Conv2D(4, 3, name="conv")]
    encoders = {
        "image": keras.Sequential([*layers, keras.layers.ReLU(name="relu")], name="eyes"),
        "words": TextEncoder(20, 5, width=8, num_layers=1, name="reader"),
    }
    tasks = [BinaryClassification("click"), Regression("stay")]
    return CrossModalFusion(inputs, tasks, encoders=encoders, fusion="gated", projection_units=8)


@pytest.mark.slow
def test_a_view_of_all_inputs_answers_as_the_model(fused):
    x = modalities()
    view = analysis.task_view(fused, "click")
    expected = fused.predict(x, verbose=0)["click"]
    np.testing.assert_allclose(view(x), expected, rtol=1e-5, atol=1e-6)
    assert view.output.shape == (None, 1)
    own = {id(variable) for variable in fused.variables}
    assert {id(variable) for variable in view.variables} <= own


@pytest.mark.one_in(2)
@pytest.mark.parametrize("count", [1, 3])
def test_other_inputs_are_pinned_row_by_row_or_all_alike(fused, count):
    x = modalities()
    pinned = {name: rows[:count] for name, rows in x.items() if name != "image"}
    view = analysis.task_view(fused, "stay", wrt="image", pinned=pinned)
    repeated = {name: np.repeat(rows, 3 // count, 0) for name, rows in pinned.items()}
    expected = fused.predict({**repeated, "image": x["image"]}, verbose=0)["stay"]
    np.testing.assert_allclose(view(x["image"]), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(view.predict(x["image"], verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_what_is_pinned_says_what_remains_open(fused):
    x = modalities()
    view = analysis.task_view(fused, "click", pinned={"words_present": x["words_present"]})
    expected = fused.predict(x, verbose=0)["click"]
    given = {"image": x["image"], "words": x["words"]}
    np.testing.assert_allclose(view(given), expected, rtol=1e-5, atol=1e-6)


def test_a_view_from_an_embedding_keeps_the_mask_of_the_ids(fused):
    x = modalities()
    table = fused.get_layer("reader").get_layer("token_embedding")
    view = analysis.task_view(fused, "click", layer="reader/token_embedding", pinned=x)
    there = np.where(x["words_present"][:, None], x["words"], 0)
    expected = fused.predict(x, verbose=0)["click"]
    np.testing.assert_allclose(view(table(there)), expected, rtol=1e-5, atol=1e-6)


def test_layers_of_models_inside_and_of_no_other_task():
    inputs = keras.Input((8, 8, 1), name="image")
    trunk = keras.layers.Conv2D(4, 3, name="trunk")(inputs)
    own = {}
    for name in ("a", "b"):
        tower = keras.layers.Conv2D(4, 3, name=f"{name}_conv")(trunk)
        own[name] = Regression(name).head(tower)
    model = MultiTaskModel(inputs, own, tasks=[Regression("a"), Regression("b")])
    names = [layer.name for layer in analysis.task_view(model, "a").layers]
    assert "a_conv" in names and "b_conv" not in names

    nested = MultiTaskModel(
        inputs,
        {
            "a": Regression("a").head(
                ConvNet((8, 8, 1), (3,), dense_units=(), name="inside")(inputs)
            )
        },
        tasks=[Regression("a")],
    )
    names = [layer.name for layer in analysis.task_view(nested, "a").layers]
    assert "conv_0" in names and "inside" not in names


def test_models_inside_with_the_same_names_of_layers():
    inputs = {name: keras.Input((8, 8, 1), name=name) for name in ("left", "right")}
    encoders = {n: ConvNet((8, 8, 1), (3,), dense_units=(), name=f"{n}_eye") for n in inputs}
    model = CrossModalFusion(inputs, [Regression("a")], encoders=encoders, projection_units=4)
    x = {name: ROWS.uniform(size=(2, 8, 8, 1)).astype("float32") for name in inputs}
    expected = model.predict(x, verbose=0)["a"]
    np.testing.assert_allclose(analysis.task_view(model, "a")(x), expected, rtol=1e-5, atol=1e-6)
    for name, other in (("left", "right"), ("right", "left")):
        view = analysis.task_view(model, "a", wrt=name, pinned={other: x[other]})
        np.testing.assert_allclose(view(x[name]), expected, rtol=1e-5, atol=1e-6)
        assert "conv_0" in [layer.name for layer in view.layers]


def test_a_model_of_one_input_and_inputs_as_a_list():
    model = HardSharing(keras.Input((3,)), [Regression("a")], shared_units=(4,))
    x = ROWS.uniform(size=(2, 3)).astype("float32")
    np.testing.assert_allclose(
        analysis.task_view(model, "a")(x), model.predict(x, verbose=0)["a"], rtol=1e-5
    )
    inputs = [keras.Input((2,)), keras.Input((2,))]
    output = keras.layers.Dense(1, name="a")(keras.layers.Concatenate()(inputs))
    model = MultiTaskModel(inputs, {"a": output}, tasks=[Regression("a")])
    x = [ROWS.uniform(size=(2, 2)).astype("float32") for _ in range(2)]
    np.testing.assert_allclose(
        analysis.task_view(model, "a")(x), model.predict(x, verbose=0)["a"], rtol=1e-5
    )


def test_bad_arguments(fused):
    with pytest.raises(ValueError, match=r"`task` should be one of the tasks \['click', 'stay'\]"):
        analysis.task_view(fused, "buy")
    with pytest.raises(ValueError, match=r"`wrt` should name inputs of the model, .*'sound'"):
        analysis.task_view(fused, "click", wrt="sound")
    with pytest.raises(ValueError, match=r"entry for the input 'words', which task `click`"):
        analysis.task_view(fused, "click", wrt="image")
    with pytest.raises(ValueError, match=r"`wrt` should not be pinned"):
        analysis.task_view(fused, "click", wrt="image", pinned=modalities())
    with pytest.raises(ValueError, match=r"`pinned\['words'\]` should have the shape \(None, 5\)"):
        analysis.task_view(fused, "click", pinned={"words": np.zeros((1, 4))})
    with pytest.raises(ValueError, match=r"`layer` should name a layer that task `click` depends"):
        analysis.task_view(fused, "click", layer="stay", pinned=modalities())
    single = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match=r"whose outputs are a dict by task"):
        analysis.task_view(single, "click")


def test_an_input_of_text_that_the_task_does_not_read_needs_no_rows():
    inputs = {"a": keras.Input((3,), name="a"), "t": keras.Input((1,), dtype="string", name="t")}
    look = keras.layers.StringLookup(vocabulary=["u", "v"], output_mode="one_hot")
    outputs = {
        "y": keras.layers.Dense(1, name="y")(inputs["a"]),
        "z": keras.layers.Dense(1, name="z")(look(inputs["t"])),
    }
    model = MultiTaskModel(inputs, outputs, tasks=[Regression("y"), Regression("z")])
    x = np.ones((2, 3), "float32")
    expected = x @ model.get_layer("y").get_weights()[0]
    np.testing.assert_allclose(analysis.task_view(model, "y", wrt="a")(x), expected, rtol=1e-5)


def test_pinned_inputs_of_open_length():
    inputs = {"a": keras.Input((2,), name="a"), "s": keras.Input((None, 2), name="s")}
    mean = keras.layers.GlobalAveragePooling1D()(inputs["s"])
    output = keras.layers.Dense(1, name="y")(keras.layers.Multiply()([inputs["a"], mean]))
    model = MultiTaskModel(inputs, {"y": output}, tasks=[Regression("y")])
    x = {n: ROWS.uniform(size=(3, *s)).astype("float32") for n, s in (("a", (2,)), ("s", (5, 2)))}
    view = analysis.task_view(model, "y", wrt="a", pinned={"s": x["s"]})
    np.testing.assert_allclose(view(x["a"]), model.predict(x, verbose=0)["y"], rtol=1e-5)
