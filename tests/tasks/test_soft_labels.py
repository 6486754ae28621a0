"""Labels of `Classification` that are distributions over the classes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from mtlzoo import HardSharing
from mtlzoo.tasks import Classification, Regression

NAN = float("nan")
LABELS = np.array([[0.5, 0.5, 0], [0, 0.1, 0.9], [-1, -1, -1], [0.5, 0.2, 0.2], [1, -1, 1]], "f4")
LOGITS = np.array([[1.0, 2.0, -1.0], [0.0, 3.0, 1.0], [2.0, 2.0, 2.0], [1, 0, 0], [0, 0, 1]], "f4")


def test_distributions_missing_and_illegal_rows_are_told_apart():
    read = Classification("kind", 3).read_labels(LABELS)
    assert read.present.numpy().tolist() == [True, True, False, False, False]
    assert read.invalid.numpy().tolist() == [False, False, False, True, True]
    np.testing.assert_array_equal(read.values[:2], LABELS[:2])
    holes = np.where(LABELS[:3] < 0, NAN, LABELS[:3])
    present = Classification("kind", 3, missing=NAN).read_labels(holes).present
    assert present.numpy().tolist() == [True, True, False]


def test_nested_lists_are_distributions_too():
    read = Classification("kind", 2).read_labels([[0.25, 0.75]])
    assert read.values.numpy().tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize("loss", [None, keras.losses.CategoricalCrossentropy(from_logits=True)])
def test_the_loss_is_the_cross_entropy_of_the_distribution(loss):
    task = Classification("kind", 3, loss=loss)
    read = task.read_labels(LABELS[:2])
    found = task.loss_values(task.loss, read.values, LOGITS[:2])
    expected = -(LABELS[:2] * log_softmax(LOGITS[:2].astype("float64"), axis=1)).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_ids_and_certain_distributions_have_the_same_loss():
    task = Classification("kind", 3, from_logits=False)
    outputs = np.array([[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]], "float32")
    ids = task.loss_values(task.loss, task.read_labels([2, 0]).values, outputs)
    soft = task.read_labels(np.eye(3, dtype="float32")[[2, 0]]).values
    np.testing.assert_allclose(task.loss_values(task.loss, soft, outputs), ids, rtol=1e-6)


def test_metrics_see_the_most_probable_class():
    task = Classification("kind", 3, metrics=["accuracy"])
    (metric,) = task.metrics()
    task.update_metric(metric, LABELS[:2], LOGITS[:2], np.ones(2, "float32"))
    assert float(metric.result()) == 0.0
    task.update_metric(metric, LABELS[1:2, ::-1], LOGITS[3:4], np.ones(1, "float32"))
    assert float(metric.result()) == pytest.approx(1 / 3)


@pytest.mark.slow
def test_a_model_learns_from_distributions_in_fit():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
    y = {
        "kind": rng.dirichlet(np.ones(3), 64).astype("float32"),
        "value": x[:, :1],
    }
    y["kind"][::2] = -1
    tasks = [Classification("kind", 3), Regression("value")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=[8])
    model.compile("adam")
    model.fit(x, y, batch_size=32, epochs=1, verbose=0)
    logs = model.evaluate(x, y, batch_size=64, verbose=0, return_dict=True)
    logits = model.predict(x, verbose=0)["kind"][1::2].astype("float64")
    expected = -(y["kind"][1::2] * log_softmax(logits, axis=1)).sum(1).mean()
    assert logs["kind_loss"] == pytest.approx(expected, rel=1e-5)


def test_a_loss_of_ids_is_refused():
    task = Classification("kind", 3, loss=lambda y_true, y_pred: y_pred[:, 0])
    with pytest.raises(ValueError, match=r"task `kind` should be a cross-entropy.*<lambda>"):
        task.loss_values(task.loss, task.read_labels(LABELS).values, LOGITS)


def test_whole_numbers_are_refused():
    with pytest.raises(ValueError, match=r"or \(None, 3\) with the probabilities .*int32"):
        Classification("kind", 3).check_labels(np.eye(3, dtype="int32"))
    with pytest.raises(ValueError, match="should have shape"):
        Classification("kind", 3).check_labels(tf.zeros((2, 4)))
