"""Splits: shares, strata, groups, folds, and how important tasks are."""

import sys

import numpy as np
import pytest

from mtlzoo import data
from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    MultiLabelClassification,
    Regression,
    SemanticSegmentation,
)

SIZE = 400
TASKS = [
    Classification("kind", num_classes=4),
    MultiLabelClassification("several", num_labels=3),
    Regression("value"),
    BinaryClassification("yes"),
]


def some_labels(size=SIZE, seed=0):
    """Labels of four tasks, of which some are missing and one class is rare."""
    rng = np.random.default_rng(seed)
    yes = rng.integers(0, 2, size)
    yes[: size * 3 // 4] = -1
    value = rng.normal(size=size)
    value[size // 2 :] = np.nan
    kind = rng.choice(4, size, p=[0.6, 0.3, 0.07, 0.03])
    several = (rng.random((size, 3)) < [0.5, 0.1, 0.03]).astype(int)
    order = rng.permutation(size)
    found = {"yes": yes, "value": value, "kind": kind, "several": several}
    return {name: values[order] for name, values in found.items()}


def whole(parts, size=SIZE):
    """Every row is in one part."""
    data.check_parts(parts)
    return sorted(np.concatenate(list(parts.values())).tolist()) == list(range(size))


@pytest.mark.parametrize("stratify", [None, "presence", "labels"])
def test_every_row_is_in_one_part_and_parts_have_their_shares(stratify):
    labels = some_labels()
    parts = data.split(labels, TASKS, stratify=stratify)
    assert list(parts) == ["train", "valid", "test"] and whole(parts)
    for part, share in (("train", 0.7), ("valid", 0.15), ("test", 0.15)):
        assert abs(len(parts[part]) / SIZE - share) < 0.02
        assert (np.diff(parts[part]) > 0).all()
    again = data.split(labels, TASKS, stratify=stratify)
    other = data.split(labels, TASKS, stratify=stratify, seed=1)
    assert all((parts[part] == again[part]).all() for part in parts)
    assert set(parts["test"].tolist()) != set(other["test"].tolist())


@pytest.mark.parametrize("stratify", ["presence", "labels"])
def test_each_task_has_its_own_split_with_its_shares(stratify):
    labels = some_labels()
    parts = data.split(labels, TASKS, {"train": 0.5, "test": 0.5}, stratify=stratify)
    own = data.rows_with_labels(parts, labels, TASKS)
    assert list(own) == ["kind", "several", "value", "yes"]
    for name, count in (("yes", 100), ("value", 200), ("kind", 400)):
        sizes = {part: len(rows) for part, rows in own[name].items()}
        assert sum(sizes.values()) == count and abs(sizes["train"] - count / 2) <= 2
    assert (labels["yes"][own["yes"]["test"]] >= 0).all()


def test_labels_keep_their_shares_in_each_part():
    labels = some_labels()
    parts = data.split(labels, TASKS, {"a": 0.6, "b": 0.4}, stratify="labels")
    for part, share in (("a", 0.6), ("b", 0.4)):
        rows = parts[part]
        for kind in range(4):
            expected = share * (labels["kind"] == kind).sum()
            assert abs((labels["kind"][rows] == kind).sum() - expected) <= 2
        for column in labels["several"].T:
            assert abs(column[rows].sum() - share * column.sum()) <= 2
        for answer in (0, 1):
            expected = share * (labels["yes"] == answer).sum()
            assert abs((labels["yes"][rows] == answer).sum() - expected) <= 2
    # At random it is not so.
    spread = [
        (labels["kind"][data.split(labels, TASKS, stratify=None, seed=s)["test"]] == 3).sum()
        for s in range(10)
    ]
    assert max(spread) - min(spread) > 2


@pytest.mark.parametrize("stratify", [None, "presence", "labels"])
def test_no_group_is_in_two_parts(stratify):
    labels = some_labels()
    groups = [f"document {number}" for number in np.random.default_rng(1).integers(0, 90, SIZE)]
    parts = data.split(labels, TASKS, stratify=stratify, groups=groups)
    assert whole(parts)
    data.check_parts(parts, groups)
    with pytest.raises(ValueError, match=r"`parts` should have each group in one part. Received"):
        data.check_parts(data.split(labels, TASKS), groups)


def test_parts_with_a_row_in_common_are_refused():
    with pytest.raises(ValueError, match=r"each row in one part. Received: 2 in `train` and"):
        data.check_parts({"train": np.array([0, 2]), "test": np.array([1, 2])})
    with pytest.raises(ValueError, match=r"each group in one part. Received: 'b' in `train` and"):
        data.check_parts({"train": [0, 1], "test": [2]}, groups=["a", "b", "b"])


@pytest.mark.parametrize("stratify", [None, "presence", "labels"])
def test_each_row_is_tested_on_once(stratify):
    labels = some_labels()
    folds = data.kfold(labels, TASKS, 4, stratify=stratify)
    assert whole({str(i): test for i, (_, test) in enumerate(folds)})
    for train, test in folds:
        assert len(train) + len(test) == SIZE and not set(train) & set(test)
        assert abs(len(test) - SIZE / 4) <= 8


def test_folds_keep_groups_whole():
    groups = np.repeat(np.arange(40), 10)
    folds = data.kfold(some_labels(), TASKS, 5, stratify=None, groups=groups)
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test]) and len(set(groups[test])) == 8


