"""UPGrad against SciPy's non-negative least squares on the gradients themselves."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, tasks, without_conflict

from mtlzoo.balancing import PCGrad, UPGrad

# float32 rounds a Gramian by 6e-8 of its entries. Where the conflict of dependent gradients lies in
# a direction whose eigenvalue is as small, that moves the projection by much more.
LOOSE = {"ill-conditioned": 1e-2, "low rank": 1e-2}


def reference(gradients, preferred=None):
    count = len(gradients)
    preferred = np.full(count, 1 / count) if preferred is None else preferred
    return preferred @ [without_conflict(gradients, own) for own in gradients]


@pytest.mark.one_in(6)
@pytest.mark.parametrize("size", [2, 3, 8, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_is_the_mean_of_the_projections(size, dtype):
    method = UPGrad()
    solve = tf.function(method.weights)
    for seed in range(3):
        for name, gradients in gradient_sets(size, seed).items():
            weights = solve(tf.constant((gradients @ gradients.T).astype(dtype)))
            update, expected = weights.numpy() @ gradients, reference(gradients)
            longest = np.linalg.norm(gradients, axis=1).max()
            if name in ("plain", "wide", "positive", "almost aligned"):  # relative to the update
                error = np.linalg.norm(update - expected) / np.linalg.norm(expected)
                bound = 1e-4 if dtype == "float32" else 1e-6
            else:  # the update can be zero, or as short as rounding of the longest gradient
                error = np.linalg.norm(update - expected) / max(longest, 1e-300)
                bound = LOOSE.get(name, 2e-5) if dtype == "float32" else 1e-11
            assert error < bound, f"{name}, seed {seed}: {error}"


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["plain", "scales", "opposite", "one zero", "rank 1"])
def test_is_half_of_pcgrad_for_two_tasks(name):
    for seed in range(10):
        gradients = gradient_sets(2, seed)[name]
        gramian = gradients @ gradients.T
        np.testing.assert_allclose(
            2 * UPGrad().weights(gramian), PCGrad().weights(gramian), rtol=1e-12
        )


@pytest.mark.parametrize("size", [2, 3, 8])
def test_without_conflict_it_is_the_mean(size):
    for name in ("positive", "all equal", "all zero"):
        gradients = gradient_sets(size)[name]
        np.testing.assert_array_equal(
            UPGrad().weights(gradients @ gradients.T), np.full(size, 1 / size)
        )


@pytest.mark.parametrize("size", [2, 3, 8])
def test_is_linear_in_the_lengths(size):
    """The update for lengths a + b is that for a plus that for b: the conditions are the same."""
    gradients = gradient_sets(size, seed=1)["sum to zero"]
    rng = np.random.default_rng(0)
    one, two = np.exp(3 * rng.normal(size=(2, size, 1)))

    def update(rows):
        return UPGrad().weights(rows @ rows.T) @ rows

    expected = update(one * gradients) + update(two * gradients)
    np.testing.assert_allclose(update((one + two) * gradients), expected, rtol=1e-9, atol=1e-12)


def test_a_long_gradient_does_not_hide_a_short_one():
    gradients = gradient_sets(3, seed=1)["plain"] * np.array([1e-8, 1.0, 1e8])[:, None]
    gramian = gradients @ gradients.T
    assert np.any(gramian < 0)
    inner = gramian @ UPGrad().weights(gramian)
    lengths = np.sqrt(np.diag(gramian))
    assert np.all(inner > -1e-14 * lengths * lengths.max())


def test_golden_values():
    gramian = np.array([[1.0, -0.5, 0.2], [-0.5, 2.0, -0.8], [0.2, -0.8, 1.5]])
    # By hand: the first and the third are moved along the second; it is moved along both others,
    # by the solution of [[1, 0.2], [0.2, 1.5]] λ = [0.5, 0.8].
    moved = np.linalg.solve([[1.0, 0.2], [0.2, 1.5]], [0.5, 0.8])
    expected = [1 + moved[0], 1 + 0.25 + 0.4, 1 + moved[1]]
    np.testing.assert_allclose(UPGrad().weights(gramian), np.array(expected) / 3, rtol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_preference_weighs_the_projections(size):
    gradients = gradient_sets(size, seed=2)["sum to zero"]
    names = [f"t{i}" for i in range(size)]
    wanted = np.arange(size) + 1.0
    method = UPGrad(preference=dict(zip(names, wanted, strict=True)))
    method.build(tasks(**dict.fromkeys(names, "regression")))
    update = method.weights(gradients @ gradients.T) @ gradients
    np.testing.assert_allclose(update, reference(gradients, wanted / wanted.sum()), atol=1e-12)
    # Among the tasks that are present, it sums to 1.
    present = [False] + [True] * (size - 1)
    if size > 2:
        update = method.weights(gradients @ gradients.T, present=present) @ gradients
        expected = reference(gradients[1:], wanted[1:] / wanted[1:].sum())
        np.testing.assert_allclose(update, expected, atol=1e-12)


@pytest.mark.parametrize("preference", [[1.0], {}, {"a": -1.0}, {"a": 0.0}, {"a": np.nan}, "a"])
def test_preferences_are_checked(preference):
    with pytest.raises(ValueError, match=r"`preference` should be a dict by task name.*Received"):
        UPGrad(preference=preference)


def test_names_of_the_preference_are_checked():
    method = UPGrad(preference={"a": 1.0, "b": 2.0})
    with pytest.raises(ValueError, match=r"`UPGrad` with `preference` should be built"):
        method.weights(np.eye(2))
    with pytest.raises(ValueError, match=r"each of the tasks \['a', 'c'\]. Received: `preference="):
        method.build(tasks(a="regression", c="regression"))
    assert UPGrad.from_config(method.get_config()).preference == {"a": 1.0, "b": 2.0}
