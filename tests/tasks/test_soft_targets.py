"""Soft targets and feature targets against float64 references, and at extremes."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    DepthEstimation,
    FeatureTargets,
    MultiLabelClassification,
    ObjectDetection,
    Regression,
    SemanticSegmentation,
    SequenceTagging,
    SoftTargets,
    SpanExtraction,
    SurfaceNormalEstimation,
    Task,
)


def kl(teacher, outputs, temperature, axis=-1):
    """T^2 KL(softmax(teacher / T) || softmax(outputs / T)), term by term."""
    p, q = (log_softmax(np.asarray(z, "float64") / temperature, axis) for z in (teacher, outputs))
    return temperature**2 * (np.exp(p) * (p - q)).sum(axis)


def yes_or_no(teacher, outputs, temperature):
    """The same of two classes, with the logits z and 0."""
    pair = [np.stack([z, np.zeros_like(z)], -1) for z in (teacher, outputs)]
    return kl(*pair, temperature)


def giou(a, b):
    """Of boxes around a point, given by their distances to the left, top, right and bottom."""

    def area(d):
        return (d[..., 0] + d[..., 2]) * (d[..., 1] + d[..., 3])

    both, hull = area(np.minimum(a, b)), area(np.maximum(a, b))
    union = area(a) + area(b) - both
    return both / union - (hull - union) / hull


def of_detections(teacher, outputs, temperature):
    sure = 1 / (1 + np.exp(-teacher[..., :-5].max(-1)))
    apart = yes_or_no(teacher, outputs, temperature)
    boxes = [np.log1p(np.exp(z[..., -5:-1])) for z in (teacher, outputs)]
    per_cell = apart[..., :-5].sum(-1) + sure * (1 - giou(*boxes) + apart[..., -1])
    return per_cell.sum((1, 2)) / np.maximum(1, sure.sum((1, 2)))


def cosine_distance(teacher, outputs, temperature):
    lengths = [np.linalg.norm(z, axis=-1) for z in (teacher, outputs)]
    return 1 - (teacher * outputs).sum(-1) / lengths[0] / lengths[1]


# A task, the shape of its outputs, and what the loss should be.
KINDS = {
    "yes or no": (BinaryClassification("a"), (1,), lambda *z: yes_or_no(*z)[:, 0]),
    "classes": (Classification("a", 4), (4,), kl),
    "labels": (MultiLabelClassification("a", 3), (3,), lambda *z: yes_or_no(*z).mean(-1)),
    "pixels": (SemanticSegmentation("a", 3), (2, 4, 3), kl),
    "steps": (SequenceTagging("a", 3), (5, 3), kl),
    "spans": (SpanExtraction("a"), (5, 2), lambda *z: kl(*z, axis=1).mean(-1)),
    "boxes": (ObjectDetection("a", 3, 2), (2, 4, 8), of_detections),
    "values": (Regression("a", 2), (2,), lambda t, z, _: ((t - z) ** 2).mean(-1)),
    "absolute": (Regression("a", loss="mae"), (1,), lambda t, z, _: abs(t - z).mean(-1)),
    "depths": (DepthEstimation("a"), (2, 4, 1), lambda t, z, _: abs(t - z)[..., 0]),
    "normals": (SurfaceNormalEstimation("a"), (2, 4, 3), cosine_distance),
    "any": (
        Task("a", loss="mse", output_shape=(3,), label_shape=()),
        (3,),
        lambda t, z, _: ((t - z) ** 2).mean(-1),
    ),
}


def loss(task, teacher, outputs):
    read = task.read_labels(teacher)
    values = task.loss_values(task.loss, read.values, outputs)
    assert values.shape == read.present.shape
    return keras.ops.convert_to_numpy(values)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_the_kind(kind, temperature):
    of, shape, expected = KINDS[kind]
    task = SoftTargets(of, temperature)
    rng = np.random.default_rng(0)
    teacher, outputs = rng.normal(size=(2, 3, *shape))
    found = loss(task, teacher, outputs)
    assert found.dtype == "float64"
    np.testing.assert_allclose(found, expected(teacher, outputs, temperature), rtol=1e-9)
    np.testing.assert_allclose(loss(task, teacher, teacher), 0, atol=1e-12)
    assert task.name == "a_soft" and task.loss_family == of.loss_family


@pytest.mark.parametrize("kind", [k for k, (of, *_) in KINDS.items() if of.softened])
@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e4])
def test_extremes_stay_finite_with_their_gradients(kind, scale):
    import tensorflow as tf

    of, shape, _ = KINDS[kind]
    task = SoftTargets(of, 2.0)
    rng = np.random.default_rng(1)
    teacher = tf.constant(scale * rng.normal(size=(2, *shape)), "float32")
    outputs = tf.constant(-scale * rng.normal(size=(2, *shape)), "float32")
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        value = task.loss_values(task.loss, teacher, outputs)
    assert np.isfinite(value).all() and (value.numpy() >= -1e-6).all()
    assert np.isfinite(tape.gradient(value, outputs)).all()


def test_probabilities_are_softened_as_their_logits():
    rng = np.random.default_rng(2)
    teacher, outputs = rng.normal(size=(2, 3, 4))
    logits, values = Classification("a", 4), Classification("a", 4, from_logits=False)
    expected = loss(SoftTargets(logits, 3.0), teacher, outputs)
    found = loss(SoftTargets(values, 3.0), *np.exp(log_softmax([teacher, outputs], -1)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    logits = BinaryClassification("a")
    values = BinaryClassification("a", from_logits=False)
    teacher, outputs = teacher[:, :1], outputs[:, :1]
    expected = loss(SoftTargets(logits, 3.0), teacher, outputs)
    found = loss(SoftTargets(values, 3.0), *(1 / (1 + np.exp(-z)) for z in (teacher, outputs)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_at_a_high_temperature_logits_are_matched():
    """Hinton et al.: for logits with mean 0 the gradient tends to that of half their squared
    difference over the number of classes."""
    teacher, outputs = np.random.default_rng(3).normal(size=(2, 1, 4))
    teacher, outputs = teacher - teacher.mean(), outputs - outputs.mean()
    found = loss(SoftTargets(Classification("a", 4), 1e3), teacher, outputs)
    np.testing.assert_allclose(found, ((teacher - outputs) ** 2).sum(-1) / 8, rtol=1e-2)


def test_what_the_teacher_does_not_answer_is_missing():
    task = SoftTargets(SequenceTagging("a", 2))
    teacher = np.zeros((2, 3, 2), "float32")
    teacher[0, 1:] = np.nan
    assert task.read_labels(teacher).present.numpy().tolist() == [[True, False, False], [True] * 3]
    teacher[0, 0] = np.inf
    read = task.read_labels(teacher)
    assert read.invalid.numpy().tolist() == [[True, False, False], [False] * 3]


@pytest.mark.parametrize("kind", KINDS)
def test_round_trips(kind):
    task = SoftTargets(KINDS[kind][0], 3.0, name="other")
    again = SoftTargets.from_config(task.get_config())
    assert again.get_config() == task.get_config() and again.name == "other"
    assert type(again.of) is type(task.of)


def test_bad_soft_targets():
    with pytest.raises(ValueError, match=r"`of` should be a task\. Received: of='a'"):
        SoftTargets("a")
    for bad in (0, -1.0, float("nan"), float("inf"), True, "2"):
        with pytest.raises(ValueError, match="`temperature` of task `a` should be a positive"):
            SoftTargets(Regression("a"), bad)


def test_features_of_rows_steps_and_images():
    rng = np.random.default_rng(4)
    for shape, axes in {(3,): (1,), (5, 3): (2,), (4, 5, 3): (1, 2, 3)}.items():
        teacher, outputs = rng.normal(size=(2, 2, *shape))
        for reduce, function in {"mean": np.mean, "sum": np.sum}.items():
            task = FeatureTargets("hint", shape, reduce)
            expected = function((teacher - outputs) ** 2, axis=axes)
            np.testing.assert_allclose(loss(task, teacher, outputs), expected, rtol=1e-12)
            assert FeatureTargets.from_config(task.get_config()).get_config() == task.get_config()
    with pytest.raises(ValueError, match="`reduce` of task `hint` should be 'mean' or 'sum'"):
        FeatureTargets("hint", (3,), "max")
