"""What every architecture lets one read, in one form."""

from functools import partial

import keras
import numpy as np
import pytest
from conformance import registry

from mtlzoo import DBMTLNet, Regression
from mtlzoo.analysis import read_attention
from mtlzoo.analysis.attention.mixtures import by_row
from mtlzoo.models import AITM, NDDR, CrossStitch


def read(name, **arguments):
    model = registry.Case(name).build()
    x, _ = registry.rows(model, 6)
    return model, x, read_attention(model, x, **arguments)


def test_gates_are_those_of_the_model():
    model, x, (table,) = read("MMoE")
    gates = model.gate_weights(x)
    assert table.names == model.task_names
    for i, name in enumerate(table.names):
        np.testing.assert_allclose(table.values[:, i], gates[name], atol=1e-6)
    np.testing.assert_allclose(table.mean.sum(1), 1, atol=1e-6)
    assert table.outputs.largest.shape == (3,) and table.of_experts


def test_one_gate_for_all_tasks_is_one_row():
    model, x, (table,) = read("OMoE")
    assert (table.names, table.tasks) == (("all tasks",), ())
    np.testing.assert_allclose(table.values[:, 0], model.gate_weights(x)["click"], atol=1e-6)


@pytest.mark.slow
def test_levels_have_a_column_for_each_expert_and_gaps_where_a_task_has_no_part():
    model, x, (first, last) = read("PLE, unequal")
    gates = model.gate_weights(x)
    assert first.columns == ("click 0", "kind 0", "kind 1", "stay 0", "shared 0")
    assert first.names == ("click", "kind", "stay", "shared") and last.names == first.names[:3]
    kind = first.values[:, 1]
    np.testing.assert_allclose(kind[:, [1, 2, 4]], gates["level_0"]["kind"], atol=1e-6)
    assert np.isnan(kind[:, [0, 3]]).all()
    np.testing.assert_allclose(first.values[:, 3], gates["level_0"]["shared"], atol=1e-6)
    assert first.similarity().names == ("click", "kind", "stay")
    assert (first.place, last.place) == ("level_0", "level_1")
    assert first.of_experts and last.of_experts


def test_connections_below_the_last_layer_are_those_of_the_strongest_path():
    model = registry.Case("SNR").build()
    model.get_layer("routing_1").log_alpha.assign([[9.0, -9.0], [0.0, 9.0]])
    model.get_layer("click_routing").log_alpha.assign([[9.0], [0.5]])
    first, last = read_attention(model)
    found = model.connections()
    to_click = found["click_routing"][:, 0]
    np.testing.assert_allclose(last.mean[0], to_click)
    strongest = (found["routing_1"] * to_click).max(1)
    np.testing.assert_allclose(first.mean[0], strongest)
    assert 0 < strongest[1] < strongest[0] == 1
    assert first.outputs is None and first.of_experts
    x, _ = registry.rows(model, 6)
    assert read_attention(model, x)[0].outputs.largest.shape == (2,)


def test_branches_are_followed_down_to_the_first_stage():
    model = registry.Case("LearningToBranch").build()
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith("_branch"):
            layer.logits.assign(rng.normal(size=layer.logits.shape))
    first, last = read_attention(model)
    found = model.branching_probabilities()
    np.testing.assert_allclose(last.mean, found["tasks"])
    np.testing.assert_allclose(first.mean, found["tasks"] @ found["units_1"])
    np.testing.assert_allclose(first.mean.sum(1), 1, rtol=1e-6)
    assert (first.place, last.place) == ("units_0", "units_1")


def test_strengths_of_sharing():
    model = registry.Case("DynamicSharing").build()
    (table,) = read_attention(model)
    assert table.columns == ("units_0", "units_1")
    np.testing.assert_allclose(table.mean, 0.5)


def columns(architecture, **arguments):
    tasks = [Regression(name) for name in ("a", "b")]
    return architecture(keras.Input((4,)), tasks, units=(3,), **arguments)


def test_stitches_by_channel_are_averaged_over_channels():
    model = columns(CrossStitch, per_channel=True)
    alpha = model.get_layer("stitch_b_units_0").alpha
    alpha.assign(np.random.default_rng(0).normal(size=alpha.shape))
    (table,) = read_attention(model)
    expected = model.stitch_matrices()["units_0"].mean(-1)
    np.testing.assert_allclose(table.mean, expected, atol=1e-7)
    assert (table.values.shape, table.over) == ((3, 2, 2), "channels")


def test_fusions_are_lengths_of_weights():
    (table,) = read_attention(columns(NDDR))
    np.testing.assert_allclose(table.mean, [[0.9, 0.1], [0.1, 0.9]], rtol=1e-6)
    np.testing.assert_allclose(table.spread, 0, atol=1e-7)


