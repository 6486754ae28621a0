"""What a multi-task model is as a Keras model: its parts, its config, saving and copying."""

import copy
import json

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
    hard_sharing,
    tasks,
    train,
)

from mtlzoo import DWA, BinaryClassification, Classification, MultiTaskModel, Regression, Task


def generic(order="ab", given=None, preprocessor=None, seed=1):
    """A graph of the user's own, with the heads drawn and listed in some order."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,), name="x")
    trunk = keras.layers.Dense(3, "tanh", name="trunk")(inputs)
    outputs = {name: keras.layers.Dense(1, name=name)(trunk) for name in order}
    if given is None:
        by_name = {task.name: task for task in tasks()}
        given = [by_name[name] for name in order]
    return MultiTaskModel(inputs, outputs, tasks=given or None, preprocessor=preprocessor)


def everything(model):
    return [*model.variables, *model.optimizer.variables]


# -- parts ------------------------------------------------------------------------------------


def test_tasks_stand_in_sorted_order_whatever_the_order_given():
    model = generic("ba")
    assert model.task_names == ("a", "b") == tuple(model.tasks)
    assert list(model.output) == ["a", "b"]
    model.tasks.clear()  # a copy
    assert set(model.tasks) == {"a", "b"}


def test_predictions_are_a_dict_of_raw_outputs_also_for_one_task():
    x, _ = data()
    for model in (generic(), hard_sharing(tasks()[:1])):
        found = model.predict(x, verbose=0)
        assert {n: v.shape for n, v in found.items()} == dict.fromkeys(model.tasks, (8, 1))
        assert found["a"].min() < 0 or found["a"].max() > 1  # logits
        np.testing.assert_allclose(model.predict_on_batch(x)["a"], found["a"], rtol=1e-5)


def test_a_single_task_shares_the_variables():
    model = compiled(generic())
    single = model.single_task("a")
    x, y = data()
    assert type(single) is not MultiTaskModel
    expected = [*model.shared_variables, *model.task_variables("a")]
    assert {id(v) for v in single.variables} == {id(v) for v in expected}
    before = single.predict(x, verbose=0)
    assert set(before) == {"a"}
    train(model, x, y)
    after = single.predict(x, verbose=0)["a"]
    assert np.abs(after - before["a"]).max() > 0
    np.testing.assert_allclose(after, model.predict(x, verbose=0)["a"], rtol=1e-6)
    with pytest.raises(ValueError, match=r"`name` should be one of the tasks \['a', 'b'\]"):
        model.single_task("c")


def test_tasks_are_made_from_losses_where_none_are_given():
    x, y = data()
    model = generic(given=())
    assert model.tasks == {}
    logits = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile("sgd", loss={"a": logits, "b": "mean_absolute_error"}, run_eagerly=True)
    assert [type(task) for task in model.tasks.values()] == [BinaryClassification, Regression]
    declared = generic(given=[tasks()[0], Regression("b", loss="mean_absolute_error")])
    declared.compile("sgd", run_eagerly=True)
    assert train(model, x, y) == train(declared, x, y)
    model.compile("sgd", loss={"a": "hinge", "b": "mse"}, run_eagerly=True)
    assert [type(task) for task in model.tasks.values()] == [Task, Regression]


def test_a_balancer_keeps_its_state_only_in_its_model():
    balancer = DWA()
    first, second = compiled(generic(), balancer), compiled(generic(), balancer)
    assert first.balancer is balancer and second.balancer is not balancer
    train(first, *data())
    assert np.array(first.balancer.history).any()
    assert not np.array(second.balancer.history).any()


@pytest.mark.slow
def test_compiling_again_keeps_the_same_balancer_and_takes_another():
    model = compiled(generic(), DWA())
    train(model, *data())
    history = np.array(model.balancer.history)
    compiled(model, model.balancer)
    np.testing.assert_array_equal(model.balancer.history, history)
    compiled(model, "uncertainty")
    assert [v.path for v in model.variables if "history" in v.path] == []
    before = copies(model.trainable_variables)
    train(model, *data())
    assert_all_moved(model.trainable_variables, before)
    compiled(model, "equal")
    assert model.balancer_variables == [] and len(model.trainable_variables) == 6


def test_the_balancers_variables_have_no_weight_decay():
    model = compiled(generic(), "uncertainty", keras.optimizers.AdamW(0.0, weight_decay=1.0))
    model.optimizer.learning_rate = 0.1
    model.balancer.log_variance.assign([50.0, 50.0])
    model.switch_tasks(a=False)
    train(model, *data())
    assert float(model.balancer.log_variance[0]) == 50.0
    assert abs(float(model.balancer.log_variance[1]) - 50.0) < 0.5  # decay alone: 10 a step


def test_what_needs_compile_says_so():
    model = generic()
    for use in (
        lambda: model.fit(*data()),
        lambda: model.evaluate(*data()),
        lambda: model.task_weights,
        lambda: model.switch_tasks(a=False),
    ):
        with pytest.raises(ValueError, match=r"compile"):
            use()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("form", ["list", "dict"])
def test_several_inputs_may_be_a_list_or_a_dict(form, tmp_path):
    inputs = [keras.Input((4,), name="x"), keras.Input((2,), name="z")]
    x, y = data()
    z = x[:, :2]
    rows = [x, z]
    if form == "dict":
        inputs = {tensor.name: tensor for tensor in inputs}
        rows = {"x": x, "z": z}
    features = keras.layers.Concatenate()(list(keras.tree.flatten(inputs)))
    trunk = keras.layers.Dense(3)(features)
    model = MultiTaskModel(inputs, {t.name: t.head(trunk) for t in tasks()}, tasks=tasks())
    compiled(model, Constant(wrt="features"))
    before = copies(model.trainable_variables)
    train(model, rows, y)
    assert_all_moved(model.trainable_variables, before)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    expected = model.predict(rows, verbose=0)
    assert_same(list(loaded.predict(rows, verbose=0).values()), list(expected.values()))


def test_data_may_come_as_a_tf_dataset():
    x, y = data()
    weights = {"a": np.ones(8), "b": np.arange(8.0)}
    as_arrays, as_dataset = compiled(generic()), compiled(generic())
    train(as_arrays, x, y, weights)
    rows = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(4)
    as_dataset.fit(rows, shuffle=False, verbose=0)
    assert_close(as_dataset.variables, as_arrays.variables, 1e-6)


# -- config and saving ------------------------------------------------------------------------


def test_the_config_is_json_and_gives_the_same_model():
    given = [Classification("a", 3, missing=-7, metrics=["accuracy"]), Regression("b")]
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,), name="x")
    trunk = keras.layers.Dense(3, "tanh", name="trunk")(inputs)
    outputs = {task.name: task.head(trunk) for task in given}
    model = MultiTaskModel(inputs, outputs, tasks=given, name="mine")
    config = json.loads(json.dumps(model.get_config()))
    again = MultiTaskModel.from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    assert again.name == "mine" and again.tasks["a"].missing == -7
    assert [m.name for m in again.tasks["a"].metrics()] == ["accuracy"]
    assert [v.path for v in again.variables] == [v.path for v in model.variables]


@pytest.mark.one_in(6)
@pytest.mark.parametrize("build", [generic, hard_sharing])
@pytest.mark.parametrize("balancer", ["uncertainty", "dwa", Constant((3.0, 1.0), every=2)])
def test_a_saved_model_goes_on_where_it_was(build, balancer, tmp_path):
    model = build()
    compiled(model, balancer, keras.optimizers.Adam(0.01), loss_weights={"b": 0.5}, guard="all")
    x, y = data()
    train(model, x, y, epochs=3)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert type(loaded) is type(model)
    assert repr(loaded.balancer) == repr(model.balancer)
    assert_same(everything(loaded), everything(model))
    assert loaded.task_weights == model.task_weights
    assert_same(
        list(loaded.predict(x, verbose=0).values()), list(model.predict(x, verbose=0).values())
    )
    assert train(loaded, x, y) == train(model, x, y)
    assert_same(everything(loaded), everything(model))


def test_a_model_with_tasks_made_from_losses_is_saved_with_them(tmp_path):
    model = generic(given=())
    model.compile("sgd", loss={"a": "hinge", "b": "mse"}, run_eagerly=True)
    x, y = data()
    train(model, x, y)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert [type(task) for task in loaded.tasks.values()] == [Task, Regression]
    assert train(loaded, x, y) == train(model, x, y)


def test_a_model_that_was_never_compiled_is_saved_too(tmp_path):
    model = generic()
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert_same(loaded.variables, model.variables)
    assert loaded.balancer is None
    train(compiled(loaded), *data())


@pytest.mark.slow
def test_a_loaded_model_may_be_compiled_with_another_balancer(tmp_path):
    model = compiled(generic(), "uncertainty")
    train(model, *data())
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    compiled(loaded, "pcgrad", keras.optimizers.Adam(0.01))
    before = copies(loaded.trainable_variables)
    assert len(before) == 6
    train(loaded, *data())
    assert_all_moved(loaded.trainable_variables, before)


def test_weights_of_another_balancer_are_refused(tmp_path):
    path = tmp_path / "m.weights.h5"
    compiled(generic(), "uncertainty").save_weights(path)
    message = r"saved balancer state should have the variables .*'history'.*'log_variance'"
    with pytest.raises(ValueError, match=message):
        compiled(generic(), "dwa").load_weights(path)


@pytest.mark.slow
def test_a_copy_is_apart_from_the_model():
    model = compiled(generic(), "dwa", keras.optimizers.Adam(0.01))
    x, y = data()
    train(model, x, y)
    twin = copy.deepcopy(model)
    assert_same(everything(twin), everything(model))
    before = copies(everything(model))
    assert train(twin, x, y)
    assert_same(everything(model), before)
    train(model, x, y)
    assert_same(everything(twin), everything(model))


@pytest.mark.parametrize("build", ["zoo", "generic"])
def test_weights_files_do_not_depend_on_the_order_of_tasks(build, tmp_path):
    if build == "zoo":
        first, second = hard_sharing(), hard_sharing(tasks()[::-1], seed=2)
    else:
        first, second = generic("ab"), generic("ba", seed=2)
    x, _ = data()
    expected = first.predict(x, verbose=0)
    first.save_weights(tmp_path / "m.weights.h5")
    second.load_weights(tmp_path / "m.weights.h5")
    found = second.predict(x, verbose=0)
    for name in ("a", "b"):
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("names", ["ac", "b", "abc"])
def test_weights_of_other_tasks_are_refused(names, tmp_path):
    """Keras would load the head of `b` into that of `c`."""
    path = tmp_path / "m.weights.h5"
    generic().save_weights(path)
    other = generic(names, [Regression(name) for name in names])
    before = copies(other.variables)
    message = rf"weights should be those of the tasks \['{names[0]}'.*of the tasks \['a', 'b'\]"
    with pytest.raises(ValueError, match=message):
        other.load_weights(path)
    assert_same(other.variables, before)


def test_weights_of_a_plain_model_may_be_loaded(tmp_path):
    model = generic()
    plain = keras.Model(model.input, model.output)
    plain.save_weights(tmp_path / "m.weights.h5")
    other = generic(seed=2)
    other.load_weights(tmp_path / "m.weights.h5")
    assert_same(other.variables, model.variables)
    other.save_weights(tmp_path / "n.weights.h5")
    plain.set_weights([np.zeros(v.shape) for v in plain.weights])
    with pytest.raises(ValueError):  # with the names of the tasks in it, it is no plain file
        plain.load_weights(tmp_path / "n.weights.h5")


def test_permuted_tasks_train_to_the_same_model():
    models = [compiled(hard_sharing(given), "pcgrad") for given in (tasks(), tasks()[::-1])]
    for model in models:
        train(model, *data())
    assert_same(models[0].variables, models[1].variables)


# -- preprocessor -----------------------------------------------------------------------------


def test_the_preprocessor_is_saved_but_takes_no_part_in_training(tmp_path):
    raw = {
        "colour": keras.Input((), dtype="string", name="colour"),
        "size": keras.Input((1,), name="size"),
    }
    lookup = keras.layers.StringLookup(vocabulary=["red", "blue"], output_mode="one_hot")
    joined = keras.layers.Concatenate()([lookup(raw["colour"][:, None]), raw["size"]])
    model = compiled(generic(preprocessor=keras.Model(raw, joined)))
    assert len(model.variables) == len(generic().variables) + 2  # the balancer's
    assert not any("lookup" in layer.name for layer in model._flatten_layers())
    rows = {"colour": np.array(["red", "green"]), "size": np.array([[1.0], [2.0]])}
    rows = {key: tf.constant(value) for key, value in rows.items()}
    expected = model(model.preprocessor(rows))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    found = loaded(loaded.preprocessor(rows))
    assert_same(list(found.values()), list(expected.values()))


@pytest.mark.parametrize(
    "probabilities",
    [lambda h: keras.layers.Dense(5, "softmax")(h), lambda h: keras.layers.Softmax()(h)],
)
def test_probabilities_are_refused_where_a_task_takes_logits(probabilities):
    inputs = keras.Input((5,))
    outputs = {"kind": probabilities(inputs)}
    with pytest.raises(
        ValueError, match=r"`kind` should be logits, .*`from_logits=False`. Received"
    ):
        MultiTaskModel(inputs, outputs, tasks=[Classification("kind", num_classes=5)])
    task = Classification("kind", num_classes=5, from_logits=False)
    assert MultiTaskModel(inputs, outputs, tasks=[task]).task_names == ("kind",)


def test_columns_of_labels_and_flat_ones_may_follow_each_other():
    """Traced apart, they would be one step of labels of an unknown shape."""
    inputs = keras.Input((4,))
    outputs = {name: keras.layers.Dense(1)(inputs) for name in ("a", "b")}
    model = MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss={"a": "mse", "b": "mse"})
    x, flat = np.ones((4, 4), "float32"), np.ones(4, "float32")
    for labels in (flat, flat[:, None], flat):
        logs = model.fit(x, {"a": labels, "b": labels}, verbose=0).history
        assert np.isfinite(logs["loss"]).all()
