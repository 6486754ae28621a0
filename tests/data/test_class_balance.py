"""Class weights and resampling: what counts for more, and what is drawn more often."""

import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import data
from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    MultiLabelClassification,
    Regression,
    SemanticSegmentation,
)


def test_by_inverse_weights_all_classes_count_the_same():
    counts = np.array([80, 15, 5])
    weights = data.class_weights(counts)
    np.testing.assert_allclose(counts * weights, np.full(3, 100 / 3))


def test_effective_weights_are_those_of_the_paper_up_to_scale():
    counts, beta = np.array([5000, 50, 1]), 0.99
    paper = (1 - beta) / (1 - beta ** counts.astype("float64"))
    weights = data.class_weights(counts, method="effective", beta=beta)
    np.testing.assert_allclose(weights / weights[0], paper / paper[0], rtol=1e-12)
    np.testing.assert_allclose((counts * weights).sum(), counts.sum())
    np.testing.assert_allclose(data.class_weights(counts, method="effective", beta=0), 1)


def test_a_class_without_labels_has_the_weight_of_one_label():
    assert data.class_weights([10, 1, 0])[1] == data.class_weights([10, 1, 0])[2]


def test_shares_are_counts_as_well():
    np.testing.assert_allclose(data.class_weights([0.9, 0.1]), [5 / 9, 5])


@pytest.mark.parametrize("dtype", ["int32", "float64", "bool"])
def test_sample_weights_may_be_of_any_type_and_have_an_axis_more(dtype):
    y = {"kind": np.array([0, 1, 1])}
    w = {"kind": np.array([[1], [0], [1]], dtype)}
    dataset = tf.data.Dataset.from_tensor_slices((np.zeros((3, 1)), y, w)).batch(3)
    task = Classification("kind", 2)
    ((_, _, found),) = data.weigh_classes(dataset, [task], {"kind": [0.5, 1.5]})
    np.testing.assert_allclose(found["kind"], [0.5, 0, 1.5])
    assert data.check(dataset, [task]).tasks["kind"].counts.tolist() == [1, 1]


def test_distributions_are_counted_as_their_most_probable_class():
    y = {"kind": np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [-1, -1]], "float32")}
    dataset = tf.data.Dataset.from_tensor_slices((np.zeros((4, 1)), y)).batch(4)
    task = Classification("kind", 2)
    report = data.check(dataset, [task], batches=None)
    assert report.tasks["kind"].counts.tolist() == [2, 1]
    ((_, drawn), *_) = data.resample(dataset, task, report, batch_size=4)
    assert drawn["kind"].shape == (4, 2)


def test_counts_come_from_a_report():
    y = {"kind": np.array([0, 0, 0, 1, -1]), "several": np.zeros((5, 2), "int32")}
    dataset = tf.data.Dataset.from_tensor_slices((np.zeros((5, 1)), y)).batch(5)
    tasks = [Classification("kind", 2), MultiLabelClassification("several", 2)]
    report = data.check(dataset, tasks, batches=None)
    np.testing.assert_allclose(data.class_weights(report, "kind"), [2 / 3, 2])
    with pytest.raises(ValueError, match="Task `several` should have one class per label"):
        data.class_weights(report, "several")
    with pytest.raises(ValueError, match=r"`task` should be one of the report's.*'other'"):
        data.class_weights(report, "other")
    with pytest.raises(ValueError, match="`counts` should be of the whole data set"):
        data.class_weights(data.check(dataset.repeat(2), tasks, batches=1), "kind")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"counts": [1, 2], "method": "square"}, "`method` should be one of"),
        ({"counts": [1, 2], "beta": 1.0}, "`beta` should be a number from 0 to below 1"),
        ({"counts": [1]}, "`counts` should be numbers of labels, of two classes"),
        ({"counts": [0, 0]}, "`counts` should be numbers of labels"),
        ({"counts": [1, -1]}, "`counts` should be numbers of labels"),
        ({"counts": [1, np.nan]}, "`counts` should be numbers of labels"),
    ],
)
def test_unusable_counts_and_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.class_weights(**arguments)


def test_sample_weights_are_multiplied_by_that_of_the_class():
    y = {
        "kind": np.array([0, 2, -1, 1]),
        "soft": np.array([[1, 0], [0.5, 0.5], [-1, -1], [0, 1]], "float32"),
        "yes": np.array([0, 1, -1, 0.5], "float32"),
        "pixels": np.array([[[0, 255]], [[1, 1]], [[0, 1]], [[255, 0]]]),
        "value": np.zeros((4, 1), "float32"),
    }
    w = {"kind": np.array([1, 2, 3, 4], "float32"), "pixels": np.array([1, 2, 3, 4], "float32")}
    dataset = tf.data.Dataset.from_tensor_slices((np.zeros((4, 1)), y, w)).batch(4)
    tasks = [
        Classification("kind", 3),
        Classification("soft", 2),
        BinaryClassification("yes"),
        SemanticSegmentation("pixels", 2),
        Regression("value"),
    ]
    weights = {"kind": [1, 10, 100], "soft": [1, 3], "yes": [1, 5], "pixels": [1, 2]}
    ((_, labels, found),) = data.weigh_classes(dataset, tasks, weights)
    assert found["kind"].numpy().tolist() == [1, 200, 3, 40]
    assert found["soft"].numpy().tolist() == [1, 2, 1, 3]
    assert found["yes"].numpy().tolist() == [1, 5, 1, 3]
    assert found["pixels"].numpy().tolist() == [[[1, 1]], [[4, 4]], [[3, 6]], [[4, 4]]]
    assert found["value"].numpy().tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(labels["kind"], y["kind"])


