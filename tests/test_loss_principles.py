"""Losses of several tasks are independent, consistent, distinguishable and balanced."""

import logging
import re

import keras
import numpy as np
import pytest
from conformance.registry import (
    ARCHITECTURES,
    CORRECTS_SCALE,
    COUPLES_HEADS,
    PLAIN,
    THROUGH_ALL,
    USUAL_BALANCER,
    Case,
    rows,
)
from conformance.training import BATCH, copies, small, train

from mtlzoo import (
    BinaryClassification,
    Classification,
    HardSharing,
    MultiLabelClassification,
    Regression,
)

# -- independent ----------------------------------------------------------------------------------


# One of each kind of balancer; of the others each in the slow tests.
SCALES = ("uncertainty", "imtl_l")
QUICK = ("uncertainty", "mgda", "grad_drop", "modo")
CASES = [
    *(Case(architecture) for architecture in THROUGH_ALL),
    *(Case(balancer=b) for b in QUICK),
]
OTHERS = [
    *(Case(architecture) for architecture in ARCHITECTURES if architecture not in THROUGH_ALL),
    *(Case(balancer=b) for b in PLAIN if b not in (USUAL_BALANCER, *QUICK, *COUPLES_HEADS)),
]


@pytest.mark.one_in(7)
@pytest.mark.parametrize(
    ("case", "changed"),
    [
        (Case(), "click"),
        *((case, "stay") for case in CASES),
        *(pytest.param(case, "stay", marks=pytest.mark.slow) for case in OTHERS),
    ],
    ids=lambda given: given if isinstance(given, str) else f"{given.architecture}-{given.balancer}",
)
def test_labels_of_one_task_do_not_change_the_loss_and_the_head_of_another(case, changed):
    found = []
    for form in ("same", "other", "none"):
        model = small(case)
        x, y = rows(model, BATCH)
        if form == "other":
            y[changed] = 1 - y[changed]
        elif form == "none":
            y[changed] = np.full_like(y[changed], model.tasks[changed].missing)
        logs = train(model, (x, y)).history
        others = {name for name in y if name != changed}
        heads = [v for name in sorted(others) for v in model.task_variables(name)]
        found.append(([logs[f"{name}_loss"] for name in sorted(others)], copies(heads)))
        if form == "other":
            moved = copies(model.task_variables(changed))
        elif form == "same":
            unchanged = copies(model.task_variables(changed))
    for losses, heads in found[1:]:
        assert losses == found[0][0]
        for one, other in zip(heads, found[0][1], strict=True):
            np.testing.assert_array_equal(one, other)
    assert any((a != b).any() for a, b in zip(moved, unchanged, strict=True))


# -- consistent -----------------------------------------------------------------------------------

RNG = np.random.default_rng(3)
ROWS = 40
IDS = RNG.integers(0, 4, ROWS)
CELLS = RNG.integers(0, 2, (ROWS, 3))
REAL = RNG.normal(0, 3, ROWS)
# Labels, and raw outputs that are right about all of them.
KINDS = {
    "binary": (BinaryClassification("a"), CELLS[:, 0], 8.0 * CELLS[:, :1] - 4),
    "classes": (Classification("a", 4), IDS, 8.0 * np.eye(4)[IDS] - 4),
    "cells": (MultiLabelClassification("a", 3), CELLS, 8.0 * CELLS - 4),
    "real": (Regression("a"), REAL, REAL[:, None]),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", KINDS)
def test_where_the_deciding_metric_improves_the_loss_falls(kind):
    """From bad answers straight to the right ones."""
    task, labels, right = KINDS[kind]
    wrong = RNG.uniform(-3, 3, right.shape)
    losses, qualities = [], []
    for t in np.linspace(0, 1, 11):
        outputs = keras.ops.convert_to_tensor((1 - t) * wrong + t * right, "float32")
        read = task.read_labels(labels)
        losses.append(float(np.mean(task.loss_values(task.loss, read.values, outputs))))
        (metric,) = [m for m in task.metrics() if m.name == task.monitor]
        task.update_metric(metric, read.values, outputs, np.ones(read.present.shape, "float32"))
        sign = {"max": 1, "min": -1}[task.mode]
        qualities.append(sign * float(metric.result()))
    assert (np.diff(losses) < 0).all()
    assert (np.diff(qualities) >= -1e-6).all() and qualities[-1] > qualities[0] + 0.1


# -- distinguishable ------------------------------------------------------------------------------


@pytest.mark.slow
def test_labels_belong_to_tasks_by_name_and_by_nothing_else():
    trained = []
    for order in (["click", "kind", "stay"], ["stay", "click", "kind"]):
        model = small(Case())
        x, y = rows(model)
        train(model, (x, {name: y[name] for name in order}))
        trained.append(copies(model.variables))
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("form", [list, tuple, lambda labels: np.stack(list(labels), axis=1)])
def test_labels_without_names_are_refused(form):
    model = small(Case())
    x, y = rows(model)
    before = copies(model.variables)
    with pytest.raises(ValueError, match="Labels should be a dict by task name"):
        model.fit(x, form(y.values()), verbose=0)
    for one, other in zip(copies(model.variables), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("of", "given_to"), [("kind", "click"), ("stay", "click"), ("stay", "kind")]
)
def test_labels_of_another_task_are_noticed_where_they_are_none_of_this_one(of, given_to):
    model = small(Case())
    x, y = rows(model)
    before = copies(model.trainable_variables)
    with pytest.raises(ValueError, match=re.escape(f"Labels of task `{given_to}` should be")):
        train(model, (x, {**y, given_to: y[of]}))
    for one, other in zip(copies(model.trainable_variables), before, strict=True):
        np.testing.assert_array_equal(one, other)


# -- balanced -------------------------------------------------------------------------------------

SCALE = 1000  # of the second task's loss
DIRECTIONS = np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])  # that the two tasks want


