"""PCGrad against literal gradient surgery, and its random orders."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, scrambled, surgery, tasks

from mtlzoo.balancing import PCGrad
from mtlzoo.layers.hashing import mix, random_bits


@pytest.mark.one_in(4)
@pytest.mark.parametrize("size", [2, 3, 4, 8, 40])
def test_equals_literal_surgery(size):
    method = PCGrad(seed=size)
    orders = np.asarray(method.orders(size))
    for name in ("plain", "wide", "low rank", "almost aligned", "sum to zero", "one zero"):
        gradients = gradient_sets(size, seed=4)[name]
        gramian = gradients @ gradients.T
        expected = surgery(gradients, orders)
        update = method.weights(gramian) @ gradients
        scale = np.linalg.norm(gradients, axis=1).max()
        np.testing.assert_allclose(update, expected, rtol=0, atol=1e-11 * scale, err_msg=name)
        single = method.weights(gramian.astype("float32")).astype("float64") @ gradients
        np.testing.assert_allclose(single, expected, rtol=0, atol=2e-5 * size * scale)


def test_far_apart_scales():
    gradients = gradient_sets(4)["plain"] * np.array([1e-8, 1.0, 1e4, 1e8])[:, None]
    method = PCGrad()
    expected = surgery(gradients, np.asarray(method.orders(4)))
    update = method.weights(gradients @ gradients.T) @ gradients
    np.testing.assert_allclose(update, expected, rtol=1e-9)


def test_golden_values():
    gramian = np.array([[1.0, -0.5, 0.2], [-0.5, 2.0, -0.8], [0.2, -0.8, 1.5]])
    expected = [1.39333333333333, 1.65, 1.53333333333333]
    np.testing.assert_allclose(PCGrad().weights(gramian), expected, rtol=1e-12)


def test_two_tasks_in_closed_form():
    # |g1|^2 = 4, |g2|^2 = 1, g1.g2 = -1: g1 gains g2 / 1, g2 gains g1 / 4.
    np.testing.assert_allclose(PCGrad().weights(np.array([[4.0, -1.0], [-1.0, 1.0]])), [1.25, 2])


@pytest.mark.parametrize("size", [2, 3, 8])
def test_without_conflict_it_is_the_sum(size):
    for name in ("positive", "all equal", "all zero"):
        gradients = gradient_sets(size)[name]
        np.testing.assert_array_equal(PCGrad().weights(gradients @ gradients.T), np.ones(size))


def test_orders_are_permutations_and_change_with_seed_and_step():
    method = PCGrad()
    method.build(tasks(**dict.fromkeys("abcdefgh", "regression")))
    seen = []
    for seed, step in itertools.product((0, 1), (0, 1, 2**31, 2**40)):
        method.seed = seed
        method.step.assign(step)
        orders = np.asarray(method.orders(8))
        np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(8), (8, 1)))
        np.testing.assert_array_equal(np.diag(orders), 7)
        seen.append(orders.tobytes())
    # 2^40 is 0 in the 32 bits that count, so that step repeats the first.
    assert len(set(seen)) == 6


@pytest.mark.slow
def test_all_orders_are_equally_likely():
    method = PCGrad(seed=5)
    method.build(tasks(**dict.fromkeys("abcd", "regression")))
    draw = tf.function(lambda: method.orders(4))
    counts: dict[tuple, int] = {}
    steps = 1200
    for step in range(steps):
        method.step.assign(step)
        for row, order in enumerate(draw().numpy()):
            key = (row, *order)
            counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 4 * 6
    expected = steps / 6
    chi_square = sum((n - expected) ** 2 / expected for n in counts.values())
    # 20 degrees of freedom: mean 20, and above 45.3 with probability 0.001.
    assert chi_square < 45.3


def test_permutation_equivariance_in_distribution():
    gradients = gradient_sets(3, seed=2)["sum to zero"]
    gramian = gradients @ gradients.T
    method = PCGrad()
    method.build(tasks(**dict.fromkeys("abc", "regression")))
    order = [2, 0, 1]
    both = tf.constant(np.stack([gramian, gramian[np.ix_(order, order)]]))
    draw = tf.function(lambda: method.weights(both))
    samples = []
    for step in range(500):
        method.step.assign(step)
        samples.append(draw().numpy())
    mean, deviation = np.mean(samples, axis=0), np.std(samples, axis=0)
    assert deviation.max() > 0.01, "the order should matter here"
    tolerance = 5 * deviation.max() / np.sqrt(len(samples))
    np.testing.assert_allclose(mean[1], mean[0][order], atol=tolerance)


@pytest.mark.parametrize("jit", [False, True])
def test_orders_are_the_same_in_every_mode(jit):
    method = PCGrad(seed=3)
    method.build(tasks(**dict.fromkeys("abcdefgh", "regression")))
    compiled = tf.function(lambda: method.orders(8), jit_compile=jit)
    for step in (0, 1, 12345, 2**33 + 7):
        method.step.assign(step)
        np.testing.assert_array_equal(compiled(), method.orders(8))


def test_the_hash_is_the_published_one():
    values = [0, 1, 2, 0x9E3779B9, 2**31, 2**32 - 1]
    expected = [scrambled(value) for value in values]
    np.testing.assert_array_equal(mix(np.array(values, "uint32")), expected)


def test_the_hash_scrambles():
    rng = np.random.default_rng(0)
    values = rng.integers(2**32, size=2000, dtype=np.uint32)
    base = np.asarray(mix(values))
    for bit in range(32):
        flipped = np.bitwise_count(base ^ np.asarray(mix(values ^ np.uint32(1 << bit))))
        assert 15 < flipped.mean() < 17
    steps = np.stack([np.asarray(random_bits(0, step, (50,))) for step in range(200)])
    assert len(np.unique(steps)) > 0.999 * steps.size
    uniform = steps / 2**32
    assert abs(uniform.mean() - 0.5) < 0.01
    lagged = np.corrcoef(uniform[1:].ravel(), uniform[:-1].ravel())[0, 1]
    assert abs(lagged) < 0.05
