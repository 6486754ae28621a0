"""A task more, a task less: what the others predict stays to the bit, for every architecture."""

import keras
import numpy as np
import pytest
from conformance.registry import ARCHITECTURES, Case, rows

from mtlzoo import (
    BinaryClassification,
    Classification,
    HardSharing,
    LearningToBranch,
    MultiTaskModel,
    Regression,
)
from mtlzoo.training import add_task, freeze, remove_task

# What the sums of these are made of depends on how many tasks there are.
TO_ROUNDING = {"Sluice": 1e-6, "NDDR": 1e-6}
REFUSE_ONE_MORE = {
    name: r"should be a task that can be added.*`level_0_shared_gate/kernel`, whose shape"
    for name in ("PLE", "PLE, unequal")
}
DEPENDS = r"should be a task that can be removed.*would change, which depends on it"
# By architecture the tasks without which the others would not be what they are.
REFUSE_ONE_LESS = {
    **dict.fromkeys(("PLE", "PLE, unequal", "CrossStitch", "Sluice", "NDDR"), "click kind stay"),
    **dict.fromkeys(("AITM", "DBMTLNet"), "click kind"),
    "ESMM": "click",
}
# Where the part of a task is not all that makes its predictions.
MORE_THAN_ITS_PART = {"ESMM"}
QUICK = ["HardSharing", "HardSharing, tree", "CrossStitch", "AdapterSharing, lora", "PLE"]
QUICK += ["MultiTaskModel", "ESMM"]
every_architecture = pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES]
)


def trained(name):
    """A model with other values than it begins with, inputs, and what it predicts."""
    model = Case(name).build()
    rng = np.random.default_rng(0)
    for v in model.variables:
        if keras.backend.is_float_dtype(v.dtype):
            v.assign(v + 0.1 * np.abs(rng.normal(size=v.shape)).astype("float32"))
    x, _ = rows(model, 33)
    return model, x, predicted(model, x)


def predicted(model, x):
    return {name: np.asarray(y) for name, y in model(x, training=False).items()}


def check_same(name, before, after):
    for task, values in before.items():
        if task in after:
            if name in TO_ROUNDING:
                np.testing.assert_allclose(after[task], values, atol=TO_ROUNDING[name])
            else:
                np.testing.assert_array_equal(after[task], values)


@pytest.mark.one_in(5)
@every_architecture
def test_a_task_more_changes_nothing_else(name):
    model, x, before = trained(name)
    like = next(n for n, task in model.tasks.items() if isinstance(task, BinaryClassification))
    tasks = {
        "anew": (Regression("beta"), None),
        "like": (BinaryClassification("yes"), like),
        "of another shape": (Classification("kind_2", num_classes=3), "kind"),
    }
    for case, (task, other) in tasks.items():
        if name in REFUSE_ONE_MORE:
            with pytest.raises(ValueError, match=REFUSE_ONE_MORE[name]):
                add_task(model, task, other)
            continue
        new = add_task(model, task, other)
        assert type(new) is type(model) and set(new.task_names) == {*before, task.name}
        after = predicted(new, x)
        check_same(name, before, after)
        if case == "like" and name not in MORE_THAN_ITS_PART:
            np.testing.assert_allclose(after["yes"], before[like], atol=1e-6)
        assert new.task_variables(task.name)
    check_same(name, before, predicted(model, x))  # the old one is as it was


@pytest.mark.one_in(4)
@every_architecture
def test_a_task_less_changes_nothing_else(name):
    model, x, before = trained(name)
    for task in model.task_names:
        if task in REFUSE_ONE_LESS.get(name, "").split():
            with pytest.raises(ValueError, match=DEPENDS):
                remove_task(model, task)
            continue
        new = remove_task(model, task)
        assert set(new.task_names) == set(before) - {task}
        check_same(name, before, predicted(new, {key: x[key] for key in new.input}))


def hard_sharing(tasks=None, **arguments):
    tasks = tasks or Case().tasks()
    inputs = keras.Input((6,), name="features")
    return HardSharing(inputs, tasks, shared_units=(8,), tower_units=(4,), **arguments)


def test_the_new_model_is_trained_saved_and_exported_as_any_other(tmp_path):
    model, x, before = trained("HardSharing")
    new = add_task(model, Regression("more"), like="stay")
    freeze(new)
    freeze(new, tasks=["click", "kind", "stay"])
    new.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    y = {**rows(model, 33)[1], "more": np.linspace(-1, 1, 33)}
    y["more"][::2] = np.nan
    new.fit(x, y, epochs=2, verbose=0)
    after = predicted(new, x)
    check_same("HardSharing", before, after)
    assert np.abs(after["more"] - before["stay"]).max() > 1e-3
    new.save(tmp_path / "new.keras")
    again = predicted(keras.saving.load_model(tmp_path / "new.keras"), x)
    check_same("HardSharing", after, again)
    new.export(tmp_path / "served", verbose=False)


