"""Weights of models with other tasks: by names, never by places."""

import keras
import numpy as np
import pytest
from conformance.registry import ARCHITECTURES, Case, rows

from mtlzoo import HardSharing, MultiTaskModel, Regression
from mtlzoo.training import load_weights_by_task

# Where what a task predicts depends on parts that the others have.
RECEIVE = {"PLE", "PLE, unequal", "CrossStitch", "Sluice", "NDDR"}
# Where what a task is made of depends on its name: the arguments of the cases speak of `stay`.
OTHER_PLACE = {"AITM", "DBMTLNet"}
QUICK = ["HardSharing, tree", "CrossStitch", "AdapterSharing, lora", "MultiTaskModel"]
every_architecture = pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES]
)


def source_of(name):
    """A model in whose sorted tasks each is at another place: `stay` is not there, `zest` is."""
    case = Case(name)
    tasks = [task for task in case.tasks() if task.name != "stay"] + [Regression("zest")]
    return case.build(tasks[::-1], seed=3)


def predicted(model, x):
    x = {key: x[key] for key in model.input}
    return {name: np.asarray(y) for name, y in model(x, training=False).items()}


@pytest.mark.one_in(2)
@every_architecture
def test_tasks_of_the_same_name_are_loaded(name):
    own, source = Case(name).build(seed=5), source_of(name)
    x, _ = rows(own, 8)
    untouched = {v.path: v.numpy() for v in own.task_variables("stay")}
    report = load_weights_by_task(own, source)
    after, its = predicted(own, x), predicted(source, x)
    if name not in RECEIVE:
        for task in ("click", "kind"):
            np.testing.assert_array_equal(after[task], its[task])
    assert report.of("loaded") and report.of("kept") and report.of("unused")
    kept = set(report.of("kept"))
    for variable in own.task_variables("stay"):
        if variable.path in kept:
            np.testing.assert_array_equal(variable, untouched[variable.path])
    assert kept & set(untouched)


@pytest.mark.one_in(2)
@every_architecture
def test_a_task_is_loaded_from_another_and_from_a_file_of_weights(name, tmp_path):
    source = source_of(name)
    tasks = {"click": "click", "kind": "kind", "stay": "zest"}
    source.save_weights(tmp_path / "source.weights.h5")
    for each in (source, tmp_path / "source.weights.h5"):
        own = Case(name).build(seed=5)
        x, _ = rows(own, 8)
        report = load_weights_by_task(own, each, tasks, strict=name not in OTHER_PLACE)
        after, its = predicted(own, x), predicted(source, x)
        for task, other in tasks.items():
            if task != "stay" or name not in OTHER_PLACE:
                np.testing.assert_array_equal(after[task], its[other])
        if name not in OTHER_PLACE:
            assert not report.of("kept") and not report.of("partly loaded")


def two(*names, seed=0, units=8, **arguments):
    keras.utils.set_random_seed(seed)
    tasks = [Regression(name) for name in names]
    return HardSharing(keras.Input((4,)), tasks, shared_units=(units,), **arguments)


def values(model):
    return [v.numpy() for v in model.weights]


def test_from_a_file_of_a_compiled_model(tmp_path):
    source = two("b", "a", seed=1)
    source.compile("adam", "pcgrad")
    source.save(tmp_path / "source.keras")
    source.save_weights(tmp_path / "source.weights.h5")
    for file in ("source.keras", "source.weights.h5"):
        own = two("a", "c", seed=2)
        tasks = [Regression("b")] if file.endswith("h5") else []
        report = load_weights_by_task(own, str(tmp_path / file), source_tasks=tasks)
        assert report.of("loaded") == ["shared_0/kernel", "shared_0/bias", "a/kernel", "a/bias"]
        np.testing.assert_array_equal(own.get_layer("a").kernel, source.get_layer("a").kernel)
    with pytest.raises(ValueError, match=r"`source_tasks` should have the tasks.*none named 'b'"):
        load_weights_by_task(two("a", "c"), tmp_path / "source.weights.h5")


