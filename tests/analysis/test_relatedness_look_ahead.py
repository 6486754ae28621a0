"""Look-ahead affinity: against arithmetic by hand, without a trace, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import BinaryClassification, HardSharing, MultiTaskModel, Regression, SoftSharing
from mtlzoo.analysis import AffinityHistory, inter_task_affinity
from mtlzoo.data.synthetic_relatedness import generate

RATE = 0.05


def linear(names=("a", "b"), **options):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,), dtype="float64")
    shared = keras.layers.Dense(3, name="shared", dtype="float64")(inputs)
    outputs = {n: keras.layers.Dense(1, name=n, dtype="float64")(shared) for n in names}
    model = MultiTaskModel(inputs, outputs, tasks=[Regression(n) for n in names])
    options = {"run_eagerly": True, **options}
    model.compile(keras.optimizers.SGD(RATE), jit_compile=False, **options)
    return model


def by_hand(model, x, y, weights, loss_weights):
    """The affinities of a linear model of mean squared errors; NaN labels are missing."""
    kernel, bias = (v.numpy() for v in model.get_layer("shared").variables)
    heads = {n: [v.numpy() for v in model.get_layer(n).variables] for n in model.task_names}

    def errors(name, kernel, bias):
        return (x @ kernel + bias) @ heads[name][0][:, 0] + heads[name][1][0] - y[name]

    def loss(name, kernel, bias):
        there = ~np.isnan(y[name])
        return (weights[name] * errors(name, kernel, bias) ** 2)[there].sum() / there.sum()

    found = np.zeros((len(heads), len(heads)))
    for i, acts in enumerate(model.task_names):
        there = ~np.isnan(y[acts])
        slope = np.where(there, 2 * weights[acts] * errors(acts, kernel, bias), 0) / there.sum()
        slope = loss_weights.get(acts, 1.0) * slope[:, None] * heads[acts][0][:, 0]
        moved = kernel - RATE * x.T @ slope, bias - RATE * slope.sum(0)
        for j, on in enumerate(model.task_names):
            found[i, j] = 1 - loss(on, *moved) / loss(on, kernel, bias)
    return found


@pytest.mark.slow
def test_it_is_what_arithmetic_by_hand_gives():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 12, 4))
    y = {"a": rng.normal(size=(2, 12)), "b": rng.normal(size=(2, 12))}
    y["b"][0, :5] = np.nan
    weights = {"a": rng.uniform(1, 2, size=(2, 12)), "b": np.ones((2, 12))}
    model = linear(loss_weights={"a": 0.5}, run_eagerly=False)
    batches = [
        (x[k], {n: v[k] for n, v in y.items()}, {n: v[k] for n, v in weights.items()})
        for k in range(2)
    ]
    found = inter_task_affinity(model, batches)
    expected = [by_hand(model, *batch, {"a": 0.5}) for batch in batches]
    np.testing.assert_allclose(found.samples, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.values, np.mean(expected, 0), rtol=1e-6, atol=1e-9)
    assert found.directed and found["a", "b"] != found["b", "a"]
    eager = linear(loss_weights={"a": 0.5})
    only = inter_task_affinity(eager, batches, batches=1)
    np.testing.assert_allclose(only.samples, found.samples[:1], rtol=1e-9)


def test_a_task_without_labels_is_unknown():
    x = np.ones((4, 4))
    found = inter_task_affinity(linear(), (x, {"a": np.zeros(4)}))
    assert found["a", "a"] > 0
    assert np.isnan(found["a", "b"]) and np.isnan(found["b", "a"]) and np.isnan(found["b", "b"])


def stateful():
    """A model with everything that a step could move."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(8, kernel_regularizer="l2", activity_regularizer="l2")(inputs)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Dropout(0.3)(hidden)
    tasks = [BinaryClassification("click"), Regression("stay")]
    outputs = {task.name: task.head(keras.layers.Dense(4)(hidden)) for task in tasks}
    model = MultiTaskModel(inputs, outputs, tasks=tasks)
    model.compile(keras.optimizers.Adam(0.01), "dwa", jit_compile=False)
    return model


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 6)).astype("float32")
    return x, {"click": (x[:, 0] > 0).astype("float32"), "stay": x[:, 0] + x[:, 1]}


def state(model):
    variables = [*model.variables, *model.optimizer.variables, *vars(model._step).values()]
    return [v.numpy() for v in variables if isinstance(v, keras.Variable)]


@pytest.mark.slow
def test_a_training_is_the_same_with_it_bit_by_bit(rows):
    results = []
    data = tf.data.Dataset.from_tensor_slices(rows).batch(16)
    history = AffinityHistory(data, batches=2, learning_rate=0.5)
    for callbacks in ([], [history]):
        model = stateful()
        logs = model.fit(*rows, batch_size=16, epochs=2, verbose=0, callbacks=callbacks).history
        results.append((logs, state(model)))
    assert results[0][0] == results[1][0]
    for without, with_it in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(without, with_it)
    assert history.steps.tolist() == [3, 6]
    assert history.affinities.shape == (2, 2, 2) and np.isfinite(history.affinities).all()


