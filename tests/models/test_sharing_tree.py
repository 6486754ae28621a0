"""Hard sharing with a tree: who shares which stage, and where the shared part ends."""

import keras
import numpy as np
import pytest
from model_cases import compiled

from mtlzoo import BinaryClassification, HardSharing, PCGrad, Regression

TREE = [[("a", "b", "c")], [("a", "b"), ("c",)]]


def three():
    return [BinaryClassification("a"), Regression("b"), Regression("c")]


def tree_of(tree=TREE, given=None, **arguments):
    keras.utils.set_random_seed(1)
    arguments = {"shared_units": (5, 4), "activation": "tanh", **arguments}
    return HardSharing(keras.Input((4,), name="x"), given or three(), tree=tree, **arguments)


def data(rows=8):
    rng = np.random.default_rng(0)
    y = {"a": rng.integers(0, 2, rows), "b": rng.normal(size=rows), "c": rng.normal(size=rows)}
    return rng.normal(size=(rows, 4)).astype("float32"), y


def test_it_is_the_tree_written_out_by_hand():
    model = tree_of(tower_units=(3,))
    x, _ = data()
    weights = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(features, name):
        return features @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    trunk = np.tanh(dense(x, "shared_units_0"))
    found = model.predict(x, verbose=0)
    for name, group in {"a": "a.b", "b": "a.b", "c": "c"}.items():
        hidden = np.tanh(dense(trunk, f"{group}_units_1"))
        expected = dense(np.tanh(dense(hidden, f"{name}_tower_0")), name)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


def test_a_group_of_one_task_owns_its_stages():
    model = tree_of()
    paths = {v.path for v in model.shared_variables}
    assert paths == {
        f"{n}/{k}" for n in ("shared_units_0", "a.b_units_1") for k in ("kernel", "bias")
    }
    assert {v.path for v in model.task_variables("c")} == {
        *("c_units_1/kernel", "c_units_1/bias", "c/kernel", "c/bias")
    }
    assert len(model.task_variables("a")) == 2
    # 4*5+5 shared, 2 copies of 5*4+4, 3 heads of 4+1.
    assert model.count_params() == 25 + 2 * 24 + 3 * 5


def test_the_boundary_is_where_tasks_part():
    model = tree_of()
    ends = {tensor._keras_history.operation.name for tensor in model.boundary}
    assert ends == {"shared_units_0", "a.b_units_1"}
    x, y = data()
    compiled(model, PCGrad(wrt="features"), metrics={n: [] for n in y})
    logs = model.fit(x, y, batch_size=4, verbose=0).history
    assert np.isfinite(logs["loss"]).all()


def test_the_last_partition_goes_on_and_order_means_nothing():
    short = tree_of([[("c",), ("b", "a")]])
    long = tree_of([[["a", "b"], ["c"]]] * 2, given=three()[::-1])
    assert short.tree == long.tree == [[["a", "b"], ["c"]]] * 2
    assert [v.path for v in short.variables] == [v.path for v in long.variables]
    x, _ = data()
    expected = short.predict(x, verbose=0)
    for name, value in long.predict(x, verbose=0).items():
        np.testing.assert_array_equal(value, expected[name])
    assert tree_of(None).tree is None


def test_a_backbone_is_cut_at_its_stages_and_copied_with_its_weights(tmp_path):
    inside = keras.Input((6, 6, 1))
    hidden = keras.layers.Conv2D(2, 3, name="conv")(inside)
    hidden = keras.layers.BatchNormalization(synchronized=True, name="norm")(hidden)
    backbone = keras.Model(inside, keras.layers.GlobalAveragePooling2D(name="pool")(hidden))
    model = HardSharing(
        keras.Input((6, 6, 1)),
        three(),
        backbone=backbone,
        stages=["conv"],
        shared_units=(3,),
        tree=[*TREE, [("a",), ("b",), ("c",)]],
    )
    np.testing.assert_array_equal(
        model.get_layer("shared_conv").kernel, backbone.get_layer("conv").kernel
    )
    names = {layer.name for layer in model.layers}
    assert {"a.b_norm", "c_norm", "a_units_0", "b_units_0", "c_units_0"} < names
    assert not {"conv", "norm"} & names
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.tree == model.tree
    x = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype("float32")
    expected = model.predict(x, verbose=0)
    for name, value in loaded.predict(x, verbose=0).items():
        np.testing.assert_array_equal(value, expected[name])


def test_a_student_has_the_tree():
    model = tree_of(shared_units=(8, 6)).student(0.5)
    assert model.tree == [[["a", "b", "c"]], [["a", "b"], ["c"]]]
    assert model.get_layer("c_units_1").units == 3


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([], "`tree` should be a list of 1 to 2 entries"),
        ([TREE[0]] * 3, "`tree` should be a list of 1 to 2 entries"),
        (["abc"], r"`tree\[0\]` should be a list of groups"),
        ([[("a", "b")]], r"`tree\[0\]` should name each task once. Received: .*, without 'c'"),
        ([[("a", "b", "d"), ("c",)]], r"`tree\[0\]` should name the tasks .* Received: 'd'"),
        (
            [[("a", "b"), ("b", "c")]],
            r"`tree\[0\]` should name each task once. Received: 'b' twice",
        ),
        (TREE[::-1], r"Each group of `tree\[1\]` should lie within one of `tree\[0\]`"),
    ],
)
def test_what_is_no_tree_is_refused(tree, message):
    with pytest.raises(ValueError, match=message):
        tree_of(tree)


def test_stages_are_those_of_a_tree():
    with pytest.raises(ValueError, match="`stages` should be None where there is no `tree`"):
        tree_of(None, stages=["conv"])
