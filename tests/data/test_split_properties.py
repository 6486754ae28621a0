"""What holds for `split` and `kfold` whatever the labels are."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mtlzoo import data
from mtlzoo.tasks import BinaryClassification, Regression

TASKS = [BinaryClassification("yes"), Regression("value")]


@st.composite
def labels(draw, least=30):
    """Labels of two tasks, each missing in some of the rows."""
    size = draw(st.integers(least, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    yes, value = rng.integers(0, 2, size), rng.normal(size=size)
    yes[rng.random(size) < draw(st.floats(0, 0.6))] = -1
    value[rng.random(size) < draw(st.floats(0, 0.6))] = np.nan
    return {"yes": yes, "value": value}


@st.composite
def some_shares(draw):
    """Two to four parts, none of them tiny."""
    weights = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    return {f"part_{place}": weight / sum(weights) for place, weight in enumerate(weights)}


def divided(*args, **options):
    """The parts, of labels that are enough for all of them."""
    try:
        return data.split(*args, **options)
    except ValueError as error:
        assert "labels in the part" in str(error)
        assume(False)


@pytest.mark.slow
@given(labels(), some_shares(), st.sampled_from([None, "presence"]), st.integers(0, 9))
def test_every_row_is_in_one_part_of_about_its_share(given_labels, shares, stratify, seed):
    parts = divided(given_labels, TASKS, shares, stratify=stratify, seed=seed)
    size = len(given_labels["yes"])
    assert list(parts) == list(shares)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(size))
    # Each of the five kinds of rows (which labels they have, or few) is dealt apart.
    for part, share in shares.items():
        assert abs(len(parts[part]) - share * size) <= 5
        assert (np.diff(parts[part]) > 0).all()
    again = divided(given_labels, TASKS, shares, stratify=stratify, seed=seed)
    assert all((again[part] == rows).all() for part, rows in parts.items())


@given(labels(), some_shares(), st.integers(2, 6), st.sampled_from([None, "presence"]))
def test_no_group_is_in_two_parts(given_labels, shares, rows_of_a_group, stratify):
    groups = np.arange(len(given_labels["yes"])) // rows_of_a_group
    parts = divided(given_labels, TASKS, shares, groups=groups, stratify=stratify)
    data.check_parts(parts, groups)
    owners = [set(groups[rows].tolist()) for rows in parts.values()]
    assert sum(map(len, owners)) == len(set(groups.tolist()))


@given(labels(), some_shares(), st.integers(1, 4))
def test_every_task_has_the_labels_it_needs_or_an_error_says_which_has_not(
    given_labels, shares, least
):
    present = {"yes": given_labels["yes"] >= 0, "value": ~np.isnan(given_labels["value"])}
    try:
        parts = data.split(given_labels, TASKS, shares, least=least)
    except ValueError as error:
        assert f"at least {least} labels in the part" in str(error)
        return
    assert all(has[rows].sum() >= least for has in present.values() for rows in parts.values())


@given(labels(least=60), st.integers(2, 5), st.integers(0, 9))
def test_each_row_is_tested_on_once_and_trained_on_else(given_labels, folds, seed):
    try:
        found = data.kfold(given_labels, TASKS, folds, seed=seed)
    except ValueError as error:
        assert "labels in the part" in str(error) or "rarest class" in str(error)
        assume(False)
    rows = np.arange(len(given_labels["yes"]))
    assert len(found) == folds
    assert sorted(np.concatenate([test for _, test in found])) == rows.tolist()
    for train, test in found:
        assert sorted([*train, *test]) == rows.tolist()


@pytest.mark.parametrize("important", ["yes", "value"])
@given(labels(least=80))
def test_an_important_task_gives_the_first_part_no_fewer_of_its_labels(important, given_labels):
    present = {"yes": given_labels["yes"] >= 0, "value": ~np.isnan(given_labels["value"])}
    shares = {"train": 0.5, "test": 0.5}
    found = []
    for weight in (1.0, 4.0):
        weights = {name: weight if name == important else 1.0 for name in present}
        parts = divided(given_labels, TASKS, shares, importance=weights)
        assert sorted([*parts["train"], *parts["test"]]) == list(range(len(given_labels["yes"])))
        found.append(present[important][parts["train"]].sum())
    assert found[1] >= found[0] - 2  # shares of four kinds of rows are rounded
