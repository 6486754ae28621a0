"""RLW: its weights against the same bits in NumPy, their distribution, their seeds."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import scrambled
from loss_cases import built, weights
from scipy import stats

from mtlzoo.balancing import RLW
from mtlzoo.balancing.rlw import DISTRIBUTIONS

distributions = pytest.mark.parametrize("distribution", DISTRIBUTIONS)


def bits_of(seed, step, count):
    starts = np.random.default_rng(seed).integers(2**32, size=(2, count), dtype=np.uint32)
    hashed = [scrambled((int(s) + step * 0x9E3779B9) % 2**32) for s in starts.ravel()]
    return np.array(hashed, "uint64").reshape(2, count)


def expected(distribution, bits, present):
    uniform = ((bits >> 9) + 0.5) / 2**23
    if distribution == "bernoulli":
        for draw in range(32):
            chosen = (bits[0] >> draw & 1).astype(bool) & present
            if chosen.any():
                return chosen / chosen.sum()
    if distribution == "constrained_bernoulli":
        return np.eye(len(present))[np.argmin(np.where(present, uniform[0], 9))]
    if distribution == "dirichlet":
        parts = np.where(present, -np.log(uniform[0]), 0)
    elif distribution == "uniform":
        parts = np.where(present, np.exp(uniform[0]), 0)
    else:
        normal = np.sqrt(-2 * np.log(uniform[0])) * np.cos(2 * np.pi * uniform[1])
        parts = np.where(present, np.exp(normal), 0)
    return parts / parts.sum()


@pytest.mark.one_in(9)
@distributions
@pytest.mark.parametrize("count", [1, 2, 3, 8, 16])
def test_weights_are_what_the_bits_say(distribution, count):
    names = [f"t{i:02}" for i in range(count)]
    method = built(RLW(distribution, seed=3), names)
    rng = np.random.default_rng(count)
    for step in range(8):
        method.step.assign(step)
        present = rng.random(count) < 0.7
        present[rng.integers(count)] = True
        found = expected(distribution, bits_of(3, step, count), present)
        for dtype, bound in (("float64", 1e-12), ("float32", 5e-6)):
            one = weights(method, rng.uniform(-1, 1, count), present, dtype)
            np.testing.assert_allclose(one, found, rtol=bound, atol=bound)


@pytest.mark.one_in(2)
@distributions
def test_weights_are_shares_of_those_present(distribution):
    method = built(RLW(distribution))
    for step in range(10):
        method.step.assign(step)
        found = weights(method, [1.0, 2.0, 3.0], [True, False, True])
        assert found.sum() == pytest.approx(1.0, abs=1e-12)
        assert np.all(found >= 0) and found[1] == 0
        np.testing.assert_array_equal(
            weights(method, [1.0, 2.0, 3.0], [False, True, False]), [0, 1, 0]
        )


@functools.cache
def many(distribution, count, steps=1000):
    names = [f"t{i}" for i in range(count)]
    method = built(RLW(distribution), names)
    present = tf.ones(count, "bool")

    @tf.function
    def draw(step):
        method.step.assign(step)
        return method.weights(present)

    return np.array([draw(tf.constant(step)).numpy() for step in range(steps)])


@pytest.mark.one_in(5)
@distributions
def test_no_task_is_preferred(distribution):
    drawn = many(distribution, 3)
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert np.all(np.abs(drawn.mean(axis=0) - 1 / 3) < 4 * error)


def test_dirichlet_weights_are_uniform_on_the_simplex():
    drawn = many("dirichlet", 3)
    assert stats.kstest(drawn[:, 0], stats.beta(1, 2).cdf).pvalue > 1e-3


def test_normal_weights_are_those_of_normal_numbers():
    drawn = many("normal", 3)
    # log w₁/w₂ is the difference of two standard normal numbers.
    ratio = np.log(drawn[:, 0] / drawn[:, 1]) / np.sqrt(2)
    assert stats.kstest(ratio, "norm").pvalue > 1e-3


def test_bernoulli_chooses_each_subset_but_the_empty_one_equally_often():
    drawn = many("bernoulli", 3) > 0
    counts = np.bincount(drawn @ [1, 2, 4], minlength=8)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-3


@pytest.mark.one_in(2)
@pytest.mark.parametrize("jit", [False, True])
@distributions
def test_graph_and_xla_draw_the_same(distribution, jit):
    method = built(RLW(distribution, seed=1))
    compiled = tf.function(method.weights, jit_compile=jit)
    present = tf.constant([True, True, False])
    for step in (0, 1, 10**6):
        method.step.assign(step)
        np.testing.assert_allclose(compiled(present), method.weights(present), rtol=1e-6)


def test_seed_and_step_decide():
    methods = [built(RLW(seed=seed)) for seed in (0, 0, 1)]
    first, same, other = (weights(method, [1.0] * 3) for method in methods)
    np.testing.assert_array_equal(first, same)
    assert np.all(first != other)
    np.testing.assert_array_equal(weights(RLW(), [1.0] * 3), first)  # unbuilt: that of step 0
    methods[0].step.assign(1)
    assert np.all(weights(methods[0], [1.0] * 3) != first)


@pytest.mark.parametrize("distribution", ["gauss", None, 1, "Normal"])
def test_distribution_is_checked(distribution):
    with pytest.raises(
        ValueError, match=r"`distribution` should be one of \['normal', .* Received"
    ):
        RLW(distribution)
