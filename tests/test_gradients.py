"""The functions that differentiate, by themselves: no model, only tensors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import DWA, MGDA, Equal, GradDrop, PCGrad, Uncertainty, gradients
from mtlzoo.balancing import Balancer, GradientBalancer, LossBalancer
from mtlzoo.tasks import BinaryClassification, Regression

TASKS = [BinaryClassification("a"), Regression("b"), Regression("c")]
W, U, OWN = np.array([[0.5, -1.0], [2.0, 0.3]]), np.array([1.0, -2.0]), np.array([0.4, -0.7, 1.5])
X = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.1]])
SCALES = np.array([1.0, -2.0, 0.5])


def variables():
    shared = [keras.Variable(v, dtype="float64") for v in (W, U)]
    owned = [[keras.Variable(v, dtype="float64")] for v in OWN]
    return gradients.Variables(shared, owned)


def compute_with(found, cut=True):
    """`L_i = own_i * scale_i * mean(tanh(x W) u) ** 2`, with the features as boundary."""

    def compute(watch):
        features = tf.tanh(tf.matmul(tf.constant(X), found.shared[0].value))
        score = tf.linalg.matvec(features, found.shared[1].value)
        score = watch(score) if cut else score
        shares = [
            own[0].value * scale * tf.reduce_mean((score - shift) ** 2)
            for own, scale, shift in zip(found.owned, SCALES, (0.0, 1.0, -2.0), strict=True)
        ]
        return shares, None

    return compute


def by_hand():
    """Losses, gradients by W and u, by each task's own variable, and at the boundary: by NumPy."""
    features = np.tanh(X @ W)
    score = features @ U
    losses, rows, own, ends = [], [], [], []
    for i, shift in enumerate((0.0, 1.0, -2.0)):
        mean = np.mean((score - shift) ** 2)
        losses.append(OWN[i] * SCALES[i] * mean)
        own.append(SCALES[i] * mean)
        end = OWN[i] * SCALES[i] * 2 * (score - shift) / len(score)
        inner = X.T @ ((end[:, None] * U) * (1 - features**2))
        rows.append([inner, features.T @ end])
        ends.append(end)
    return np.array(losses), rows, np.array(own), np.array(ends)


def built(balancer):
    balancer.build(TASKS)
    return balancer


def update_of(balancer, cut, present=(True, True, True), scale=None, loss_weights=None):
    found = variables()
    found.balancer.extend(balancer.trainable_variables)
    recording = gradients.record(
        compute_with(found, cut), tf.constant(present), loss_weights=loss_weights
    )
    return recording, gradients.balanced(recording, found, balancer, scale)


def assert_shared(update, weights, scale=1.0):
    _, rows, own, _ = by_hand()
    for j in range(2):
        expected = scale * sum(w * row[j] for w, row in zip(weights, rows, strict=True))
        np.testing.assert_allclose(update.gradients[j], expected, rtol=1e-6, atol=1e-8)
    return own


class Fixed(GradientBalancer):
    def _weights(self, gramian, losses, present):
        self.seen = gramian, losses
        return keras.ops.cast(np.array([2.0, -1.0, 0.5]), gramian.dtype)


@pytest.mark.parametrize("cut", [False, True], ids=["parameters", "features"])
def test_each_task_keeps_its_own_gradient_and_the_shared_ones_are_weighted(cut):
    recording, update = update_of(built(Fixed()), cut)
    losses, *_ = by_hand()
    np.testing.assert_allclose(recording.losses, losses, rtol=1e-12)
    own = assert_shared(update, [2.0, -1.0, 0.5])
    np.testing.assert_allclose(update.gradients[2:], own, rtol=1e-12)
    np.testing.assert_array_equal(update.weights, [2.0, -1.0, 0.5])
    assert np.array(update.finite).all()


@pytest.mark.parametrize("cut", [False, True], ids=["parameters", "features"])
def test_the_gramian_is_that_of_the_gradients_at_its_level(cut):
    balancer = built(Fixed())
    update_of(balancer, cut)
    losses, rows, _, ends = by_hand()
    flat = ends if cut else np.array([np.concatenate([r.ravel() for r in row]) for row in rows])
    np.testing.assert_allclose(balancer.seen[0], flat @ flat.T, rtol=1e-10)
    np.testing.assert_allclose(balancer.seen[1], losses, rtol=1e-10)


@pytest.mark.parametrize("cut", [False, True], ids=["parameters", "features"])
def test_balancers_see_nothing_of_the_loss_scale_and_the_update_carries_it(cut):
    for balancer in (Fixed(), GradDrop(leak=1.0)):
        balancer = built(balancer)
        _, update = update_of(balancer, cut, scale=tf.constant(1024.0))
        if isinstance(balancer, Fixed):
            plain = built(Fixed())
            update_of(plain, cut)
            np.testing.assert_allclose(balancer.seen[0], plain.seen[0], rtol=1e-12)
        weights = [2.0, -1.0, 0.5] if isinstance(balancer, Fixed) else [1.0, 1.0, 1.0]
        own = assert_shared(update, weights, 1024.0)
        np.testing.assert_allclose(update.gradients[2:], 1024 * own, rtol=1e-10)


