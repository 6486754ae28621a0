"""A training's health: planted faults are found and named, and a sound training is left alone."""

import warnings
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from models.model_cases import compiled, data, hard_sharing, tasks, train

from mtlzoo import Combined, MMoE, MultiTaskModel
from mtlzoo.analysis import Finding, HealthLimits, TrainingHealth
from mtlzoo.analysis.health import checks, states
from mtlzoo.models.gramian_record import GramianSums
from mtlzoo.models.graph import read_ownership


def seen(
    rows,
    *,
    steps=40,
    weights=(1, 1),
    lengths=None,
    sizes=None,
    earlier=(),
    reached=None,
    balancer="",
):
    """What an epoch shows whose steps all have these gradients, (K, T, P)."""
    rows = np.asarray(rows, float)
    groups, tasks_ = rows.shape[:2]
    squares = (rows**2).sum(-1)
    norms = np.sqrt(np.where(squares > 0, squares, 1))
    pairs = (squares > 0)[:, :, None] & (squares > 0)[:, None, :]
    cosines = np.where(pairs, rows @ rows.swapaxes(1, 2), 0) / norms[:, :, None] / norms[:, None, :]
    sums = GramianSums(
        np.full((groups, tasks_), float(steps)),
        steps * (squares == 0).astype(float),
        np.zeros((groups, tasks_)),
        steps * squares,
        steps * pairs.astype(float),
        steps * cosines,
        steps * (cosines < 0).astype(float),
        steps * pairs.astype(float),
    )
    names = ("shared", *(f"layer_{k}" for k in range(1, groups)))
    return checks.Seen(
        2,
        ("a", "b", "c")[:tasks_],
        names,
        sums,
        np.ones(groups) if lengths is None else np.array(lengths),
        np.ones(groups) if sizes is None else np.array(sizes),
        np.ones((groups, tasks_), bool) if reached is None else np.array(reached),
        np.array(weights, float),
        sums,
        balancer,
        [np.asarray(norms) for norms in earlier],
    )


def kinds(what, limits=None):
    found = checks.gradients(what, limits or HealthLimits())
    return [(warning.kind, warning.tasks, warning.where) for warning in found]


def test_nothing_is_said_of_a_sound_epoch():
    assert kinds(seen([[[1.0, 0.1], [0.9, 0.2]]])) == []


def test_gradients_that_vanish():
    assert kinds(seen([[[0.0, 0.0], [1.0, 0.0]]])) == [("vanishing", ("a",), "shared")]
    by_layer = [[[1.0, 0], [1, 0]], [[9e-5, 0], [1, 0]], [[1.0, 0], [1, 0]]]
    assert kinds(seen(by_layer)) == [("vanishing", ("a",), "layer_1")]
    # A layer with a hundred times the parameters may have ten times the length.
    assert kinds(seen(by_layer, sizes=[1, 1, 100])) == []
    apart = [[[1.0, 0], [1, 0]], [[0.0, 0], [1, 0]], [[1.0, 0], [1, 0]]]
    assert kinds(seen(apart, reached=[[1, 1], [0, 1], [1, 1]])) == []  # none of the task's layers


def test_gradients_that_explode():
    assert kinds(seen([[[101.0, 0], [99.0, 0]]])) == [("exploding", ("a",), "shared")]
    assert kinds(seen([[[101.0, 0], [99.0, 0]]], lengths=[2.0])) == []
    # A layer that begins with zeros is no measure of its gradient.
    fresh = [[[1.0, 0], [1.0, 0]], [[0.5, 0], [0.5, 0]]]
    assert kinds(seen(fresh, lengths=[1.0, 0.0])) == []
    # A task that does not depend on a layer has no usual length there, and NumPy is not asked.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kinds(seen(fresh, earlier=[[[1.0, 1.0], [np.nan, 1.0]]])) == []
    sudden = seen([[[50.0, 0], [1.0, 0]]], earlier=[[[0.4, 1.0]], [[0.6, 1.0]], [[0.4, 1.0]]])
    (warning,) = checks.gradients(sudden, HealthLimits())
    assert warning.message == (
        "The gradient of task `a` in the shared variables has 125 times the length of epochs "
        "before."
    )


