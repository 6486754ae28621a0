"""SurfaceNormalEstimation: labels, loss, metrics, head, answers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.metrics import AngleWithin, MedianAngle
from mtlzoo.tasks import CosineDistance, SurfaceNormalEstimation

NAN, INF = float("nan"), float("inf")
TASK = SurfaceNormalEstimation("normals")


def batch(seed=0, size=(6, 7)):
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(2, *size, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    gaps = rng.random(normals.shape[:3]) < 0.3
    outputs = 3 * normals + rng.normal(0, 1.5, normals.shape)
    return np.where(gaps[..., None], NAN, normals), normals, ~gaps, outputs


def degrees(normals, outputs):
    cosine = (normals * outputs).sum(-1) / np.linalg.norm(outputs, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_labels():
    pixels = [[0, 0, 1], [NAN, 0, 1], [NAN, NAN, NAN], [0, 0, 0], [0, INF, 0], [0, -2, 0]]
    values, present, invalid = TASK.read_labels(np.array([[pixels]]))
    assert np.asarray(present)[0, 0].tolist() == [True, False, False, False, False, True]
    assert np.asarray(invalid)[0, 0].tolist() == [False, False, False, True, True, False]
    assert np.isfinite(np.asarray(values)).all()
    task = SurfaceNormalEstimation("normals", missing=0)
    _, present, invalid = task.read_labels(np.array([[pixels]]))
    assert np.asarray(present)[0, 0].tolist() == [True, False, False, False, False, True]
    assert np.asarray(invalid)[0, 0].tolist() == [False, True, True, False, True, False]


def test_the_loss_of_each_pixel_against_numpy():
    labels, normals, present, outputs = batch()
    read = TASK.read_labels(labels)
    np.testing.assert_array_equal(read.present, present)
    found = np.asarray(TASK.loss_values(TASK.loss, read.values, outputs))
    cosine = (normals * outputs).sum(-1) / np.linalg.norm(outputs, axis=-1)
    np.testing.assert_allclose(found[present], (1 - cosine)[present], atol=1e-7)
    assert (found >= 0).all()


def test_the_gradient_of_the_loss_is_finite_at_zero():
    outputs = tf.constant([[0.0, 0.0, 0.0], [1e-20, 0.0, 0.0], [1e15, 0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = CosineDistance().call(tf.constant([[0.6, 0.8, 0.0]] * 3), outputs)
    np.testing.assert_allclose(loss, [1, 1, 0.4], rtol=1e-6)
    gradient = np.asarray(tape.gradient(loss, outputs))
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[0], [-600, -800, 0], rtol=1e-5)
    np.testing.assert_allclose(CosineDistance().call([[0.0, 0.0]], [[0.0, 0.0]]), [1])


def test_metrics_against_numpy_over_batches_of_different_sizes():
    metrics = TASK.metrics()
    angles = []
    for seed, size in enumerate([(6, 7), (2, 2)]):
        labels, normals, present, outputs = batch(seed, size)
        values = TASK.read_labels(labels).values
        weights = present.astype("float32")
        for metric in metrics:
            TASK.update_metric(metric, values, outputs.astype("float32"), weights)
        angles += degrees(normals, outputs)[present].tolist()
    expected = {
        "mean_angle": np.mean(angles),
        "median_angle": np.median(angles),
        **{f"within_{text}": np.mean(np.array(angles) < limit) for text, limit in
           (("11_25", 11.25), ("22_5", 22.5), ("30", 30))},
    }  # fmt: skip
    assert {metric.name for metric in metrics} == set(expected)
    for metric in metrics:
        # The median of a few angles lies anywhere between two of them, else in a bin of 0.1.
        near = 0.7 if metric.name == "median_angle" else 1e-4
        assert float(metric.result()) == pytest.approx(expected[metric.name], abs=near), metric.name
    assert (TASK.monitor, TASK.mode) == ("mean_angle", "min")


def test_the_weighted_median_lies_within_a_bin():
    rng = np.random.default_rng(3)
    angles, weights = rng.gamma(2, 12, 5000) % 180, rng.uniform(0, 3, 5000)
    radians = np.radians(angles)
    outputs = np.stack([np.cos(radians), np.sin(radians)], -1).astype("float32")
    order = np.argsort(angles)
    total = np.cumsum(weights[order])
    expected = angles[order][np.searchsorted(total, total[-1] / 2)]
    metric = MedianAngle()
    for part in np.split(np.arange(5000), 5):
        metric.update_state(np.tile([1.0, 0.0], (1000, 1)), outputs[part], weights[part])
    assert float(metric.result()) == pytest.approx(expected, abs=0.1)
    again = MedianAngle.from_config(metric.get_config())
    assert float(again.result()) == 0


def test_small_angles_are_not_rounded_to_zero():
    metric = TASK.metrics()[0]
    metric.update_state([[1.0, 0.0, 0.0]], [[1.0, 1e-4, 0.0]])
    assert float(metric.result()) == pytest.approx(np.degrees(1e-4), rel=1e-3)
    metric.reset_state()
    metric.update_state([[1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]])
    assert float(metric.result()) == pytest.approx(90)


def test_the_head_and_the_answer():
    features = keras.Input((4, 6, 8))
    assert TASK.head(features).shape == (None, 4, 6, 3)
    assert SurfaceNormalEstimation("normals", (8, 8)).head(features).shape == (None, 8, 8, 3)
    outputs = np.array([[[[0.0, 3.0, -4.0], [0.0, 0.0, 0.0]]]], "float32")
    expected = [[[[0.0, 0.6, -0.8], [0.0, 0.0, 0.0]]]]
    np.testing.assert_allclose(TASK.serve(outputs)["normals"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("do", "text"),
    [
        (
            lambda: TASK.check_labels(np.zeros((2, 4, 4))),
            r"`normals` should have shape \(None, None, None, 3\)\. Received: shape=\(2, 4, 4\)",
        ),
        (lambda: TASK.head(keras.Input((4,))), r"`normals` should have shape \(None, H, W, F\)"),
        (lambda: SurfaceNormalEstimation("normals", "ab"), r"`size` of task `normals`"),
        (lambda: AngleWithin(0), r"`degrees` should be a number above 0.*degrees=0"),
        (lambda: MedianAngle(0), r"`bins` should be a positive integer.*bins=0"),
    ],
)
def test_bad_input(do, text):
    with pytest.raises(ValueError, match=text):
        do()
