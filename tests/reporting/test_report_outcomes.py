import numpy as np
import pytest

from mtlzoo import (
    BinaryClassification,
    Classification,
    MultiLabelClassification,
    Regression,
    SemanticSegmentation,
)
from mtlzoo.metrics import ExpectedCalibrationError
from mtlzoo.reporting.answers import TaskAnswers
from mtlzoo.reporting.outcomes import outcomes

RNG = np.random.default_rng(0)


def answers(outputs, values, present=None):
    values = np.asarray(values)
    present = np.ones(values.shape, bool) if present is None else np.asarray(present)
    return TaskAnswers(np.asarray(outputs, "float32"), values, present, present.astype("float32"))


def counted(truth, given, classes):
    found = np.zeros((classes, classes), int)
    for t, g in zip(np.ravel(truth), np.ravel(given), strict=True):
        found[t, g] += 1
    return found


def test_yes_or_no():
    outputs, values = RNG.normal(size=(200, 1)), RNG.integers(0, 2, (200, 1))
    present = np.arange(200)[:, None] % 5 > 0
    found = outcomes(BinaryClassification("a"), answers(outputs, values, present))
    assert found.classes == ("no", "yes")
    expected = counted(values[present], (outputs > 0)[present].astype(int), 2)
    np.testing.assert_array_equal(found.confusion, expected)
    metric = ExpectedCalibrationError()
    metric.update_state(values[present], outputs[present][:, None])
    assert found.reliability.error == pytest.approx(float(metric.result()), abs=1e-6)
    assert found.reliability.number.sum() == 160


@pytest.mark.parametrize("shape", [(150,), (6, 5, 4)], ids=["rows", "pixels"])
def test_class_ids(shape):
    outputs, values = RNG.normal(size=(*shape, 4)), RNG.integers(0, 4, shape)
    rows = len(shape) == 1
    task = Classification("a", 4) if rows else SemanticSegmentation("a", 4)
    present = RNG.random(shape) > 0.3
    found = outcomes(task, answers(outputs, values, present))
    expected = counted(values[present], outputs.argmax(-1)[present], 4)
    np.testing.assert_array_equal(found.confusion, expected)
    metric = ExpectedCalibrationError(4, class_ids=True)
    metric.update_state(values[present], outputs[present])
    assert found.reliability.error == pytest.approx(float(metric.result()), abs=1e-6)


def test_labels_that_are_distributions_count_as_their_most_probable_class():
    outputs, values = RNG.normal(size=(50, 3)), RNG.dirichlet(np.ones(3), 50)
    found = outcomes(Classification("a", 3), answers(outputs, values, np.ones(50, bool)))
    expected = counted(values.argmax(-1), outputs.argmax(-1), 3)
    np.testing.assert_array_equal(found.confusion, expected)


@pytest.mark.parametrize("by_cell", [True, False])
def test_several_labels_are_counted_cell_by_cell(by_cell):
    outputs, values = RNG.normal(size=(40, 3)), RNG.integers(0, 2, (40, 3))
    present = RNG.random((40, 3) if by_cell else 40) > 0.3
    found = outcomes(MultiLabelClassification("a", 3), answers(outputs, values, present))
    there = present if by_cell else np.repeat(present[:, None], 3, 1)
    expected = counted(values[there], (outputs > 0)[there].astype(int), 2)
    np.testing.assert_array_equal(found.confusion, expected)


def test_probabilities_are_taken_as_they_are():
    task = BinaryClassification("a", from_logits=False)
    found = outcomes(task, answers([[0.9], [0.9], [0.9], [0.9]], [[1], [1], [1], [0]]))
    assert found.reliability.error == pytest.approx(0.15, abs=1e-6)


@pytest.mark.filterwarnings("error")
def test_answers_that_are_not_finite_are_left_out():
    outputs = np.array([[0.0, 1, 2], [np.nan] * 3, [3, 0, 0]])
    found = outcomes(Classification("a", 3), answers(outputs, [2, 0, 0]))
    assert found.left_out == 1
    np.testing.assert_array_equal(found.confusion, np.diag([1, 0, 1]))
    assert found.reliability.number.sum() == 2


def test_other_kinds_have_none():
    assert outcomes(Regression("a"), answers(np.ones((3, 1)), np.ones((3, 1)))) is None
