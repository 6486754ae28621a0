"""Tasks that do not depend on all shared variables, or that are absent between two steps."""

import keras
import numpy as np
import pytest
from model_cases import Constant, assert_close, compiled, copies, double, train

from mtlzoo import (
    EMA,
    MGDA,
    PCD,
    Combined,
    ExcessMTL,
    GradDrop,
    GradNorm,
    MoCo,
    MultiTaskModel,
    PCGrad,
    Regression,
    WarmUp,
)

NAMES = "abc"


def model_of(draw):
    """A model of three tasks, each with a head on what `draw` makes of the input for it."""
    keras.utils.set_random_seed(1)
    x = keras.Input((4,))
    tasks = [Regression(name, metrics=[]) for name in NAMES]
    reads = dict(zip(NAMES, draw(x), strict=True))
    return MultiTaskModel(x, {t.name: t.head(reads[t.name]) for t in tasks}, tasks=tasks)


def dense(name):
    return keras.layers.Dense(5, "tanh", name=name)


def tree():
    """`a` and `b` read two shared layers, `c` the first alone."""

    def draw(x):
        first = dense("first")(x)
        second = dense("second")(first)
        return second, second, first

    return model_of(draw)


def apart():
    """`c` has a layer of its own, and shares nothing."""

    def draw(x):
        shared = dense("shared")(x)
        return shared, shared, dense("own")(x)

    return model_of(draw)


def data(rows=8, absent=""):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)).astype(keras.config.floatx())
    y = {n: rng.normal(size=rows).astype(x.dtype) * (i + 1) for i, n in enumerate(NAMES)}
    for name in absent:
        y[name][:] = np.nan
    return x, y


def step(model, absent=""):
    train(model, *data(absent=absent), batch_size=8)
    return model.task_weights


def moved(model, layer):
    before = copies(model.get_layer(layer).trainable_variables)
    step(model)
    after = copies(model.get_layer(layer).trainable_variables)
    return max(np.abs(new - old).max() for new, old in zip(after, before, strict=True))


def with_metrics(model, balancer, **arguments):
    return compiled(model, balancer, metrics={name: [] for name in NAMES}, **arguments)


# -- out of reach ----------------------------------------------------------------------------------


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", [MGDA, GradNorm])
def test_in_a_group_that_a_task_does_not_reach_it_is_absent(kind):
    model = with_metrics(tree(), kind(groups="layers"))
    for _ in range(3):
        assert moved(model, "first") > 0
        assert moved(model, "second") > 0
    weights = np.array(model.balancer.task_weights)
    both, of_c = weights[1, :2], weights[:, 2]
    assert both.min() > 0
    assert of_c[1] == of_c[0]  # in the second group it stands for nothing
    assert model.task_weights["c"] == pytest.approx(float(of_c[0]))


def test_the_weights_in_a_group_are_those_of_the_tasks_that_reach_it():
    double()
    seen = {}

    class Watched(MGDA):
        def advance(self, gramian, losses=None, present=None):
            seen.update(gramian=np.array(gramian), present=np.array(present))
            return super().advance(gramian, losses, present)

    model = with_metrics(tree(), Watched(groups="layers"))
    step(model)
    np.testing.assert_array_equal(seen["present"], [[True] * 3, [True, True, False]])
    found = np.array(model.balancer.task_weights)
    np.testing.assert_allclose(found[0], MGDA().weights(seen["gramian"][0]), rtol=1e-9)
    np.testing.assert_allclose(found[1, :2], MGDA().weights(seen["gramian"][1][:2, :2]), rtol=1e-9)


@pytest.mark.one_in(7)
@pytest.mark.parametrize(
    "balancer",
    [
        *(MGDA(), MGDA(wrt="features"), EMA(MGDA()), MGDA(groups="layers")),
        *(GradNorm(), ExcessMTL(), Combined("uncertainty", "mgda")),
    ],
    ids=repr,
)
def test_a_task_that_shares_nothing_is_trained_beside_the_others(balancer):
    model = with_metrics(apart(), balancer)
    for _ in range(3):
        for layer in ("shared", "own"):
            assert moved(model, layer) > 1e-5
    weights = model.task_weights
    if not isinstance(balancer, Combined):
        assert weights["c"] == 1.0
    if isinstance(balancer, MGDA):
        assert weights["a"] + weights["b"] == pytest.approx(1.0, abs=1e-6)


def test_a_frozen_group_has_no_part_in_the_weights_of_heads():
    model = tree()
    model.get_layer("first").trainable = False
    with_metrics(model, GradNorm(groups={"one": ["first"], "two": ["second"]}))
    for _ in range(3):
        step(model)
    of_groups = np.array(model.balancer.task_weights)
    assert of_groups[1, 0] != 1.0
    np.testing.assert_allclose(of_groups[0], of_groups[1])
    assert model.task_weights["a"] == pytest.approx(float(of_groups[1, 0]))