def test_what_was_frozen_is_frozen():
    model = hard_sharing()
    freeze(model, "shared_0", "stay")
    for new in (add_task(model, Regression("more"), "stay"), remove_task(model, "click")):
        assert {la.name for la in new.layers if not la.trainable} == {"shared_0", "stay"}


def test_statistics_and_the_preprocessor_are_taken_over():
    normalization = keras.layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(3, 2, (50, 6)).astype("float32"))
    inside = {"features": keras.Input((6,), name="features")}
    dense = keras.layers.Dense(4)(normalization(inside["features"]))
    backbone = keras.Model(inside, dense)
    raw = keras.Input((6,), name="raw")
    preprocessor = keras.Model(raw, {"features": keras.layers.Rescaling(2.0)(raw)})
    tasks = [Regression("a"), Regression("b")]
    inputs = {"features": keras.Input((6,), name="features")}
    model = HardSharing(inputs, tasks, backbone=backbone, preprocessor=preprocessor)
    x = {"features": np.random.default_rng(1).normal(size=(5, 6)).astype("float32")}
    new = add_task(model, Regression("c"))
    check_same("HardSharing", predicted(model, x), predicted(new, x))
    assert new.preprocessor is preprocessor
    assert remove_task(new, "a").preprocessor is preprocessor


def test_in_a_tree_a_new_task_goes_with_the_one_it_is_like():
    tree = [[("click", "kind", "stay")], [("click", "kind"), ("stay",)]]
    inputs = keras.Input((6,), name="features")
    model = HardSharing(inputs, Case().tasks(), shared_units=(8, 8), tree=tree)
    alone = add_task(model, Regression("more"))
    assert alone.tree[1] == [["click", "kind"], ["more"], ["stay"]]
    assert add_task(model, Regression("more"), "kind").tree[1] == [
        ["click", "kind", "more"],
        ["stay"],
    ]
    less = remove_task(remove_task(alone, "more"), "stay")
    assert less.tree[1] == [["click", "kind"]]
    x = np.random.default_rng(0).normal(size=(7, 6)).astype("float32")
    check_same("HardSharing", predicted(less, x), predicted(model, x))


def test_nodes_stay_as_many_as_there_were():
    model = LearningToBranch(keras.Input((6,)), Case().tasks(), units=(4, 4))
    assert add_task(model, Regression("more"))._node_counts == [3, 3]


# -- graphs ---------------------------------------------------------------------------------------


def two_ends():
    """A graph of which two tensors leave the shared part."""
    inputs = keras.Input((6,), name="features")
    first = keras.layers.Dense(5, name="first")(inputs)
    second = keras.layers.Dense(4, name="second")(first)
    a, b, c = (Regression(name) for name in "abc")
    outputs = {"a": a.head(first), "b": b.head(second), "c": c.head(second)}
    return MultiTaskModel(inputs, outputs, tasks=[a, b, c])


def test_in_a_graph_it_is_said_what_a_new_task_reads():
    model = two_ends()
    with pytest.raises(ValueError, match=r"`features` should name the layer.*or `like` a task"):
        add_task(model, Regression("more"))
    with pytest.raises(ValueError, match=r"`features` should be the name of a layer.*'third'"):
        add_task(model, Regression("more"), features="third")
    assert (
        add_task(model, Regression("more"), features="first").get_layer("more").input.shape[1] == 5
    )
    assert add_task(model, Regression("more"), like="b").get_layer("more").input.shape[1] == 4


REFUSED = {
    "no task": (lambda m: add_task(m, "more"), "`task` should be a task. Received: task='more'"),
    "a taken name": (
        lambda m: add_task(m, Regression("stay")),
        "none of the tasks .* of `hard_sharing.*a task named 'stay'",
    ),
    "like nothing": (
        lambda m: add_task(m, Regression("more"), like="sty"),
        r"`like` should be a task of the model.*near it are \['stay'\]. Received: like='sty'",
    ),
    "features of an architecture": (
        lambda m: add_task(m, Regression("more"), features="shared_0"),
        "`features` should be None for an architecture",
    ),
    "an unknown name": (
        lambda m: remove_task(m, "clik"),
        r"`name` should be a task of the model.*near it are \['click'\]. Received: name='clik'",
    ),
    "a plain model": (
        lambda m: remove_task(m.single_task("stay"), "stay"),
        "should be a `MultiTaskModel` or an architecture of the zoo. Received: a Functional",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused(case):
    change, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        change(hard_sharing())


def test_the_last_task_and_tasks_from_losses_are_refused():
    model = hard_sharing([Regression("a")])
    with pytest.raises(ValueError, match=r"should leave the model `hard_sharing.*a task.*its only"):
        remove_task(model, "a")
    inputs = keras.Input((6,))
    model = MultiTaskModel(inputs, {"a": keras.layers.Dense(1, name="a")(inputs)})
    with pytest.raises(ValueError, match="`model` should be made with its tasks"):
        add_task(model, Regression("more"))
