"""Planted signs that a mixture does not mix are flagged, and healthy mixtures are not."""

import keras
import numpy as np
import pytest

from mtlzoo import BinaryClassification, MMoE, Regression
from mtlzoo.analysis import AttentionTable, read_attention
from mtlzoo.analysis.attention.collapse import outputs_of

X = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
COLUMNS = ("expert 0", "expert 1", "expert 2", "expert 3")


def flags(values, checks, names=("a", "b"), columns=COLUMNS, kind="share", **arguments):
    made = AttentionTable(
        names, columns, values, kind=kind, what="share", checks=checks, **arguments
    )
    return [(found.kind, found.task, found.columns) for found in made.collapse()]


def test_an_expert_that_nobody_uses_is_idle():
    assert flags([[0.5, 0.3, 0.19, 0.01], [0.3, 0.3, 0.38, 0.02]], ("idle",)) == [
        ("idle", None, ("expert 3",))
    ]
    assert not flags([[0.5, 0.3, 0.19, 0.01], [0.3, 0.3, 0.3, 0.1]], ("idle",))


def test_experts_that_a_task_cannot_read_are_not_idle_for_it():
    nan = np.nan
    assert not flags([[0.5, 0.5, nan, nan], [nan, 0.1, 0.5, 0.4]], ("idle",))
    assert flags([[0.99, 0.01, nan, nan], [nan, 0.01, 0.5, 0.49]], ("idle",)) == [
        ("idle", None, ("expert 1",))
    ]


def test_a_task_with_all_its_mass_on_one_expert_is_alone():
    assert flags([[0.96, 0.02, 0.01, 0.01], [0.94, 0.02, 0.02, 0.02]], ("alone",)) == [
        ("alone", "a", ("expert 0",))
    ]
    assert not flags([[1.0, np.nan, np.nan, np.nan]], ("alone",), names=("a",))  # has no choice


def test_a_gate_that_gives_all_the_same_on_every_row_does_not_choose():
    equal = np.full((30, 4), 0.25)
    # It chooses on each row, though the mean is the same.
    choosing = np.eye(4)[np.arange(32) % 4][:30] * 0.6 + 0.1
    found = flags(np.stack([equal, choosing], 1), ("equal",))
    assert found == [("equal", "a", COLUMNS)]


def test_closed_masks_and_isolated_columns():
    strengths = [[0.5, 0.001, 0.4, 0.3], [0.002, 0.0, 0.004, 0.003]]
    assert flags(strengths, ("closed",), kind="strength") == [
        ("closed", "b", COLUMNS),
        ("closed", None, ("expert 1",)),
    ]
    # Channels of opposite signs are an exchange.
    weights = np.array([[[1.0, 0.5], [0.001, 1.0]], [[1.0, -0.5], [0.001, 1.0]]])
    found = flags(weights, ("isolated",), columns=("x", "y"), owners=("a", "b"), kind="weight")
    assert found == [("isolated", "b", ("y",))]


def test_a_sign_has_the_place_of_its_table():
    values = np.array([[0.99, 0.01], [0.5, 0.5]])
    made = AttentionTable(
        ("a", "b"), ("x", "y"), values, kind="share", what="share", place="up", checks=("alone",)
    )
    assert [(sign.task, sign.place) for sign in made.collapse()] == [("a", "up")]


def test_experts_without_output_are_dead_and_copies_the_same():
    outputs = np.random.default_rng(1).normal(size=(20, 4, 3))
    outputs[:, 1] = 0
    outputs[:, 3] = 2 * outputs[:, 2]
    found = flags(np.full((2, 4), 0.25), ("dead", "same"), outputs=outputs_of(outputs))
    assert found == [("dead", None, ("expert 1",)), ("same", None, ("expert 2", "expert 3"))]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    tasks = [BinaryClassification("a"), Regression("b")]
    return MMoE(keras.Input((6,)), tasks, num_experts=4, expert_units=(5,), tower_units=())


def test_a_healthy_model_has_no_flags(model):
    (table,) = read_attention(model, X)
    assert table.collapse() == []


def test_a_planted_collapse_of_a_model_is_named(model):
    before = model.get_weights()
    experts = model.get_layer("experts")
    kernel = experts.kernels[0].numpy().reshape(6, 4, 5)
    kernel[:, 2] = 0  # with a bias below 0 its units are off on every row
    kernel[:, 1] = 3 * kernel[:, 0]
    experts.kernels[0].assign(kernel.reshape(6, 20))
    bias = experts.biases[0].numpy()
    bias[2] = -1
    experts.biases[0].assign(bias)
    for variable in model.get_layer("a_gate").weights:
        variable.assign(np.zeros(variable.shape))
    (table,) = read_attention(model, X)
    model.set_weights(before)
    assert [(c.kind, c.task, c.columns) for c in table.collapse()] == [
        ("equal", "a", COLUMNS),
        ("dead", None, ("expert 2",)),
        ("same", None, ("expert 0", "expert 1")),
    ]
    said = table.words()
    assert "The gate of a hardly chooses" in said and "expert 2 is dead" in said
