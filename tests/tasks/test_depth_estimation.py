"""DepthEstimation: labels, losses, metrics, head."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.metrics import ThresholdAccuracy
from mtlzoo.tasks import DepthEstimation, ScaleInvariantLog

NAN, INF = float("nan"), float("inf")
TASK = DepthEstimation("depth")


def batch(seed=0, size=(4, 5), missing=NAN):
    rng = np.random.default_rng(seed)
    depths = rng.uniform(0.5, 9, (3, *size))
    gaps = rng.random(depths.shape) < 0.4
    outputs = depths * rng.uniform(0.6, 1.5, depths.shape) - 0.3
    return np.where(gaps, missing, depths), depths, ~gaps, outputs[..., None]


@pytest.mark.parametrize("last", [(), (1,)])
def test_labels(last):
    labels = np.array([[[1.5, NAN], [0.0, INF]]]).reshape(1, 2, 2, *last)
    values, present, invalid = TASK.read_labels(labels)
    assert np.asarray(values)[..., 0].tolist() == [[[1.5, 0], [0, 0]]]
    assert np.asarray(present).tolist() == [[[True, False], [False, False]]]
    assert np.asarray(invalid).tolist() == [[[False, False], [True, True]]]
    read = DepthEstimation("depth", missing=0).read_labels(np.array([[[2, 0], [1, -1]]]))
    assert np.asarray(read.present).tolist() == [[[True, False], [True, False]]]
    assert np.asarray(read.invalid).tolist() == [[[False, False], [False, True]]]


def test_the_loss_of_each_pixel_against_numpy():
    labels, depths, present, outputs = batch()
    read = TASK.read_labels(labels)
    found = np.asarray(TASK.loss_values(TASK.loss, read.values, outputs))
    assert (found.dtype, found.shape) == ("float64", (3, 4, 5))
    np.testing.assert_array_equal(read.present, present)
    np.testing.assert_allclose(found[present], abs(depths - outputs[..., 0])[present], rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_scale_invariant_loss_against_numpy(weight):
    labels, depths, present, outputs = batch()
    outputs[0, 0, 0] = -2  # continued by the tangent
    present[2], labels[2] = False, NAN  # an image without labels
    labels[0, 0, 0], present[0, 0, 0] = depths[0, 0, 0], True
    task = DepthEstimation("depth", loss=ScaleInvariantLog(weight, floor=0.2))
    values = task.read_labels(labels).values
    found = np.asarray(task.loss_values(task.loss, values, outputs))
    assert np.isfinite(found).all()
    for image in range(2):
        z = outputs[image, ..., 0]
        logs = np.where(z > 0.2, np.log(np.maximum(z, 0.2)), np.log(0.2) + (z - 0.2) / 0.2)
        d = (logs - np.log(depths[image]))[present[image]]
        expected = np.mean(d**2) - weight * np.mean(d) ** 2
        assert found[image][present[image]].mean() == pytest.approx(expected, rel=1e-6)
    x = tf.constant(outputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = task.loss_values(task.loss, values, x)
    assert np.isfinite(tape.gradient(loss, x)).all()


def test_metrics_against_numpy_over_batches_of_different_sizes():
    metrics = [*TASK.metrics(), ThresholdAccuracy(1.25**2, name="delta_2")]
    y, z, w = [], [], []
    for seed, size in enumerate([(4, 5), (2, 2)]):
        labels, depths, present, outputs = batch(seed, size)
        weights = present * np.random.default_rng(9).uniform(0.5, 2, present.shape)
        values = TASK.read_labels(labels).values
        for metric in metrics:
            TASK.update_metric(metric, values, outputs.astype("float32"), weights.astype("float32"))
        for all_of, part in ((y, depths), (z, outputs), (w, weights)):
            all_of += part.ravel().tolist()
    y, z, w = np.array(y), np.array(z), np.array(w)
    ratio = np.where(z > 0, np.maximum(y / z, z / y), INF)
    expected = [abs(y - z), abs(y - z) / y, ratio < 1.25, ratio < 1.25**2]
    for metric, of_pixels in zip(metrics, expected, strict=True):
        value = np.average(of_pixels, weights=w)
        assert float(metric.result()) == pytest.approx(value, rel=1e-5), metric.name
    assert [m.name for m in metrics[:3]] == ["abs_error", "rel_error", "delta_1"]
    assert (TASK.monitor, TASK.mode) == ("abs_error", "min")


def test_metrics_of_keras_count_pixels():
    labels, depths, present, outputs = batch()
    task = DepthEstimation("depth", metrics=["mse", keras.metrics.RootMeanSquaredError("rmse")])
    values = task.read_labels(labels).values
    expected = ((depths - outputs[..., 0])[present] ** 2).mean()
    for metric, power in zip(task.metrics(), (1, 2), strict=True):
        task.update_metric(metric, values, outputs.astype("float32"), present.astype("float32"))
        assert float(metric.result()) ** power == pytest.approx(expected, rel=1e-5)


def test_the_head():
    features = keras.Input((4, 6, 8))
    assert TASK.head(features).shape == (None, 4, 6, 1)
    assert DepthEstimation("depth", (8, 8)).head(features).shape == (None, 8, 8, 1)
    outputs = np.ones((2, 3, 3, 1), "float32")
    np.testing.assert_array_equal(TASK.serve(outputs)["depth"], outputs)


@pytest.mark.parametrize(
    ("do", "text"),
    [
        (lambda: DepthEstimation("depth", missing=5), r"`missing` of task `depth` should not be a"),
        (lambda: DepthEstimation("depth", (2, 3, 4)), r"`size` of task `depth` should be a height"),
        (
            lambda: TASK.check_labels(np.zeros((2, 4, 4, 2))),
            r"`depth` should have shape \(None, None, None\)\. Received: shape=\(2, 4, 4, 2\)",
        ),
        (lambda: TASK.head(keras.Input((4,))), r"`depth` should have shape \(None, H, W, F\)"),
        (lambda: ScaleInvariantLog(1.5), r"`scale_weight` should be.*scale_weight=1\.5"),
        (lambda: ScaleInvariantLog(floor=0), r"`floor` should be a positive number.*floor=0"),
        (lambda: ThresholdAccuracy(1), r"`threshold` should be a number above 1.*threshold=1"),
    ],
)
def test_bad_input(do, text):
    with pytest.raises(ValueError, match=text):
        do()
