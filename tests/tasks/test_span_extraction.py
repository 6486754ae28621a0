"""SpanExtraction: labels, loss, metrics, head with masks, answers."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from mtlzoo.metrics.spans import best_span
from mtlzoo.tasks import BinaryClassification, SpanExtraction, by_name

NAN = float("nan")
TASK = SpanExtraction("answer")


def batch(seed=0, rows=20, steps=7):
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.integers(0, steps, (rows, 2)), axis=1)
    outputs = rng.normal(0, 1, (rows, steps, 2))
    outputs[np.arange(rows // 2), labels[: rows // 2, 0], 0] += 3
    outputs[np.arange(rows // 2), labels[: rows // 2, 1], 1] += 2
    return labels, outputs


def best(outputs):
    """By trying all."""
    found = []
    for row in outputs:
        pairs = [p for p in itertools.product(range(len(row)), repeat=2) if p[0] <= p[1]]
        found.append(max(pairs, key=lambda p: row[p[0], 0] + row[p[1], 1]))
    return np.array(found)


def test_labels():
    labels = np.array([[0, 3], [2, 2], [-1, -1], [4, -1], [-1, 0], [3, 1], [-2, 1]])
    values, present, invalid = TASK.read_labels(labels)
    assert np.asarray(values)[:2].tolist() == [[0, 3], [2, 2]]
    assert np.asarray(values).min() >= 0
    assert np.asarray(present).tolist() == [True, True, False, False, False, False, False]
    assert np.asarray(invalid).tolist() == [False, False, False, False, False, True, True]
    task = SpanExtraction("answer", missing=NAN)
    _, present, invalid = task.read_labels(np.array([[0, 1], [NAN, 1], [0, 0.5], [0, np.inf]]))
    assert np.asarray(present).tolist() == [True, False, False, False]
    assert np.asarray(invalid).tolist() == [False, False, True, True]


@pytest.mark.parametrize("loss", [None, keras.losses.CategoricalCrossentropy(from_logits=True)])
def test_the_loss_against_numpy(loss):
    labels, outputs = batch()
    task = SpanExtraction("answer", loss=loss)
    found = task.loss_values(task.loss, task.read_labels(labels).values, outputs)
    logs = log_softmax(outputs, axis=1)
    rows = np.arange(20)
    expected = -(logs[rows, labels[:, 0], 0] + logs[rows, labels[:, 1], 1]) / 2
    assert found.dtype == "float64"
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_loss_of_a_label_beyond_the_sequence_is_not_a_number():
    outputs = np.zeros((2, 4, 2))
    for function in (TASK.loss_values, tf.function(TASK.loss_values, jit_compile=True)):
        found = function(TASK.loss, tf.constant([[0, 3], [1, 4]]), tf.constant(outputs))
        np.testing.assert_allclose(found, [np.log(4), NAN])


def test_the_best_span_is_legal_and_the_best():
    _, outputs = batch(1, rows=200)
    expected = best(outputs)
    spec = tf.TensorSpec((None, None, 2), tf.float64)
    for function in (best_span, tf.function(best_span, input_signature=[spec])):
        found = np.stack([np.asarray(part) for part in function(outputs)], -1)
        np.testing.assert_array_equal(found, expected)
    assert (np.argmax(outputs[..., 0], 1) > np.argmax(outputs[..., 1], 1)).any()


def test_metrics_against_numpy():
    labels, outputs = batch(2)
    weights = np.random.default_rng(0).uniform(0, 2, 20) * (np.arange(20) % 3 > 0)
    exact, f1 = TASK.metrics()
    for part in np.split(np.arange(20), 2):
        values = TASK.read_labels(labels[part]).values
        for metric in (exact, f1):
            TASK.update_metric(metric, values, outputs[part].astype("float32"), weights[part])
    scores = []
    for (start, end), (first, last) in zip(labels, best(outputs), strict=True):
        one, other = set(range(start, end + 1)), set(range(first, last + 1))
        scores.append(2 * len(one & other) / (len(one) + len(other)))
    hits = (best(outputs) == labels).all(1)
    assert 0 < hits.mean() < 1
    assert float(exact.result()) == pytest.approx(np.average(hits, weights=weights), rel=1e-5)
    assert float(f1.result()) == pytest.approx(np.average(scores, weights=weights), rel=1e-5)
    assert (TASK.monitor, TASK.mode) == ("overlap_f1", "max")


@pytest.mark.parametrize("masks", [False, True])
def test_masked_positions_are_never_found(masks):
    tokens = keras.Input((5,), dtype="int32")
    features = keras.layers.Embedding(9, 4, mask_zero=masks)(tokens)
    model = keras.Model(tokens, TASK.head(features))
    assert [layer.name for layer in model.layers[-2:]] == ["answer_projection", "answer"]
    outputs = np.asarray(model(np.array([[3, 4, 5, 0, 0]])))
    assert outputs.shape == (1, 5, 2)
    assert (outputs[0, 3:] == -1e4).all() == masks
    assert (abs(outputs[0, :3]) < 10).all()
    probabilities = np.asarray(TASK.serve(outputs)["answer"])
    assert (probabilities[0, 3:] == 0).all() == masks


def test_serve():
    _, outputs = batch()
    served = TASK.serve(outputs.astype("float32"))
    np.testing.assert_allclose(served["answer"], softmax(outputs, axis=1), rtol=1e-4)
    np.testing.assert_array_equal(served["answer_start"], best(outputs)[:, 0])
    np.testing.assert_array_equal(served["answer_end"], best(outputs)[:, 1])
    assert served["answer_start"].dtype == served["answer_end"].dtype == "int64"


@pytest.mark.parametrize(
    ("do", "text"),
    [
        (lambda: SpanExtraction("answer", missing=0), r"`missing` of task `answer` should not be"),
        (lambda: SpanExtraction("answer", missing=9), r"`missing` of task `answer` should not be"),
        (
            lambda: TASK.head(keras.Input((8,))),
            r"features of task `answer` should have shape \(None, S, F\)\. .*\(None, 8\)",
        ),
        (
            lambda: TASK.check_labels(np.zeros((4, 3), int)),
            r"`answer` should have shape \(None, 2\)\. Received: shape=\(4, 3\)",
        ),
        (
            lambda: by_name([TASK, BinaryClassification("answer_end")]),
            r"`answer` and `answer_end` should not share .* both have \['answer_end'\]",
        ),
    ],
)
def test_bad_input(do, text):
    with pytest.raises(ValueError, match=text):
        do()