# --- Importance --------------------------------------------------------------------------------


def disjoint(sizes):
    """Rows with a label of one task each."""
    total, labels, start = sum(sizes.values()), {}, 0
    for name, size in sizes.items():
        labels[name] = np.full(total, np.nan)
        labels[name][start : start + size] = 1.0
        start += size
    return labels, [Regression(name) for name in sizes]


@pytest.mark.parametrize(
    ("importance", "expected"),
    [({"a": 1, "b": 1}, [60, 60]), ({"a": 3, "b": 1}, [90, 30]), ({"a": 1, "b": 5}, [20, 100])],
)
def test_importance_decides_the_shares_of_the_training_rows(importance, expected):
    labels, tasks = disjoint({"a": 100, "b": 140})
    parts = data.split(labels, tasks, {"train": 0.5, "test": 0.5}, importance=importance)
    own = data.rows_with_labels(parts, labels, tasks)
    assert [len(own[name]["train"]) for name in ("a", "b")] == expected
    assert whole(parts, 240)


def test_a_task_gives_no_more_rows_than_leave_some_for_each_part():
    labels, tasks = disjoint({"a": 40, "b": 160})
    parts = data.split(labels, tasks, importance={"a": 100, "b": 1})
    own = data.rows_with_labels(parts, labels, tasks)
    assert len(own["a"]["train"]) == 38 and len(parts["train"]) == 140
    assert [len(own["a"][part]) for part in ("valid", "test")] == [1, 1]
    assert len(own["b"]["train"]) == 102 and whole(parts, 200)


def test_importance_of_rows_with_several_tasks():
    labels = some_labels()
    more = data.split(labels, TASKS, importance={"yes": 9, "value": 1, "kind": 1, "several": 1})
    less = data.split(labels, TASKS, importance={"yes": 1, "value": 9, "kind": 1, "several": 1})
    own = [data.rows_with_labels(parts, labels, TASKS) for parts in (more, less)]
    assert whole(more) and len(more["train"]) == len(less["train"]) == 280
    assert len(own[0]["yes"]["train"]) > len(own[1]["yes"]["train"])
    assert len(own[0]["value"]["train"]) < len(own[1]["value"]["train"])


# --- Bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": {"train": 1.0}}, "`shares` should be a dict of at least two parts with pos"),
        ({"shares": {"train": 1.5, "test": -0.5}}, "`shares` should be a dict of at least two"),
        ({"shares": {"train": 0.5, "test": 0.4}}, "`shares` should have the sum 1. Received"),
        ({"stratify": "task"}, r"`stratify` should be one of \[None, 'presence', 'labels'\]. Rec"),
        (
            {"groups": [1, 2]},
            "`groups` should have one entry for each of the 400 rows. Received: 2",
        ),
        ({"seed": -1}, "`seed` should be an integer of at least 0"),
        ({"least": 0}, "`least` should be an integer of at least 1"),
        (
            {"least": 80},
            "Task `kind` should have at least 80 labels in the part `valid`. Rec",
        ),
        ({"importance": {"yes": 1}}, "`importance` should have a number for each of the tasks"),
        (
            {"importance": {"yes": 0, "value": 1, "kind": 1, "several": 1}},
            r"`importance\['yes'\]` should be a positive number. Received: 0",
        ),
        (
            {"importance": {"yes": 1}, "stratify": "labels"},
            "`importance` should be given with `stratify='presence'` and without `groups`",
        ),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        data.split(some_labels(), TASKS, **change)


