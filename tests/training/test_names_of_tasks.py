"""Tasks whose names are words of the names of layers."""

import keras
import numpy as np
import pytest

from mtlzoo import MTAN, CrossStitch, HardSharing, MMoE, MultiTaskModel, Regression, SoftSharing
from mtlzoo.training import add_task, load_weights_by_task, remove_task
from mtlzoo.training.transfer.naming import named_variables, renamed

BUILD = {
    "gate": (MMoE, {"num_experts": 2, "expert_units": (8,)}),
    "attention": (MTAN, {"units": (8,)}),
    "tower": (HardSharing, {"shared_units": (8,), "tower_units": (4,)}),
    "dense": (HardSharing, {"shared_units": (8,), "tower_units": (4,)}),
    "column": (SoftSharing, {"units": (8,)}),
    "units": (SoftSharing, {"units": (8,)}),
}


def build(word, *names, seed=0):
    kind, arguments = BUILD[word]
    keras.utils.set_random_seed(seed)
    model = kind(keras.Input((6,)), [Regression(name) for name in names], **arguments)
    rng = np.random.default_rng(seed)
    for v in model.variables:
        if keras.backend.is_float_dtype(v.dtype):
            v.assign(v + 0.1 * np.abs(rng.normal(size=v.shape)).astype("float32"))
    return model


def predicted(model):
    x = np.random.default_rng(1).normal(size=(5, 6)).astype("float32")
    return {name: np.array(y) for name, y in model(x, training=False).items()}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("word", BUILD)
def test_a_task_may_be_named_by_a_word_of_a_layer(word):
    model = build(word, "click", "stay")
    before = predicted(model)
    more = add_task(model, Regression(word), like="click")
    after = predicted(more)
    np.testing.assert_array_equal(after[word], before["click"])
    less = predicted(remove_task(more, word))
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
        np.testing.assert_array_equal(less[name], before[name])
    back = predicted(remove_task(add_task(more, Regression("zest"), like=word), "click"))
    np.testing.assert_array_equal(back["zest"], before["click"])


@pytest.mark.parametrize("word", BUILD)
def test_such_a_task_is_loaded_as_another(word):
    own, source = build(word, "click", word, seed=1), build(word, word, "stay", seed=2)
    load_weights_by_task(own, source, {"click": word, word: "stay"}, strict=True)
    found, its = predicted(own), predicted(source)
    np.testing.assert_array_equal(found["click"], its[word])
    np.testing.assert_array_equal(found[word], its["stay"])


def test_a_stitch_of_a_task_named_units():
    keras.utils.set_random_seed(0)
    tasks = [Regression("click"), Regression("units")]
    model = CrossStitch(keras.Input((6,)), tasks, units=(8,))
    before = predicted(model)
    after = predicted(add_task(model, Regression("stay"), like="units"))
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])


def test_only_the_beginning_of_a_name_and_else_its_own_task_count():
    names = {"a": ["b"], "b": ["a"], "dense": ["c"]}

    def other(key, *tasks):
        return renamed(key, names, list(names), ["a", "b", "c"], frozenset(tasks))

    assert other("a_dense_0/kernel", "a") == "b_dense_0/kernel"
    assert other("a.b_dense/inner_a/kernel", "a", "b") == "b.a_dense/inner_a/kernel"
    assert other("head_of_a/kernel", "a") == "head_of_b/kernel"
    assert other("head_of_a/kernel", "a", "b") == "head_of_a/kernel"
    assert other("level_0_dense_gate/kernel", "a", "b") == "level_0_c_gate/kernel"
    assert other("a_tower/dense:0/kernel", "a") == "b_tower/dense:0/kernel"
    assert renamed("a_0/kernel", {"b": ["b"]}, ["a", "b"], ["b"], frozenset("a")) is None


def test_what_the_other_task_has_not_is_said(caplog):
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(4, name="trunk")(inputs)
    click = keras.layers.Dense(3, name="of_click")(hidden)
    tasks = [Regression("click"), Regression("stay")]
    outputs = {"click": tasks[0].head(click), "stay": tasks[1].head(hidden)}
    model = MultiTaskModel(inputs, outputs, tasks=tasks)
    add_task(model, Regression("zest"), like="click")
    assert not caplog.records
    add_task(model, Regression("zest", 2), like="click")
    assert "does not begin like `click` in ['zest/kernel', 'zest/bias']" in caplog.text


def test_what_the_other_task_has_not_at_all_is_said(caplog):
    class Wide(Regression):
        def head(self, features, **arguments):
            layer = keras.layers.Dense(5, name=f"{self.name}_before")
            return super().head(layer(features), **arguments)

    model = build("dense", "click", "stay")
    with keras.saving.custom_object_scope({"Wide": Wide}):
        add_task(model, Wide("zest"), like="click")
    assert "'zest_before/kernel'" in caplog.text


def test_variables_of_one_name_are_refused():
    inputs = keras.Input((6,))
    layer = keras.layers.Dense(4, name="same")
    inner = keras.Sequential([keras.Input((6,)), layer], name="same")
    model = MultiTaskModel(inputs, {"a": keras.layers.Dense(1, name="a")(inner(inputs))})
    model._layers.append(twin := keras.layers.Dense(1, name="a"))
    twin.build((None, 4))
    with pytest.raises(ValueError, match=r"names tell them apart.* has `a/kernel` twice"):
        named_variables(model)


@pytest.mark.parametrize("tasks", [[["click"]], [None], {3: "click"}, 3, "click"])
def test_tasks_that_are_no_names_are_refused(tasks):
    model = build("dense", "click", "stay")
    with pytest.raises(ValueError, match=r"`tasks` should be a list of names, or a dict"):
        load_weights_by_task(model, model, tasks)
