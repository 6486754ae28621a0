"""The update of a training step against what is written out by hand, and against plain Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from model_cases import (
    Constant,
    Diagonal,
    StepNumber,
    assert_all_moved,
    assert_close,
    assert_same,
    compiled,
    copies,
    data,
    double,
    hard_sharing,
    tasks,
    train,
)

from mtlzoo import MMoE, MultiTaskModel, Regression


def binary_cross_entropy(labels, logits):
    labels = tf.cast(labels, logits.dtype)[:, None]
    return tf.reduce_mean(tf.nn.softplus(logits) - labels * logits)


def squared_error(labels, outputs):
    return tf.reduce_mean((labels[:, None] - outputs) ** 2)


def gradients_by_hand(model, x, y):
    """The gradients of both tasks by all trainable variables, a tape for each."""
    found = {}
    for name, loss in (("a", binary_cross_entropy), ("b", squared_error)):
        with tf.GradientTape() as tape:
            value = loss(y[name], model(x)[name])
        found[name] = tape.gradient(value, [v.value for v in model.trainable_variables])
    return found


def index_of(model, variables):
    ids = [id(v) for v in model.trainable_variables]
    return [ids.index(id(v)) for v in variables]


def conflicting_data():
    """The two tasks read the same direction with opposite signs."""
    x, _ = data()
    return x, {"a": (x[:, 0] > 0).astype("int32"), "b": -4 * x[:, 0]}


@pytest.mark.parametrize("wrt", ["parameters", "features"])
def test_constant_weights_give_the_update_written_out_by_hand(wrt):
    double()
    model = compiled(hard_sharing(), Constant(wrt=wrt))
    x, y = data()
    by_hand = gradients_by_hand(model, x, y)
    expected = copies(model.trainable_variables)
    for i in index_of(model, model.shared_variables):
        expected[i] -= 0.1 * (2.0 * by_hand["a"][i] + 0.5 * by_hand["b"][i])
    for name in ("a", "b"):
        for i in index_of(model, model.task_variables(name)):
            expected[i] -= 0.1 * by_hand[name][i]
    train(model, x, y, batch_size=8)
    assert_close(model.trainable_variables, expected, 1e-12)
    assert model.task_weights == {"a": 2.0, "b": 0.5}


def test_pcgrad_of_two_tasks_gives_the_update_written_out_by_hand():
    double()
    x, y = conflicting_data()
    model = hard_sharing(tower_units=())
    # The two heads read the trunk alike, so that opposite labels conflict.
    kernel_a, kernel_b = model.task_variables("a")[0], model.task_variables("b")[0]
    kernel_b.assign(kernel_a)
    compiled(model, "pcgrad")
    by_hand = gradients_by_hand(model, x, y)
    shared = index_of(model, model.shared_variables)
    flat = {n: np.concatenate([np.ravel(g[i]) for i in shared]) for n, g in by_hand.items()}
    inner = flat["a"] @ flat["b"]
    assert inner < 0
    projected_a = flat["a"] - inner / (flat["b"] @ flat["b"]) * flat["b"]
    projected_b = flat["b"] - inner / (flat["a"] @ flat["a"]) * flat["a"]
    combined = projected_a + projected_b
    before = np.concatenate([np.ravel(v) for v in copies(model.shared_variables)])
    train(model, x, y, batch_size=8)
    after = np.concatenate([np.ravel(v) for v in copies(model.shared_variables)])
    np.testing.assert_allclose(after, before - 0.1 * combined, rtol=0, atol=1e-12)


def mmoe_with_trunk():
    keras.utils.set_random_seed(3)
    trunk = keras.Sequential(
        [keras.layers.Dense(5, "tanh"), keras.layers.Dense(5, "tanh")], name="trunk"
    )
    return MMoE(
        keras.Input((4,), name="x"),
        tasks(),
        backbone=trunk,
        num_experts=3,
        expert_units=(4,),
        tower_units=(3,),
        activation="tanh",
    )


def masked_text_model():
    """Rows of word ids, of which 0 is padding; every head is recurrent and needs the mask."""
    keras.utils.set_random_seed(3)
    words = keras.Input((5,), dtype="int32", name="words")
    trunk = keras.layers.Embedding(9, 4, mask_zero=True, name="embedding")(words)
    given = tasks()
    outputs = {t.name: t.head(keras.layers.LSTM(3, name=f"{t.name}_rnn")(trunk)) for t in given}
    return MultiTaskModel(words, outputs, tasks=given)


def head_reading_the_raw_input():
    """One head skips the trunk, another reads trunk and a shared layer after it."""
    keras.utils.set_random_seed(3)
    x = keras.Input((4,), name="x")
    low = keras.layers.Dense(5, "tanh", name="low")(x)
    high = keras.layers.Dense(5, "tanh", name="high")(low)
    join = keras.layers.Concatenate
    given = tasks()
    features = {"a": join()([x, high]), "b": join()([low, high])}
    return MultiTaskModel(x, {t.name: t.head(features[t.name]) for t in given}, tasks=given)


@pytest.mark.one_in(4)
@pytest.mark.filterwarnings("error:.*mask")
@pytest.mark.parametrize(
    "build", [mmoe_with_trunk, masked_text_model, head_reading_the_raw_input, hard_sharing]
)
def test_features_level_equals_parameter_level_for_fixed_weights(build):
    double()
    x, y = data()
    if build is masked_text_model:
        x = np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0], [5, 6, 7, 8, 1], [2, 2, 0, 0, 0]] * 2)
    updated = {}
    for wrt in ("parameters", "features"):
        model = build()
        before = copies(model.trainable_variables)
        compiled(model, Constant(wrt=wrt), keras.optimizers.SGD(0.5))
        train(model, x, y)
        assert_all_moved(model.trainable_variables, before)
        updated[wrt] = copies(model.trainable_variables)
    assert_close(updated["features"], updated["parameters"], 1e-12)


def test_the_gramian_at_features_level_is_made_of_partial_derivatives():
    """Gates read the trunk directly and through the experts: both are inputs of the heads."""
    double()
    model = mmoe_with_trunk()
    compiled(model, Diagonal(wrt="features"), keras.optimizers.SGD(0.0))
    assert len(model.boundary) == 2
    x, y = data()
    train(model, x, y, batch_size=8)
    trunk = keras.Model(model.input, model.boundary)
    heads = keras.Model(model.boundary, model.output)
    ends = trunk(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(ends)
        outputs = heads(ends)
        losses = {
            "a": binary_cross_entropy(y["a"], outputs["a"]),
            "b": squared_error(y["b"], outputs["b"]),
        }
    for name, loss in losses.items():
        expected = sum(float(tf.reduce_sum(g**2)) for g in tape.gradient(loss, ends))
        assert model.task_weights[name] == pytest.approx(expected, rel=1e-10)


# -- every=k ----------------------------------------------------------------------------------


@pytest.mark.one_in(4)
@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("wrt", ["parameters", "features"])
def test_weights_are_recomputed_each_kth_step_and_kept_in_between(wrt, eager):
    model = compiled(hard_sharing(), StepNumber(wrt=wrt, every=3), run_eagerly=eager)
    x, y = data(28)
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(model.task_weights["a"])
    )
    train(model, x, y, callbacks=[watch])
    assert seen == [1.0, 1.0, 1.0, 4.0, 4.0, 4.0, 7.0]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("wrt", ["parameters", "features"])
def test_kept_constant_weights_are_those_computed_each_step(wrt):
    double()
    x, y = data(20)
    updated = []
    for every in (1, 3):
        model = compiled(hard_sharing(), Constant(wrt=wrt, every=every))
        train(model, x, y)
        updated.append(copies(model.trainable_variables))
    assert_close(updated[1], updated[0], 1e-12)


# -- plain Keras ------------------------------------------------------------------------------


def regularized(given):
    """A graph with weight decay in the loss, an activity term and a shared layer."""
    keras.utils.set_random_seed(2)
    x = keras.Input((4,), name="x")
    features = keras.layers.Dense(
        6, "tanh", kernel_regularizer=keras.regularizers.L2(0.1), name="trunk"
    )(x)
    features = keras.layers.ActivityRegularization(l1=0.05, name="activity")(features)
    heads = {
        name: keras.layers.Dense(
            1, name=name, bias_regularizer=keras.regularizers.L1(0.01), bias_initializer="ones"
        )(features)
        for name in ("a", "b")
    }
    return x, heads


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.1),
        lambda: keras.optimizers.Adam(0.01, global_clipnorm=0.5),
        lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, clipnorm=0.3, use_ema=True),
    ],
    ids=["SGD", "Adam", "AdamW"],
)
def test_equal_weights_are_plain_keras(optimizer):
    given = tasks()
    x, y = data(12)
    ours = MultiTaskModel(*regularized(given), tasks=given)
    plain = keras.Model(*regularized(given))
    assert_same(ours.trainable_variables, plain.trainable_variables)
    losses = {"a": keras.losses.BinaryCrossentropy(from_logits=True), "b": "mean_squared_error"}
    weights = {"a": 0.7, "b": 2.0}
    compiled(ours, optimizer=optimizer(), loss_weights=weights)
    plain.compile(optimizer(), loss=losses, loss_weights=weights, run_eagerly=True)
    logs = train(ours, x, y, epochs=2)
    expected = train(plain, x, y, epochs=2)
    assert_close(ours.trainable_variables, plain.trainable_variables, 1e-6)
    np.testing.assert_allclose(logs["loss"], expected["loss"], rtol=1e-6)
    for name in ("a", "b"):
        np.testing.assert_allclose(logs[f"{name}_loss"], expected[f"{name}_loss"], rtol=1e-6)
    evaluated = ours.evaluate(x, y, verbose=0, return_dict=True)
    assert evaluated["loss"] == pytest.approx(plain.evaluate(x, y, verbose=0)[0], rel=1e-6)


def test_an_embedding_in_the_trunk_trains_as_in_plain_keras():
    def graph():
        keras.utils.set_random_seed(2)
        words = keras.Input((3,), dtype="int32", name="words")
        features = keras.layers.Embedding(5, 4, name="embedding")(words)
        features = keras.layers.GlobalAveragePooling1D(name="mean")(features)
        return words, {name: keras.layers.Dense(1, name=name)(features) for name in ("a", "b")}

    x = np.random.default_rng(0).integers(0, 5, (8, 3))
    y = data()[1]
    plain = keras.Model(*graph())
    losses = {"a": keras.losses.BinaryCrossentropy(from_logits=True), "b": "mean_squared_error"}
    plain.compile(keras.optimizers.SGD(0.5), loss=losses, run_eagerly=True)
    train(plain, x, y)
    balancers = ["equal", Constant((1, 1)), Constant((1, 1), wrt="features", every=2)]
    for balancer in balancers:
        model = MultiTaskModel(*graph(), tasks=tasks())
        before = copies(model.trainable_variables)
        compiled(model, balancer, keras.optimizers.SGD(0.5))
        train(model, x, y)
        assert_all_moved(model.trainable_variables, before)
        assert_close(model.trainable_variables, plain.trainable_variables, 1e-6)


def test_loss_weights_multiply_the_losses_before_the_balancer_and_in_the_heads():
    double()
    x, y = data()
    for balancer in ("equal", Constant((1.0, 1.0)), Constant((1.0, 1.0), wrt="features")):
        model = hard_sharing()
        by_hand = gradients_by_hand(model, x, y)
        expected = copies(model.trainable_variables)
        for i in range(len(expected)):
            for name, weight in (("a", 3.0), ("b", 0.25)):
                if by_hand[name][i] is not None:
                    expected[i] -= 0.1 * weight * by_hand[name][i]
        compiled(model, balancer, loss_weights={"a": 3.0, "b": 0.25})
        train(model, x, y, batch_size=8)
        assert_close(model.trainable_variables, expected, 1e-12)


def test_a_task_may_have_a_loss_of_its_own_in_compile():
    double()
    x, y = data()
    model = hard_sharing([tasks()[0], Regression("b", loss="mean_absolute_error")])
    other = hard_sharing()
    compiled(model)
    compiled(other, loss={"b": "mean_absolute_error"})
    assert train(model, x, y) == train(other, x, y)
    assert_same(model.trainable_variables, other.trainable_variables)
