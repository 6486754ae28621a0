"""Missing labels: what they do to losses, and that an absent task does not move at all."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from model_cases import (
    Constant,
    assert_all_moved,
    assert_close,
    assert_same,
    compiled,
    copies,
    data,
    double,
    hard_sharing,
    slots,
    tasks,
    train,
)

from mtlzoo import HardSharing, MultiTaskModel, PCGrad, Regression

FORMS = ["missing value", "zero weight", "absent key"]


def with_batch_norm():
    """Each head has moving averages of its own, and so has the trunk."""
    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="x")
    trunk = keras.layers.BatchNormalization(name="trunk_norm")(keras.layers.Dense(6, "tanh")(x))
    outputs = {}
    for task in tasks():
        tower = keras.layers.BatchNormalization(name=f"{task.name}_norm")(
            keras.layers.Dense(3, "tanh", name=f"{task.name}_tower")(trunk)
        )
        outputs[task.name] = task.head(tower)
    return MultiTaskModel(x, outputs, tasks=tasks())


def without(name, form):
    """Data in which no label of the task `name` takes part, in one of three forms."""
    x, y = data()
    weights = {"a": np.ones(8), "b": np.ones(8)}
    if form == "missing value":
        y[name] = np.full(8, {"a": -1, "b": np.nan}[name])
    elif form == "zero weight":
        weights[name] = np.zeros(8)
    else:
        del y[name], weights[name]
    return x, y, weights


def statistics(model, part):
    return [v for v in model.non_trainable_variables if f"{part}_norm" in v.path]


@pytest.mark.one_in(8)
@pytest.mark.parametrize(
    ("gone", "form", "balancer"),
    [
        ("b", "missing value", "equal"),
        ("a", "zero weight", "equal"),
        ("b", "absent key", "equal"),
        ("a", "missing value", "uncertainty"),
        ("b", "zero weight", "uncertainty"),
        ("a", "absent key", "pcgrad"),
        ("b", "missing value", "grad_drop"),
        ("a", "zero weight", Constant(wrt="features", every=2)),
    ],
)
def test_nothing_of_an_absent_task_moves(gone, form, balancer):
    model = compiled(with_batch_norm(), balancer, keras.optimizers.Adam(0.01))
    train(model, *data(), batch_size=8)  # gives Adam momenta that would move it
    other = {"a": "b", "b": "a"}[gone]
    own = model.task_variables(gone)
    frozen = [*own, *slots(model, own), *statistics(model, gone)]
    assert len(frozen) == 6 + 12 + 2
    moving = [*model.shared_variables, *model.task_variables(other)]
    moving += [*statistics(model, other), *statistics(model, "trunk")]
    of_balancer = model.balancer_variables
    of_balancer = [*of_balancer, *(slots(model, of_balancer) if of_balancer else [])]
    before = copies(frozen), copies(moving), copies(of_balancer)
    train(model, *without(gone, form), batch_size=8)
    assert_same(frozen, before[0])
    assert_all_moved(moving, before[1])
    row = model.task_names.index(gone)
    for variable, old in zip(copies(of_balancer), before[2], strict=True):
        assert variable[row] == old[row]
        assert variable[1 - row] != old[1 - row]


@pytest.mark.slow
def test_in_a_graph_too_nothing_of_an_absent_task_moves():
    model = compiled(
        with_batch_norm(), "uncertainty", keras.optimizers.Adam(0.01), run_eagerly=False
    )
    train(model, *data())
    own = model.task_variables("b")
    frozen = [*own, *slots(model, own), *statistics(model, "b"), model.balancer.log_variance[1]]
    before = copies(frozen)
    train(model, *without("b", "missing value"))
    frozen[-1] = model.balancer.log_variance[1]
    assert_same(frozen, before)


def test_in_a_mixed_sequence_only_the_steps_with_labels_count():
    """Labels in every other batch give what training on those batches alone gives the head."""
    double()
    x, y = data(16)
    y["b"][:4] = y["b"][8:12] = np.nan
    model = compiled(with_batch_norm(), optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(copies(model.task_variables("b")))
    )
    before = copies(model.task_variables("b"))
    train(model, x, y, callbacks=[watch])
    assert_same(seen[0], before)
    assert_all_moved(seen[1], seen[0])
    assert_same(seen[2], seen[1])
    assert_all_moved(seen[3], seen[2])


def test_an_absent_key_is_told_once(caplog):
    model = compiled(with_batch_norm())
    x, y, weights = without("a", "absent key")
    logging.getLogger("absl").propagate = True
    with caplog.at_level(logging.WARNING, logger="absl"):
        train(model, x, y, weights, epochs=3)
        model.evaluate(x, y, verbose=0)
    told = [record.getMessage() for record in caplog.records if "task `a`" in record.getMessage()]
    assert told == ["The data have no labels of task `a`: it counts as absent."]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("form", FORMS)
def test_a_task_without_labels_adds_nothing_to_the_loss(form):
    model = compiled(with_batch_norm(), metrics=None)
    x, y, weights = without("a", form)
    for logs in (
        {key: values[0] for key, values in train(model, x, y, weights, batch_size=8).items()},
        model.evaluate(x, y, sample_weight=weights, batch_size=8, verbose=0, return_dict=True),
    ):
        assert np.isnan(logs.pop("a_loss")) and logs["b_loss"] > 0
        assert logs["loss"] == pytest.approx(logs["b_loss"], rel=1e-6)
        assert np.isfinite(list(logs.values())).all()


def linear():
    """`a` and `b` are the sum of the inputs: losses that a hand can compute."""
    x = keras.Input((2,), name="x")
    given = [Regression("a", metrics=["mae"]), Regression("b", metrics=["mae"])]
    shared = keras.layers.Dense(1, kernel_initializer="ones", name="shared")(x)
    outputs = {
        name: keras.layers.Dense(1, kernel_initializer="ones", name=name)(shared) for name in "ab"
    }
    return MultiTaskModel(x, outputs, tasks=given)


def test_the_loss_is_the_weighted_sum_over_present_labels_divided_by_their_number():
    model = compiled(
        linear(), metrics=None, weighted_metrics={"a": [keras.metrics.MeanSquaredError("mse")]}
    )
    x = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    y = {"a": np.array([0.0, 0.0, np.nan, 1.0]), "b": np.array([1.0, np.nan, np.nan, np.nan])}
    weights = {"a": np.array([0.5, 2.0, 1.0, 0.0]), "b": np.array([3.0, 1.0, 1.0, 1.0])}
    found = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    # Rows 1 and 2 of `a` count; row 3 has no label and row 4 no weight.
    assert found["a_loss"] == pytest.approx((0.5 * 1 + 2 * 4) / 2)
    assert found["b_loss"] == pytest.approx(0.0)
    assert found["loss"] == pytest.approx(4.25)
    # `metrics` skip missing labels and ignore other weights, `weighted_metrics` use them.
    assert found["a_mae"] == pytest.approx((1 + 2) / 2)
    assert found["a_mse"] == pytest.approx((0.5 * 1 + 2 * 4) / 2.5)
    assert found["b_mae"] == pytest.approx(0.0)
    logs = train(model, x, y, weights)
    assert logs["a_loss"] == [pytest.approx(4.25)]


def test_epoch_losses_are_means_over_labels_not_over_batches():
    model = compiled(linear(), optimizer=keras.optimizers.SGD(0.0))
    x = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    y = {"a": np.array([0.0, 0.0, 0.0, np.nan]), "b": np.zeros(4)}
    logs = train(model, x, y, batch_size=2)
    assert logs["a_loss"] == [pytest.approx((1 + 4 + 9) / 3)]
    assert logs["b_loss"] == [pytest.approx((1 + 4 + 9 + 16) / 4)]


def test_cells_may_be_missing_one_by_one():
    x = keras.Input((2,), name="x")
    head = keras.layers.Dense(2, kernel_initializer="identity", name="a")(x)
    model = compiled(MultiTaskModel(x, {"a": head}, tasks=[Regression("a", dim=2)]), metrics=None)
    y = {"a": np.array([[0.0, np.nan], [np.nan, np.nan], [0.0, 1.0]])}
    found = model.evaluate(np.array([[1.0, 2], [3, 4], [5, 6]]), y, verbose=0, return_dict=True)
    assert found["a_loss"] == pytest.approx((1 + 25 + 25) / 3)


@pytest.mark.slow
def test_a_task_that_is_switched_off_is_absent():
    model = compiled(with_batch_norm(), optimizer=keras.optimizers.Adam(0.01))
    x, y = data()
    train(model, x, y)
    assert model.task_mask == {"a": True, "b": True}
    model.switch_tasks(b=False)
    assert model.task_mask == {"a": True, "b": False}
    own = model.task_variables("b")
    frozen = [*own, *slots(model, own), *statistics(model, "b")]
    before, of_a = copies(frozen), copies(model.task_variables("a"))
    logs = train(model, x, y)
    assert_same(frozen, before)
    assert_all_moved(model.task_variables("a"), of_a)
    np.testing.assert_allclose(logs["loss"], logs["a_loss"], rtol=1e-6)
    model.switch_tasks(b=True)
    train(model, x, y)
    assert_all_moved(own, before[: len(own)])
    with pytest.raises(ValueError, match=r"`name` should be one of the tasks \['a', 'b'\]"):
        model.switch_tasks(c=True)


@pytest.mark.slow
def test_a_switch_works_without_a_new_trace():
    model = compiled(with_batch_norm(), run_eagerly=False)
    x, y = data()
    train(model, x, y)
    function, before = model.train_function, copies(model.task_variables("b"))
    model.switch_tasks(b=False)
    train(model, x, y)
    assert model.train_function is function
    assert_same(model.task_variables("b"), before)


def test_weights_for_some_tasks_only_leave_the_others_at_one():
    x, y = data()
    double()
    trained = []
    for weights in ({"b": np.arange(8.0)}, {"a": np.ones(8), "b": np.arange(8.0)}):
        model = HardSharing(keras.Input((4,), name="x"), tasks(), shared_units=(3,))
        keras.utils.set_random_seed(1)
        model.set_weights([np.random.default_rng(0).normal(size=v.shape) for v in model.weights])
        compiled(model)
        train(model, x, y, weights)
        trained.append(copies(model.variables))
    assert_close(trained[0], trained[1], 1e-15)


def test_weights_that_are_kept_are_made_anew_when_a_task_comes_back():
    """With `every=2` and labels of `a` and `b` in turns, each still trains the shared part."""
    model = compiled(linear(), PCGrad(every=2), keras.optimizers.SGD(0.01))
    x, labels = np.ones((1, 2)), np.array([[3.0], [-2.0]])
    for step in range(4):
        before = [v.numpy() for v in model.shared_variables]
        a, b = (labels[0], [np.nan]) if step % 2 == 0 else ([np.nan], labels[1])
        train(model, x, {"a": np.array(a), "b": np.array(b)})
        assert model.task_weights == (
            {"a": 1.0, "b": 0.0} if step % 2 == 0 else {"a": 0.0, "b": 1.0}
        )
        assert np.abs(model.shared_variables[0].numpy() - before[0]).max() > 1e-4


@pytest.mark.one_in(2)
@pytest.mark.parametrize("present_at", [0, 1])
def test_accumulated_gradients_reach_a_task_that_was_in_any_of_the_batches(present_at):
    optimizer = keras.optimizers.SGD(0.01, gradient_accumulation_steps=2)
    model = compiled(linear(), optimizer=optimizer)
    x, heads = np.ones((1, 2)), {n: model.task_variables(n)[0] for n in "ab"}
    before = {n: v.numpy() for n, v in heads.items()}
    for step in range(2):
        b = 3.0 if step == present_at else np.nan
        train(model, x, {"a": np.array([np.nan]), "b": np.array([b])})
    assert (heads["a"].numpy() == before["a"]).all()
    assert np.abs(heads["b"].numpy() - before["b"]).max() > 1e-4


@pytest.mark.slow
def test_a_file_remembers_the_tasks_of_gradients_that_are_still_accumulated(tmp_path):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model = compiled(hard_sharing(), optimizer=optimizer)
    x, y = data(4)
    train(model, x, y)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    missing = {**y, "b": np.full(4, np.nan)}
    for one in (model, again):
        train(one, x, missing)
    before = keras.saving.load_model(tmp_path / "model.keras").task_variables("b")
    assert_close(again.trained_variables, model.trained_variables, 1e-6)
    assert_all_moved(again.task_variables("b"), before)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("balancer", ["equal", Constant()])
def test_nothing_of_a_task_that_is_switched_off_is_read(balancer):
    """Not even labels and weights that are illegal."""
    x, y = data(4)
    trained = []
    for wrong in (False, True):
        model = compiled(with_batch_norm(), balancer)
        model.switch_tasks(a=False)
        labels = {**y, "a": np.array([5, 1, -3, 0]) if wrong else y["a"]}
        weights = {
            "a": np.array([-1.0, 1.0, np.nan, 1.0]) if wrong else np.ones(4),
            "b": np.ones(4),
        }
        rows = tf.data.Dataset.from_tensor_slices((x, labels, weights)).batch(4)
        model.fit(rows, verbose=0)
        trained.append(copies(model.variables))
    assert_same(*trained)
