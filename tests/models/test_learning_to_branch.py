"""LearningToBranch: its graph against NumPy, its branches, and the tree that is made of them."""

import keras
import numpy as np
import pytest
from model_cases import adapted_preprocessor, compiled
from test_sharing_tree import data, three

from mtlzoo import HardSharing, LearningToBranch, PCGrad


def branching(given=None, seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {"units": (5, 4), "activation": "tanh", "tower_units": (3,), **arguments}
    return LearningToBranch(keras.Input((4,), name="x"), given or three(), **arguments)


def choose(model, choices):
    """Give the named children the parent of this index."""
    for child, parent in choices.items():
        logits = np.zeros(model.get_layer(f"{child}_branch").logits.shape)
        logits[parent] = 2.0
        model.get_layer(f"{child}_branch").logits.assign(logits)


CHOICES = {"node_0_units_1": 2, "node_2_units_1": 1, "a": 0, "b": 2, "c": 0}


def test_outside_of_training_each_child_reads_its_most_probable_parent():
    model = branching()
    choose(model, CHOICES)
    x, _ = data()
    weights = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(features, name):
        return features @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    found = model.predict(x, verbose=0)
    for name, (first, second) in {"a": (2, 0), "b": (1, 2), "c": (2, 0)}.items():
        hidden = np.tanh(dense(x, f"node_{first}_units_0"))
        hidden = np.tanh(dense(hidden, f"node_{second}_units_1"))
        expected = dense(np.tanh(dense(hidden, f"{name}_tower_0")), name)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


def test_training_in_the_warm_up_reads_the_mean_of_the_parents():
    model = branching(warm_up_steps=1)
    choose(model, CHOICES)
    x, _ = data()
    weights = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(features, name):
        return features @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    hidden = np.mean([np.tanh(dense(x, f"node_{j}_units_0")) for j in range(3)], axis=0)
    hidden = np.mean([np.tanh(dense(hidden, f"node_{j}_units_1")) for j in range(3)], axis=0)
    expected = dense(np.tanh(dense(hidden, "b_tower_0")), "b")
    np.testing.assert_allclose(model(x, training=True)["b"], expected, rtol=1e-5, atol=1e-6)
    assert np.abs(model(x, training=True)["b"] - expected).max() > 1e-3  # the warm-up is over


def test_nodes_are_shared_and_the_last_branches_are_the_tasks():
    model = branching()
    assert {v.path for v in model.task_variables("a")} == {
        "a_branch/logits",
        *(f"a{layer}/{kind}" for layer in ("_tower_0", "") for kind in ("kernel", "bias")),
    }
    assert {v.path.split("/")[0] for v in model.shared_variables} == {
        *(f"node_{j}_units_{i}" for i in range(2) for j in range(3)),
        *(f"node_{j}_units_1_branch" for j in range(3)),
    }
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    # 3 nodes of 4*5+5 and of 5*4+4; 6 children of 3 parents; towers of 4*3+3; heads of 3+1.
    assert trained == 3 * (25 + 24) + 6 * 3 + 3 * (15 + 4)


def test_the_boundary_is_the_last_nodes():
    model = branching(num_nodes=[1, 2])
    ends = {tensor._keras_history.operation.name for tensor in model.boundary}
    assert ends == {"node_0_units_1", "node_1_units_1"}
    x, y = data()
    compiled(model, PCGrad(wrt="features"), metrics={n: [] for n in y})
    assert np.isfinite(model.fit(x, y, batch_size=4, verbose=0).history["loss"]).all()


def test_probabilities_by_stage():
    model = branching(num_nodes=[2, 4])
    model.get_layer("node_3_units_1_branch").logits.assign([np.log(3.0), 0.0])
    model.get_layer("b_branch").logits.assign([0.0, np.log(2.0), 0.0, 0.0])
    found = model.branching_probabilities()
    assert {key: value.shape for key, value in found.items()} == {
        "units_1": (4, 2),
        "tasks": (3, 4),
    }
    np.testing.assert_allclose(found["units_1"], [[0.5, 0.5]] * 3 + [[0.75, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(found["tasks"][1], [0.2, 0.4, 0.2, 0.2], rtol=1e-6)


@pytest.mark.slow
def test_frozen_it_is_the_tree_with_the_same_answers():
    model = branching(dropout=0.1)
    x, y = data()
    compiled(model, "pcgrad", metrics={n: [] for n in y})
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    choose(model, CHOICES)
    frozen = model.freeze()
    assert type(frozen) is HardSharing and frozen.name == f"{model.name}_frozen"
    assert model.paths() == {"a": [2, 0], "b": [1, 2], "c": [2, 0]}
    assert frozen.tree == [[["a", "c"], ["b"]]] * 2
    assert {layer.name for layer in frozen.layers if "units" in layer.name} == {
        f"{group}_units_{i}{after}"
        for group in ("a.c", "b")
        for i in range(2)
        for after in ("", "_dropout")
    }
    expected = model.predict(x, verbose=0)
    for name, value in frozen.predict(x, verbose=0).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)
    assert not {id(v) for v in frozen.variables} & {id(v) for v in model.variables}


def test_frozen_it_has_the_adapted_preprocessor():
    preprocessor, raw = adapted_preprocessor(4)
    frozen = branching(preprocessor=preprocessor).freeze()
    np.testing.assert_array_equal(frozen.preprocessor(raw), preprocessor(raw))


@pytest.mark.slow
def test_a_convolutional_backbone_is_frozen_with_its_statistics():
    layers = keras.layers
    inside = keras.Input((6, 6, 1))
    hidden = layers.Conv2D(2, 3, name="conv")(inside)
    hidden = layers.BatchNormalization(synchronized=True, name="norm")(hidden)
    hidden = layers.ReLU(name="relu")(hidden)
    end = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(3, 3, name="conv2")(hidden))
    model = LearningToBranch(
        keras.Input((6, 6, 1)),
        three(),
        backbone=keras.Model(inside, end),
        stages=["relu"],
        num_nodes=2,
        temperature=1.0,
    )
    _, y = data()
    x = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype("float32")
    compiled(model, "equal", metrics={n: [] for n in y})
    model.fit(x, y, batch_size=4, verbose=0)
    choose(model, {"node_1_pool": 1, "a": 1, "b": 0, "c": 1})
    frozen = model.freeze("tree")
    assert frozen.name == "tree" and frozen.tree == [[["a", "c"], ["b"]]] * 2
    expected = model.predict(x, verbose=0)
    for name, value in frozen.predict(x, verbose=0).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)
    averages = frozen.get_layer("a.c_norm").moving_variance
    np.testing.assert_array_equal(averages, model.get_layer("node_1_norm").moving_variance)
    assert np.abs(np.array(averages) - 1).max() > 0


def test_the_temperature_falls_with_the_steps_and_is_saved(tmp_path):
    model = branching(temperature=3.0, warm_up_steps=2, min_temperature=2.5)
    x, y = data()
    compiled(model, "equal", metrics={n: [] for n in y})
    found = [model.temperature]
    for _ in range(4):
        model.train_on_batch(x, y)
        found.append(model.temperature)
    np.testing.assert_allclose(found, [3, 3, 3, 2.5, 2.5], rtol=1e-6)  # 3/sqrt(2) is below
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert int(loaded.get_layer("a_branch").steps) == 4


def test_a_student():
    model = branching(units=(8, 6)).student(0.5)
    assert model.get_layer("node_2_units_1").units == 3


@pytest.mark.parametrize("num_nodes", [0, -1, 2.0, True, [2], [2, 0], "3"])
def test_the_number_of_nodes_is_checked(num_nodes):
    with pytest.raises(ValueError, match="`num_nodes` should be a positive integer, or a list of"):
        branching(num_nodes=num_nodes)
