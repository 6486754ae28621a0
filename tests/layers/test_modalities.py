"""Modality dropout, and the contrastive loss against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.layers import ContrastiveAlignment, ModalityDropout


def test_each_modality_is_dropped_at_its_rate_and_the_last_one_never():
    rng = np.random.default_rng(0)
    present = (rng.random((20000, 3)) > 0.3).astype("float32")
    left = np.array(ModalityDropout(0.4, seed=1)(present, training=True))
    assert set(np.unique(left)) <= {0.0, 1.0}
    assert not (left > present).any()
    assert ((left.sum(1) == 0) == (present.sum(1) == 0)).all()
    alone = present.sum(1) == 1
    np.testing.assert_array_equal(left[alone], present[alone])
    three = present.sum(1) == 3
    # Each is kept with 0.6; if none is (0.4 ** 3), one of the three stays.
    expected = 0.6 + 0.4**3 / 3
    np.testing.assert_allclose(left[three].mean(0), expected, atol=0.02)


def test_nothing_is_dropped_outside_training():
    present = np.array([[1.0, 0.0, 1.0]])
    for training in (False, None):
        np.testing.assert_array_equal(ModalityDropout(0.9)(present, training=training), present)
    np.testing.assert_array_equal(ModalityDropout(0.0)(present, training=True), present)


def test_the_same_seed_drops_the_same():
    present = np.ones((50, 2))
    one, other = (ModalityDropout(0.5, seed=3) for _ in range(2))
    for _ in range(2):
        found = np.array(one(present, training=True))
        np.testing.assert_array_equal(found, other(present, training=True))
    assert 0 < found.mean() < 1
    again = ModalityDropout.from_config(one.get_config())
    assert (again.rate, again.seed) == (0.5, 3)


def info_nce(u, v, temperature):
    logits = u @ v.T / temperature
    terms = [np.diag(logits) - np.log(np.exp(each).sum(1)) for each in (logits, logits.T)]
    return -np.mean(terms)


def test_the_loss_is_that_of_clip_over_the_rows_that_have_both():
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(6, 4)) for _ in range(3)]
    present = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 1, 1], [0, 0, 0]])
    layer = ContrastiveAlignment(0.7, temperature=0.5, dtype="float64")
    joint, passed = layer(x, present, training=True)
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in x]
    expected = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        both = (present[:, i] * present[:, j]) > 0
        expected.append(info_nce(units[i][both], units[j][both], 0.5))
    (loss,) = layer.losses
    np.testing.assert_allclose(loss, 0.7 * np.mean(expected))
    np.testing.assert_array_equal(passed, present)
    np.testing.assert_allclose(joint, np.stack(units, 1) * present[..., None])


def test_without_pairs_the_loss_is_zero_and_gradients_are_finite():
    layer = ContrastiveAlignment(1.0)
    x = [tf.Variable(np.zeros((3, 4), "float32")), tf.Variable(np.ones((3, 4), "float32"))]
    for present in (np.zeros((3, 2)), np.array([[1, 0], [0, 1], [0, 0]]), np.ones((3, 2))):
        with tf.GradientTape() as tape:
            layer([v.value() for v in x], present.astype("float32"), training=True)
            (loss,) = layer.losses
        assert float(loss) == 0 or present.all()
        for gradient in tape.gradient(loss, x):
            assert np.isfinite(gradient).all()


def test_no_loss_outside_training_or_without_weight():
    x = [np.eye(2), np.eye(2)]
    layer = ContrastiveAlignment(1.0)
    layer(x, np.ones((2, 2)), training=False)
    assert layer.losses == []
    layer = ContrastiveAlignment(0.0)
    layer(x, np.ones((2, 2)), training=True)
    assert layer.losses == []


def test_rows_come_together_and_half_precision_is_finite():
    rng = np.random.default_rng(0)
    for policy in ("float32", "mixed_float16"):
        layer = ContrastiveAlignment(1.0, dtype=policy)
        x = rng.normal(size=(8, 4)).astype("float32")
        losses = []
        for other in (x[::-1].copy(), x):
            layer([x, other], np.ones((8, 2)), training=True)
            losses.append(float(layer.losses[-1]))
        assert np.isfinite(losses).all() and losses[1] < 0.1 * losses[0]


def test_bad_arguments():
    with pytest.raises(ValueError, match="`rate` should be a number from 0 to below 1"):
        ModalityDropout(1.0)
    with pytest.raises(ValueError, match=r"`weight` should be a number of at least 0.*weight=-1"):
        ContrastiveAlignment(-1)
    with pytest.raises(ValueError, match="`temperature` should be a number above 0"):
        ContrastiveAlignment(1.0, temperature=0)