def test_subspaces_and_mixtures_of_layers():
    model = registry.Case("Sluice").build()
    *stages, mixtures = read_attention(model)
    matrix = model.stitch_matrices()["units_0"]
    assert stages[0].columns[:3] == ("click 0", "click 1", "kind 0")
    assert stages[0].owners[:3] == ("click", "click", "kind") and not stages[0].of_experts
    np.testing.assert_allclose(stages[0].values[1, 0], matrix[1])  # click's second subspace
    np.testing.assert_allclose(mixtures.mean, [[0.1, 0.9]] * 3)


def test_transfers_name_the_task_before():
    model, x, (table,) = read("AITM")
    weights = model.attention_weights(x)
    sequence = model._held.arguments["sequence"]
    task, before = (table.names.index(sequence[i]) for i in (1, 0))
    np.testing.assert_allclose(table.values[:, task, before], weights[sequence[1]][:, 0], atol=1e-6)
    np.testing.assert_allclose(table.mean[before, before], 1)
    assert np.isfinite(table.mean).sum() == len(sequence) + 2
    assert not table.of_experts


@pytest.mark.slow
def test_masks_by_stage_and_by_channel():
    model, x, (stages, first, last) = read("MTAN")
    masks = model.attention_masks(x)
    np.testing.assert_allclose(first.values[:, 0], masks["click"]["units_0"], atol=1e-6)
    np.testing.assert_allclose(stages.values[:, 0, 1], masks["click"]["units_1"].mean(1), atol=1e-6)
    assert stages.columns == ("units_0", "units_1") and last.kind == "strength"


def test_queries_read_tokens_that_may_be_named():
    model, x, (table,) = read("TaskQueryAttention", names=["one", "two", "three"])
    weights = model.attention_weights(x)["kind"]
    np.testing.assert_allclose(table.values[:, 1], weights.mean((1, 2)), atol=1e-6)
    assert table.columns == ("one", "two", "three")
    assert table.top_features("kind", 1)[0][0] in table.columns
    with pytest.raises(ValueError, match=r"`names` should be as many .*\[3\]. Received: 2 names"):
        read_attention(model, x, names=["one", "two"])
    for names in ("abc", ["z", "z", "y"], [1, 2, 3]):
        with pytest.raises(ValueError, match=r"`names` should be a list of different strings"):
            read_attention(model, x, names=names)


def test_columns_on_their_own_are_told_also_under_other_names():
    model = columns(CrossStitch)
    for name, weights in (("a", [1.0, 0.0]), ("b", [0.0, 1.0])):
        alpha = model.get_layer(f"stitch_{name}_units_0").alpha
        alpha.assign(np.reshape(weights, alpha.shape))
    for names in (["a", "b"], ["left", "right"]):
        (table,) = read_attention(model, names=names)
        found = [(sign.kind, sign.task, sign.columns) for sign in table.collapse()]
        assert found == [("isolated", "a", (names[0],)), ("isolated", "b", (names[1],))]
        assert "a is on its own" in table.words()


@pytest.mark.slow
def test_modalities_are_one_row_for_all_tasks():
    model, x, (table,) = read("CrossModalFusion")
    assert table.columns == ("features", "word")
    features = model.modality_weights(x)["features"].mean(-1)
    np.testing.assert_allclose(table.values[:, 0, 0], features, atol=1e-6)


def test_positions_of_a_row_are_averaged():
    values = np.random.default_rng(0).random((2, 3, 4, 5))
    np.testing.assert_allclose(by_row(values), values.mean((1, 2)))


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: registry.Case("HardSharing").build(), r"`HardSharing`\. .*History.*`permutation_"),
        (lambda: registry.Case("MultiTaskModel").build(), r"`MultiTaskModel`\. .*cosine"),
        (lambda: registry.Case("SoftSharing").build(), r"`SoftSharing`.*`model\.distances\(\)`"),
        (
            lambda: registry.Case("CrossModalFusion, missing modalities").build(),
            r"fusion='concatenation'\. .*`permutation_importance`",
        ),
        (partial(DBMTLNet, keras.Input((3,)), [Regression("a")]), r"`num_experts=0`"),
        (
            partial(AITM, keras.Input((3,)), [Regression("a"), Regression("b")], sequence=("a",)),
            r"a sequence of one task",
        ),
    ],
)
def test_models_without_such_a_thing_are_told_what_to_use_instead(make, message):
    model = make()
    with pytest.raises(ValueError, match=message):
        read_attention(model, np.zeros((1, 3)))


def test_inputs_are_asked_for_where_the_table_depends_on_them():
    with pytest.raises(ValueError, match=r"`x` should be inputs .*`MMoE` reads. Received: x=None"):
        read_attention(registry.Case("MMoE").build())