class Geometric(LossBalancer):
    """The logarithm of the squared losses: an objective that is not linear."""

    def _objective(self, losses, present):
        logs = keras.ops.log(losses**2)
        return keras.ops.sum(keras.ops.where(present, logs, keras.ops.zeros_like(logs)))


def test_an_objective_that_is_not_linear_is_differentiated_exactly():
    losses, _, own, _ = by_hand()
    _, update = update_of(built(Geometric()), cut=False)
    assert_shared(update, 2 / losses)
    np.testing.assert_allclose(update.gradients[2:], 2 / losses * own, rtol=1e-10)
    np.testing.assert_allclose(update.weights, 2 / losses, rtol=1e-10)


def test_loss_weights_come_before_the_balancer():
    losses, _, own, _ = by_hand()
    balancer = built(Fixed())
    recording, update = update_of(balancer, False, loss_weights=[3.0, 1.0, 0.5])
    np.testing.assert_allclose(recording.unweighted, losses, rtol=1e-12)
    np.testing.assert_allclose(recording.losses, losses * [3.0, 1.0, 0.5], rtol=1e-12)
    assert_shared(update, [6.0, -1.0, 0.25])
    np.testing.assert_allclose(update.gradients[2:], own * [3.0, 1.0, 0.5], rtol=1e-12)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("cut", [False, True], ids=["parameters", "features"])
@pytest.mark.parametrize("make", [Equal, DWA, Uncertainty, PCGrad, MGDA, Fixed, GradDrop])
def test_the_extra_loss_is_added_unbalanced(make, cut):
    found = variables()
    balancer = built(make())
    found.balancer.extend(balancer.trainable_variables)
    compute, present = compute_with(found, cut), tf.constant([True] * 3)
    plain = gradients.balanced(gradients.record(compute, present), found, balancer)

    def with_extra(watch):
        shares, _ = compute(watch)
        return shares, 7.0 * tf.reduce_sum(found.shared[1].value)

    scaled = gradients.balanced(gradients.record(with_extra, present), found, balancer)
    for i, (one, other) in enumerate(zip(plain.gradients, scaled.gradients, strict=True)):
        if one is not None:
            np.testing.assert_allclose(other - one, 7.0 if i == 1 else 0.0, atol=1e-6)
    assert len(plain.gradients) == len(found.all())


def test_the_gradient_of_a_balancer_is_that_of_its_objective():
    losses, *_ = by_hand()
    balancer = built(Uncertainty())
    balancer.log_variance.assign([0.1, -0.2, 0.3])
    for scale in (None, tf.constant(8.0)):
        _, update = update_of(balancer, False, scale=scale)
        factors = np.array([1.0, 0.5, 0.5])
        expected = 0.5 - factors * np.exp([-0.1, 0.2, -0.3]) * losses
        factor = 1 if scale is None else 8
        np.testing.assert_allclose(update.gradients[-1], factor * expected, rtol=1e-5)


@pytest.mark.parametrize("make", [Equal, Uncertainty, PCGrad, MGDA, GradDrop])
def test_absent_tasks_are_left_out(make):
    """Only one task is present: its gradient alone is left, whatever the method."""
    found = variables()
    balancer = built(make())
    found.balancer.extend(balancer.trainable_variables)

    def compute(watch):
        shares, extra = compute_with(found, cut=False)(watch)
        return [shares[0], tf.zeros_like(shares[1]), tf.zeros_like(shares[2])], extra

    recording = gradients.record(compute, tf.constant([True, False, False]))
    update = gradients.balanced(recording, found, balancer)
    assert_shared(update, [1.0, 0.0, 0.0])


# -- its tools --------------------------------------------------------------------------------


def test_sparse_gradients_count_a_row_that_occurs_twice_once_with_its_sum():
    table = keras.Variable(np.ones((3, 2)), dtype="float64")
    found = gradients.Variables([table], [[], []])
    ids = tf.constant([0, 0, 2])

    def compute(watch):
        taken = tf.gather(table.value, ids)
        return [tf.reduce_sum(taken), tf.reduce_sum(taken[:1] * 5)], None

    class Two(Fixed):
        def _weights(self, gramian, losses, present):
            self.seen = gramian, losses
            return keras.ops.ones_like(gramian[0])

    balancer = Two()
    balancer.build(TASKS[:2])
    recording = gradients.record(compute, tf.constant([True, True]))
    update = gradients.balanced(recording, found, balancer)
    np.testing.assert_array_equal(balancer.seen[0], [[8 + 2, 20], [20, 50]])
    np.testing.assert_array_equal(update.gradients[0], [[7, 7], [0, 0], [1, 1]])


def test_on_one_replica_a_sum_over_replicas_is_the_tensor_itself():
    assert gradients.replica_count() == 1
    tensor = tf.constant(1.0)
    assert gradients.replica_sum([tensor, None]) == [tensor, None]


def test_a_balancer_of_no_kind_is_refused():
    class Other(Balancer):
        pass

    with pytest.raises(ValueError, match="should be a `LossBalancer`, `GradientBalancer` or"):
        update_of(built(Other()), cut=False)