@pytest.mark.slow
def test_a_measurement_that_fails_leaves_no_trace_either(rows):
    model = stateful()
    model.compile("adam", run_eagerly=True)
    before = state(model)
    x, y = rows
    with pytest.raises(ValueError, match=r"Labels of task `click` should be legal. Received: 2 th"):
        inter_task_affinity(model, (x, {**y, "click": np.array([7, 3] + [0.0] * 46)}))
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_it_rises_with_the_relatedness_of_the_tasks():
    """Of heads that are alike, and that say nothing yet, gradients are as alike as the tasks."""
    keras.utils.set_random_seed(0)
    tasks = [Regression("first"), Regression("second")]
    model = HardSharing(keras.Input((100,)), tasks, shared_units=[16], activation="linear")
    model.compile("sgd", run_eagerly=True)
    model.get_layer("second").set_weights(model.get_layer("first").get_weights())
    model.get_layer("shared_0").set_weights([np.zeros((100, 16)), np.zeros(16)])
    found = []
    for p in (0.0, 0.5, 0.9, 1.0):
        x, y = generate(2048, p, 1, 0)
        y = {name: values - values.mean() for name, values in y.items()}  # the sines share a mean
        found.append(inter_task_affinity(model, (x, y), learning_rate=0.1))
    for pair in (("first", "second"), ("second", "first")):
        affinities = [matrix[pair] for matrix in found]
        assert np.all(np.diff(affinities) > 0.005), affinities


def test_a_rate_that_is_too_small_is_warned_of(caplog):
    x, y = np.ones((4, 4)), {"a": np.zeros(4), "b": np.zeros(4)}
    inter_task_affinity(linear(), (x, y), learning_rate=1e-9)
    assert "give a greater `learning_rate`" in caplog.text


@pytest.mark.slow
def test_a_loss_below_zero_is_compared_by_its_absolute_value():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(16, 4))
    y = {"a": x[:, 0], "b": x[:, 1]}
    found = []
    for less in (0.0, 50.0):

        def squares(y_true, y_pred, less=less):
            return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1) - less

        model = linear(loss={"a": squares})
        value = float(model.evaluate(x, y, return_dict=True, verbose=0)["a_loss"])
        found.append(inter_task_affinity(model, (x, y))["b", "a"] * abs(value))
    assert value < 0
    assert found[0] == pytest.approx(found[1], rel=1e-4) and found[0] != 0


def test_gradients_that_overflow_are_warned_of(caplog):
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        tasks = [Regression("a"), Regression("b")]
        model = HardSharing(keras.Input((4,)), tasks, shared_units=[4])
        model.compile("adam", run_eagerly=True)
        x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
        y = {"a": 1e4 * x[:, 0], "b": 0.1 * x[:, 1]}
        found = inter_task_affinity(model, (x, y), learning_rate=0.01)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert np.isnan(found["a", "a"]) and np.isfinite(found["b", "b"])
    assert "A step of the tasks ['a'] gives no finite loss" in caplog.text


def refused(model, error, data=None, **options):
    data = (np.ones((2, 4)), {"a": np.zeros(2)}) if data is None else data
    with pytest.raises(ValueError, match=error):
        inter_task_affinity(model, data, **options)


def test_what_has_no_look_ahead_is_refused():
    model = linear()
    refused(keras.Sequential(), r"`model` should be a multi-task model. Received: model=<Sequ")
    refused(linear(["a"]), r"two tasks or more; compare models of one task by `representation_si")
    refused(
        model, r"`batches` should be a positive integer or None. Received: batches=0", batches=0
    )
    refused(model, r"`data` should have a batch at least. Received: none", data=[])
    refused(
        model, r"batches of inputs and labels.* Received: a batch of type ndarray", [np.ones(3)]
    )
    refused(model, r"`learning_rate` should be a positive number or None.*0", learning_rate=0.0)
    refused(model, r"Labels should have only the tasks \['a', 'b'\]", (np.ones((2, 4)), {"c": 1}))
    apart = SoftSharing(keras.Input((4,)), [Regression("a"), Regression("b")], units=[4])
    apart.compile("sgd")
    refused(
        apart, r"use `representation_similarity` or `pairwise_gains`. Received: a model that sh"
    )
    new = HardSharing(keras.Input((4,)), [Regression("a"), Regression("b")], shared_units=[4])
    refused(new, r"The model should be compiled first")


def test_a_task_without_gradient_is_named():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3)(inputs)
    stopped = keras.layers.Lambda(tf.stop_gradient, output_shape=(3,))(hidden)
    tasks = [Regression("a"), Regression("b"), Regression("c")]
    outputs = {t.name: t.head(stopped if t.name == "c" else hidden) for t in tasks}
    model = MultiTaskModel(inputs, outputs, tasks=tasks)
    model.compile("sgd", jit_compile=False)
    data = np.ones((2, 4)), {name: np.zeros(2) for name in "abc"}
    refused(model, r"the loss of task `c` has a gradient.*`pairwise_gains`. Rec", data)
