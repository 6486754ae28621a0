"""PCD against SciPy's non-negative least squares on the gradients themselves."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, tasks
from scipy.optimize import minimize, nnls

from mtlzoo import balancing
from mtlzoo.balancing import PCD

# What rounding of float32 makes of nearly dependent gradients; see the tests of UPGrad.
LOOSE = {"ill-conditioned", "low rank"}


def built(size=2, primary=0, **arguments):
    names = [f"t{i:02d}" for i in range(size)]
    method = PCD(names[primary], **arguments)
    method.build(tasks(**dict.fromkeys(names, "regression")))
    return method


def reference(gradients, tau, first=0, epsilon=1e-8):
    """The update of a first step, and whether all conditions can be met, with how much room."""
    lengths = np.linalg.norm(gradients, axis=1)
    rows = gradients / np.sqrt(lengths**2 + epsilon)[:, None]
    lead, others = rows[first], np.delete(rows, first, axis=0)
    others = others[np.linalg.norm(others, axis=1) > 0]
    if len(others) == 0:
        return gradients[first], 0
    bounds = np.broadcast_to(tau, len(rows) - 1)[: len(others)] * (others**2).sum(1) - others @ lead
    norms = np.linalg.norm(others, axis=1)
    bounds, units = bounds / norms, others / norms[:, None]
    unit = np.abs(bounds).max(initial=1e-300)
    system = np.concatenate([units.T, bounds[None] / unit])
    right = np.append(np.zeros(gradients.shape[1]), 1.0)
    solution, residual = nnls(system, right, maxiter=4000)
    step = lead
    if residual > 1e-7:
        step = lead + unit * (solution @ units) / (1 - system[-1] @ solution)
    length = np.linalg.norm(step)
    zero = length <= 1e-7 * (np.linalg.norm(lead) + np.linalg.norm(step - lead))
    return step * 0 if zero else step * lengths[first] / length, residual


@pytest.mark.one_in(6)
@pytest.mark.parametrize("size", [2, 3, 8, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_first_step(size, dtype):
    method = built(size, primary=size - 1, tau=0.3)
    solve = tf.function(method.weights)
    seen = 0
    for seed in range(3):
        for name, gradients in gradient_sets(size, seed).items():
            expected, residual = reference(gradients, 0.3, first=size - 1)
            if 1e-7 < residual < 3e-2:
                continue  # whether the conditions can be met is decided by rounding of float32
            weights = solve(tf.constant((gradients @ gradients.T).astype(dtype)))
            seen += 1
            assert np.all(weights >= 0)
            error = np.linalg.norm(weights.numpy() @ gradients - expected)
            error /= max(np.linalg.norm(gradients[-1]), 1e-300)
            bound = 1e-4 if dtype == "float32" else 1e-6
            if name in LOOSE and dtype == "float32":
                bound = 2e-2
            assert error < bound, f"{name}, seed {seed}: {error}, {residual}"
    assert seen > 35


@pytest.mark.parametrize("size", [2, 3, 5])
def test_agrees_with_a_general_solver(size):
    rng = np.random.default_rng(size)
    gradients = rng.normal(size=(size, size + 3))
    rows = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    tau = 0.5
    found = minimize(
        lambda y: np.sum((y - rows[0]) ** 2),
        rows[0],
        jac=lambda y: 2 * (y - rows[0]),
        constraints={
            "type": "ineq",
            "fun": lambda y: rows[1:] @ y - tau,
            "jac": lambda y: rows[1:],
        },
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success and np.linalg.norm(found.x - rows[0]) > 0.1
    expected = found.x * np.linalg.norm(gradients[0]) / np.linalg.norm(found.x)
    weights = built(size, tau=tau, epsilon=0.0).weights(gradients @ gradients.T)
    np.testing.assert_allclose(weights @ gradients, expected, atol=1e-6)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_promises(size):
    """Its length is that of the primary gradient, and all others progress."""
    for seed in range(5):
        gradients = gradient_sets(size, seed)["plain"]
        gramian = gradients @ gradients.T
        weights = built(size, tau=0.1, epsilon=0.0).weights(gramian)
        np.testing.assert_allclose(weights @ gramian @ weights, gramian[0, 0], rtol=1e-12)
        lengths = np.sqrt(np.diag(gramian))
        # Of d̃, which has the weight 1 for the primary task's normalised gradient.
        before = gramian @ weights / (weights[0] * lengths[0])
        assert np.all(before[1:] > 0.1 * lengths[1:] * (1 - 1e-9))


def test_golden_values():
    # |g̃₁| = |g̃₂| = 1 with the inner product −1/2: d̃ = g̃₁ + 0.7 g̃₂ has 0.2 with g̃₂.
    weights = built(tau=0.2, epsilon=0.0).weights(np.array([[4.0, -1.0], [-1.0, 1.0]]))
    length = np.sqrt(1 + 0.7**2 - 0.7)
    np.testing.assert_allclose(weights, [1 / length, 1.4 / length], rtol=1e-12)
    # Without conflict beyond tau, the primary gradient alone.
    np.testing.assert_array_equal(built().weights(np.array([[4.0, 1.0], [1.0, 1.0]])), [1, 0])


def test_what_cannot_be_done():
    primary = np.array([1.0, 1.0])
    for dtype in ("float32", "float64"):
        # Two others that are opposite cannot both progress.
        gradients = np.array([primary, [1.0, 0.5], [-2.0, -1.0]])
        gramian = (gradients @ gradients.T).astype(dtype)
        np.testing.assert_allclose(built(3).weights(gramian), [1, 0, 0], rtol=1e-6)
        # With tau = 0 they can: both stand still.
        update = built(3, tau=0.0).weights(gramian) @ gradients
        across = np.array([-0.5, 1.0]) / np.sqrt(1.25)
        np.testing.assert_allclose(update, np.sqrt(2) * across, rtol=1e-5)
        # Nothing of the primary gradient is left, or there is none.
        gradients = np.array([primary, -3 * primary])
        gramian = (gradients @ gradients.T).astype(dtype)
        np.testing.assert_array_equal(built(tau=0.0).weights(gramian), [0, 0])
        np.testing.assert_array_equal(built().weights(np.diag([0.0, 1.0]).astype(dtype)), [0, 0])
        # An other task's zero gradient gives no condition.
        np.testing.assert_allclose(built().weights(np.diag([2.0, 0.0]).astype(dtype)), [1, 0], 1e-6)


def test_lengths_of_the_others_do_not_matter():
    gradients = gradient_sets(4, seed=1)["plain"]
    expected = built(4, tau=0.2, epsilon=0.0).weights(gradients @ gradients.T) @ gradients
    far = gradients * np.array([1.0, 1e-8, 1e8, 1e3])[:, None]
    update = built(4, tau=0.2, epsilon=0.0).weights(far @ far.T) @ far
    np.testing.assert_allclose(update, expected, rtol=1e-9)


def test_averages_over_steps():
    method = built(beta=0.9, tau=0.0, epsilon=0.0)
    squares = np.random.default_rng(0).exponential(size=(5, 2)).astype("float32")
    for step in range(5):
        _, values = method.advance(np.diag(squares[step]))
        for name, value in values.items():
            method.learned[name].assign(value)
        powers = 0.9 ** np.arange(step, -1, -1.0)
        expected = powers @ squares[: step + 1] / powers.sum()
        np.testing.assert_allclose(method.mean_squares, expected, rtol=1e-5)
    np.testing.assert_array_equal(method.updates, [5, 5])
    # They decide the scales: an average of 4 and 1 where the present squares are 1 and 1.
    method.mean_squares.assign([4.0, 1.0])
    method.updates.assign([1e6, 1e6])
    weights = PCD.weights(method, np.array([[1.0, -0.5], [-0.5, 1.0]]))
    mean = 0.9 * np.array([4.0, 1.0]) + 0.1
    moved = np.array([1 / np.sqrt(mean[0]), 0.5 / np.sqrt(mean[0])])
    np.testing.assert_allclose(weights, moved / np.sqrt(moved @ moved - np.prod(moved)), rtol=1e-6)


def test_absent_tasks():
    method = built(4, tau=0.2)
    gradients = gradient_sets(4)["sum to zero"]
    gramian = gradients @ gradients.T
    weights, values = method.advance(gramian, present=[True, True, False, True])
    kept = [0, 1, 3]
    alone = built(3, tau=0.2).weights(gramian[np.ix_(kept, kept)])
    np.testing.assert_allclose(np.array(weights)[kept], alone, rtol=1e-9)
    assert weights[2] == 0
    np.testing.assert_array_equal(values["updates"], [1, 1, 0, 1])
    np.testing.assert_allclose(values["mean_squares"], np.diag(gramian) * [1, 1, 0, 1], rtol=1e-6)
    weights, values = method.advance(gramian, present=[False, True, True, False])
    np.testing.assert_array_equal(weights, [0, 0.5, 0.5, 0])
    np.testing.assert_array_equal(values["updates"], [0, 1, 1, 0])
    _, values = method.advance(gramian, present=[True, False, False, False])
    np.testing.assert_array_equal(values["updates"], 0)
    broken = gramian.copy()
    broken[2, :] = broken[:, 2] = np.nan
    np.testing.assert_allclose(method.weights(broken)[kept], alone, rtol=1e-9)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_graph_and_xla_give_what_eager_gives(jit, dtype):
    method = built(4, tau=0.2)
    compiled = tf.function(method.weights, jit_compile=jit)
    sets = list(gradient_sets(4).values())
    gramians = np.stack([g @ g.T for g in sets]).astype(dtype)
    together = method.weights(gramians)
    assert together.dtype == dtype and np.all(np.isfinite(together))
    for gradients, gramian, one in zip(sets, gramians, together, strict=True):
        longest = np.linalg.norm(gradients, axis=1).max()
        for weights in (method.weights(gramian), compiled(tf.constant(gramian)).numpy()):
            bound = (1e-2 if dtype == "float32" else 1e-10) * longest
            np.testing.assert_allclose(weights @ gradients, one @ gradients, atol=bound)


def test_groups_have_averages_of_their_own():
    dense = [keras.Variable(np.ones(2), name=n) for n in ("one", "two")]
    method = PCD("a", groups={"first": ["one"], "second": ["two"]})
    method.build(tasks(a="regression", b="regression"), dense)
    assert method.mean_squares.shape == method.updates.shape == (2, 2)
    gramians = np.stack([np.diag([1.0, 2.0]), np.diag([3.0, 4.0])])
    _, values = method.advance(gramians)
    np.testing.assert_allclose(values["mean_squares"], [[1, 2], [3, 4]], rtol=1e-6)


def test_tau_by_task():
    gradients = gradient_sets(3, seed=2)["sum to zero"]
    gramian = gradients @ gradients.T
    method = built(3, primary=1, tau={"t00": 0.4, "t02": 0.1})
    expected, residual = reference(gradients, np.array([0.4, 0.1]), first=1)
    assert residual == 0 or residual > 1e-3
    np.testing.assert_allclose(method.weights(gramian) @ gradients, expected, atol=1e-9)


def test_config_survives():
    method = PCD("b", tau={"a": 0.1}, beta=0.5, epsilon=1e-4, every=2)
    again = balancing.get(keras.saving.serialize_keras_object(method))
    assert isinstance(again, PCD) and again.get_config() == method.get_config()
    assert "pcd" not in balancing.names()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"primary": 3}, r"`primary` should be the name of a task. Received: `primary=3`"),
        ({"primary": ""}, r"`primary` should be the name of a task"),
        ({"tau": 1.5}, r"`tau` should be a number from 0 to 1.*Received: `tau=1.5`"),
        ({"tau": {"b": -1}}, r"`tau` should be a number from 0 to 1"),
        ({"tau": True}, r"`tau` should be a number from 0 to 1"),
        ({"beta": 1.0}, r"`beta` should be a number from 0 to below 1. Received: beta=1.0"),
        ({"epsilon": -1.0}, r"`epsilon` should be a number of at least 0. Received: epsilon=-1"),
        ({"epsilon": np.nan}, r"`epsilon` should be a number of at least 0"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        PCD(**{"primary": "a", **arguments})


def test_names_are_checked_before_anything_changes():
    method = PCD("a", tau={"b": 0.1, "c": 0.1})
    with pytest.raises(ValueError, match=r"`PCD` should be built with its tasks before it is used"):
        method.weights(np.eye(3))
    with pytest.raises(ValueError, match=r"each of the tasks \['b', 'd'\]. Received: `tau=\{'b'"):
        method.build(tasks(a="regression", b="regression", d="regression"))
    with pytest.raises(ValueError, match=r"one of the tasks \['b', 'c'\]. Received: `primary='a'"):
        method.build(tasks(b="regression", c="regression"))
    assert not method.built and method.task_names == ()
