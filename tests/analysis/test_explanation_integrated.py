"""Integrated gradients: the closed form, completeness, and every form of input."""

import keras
import numpy as np
import pytest

from mtlzoo import BinaryClassification, CrossModalFusion, HardSharing, MultiTaskModel, Regression
from mtlzoo.analysis import Finding, explain
from mtlzoo.analysis.explanation.integrated import integrate
from mtlzoo.backbones import AudioEncoder, TabularEncoder, TextEncoder


def test_the_closed_form_of_a_polynomial():
    """f = x0^3 x1 from the baseline b: the integral of 3 x0^2 x1 and of x0^3 along the line."""
    generator = np.random.default_rng(0)
    x, start = generator.normal(size=(2, 5, 2))

    def gradients(points, row):
        (p,) = points
        assert len(p) == len(row) <= 7
        return [np.stack([3 * p[:, 0] ** 2 * p[:, 1], p[:, 0] ** 3], -1)]

    (found,) = integrate(gradients, [x], [start], steps=3, batch_size=7)
    # The integrals of the polynomials in alpha, exactly.
    expected = np.zeros_like(x)
    for i in range(len(x)):
        p0, p1 = (np.polynomial.Polynomial([start[i, k], x[i, k] - start[i, k]]) for k in (0, 1))
        for k, slope in enumerate((3 * p0**2 * p1, p0**3)):
            expected[i, k] = (x[i, k] - start[i, k]) * slope.integ()(1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    differences = x[:, 0] ** 3 * x[:, 1] - start[:, 0] ** 3 * start[:, 1]
    np.testing.assert_allclose(found.sum(1), differences, rtol=1e-12)


def test_a_linear_task_gets_weight_times_difference():
    inputs = keras.Input((3,), name="x")
    model = MultiTaskModel(
        inputs, {"a": keras.layers.Dense(2, name="a")(inputs)}, tasks=[Regression("a", 2)]
    )
    kernel = model.get_layer("a").get_weights()[0]
    x, start = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    found = explain(model, "a", x, target=1, baseline=start, names={"x": ["one", "two", "three"]})
    np.testing.assert_allclose(
        found.attributions["x"], (x - start) * kernel[:, 1], rtol=1e-4, atol=1e-6
    )
    assert found.rows()[0] == ["input", "mean absolute attribution", "mean attribution"]
    order = np.argsort(-np.abs((x - start) * kernel[:, 1]).mean(0))
    assert [row[0] for row in found.rows()[1:]] == [["one", "two", "three"][i] for i in order]


@pytest.fixture(scope="module")
def table():
    keras.utils.set_random_seed(0)
    encoder = TabularEncoder({"user": 20}, ["age", "price"], embedding_dim=3)
    model = HardSharing(
        encoder.input,
        [BinaryClassification("click"), Regression("stay")],
        backbone=encoder,
        shared_units=(16,),
        activation="tanh",
    )
    x = {"user": np.array([3, 8, 0]), "age": np.array([0.2, 1, -2]), "price": np.array([2, -1, 1])}
    return model, x


@pytest.mark.slow
def test_columns_of_a_table_add_up(table):
    model, x = table
    for task in ("click", "stay"):
        found = explain(model, task, x, sign=1, target=None if task == "stay" else 1)
        assert {n: a.shape for n, a in found.attributions.items()} == {
            "age": (3, 1),
            "price": (3, 1),
            "user": (3,),
        }
        empty = {name: np.zeros_like(values) for name, values in x.items()}
        values, start = (model.predict(rows, verbose=0)[task][:, 0] for rows in (x, empty))
        total = sum(a.reshape(3, -1).sum(1) for a in found.attributions.values())
        np.testing.assert_allclose(total, values - start, rtol=1e-3, atol=1e-5)
        assert np.abs(found.gaps).max() < 1e-5
        # The embedding of id 0 is the baseline's.
        assert found.attributions["user"][2] == 0
        np.testing.assert_allclose(sum(found.shares().values()), 1, rtol=1e-6)
    assert isinstance(found, Finding)
    assert "Most of it, by mean absolute attribution, lies in" in found.words()


def test_inputs_that_are_held_fixed_have_no_part(table):
    model, x = table
    found = explain(model, "stay", x, wrt=["age"])
    assert list(found.attributions) == ["age"]
    without = {**x, "age": np.zeros(3)}
    values, start = (model.predict(rows, verbose=0)["stay"][:, 0] for rows in (x, without))
    np.testing.assert_allclose(
        found.attributions["age"][:, 0], values - start, rtol=1e-3, atol=1e-5
    )


@pytest.mark.slow
def test_words_are_measured_at_their_embedding_and_padding_has_none():
    keras.utils.set_random_seed(0)
    inputs = {
        "words": keras.Input((5,), dtype="int32", name="words"),
        "words_present": keras.Input((), dtype="bool", name="words_present"),
    }
    model = CrossModalFusion(
        inputs,
        [BinaryClassification("click")],
        encoders={"words": TextEncoder(20, 5, width=8, num_layers=1)},
    )
    x = {
        "words": np.array([[3, 7, 1, 0, 0], [4, 4, 4, 4, 4]]),
        "words_present": np.array([True, False]),
    }
    texts = [["a", "big", "cat"], ["not", "there", "at", "all", "!"]]
    for method in ("integrated_gradients", "saliency", "smooth_grad"):
        found = explain(model, "click", x, method=method, samples=3, names={"words": texts})
        values = found.attributions["words"]
        assert values.shape == (2, 5)
        assert np.all(values[0, :3] != 0) and not values[0, 3:].any() and not values[1].any()
        assert found.signed
    assert "In 1 of them it is zero everywhere" in found.words()
    assert {panel.get_xlabel() for panel in found.figure().axes} == {"attribution"}
    assert "Held fixed, since they have no gradient: words_present." in found.words()
    with pytest.raises(ValueError, match=r"`wrt` should name inputs of numbers, or of ids"):
        explain(model, "click", x, wrt="words_present")


@pytest.mark.slow
def test_spectrograms_are_measured_at_their_layer():
    keras.utils.set_random_seed(0)
    encoder = AudioEncoder(
        400, 8000, fft_length=64, sequence_stride=32, num_mel_bins=6, blocks=(1,), widths=(4,)
    )
    model = HardSharing(keras.Input((400,), name="sound"), [Regression("a")], backbone=encoder)
    x = np.random.default_rng(0).normal(size=(2, 400)).astype("float32")
    found = explain(model, "a", x, layer="log_mel")
    (values,) = found.attributions.values()
    assert values.shape == (2, 13, 6)
    outputs, start = (model.predict(rows, verbose=0)["a"][:, 0] for rows in (x, np.zeros_like(x)))
    total = values.sum((1, 2)) + found.gaps
    np.testing.assert_allclose(total, outputs - start, rtol=1e-4, atol=1e-5)
    # Rectifiers have corners on the line, where no rule is exact.
    assert np.all(np.abs(found.gaps) < 0.05 * np.abs(outputs - start))
    shares = found.share(np.arange(13)[:, None] < 6 * np.ones(6))
    assert ((shares > 0) & (shares < 1)).all()


def test_regions(table):
    model, x = table
    found = explain(model, "click", x, wrt="age")
    np.testing.assert_array_equal(found.share([True]), np.ones(3))
    with pytest.raises(ValueError, match=r"`region` should have the shape \(1,\)"):
        found.share(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"`name` should be one of \['user', 'age', 'price'\]"):
        explain(model, "click", x).share([True])


def test_pictures_of_columns_words_and_pictures(table):
    model, x = table
    figure = explain(model, "click", x).figure()
    (panel,) = figure.axes
    assert {label.get_text() for label in panel.get_yticklabels()} == set(x)
    assert "Integrated gradients of task click" in figure.get_suptitle()


def embedding(name):
    spread = keras.initializers.RandomNormal(stddev=1.0, seed=len(name))
    return keras.layers.Embedding(10, 4, name=name, embeddings_initializer=spread)


def answers_from(inputs, made):
    hidden = keras.layers.Dense(8, activation="tanh")(keras.layers.Concatenate()(made))
    return MultiTaskModel(
        inputs, {"y": keras.layers.Dense(1, name="y")(hidden)}, tasks=[Regression("y")]
    )


@pytest.mark.one_in(2)
@pytest.mark.parametrize("case", ["two embeddings of an id", "one embedding of two ids"])
def test_every_embedding_of_an_id_is_measured(case):
    keras.utils.set_random_seed(0)
    inputs = {n: keras.Input((), dtype="int32", name=n) for n in ("a", "b")}
    one = embedding("one")
    if case.startswith("two"):
        inputs["b"] = keras.Input((3,), name="b")
        made = [one(inputs["a"]), embedding("other")(inputs["a"]), inputs["b"]]
    else:
        made = [one(inputs["a"]), one(inputs["b"])]
    model = answers_from(inputs, made)
    ids = np.arange(1, 6)
    x = {"a": ids, "b": ids + 2 if case.startswith("one") else np.ones((5, 3))}
    found = explain(model, "y", x)
    assert list(found.attributions) == ["a", "b"] and found.attributions["a"].shape == (5,)
    empty = {name: np.zeros_like(values) for name, values in x.items()}
    start = model.predict(empty, verbose=0)["y"][:, 0]
    np.testing.assert_allclose(found.baseline_scores, start, rtol=1e-5, atol=1e-6)
    assert np.abs(found.gaps).max() < 1e-4
    assert found.notes == ""


def test_what_else_reads_an_id_is_said():
    inputs = {"a": keras.Input((4,), dtype="int32", name="a")}
    own = keras.layers.Flatten()(embedding("one")(inputs["a"]))
    bag = keras.layers.CategoryEncoding(10, output_mode="multi_hot", name="bag")(inputs["a"])
    model = answers_from(inputs, [own, bag])
    found = explain(model, "y", {"a": np.ones((2, 4), int)}, steps=2)
    assert "Of `a`, what `bag` puts out is held fixed too." in found.words()


def test_ids_of_open_length():
    inputs = keras.Input((None,), dtype="int32", name="words")
    mean = keras.layers.GlobalAveragePooling1D()(embedding("one")(inputs))
    model = MultiTaskModel(
        inputs, {"y": keras.layers.Dense(1, name="y")(mean)}, tasks=[Regression("y")]
    )
    x = np.array([[3, 4, 5, 0], [1, 2, 0, 0]])
    start = model.predict(np.zeros_like(x), verbose=0)["y"][:, 0]
    for baseline in (None, np.zeros((1, 4), int)):
        found = explain(model, "y", x, baseline=baseline)
        assert found.attributions["words"].shape == (2, 4) and np.abs(found.gaps).max() < 1e-5
        np.testing.assert_allclose(found.baseline_scores, start, rtol=1e-5)
    with pytest.raises(ValueError, match=r"`baseline` should have rows as long as those of `x`"):
        explain(model, "y", x, baseline=np.zeros((1, 3), int))


def test_bad_rows_and_names(table):
    model, x = table
    with pytest.raises(ValueError, match=r"`x` should be arrays.* Received: generator"):
        explain(model, "click", (row for row in x))
    with pytest.raises(ValueError, match=r"NaN or infinite answers for 1 rows, .* is row 1"):
        explain(model, "click", {**x, "age": np.array([0, np.nan, 1])})
    with pytest.raises(ValueError, match=r"`names` should be by input or layer.* 'nothing'"):
        explain(model, "click", x, names={"nothing": ["a"]})
    inputs = keras.Input((3,), name="x")
    wide = MultiTaskModel(
        inputs, {"a": keras.layers.Dense(1, name="a")(inputs)}, tasks=[Regression("a")]
    )
    for names, message in (
        (["one", "two"], r"`names\['x'\]` should be 3 names, one for each column. Received: 2"),
        ([["a", "b", "c"]], r"should be 2 lists of words, one for each row. Received: 1"),
    ):
        with pytest.raises(ValueError, match=message):
            explain(wide, "a", np.ones((2, 3)), names={"x": names})


def test_raw_columns_are_pointed_to_the_preprocessor():
    raw = keras.Input((1,), name="raw")
    with_own = HardSharing(
        keras.Input((1,), name="ready"), [Regression("a")], preprocessor=keras.Model(raw, raw)
    )
    with pytest.raises(ValueError, match=r"which are what `model.preprocessor` makes of raw"):
        explain(with_own, "a", {"raw": np.ones((2, 1))})
