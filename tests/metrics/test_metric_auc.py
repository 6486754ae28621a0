import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, log_softmax, softmax
from scipy.stats import rankdata

from mtlzoo.metrics import AUC


def exact(positive, scores, weights=None):
    """The area from ranks, ties counted half; only 0/1 weights."""
    keep = np.ones(len(scores), bool) if weights is None else weights > 0
    positive, ranks = positive[keep].astype(bool), rankdata(scores[keep].astype("float64"))
    p, n = positive.sum(), (~positive).sum()
    return (ranks[positive].sum() - p * (p + 1) / 2) / (p * n)


def area(metric, *batch):
    metric.update_state(*batch)
    return float(metric.result())


@pytest.mark.parametrize(
    ("mean", "spread", "tolerance"),
    [(0, 1, 1e-4), (-3, 1, 3e-4), (-7, 1, 1.5e-3), (-7, 2, 3e-4), (0, 10, 3e-4), (0, 0.05, 1e-3)],
)
def test_is_the_exact_area_whatever_the_share_of_positives(mean, spread, tolerance):
    rng = np.random.default_rng(0)
    logits = rng.normal(mean, spread, 100_000)
    positive = rng.random(100_000) < expit(logits)
    scores = (logits + rng.normal(0, spread, 100_000)).astype("float32")
    expected = exact(positive, scores)
    assert abs(area(AUC(), positive, scores[:, None]) - expected) < tolerance
    # float32 ties all probabilities above 1 - 6e-8
    probabilities = expit(scores.astype("float64")).astype("float32")
    expected = exact(positive, probabilities)
    ours = area(AUC(from_logits=False), positive, probabilities[:, None])
    assert abs(ours - expected) < tolerance


def test_keras_misses_rare_positives():
    """The reason for a metric of our own; notice when it goes."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-7, 1, 200_000)
    positive = rng.random(200_000) < expit(logits)
    scores = (logits + rng.normal(0, 1, 200_000)).astype("float32")[:, None]
    expected = exact(positive, scores[:, 0])
    theirs = area(keras.metrics.AUC(from_logits=True), positive[:, None], scores)
    assert abs(theirs - expected) > 0.05
    assert abs(area(AUC(), positive, scores) - expected) < 2e-3


@pytest.mark.parametrize("from_logits", [True, False])
def test_class_ids_one_against_the_rest(from_logits):
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 4))
    ids = np.argmax(logits + rng.gumbel(size=logits.shape) * 2, axis=-1)
    weights = (rng.random(20_000) < 0.7).astype("float32")
    outputs = (logits if from_logits else softmax(logits, axis=-1)).astype("float32")
    log_p = log_softmax(logits, axis=-1)
    expected = np.mean([exact(ids == c, log_p[:, c], weights) for c in range(4)])
    ours = area(AUC(4, class_ids=True, from_logits=from_logits), ids, outputs, weights)
    assert abs(ours - expected) < 5e-4


def test_cells_are_masked_and_labels_without_both_kinds_are_left_out():
    rng = np.random.default_rng(2)
    scores = rng.normal(0, 2, (5_000, 4)).astype("float32")
    labels = (rng.random((5_000, 4)) < expit(scores)).astype("float32")
    labels[:, 2] = 1  # no negatives
    weights = (rng.random((5_000, 4)) < 0.6).astype("float32")
    weights[:, 3] = 0  # no labels at all
    expected = np.mean([exact(labels[:, k], scores[:, k], weights[:, k]) for k in (0, 1)])
    assert abs(area(AUC(4), labels, scores, weights) - expected) < 5e-4


def test_extremes():
    assert area(AUC(), [1, 0], [[1e30], [-1e30]]) == 1
    assert area(AUC(), [0, 1], [[1e30], [-1e30]]) == 0
    assert area(AUC(), [0, 1], [[0.3], [0.3]]) == 0.5
    assert area(AUC(), [1, 1], [[0.3], [0.2]]) == 0  # undefined
    assert area(AUC(from_logits=False), [1, 0], [[1.0], [0.0]]) == 1
    assert area(AUC(2, class_ids=True), [0, 1], [[1e4, -1e4], [-1e4, 1e4]]) == 1
    assert float(AUC().result()) == 0


def test_soft_labels_count_from_one_half():
    assert area(AUC(), [0.9, 0.2], [[1.0], [-1.0]]) == 1


def test_batches_add_up_reset_and_round_trip():
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(64, 1)).astype("float32")
    labels = (rng.random(64) < 0.5).astype("int32")
    whole = area(AUC(bins=100), labels, scores)
    parts = AUC(bins=100)
    for i in range(0, 64, 16):
        parts.update_state(labels[i : i + 16], scores[i : i + 16])
    assert float(parts.result()) == pytest.approx(whole, abs=1e-6)
    parts.reset_state()
    assert float(parts.result()) == 0
    config = AUC(3, class_ids=True, from_logits=False, bins=9, name="a").get_config()
    assert AUC.from_config(config).get_config() == config


def test_updates_under_xla_with_a_static_shape():
    metric = AUC(3, class_ids=True)

    @tf.function(jit_compile=True)
    def step(labels, outputs, weights):
        metric.update_state(labels, outputs, weights)

    rng = np.random.default_rng(4)
    labels, outputs = rng.integers(0, 3, 32), rng.normal(size=(32, 3)).astype("float32")
    weights = np.ones(32, "float32")
    step(labels, outputs, weights)
    assert float(metric.result()) == pytest.approx(
        area(AUC(3, class_ids=True), labels, outputs, weights), abs=1e-6
    )
