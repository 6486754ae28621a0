import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.metrics import F1Score, Precision, Recall


def reference(kind, true, predicted, weights, average):
    """Scores from sets of cells, in float64."""
    true, predicted = true.astype(bool), predicted.astype(bool)
    if average == "micro":
        columns = [(true.ravel(), predicted.ravel(), weights.ravel())]
    else:
        columns = list(zip(true.T, predicted.T, weights.T, strict=True))
    scores = []
    for t, p, w in columns:
        tp, fp, fn = w[t & p].sum(), w[~t & p].sum(), w[t & ~p].sum()
        if average == "macro" and tp + fp + fn == 0:
            continue
        denominator = {"p": tp + fp, "r": tp + fn, "f": tp + (fp + fn) / 2}[kind]
        scores.append(tp / denominator if denominator else 0.0)
    return np.mean(scores)


KINDS = [("p", Precision), ("r", Recall), ("f", F1Score)]


def score(metric, *batch):
    metric.update_state(*batch)
    return float(metric.result())


@pytest.mark.parametrize(("kind", "cls"), KINDS)
@pytest.mark.parametrize("average", ["macro", "micro"])
def test_cells_with_masks_per_cell(kind, cls, average):
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(200, 5)).astype("float32")
    true = rng.random((200, 5)) < [0.5, 0.1, 0.9, 0.0, 0.5]
    outputs[:, 3] = -1  # neither true nor predicted
    weights = (rng.random((200, 5)) < 0.6).astype("float64")
    weights[:, 4] = 0
    expected = reference(kind, true, outputs > 0, weights, average)
    ours = score(cls(5, average=average), true, outputs, weights)
    assert ours == pytest.approx(expected, abs=1e-6)
    probabilities = 1 / (1 + np.exp(-outputs))
    ours = score(cls(5, average=average, from_logits=False), true, probabilities, weights)
    assert ours == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("kind", "cls"), KINDS)
@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("column", [False, True])
def test_class_ids_with_masked_rows(kind, cls, average, column):
    rng = np.random.default_rng(1)
    outputs = rng.normal(size=(300, 6)).astype("float32")
    outputs[:, 5] = -9
    ids = rng.integers(0, 5, 300)
    weights = (rng.random(300) < 0.5).astype("float32")
    eye = np.eye(6)
    cells = np.repeat(weights[:, None], 6, axis=1)
    expected = reference(kind, eye[ids], eye[outputs.argmax(-1)], cells, average)
    batch = (ids[:, None] if column else ids, outputs, weights)
    ours = score(cls(6, class_ids=True, average=average), *batch)
    assert ours == pytest.approx(expected, abs=1e-6)


def test_micro_scores_of_class_ids_are_the_accuracy():
    rng = np.random.default_rng(2)
    outputs, ids = rng.normal(size=(50, 4)).astype("float32"), rng.integers(0, 4, 50)
    accuracy = np.mean(outputs.argmax(-1) == ids)
    for _, cls in KINDS:
        ours = score(cls(4, class_ids=True, average="micro"), ids, outputs)
        assert ours == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.parametrize(("kind", "cls"), KINDS)
def test_one_label_takes_labels_with_and_without_an_axis(kind, cls):
    labels = np.array([1, 1, 0, 0, 1])
    outputs = np.array([[2.0], [-1.0], [3.0], [-1.0], [0.5]], "float32")
    weights = np.array([1.0, 1, 1, 1, 0])
    expected = reference(kind, labels[:, None], outputs > 0, weights[:, None], "macro")
    for y in (labels, labels[:, None]):
        for w in (weights, weights[:, None]):
            assert score(cls(), y, outputs, w) == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "cls"), KINDS)
def test_empty_batches_reset_xla_and_config(kind, cls):
    metric = cls(2, name=kind)
    assert float(metric.result()) == 0
    labels, outputs = np.array([[1, 0], [0, 1]]), np.array([[1.0, 1.0], [1.0, 1.0]], "float32")
    metric.update_state(labels, outputs, np.zeros((2, 2)))
    assert float(metric.result()) == 0
    tf.function(metric.update_state, jit_compile=True)(labels, outputs, np.ones((2, 2)))
    assert float(metric.result()) == pytest.approx(score(cls(2), labels, outputs))
    metric.reset_state()
    assert float(metric.result()) == 0
    config = cls(3, class_ids=True, from_logits=False, average="micro", name=kind).get_config()
    assert cls.from_config(config).get_config() == config


def test_an_unknown_average_is_refused():
    with pytest.raises(ValueError, match=r'`average` should be "macro" or "micro".*\'weighted\''):
        F1Score(average="weighted")
