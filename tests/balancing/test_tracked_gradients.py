"""The methods that remember something for each entry of the task gradients, against NumPy."""

import keras
import numpy as np
import pytest
from gradient_cases import tasks
from test_simplex import nearest

from mtlzoo.balancing import DBMTL, ExcessMTL, MoCo, TrimmedMean

THREE = tasks(a="regression", b="regression", c="regression")
SHAPES = [(4, 2), (3,)]


def variables():
    return [keras.Variable(np.zeros(shape, "float32")) for shape in SHAPES]


def gradients(steps=5, seed=0):
    """For each step the rows (3, 11), and the same by variable."""
    rows = np.random.default_rng(seed).normal(size=(steps, 3, 11))
    rows[:, 1] *= 3.0
    return [(r, [r[:, :8].reshape(3, 4, 2), r[:, 8:]]) for r in rows]


def flat(combined):
    return np.concatenate([np.array(c).ravel() for c in combined])


def step(method, jacobian, present=None, shared=None):
    combined, state = method.advance(jacobian, present, shared)
    weights = state.get("task_weights")
    for name, value in state.items():
        method.state[name].assign(value)
    method.step.assign_add(1)
    return flat(combined), np.array(weights)


def test_moco_is_the_paper_s_algorithm():
    method = MoCo(tracking=0.6, learning_rate=0.2, regularization=0.01)
    method.build(THREE, variables())
    tracked, weights = None, np.full(3, 1 / 3)
    for k, (rows, jacobian) in enumerate(gradients(), 1):
        beta = 0.6 / np.sqrt(k)
        tracked = rows if tracked is None else tracked - beta * (tracked - rows)
        slope = (tracked @ tracked.T + 0.01 * np.eye(3)) @ weights
        weights = nearest(weights - 0.2 / np.sqrt(k) * slope)
        combined, found = step(method, jacobian)
        np.testing.assert_allclose(found, weights, atol=1e-5)
        np.testing.assert_allclose(combined, weights @ tracked, atol=1e-5)


