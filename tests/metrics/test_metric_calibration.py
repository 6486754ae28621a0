"""The expected calibration error against NumPy in float64."""

import itertools

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax

from mtlzoo import Classification, MultiLabelClassification, SemanticSegmentation
from mtlzoo.metrics import ExpectedCalibrationError


def reference(confidence, right, weights, bins=15):
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in itertools.pairwise(edges):
        there = (confidence > low) & (confidence <= high)
        if weights[there].sum():
            gap = np.average(right[there], weights=weights[there]) - np.average(
                confidence[there], weights=weights[there]
            )
            total += weights[there].sum() * abs(gap)
    return total / weights.sum()


@pytest.fixture(name="rng")
def _rng():
    return np.random.default_rng(0)


def updated(metric, labels, outputs, weights=None):
    for part in (slice(0, 40), slice(40, None)):  # in two batches
        metric.update_state(labels[part], outputs[part], None if weights is None else weights[part])
    return float(metric.result())


@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("bins", [15, 4])
def test_class_ids(rng, logits, bins):
    raw, labels = 3 * rng.normal(size=(100, 5)), rng.integers(0, 5, 100)
    p, weights = softmax(raw, -1), rng.random(100) * (rng.random(100) > 0.3)
    metric = ExpectedCalibrationError(5, class_ids=True, from_logits=logits, bins=bins)
    found = updated(metric, labels, (raw if logits else p).astype("float32"), weights)
    wanted = reference(p.max(-1), (p.argmax(-1) == labels) * 1.0, weights, bins)
    assert found == pytest.approx(wanted, abs=1e-6)
    pixels = ExpectedCalibrationError(5, class_ids=True, from_logits=logits, bins=bins)
    pixels.update_state(
        labels.reshape(4, 5, 5),
        (raw if logits else p).reshape(4, 5, 5, 5),
        weights.reshape(4, 5, 5),
    )
    assert float(pixels.result()) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("logits", [True, False])
def test_labels_have_bins_of_their_own(rng, logits):
    raw, labels = 3 * rng.normal(size=(100, 3)), rng.integers(0, 2, (100, 3))
    weights = rng.random((100, 3)) * np.array([1, 1, 0])  # the last has no rows
    p = expit(raw)
    found = updated(
        ExpectedCalibrationError(3, from_logits=logits),
        labels,
        (raw if logits else p).astype("float32"),
        weights,
    )
    wanted = [
        reference(np.maximum(p, 1 - p)[:, i], ((p > 0.5) == labels)[:, i] * 1.0, weights[:, i])
        for i in range(2)
    ]
    assert found == pytest.approx(np.mean(wanted), abs=1e-6)


def test_ends():
    metric = ExpectedCalibrationError()
    assert float(metric.result()) == 0
    metric.update_state([1, 0], [[1e4], [-1e4]])
    assert float(metric.result()) == 0  # sure and right
    metric.update_state([0, 1], [[1e4], [-1e4]])
    assert float(metric.result()) == pytest.approx(0.5)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_it_is_a_metric_of_tasks_and_files():
    tasks = [
        Classification("t", 3, metrics=[ExpectedCalibrationError(3, class_ids=True)]),
        MultiLabelClassification("t", 3, metrics=[ExpectedCalibrationError(3)]),
        SemanticSegmentation("t", 3, metrics=[ExpectedCalibrationError(3, class_ids=True)]),
    ]
    shapes = [(6, 3), (6, 3), (6, 2, 2, 3)]
    labels = [np.array([0, 1, 2, -1, -1, 0]), np.full((6, 3), 1), np.full((6, 2, 2), 1)]
    for task, shape, given in zip(tasks, shapes, labels, strict=True):
        (metric,) = task.metrics()
        again = type(metric).from_config(metric.get_config())
        read = task.read_labels(given)
        outputs = np.random.default_rng(0).normal(size=shape).astype("float32")
        for each in (metric, again):
            task.update_metric(each, read.values, outputs, keras.ops.cast(read.present, "float32"))
        assert float(metric.result()) == float(again.result()) > 0


def test_refusals():
    for name in ("num_labels", "bins"):
        with pytest.raises(ValueError, match=f"`{name}` should be a positive integer"):
            ExpectedCalibrationError(**{name: 0})
    with pytest.raises(ValueError, match=r"`y_pred` should have the shape \(None, 3\)"):
        ExpectedCalibrationError(3).update_state([0], [[1.0]])