def test_gradients_that_are_opposed():
    opposed = seen([[[1.0, 0.0], [-1.0, 0.2]]])
    (warning,) = checks.gradients(opposed, HealthLimits())
    assert (warning.kind, warning.tasks, warning.value) == ("conflict", ("a", "b"), 1.0)
    assert "opposed in 100 % of the steps in the shared variables" in warning.message
    assert "'pcgrad'" in warning.remedy
    (in_use,) = checks.gradients(replace(opposed, balancer="ema pcgrad"), HealthLimits())
    assert "'pcgrad'" not in in_use.remedy and "'cagrad'" in in_use.remedy
    assert kinds(seen([[[1.0, 0.0], [-1.0, 0.2]]], steps=19)) == []
    assert kinds(seen([[[1.0, 0.0], [-0.01, 1.0]]])) == []  # almost at right angles
    assert kinds(opposed, HealthLimits(conflict=1.0)) == []


def test_tasks_that_are_dominated():
    assert kinds(seen([[[0.009, 0], [1.0, 0]]])) == [("dominated", ("a", "b"), "shared")]
    assert kinds(seen([[[0.009, 0], [1.0, 0]]], weights=[2, 1])) == []


def test_gradients_that_are_not_finite():
    what = seen([[[1.0, 0], [1.0, 0]]])
    what.sums.faults[0, 1] = 3
    (warning,) = checks.gradients(what, HealthLimits())
    assert "task `b` was not finite, or too long to be squared, in 3 steps." in warning.message


def test_variables_that_are_not_finite_are_named_with_their_task():
    model = hard_sharing()
    owners = read_ownership(model, by_row=False)
    kernel = model.task_variables("b")[0]
    values = np.array(keras.ops.convert_to_numpy(kernel))
    values.flat[:2] = np.nan, np.inf
    kernel.assign(values)
    (warning,) = states.variables(model, owners, 1)
    assert (warning.tasks, warning.where, warning.value) == (("b",), kernel.path, 2)


def test_statistics_that_drift():
    model = normalized()
    owners = read_ownership(model, by_row=False)
    before = states.statistics(model)
    norm = model.get_layer("norm")
    norm.moving_mean.assign(norm.moving_mean + 0.9)
    limits = HealthLimits()
    assert not list(states.drift(model, owners, before, states.statistics(model), 2, limits))
    norm.moving_mean.assign(norm.moving_mean + 0.2)
    (warning,) = states.drift(model, owners, before, states.statistics(model), 2, limits)
    assert (warning.kind, warning.tasks, warning.where) == ("drift", ("a", "b"), "norm")
    norm.moving_mean.assign(norm.moving_mean - 1.1)
    norm.moving_variance.assign(norm.moving_variance * 9.0)
    (warning,) = states.drift(model, owners, before, states.statistics(model), 2, limits)
    assert "these by a factor of 3." in warning.message


def normalized():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    shared = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(4)(inputs))
    return MultiTaskModel(inputs, {t.name: t.head(shared) for t in tasks()}, tasks=tasks())


