"""What every method on the Gramian promises, whatever it computes."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, shortest_mean, stationary_sets, tasks

from mtlzoo.balancing import (
    EMA,
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    FairGrad,
    GradientBalancer,
    GradNorm,
    GradVac,
    Krum,
    MoDo,
    NashMTL,
    PCGrad,
    SDMGrad,
    UPGrad,
)

METHODS = [
    PCGrad(seed=1),
    MGDA(),
    UPGrad(),
    DualProj(),
    CAGrad(),
    GradNorm(),
    MoDo(),
    SDMGrad(),
    FairGrad(),
    NashMTL(),
    AlignedMTL(),
    AlignedMTL("median"),
    IMTLG(),
    ConFIG(),
    Krum(),
    GradVac(seed=1),
    EMA(MGDA()),
]
# Those whose weights sum to 1; others with the scale of a mean add what takes conflicts away.
CONVEX = (MGDA, IMTLG, Krum, EMA, MoDo, SDMGrad)
# Those whose weights may be negative; whose update has a length that the gradients do not decide;
# and which have no solution, so weights of rounding, where a weighted mean of gradients is zero.
MAY_BE_NEGATIVE = (AlignedMTL, IMTLG, ConFIG)
HAVE_A_LENGTH = (FairGrad, NashMTL)
BARGAINS = (FairGrad, NashMTL)
method = pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)


def weigh(method, gramian, present=None):
    """The weights of a method, with losses for one that needs them."""
    losses = np.linspace(1.0, 2.0, gramian.shape[-1]) if "losses" in method.needs else None
    return method.weights(gramian, losses, present)


def bargains_in_vain(method, gradients):
    gradients = gradients[np.any(gradients != 0, axis=1)]
    if not isinstance(method, BARGAINS) or len(gradients) < 2:
        return False
    shortest = np.linalg.norm(gradients, axis=1).min()
    return np.linalg.norm(shortest_mean(gradients)) < 1e-6 * shortest


def eps(dtype):
    return float(np.finfo(dtype).eps)


@pytest.mark.one_in(12)
@method
@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        *((1, "float32"), (2, "float64"), (3, "float32"), (40, "float32")),
        *(
            pytest.param(size, dtype, marks=pytest.mark.slow)
            for size, dtype in ((1, "float64"), (2, "float32"), (3, "float64"), (40, "float64"))
        ),
    ],
)
def test_extremes_are_finite_and_keep_dtype_and_container(method, size, dtype):
    # For speed: forty tasks take many small operations.
    solve = tf.function(lambda gramian: weigh(method, gramian))
    for name, gradients in gradient_sets(size).items():
        gramian = (gradients @ gradients.T).astype(dtype)
        tensor = solve(tf.constant(gramian))
        assert tf.is_tensor(tensor) and tensor.dtype == dtype
        weights = tensor.numpy()
        assert weights.shape == (size,)
        assert np.all(np.isfinite(weights)), name
        assert isinstance(method, MAY_BE_NEGATIVE) or np.all(weights >= 0), name
        if isinstance(method, CONVEX):
            rounding = 20 * eps(dtype) * np.abs(weights).sum()
            assert weights.sum() == pytest.approx(1.0, abs=rounding), name
        # At lengths 1e16-fold apart the least eigenvalues, which AlignedMTL needs, are rounding.
        if name == "plain" or (name == "scales" and not isinstance(method, AlignedMTL)):
            eager = weigh(method, gramian)
            assert isinstance(eager, np.ndarray) and eager.dtype == dtype
            # Those that invert the cosines multiply rounding by their condition.
            unit = eps(dtype) * (100 if isinstance(method, MAY_BE_NEGATIVE) else 1)
            np.testing.assert_allclose(eager, weights, rtol=100 * unit, atol=20 * unit)


@pytest.mark.one_in(12)
@method
def test_one_task_is_left_alone(method):
    for square in (0.0, 1e-16, 1e16, np.nan):
        weight = weigh(method, np.array([[square]]))
        assert weight == (0.0 if np.isnan(square) else 1.0)
    for gradients in gradient_sets(4).values():
        weights = weigh(method, gradients @ gradients.T, present=[False, False, True, False])
        np.testing.assert_array_equal(weights, [0, 0, 1, 0])


@pytest.mark.one_in(12)
@method
def test_nobody_present(method):
    for gradients in gradient_sets(3).values():
        weights = weigh(method, gradients @ gradients.T, present=[False] * 3)
        np.testing.assert_array_equal(weights, np.zeros(3))
    np.testing.assert_array_equal(weigh(method, np.full((3, 3), np.nan)), np.zeros(3))


@pytest.mark.one_in(12)
@method
@pytest.mark.parametrize("name", ["plain", "scales", "low rank", "opposite", "one zero"])
def test_absent_tasks_are_left_out(method, name):
    gradients = gradient_sets(4)[name]
    gramian = gradients @ gradients.T
    kept = [1, 3]  # two of them, so that the order of PCGrad does not matter
    alone = weigh(method, gramian[np.ix_(kept, kept)])
    for hidden in (gramian[0, 0], 0.0, 1e30, np.nan, np.inf):
        other = gramian.copy()
        other[0, :] = other[:, 0] = other[2, :] = other[:, 2] = hidden
        weights = weigh(method, other, present=np.isin(range(4), kept))
        np.testing.assert_allclose(weights[kept], alone, rtol=1e-9)
        np.testing.assert_array_equal(weights[[0, 2]], 0)


@pytest.mark.one_in(4)
@method
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_left_out(method, bad):
    gradients = gradient_sets(5)["plain"]
    gramian = gradients @ gradients.T
    broken = gramian.copy()
    broken[2, :] = broken[:, 2] = bad
    absent = weigh(method, gramian, present=[True, True, False, True, True])
    np.testing.assert_allclose(weigh(method, broken), absent, rtol=1e-9)
    assert absent[2] == 0


@pytest.mark.one_in(11)
@method
def test_numbers_that_are_no_gramian_do_not_stop_training(method):
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        big = float(np.finfo(dtype).max)
        for matrix in (
            rng.normal(size=(4, 4)),
            -np.eye(4),
            np.full((4, 4), -1.0) + 2 * np.eye(4),
            np.full((4, 4), big),
            np.full((4, 4), -big) + np.diag([big] * 4),
            np.full((4, 4), float(np.finfo(dtype).tiny)),
        ):
            weights = weigh(method, matrix.astype(dtype))
            assert np.all(np.isfinite(weights))


@pytest.mark.one_in(4)
@method
def test_weights_do_not_depend_on_the_common_scale(method):
    gradients = gradient_sets(4)["plain"]
    gramian = gradients @ gradients.T
    expected = weigh(method, gramian)
    if isinstance(method, MoDo):
        return  # its learning rate is for gradients of some length
    for scale in (1e-12, 1e12):
        weights = weigh(method, scale * gramian)
        if isinstance(method, HAVE_A_LENGTH):
            weights = weights * expected.sum() / weights.sum()
        np.testing.assert_allclose(weights, expected, rtol=1e-10)


@pytest.mark.one_in(12)
@method
@pytest.mark.parametrize(
    "size", [3, *(pytest.param(size, marks=pytest.mark.slow) for size in (2, 5))]
)
def test_batch_axes(method, size):
    sets = list(gradient_sets(size).values())[:12]
    gramians = np.stack([g @ g.T for g in sets]).reshape(3, 4, size, size)
    rng = np.random.default_rng(0)
    present = rng.random((3, 4, size)) < 0.7
    solve = tf.function(lambda gramian, present: weigh(method, gramian, present))  # for speed
    for mask in (np.ones((3, 4, size), bool), present, present[0, 0]):
        together = solve(tf.constant(gramians), present=tf.constant(mask)).numpy()
        assert together.shape == (3, 4, size)
        for i, index in enumerate(np.ndindex(3, 4)):
            each = np.broadcast_to(mask, present.shape)[index]
            assert np.all(np.isfinite(together[index]))
            if bargains_in_vain(method, sets[i][each]):
                continue
            one = solve(tf.constant(gramians[index]), present=tf.constant(each))
            np.testing.assert_allclose(together[index], one, rtol=1e-6, atol=1e-12)


@pytest.mark.one_in(12)
@method
# That XLA gives the same is also seen in training, of every balancer (`tests/conformance`).
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_graph_and_xla_give_what_eager_gives(method, jit):
    method = type(method).from_config(method.get_config())  # others are tested without a build
    method.build(tasks(a="regression", b="regression", c="regression", d="regression"))
    compiled = tf.function(
        lambda gramian, present: weigh(method, gramian, present=present), jit_compile=jit
    )
    sets = gradient_sets(4)
    for step in range(2):
        method.step.assign(step)
        for name in ("plain", "ill-conditioned", "scales", "low rank", "one zero"):
            gramian = tf.constant(sets[name] @ sets[name].T)
            for present in ([True] * 4, [True, False, True, True]):
                if bargains_in_vain(method, sets[name][present]):
                    continue
                if isinstance(method, AlignedMTL) and name == "scales":
                    continue  # lengths 1e16-fold apart: the least eigenvalues are rounding
                found = compiled(gramian, tf.constant(present)).numpy()
                expected = weigh(method, gramian, present=present).numpy()
                if name == "low rank":  # many weights give the same update: rounding picks some
                    found, expected = found @ sets[name], expected @ sets[name]
                np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-12)


# PCGrad promises it for two tasks only.
@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("method", "size"),
    [(PCGrad(), 2), *((m, n) for m in (MGDA(), UPGrad(), DualProj()) for n in (2, 3, 8, 40))],
)
def test_no_conflict_is_left(method, size):
    for name, gradients in gradient_sets(size).items():
        # For equal and opposite gradients the update is rounding, of the shortest gradient in a
        # convex combination and of the longest elsewhere.
        gramian = gradients @ gradients.T
        lengths = np.sqrt(np.diag(gramian))
        unit = lengths.min() if isinstance(method, CONVEX) else lengths.max()
        inner = gramian @ method.weights(gramian)
        assert np.all(inner >= -1e-13 * size * lengths * unit), name


# Which methods stand still where a mean with positive weights is zero, so that no step serves one
# task but at the cost of another. CAGrad with a radius below 1 goes on near the mean; MoDo and
# SDMGrad come to such a mean in the long run only; the rest do not look for one.
STAND_STILL = (MGDA, UPGrad, DualProj, IMTLG, FairGrad, NashMTL, EMA)
ON_ONE_LINE = (PCGrad, GradVac)  # two gradients, or all along a line
WHERE_DIRECTIONS_CANCEL = (ConFIG,)
GO_ON = (AlignedMTL, GradNorm, Krum)


@pytest.mark.one_in(12)
@pytest.mark.parametrize("method", [*METHODS, CAGrad(1.0)], ids=repr)
def test_what_is_left_at_pareto_stationary_points(method):
    for name, gradients in stationary_sets().items():
        lengths = np.linalg.norm(gradients, axis=1)
        units = gradients / lengths[:, None]
        still = isinstance(method, STAND_STILL)
        still |= isinstance(method, CAGrad) and method.c >= 1.0
        line = np.linalg.matrix_rank(gradients) == 1
        still |= isinstance(method, ON_ONE_LINE) and line
        cancel = np.linalg.norm(units.sum(0)) < 1e-9
        still |= isinstance(method, WHERE_DIRECTIONS_CANCEL) and cancel
        for dtype, bound in (("float32", 1e-5), ("float64", 1e-12)):
            weights = weigh(method, (gradients @ gradients.T).astype(dtype)).astype("float64")
            update, parts = weights @ gradients, np.abs(weights) @ lengths
            if still:
                assert np.linalg.norm(update) <= bound * parts, name
            elif isinstance(method, CAGrad):
                mean = gradients.mean(0)
                short = (1 - method.c) * np.linalg.norm(mean)
                assert np.linalg.norm(update) >= short - bound * parts, name
                assert np.min(gradients @ update) >= np.min(gradients @ mean), name
            elif isinstance(method, (*GO_ON, *ON_ONE_LINE, *WHERE_DIRECTIONS_CANCEL)):
                assert np.linalg.norm(update) > 1e-2 * parts, name
            else:
                assert isinstance(method, MoDo | SDMGrad)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("method", [FairGrad(), FairGrad(3.0), NashMTL(), ConFIG()], ids=repr)
@pytest.mark.parametrize("size", [2, 3, 8])
def test_every_task_gains_where_gradients_are_independent(method, size):
    for name in ("plain", "wide", "positive", "almost aligned"):
        gradients = gradient_sets(size)[name]
        gramian = gradients @ gradients.T
        update = gramian @ method.weights(gramian)
        assert np.all(update > 1e-3 * np.abs(update).max()), name


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("method", "size"),
    [
        *((m, n) for m in (MGDA(), UPGrad(), DualProj()) for n in (2, 6)),
        *((PCGrad(), 2), (GradVac(), 2), (FairGrad(), 6), (NashMTL(), 6), (MoDo(), 6)),
        *(
            (AlignedMTL(), 6),
            (AlignedMTL("rmse"), 6),
            (IMTLG(), 6),
            (ConFIG(), 6),
            (Krum(1), 6),
            (CAGrad(), 6),
        ),
    ],
)
def test_permuting_tasks_permutes_weights(method, size):
    gradients = gradient_sets(size)["plain"]
    gramian = gradients @ gradients.T
    order = np.random.default_rng(3).permutation(size)[::-1]
    np.testing.assert_allclose(
        method.weights(gramian[np.ix_(order, order)]), method.weights(gramian)[order], rtol=1e-10
    )


@method
def test_shapes_are_checked(method):
    fresh = type(method).from_config(method.get_config())
    with pytest.raises(ValueError, match=r"shape \(\.\.\., T, T\).*`gramian.shape=\(3, 4\)`"):
        fresh.weights(np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"Received: `gramian.shape=\(3,\)`"):
        fresh.weights(np.ones(3))
    with pytest.raises(ValueError, match=r"float32 or float64. Received: `gramian.dtype=int64`"):
        fresh.weights(np.ones((3, 3), "int64"))
    with pytest.raises(ValueError, match=r"`present` should have 3 entries, one per task"):
        weigh(fresh, np.eye(3), present=[True, False])
    with pytest.raises(ValueError, match=r"`losses` should have 3 entries, one per task"):
        fresh.weights(np.eye(3), losses=[1.0])
    fresh.build(tasks(a="regression", b="regression"))
    with pytest.raises(ValueError, match=r"one row for each of the tasks \['a', 'b'\].*\(3, 3\)"):
        fresh.weights(np.eye(3))


@pytest.mark.parametrize("averages", [False, True])
def test_weights_that_fail_become_equal_ones(averages):
    class Failing(GradientBalancer):
        def _weights(self, gramian, losses, present):
            return gramian[..., 0] * np.nan

    Failing.averages = averages
    weights = Failing().weights(np.eye(4), present=[True, False, True, True])
    np.testing.assert_allclose(weights, np.array([1, 0, 1, 1]) / (3 if averages else 1))


def test_a_method_sees_sanitised_input():
    seen = {}

    class Spy(GradientBalancer):
        def _weights(self, gramian, losses, present):
            seen.update(gramian=np.array(gramian), losses=np.array(losses), present=present)
            return gramian[..., 0]

    gramian = np.ones((3, 3))
    gramian[1] = gramian[:, 1] = np.nan
    Spy().weights(gramian, losses=[1.0, 2.0, 3.0], present=[True, True, True])
    np.testing.assert_array_equal(seen["gramian"], [[1, 0, 1], [0, 0, 0], [1, 0, 1]])
    np.testing.assert_array_equal(seen["present"], [True, False, True])
    np.testing.assert_array_equal(seen["losses"], [1, 2, 3])
