"""Losses: what an identifier means, unreduced values, and gradients beside missing labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, log_softmax

from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    MultiLabelClassification,
    Regression,
    Task,
)

NAN = float("nan")
RNG = np.random.default_rng(0)


def batch(task, rows=64, gaps=0.3):
    """Labels with gaps, and outputs, in float64."""
    outputs = RNG.normal(0, 3, (rows, *task.output_shape))
    if isinstance(task, Regression):
        labels = RNG.normal(0, 3, (rows, *task.label_shape))
    else:
        labels = RNG.integers(0, getattr(task, "num_classes", 2), (rows, *task.label_shape))
    labels = np.where(RNG.random(labels.shape) < gaps, task.missing, labels)
    return labels.astype("int32") if isinstance(task, Classification) else labels, outputs


def reference(task, labels, outputs):
    """The default losses, in float64."""
    y, z = np.where(labels == labels, labels, 0).astype("float64"), outputs
    if isinstance(task, Classification):
        return -np.take_along_axis(log_softmax(z, -1), np.maximum(labels, 0)[:, None], -1)[:, 0]
    if len(task.label_shape) == 0:
        z = z[:, 0]
    if isinstance(task, Regression):
        return (y - z) ** 2
    return np.logaddexp(0, z) - y * z


KINDS = [
    BinaryClassification("a"),
    Classification("b", 5),
    MultiLabelClassification("c", 3),
    Regression("d"),
    Regression("e", dim=3),
]


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.name)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_default_losses(task, dtype):
    labels, outputs = batch(task)
    outputs = tf.cast(outputs, dtype)
    values, present, _ = task.read_labels(labels)
    ours = task.loss_values(task.loss, values, outputs)
    assert ours.shape == present.shape
    assert ours.dtype == ("float64" if dtype == "float64" else "float32")
    expected = reference(task, labels, tf.cast(outputs, "float64").numpy())
    # Keras's own float32 and float64 losses, and labels that were float32
    np.testing.assert_allclose(
        np.where(present, ours, 0), np.where(present, expected, 0), rtol=2e-5, atol=1e-5
    )
    assert 0 < np.mean(present) < 1


@pytest.mark.one_in(6)
@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.name)
@pytest.mark.parametrize("jit", [False, True])
def test_missing_and_invalid_labels_leave_loss_and_gradient_finite(task, jit):
    labels, outputs = batch(task, gaps=0.5)
    labels = labels.astype("float64" if not isinstance(task, Classification) else "int64")
    labels[:2] = 10**9 if isinstance(task, Classification) else np.inf

    @tf.function(jit_compile=jit)
    def run(labels, outputs):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            values, present, _ = task.read_labels(labels)
            loss = task.loss_values(task.loss, values, outputs)
            loss = tf.where(present, loss, tf.zeros_like(loss))
        return loss, present, tape.gradient(loss, outputs)

    loss, present, gradient = run(labels, tf.constant(outputs, "float32"))
    assert np.all(np.isfinite(loss))
    assert np.all(np.isfinite(gradient))
    moved = np.asarray(gradient) != 0
    kept = np.asarray(present).reshape(len(labels), -1)
    if kept.shape[1] == 1 or moved.shape != kept.shape:
        moved, kept = moved.any(axis=1), kept[:, 0]
    np.testing.assert_array_equal(moved, kept)


def test_probabilities():
    p = np.array([[0.2], [0.9]])
    task = BinaryClassification("a", from_logits=False)
    values = task.read_labels(np.array([1, 0])).values
    np.testing.assert_allclose(
        task.loss_values(task.loss, values, p), -np.log([0.2, 0.1]), rtol=1e-5
    )
    task = Classification("b", 2, from_logits=False)
    values = task.read_labels(np.array([1, 0])).values
    p = np.array([[0.2, 0.8], [0.9, 0.1]])
    np.testing.assert_allclose(
        task.loss_values(task.loss, values, p), -np.log([0.8, 0.9]), rtol=1e-5
    )


CELLWISE = {
    "mae": lambda y, z: np.abs(y - z),
    "mean_absolute_error": lambda y, z: np.abs(y - z),
    "MeanSquaredError": lambda y, z: (y - z) ** 2,
    "huber": lambda y, z: np.where(abs(y - z) < 1, (y - z) ** 2 / 2, abs(y - z) - 0.5),
    "log_cosh": lambda y, z: np.log(np.cosh(y - z)),
    "msle": lambda y, z: (np.log1p(np.maximum(y, 1e-7)) - np.log1p(np.maximum(z, 1e-7))) ** 2,
    keras.losses.mean_squared_error: lambda y, z: (y - z) ** 2,
    keras.losses.Huber(delta=0.1): lambda y, z: np.where(
        abs(y - z) < 0.1, (y - z) ** 2 / 2, 0.1 * abs(y - z) - 0.005
    ),
}


@pytest.mark.parametrize("identifier", CELLWISE)
def test_losses_that_keras_defines_by_cells_keep_cells(identifier):
    task = Regression("e", dim=3, loss=identifier)
    labels, outputs = batch(task)
    values, present, _ = task.read_labels(labels)
    ours = task.loss_values(task.loss, values, outputs)
    assert ours.shape == present.shape == (64, 3)
    expected = CELLWISE[identifier](np.nan_to_num(labels), outputs)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_other_losses_are_of_rows():
    task = Regression("e", dim=3, loss="cosine_similarity")
    labels, outputs = batch(task)
    values, present, _ = task.read_labels(labels)
    ours = task.loss_values(task.loss, values, outputs)
    assert ours.shape == present.shape == (64,)
    present = np.asarray(present)
    y, z = labels[present], outputs[present]
    expected = -(y * z).sum(-1) / np.linalg.norm(y, axis=-1) / np.linalg.norm(z, axis=-1)
    np.testing.assert_allclose(np.asarray(ours)[present], expected, rtol=1e-4)


def test_functions_are_taken_as_they_are():
    def of_cells(y, z):
        return 3 * keras.ops.abs(y - z)

    def to_a_number(y, z):
        return keras.ops.mean(y - z)

    for task, shape in [(Regression("d", loss=of_cells), (4, 1)), (Task("t", loss=of_cells,
                        output_shape=(2, 2)), (4, 2, 2))]:  # fmt: skip
        assert task.loss is of_cells
        values, outputs = np.zeros(shape), np.ones(shape)
        np.testing.assert_allclose(task.loss_values(task.loss, values, outputs), [3, 3, 3, 3])
    task = Regression("d", loss=to_a_number)
    with pytest.raises(ValueError, match=r"task `d` should give one value for each row.*\(\)"):
        task.loss_values(task.loss, np.zeros((4, 1)), np.zeros((4, 1)))


def test_one_hot_losses_get_one_hot_labels():
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    task = Classification("b", 5, loss=loss)
    labels, outputs = batch(task, gaps=0)
    target = np.eye(5)[labels] * 0.9 + 0.1 / 5
    ours = task.loss_values(task.loss, task.read_labels(labels).values, outputs)
    expected = -(target * log_softmax(outputs, -1)).sum(-1)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    for name in ("kl_divergence", "categorical_crossentropy", "categorical_hinge"):
        ours = task.loss_values(
            task.resolve_loss(name), task.read_labels(labels).values, expit(outputs)
        )
        assert ours.shape == (64,)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize(
    "identifier",
    [
        "binary_crossentropy",
        "bce",
        "BinaryFocalCrossentropy",
        keras.losses.BinaryCrossentropy,
        keras.losses.binary_crossentropy,
    ],
)
def test_names_get_the_logits_of_the_task(identifier, from_logits):
    task = BinaryClassification("a", from_logits=from_logits, loss=identifier)
    assert task.loss.get_config()["from_logits"] is from_logits


def test_bad_losses():
    task = BinaryClassification("a")
    with pytest.raises(ValueError, match=r"loss of task `a` should be a Keras loss.*'nonsense'"):
        task.resolve_loss("nonsense")
    with pytest.raises(ValueError, match=r"loss of task `a` should be a Keras loss.*loss=5"):
        task.resolve_loss(5)
    with pytest.raises(ValueError, match=r"`a` should not have the reduction 'sum'.*reduction="):
        task.resolve_loss(keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum"))
    with pytest.raises(ValueError, match=r"`a` should have `from_logits=True`.*from_logits=False"):
        task.resolve_loss(keras.losses.BinaryCrossentropy())
    with pytest.raises(ValueError, match=r"`b` should have `from_logits=False`.*probabilities"):
        BinaryClassification(
            "b", from_logits=False, loss=keras.losses.BinaryCrossentropy(from_logits=True)
        )
    with pytest.raises(ValueError, match=r"task `c` should be a Keras loss.*'bogus'"):
        Classification("c", 3, loss="bogus")


def test_reductions_other_than_sum_do_not_matter():
    task = Regression("d")
    for reduction in ("sum_over_batch_size", "mean", "none", None):
        loss = task.resolve_loss(keras.losses.MeanSquaredError(reduction=reduction))
        ours = task.loss_values(loss, np.zeros((3, 1)), np.array([[1.0], [2.0], [3.0]]))
        np.testing.assert_allclose(ours, [1, 4, 9])