def test_excess_mtl_is_the_paper_s_algorithm():
    method = ExcessMTL(learning_rate=0.3)
    method.build(THREE, variables())
    squares, initial, weights = np.zeros((3, 11)), None, np.full(3, 1 / 3)
    for rows, jacobian in gradients():
        squares += rows**2
        risk = (rows**2 / np.sqrt(squares + 1e-7)).sum(1)
        initial = risk if initial is None else initial
        weights = weights * np.exp(0.3 * risk / initial)
        weights /= weights.sum()
        combined, found = step(method, jacobian)
        np.testing.assert_allclose(found, weights, rtol=1e-5)
        np.testing.assert_allclose(combined, weights @ rows, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(method.state["weights"], weights, rtol=1e-5)


def test_excess_mtl_does_not_overflow():
    method = ExcessMTL(learning_rate=100.0)
    method.build(THREE, variables())
    for factor in (1e-8, 1.0, 1e8):
        rows = gradients(1)[0][0] * np.array([[factor], [1.0], [0.0]])
        jacobian = [rows[:, :8].reshape(3, 4, 2), rows[:, 8:]]
        combined, weights = step(method, jacobian)
        assert np.isfinite(weights).all() and np.isfinite(combined).all()
        assert weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", [MoCo, ExcessMTL])
def test_an_absent_task_keeps_what_is_known_of_it(kind):
    method = kind()
    method.build(THREE, variables())
    (_, first), (_, second), *_ = gradients()
    step(method, first)
    before = {n: np.array(v) for n, v in method.state.items()}
    for rows in second:
        rows[1] = 0.0
    combined, weights = step(method, second, present=[True, False, True])
    assert weights[1] == 0 and weights.sum() == pytest.approx(1.0)
    for name, variable in method.state.items():
        if np.array(variable).ndim and name != "task_weights":
            np.testing.assert_array_equal(np.array(variable)[1], before[name][1], err_msg=name)
    moved = [n for n, v in method.state.items() if n.startswith(("tracked", "squares"))]
    assert all(np.any(np.array(method.state[n])[0] != before[n][0]) for n in moved)
    # It has no part in the update: whatever it left behind, the others' combination is the same.
    assert np.isfinite(combined).all()


@pytest.mark.parametrize("kind", [MoCo, ExcessMTL])
def test_some_of_the_variables_alone(kind):
    """A frozen variable has no gradient; what is kept of it stays."""
    shared = variables()
    method = kind()
    method.build(THREE, shared)
    step(method, gradients()[0][1])
    name = "tracked_0" if kind is MoCo else "squares_0"
    kept, other = np.array(method.state[name]), np.array(method.state[name[:-1] + "1"])
    step(method, gradients()[1][1][1:], shared=shared[1:])
    np.testing.assert_array_equal(method.state[name], kept)
    assert np.any(np.array(method.state[name[:-1] + "1"]) != other)


@pytest.mark.parametrize("kind", [MoCo, ExcessMTL])
def test_other_variables_begin_afresh(kind):
    shared = variables()
    method = kind()
    method.build(THREE, shared)
    step(method, gradients()[0][1])
    method.build(THREE, shared)
    assert int(method.step) == 1
    method.build(THREE, variables())
    assert int(method.step) == 0
    with pytest.raises(ValueError, match=rf"`{kind.__name__}` should be built with its tasks"):
        kind().combine([np.ones((3, 2))])
    with pytest.raises(ValueError, match=rf"`wrt` should be 'parameters' for {kind.__name__}"):
        kind(wrt="features")


def test_trimmed_mean_leaves_the_extremes_out():
    rows = np.random.default_rng(0).normal(size=(7, 40))
    for trim in (0, 1, 3):
        (found,) = TrimmedMean(trim).combine([rows.reshape(7, 5, 8)])
        kept = np.sort(rows, axis=0)[trim : 7 - trim]
        np.testing.assert_allclose(np.ravel(found), kept.mean(0), rtol=1e-12)
    (median,) = TrimmedMean(100).combine([rows])
    np.testing.assert_allclose(median, np.median(rows, axis=0), rtol=1e-12)


def test_trimmed_mean_of_the_tasks_that_are_present():
    rows = np.random.default_rng(0).normal(size=(5, 9))
    present = [True, False, True, True, True]
    (found,) = TrimmedMean(1).combine([rows], present)
    np.testing.assert_allclose(found, np.sort(rows[present], axis=0)[1:3].mean(0), rtol=1e-12)
    (two,) = TrimmedMean(1).combine([rows], [True, False, True, False, False])
    np.testing.assert_allclose(two, rows[[0, 2]].mean(0), rtol=1e-12)
    (one,) = TrimmedMean(1).combine([rows], [False, False, True, False, False])
    np.testing.assert_array_equal(one, rows[2])


def test_no_single_task_pulls_the_trimmed_mean_away():
    rows = np.random.default_rng(0).normal(size=(5, 9))
    rows[3] = 1e12
    (found,) = TrimmedMean(1).combine([rows])
    others = np.delete(rows, 3, axis=0)
    assert np.all(found <= others.max(0)) and np.all(found >= others.min(0))


def test_arguments_are_checked():
    for trim in (-1, 1.5, None, True):
        with pytest.raises(ValueError, match="`trim` should be an integer of at least 0"):
            TrimmedMean(trim)
    for wrong in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match="`tracking` should be"):
            MoCo(tracking=wrong)
    with pytest.raises(ValueError, match="`learning_rate` should be a positive number"):
        ExcessMTL(learning_rate=0)


def test_dbmtl_is_the_paper_s_algorithm():
    method = DBMTL(decay=0.8)
    method.build(THREE, variables())
    inner = method.gradients
    tracked = None
    for k, (rows, jacobian) in enumerate(gradients(), 1):
        decay = 0.8 / np.sqrt(k)
        tracked = rows if tracked is None else decay * tracked + (1 - decay) * rows
        lengths = np.linalg.norm(tracked, axis=1)
        combined, found = step(inner, jacobian)
        np.testing.assert_allclose(found, lengths.max() / lengths, rtol=1e-5)
        np.testing.assert_allclose(combined, (lengths.max() / lengths) @ tracked, rtol=1e-4)
    assert int(method.step) == 5, "one counter for both parts"
    np.testing.assert_allclose(
        [float(method.losses.objective(np.array(losses))) for losses in ([1.0, 1, 1], [2.0, 3, 1])],
        [0.0, np.log(6.0)],
        atol=1e-12,
    )


def test_dbmtl_of_a_zero_gradient():
    method = DBMTL()
    method.build(THREE, variables())
    rows = gradients(1)[0][0] * np.array([[0.0], [1.0], [1e8]])
    combined, weights = step(method.gradients, [rows[:, :8].reshape(3, 4, 2), rows[:, 8:]])
    lengths = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(weights, [0, lengths[2] / lengths[1], 1], rtol=1e-5)
    assert np.isfinite(combined).all()


@pytest.mark.parametrize("kind", [MoCo, ExcessMTL])
def test_a_step_with_one_task_teaches_nothing(kind):
    method = kind()
    method.build(THREE, variables())
    (_, first), (_, second), *_ = gradients()
    step(method, first)
    before = {n: np.array(v) for n, v in method.state.items() if n not in ("step", "task_weights")}
    for rows in second:
        rows[:2] = 0.0
    step(method, second, present=[False, False, True])
    for name, value in before.items():
        np.testing.assert_array_equal(method.state[name], value, err_msg=name)