def test_bad_labels_are_named():
    labels = some_labels()
    with pytest.raises(ValueError, match=r"`labels` should have the labels of the tasks \['kind'"):
        data.split({"kind": labels["kind"]}, TASKS)
    with pytest.raises(ValueError, match="`labels` should have as many rows for each task"):
        data.split({**labels, "yes": labels["yes"][:5]}, TASKS)
    with pytest.raises(ValueError, match=r"Task `value` should have labels. Received: none"):
        data.split({**labels, "value": np.full(SIZE, np.nan)}, TASKS)
    with pytest.raises(ValueError, match="Labels of task `kind` should be class ids of an integer"):
        data.split({**labels, "kind": labels["kind"] / 2}, TASKS)


def test_more_folds_than_rows_of_the_rarest_class():
    labels = {"kind": np.array([0] * 20 + [1] * 3)}
    tasks = [Classification("kind", num_classes=2)]
    with pytest.raises(ValueError, match="`folds` should be at most 3, the rows of the rarest cla"):
        data.kfold(labels, tasks, 4, stratify="labels")
    assert len(data.kfold(labels, tasks, 3, stratify="labels")) == 3
    with pytest.raises(ValueError, match="`folds` should be an integer of at least 2"):
        data.kfold(labels, tasks, 1)
    with pytest.raises(ValueError, match="`folds` should be at most 3, the rows of the rarest cla"):
        data.kfold(labels, tasks, 30)
    documents = np.arange(23)
    documents[20:22] = 20  # two of the three rare rows
    with pytest.raises(ValueError, match="`folds` should be at most 2, the groups of the rarest c"):
        data.kfold(labels, tasks, 3, groups=documents)


def test_groups_may_be_anything_that_can_be_told_apart():
    labels = {"value": np.arange(12.0)}
    documents = [("a", i // 3) for i in range(12)]
    parts = data.split(labels, [Regression("value")], {"a": 0.5, "b": 0.5}, groups=documents)
    data.check_parts(parts, documents)
    with pytest.raises(ValueError, match=r"`parts\['a'\]` should have rows from 0 to 1, one for"):
        data.check_parts({"a": [0, 2], "b": [1]}, ["x", "y"])
    with pytest.raises(ValueError, match=r"`parts\['b'\]` should have rows from 0. Received: -1"):
        data.check_parts({"a": [0, 2], "b": [-1]})


def test_distributions_are_stratified_by_their_most_probable_class():
    labels = {"kind": np.eye(3, dtype="float32")[np.repeat([0, 1, 2], [20, 12, 8])] * 0.6}
    labels["kind"] += 0.4 / 3
    tasks = [Classification("kind", num_classes=3)]
    parts = data.split(labels, tasks, {"a": 0.5, "b": 0.5}, stratify="labels")
    for rows in parts.values():
        assert np.bincount(labels["kind"][rows].argmax(1)).tolist() == [10, 6, 4]


def test_labels_of_pixels_count_as_there_or_not():
    mask = np.zeros((20, 2, 2), int)
    mask[:10] = 255
    tasks = [SemanticSegmentation("mask", num_classes=2, size=(2, 2))]
    for stratify in ("presence", "labels"):
        parts = data.split({"mask": mask}, tasks, {"a": 0.5, "b": 0.5}, stratify=stratify)
        assert [(rows >= 10).sum() for rows in parts.values()] == [5, 5]


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "iterstrat.ml_stratifiers", None)
    with pytest.raises(ImportError, match=r"pip install 'mtlzoo\[splits\]'"):
        data.split(some_labels(), TASKS, stratify="labels")
