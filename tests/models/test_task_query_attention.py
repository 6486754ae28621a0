"""TaskQueryAttention: against NumPy, its masks, its weights, what its tasks share."""

import json

import keras
import numpy as np
import pytest
from model_cases import assert_same, compiled, data, tasks, train

from mtlzoo import PCGrad, TaskQueryAttention

HEADS, DIM, QUERIES, WIDTH = 2, 3, 2, 4


def model_of(inputs=None, given=None, seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    numbers = {"num_heads": HEADS, "key_dim": DIM, "num_queries": QUERIES, "tower_units": (3,)}
    inputs = keras.Input((5, WIDTH), name="x") if inputs is None else inputs
    arguments = {"activation": "tanh", **numbers, **arguments}
    return TaskQueryAttention(inputs, given or tasks(), **arguments)


def tokens(rows=8, count=5):
    return np.random.default_rng(0).normal(size=(rows, count, WIDTH)).astype("float32")


def by_hand(model, x):
    weights = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(features, name):
        return features @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    both = dense(x, "keys_and_values").reshape(*x.shape[:2], 2, HEADS, DIM)
    keys, values = both[:, :, 0], both[:, :, 1]
    outputs, attention = {}, {}
    for name in model.task_names:
        queries = weights[f"{name}_attention/queries"].reshape(QUERIES, HEADS, DIM)
        attention[name] = np.zeros((len(x), HEADS, QUERIES, x.shape[1]))
        read = []
        for n in range(QUERIES):
            parts = []
            for h in range(HEADS):
                scores = np.exp(keys[:, :, h] @ queries[n, h] / np.sqrt(DIM))
                share = scores / scores.sum(axis=1, keepdims=True)
                attention[name][:, h, n] = share
                parts.append((share[:, :, None] * values[:, :, h]).sum(axis=1))
            joined = np.concatenate(parts, axis=1)
            read.append(dense(joined, f"{name}_attention/projection"))
        tower = np.tanh(dense(np.concatenate(read, axis=1), f"{name}_tower_0"))
        outputs[name] = dense(tower, name)
    return outputs, attention


def test_it_is_attention_of_each_task_written_out_by_hand():
    model = model_of()
    x = tokens()
    outputs, attention = by_hand(model, x.astype("float64"))
    found, read = model.predict(x, verbose=0), model.attention_weights(x, batch_size=3)
    for name in ("a", "b"):
        np.testing.assert_allclose(found[name], outputs[name], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(read[name], attention[name], rtol=1e-4)
    assert np.abs(read["a"] - read["b"]).max() > 1e-3


def test_keys_and_values_are_shared_and_queries_are_the_tasks():
    model = model_of()
    assert [v.path for v in model.shared_variables] == [
        "keys_and_values/kernel",
        "keys_and_values/bias",
    ]
    for name in ("a", "b"):
        assert [v.path for v in model.task_variables(name)] == [
            *(f"{name}_attention/{part}" for part in ("queries", "projection/kernel")),
            *(f"{name}_attention/projection/bias", f"{name}_tower_0/kernel"),
            *(f"{name}_tower_0/bias", f"{name}/kernel", f"{name}/bias"),
        ]
    (boundary,) = model.boundary
    assert boundary.shape == (None, 5, 2 * HEADS * DIM)
    width = HEADS * DIM
    own = QUERIES * width + width * width + width + (QUERIES * width * 3 + 3) + (3 + 1)
    assert model.count_params() == WIDTH * 2 * width + 2 * width + 2 * own


def test_a_picture_is_a_sequence_of_places():
    x = np.random.default_rng(0).normal(size=(8, 3, 2, WIDTH)).astype("float32")
    picture = model_of(keras.Input((None, None, WIDTH), name="x"))
    flat = model_of(keras.Input((6, WIDTH), name="x"))
    expected = flat.predict(x.reshape(8, 6, WIDTH), verbose=0)
    for name, value in picture.predict(x, verbose=0).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)
    assert picture.attention_weights(x)["a"].shape == (8, HEADS, QUERIES, 6)


def embedded(kind):
    embedding = keras.layers.Embedding(9, WIDTH, mask_zero=True, name="words")
    if kind == "layer":
        return embedding
    if kind == "sequential":
        return keras.Sequential([embedding, keras.layers.Dense(WIDTH, "tanh")], name="backbone")
    words = keras.Input((None,), dtype="int32")
    return keras.Model(words, keras.layers.Dense(WIDTH, "tanh")(embedding(words)), name="backbone")


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("kind", "wrt"),
    [("layer", "parameters"), ("sequential", "features"), ("functional", "features")],
)
def test_padding_has_no_part_in_answers_nor_in_training(kind, wrt):
    words = np.random.default_rng(0).integers(1, 9, (8, 4))
    words[:4, 2:] = 0
    words[5] = 0
    padded = np.concatenate([words, np.zeros_like(words)], axis=1)
    models = []
    for x in (words, padded):
        keras.utils.set_random_seed(5)
        model = model_of(keras.Input((None,), dtype="int32", name="x"), backbone=embedded(kind))
        weights = model.attention_weights(x)["b"]
        assert not weights[:4, ..., 2:].any() and not weights[5].any()
        np.testing.assert_allclose(weights[[0, 7]].sum(axis=-1), 1, rtol=1e-5)
        train(compiled(model, PCGrad(wrt=wrt)), x, data()[1])
        models.append(model)
    for one, other in zip(models[0].variables, models[1].variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_it_is_rebuilt_from_its_config_and_its_file(tmp_path):
    words = keras.Input((None,), dtype="int32", name="x")
    model = model_of(words, backbone=embedded("functional"), dropout=0.1, name="mine")
    config = json.loads(json.dumps(model.get_config()))
    again = TaskQueryAttention.from_config(json.loads(json.dumps(config)))
    assert json.loads(json.dumps(again.get_config())) == config
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x = np.array([[3, 4, 0], [5, 0, 0]])
    expected = model.attention_weights(x)
    assert_same(list(loaded.attention_weights(x).values()), list(expected.values()))


def test_the_order_of_tasks_means_nothing():
    assert_same(model_of(given=tasks()[::-1]).variables, model_of().variables)


def test_a_student_has_narrower_heads():
    student = model_of(key_dim=6, tower_units=(4,)).student(0.5)
    config = student.get_config()
    assert (config["key_dim"], config["num_heads"], config["tower_units"]) == (3, HEADS, [2])


@pytest.mark.parametrize("argument", ["num_heads", "key_dim", "num_queries"])
def test_numbers_should_be_positive(argument):
    message = rf"`{argument}` should be a positive integer. Received: {argument}=0"
    with pytest.raises(ValueError, match=message):
        model_of(**{argument: 0})


def test_tokens_should_be_floats_of_a_known_width():
    two = [keras.Input((5, 4)), keras.Input((5, 4))]
    with pytest.raises(ValueError, match=r"one input of tokens where there is no `backbone`.*2 in"):
        model_of(two)
    cases = [
        (keras.Input((4,)), r"the input, should be floats of shape .*shape=\(None, 4\)"),
        (keras.Input((5, None)), r"F known. Received: shape=\(None, 5, None\)"),
        (keras.Input((5, 4), dtype="int32"), r"Received: shape=\(None, 5, 4\) and dtype int32"),
    ]
    for inputs, message in cases:
        with pytest.raises(ValueError, match=message):
            model_of(inputs)
    with pytest.raises(ValueError, match="what `backbone` returns, should be floats of shape"):
        model_of(backbone=keras.layers.Flatten())
