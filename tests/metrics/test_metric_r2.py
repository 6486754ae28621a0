import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.metrics import R2Score


def reference(labels, outputs, weights):
    scores = []
    for y, f, w in zip(labels.T, outputs.T, weights.T, strict=True):
        y, f, w = y[w > 0].astype("float64"), f[w > 0].astype("float64"), w[w > 0]
        if len(y) == 0 or np.ptp(y) == 0:
            continue
        mean = np.average(y, weights=w)
        scores.append(1 - np.sum(w * (y - f) ** 2) / np.sum(w * (y - mean) ** 2))
    return np.mean(scores)


def score(metric, *batch):
    metric.update_state(*batch)
    return float(metric.result())


def test_cells_are_masked_and_dimensions_that_do_not_vary_left_out():
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(100, 4)).astype("float32")
    outputs = labels + rng.normal(0, 0.5, labels.shape).astype("float32")
    labels[:, 2] = 3
    weights = (rng.random(labels.shape) < 0.6) * rng.uniform(0.5, 2, labels.shape)
    weights[:, 3] = 0
    assert score(R2Score(4), labels, outputs, weights) == pytest.approx(
        reference(labels, outputs, weights), abs=1e-9
    )


def test_labels_far_from_zero():
    rng = np.random.default_rng(1)
    labels = (2000 + rng.normal(size=(5_000, 1))).astype("float32")
    outputs = (labels + rng.normal(0, 0.5, labels.shape)).astype("float32")
    weights = np.ones(5_000, "float32")
    expected = reference(labels, outputs, weights[:, None])
    ours, theirs = R2Score(), keras.metrics.R2Score()
    for i in range(0, 5_000, 100):
        ours.update_state(labels[i : i + 100], outputs[i : i + 100], weights[i : i + 100])
        theirs.update_state(labels[i : i + 100], outputs[i : i + 100])
    assert float(ours.result()) == pytest.approx(expected, abs=1e-6)
    assert abs(float(theirs.result()) - expected) > 0.01  # why the sums are in float64


def test_nothing_counted_is_zero_not_nan():
    assert float(R2Score().result()) == 0
    assert score(R2Score(), [[1.0], [2.0]], [[1.0], [2.0]], [0.0, 0.0]) == 0
    assert score(R2Score(), [[1.0], [1.0]], [[1.0], [2.0]]) == 0


def test_updates_under_xla_and_round_trips():
    labels, outputs = np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [3.0], [4.0]])
    metric = R2Score(name="fit")
    tf.function(metric.update_state, jit_compile=True)(labels, outputs)
    assert float(metric.result()) == pytest.approx(reference(labels, outputs, np.ones((3, 1))))
    config = R2Score(3, dtype="float32").get_config()
    assert R2Score.from_config(config).get_config() == config
    metric.reset_state()
    assert float(metric.result()) == 0


def test_constant_labels_are_constant_whatever_the_rounding():
    rng = np.random.default_rng(2)
    constants = np.broadcast_to(rng.normal(0, 1e3, 200), (1_000, 200))
    weights = rng.random((1_000, 200))
    assert score(R2Score(200), constants, constants + 1, weights) == 0


def test_half_precision_sums_are_refused():
    with pytest.raises(ValueError, match=r"`dtype` should be 'float64' or.*dtype='bfloat16'"):
        R2Score(dtype="bfloat16")
