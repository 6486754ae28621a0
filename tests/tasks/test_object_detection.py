"""ObjectDetection: labels, targets, loss, detections, and a model of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, log_expit

from mtlzoo import BinaryClassification, HardSharing, ObjectDetection
from mtlzoo.metrics import MeanAveragePrecision
from mtlzoo.tasks import DetectionLoss, boxes

NAN = float("nan")
PADDING = [-1.0] * 5


def random_labels(number, most=4, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.full((number, most, 5), -1.0)
    for image in labels:
        for row in image[: rng.integers(0, most + 1)]:
            low = rng.random(2) * 0.6
            row[:] = [*low, *(low + 0.1 + rng.random(2) * 0.3), rng.integers(classes)]
    return labels


# -- labels --------------------------------------------------------------------------------------


def read(image, **arguments):
    task = ObjectDetection("objects", num_classes=2, max_boxes=2, **arguments)
    values, present, invalid = task.read_labels(np.array([image], "float32"))
    assert present.shape == invalid.shape == (1,)
    if not present[0]:
        assert not np.any(values)
    return bool(present[0]), bool(invalid[0])


LABEL, MISSING, ILLEGAL = (True, False), (False, False), (False, True)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ([[0.1, 0.2, 0.5, 0.6, 1], PADDING], LABEL),
        ([PADDING, [0.1, 0.2, 0.5, 0.6, 0]], LABEL),
        ([PADDING, PADDING], LABEL),  # no objects are known to be there
        ([[0, 0, 1.0005, 1, 0], [-0.0005, 0, 1, 1, 1]], LABEL),  # rounded to pixels
        ([[NAN] * 5] * 2, MISSING),
        ([[NAN] * 5, PADDING], ILLEGAL),
        ([[0.1, 0.2, NAN, 0.6, 1], PADDING], ILLEGAL),
        ([[0.5, 0.2, 0.5, 0.6, 1], PADDING], ILLEGAL),  # no width
        ([[0.1, 0.6, 0.5, 0.2, 1], PADDING], ILLEGAL),  # upside down
        ([[0.1, 0.2, 0.5, 1.1, 1], PADDING], ILLEGAL),
        ([[-0.1, 0.2, 0.5, 0.6, 1], PADDING], ILLEGAL),
        ([[0.1, 0.2, 0.5, 0.6, 2], PADDING], ILLEGAL),
        ([[0.1, 0.2, 0.5, 0.6, 0.5], PADDING], ILLEGAL),
        ([[0.1, 0.2, 0.5, 0.6, -1], PADDING], ILLEGAL),
        ([[0.1, 0.2, 0.5, np.inf, 1], PADDING], ILLEGAL),
    ],
)
def test_labels(image, expected):
    assert read(image) == expected


def test_another_missing_value():
    assert read([[-9.0] * 5] * 2, missing=-9) == MISSING
    assert read([[-9.0] * 5, PADDING], missing=-9) == ILLEGAL
    assert read([PADDING, PADDING], missing=-9) == LABEL
    task = ObjectDetection("objects", 2, 3, missing=-9)
    assert not np.any(task.read_labels(task.missing_labels(4)).present)


# -- targets -------------------------------------------------------------------------------------


def targets_one_by_one(image, height, width, radius):
    """The targets of an image, cell by cell and box by box."""
    for row in range(height):
        for column in range(width):
            x, y = (column + 0.5) / width, (row + 0.5) / height
            best, best_area = None, np.inf
            for low_x, low_y, high_x, high_y, kind in image:
                inside = low_x < x < high_x and low_y < y < high_y and kind >= 0
                if radius is not None:
                    inside &= abs(x - (low_x + high_x) / 2) * width < radius
                    inside &= abs(y - (low_y + high_y) / 2) * height < radius
                area = (high_x - low_x) * (high_y - low_y)
                if inside and area < best_area:
                    sides = [x - low_x, y - low_y, high_x - x, high_y - y]
                    best = (np.array(sides) * [width, height, width, height], int(kind))
                    best_area = area
            yield (False, np.full(4, 0.5), -1) if best is None else (True, *best)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("radius", [None, 1.5])
def test_targets_are_those_of_a_plain_loop(radius):
    labels = random_labels(12)
    found = boxes.assign(tf.constant(labels), 6, 9, radius)
    overlapping = 0
    for i, image in enumerate(labels):
        for j, (positive, distances, kind) in enumerate(targets_one_by_one(image, 6, 9, radius)):
            assert bool(found.positive[i, j]) == positive
            assert int(found.classes[i, j]) == kind
            np.testing.assert_allclose(found.distances[i, j], distances, rtol=1e-9)
            overlapping += positive
    assert overlapping > 50


def test_the_smaller_box_wins():
    labels = tf.constant([[[0.0, 0, 1, 1, 0], [0.4, 0.4, 0.6, 0.6, 1], PADDING]])
    classes = boxes.assign(labels, 3, 3).classes.numpy()
    assert classes.tolist() == [[0, 0, 0, 0, 1, 0, 0, 0, 0]]


def test_boxes_are_found_again_from_their_distances():
    labels = random_labels(1, most=28, seed=3)[:, :, :4].astype("float32")
    again = boxes.to_boxes(boxes.to_distances(tf.constant(labels), 4, 7), 4, 7)
    np.testing.assert_allclose(again, labels, atol=1e-6)


# -- loss ----------------------------------------------------------------------------------------


def loss_one_by_one(labels, outputs, alpha, gamma, radius):
    """The loss of each image, in float64."""
    height, width, size = outputs.shape[1:]
    for image, cells in zip(labels, outputs.reshape(len(outputs), -1, size), strict=True):
        total, positives = 0.0, 0
        targets = targets_one_by_one(image, height, width, radius)
        for z, (positive, goal, kind) in zip(cells, targets, strict=True):
            for c, logit in enumerate(z[: size - 5]):
                s, weight = (logit, alpha) if c == kind else (-logit, 1 - alpha)
                total -= weight * (1 - expit(s)) ** gamma * log_expit(s)
            if positive:
                positives += 1
                d = np.log1p(np.exp(z[-5:-1]))

                def surface(d):
                    return (d[0] + d[2]) * (d[1] + d[3])

                shared = surface(np.minimum(d, goal))
                union = surface(d) + surface(goal) - shared
                hull = surface(np.maximum(d, goal))
                (left, top, right, bottom), u = goal, z[-1]
                w = min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)
                w = np.sqrt(w)
                total += w * (1 - shared / union + (hull - union) / hull)
                total -= w * log_expit(u) + (1 - w) * log_expit(-u)
        yield total / max(1, positives)


@pytest.mark.parametrize(("alpha", "gamma", "radius"), [(0.25, 2.0, None), (0.6, 0.5, 1.5)])
def test_the_loss_is_that_of_a_plain_loop(alpha, gamma, radius):
    labels = random_labels(8)
    outputs = np.random.default_rng(1).normal(size=(8, 5, 6, 8))
    loss = DetectionLoss(alpha, gamma, radius)
    task = ObjectDetection("objects", 3, 4, loss=loss)
    values, present, _ = task.read_labels(labels)
    assert np.all(present) and (labels[:, 0, 4] < 0).any()  # one is empty
    found = task.loss_values(task.loss, values, outputs)
    assert found.dtype == "float64"
    expected = list(loss_one_by_one(labels, outputs, alpha, gamma, radius))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    config = loss.get_config()
    assert DetectionLoss.from_config(config).get_config() == config


@pytest.mark.one_in(2)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, 1e30])
def test_loss_and_gradients_are_finite_whatever_is_answered(gamma, scale):
    labels = random_labels(6).astype("float32")
    labels[0] = -1
    labels[1] = 0  # what stands in place of missing ones
    signs = np.sign(np.random.default_rng(2).normal(size=(6, 4, 4, 8))).astype("float32")
    outputs = tf.constant(scale * signs)
    loss = DetectionLoss(gamma=gamma)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        values = loss.call(labels, outputs)
    assert np.isfinite(values).all()
    assert np.isfinite(tape.gradient(values, outputs)).all()


@pytest.mark.slow
def test_loss_and_detections_are_the_same_under_xla():
    task = ObjectDetection("objects", 3, 4, max_detections=10, num_candidates=40)
    labels = random_labels(4).astype("float32")
    outputs = tf.constant(np.random.default_rng(3).normal(size=(4, 5, 6, 8)), "float32")

    def both(labels, outputs):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            values = task.loss_values(task.loss, labels, outputs)
        return values, tape.gradient(values, outputs), task.detections(outputs)

    expected = both(labels, outputs)
    found = tf.function(both, jit_compile=True)(labels, outputs)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_arguments_of_the_loss_are_checked():
    with pytest.raises(ValueError, match="`alpha` should be a number of at least 0 and at most 1"):
        DetectionLoss(alpha=1.5)
    with pytest.raises(ValueError, match=r"`gamma` should be a number of at least 0.*gamma=-1"):
        DetectionLoss(gamma=-1)
    with pytest.raises(ValueError, match=r"`center_radius` should be a number of at least 0\.5"):
        DetectionLoss(center_radius=0.1)


# -- detections ----------------------------------------------------------------------------------


def overlap_of(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(sizes) - shared)


def greedy(corners, ids, alive, threshold):
    kept = []
    for i in range(len(corners)):
        rivals = [j for j in kept if ids[j] == ids[i]]
        if alive[i] and all(overlap_of(corners[i], corners[j]) <= threshold for j in rivals):
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6])
def test_suppression_is_the_greedy_one(threshold):
    rng = np.random.default_rng(4)
    low = rng.random((5, 60, 2)) * 0.4
    corners = np.concatenate([low, low + 0.1 + rng.random((5, 60, 2)) * 0.5], -1)
    ids, alive = rng.integers(0, 2, (5, 60)), rng.random((5, 60)) < 0.9
    found = boxes.suppress(*map(tf.constant, (corners, ids, alive)), threshold).numpy()
    for i in range(5):
        expected = greedy(corners[i], ids[i], alive[i], threshold)
        assert np.flatnonzero(found[i]).tolist() == expected
        assert 1 < len(expected) < 54


def test_a_chain_of_overlaps_is_settled_link_by_link():
    """Each overlaps the next only: every other stays, which the last link learns last."""
    left = np.arange(30) * 0.4
    corners = np.stack([left, 0 * left, left + 1, 0 * left + 1], -1)[None]
    ids, alive = np.zeros((1, 30), int), np.ones((1, 30), bool)
    found = boxes.suppress(*map(tf.constant, (corners, ids, alive)), 0.3).numpy()
    assert np.flatnonzero(found[0]).tolist() == list(range(0, 30, 2))


def raw_of(labels, height, width, classes, sure=6.0):
    """Raw outputs that mean `labels`."""
    targets = boxes.assign(tf.constant(labels), height, width)
    logits = sure * (2 * np.eye(classes + 1)[targets.classes.numpy()][..., :classes] - 1)
    distances = np.log(np.expm1(targets.distances.numpy()))
    center = np.full((*logits.shape[:2], 1), 4.0)
    raw = np.concatenate([logits, distances, center], -1)
    return raw.reshape(len(labels), height, width, -1).astype("float32")


def test_served_answers_are_the_labels_where_outputs_mean_them():
    labels = np.full((3, 4, 5), -1.0, "float32")
    labels[0, :2] = [[0.1, 0.2, 0.45, 0.6, 2], [0.5, 0.5, 0.95, 0.9, 0]]
    labels[1, 3] = [0.2, 0.2, 0.9, 0.9, 1]
    task = ObjectDetection("objects", num_classes=3, max_boxes=4, max_detections=5)
    raw = raw_of(labels, 8, 8, 3)
    answers = task.serve(raw)
    assert set(answers) == {"objects", "objects_score", "objects_class"}
    assert answers["objects"].shape == (3, 5, 4)
    assert answers["objects_class"].dtype == "int64"
    for image, at, score, kind in zip(labels, *answers.values(), strict=True):
        expected = sorted(image[image[:, 4] >= 0].tolist())
        count = len(expected)
        rows = np.column_stack([at, kind])
        np.testing.assert_allclose(sorted(rows[:count].tolist()), expected, atol=1e-5)
        np.testing.assert_allclose(score[:count], np.sqrt(expit(6) * expit(4)), rtol=1e-5)
        assert (rows[count:] == -1).all() and np.all(score[count:] == -1)
    (metric,) = task.metrics()
    values, present, _ = task.read_labels(labels)
    task.update_metric(metric, values, raw, tf.cast(present, "float32"))
    assert float(metric.result()) == 1


def test_detections_keep_their_number_on_any_grid_and_lie_in_the_image():
    task = ObjectDetection("objects", num_classes=1, max_boxes=2)
    for outputs in (
        np.zeros((2, 1, 1, 6)),
        np.full((2, 3, 4, 6), 1e30),
        np.full((2, 2, 2, 6), NAN),
    ):
        rows = task.detections(outputs.astype("float32")).numpy()
        assert rows.shape == (2, 50, 6)
        assert np.isfinite(rows).all() and rows[..., :5].max() <= 1
        assert ((rows[..., :4] >= 0).all(-1) | (rows == -1).all(-1)).all()
        assert (rows[:, 0, 5] == (-1 if np.isnan(outputs).any() else 0)).all()
    scores = ObjectDetection("objects", 1, 2, min_score=0.6).detections(np.zeros((1, 2, 2, 6)))
    assert np.all(scores == -1)  # the geometric mean of 1/2 and 1/2 is below


# -- the task and a model ------------------------------------------------------------------------


def test_arguments():
    task = ObjectDetection("objects", 2, 3, head_units=(), metrics=["map", "map_50"])
    assert [metric.name for metric in task.metrics()] == ["map", "map_50"]
    assert (task.monitor, task.mode) == ("map_50", "max")
    copy = ObjectDetection.from_config(task.get_config())
    assert copy.get_config() == task.get_config()
    assert ObjectDetection("objects", 2, 3, metrics=[]).monitor == "loss"
    for arguments, message in [
        ({"num_classes": 0}, "`num_classes` of task `objects` should be an integer of at least 1"),
        ({"max_boxes": 0}, "`max_boxes` of task `objects` should be an integer of at least 1"),
        ({"num_candidates": 9}, "`num_candidates` of task `objects` should be an integer of at l"),
        ({"min_score": 2}, "`min_score` of task `objects` should be a number of at least 0 and"),
        ({"head_units": (None,)}, "`head_units` of task `objects` should be a tuple of positive"),
        ({"missing": -1}, "`missing` of task `objects` should not be a label"),
    ]:
        with pytest.raises(ValueError, match=message):
            ObjectDetection("objects", **{"num_classes": 2, "max_boxes": 3, **arguments})


def test_features_and_outputs_that_do_not_fit_are_refused():
    task = ObjectDetection("objects", 2, 3)
    for shape in ((8,), (None, None, 8)):
        with pytest.raises(ValueError, match="features of task `objects` should be one map"):
            task.head(keras.Input(shape))
    task.check_output((None, 4, 4, 7))
    with pytest.raises(ValueError, match="output of task `objects` should have shape"):
        task.check_output((None, 4, 4, 8))
    with pytest.raises(ValueError, match="output of task `objects` should have a known height"):
        task.check_output((None, None, 4, 7))


def test_classes_are_rare_at_the_start():
    features = keras.Input((4, 4, 8))
    model = keras.Model(features, ObjectDetection("objects", 2, 3).head(features))
    outputs = model(np.random.default_rng(0).normal(size=(5, 4, 4, 8))).numpy()
    np.testing.assert_allclose(expit(outputs[..., :2]), 0.01, atol=0.01)
    assert abs(outputs[..., 2:]).max() < 0.5
    untrained = ObjectDetection("objects", 2, 3).serve(outputs)
    assert np.all(untrained["objects_class"] == -1)


def test_one_bad_label_stops_training():
    model = two_tasks(metrics=[])
    x, y = scenes(4)
    y["objects"][1, 0] = [0.5, 0.5, 0.4, 0.6, 1]
    model.compile("sgd", jit_compile=False)
    before = model.get_weights()
    with pytest.raises(ValueError, match="`objects`"):
        model.fit(x, y, verbose=0)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def scenes(number, size=24, seed=0):
    """One or two rectangles in front of nothing, red or green."""
    rng = np.random.default_rng(seed)
    images = np.zeros((number, size, size, 3), "float32")
    labels = np.full((number, 2, 5), -1.0, "float32")
    for i in range(number):
        for j in range(rng.integers(1, 3)):
            width, height = rng.integers(7, 11, 2)
            left, top = rng.integers(0, size - width), rng.integers(0, size - height)
            area = images[i, top : top + height, left : left + width]
            if not area.any():
                kind = rng.integers(0, 2)
                area[..., kind], area[..., 2] = 1, 0.5
                right, bottom = left + width, top + height
                labels[i, j] = [left / size, top / size, right / size, bottom / size, kind]
    red = ((labels[..., 4] == 0).any(1)).astype("int64")
    return images, {"objects": labels, "any_red": red}


def two_tasks(**arguments):
    image = keras.Input((24, 24, 3), name="image")
    x = image
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    objects = ObjectDetection("objects", 2, 2, head_units=(32,), max_detections=5, **arguments)
    red = BinaryClassification("any_red")
    return HardSharing(image, [objects, red], backbone=keras.Model(image, x))


def test_a_model_learns_a_few_images_and_is_saved_and_served(tmp_path):
    model = two_tasks(num_candidates=50, min_score=0.2)
    x, y = scenes(8)
    y["objects"][5] = NAN  # not known
    y["objects"][6] = -1  # known to be empty
    x[6] = 0
    y["any_red"][5:7] = [-1, 0]
    model.compile(keras.optimizers.Adam(5e-3), balancer="equal", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8).repeat(15)
    logs = model.fit(data, epochs=4, shuffle=False, verbose=0).history
    assert logs["objects_loss"][-1] < logs["objects_loss"][0] / 1.5
    assert logs["objects_map_50"][-1] > 0.9

    outputs = model.predict(x, verbose=0)["objects"]
    answers = model.tasks["objects"].serve(outputs)
    assert (answers["objects_class"][6] == -1).numpy().all()
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0)["objects"], outputs)
    assert loaded.tasks["objects"].get_config() == model.tasks["objects"].get_config()

    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served").signatures["objects"](image=x)
    assert set(served) == set(answers)
    for key in served:
        np.testing.assert_allclose(served[key], answers[key], atol=1e-4)


@pytest.mark.slow
def test_two_detectors_on_one_trunk_are_trained_in_mixed_precision(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    inputs = keras.Input((24, 24, 3), name="image")
    trunk = keras.Model(
        inputs, keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(inputs)
    )
    tasks = [ObjectDetection(name, 2, 2, head_units=(8,), metrics=[]) for name in ("cats", "dogs")]
    model = HardSharing(inputs, tasks, backbone=trunk)
    assert model.get_layer("cats_head_0").compute_dtype == "float16"
    assert {name: t.dtype for name, t in model.output.items()} == {
        "cats": "float32",
        "dogs": "float32",
    }
    model.compile("adam", balancer="pcgrad", jit_compile=False)
    x, y = scenes(6)
    logs = model.fit(
        x, {"cats": y["objects"], "dogs": y["objects"][::-1].copy()}, epochs=2, verbose=0
    ).history
    assert np.isfinite(logs["loss"]).all()
    model.save(tmp_path / "m.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.get_layer("cats_head_0").compute_dtype == "float16"


def test_outputs_are_float64_if_all_is():
    keras.config.set_dtype_policy("float64")
    features = keras.Input((4, 4, 8))
    assert ObjectDetection("objects", 2, 3).head(features).dtype == "float64"


def test_other_metrics_get_raw_outputs():
    shapes = []

    def seen(y_true, y_pred):
        shapes.append((tuple(y_true.shape), tuple(y_pred.shape)))
        return keras.ops.zeros((y_true.shape[0],))

    task = ObjectDetection("objects", 2, 3, metrics=[seen, MeanAveragePrecision(2)])
    assert task.monitor == "map_50"
    for metric in task.metrics():
        task.update_metric(metric, np.zeros((4, 3, 5)), np.zeros((4, 2, 2, 7)), np.ones(4))
    assert shapes == [((4, 3, 5), (4, 2, 2, 7))]
