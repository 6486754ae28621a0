"""MeanAveragePrecision against the exact area, computed detection by detection."""

import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.metrics import MeanAveragePrecision
from mtlzoo.metrics.average_precision import COCO_THRESHOLDS
from mtlzoo.metrics.overlap import iou

CLASSES = 3


def overlap_of(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(sizes) - shared)


def random_images(number=200, most_boxes=5, most_detections=8, seed=0):
    """Boxes, and detections most of which are moved boxes, some with a wrong class, some made up;
    sure ones are better."""
    rng = np.random.default_rng(seed)

    def box():
        low = rng.random(2) * 0.6
        return np.concatenate([low, low + 0.1 + rng.random(2) * 0.3])

    labels = np.full((number, most_boxes, 5), -1.0)
    found = np.full((number, most_detections, 6), -1.0)
    for i in range(number):
        for j in range(rng.integers(0, most_boxes + 1)):
            labels[i, j] = [*box(), rng.integers(CLASSES)]
        truth = labels[i][labels[i, :, 4] >= 0]
        for j in range(rng.integers(0, most_detections + 1)):
            score = rng.random()
            if len(truth) and rng.random() < 0.8:
                of = truth[rng.integers(len(truth))]
                at = of[:4] + rng.normal(size=4) * 0.06 * (1.1 - score)
                kind = of[4] if rng.random() < 0.9 else rng.integers(CLASSES)
                found[i, j] = [*at, score, kind]
            else:
                found[i, j] = [*box(), score, rng.integers(CLASSES)]
    return labels, found


def exact(labels, found, threshold, rounded_to=None):
    """Average precision with all scores apart, averaged over classes."""
    areas = []
    for kind in range(CLASSES):
        scored, boxes = [], 0
        for truth, answers in zip(labels, found, strict=True):
            free = [row for row in truth if row[4] == kind]
            boxes += len(free)
            for row in sorted((r for r in answers if r[5] == kind), key=lambda r: -r[4]):
                overlaps = [overlap_of(row, box) for box in free]
                hit = bool(overlaps) and max(overlaps) >= threshold
                if hit:
                    free.pop(int(np.argmax(overlaps)))
                score = row[4] if rounded_to is None else np.floor(row[4] * rounded_to)
                scored.append((score, hit))
        if not boxes:
            continue
        steps = sorted({score for score, _ in scored}, reverse=True)
        taken = [[hit for score, hit in scored if score >= step] for step in steps]
        recall = [0.0] + [sum(hits) / boxes for hits in taken]
        precision = [sum(hits) / len(hits) for hits in taken]
        areas.append(
            sum((recall[i + 1] - recall[i]) * max(precision[i:]) for i in range(len(steps)))
        )
    return np.mean(areas)


def test_overlaps():
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.random((2, 7, 2, 2)), axis=2).reshape(2, 7, 4)
    expected = [[[overlap_of(a, b) for b in image[:4]] for a in image] for image in boxes]
    np.testing.assert_allclose(iou(boxes, boxes[:, :4]), expected, rtol=1e-6)
    assert float(iou(np.zeros((1, 4)), np.zeros((1, 4)))[0, 0]) == 0


@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_the_area_is_the_exact_one_of_rounded_scores(threshold):
    labels, found = random_images()
    metric = MeanAveragePrecision(CLASSES, thresholds=[threshold])
    for rows in (slice(0, 80), slice(80, 200)):
        metric.update_state(labels[rows], found[rows])
    result = float(metric.result())
    assert result == pytest.approx(exact(labels, found, threshold, rounded_to=200), abs=1e-6)
    assert result == pytest.approx(exact(labels, found, threshold), abs=0.005)
    assert 0.1 < result < 0.9


@pytest.mark.slow
def test_several_thresholds_are_averaged_also_under_xla():
    labels, found = random_images(40)
    labels, found = labels.astype("float32"), found.astype("float32")
    metric = MeanAveragePrecision(CLASSES, thresholds=COCO_THRESHOLDS)
    tf.function(metric.update_state, jit_compile=True)(labels, found)
    result = float(tf.function(metric.result, jit_compile=True)())
    areas = [exact(labels, found, threshold, rounded_to=200) for threshold in COCO_THRESHOLDS]
    assert result == pytest.approx(np.mean(areas), abs=1e-6)


def test_a_box_is_found_once_and_classes_without_boxes_do_not_count():
    box = [0.1, 0.1, 0.5, 0.5]
    labels = [[[*box, 0], [-1.0] * 5]]
    twice = [[[*box, 0.9, 0], [*box, 0.8, 0], [*box, 0.7, 2]]]
    metric = MeanAveragePrecision(CLASSES)
    metric.update_state(labels, twice)
    assert float(metric.result()) == 1  # the second is a miss below the only hit
    metric.reset_state()
    other = [[[*box, 0.9, 1], [*box, 0.8, 0], [-1.0] * 6]]
    metric.update_state([[[*box, 0], [*box, 1]]], other)
    assert float(metric.result()) == 1
    metric.update_state([[[*box, 2], [-1.0] * 5]], np.full((1, 3, 6), -1.0))
    assert float(metric.result()) == pytest.approx(2 / 3)


def test_the_order_of_detections_and_the_place_of_padding_do_not_matter():
    labels, found = random_images(30)
    results = []
    for order in (slice(None), slice(None, None, -1)):
        metric = MeanAveragePrecision(CLASSES)
        metric.update_state(labels[:, order], found[:, order])
        results.append(float(metric.result()))
    assert results[0] == results[1] > 0


def test_weights_mask_images():
    labels, found = random_images(30)
    alone, masked = MeanAveragePrecision(CLASSES), MeanAveragePrecision(CLASSES)
    alone.update_state(labels[::2], found[::2])
    masked.update_state(labels, found, np.arange(30) % 2 == 0)
    assert float(masked.result()) == float(alone.result()) > 0
    np.testing.assert_array_equal(masked.boxes, alone.boxes)


def test_nothing_seen_nothing_found_and_numbers_that_are_none():
    labels, found = random_images(4)
    metric = MeanAveragePrecision(CLASSES)
    assert float(metric.result()) == 0
    metric.update_state(np.full((2, 3, 5), -1.0), np.full((2, 3, 6), -1.0))
    assert float(metric.result()) == 0
    metric.update_state(labels, np.full_like(found, np.nan))
    assert float(metric.result()) == 0
    metric.update_state(np.zeros_like(labels), found, np.zeros(4))  # images without labels
    assert float(metric.result()) == 0


def test_names_and_configuration():
    assert MeanAveragePrecision(1).name == "map_50"
    assert MeanAveragePrecision(1, thresholds=[0.75]).name == "map_75"
    assert MeanAveragePrecision(1, thresholds=COCO_THRESHOLDS).name == "map"
    config = MeanAveragePrecision(4, thresholds=[0.5, 0.6], bins=50, name="mine").get_config()
    assert MeanAveragePrecision.from_config(config).get_config() == config


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"`thresholds` should be a non-empty list.*\(0, 0.5\)"):
        MeanAveragePrecision(1, thresholds=(0, 0.5))
    with pytest.raises(ValueError, match="`thresholds` should be a non-empty list"):
        MeanAveragePrecision(1, thresholds=[])
    with pytest.raises(ValueError, match="`num_classes` should be a positive integer"):
        MeanAveragePrecision(0)
    with pytest.raises(ValueError, match=r"`y_pred` should have the shape \(None, 'rows', 6\)"):
        MeanAveragePrecision(1).update_state(np.zeros((2, 3, 5)), np.zeros((2, 3, 5)))
