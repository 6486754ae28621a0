"""`data.check`: what it counts, what it prints, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import data
from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    DepthEstimation,
    MultiLabelClassification,
    ObjectDetection,
    Regression,
    SemanticSegmentation,
)

ROWS = 6


def batches(y, w=None, x=None, size=2):
    """A data set of these labels."""
    x = np.zeros((ROWS, 3), "float32") if x is None else x
    given = (x, y) if w is None else (x, y, w)
    return tf.data.Dataset.from_tensor_slices(given).batch(size)


def test_labels_are_counted_by_task():
    y = {
        "yes": np.array([0, 1, 1, -1, 1, 0], "int32"),
        "kind": np.array([2, 2, 0, 1, -1, -1], "int64"),
        "value": np.array([1.5, np.nan, -2.0, 0.0, 4.0, 1.0], "float32"),
        "several": np.array([[1, -1], [0, 1], [1, 1], [0, 0], [-1, -1], [1, 0]], "int32"),
    }
    w = {"yes": np.array([1, 0, 1, 1, 2, 1], "float32")}
    tasks = [
        BinaryClassification("yes"),
        Classification("kind", num_classes=4),
        Regression("value"),
        MultiLabelClassification("several", num_labels=2),
    ]
    report = data.check(batches(y, w), tasks)
    assert (report.rows, report.batches, report.whole) == (6, 3, True)
    assert list(report.tasks) == ["kind", "several", "value", "yes"]
    yes, kind, value, several = (report.tasks[n] for n in ("yes", "kind", "value", "several"))
    assert (yes.present, yes.missing, yes.unweighted, yes.illegal) == (4, 1, 1, 0)
    assert yes.counts.tolist() == [2, 2] and yes.dtype == "int32"
    assert kind.counts.tolist() == [1, 1, 2, 0] and kind.missing == 2 and kind.dtype == "int64"
    assert (value.lowest, value.highest, value.mean) == (-2.0, 4.0, 0.9) and value.counts is None
    assert (several.entries, several.present, several.missing) == (12, 9, 3)
    assert several.counts.tolist() == [3, 2]
    lines = str(report).splitlines()
    assert lines[0] == "6 rows in 3 batches, the whole data set"
    assert lines[1].split() == [
        *("task", "dtype", "present", "missing", "weight", "0", "illegal", "labels"),
    ]
    assert lines[2].split() == ["kind", "int64", "66.7%", "2", "0", "0", "counts", *"1120"]
    assert lines[4].endswith("-2 to 4, mean 0.9")


def test_pixels_and_boxes_are_counted_too():
    mask = np.zeros((ROWS, 2, 2), "int32")
    mask[0, 0, 0], mask[1] = 1, 255
    boxes = np.full((ROWS, 3, 5), -1.0, "float32")
    boxes[:4, 0] = [0.1, 0.1, 0.5, 0.5, 1]
    boxes[5] = np.nan
    y = {"mask": mask, "boxes": boxes}
    tasks = [
        SemanticSegmentation("mask", num_classes=2, size=(2, 2)),
        ObjectDetection("boxes", num_classes=2, max_boxes=3),
    ]
    report = data.check(batches(y), tasks)
    assert report.tasks["mask"].counts.tolist() == [19, 1]
    assert report.tasks["mask"].missing == 4
    assert (report.tasks["boxes"].present, report.tasks["boxes"].missing) == (5, 1)
    per_pixel = {"mask": np.ones((ROWS, 2, 2), "float32")}
    per_pixel["mask"][2] = 0
    report = data.check(batches(y, per_pixel), tasks)
    assert report.tasks["mask"].unweighted == 4


def test_only_as_much_is_read_as_asked():
    y = {"value": np.arange(ROWS, dtype="float32")}
    report = data.check(batches(y), [Regression("value")], batches=2)
    assert (report.rows, report.whole) == (4, False)
    assert str(report).startswith("4 rows in 2 batches, the first ones\n")
    assert data.check(batches(y), [Regression("value")], batches=3).whole
    assert data.check(batches(y), [Regression("value")], batches=None).rows == 6
    with pytest.raises(ValueError, match="`batches` should be an integer of at least 1"):
        data.check(batches(y), [Regression("value")], batches=0)


GOOD = {"value": np.ones(ROWS, "float32"), "kind": np.array([0, 1, 2, 0, 1, 2], "int32")}
TASKS = [Regression("value"), Classification("kind", num_classes=3)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": np.array([0, 1, 3, 9, 1, 2], "int32")},
            r"2 that are neither, such as \[3.0",
        ),
        ({"kind": np.full(ROWS, -1, "int32")}, "Task `kind` should have labels. Received: none\n"),
        ({"kind": np.zeros(ROWS, "float32")}, "`kind` should be class ids of an integer type"),
        ({"kind": np.zeros((ROWS, 2), "int32")}, r"task `kind` should have shape \(None,\). Rec"),
        ({"value": np.full(ROWS, np.inf, "float32")}, "Labels of task `value` should be legal or"),
        ({"other": np.ones(ROWS)}, r"`y` should have keys among the tasks \['kind', 'value'\]. R"),
    ],
)
def test_what_does_not_fit_is_said_with_the_table(change, message):
    with pytest.raises(ValueError, match=message) as error:
        data.check(batches({**GOOD, **change}), TASKS)
    assert "task" in str(error.value).splitlines()[-3]


def test_everything_that_does_not_fit_is_said_at_once():
    y = {"kind": np.array([0, 5, 3, 0, 1, 2], "int32")}
    with pytest.raises(ValueError, match="Received: no key `value` in `y`"):
        data.check(batches(y), TASKS)
    y["value"] = np.full(ROWS, np.nan, "float32")
    x = np.full((ROWS, 3), np.nan, "float32")
    with pytest.raises(ValueError, match="Inputs should be finite") as error:
        data.check(batches(y, x=x), TASKS)
    for part in ("`kind` should be legal or missing", "Task `value` should have labels"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match=r"Input `a` should be finite. Received: NaN or infinity"):
        data.check(batches(GOOD, x={"a": x, "b": np.array(["", "NaN"] * 3)}), TASKS)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_unusable_weights_are_refused(bad):
    w = {"kind": np.array([1, 1, bad, 1, 1, 1], "float32")}
    with pytest.raises(ValueError, match="weights of task `kind` should be finite and not negat"):
        data.check(batches(GOOD, w), TASKS)
    with pytest.raises(
        ValueError, match="`dataset` should have sample weights of tasks that it has labels of"
    ):
        data.check(batches(GOOD, {"other": np.ones(ROWS)}), TASKS)


def test_empty_data_and_other_structures_are_refused():
    with pytest.raises(ValueError, match=r"`dataset` should have rows. Received: none"):
        data.check(batches(GOOD).take(0), TASKS)
    for wrong in (
        batches(GOOD).map(lambda x, y: x),
        batches(GOOD).map(lambda x, y: (x, y["kind"])),
    ):
        with pytest.raises(ValueError, match="`dataset` should have elements `\\(x, y\\)` or"):
            data.check(wrong, TASKS)


def test_a_few_batches_do_not_say_that_there_are_no_labels_anywhere():
    y = {"kind": np.array([-1, -1, -1, -1, 0, 1], "int32")}
    message = "Task `kind` should have labels. Received: none in the first 2 batches"
    with pytest.raises(ValueError, match=message):
        data.check(batches(y), TASKS[1:], batches=2)
    assert data.check(batches(y), TASKS[1:]).tasks["kind"].present == 2


@pytest.mark.slow
def test_the_data_sets_here_pass():
    for name, options in (("census_income", {}), ("synthetic_relatedness", {"rows": 512})):
        loaded = data.load(name, **options)
        for split in (loaded.train, loaded.valid, loaded.test):
            assert data.check(split, loaded.tasks).rows


def test_where_a_weight_is_zero_anything_may_stand():
    y = {"depth": np.array([[0.0] * 4, [1.0] * 4], "float32").reshape(2, 2, 2)}
    w = {"depth": np.array([0, 1], "float32")}
    dataset = tf.data.Dataset.from_tensor_slices((np.zeros((2, 1)), y, w)).batch(2)
    found = data.check(dataset, [DepthEstimation("depth")]).tasks["depth"]
    assert (found.present, found.illegal, found.missing) == (4, 0, 4)


@pytest.mark.parametrize("shape", [(6, 3), (6, 2, 2)])
def test_sample_weights_of_another_shape_are_refused(shape):
    w = {"kind": np.ones(shape, "float32")}
    with pytest.raises(
        ValueError, match="Sample weights of task `kind` should have one number for"
    ):
        data.check(batches(GOOD, w), TASKS)


def test_what_is_no_data_set_or_has_no_end_is_refused():
    with pytest.raises(ValueError, match=r"`dataset` should be a `tf\.data\.Dataset`"):
        data.check((np.zeros((6, 3)), GOOD), TASKS)
    with pytest.raises(ValueError, match="`dataset` should have an end"):
        data.check(batches(GOOD).repeat(), TASKS, batches=None)
    with pytest.raises(ValueError, match=r"`dataset` should have batches. Received: a scalar"):
        data.check(batches(GOOD).unbatch(), TASKS)