def test_with_nothing_in_reach_gradient_balancers_are_refused():
    def draw(x):
        stop = keras.layers.Lambda(keras.ops.stop_gradient, output_shape=(5,))
        return 3 * [stop(dense("shared")(x))]

    for balancer in (MGDA(), GradDrop()):
        model = with_metrics(model_of(draw), balancer)
        with pytest.raises(ValueError, match=r"should weigh losses where .* Received: (MGDA|Grad)"):
            step(model)


def test_a_primary_task_that_shares_nothing_leaves_the_others_to_each_other():
    model = with_metrics(apart(), PCD("c"))
    assert moved(model, "shared") > 0


# -- absent between two computations ---------------------------------------------------------------


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "balancer",
    [
        *(PCGrad(every=5, wrt="features"), MGDA(every=5, groups="layers")),
        *(MGDA(every=5, wrt="features"), Combined("equal", EMA(MGDA(every=5)))),
    ],
    ids=repr,
)
def test_weights_are_kept_for_a_task_that_is_absent_in_between(balancer):
    model = with_metrics(tree(), balancer)
    first = step(model)
    assert first["b"] > 0
    between = step(model, absent="b")
    assert between["b"] == 0
    if balancer.gradient_part.averages:  # the others have what it had
        assert between["a"] > first["a"]
        if balancer.gradient_part.groups is None:
            assert sum(between.values()) == pytest.approx(sum(first.values()))
    else:
        assert between["a"] == pytest.approx(first["a"])
    assert step(model, absent="ab")["c"] == 1.0
    assert step(model) == pytest.approx(first)


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
class Mean(Constant):
    """Given weights of a mean."""

    averages = True


@pytest.mark.one_in(12)
@pytest.mark.parametrize(("wrt", "eager"), [("parameters", True), ("features", False)])
@pytest.mark.parametrize(
    ("values", "absent", "expected"),
    [
        ((0.25, 0.25, 0.5), "c", (0.5, 0.5, 0)),
        ((0.0, 0.015, 0.985), "c", (0, 1, 0)),
        ((1.0, 0.0, 0.0), "a", (0, 0.5, 0.5)),  # nothing to be in proportion to
        ((1.5, 0.3, 0.2), "b", (1.5 / 0.85, 0, 0.2 / 0.85)),  # a sum of 2, as CAGrad may have
        ((0.9, -0.2, 0.3), "a", (0, -0.2, 0.3)),  # no proportion
        ((0.9, -0.2, 0.3), "b", (0.75, 0, 0.25)),
        ((0.25, 0.25, 0.5), "ab", (0, 0, 1)),
    ],
)
def test_the_weights_of_a_mean_are_shared_by_the_tasks_that_are_left(
    values, absent, expected, wrt, eager
):
    model = tree()
    model.compile(keras.optimizers.SGD(0.1), Mean(values, wrt=wrt, every=3), run_eagerly=eager)
    step(model)
    assert list(step(model, absent).values()) == pytest.approx(expected, abs=1e-6)
    assert list(step(model).values()) == pytest.approx(values, abs=1e-6)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("eager", [True, False])
def test_a_group_out_of_reach_of_a_task_shares_nothing_with_it(eager):
    """Beyond the reach of `c`, its weight is that elsewhere, and not part of the mean."""
    model = tree()
    balancer = Mean((0.2, 0.2, 0.6), groups="layers", every=3)
    model.compile(keras.optimizers.SGD(0.1), balancer, run_eagerly=eager)
    step(model)
    np.testing.assert_allclose(balancer.task_weights, [[0.2, 0.2, 0.6]] * 2, rtol=1e-6)
    # In the first group `a` and `c` share 1 as 1 to 3, in the second `a` is alone.
    assert list(step(model, "b").values()) == pytest.approx(((0.25 + 1) / 2, 0, 0.75), abs=1e-6)


@pytest.mark.slow
def test_a_task_that_shares_nothing_has_no_share_of_what_an_absent_one_leaves():
    model = apart()
    model.compile(keras.optimizers.SGD(0.1), Mean((0.3, 0.7, 0.0), every=2))
    assert list(step(model).values()) == pytest.approx((0.3, 0.7, 1))
    assert list(step(model, "b").values()) == pytest.approx((1, 0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("balancer", [ExcessMTL(), MoCo()], ids=repr)
def test_one_task_alone_is_trained_with_weight_one(balancer):
    model = with_metrics(tree(), balancer)
    for _ in range(3):
        step(model)
    before = model.get_weights()
    assert step(model, absent="ac") == {"a": 0.0, "b": 1.0, "c": 0.0}
    found = copies(model.trained_variables)
    with_metrics(model, "equal")
    model.set_weights(before[: len(model.get_weights())])
    step(model, absent="ac")
    assert_close(model.trained_variables, found, 1e-6)


@pytest.mark.slow
def test_the_weights_shown_are_those_of_the_last_step(tmp_path):
    model = with_metrics(tree(), WarmUp("gls", "mgda"))
    train(model, *data(), epochs=1)
    weights = model.task_weights
    assert set(weights.values()) != {1.0}
    assert sum(weights.values()) != pytest.approx(1.0)  # of GLS, not yet of MGDA
    train(model, *data(), epochs=1)
    weights = model.task_weights
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.task_weights == pytest.approx(weights)
