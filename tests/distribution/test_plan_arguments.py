"""What `place`, `pipeline` and `rematerialize` refuse, and what they leave as it was."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import (
    BinaryClassification,
    HardSharing,
    MultiTaskModel,
    PCGrad,
    Regression,
    distribution,
)
from mtlzoo.distribution.micro_batches import later
from mtlzoo.models.cutting import pieces_of, stages_of

TASKS = [BinaryClassification("click"), Regression("stay")]


@pytest.fixture
def model():
    return HardSharing(keras.Input((6,)), TASKS, shared_units=(8, 8), tower_units=(4,))


def nested():
    inside = keras.Input((6,))
    trunk = keras.layers.Dense(8, name="inner")(keras.layers.Dense(8, name="first")(inside))
    inputs = keras.Input((6,))
    features = keras.Model(inside, trunk, name="trunk")(inputs)
    return MultiTaskModel(inputs, {t.name: t.head(features) for t in TASKS}, tasks=TASKS)


def branches():
    """Two encoders, and a skip connection past the layer `middle`."""
    a, b = keras.Input((6,), name="a"), keras.Input((3,), name="b")
    left, right = keras.layers.Dense(4, name="left")(a), keras.layers.Dense(4, name="right")(b)
    joined = keras.layers.Add(name="joined")([left, right])
    middle = keras.layers.Dense(4, name="middle")(joined)
    end = keras.layers.Add(name="end")([middle, left])
    return MultiTaskModel([a, b], {t.name: t.head(end) for t in TASKS}, tasks=TASKS)


def test_place_names_the_layer_and_the_device(model):
    with pytest.raises(ValueError, match=r"`devices\['shared_0'\]` should be one of .*'CPU:0'.*"):
        distribution.place(model, {"shared_0": "GPU:7"})
    with pytest.raises(ValueError, match=r"Received: 'tower_\*', which fits none$"):
        distribution.place(model, {"tower_*": "CPU:0"})
    with pytest.raises(ValueError, match="'click', which fits none that an earlier pattern does"):
        distribution.place(model, {"c*": "CPU:0", "click": "CPU:0"})
    with pytest.raises(ValueError, match=r"Received: devices=\['CPU:0'\]"):
        distribution.place(model, ["CPU:0"])
    with pytest.raises(
        ValueError, match=r"`model` should be a `MultiTaskModel`. Received: model=3"
    ):
        distribution.place(3, {})
    assert model.plan is None


def test_names_of_devices_and_of_layers_inside_others():
    model = nested()
    distribution.place(model, {"inner": "/device:cpu:0", "stay": "cpu:0"})
    assert [row[:3] for row in model.plan.rows_of_summary()] == [
        ["inner", "CPU:0", "1"],
        ["stay", "CPU:0", "1"],
    ]
    distribution.place(model, {"trunk": "CPU:0"})  # whole; the earlier plan is forgotten
    assert model.plan.rows_of_summary() == [["trunk", "CPU:0", "1", "128"]]
    distribution.place(model, {})
    assert model.plan is None


def test_a_stage_has_one_device(model):
    distribution.place(model, {"shared_1": "CPU:0"})
    with pytest.raises(ValueError, match=r"`devices` should be None where layers .*'shared_1' pla"):
        distribution.pipeline(model, ["shared_0"], 2, devices=["CPU:0", "CPU:0"])
    distribution.pipeline(model, ["shared_0"], 2)
    distribution.place(model, {})
    distribution.pipeline(model, ["shared_0"], 2, devices=["CPU:0", "CPU:0"])
    with pytest.raises(ValueError, match=r"in no stage with a device of its own. Received: 'stay'"):
        distribution.place(model, {"stay": "CPU:0"})


def test_pipeline_arguments(model):
    with pytest.raises(
        ValueError, match=r"`at` should be a list of names of layers. Received: at="
    ):
        distribution.pipeline(model, "shared_0", 2)
    with pytest.raises(ValueError, match="list of names"):
        distribution.pipeline(model, [], 2)
    with pytest.raises(ValueError, match="`micro_batches` should be an integer of at least 1"):
        distribution.pipeline(model, ["shared_0"], 0)
    with pytest.raises(ValueError, match="`schedule` should be one of"):
        distribution.pipeline(model, ["shared_0"], 2, schedule="2f2b")
    with pytest.raises(ValueError, match="`devices` should be one for each of the 2 stages"):
        distribution.pipeline(model, ["shared_0"], 2, devices=["CPU:0"])
    with pytest.raises(ValueError, match=r"`devices\[1\]` should be one of the devices"):
        distribution.pipeline(model, ["shared_0"], 2, devices=["CPU:0", "TPU:0"])
    with pytest.raises(ValueError, match="`rematerialize` should be False with schedule='1f1b'"):
        distribution.pipeline(model, ["shared_0"], 2, schedule="1f1b", rematerialize=True)
    with pytest.raises(ValueError, match="Received: rematerialize=1"):
        distribution.pipeline(model, ["shared_0"], 2, rematerialize=1)
    assert model.plan is None


def test_cuts_must_be_cuts(model):
    with pytest.raises(ValueError, match=r"names of different layers .*'shared_0'.*Received: 'tr"):
        distribution.rematerialize(model, ["trunk"])
    with pytest.raises(ValueError, match="'shared_0', which does not depend on the layer before"):
        distribution.rematerialize(model, ["shared_1", "shared_0"])
    with pytest.raises(ValueError, match="Received: 'stay', which does not depend on"):
        distribution.rematerialize(model, ["click", "stay"])
    with pytest.raises(ValueError, match="Received: 'click', after which nothing comes"):
        distribution.rematerialize(model, ["click"])
    layer = keras.layers.Dense(6, name="twice")
    inputs = keras.Input((6,))
    features = keras.layers.Dense(6, name="once")(layer(inputs))
    twice = MultiTaskModel(inputs, {t.name: t.head(layer(features)) for t in TASKS}, tasks=TASKS)
    with pytest.raises(ValueError, match=r"at=\['once'\], with 'twice' on both sides"):
        distribution.rematerialize(twice, ["once"])


def test_batch_norm_has_the_statistics_of_a_batch():
    inputs = keras.Input((6,))
    trunk = keras.layers.Dense(8, name="trunk")(inputs)
    features = keras.layers.BatchNormalization(name="norm")(trunk)
    model = MultiTaskModel(inputs, {t.name: t.head(features) for t in TASKS}, tasks=TASKS)
    with pytest.raises(ValueError, match=r"`micro_batches` should be 1 .*the layer 'norm'"):
        distribution.pipeline(model, ["trunk"], 2)
    distribution.pipeline(model, ["trunk"], 1)
    model.get_layer("norm").trainable = False
    distribution.pipeline(model, ["trunk"], 2)
    assert model.plan.in_parts


def test_tensors_may_lead_past_a_cut():
    model = branches()
    pieces = pieces_of(model, stages_of(model, ["joined", "middle"]))
    assert list(pieces) == [0, 1, 2]
    first, second, third = pieces.values()
    names = [[o.name for o in piece.operations] for piece in (first, second, third)]
    assert [set(each) for each in names] == [
        {"left", "right", "joined"},
        {"middle"},
        {"end", "click", "stay"},
    ]
    assert len(first.takes) == 2 and len(first.gives) == 2  # the sum, and the one that is skipped
    assert len(second.takes) == 1 and len(second.gives) == 1
    assert len(third.takes) == 2 and len(third.gives) == 2


@pytest.mark.slow
def test_xla_is_for_one_device(model):
    distribution.place(model, {"stay*": "CPU:0"})
    with pytest.raises(ValueError, match="`jit_compile` should be False or 'auto' for a model "):
        model.compile("sgd", jit_compile=True)
    model.compile("sgd")
    assert model.jit_compile is False
    assert model.get_compile_config()["jit_compile"] == "auto"
    distribution.place(model, {})
    assert model.plan is None
    model.compile("sgd", jit_compile=True)
    model.fit(np.ones((4, 6)), {"click": np.ones(4), "stay": np.ones(4)}, verbose=0)


def test_what_is_refused_changes_nothing(model):
    model.compile("sgd", jit_compile=True)
    kept = model.optimizer
    with pytest.raises(ValueError, match="Received: jit_compile=True"):
        distribution.place(model, {"stay*": "CPU:0"})
    assert model.plan is None and model.compiled and model.optimizer is kept
    distribution.rematerialize(model, ["shared_0"])  # this compiles
    with pytest.raises(ValueError, match=r"`run_eagerly` should be False .*run_eagerly=True"):
        model.compile("sgd", run_eagerly=True)


def test_batch_norm_is_looked_at_when_compiled_too():
    inputs = keras.Input((6,))
    trunk = keras.layers.Dense(8, name="trunk")(inputs)
    norm = keras.layers.BatchNormalization(name="norm")
    norm.trainable = False
    model = MultiTaskModel(inputs, {t.name: t.head(norm(trunk)) for t in TASKS}, tasks=TASKS)
    distribution.pipeline(model, ["trunk"], 2)
    norm.trainable = True
    with pytest.raises(ValueError, match=r"`micro_batches` should be 1 .*the layer 'norm'"):
        model.compile("sgd")


@pytest.mark.parametrize(
    "plan",
    [
        lambda model: distribution.rematerialize(model, ["trunk"]),
        lambda model: distribution.place(model, {"trunk": "CPU:0"}),
    ],
)
def test_sparse_inputs_are_refused(plan):
    inputs = keras.Input((6,), sparse=True, name="words")
    trunk = keras.layers.Dense(8, name="trunk")(inputs)
    model = MultiTaskModel(inputs, {t.name: t.head(trunk) for t in TASKS}, tasks=TASKS)
    plan(model)
    model.compile("sgd", jit_compile=False)
    rows = tf.sparse.from_dense(np.eye(6, dtype="float32"))
    labels = {"click": np.ones(6), "stay": np.ones(6)}
    with pytest.raises(
        ValueError, match="inputs that are sparse or ragged should not reach layers"
    ):
        model.fit(tf.data.Dataset.from_tensors((rows, labels)), verbose=0)


def test_an_overflow_leaves_ids_as_they_are():
    """What is computed again depends on gradients, which may be infinite or no numbers."""
    tensor = tf.constant([3, 5])
    for number in (1.0, np.inf, -np.inf, np.nan):
        for dtype in ("int32", "float32"):
            moved = later(tf.cast(tensor, dtype), [None, tf.constant([number])])
            assert moved.numpy().tolist() == [3, 5]


@pytest.mark.slow
def test_a_compiled_model_goes_on(model):
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(model.get_layer("shared_0").trainable_variables[:1])
    model.compile(optimizer, balancer="uncertainty", loss_weights={"stay": 2.0})
    model.switch_tasks(click=False)
    x = np.ones((4, 6), "float32")
    y = {"click": np.ones(4), "stay": np.ones(4)}
    model.fit(x, y, verbose=0)
    losses = model.initial_losses
    distribution.place(model, {"shared_*": "CPU:0"})
    assert model.optimizer is optimizer and int(optimizer.iterations) == 1
    kept, decayed = (model.get_layer(f"shared_{i}").trainable_variables[0] for i in range(2))
    assert optimizer._use_weight_decay(decayed.value)
    assert not optimizer._use_weight_decay(kept.value)
    assert model.task_mask == {"click": False, "stay": True}
    assert model.initial_losses == losses
    model.fit(x, y, verbose=0)
    assert int(optimizer.iterations) == 2


def test_stages_of_parts_are_those_of_the_model():
    """At features level the trunk ends at two tensors, one of them that at which a stage ends."""
    inputs = keras.Input((6,))
    first = keras.layers.Dense(4, name="first")(inputs)
    second = keras.layers.Dense(4, name="second")(first)
    joined = [keras.layers.Concatenate(name=f"join_{t.name}")([first, second]) for t in TASKS]
    heads = {t.name: t.head(features) for t, features in zip(TASKS, joined, strict=True)}
    model = MultiTaskModel(inputs, heads, tasks=TASKS)
    distribution.pipeline(model, ["first"], 2, devices=["CPU:0", "CPU:0"])
    model.compile("sgd", balancer=PCGrad(wrt="features"))
    names = [
        [[layer.name for layer in stage.layers] for stage in part._run.stages]
        for part in (model._step.split.trunk, model._step.split.heads)
    ]
    assert names[0] == [["first"], ["second"]]
    (only,) = names[1]
    assert set(only) == {"join_click", "join_stay", "click", "stay"}