def test_unusable_weights_are_refused():
    y = {"kind": np.array([0, 1]), "value": np.zeros((2, 1), "float32")}
    dataset = tf.data.Dataset.from_tensor_slices((np.zeros((2, 1)), y)).batch(2)
    tasks = [Classification("kind", 3), Regression("value")]
    for weights, message in (
        ({"other": [1, 1]}, r"`weights` should have keys among \['kind', 'value'\]"),
        ({"kind": [1, 1]}, r"`weights\['kind'\]` should be 3 numbers"),
        ({"kind": [1, -1, 1]}, r"`weights\['kind'\]` should be 3 numbers"),
        ({"value": [1, 1]}, "Task `value` should have one class per label"),
        ({"kind": "balanced"}, r"`weights\['kind'\]` should be 3 numbers"),
        ([1, 1], "`weights` should be a dict by task"),
    ):
        with pytest.raises(ValueError, match=message):
            data.weigh_classes(dataset, tasks, weights)


ROWS = 3000
IDS = np.repeat([0, 1, 2, -1], [1800, 540, 60, 600])


def shuffled():
    """Rows with three classes of very different size, and some without a label."""
    x = np.arange(ROWS)
    given = (x, {"kind": IDS}, {"kind": np.ones(ROWS, "float32")})
    return tf.data.Dataset.from_tensor_slices(given).shuffle(ROWS, seed=1).batch(100)


def resampled(**arguments):
    task = Classification("kind", 3)
    report = data.check(shuffled(), [task], batches=None)
    return data.resample(shuffled(), task, report, batch_size=64, **arguments)


def drawn(dataset):
    """The rows and labels of an epoch."""
    batches = [(x.numpy(), y["kind"].numpy()) for x, y, _ in dataset]
    return tuple(np.concatenate(part) for part in zip(*batches, strict=True))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("shares", ["uniform", [0.5, 0.25, 0.25], [1, 1, 0]])
def test_classes_get_their_shares_and_missing_labels_keep_theirs(shares):
    rows, ids = drawn(resampled(shares=shares))
    assert len(rows) == 47 * 64  # as many batches as 3000 rows fill
    np.testing.assert_array_equal(ids, IDS[rows])
    expected = np.ones(3) if shares == "uniform" else np.array(shares, "float64")
    found = np.bincount(ids[ids >= 0], minlength=3)
    # Each row of an epoch is drawn independently; four standard errors.
    error = 4 * np.sqrt(0.25 / found.sum())
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=error)
    assert abs((ids < 0).mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / len(ids))


@pytest.mark.slow
def test_resampling_repeats_under_a_seed_and_differs_from_epoch_to_epoch():
    one, other = resampled(seed=3), resampled(seed=3)
    first, second = drawn(one)[0], drawn(one)[0]
    np.testing.assert_array_equal(first, drawn(other)[0])
    np.testing.assert_array_equal(second, drawn(other)[0])
    assert not np.array_equal(first, second)
    frequent = set(first[IDS[first] == 0]), set(second[IDS[second] == 0])
    assert len(frequent[0] & frequent[1]) < 0.9 * len(frequent[0])


@pytest.mark.slow
def test_rows_of_sample_weight_zero_count_as_rows_without_a_label():
    ids = np.array([0] * 50 + [1] * 50)
    w = {"kind": np.array([1] * 50 + [0] * 40 + [1] * 10, "float32")}
    given = tf.data.Dataset.from_tensor_slices((np.arange(100), {"kind": ids}, w))
    dataset, task = given.shuffle(100, seed=0).batch(10).repeat(20), Classification("kind", 2)
    report = data.check(dataset, [task], batches=None)
    batches = list(data.resample(dataset, task, report, batch_size=50))
    weights = np.concatenate([w["kind"].numpy() for _, _, w in batches])
    labels = np.concatenate([y["kind"].numpy() for _, y, _ in batches])
    assert abs(labels[weights > 0].mean() - 0.5) < 0.1
    assert abs((weights == 0).mean() - 0.4) < 0.1


def test_resampling_refuses_what_it_cannot_do():
    task = Classification("kind", 4)
    report = data.check(shuffled(), [task], batches=None)
    for arguments, message in (
        ({}, r"`shares` should be 0 for classes of task `kind` without a label.*\[3\]"),
        ({"shares": [1, 1]}, "`shares` should be 'uniform', or 4 numbers"),
        ({"shares": [1, 1, -1, 0]}, "`shares` should be 'uniform', or 4 numbers"),
        ({"shares": [0, 0, 0, 0]}, "`shares` should be 'uniform', or 4 numbers"),
        ({"batch_size": 0}, "`batch_size` should be an integer of at least 1"),
        ({"seed": -1}, "`seed` should be an integer of at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            data.resample(shuffled(), task, report, **{"batch_size": 8, **arguments})
    part = data.check(shuffled(), [task], batches=2)
    with pytest.raises(ValueError, match="`report` should be of the whole data set"):
        data.resample(shuffled(), task, part, batch_size=8)
    with pytest.raises(ValueError, match="`task` should be in the data set and in the report"):
        data.resample(shuffled(), Classification("other", 2), report, batch_size=8)