def test_the_report_says_what_became_of_every_variable():
    own, source = two("a", "c", tower_units=(3,)), two("a", "b", seed=1, tower_units=(2,))
    report = load_weights_by_task(own, source)
    assert report.of("loaded") == ["shared_0/kernel", "shared_0/bias"]
    lines = [line.split(None, 2) for line in str(report).splitlines()]
    assert ["a/kernel", "kept", "its shape is (3, 1), and (2, 1) in the source"] in lines
    assert ["a/bias", "kept", "`a/kernel` of the same layer does not fit"] in lines
    assert ["c/bias", "kept", "there are no weights for the tasks ['c']"] in lines
    assert ["shared_0/bias", "loaded", "from `shared_0/bias`"] in lines
    assert ["b/bias", "unused", "the model has no place for it"] in lines
    assert {row.variable for row in report.rows} == {
        v.path for model in (own, source) for v in model.weights
    }
    with pytest.raises(ValueError, match=r"`source` should have weights that fit.*none fits:\n"):
        load_weights_by_task(own, two("a", "b", units=7, tower_units=(2,)))


def test_strict_or_a_wrong_task_loads_nothing():
    own, source = two("a", "c", tower_units=(3,)), two("a", "b", seed=1, tower_units=(2,))
    before = values(own)
    with pytest.raises(
        ValueError,
        match=r"of the tasks \['a'\] of the model `hard_sharing.*of the task `a`: its shape is",
    ):
        load_weights_by_task(own, source, strict=True)
    with pytest.raises(ValueError, match=r"`tasks` should name tasks of the model.*Received: 'b'"):
        load_weights_by_task(own, source, tasks=["b"])
    with pytest.raises(ValueError, match=r"`tasks` should name tasks of the model `hard_sh.*'d'"):
        load_weights_by_task(own, source, tasks={"c": "d"})
    with pytest.raises(ValueError, match="`tasks` should be a list of names, or a dict"):
        load_weights_by_task(own, source, tasks="a")
    with pytest.raises(ValueError, match="`source` should be a multi-task model, or the path"):
        load_weights_by_task(own, "weights.txt")
    with pytest.raises(ValueError, match="`model` should be a multi-task model"):
        load_weights_by_task(own.single_task("a"), source)
    for one, other in zip(before, values(own), strict=True):
        np.testing.assert_array_equal(one, other)


def test_parts_for_tasks_are_taken_by_name():
    """Of three cross-stitched columns, of which two are the source's at other places."""
    own, source = Case("CrossStitch").build(seed=5), source_of("CrossStitch")
    alpha = source.get_layer("stitch_kind_units_0").alpha
    alpha.assign([[1.0, 2.0, 3.0]])  # of click, kind and zest
    old = own.get_layer("stitch_kind_units_0").alpha.numpy()
    report = load_weights_by_task(own, source)
    new = own.get_layer("stitch_kind_units_0").alpha.numpy()  # of click, kind and stay
    np.testing.assert_array_equal(new, [[1.0, 2.0, old[0, 2]]])
    assert "stitch_kind_units_0/alpha" in report.of("partly loaded")
    load_weights_by_task(own, source, {"click": "kind", "kind": "click"})
    swapped = own.get_layer("stitch_click_units_0").alpha.numpy()
    np.testing.assert_array_equal(swapped[0, :2], [2.0, 1.0])


def test_layers_that_keras_named_are_told_apart_by_their_tasks():
    """As many of them were made before, their numbers say nothing."""

    def graph(*names):
        inputs = keras.Input((4,))
        shared = keras.layers.Dense(5)(inputs)
        tasks = [Regression(name) for name in names]
        heads = {t.name: t.head(keras.layers.Dense(3)(shared)) for t in tasks}
        return MultiTaskModel(inputs, heads, tasks=tasks)

    own, source = graph("a", "b", "c"), graph("c", "d", "a")
    report = load_weights_by_task(own, source)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    one, other = own(x), source(x)
    for name in "ac":
        np.testing.assert_array_equal(one[name], other[name])
    assert len(report.of("loaded")) == 10 and len(report.of("kept")) == 4


def test_names_of_tasks_within_names_are_told_apart():
    own, source = two("rate", "rate_2", "beta", seed=1), two("beta", "rate_2", "rate", seed=2)
    load_weights_by_task(own, source, {"beta": "rate", "rate": "rate_2", "rate_2": "beta"})
    for name, other in {"beta": "rate", "rate": "rate_2", "rate_2": "beta"}.items():
        for a, b in zip(
            own.get_layer(name).get_weights(), source.get_layer(other).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(a, b)
