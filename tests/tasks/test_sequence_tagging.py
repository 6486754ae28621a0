"""SequenceTagging: labels, loss, metrics, head, answers."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from mtlzoo.tasks import SequenceTagging

TASK = SequenceTagging("entities", 3)


def batch(seed=0, steps=6):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 3, (4, steps))
    gaps = rng.random(ids.shape) < 0.3
    return np.where(gaps, -1, ids), ids, ~gaps, rng.normal(0, 2, (4, steps, 3))


def test_labels():
    values, present, invalid = TASK.read_labels(np.array([[0, 2, -1], [3, -2, 1]]))
    assert np.asarray(values).tolist() == [[0, 2, 0], [0, 0, 1]]
    assert np.asarray(present).tolist() == [[True, True, False], [False, False, True]]
    assert np.asarray(invalid).tolist() == [[False, False, False], [True, True, False]]


def test_the_loss_of_each_step_against_numpy():
    labels, ids, present, outputs = batch()
    read = TASK.read_labels(labels)
    found = np.asarray(TASK.loss_values(TASK.loss, read.values, outputs))
    expected = -np.take_along_axis(log_softmax(outputs, -1), ids[..., None], -1)[..., 0]
    np.testing.assert_array_equal(read.present, present)
    np.testing.assert_allclose(found[present], expected[present], rtol=1e-9)


def test_metrics_against_numpy_over_batches_of_different_lengths():
    accuracy, f1 = TASK.metrics()
    both, predicted, true, hits = np.zeros(3), np.zeros(3), np.zeros(3), []
    for seed, steps in enumerate([6, 2, 9]):
        labels, ids, present, outputs = batch(seed, steps)
        values = TASK.read_labels(labels).values
        outputs = keras.ops.convert_to_tensor(outputs.astype("float32"))
        # Labels say what counts, not a mask.
        keras.src.backend.set_keras_mask(outputs, keras.ops.zeros((4, steps), "bool"))
        for metric in (accuracy, f1):
            TASK.update_metric(metric, values, outputs, present.astype("float32"))
        found = np.argmax(outputs, -1)[present]
        ids = ids[present]
        hits += (found == ids).tolist()
        for tag in range(3):
            both[tag] += np.sum((found == tag) & (ids == tag))
            predicted[tag] += np.sum(found == tag)
            true[tag] += np.sum(ids == tag)
    assert float(accuracy.result()) == pytest.approx(np.mean(hits), rel=1e-6)
    assert float(f1.result()) == pytest.approx(np.mean(2 * both / (predicted + true)), rel=1e-6)
    assert (TASK.monitor, TASK.mode, f1.name) == ("macro_f1", "max", "macro_f1")


def test_the_head_and_the_answer():
    features = keras.Input((None, 8))
    output = TASK.head(features)
    assert output.shape == (None, None, 3)
    assert keras.Model(features, output).layers[-1].name == "entities"
    outputs = batch()[3].astype("float32")
    served = TASK.serve(outputs)
    np.testing.assert_allclose(served["entities"], softmax(outputs, -1), rtol=1e-5)
    np.testing.assert_array_equal(served["entities_class"], outputs.argmax(-1))


@pytest.mark.parametrize(
    ("do", "text"),
    [
        (lambda: SequenceTagging("entities", 1), r"`num_tags` of task `entities`.*num_tags=1"),
        (lambda: SequenceTagging("entities", 3, missing=2), r"`missing` of task `entities` should"),
        (
            lambda: TASK.head(keras.Input((8,))),
            r"features of task `entities` should have shape \(None, S, F\)\. .*\(None, 8\)",
        ),
        (
            lambda: TASK.check_labels(np.zeros(4, int)),
            r"`entities` should have shape \(None, None\)\. Received: shape=\(4,\)",
        ),
        (
            lambda: TASK.loss_values(TASK.loss, np.zeros((4, 5), "int32"), np.zeros((4, 6, 3))),
            r"Labels of task `entities` should have the size \(6,\) of its.*of size \(5,\)",
        ),
    ],
)
def test_bad_input(do, text):
    with pytest.raises(ValueError, match=text):
        do()
