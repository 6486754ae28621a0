"""SemanticSegmentation: labels, loss, metrics, head, answers."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from mtlzoo.tasks import SemanticSegmentation

TASK = SemanticSegmentation("parts", 3)


def batch(seed=0, size=(4, 5)):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 3, (2, *size))
    gaps = rng.random(ids.shape) < 0.3
    outputs = rng.normal(0, 2, (*ids.shape, 3))
    return np.where(gaps, 255, ids), ids, ~gaps, outputs


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("last", [(), (1,)])
def test_labels(dtype, last):
    labels = np.array([[[0, 2], [255, 3]]], dtype).reshape(1, 2, 2, *last)
    values, present, invalid = TASK.read_labels(labels)
    assert np.asarray(values).tolist() == [[[0, 2], [0, 0]]]
    assert values.dtype == "int32"
    assert np.asarray(present).tolist() == [[[True, True], [False, False]]]
    assert np.asarray(invalid).tolist() == [[[False, False], [False, True]]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", [None, keras.losses.CategoricalCrossentropy(from_logits=True)])
def test_the_loss_of_each_pixel_against_numpy(dtype, loss):
    labels, ids, present, outputs = batch()
    task = SemanticSegmentation("parts", 3, loss=loss)
    read = task.read_labels(labels)
    found = task.loss_values(task.loss, read.values, outputs.astype(dtype))
    expected = -np.take_along_axis(log_softmax(outputs, -1), ids[..., None], -1)[..., 0]
    assert found.dtype == dtype
    assert found.shape == read.present.shape == (2, 4, 5)
    np.testing.assert_array_equal(read.present, present)
    rtol = 1e-9 if dtype == "float64" and loss is None else 1e-4
    np.testing.assert_allclose(np.asarray(found)[present], expected[present], rtol=rtol)


def test_metrics_against_numpy_over_batches_of_different_sizes():
    iou, accuracy = TASK.metrics()
    confusion, hits = np.zeros((3, 3)), []
    for seed, size in enumerate([(4, 5), (2, 2)]):
        labels, ids, present, outputs = batch(seed, size)
        weights = present * np.random.default_rng(9).uniform(0.5, 2, present.shape)
        values = TASK.read_labels(labels).values
        for metric in (iou, accuracy):
            TASK.update_metric(metric, values, outputs.astype("float32"), weights.astype("float32"))
        np.add.at(confusion, (ids, outputs.argmax(-1)), weights)
        hits += list(zip((ids == outputs.argmax(-1)).ravel(), weights.ravel(), strict=True))
    both = np.diag(confusion)
    expected = np.mean(both / (confusion.sum(0) + confusion.sum(1) - both))
    assert float(iou.result()) == pytest.approx(expected, rel=1e-5)
    hits = np.array(hits)
    assert float(accuracy.result()) == pytest.approx(np.average(hits[:, 0], weights=hits[:, 1]))
    assert (TASK.monitor, TASK.mode, iou.name) == ("mean_iou", "max", "mean_iou")


def test_classes_that_never_occur_do_not_count():
    task = SemanticSegmentation("parts", 5)
    labels = np.array([[[0, 1], [255, 255]]])
    outputs = 9 * np.eye(5, dtype="float32")[[[[0, 1], [3, 4]]]]
    metric = task.metrics()[0]
    read = task.read_labels(labels)
    task.update_metric(metric, read.values, outputs, np.asarray(read.present, "float32"))
    assert float(metric.result()) == 1


@pytest.mark.parametrize(
    ("size", "names", "shape"),
    [
        (None, ["parts"], (None, 4, 6, 3)),
        ((4, 6), ["parts"], (None, 4, 6, 3)),
        ((8, 9), ["parts_projection", "parts"], (None, 8, 9, 3)),
    ],
)
def test_the_head_ends_in_a_layer_named_as_the_task(size, names, shape):
    task = SemanticSegmentation("parts", 3, size)
    features = keras.Input((4, 6, 8))
    output = task.head(features)
    assert output.shape == shape
    task.check_output(output.shape)
    assert [layer.name for layer in keras.Model(features, output).layers[1:]] == names
    assert task.output_shape == ((size or (None, None)) + (3,))


def test_a_head_on_images_of_any_size():
    features = keras.Input((None, None, 8))
    model = keras.Model(features, TASK.head(features))
    assert model(np.ones((1, 3, 5, 8))).shape == (1, 3, 5, 3)
    features = keras.Input((None, None, 8))
    model = keras.Model(features, SemanticSegmentation("parts", 3, (7, 7)).head(features))
    assert model(np.ones((1, 3, 5, 8))).shape == (1, 7, 7, 3)


def test_serve():
    outputs = batch()[3].astype("float32")
    served = TASK.serve(outputs)
    np.testing.assert_allclose(served["parts"], softmax(outputs, -1), rtol=1e-5)
    np.testing.assert_array_equal(served["parts_class"], outputs.argmax(-1))
    assert served["parts_class"].dtype == "int64"


def test_a_loss_of_whole_images_is_refused():
    task = SemanticSegmentation("parts", 3, loss=lambda y, z: keras.ops.sum(z, axis=(1, 2, 3)))
    labels, *_, outputs = batch()
    with pytest.raises(ValueError, match=r"`parts` should give one value for each pixel.*\(2,\)"):
        task.loss_values(task.loss, task.read_labels(labels).values, outputs)


def test_labels_of_another_size_than_the_outputs_are_refused():
    labels, *_, outputs = batch()
    values = TASK.read_labels(labels).values
    text = r"Labels of task `parts` should have the size \(2, 5\) of its.*labels of size \(4, 5\)"
    with pytest.raises(ValueError, match=text):
        TASK.loss_values(TASK.loss, values, outputs[:, :2])
    with pytest.raises(ValueError, match=text):
        TASK.update_metric(TASK.metrics()[0], values, outputs[:, :2], np.ones((2, 4, 5)))


@pytest.mark.parametrize(
    ("do", "text"),
    [
        (lambda: SemanticSegmentation("parts", 1), r"`num_classes` of task `parts`.*at least 2"),
        (lambda: SemanticSegmentation("parts", 300), r"`missing` of task `parts` should not be a"),
        (lambda: SemanticSegmentation("parts", 3, 8), r"`size` of task `parts`.*size=8"),
        (lambda: SemanticSegmentation("parts", 3, (8,)), r"`size`.*a height and a width.*\(8,\)"),
        (lambda: SemanticSegmentation("parts", 3, (8, None)), r"`size`.*a height and a width"),
        (lambda: SemanticSegmentation("parts", 3, (0, 8)), r"`size` of task `parts`.*\(0, 8\)"),
        (
            lambda: TASK.head(keras.Input((4, 8))),
            r"features of task `parts` should have shape \(None, H, W, F\)\. Received: .*4, 8\)",
        ),
        (
            lambda: TASK.check_labels(np.zeros((2, 4), "int32")),
            r"`parts` should have shape \(None, None, None\)\. Received: shape=\(2, 4\)",
        ),
        (
            lambda: SemanticSegmentation("parts", 3, (4, 4)).check_labels(np.zeros((2, 4, 5), int)),
            r"`parts` should have shape \(None, 4, 4\)\. Received: shape=\(2, 4, 5\)",
        ),
        (lambda: TASK.check_labels(np.zeros((2, 4, 4))), r"`parts` should be class ids of an int"),
        (lambda: TASK.check_output((None, 4, 4, 2)), r"output of task `parts` should have shape"),
    ],
)
def test_bad_input(do, text):
    with pytest.raises(ValueError, match=text):
        do()
