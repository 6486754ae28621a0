"""DynamicSharing: its graph against NumPy, its strengths, and the conflicts that they follow."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from model_cases import compiled, copies
from test_sharing_tree import data, three

from mtlzoo import DynamicSharing, GradDrop, PCGrad, Regression
from mtlzoo.models import LogSharing

NONE = {name: [] for name in "abc"}


def dynamic(given=None, seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {"units": (5, 4), "activation": "tanh", **arguments}
    return DynamicSharing(keras.Input((4,), name="x"), given or three(), **arguments)


def test_each_task_runs_on_the_blend_of_its_weights_and_the_shared_ones():
    model = dynamic(sharing=0.3, tower_units=(3,))
    x, _ = data()
    weights = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(features, name, alpha=0.0):
        kernel, bias = (
            alpha * weights.get(f"shared{name[1:]}/{kind}", 0.0)
            + (1 - alpha) * weights[f"{name}/{kind}"]
            for kind in ("kernel", "bias")
        )
        return features @ kernel + bias

    found = model.predict(x, verbose=0)
    for name in "abc":
        hidden = np.tanh(dense(x, f"{name}_units_0", 0.3))
        hidden = np.tanh(dense(hidden, f"{name}_units_1", 0.3))
        expected = dense(np.tanh(dense(hidden, f"{name}_tower_0")), name)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


def test_who_owns_what():
    model = dynamic()
    assert {v.path for v in model.shared_variables} == {
        f"shared_units_{i}/{kind}" for i in range(2) for kind in ("kernel", "bias")
    }
    assert {v.path for v in model.task_variables("a")} == {
        *(f"a_units_{i}/{kind}" for i in range(2) for kind in ("kernel", "bias")),
        *("a_units_0_blend/logit", "a_units_1_blend/logit", "a/kernel", "a/bias"),
    }
    # 1 + 3 copies of 4*5+5 and 5*4+4, 2 strengths and a head of 4+1 for each of 3 tasks.
    assert model.count_params() == 4 * (25 + 24) + 3 * (2 + 5)
    with pytest.raises(ValueError, match="is used after the shared part has ended"):
        _ = model.boundary


@pytest.mark.one_in(2)
@pytest.mark.parametrize("sharing", [0.0, 1.0])
def test_at_the_ends_only_one_side_is_trained(sharing):
    model = compiled(dynamic(sharing=sharing), "equal", metrics=NONE)
    own = [v for v in model.task_variables("a") if "units" in v.path]
    before = copies([*model.shared_variables, *own])
    x, y = data()
    model.fit(x, y, batch_size=4, verbose=0)
    moved = [np.abs(v - old).max() > 0 for v, old in zip(own, before[4:], strict=True)]
    shared = [np.abs(v - o).max() > 0 for v, o in zip(model.shared_variables, before, strict=False)]
    assert moved == [sharing == 0] * 4 and shared == [sharing == 1] * 4


@pytest.mark.slow
def test_a_strength_is_annealed_with_the_steps_and_saved(tmp_path):
    x, y = data()
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1, 2], [0.5, 2.0, 0.1])
    for sharing, expected in {
        (1.0, 0.0, 4): [1.0, 0.75, 0.5, 0.25, 0.0, 0.0],
        schedule: [0.5, 0.5, 1.0, 0.1, 0.1, 0.1],
    }.items():
        model = compiled(dynamic(sharing=sharing), "equal", metrics=NONE)
        found = [model.sharing_strengths()["units_1"]["b"]]
        for _ in range(5):
            model.train_on_batch(x, y)
            found.append(model.sharing_strengths()["units_1"]["b"])
        np.testing.assert_allclose(found, expected, atol=1e-6)
        model.predict(x, verbose=0)
        model.save(tmp_path / "m.keras")
        loaded = keras.saving.load_model(tmp_path / "m.keras")
        assert loaded.sharing_strengths() == model.sharing_strengths()


def test_a_conflict_is_the_mean_cosine_over_the_shared_weights_of_a_stage():
    model = compiled(dynamic(sharing="conflict"), "pcgrad", metrics=NONE)
    x, y = data()
    y["c"][:] = np.nan  # absent
    groups = dict(zip(("units_0", "units_1"), model.measured_groups(), strict=True))
    assert {v.path for v in groups["units_1"]} == {"shared_units_1/kernel", "shared_units_1/bias"}
    with tf.GradientTape(persistent=True) as tape:
        outputs = model(x, training=True)
        losses = {
            "a": keras.losses.BinaryCrossentropy(from_logits=True)(y["a"][:, None], outputs["a"]),
            "b": keras.losses.MeanSquaredError()(y["b"][:, None], outputs["b"]),
        }
    expected = {}
    for stage, group in groups.items():
        first, second = (
            np.concatenate([np.ravel(tape.gradient(loss, v.value)) for v in group])
            for loss in losses.values()
        )
        cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
        strength = 0.95 * 0.5 + 0.05 * (1 + cosine) / 2
        expected[stage] = {"a": strength, "b": strength, "c": 0.5}
    model.train_on_batch(x, y)
    found = model.sharing_strengths()
    for stage, strengths in expected.items():
        assert abs(strengths["a"] - 0.5) > 1e-4
        for name, strength in strengths.items():
            np.testing.assert_allclose(found[stage][name], strength, rtol=1e-5)


@pytest.mark.slow
def test_equal_tasks_come_to_share_and_opposite_ones_to_part():
    for sign, expected in ((1.0, 1.0), (-1.0, 0.0)):
        model = dynamic(sharing="conflict", units=(4,))
        for _ in range(100):
            gramian = tf.constant([[4.0, sign * 2, 0], [sign * 2, 1.0, 0], [0, 0, 0]])
            model.observe_gramians([gramian], tf.constant([True, True, True]))
        found = model.sharing_strengths()["units_0"]
        np.testing.assert_allclose([found["a"], found["b"]], expected, atol=0.01)
        assert found["c"] == 0.5  # without a gradient


def test_nothing_moves_by_what_is_not_finite():
    model = dynamic(sharing="conflict", units=(4,))
    gramian = tf.constant([[float("inf"), 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, float("nan")]])
    model.observe_gramians([gramian], tf.constant([True, True, True]))
    assert set(model.sharing_strengths()["units_0"].values()) == {0.5}


def test_weights_kept_for_some_steps_move_the_strengths_in_the_others():
    model = compiled(dynamic(sharing="conflict"), PCGrad(every=2), metrics=NONE)
    x, y = data()
    found = [model.sharing_strengths()]
    for _ in range(3):
        model.train_on_batch(x, y)
        found.append(model.sharing_strengths())
    assert found[0] != found[1] and found[1] == found[2] and found[2] != found[3]


@pytest.mark.parametrize("balancer", ["equal", "uncertainty", GradDrop(), PCGrad(wrt="features")])
def test_conflicts_need_a_balancer_that_measures_them(balancer):
    message = "`balancer` should be a gradient balancer with `wrt='parameters'` of the whole batch"
    with pytest.raises(ValueError, match=message):
        compiled(dynamic(sharing="conflict"), balancer)


def convolutional(**arguments):
    layers = keras.layers
    inside = keras.Input((6, 6, 1))
    hidden = layers.Conv2D(2, 3, name="conv")(inside)
    hidden = layers.BatchNormalization(synchronized=True, name="norm")(hidden)
    end = layers.GlobalAveragePooling2D(name="pool")(hidden)
    return DynamicSharing(
        keras.Input((6, 6, 1)),
        three(),
        backbone=keras.Model(inside, end),
        stages=["norm"],
        **arguments,
    )


def test_statistics_are_each_tasks_own_and_rest_while_it_is_absent():
    model = compiled(convolutional(sharing="conflict"), "pcgrad", metrics=NONE)
    _, y = data()
    x = np.random.default_rng(0).normal(3.0, size=(8, 6, 6, 1)).astype("float32")
    y["c"][:] = np.nan
    blends = {name: model.get_layer(f"{name}_norm_blend") for name in "abc"}
    assert model.measured_groups() and model.get_layer("a_pool_blend")
    own = {n: [v for v in blends[n].own.variables if "moving" in v.path] for n in blends}
    before = {name: copies(variables) for name, variables in own.items()}
    model.fit(x, y, batch_size=4, verbose=0)
    for name, variables in own.items():
        moved = [np.abs(v - o).max() > 0 for v, o in zip(variables, before[name], strict=True)]
        assert moved == [name != "c"] * 2


def test_log_sharing_adds_the_strengths_to_the_logs():
    model = compiled(dynamic(sharing=(1.0, 0.0, 4)), "equal", metrics=NONE)
    x, y = data()
    logs = model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[LogSharing()]).history
    for name in "abc":
        for stage in ("units_0", "units_1"):
            np.testing.assert_allclose(logs[f"{name}_sharing_{stage}"], [0.5, 0.0], atol=1e-6)


def test_a_student():
    model = dynamic(units=(8, 6), sharing=(1.0, 0.5, 10)).student(0.5)
    assert model.get_layer("b_units_1_blend").own.output.shape == (None, 3)
    assert model.get_layer("b_units_1_blend").sharing == (1.0, 0.5, 10)


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
def a_third(step):
    return 0.0 * step + 1 / 3


def a_fourth(step):
    return 0.0 * step + 1 / 4


class Fifth(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.0 * step + 1 / 5

    def get_config(self):
        return {}


def test_a_function_is_registered_or_refused():
    model = dynamic(sharing=a_third).student(0.5)
    assert model.sharing_strengths()["units_0"] == dict.fromkeys("abc", pytest.approx(1 / 3))
    for sharing in (lambda step: 0.5, a_fourth, Fifth()):
        with pytest.raises(ValueError, match="`sharing` should be registered by"):
            dynamic(sharing=sharing)
    mine = {"a_fourth": a_fourth}
    with keras.saving.custom_object_scope(mine):
        config = dynamic(sharing=a_fourth).get_config()
    again = DynamicSharing.from_config(config, mine)
    assert again.sharing_strengths()["units_0"] == dict.fromkeys("abc", 0.25)


@pytest.mark.parametrize("sharing", [-0.1, 1.5, "often", None, True, (0, 1), (0, 2, 5), (0, 1, 0)])
def test_the_strength_is_checked(sharing):
    with pytest.raises(ValueError, match="`sharing` should be a number from 0 to 1, a tuple"):
        dynamic(sharing=sharing)


def test_no_task_has_the_name_of_the_shared_part():
    with pytest.raises(ValueError, match=r"not have the name of the shared part.* 'shared'"):
        dynamic([Regression("a"), Regression("shared")])