ROWS_OF_BOTH, STEPS = 256, 1000


def far_apart(balancer):
    """Two noisy tasks that want directions 60 degrees apart, and one shared unit."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, ROWS_OF_BOTH, 2))
    labels = x @ DIRECTIONS.T + 0.7 * noise
    y = {"a": labels[:, 0], "b": np.sqrt(SCALE) * labels[:, 1]}
    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((2,), name="x"), tasks, shared_units=(1,), activation="linear")
    optimizer = keras.optimizers.Adam(0.02, beta_2=0.9)  # forgets the first, huge gradients
    metrics = {"a": [], "b": []}
    model.compile(optimizer, balancer=balancer, metrics=metrics, jit_compile=False)
    return model, x.astype("float32"), {n: v.astype("float32") for n, v in y.items()}


@pytest.mark.slow
def test_loss_scales_are_reported_at_the_start(caplog):
    model, x, y = far_apart("equal")
    assert model.initial_losses == {}
    before = {name: np.mean((y[name] - out[:, 0]) ** 2) for name, out in model.predict(x).items()}
    logging.getLogger("absl").propagate = True
    with caplog.at_level(logging.INFO, logger="absl"):
        model.fit(x, y, batch_size=ROWS_OF_BOTH, epochs=2, verbose=0)
    assert model.initial_losses == pytest.approx(before, rel=1e-5)
    told = [record for record in caplog.records if "at the start" in record.getMessage()]
    assert [record.levelname for record in told] == ["INFO", "WARNING"]
    shown = f"`a` {before['a']:.3g}, `b` {before['b']:.3g}"
    assert told[0].getMessage() == (
        f"Losses of the tasks at the start, times their loss weights: {shown}"
    )
    assert f"are more than 100-fold apart: {shown}." in told[1].getMessage()


def test_losses_of_like_scale_are_no_cause_for_a_warning(caplog):
    model = small(Case())
    logging.getLogger("absl").propagate = True
    with caplog.at_level(logging.INFO, logger="absl"):
        train(model, rows(model))
    told = [record for record in caplog.records if "at the start" in record.getMessage()]
    assert [record.levelname for record in told] == ["INFO"]
    assert set(model.initial_losses) == {"click", "kind", "stay"}


@pytest.mark.slow
def test_loss_weights_that_bring_losses_together_leave_no_warning(caplog):
    model, x, y = far_apart("equal")
    model.compile(
        "sgd", loss_weights={"b": 1 / SCALE}, metrics={"a": [], "b": []}, jit_compile=False
    )
    logging.getLogger("absl").propagate = True
    with caplog.at_level(logging.INFO, logger="absl"):
        model.fit(x, y, batch_size=ROWS_OF_BOTH, verbose=0)
    told = [record for record in caplog.records if "at the start" in record.getMessage()]
    assert [record.levelname for record in told] == ["INFO"]


def trained(balancer):
    """How well the shared unit serves each task, and the tasks' losses times their weights."""
    model, x, y = far_apart(balancer)
    # One epoch of many steps: epochs cost more than steps as small as these.
    x, y = np.tile(x, (STEPS, 1)), {name: np.tile(labels, STEPS) for name, labels in y.items()}
    model.fit(x, y, batch_size=ROWS_OF_BOTH, shuffle=False, verbose=0)
    unit = model.shared_variables[0].numpy()[:, 0]
    logs = model.evaluate(
        x[:ROWS_OF_BOTH], {n: v[:ROWS_OF_BOTH] for n, v in y.items()}, verbose=0, return_dict=True
    )
    weighted = {name: weight * logs[f"{name}_loss"] for name, weight in model.task_weights.items()}
    return np.abs(DIRECTIONS @ unit) / np.linalg.norm(unit), weighted


@pytest.mark.slow
def test_equal_weights_let_the_large_loss_drown_the_small_one():
    served, weighted = trained("equal")
    assert served[0] < 0.55 and served[1] > 0.99  # the unit of the large task alone: 0.5 and 1
    assert weighted["b"] > 300 * weighted["a"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "balancer",
    [
        pytest.param(name, marks=[] if name in SCALES else pytest.mark.slow)
        for name in CORRECTS_SCALE
    ],
)
def test_a_planted_difference_of_scale_is_corrected(balancer):
    served, weighted = trained(balancer)
    # But for the scale the tasks are alike, and the product of their losses has two minima: one
    # task is served a little better than the other, and which one is a matter of the start.
    assert min(served) > 0.65 and max(served) > 0.9
    assert 0.9 < weighted["b"] / weighted["a"] < 1.1
