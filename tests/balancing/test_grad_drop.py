"""GradDrop against its formula, written out in NumPy with Python's integers for the hash."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import scrambled, tasks

from mtlzoo.balancing import GradDrop, JacobianBalancer

SHAPES = [(4, 3), (5,), ()]


def jacobian(seed=0, size=3, dtype="float64", shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(size, *shape)).astype(dtype) for shape in shapes]


def uniforms(seed, step, shapes, shared_rows=False):
    """The random numbers, from the definition in the module."""
    starts = np.random.default_rng(seed).integers(2**32, size=len(shapes), dtype=np.uint32)
    result = []
    for start, shape in zip(starts.tolist(), shapes, strict=True):
        shape = (1, *shape[1:]) if shared_rows else shape
        key = scrambled((start + step * 0x9E3779B9) % 2**32)
        bits = [scrambled((key + index) % 2**32) >> 9 for index in range(int(np.prod(shape)))]
        result.append(((np.array(bits) + 0.5) / 2**23).reshape(shape))
    return result


def formula(rows, uniform, leak):
    total = np.abs(rows).sum(0)
    purity = np.full(total.shape, 0.5)
    np.divide(rows.sum(0), total, out=purity, where=total > 0)
    purity = np.where(total > 0, 0.5 * (1 + purity), 0.5)
    combined = np.zeros(total.shape)
    for i, row in enumerate(rows):
        kept = (row > 0) * (purity > uniform) + (row < 0) * (purity < uniform)
        combined += (leak[i] + (1 - leak[i]) * kept) * row
    return combined


@pytest.mark.parametrize("leak", [0.0, 0.25, {"a": 0.0, "b": 0.5, "c": 1.0}])
def test_equals_the_formula(leak):
    method = GradDrop(seed=4, leak=leak)
    method.build(tasks(a="regression", b="regression", c="regression"))
    values = list(leak.values()) if isinstance(leak, dict) else [leak] * 3
    for step in (0, 1, 77):
        method.step.assign(step)
        gradients = jacobian(step)
        combined = method.combine(gradients)
        for rows, got, uniform in zip(gradients, combined, uniforms(4, step, SHAPES), strict=True):
            np.testing.assert_allclose(got, formula(rows, uniform, values), rtol=1e-12, atol=1e-14)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("jit", [False, True])
def test_graph_and_xla_give_what_eager_gives(jit):
    method = GradDrop(seed=1, leak=0.1)
    method.build(tasks(a="regression", b="regression", c="regression"))
    compiled = tf.function(lambda rows, present: method.combine(rows, present), jit_compile=jit)
    for step in (0, 5):
        method.step.assign(step)
        for present in ([True, True, True], [True, False, True]):
            gradients = [tf.constant(rows) for rows in jacobian(step)]
            got = compiled(gradients, tf.constant(present))
            for one, other in zip(got, method.combine(gradients, present), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_at_features_level_all_rows_of_the_batch_share_a_number():
    method = GradDrop(seed=2, wrt="features")
    shapes = [(6, 3, 2)]
    (rows,) = jacobian(3, shapes=shapes)
    (uniform,) = uniforms(2, 0, shapes, shared_rows=True)
    (whole,) = method.combine([rows])
    np.testing.assert_allclose(whole, formula(rows, uniform, [0.0] * 3), rtol=1e-12)
    # so that it does not matter which replica has which rows, and the batch may be of any size
    parts = [method.combine([part])[0] for part in np.split(rows, [2], axis=1)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    dynamic = tf.function(
        lambda x: method.combine([x])[0],
        input_signature=[tf.TensorSpec((3, None, 3, 2), "float64")],
    )
    np.testing.assert_allclose(dynamic(rows), whole, rtol=1e-12)


def test_without_conflict_or_with_full_leak_it_is_the_sum():
    gradients = jacobian()
    for rows, got in zip(gradients, GradDrop(leak=1.0).combine(gradients), strict=True):
        np.testing.assert_allclose(got, rows.sum(0), rtol=1e-12)
    positive = [np.abs(rows) for rows in gradients]
    for sign in (1, -1):
        got = GradDrop().combine([sign * rows for rows in positive])
        for rows, one in zip(positive, got, strict=True):
            np.testing.assert_allclose(one, sign * rows.sum(0), rtol=1e-12)


def test_keeps_a_sign_in_proportion_to_its_weight():
    rows = np.stack([np.full(100_000, 3.0), np.full(100_000, -1.0)]).astype("float32")
    (got,) = GradDrop().combine([rows])
    assert set(np.unique(got)) == {-1.0, 3.0}
    # P = 3/4; the standard deviation of the mean is 0.0014
    assert np.mean(np.asarray(got) > 0) == pytest.approx(0.75, abs=0.007)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_keeps_the_dtype(dtype):
    for got in GradDrop().combine(jacobian(dtype=dtype)):
        assert got.dtype == dtype


def test_absent_and_non_finite_rows_are_left_out():
    gradients = jacobian(size=4)
    without = GradDrop().combine([rows[[0, 2, 3]] for rows in gradients])
    for got, expected in zip(
        GradDrop().combine(gradients, [True, False, True, True]), without, strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    for bad in (np.nan, np.inf):
        broken = [rows.copy() for rows in gradients]
        broken[1][1, 2] = bad  # one entry of one variable condemns the task
        for got, expected in zip(GradDrop().combine(broken), without, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12)


class Zero(JacobianBalancer):
    def _combine(self, jacobian, present):
        return [0.0 * rows[0] for rows in jacobian]


@pytest.mark.parametrize("method", [GradDrop(), Zero()], ids=["GradDrop", "Zero"])
def test_one_present_task_keeps_its_gradient(method):
    gradients = jacobian()
    got = method.combine(gradients, [False, True, False])
    for rows, one in zip(gradients, got, strict=True):
        np.testing.assert_array_equal(one, rows[1])
    for rows, one in zip(gradients, method.combine(gradients, [False] * 3), strict=True):
        np.testing.assert_array_equal(one, np.zeros(rows.shape[1:]))
    for rows, one in zip(gradients, method.combine([r[:1] for r in gradients]), strict=True):
        np.testing.assert_array_equal(one, rows[0])


def test_extremes_are_finite():
    for rows in (
        np.zeros((3, 5)),
        np.full((3, 5), 1e-300),
        np.array([[1e300, 1e-300, 0.0], [-1e300, 1e300, 0.0]]),
        np.random.default_rng(0).normal(size=(40, 7)),
    ):
        (got,) = GradDrop().combine([rows])
        assert np.all(np.isfinite(got))
    assert GradDrop().combine([]) == []


def test_errors():
    for leak in (-0.1, 1.5, "half", {"a": 2.0}, np.nan):
        with pytest.raises(ValueError, match=r"`leak` should be between 0 and 1. Received: `leak="):
            GradDrop(leak=leak)
    with pytest.raises(ValueError, match=r"each of the tasks \['a', 'b'\]. Received: `leak="):
        GradDrop(leak={"a": 0.5}).build(tasks(a="regression", b="regression"))
    with pytest.raises(ValueError, match="should be built before use"):
        GradDrop(leak={"a": 0.5}).combine([np.ones((1, 2))])
    with pytest.raises(ValueError, match=r"should have 3 rows.*of shape \(2, 5\)"):
        GradDrop().combine([np.ones((3, 5)), np.ones((2, 5))])
    with pytest.raises(ValueError, match=r"`present` should have 3 entries"):
        GradDrop().combine([np.ones((3, 5))], [True])
