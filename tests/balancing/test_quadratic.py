"""The shortest vector under linear conditions, by its conditions of optimality."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets
from keras import ops
from scipy.optimize import nnls

from mtlzoo.balancing.directions import in_unit_lengths
from mtlzoo.balancing.quadratic import direction_of, shortest_step


def unit_rows(size, count, dimension, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, size, dimension))
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("size", [2, 3, 8, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_conditions_of_optimality_hold(size, dtype):
    rows = unit_rows(size, 40, size + 5)
    bounds = np.random.default_rng(1).normal(size=(40, size)) * 0.5
    cosines = (rows @ rows.swapaxes(1, 2)).astype(dtype)
    parts, rest = shortest_step(tf.constant(cosines), tf.constant(bounds.astype(dtype)))
    parts, rest = np.array(parts, "float64"), np.array(rest, "float64")
    steps = (parts[:, None, :] @ rows)[:, 0]
    slack = (rows @ steps[:, :, None])[..., 0] - bounds
    squares = np.sum(steps**2, axis=-1, keepdims=True)
    # Distances and their multipliers grow with the length, and so does what rounding makes of them.
    bound = (3e-5 if dtype == "float32" else 1e-13) * (1 + squares)
    assert np.all(parts >= 0)
    assert np.all(slack >= -bound)
    assert np.all(np.minimum(parts, slack) <= bound)
    np.testing.assert_allclose(rest, 1 / (1 + squares), rtol=1e-4 if dtype == "float32" else 1e-11)
    assert 0.2 < np.mean(parts > 0) < 0.9


@pytest.mark.parametrize("size", [3, 8, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tells_when_there_is_no_such_vector(size, dtype):
    """By the lemma of Farkas: then conditions add up to 0 ≥ a positive number."""
    rows = unit_rows(size, 60, max(2, size // 2))
    bounds = np.abs(np.random.default_rng(1).normal(size=(60, size)))
    bounds /= bounds.max(-1, keepdims=True)
    bounds[::2] *= -1.0
    bounds[::2, 0] *= -1.0
    cosines = (rows @ rows.swapaxes(1, 2)).astype(dtype)
    _, rest = shortest_step(tf.constant(cosines), tf.constant(bounds.astype(dtype)))
    right = np.append(np.zeros(rows.shape[-1]), 1.0)
    systems = np.concatenate([rows.swapaxes(1, 2), bounds[:, None, :]], axis=1)
    residuals = np.array([nnls(one, right)[1] for one in systems])
    impossible = residuals < 1e-10
    assert 5 < impossible.sum() < 55
    # Nearly dependent directions have multipliers in the hundreds, each with its rounding.
    small = 5e-3 if dtype == "float32" else 1e-10
    assert np.all(np.array(rest)[impossible] < small)
    assert np.all(np.array(rest)[residuals > (0.1 if dtype == "float32" else 1e-4)] > small)


def test_many_right_sides_share_the_directions():
    rows = unit_rows(6, 5, 9)
    cosines = rows @ rows.swapaxes(1, 2)
    bounds = np.random.default_rng(2).normal(size=(5, 4, 6))
    together = shortest_step(tf.constant(cosines[:, None]), tf.constant(bounds))[0]
    for i, j in np.ndindex(5, 4):
        alone = shortest_step(tf.constant(cosines[i]), tf.constant(bounds[i, j]))[0]
        np.testing.assert_allclose(together[i, j], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_the_longer_way_gets_there_too(monkeypatch):
    """Where all exchanges at once have not settled after 8 rounds, single ones go on."""
    loop, rounds = ops.while_loop, []

    def counted(*arguments, **options):
        result = loop(*arguments, **options)
        rounds.append(int(result[0]))
        return result

    monkeypatch.setattr(ops, "while_loop", counted)
    right = np.append(np.zeros(8), 1.0)
    for one in unit_rows(16, 40, 8):
        bounds = -one @ one[0]
        step = np.array(shortest_step(tf.constant(one @ one.T), tf.constant(bounds))[0]) @ one
        solution, _ = nnls(np.concatenate([one.T, bounds[None]]), right, maxiter=4000)
        np.testing.assert_allclose(step, solution @ one / (1 - bounds @ solution), atol=1e-11)
    assert sum(np.array(rounds) > 8) > 10
    # Many at once, each of which goes its own way.
    rows = unit_rows(16, 10, 8)
    bounds = -(rows @ rows[:, 0, :, None])[..., 0]
    cosines = rows @ rows.swapaxes(1, 2)
    together = np.array(shortest_step(tf.constant(cosines), tf.constant(bounds))[0])
    for one, cosine, bound, parts in zip(rows, cosines, bounds, together, strict=True):
        alone = np.array(shortest_step(tf.constant(cosine), tf.constant(bound))[0])
        np.testing.assert_allclose(parts @ one, alone @ one, atol=1e-10)


def test_directions_of_zero_and_far_apart_gradients():
    gradients = gradient_sets(4)["plain"] * np.array([0.0, 1e-8, 1.0, 1e8])[:, None]
    lengths, inverse, cosines = (
        np.array(part) for part in in_unit_lengths(tf.constant(gradients @ gradients.T))
    )
    norms = np.linalg.norm(gradients, axis=1)
    rows = gradients[1:] / norms[1:, None]
    np.testing.assert_allclose(lengths, norms, rtol=1e-14)
    np.testing.assert_allclose(inverse, [0, *(1 / norms[1:])], rtol=1e-14)
    np.testing.assert_allclose(cosines[1:, 1:], rows @ rows.T, atol=1e-14)
    np.testing.assert_array_equal(cosines[0], 0)
    length, inner = direction_of(
        tf.constant(cosines), tf.constant([5.0, 1e-9, 2e-9, 0.0], "float64")
    )
    vector = 1e-9 * rows[0] + 2e-9 * rows[1]
    np.testing.assert_allclose(length, [np.linalg.norm(vector)], rtol=1e-12)
    np.testing.assert_allclose(inner[1:], rows @ vector / np.linalg.norm(vector), atol=1e-14)


def test_directions_of_many_sums():
    rows = unit_rows(4, 3, 6)
    parts = np.random.default_rng(1).normal(size=(3, 4)) * [[1e-8], [1.0], [1e8]]
    length, inner = direction_of(tf.constant(rows @ rows.swapaxes(1, 2)), tf.constant(parts))
    vectors = (parts[:, None] @ rows)[:, 0]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(length, norms, rtol=1e-12)
    np.testing.assert_allclose(inner, (rows @ (vectors / norms)[..., None])[..., 0], atol=1e-12)