def opposed_tasks():
    """Two tasks that want opposite things of one and the same output."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(1, name="one_for_both")(inputs)
    outputs = {n: keras.layers.Identity(name=n)(shared) for n in ("a", "b")}
    return MultiTaskModel(inputs, outputs)


@pytest.mark.slow
def test_a_planted_conflict_is_warned_of_once_and_its_remedy_helps(monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: said.append(text % args))
    x, _ = data(96)
    y = {"a": x[:, :1], "b": -x[:, :1]}
    model = opposed_tasks()
    health = TrainingHealth()
    compiled(
        model,
        "pcgrad",
        metrics=None,
        loss={"a": "mse", "b": "mse"},
        track_gramian="groups",
        run_eagerly=False,
    )
    logs = train(model, x, y, epochs=3, callbacks=[health])
    assert isinstance(health, Finding)
    assert [w.epoch for w in health.warnings if w.kind == "conflict"] == [1, 2, 3]
    (text,) = (line for line in said if "opposed" in line)
    assert text.startswith("Epoch 1: The gradients of tasks `a` and `b` are opposed in")
    assert "Remedy: use another balancer ('cagrad', 'upgrad'), which resolves conflicts" in text
    assert "Seen in epochs 1-3." in health.words()
    assert len(health.rows()) == 1 + len(health.warnings)
    assert health.figure().axes[0].get_xlabel() == "epoch"
    assert max(logs["a_lowest_cosine"]) < 0 and min(logs["b_gradient_norm"]) > 0
    # Of tasks with outputs of their own nothing is said.
    sound = TrainingHealth()
    apart = hard_sharing([*tasks()])
    compiled(apart, track_gramian="groups")
    train(apart, *data(32), callbacks=[sound])
    assert sound.words() == (
        "Nothing went wrong in 1 epochs that these checks can see. "
        "Gradients were measured in 1 steps."
    )


def test_dead_units_and_idle_experts_of_a_probe():
    keras.utils.set_random_seed(0)
    model = MMoE(keras.Input((4,)), tasks(), num_experts=3, expert_units=(4,), tower_units=(5,))
    x, _ = data(32)
    owners = read_ownership(model, by_row=False)
    assert not list(states.dead_units(model, owners, x, 1, HealthLimits()))
    tower = next(v for v in model.task_variables("b") if v.path.endswith("b_tower_0/bias"))
    tower.assign(np.full(tower.shape, -1e3))
    (warning,) = states.dead_units(model, owners, x, 1, HealthLimits())
    assert (warning.tasks, warning.where, warning.value) == (("b",), "b_tower_0", 1.0)
    x = np.abs(x)
    for task in tasks():
        (gate,) = (v for v in model.task_variables(task.name) if "gate" in v.path)
        gate.assign(np.tile([0.0, 0.1, -50.0], (4, 1)))
    (warning,) = (w for w in states.experts(model, x, 1) if "idle" in w.message)
    assert (warning.kind, warning.tasks, warning.where) == ("experts", ("a", "b"), "expert 2")
    assert not list(states.experts(hard_sharing(), x, 1))  # which has none


@pytest.mark.parametrize("form", ["layer", "activation", "nested", "sequential"])
def test_dead_units_wherever_relu_stands(form):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(4, name="dense", bias_initializer=keras.initializers.Constant(-1e3))
    relu = keras.layers.ReLU(name="last") if form == "layer" else keras.layers.Activation("relu")
    if form == "nested":
        inside = keras.Input((4,))
        trunk = keras.Model(inside, relu(dense(inside)))
    else:
        trunk = keras.Sequential([dense, relu])
    shared = relu(dense(inputs)) if form in ("layer", "activation") else trunk(inputs)
    model = MultiTaskModel(inputs, {t.name: t.head(shared) for t in tasks()}, tasks=tasks())
    owners = read_ownership(model, by_row=False)
    (warning,) = states.dead_units(model, owners, data(8)[0], 1, HealthLimits())
    assert (warning.tasks, warning.value) == (("a", "b"), 1.0)


def test_units_of_each_expert_count_apart():
    keras.utils.set_random_seed(0)
    model = MMoE(keras.Input((4,)), tasks(), num_experts=2, expert_units=(4,))
    x, _ = data(32)
    bias = next(v for v in model.variables if v.path.endswith("experts/bias_0"))
    values = np.zeros(bias.shape)
    values[0, :] = values[1, 1:] = -1e3
    values[1, 0] = 1e3
    bias.assign(values)
    owners = read_ownership(model, by_row=False)
    (warning,) = states.dead_units(model, owners, x, 1, HealthLimits())
    assert warning.value == 7 / 8


@pytest.mark.slow
def test_a_combined_balancer_is_judged_by_the_weights_of_its_second_part():
    x, y = data(8)
    health = TrainingHealth()
    model = compiled(
        hard_sharing(),
        Combined("uncertainty", "aligned_mtl"),
        loss_weights={"a": 1e-4},
        track_gramian="shared",
    )
    train(model, x, y, epochs=2, callbacks=[health])
    assert not [w for w in health.warnings if w.kind == "dominated"]


def test_layers_of_the_same_path_are_told_apart():
    def trunk():
        inside = keras.Input((4,))
        hidden = keras.layers.Dense(3, name="dense")(inside)
        return keras.Model(inside, keras.layers.BatchNormalization(name="norm")(hidden))

    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    shared = keras.layers.Concatenate()([trunk()(inputs), trunk()(inputs)])
    model = MultiTaskModel(inputs, {t.name: t.head(shared) for t in tasks()}, tasks=tasks())
    compiled(model, "pcgrad", track_gramian="groups")
    groups = model.gramian_record.groups
    assert len(groups) == len(set(groups)) == 5
    assert len(states.statistics(model)) == 2


@pytest.mark.slow
def test_a_second_training_counts_on_and_is_warned_of_again(monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: said.append(text % args))
    health = TrainingHealth()
    arguments = {"track_gramian": "shared", "track_every": 1, "loss_weights": {"a": 1e-6}}
    model = compiled(hard_sharing(), **arguments)
    for epochs in (2, 1):
        train(model, *data(8), epochs=epochs, callbacks=[health])
    assert [w.epoch for w in health.warnings if w.kind == "dominated"] == [1, 2, 3]
    assert len([line for line in said if "dominated" in line]) == 2
    assert health.figure().axes[0].get_xlabel() == "epoch"


@pytest.mark.slow
def test_state_for_going_on_after_a_kill():
    health = TrainingHealth()
    model = compiled(normalized(), "pcgrad", track_gramian="shared")
    train(model, *data(8), epochs=2, callbacks=[health])
    health.warnings.append(checks.HealthWarning(2, "drift", ("a",), "norm", 2.0, "m", "r"))
    other = TrainingHealth()
    other.set_state(health.get_state())
    assert other.warnings == health.warnings and other.words() == health.words()
    assert other.get_state().keys() == health.get_state().keys()


def test_a_gradient_that_ends_before_the_shared_part_is_zero():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4, name="trunk")(inputs)
    a, b = tasks()
    cut = keras.layers.Lambda(tf.stop_gradient)(shared)
    model = MultiTaskModel(inputs, {"a": a.head(shared), "b": b.head(cut)}, tasks=[a, b])
    health = TrainingHealth()
    compiled(model, track_gramian="groups", track_every=1)
    train(model, *data(8), callbacks=[health])
    assert [(w.kind, w.tasks) for w in health.warnings] == [("vanishing", ("b",))]


def test_bad_input():
    with pytest.raises(ValueError, match=r"`limits` should be `HealthLimits` or None"):
        TrainingHealth(limits={"conflict": 1.0})
    with pytest.raises(ValueError, match=r"`conflict` should be a number of at least 0"):
        HealthLimits(conflict="x")
    with pytest.raises(ValueError, match=r"compiled with `track_gramian='shared'`"):
        train(compiled(hard_sharing()), *data(8), callbacks=[TrainingHealth()])
    model = compiled(hard_sharing(), track_gramian="shared")
    with pytest.raises(ValueError, match=r"`probe` should be a batch of inputs of the model"):
        train(model, *data(8), callbacks=[TrainingHealth(probe=np.zeros((2, 7)))])
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    plain.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(ValueError, match=r"should be a callback of a `MultiTaskModel`"):
        plain.fit(np.zeros((2, 4)), np.zeros(2), verbose=0, callbacks=[TrainingHealth()])
