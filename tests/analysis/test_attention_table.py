"""Tables of what tasks read: means, likeness, words, pictures."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from mtlzoo.analysis import AttentionTable, Finding, TaskMatrix

RNG = np.random.default_rng(0)
SHARES = RNG.dirichlet(np.ones(4), size=(30, 3))  # rows, tasks, experts
TASKS, EXPERTS = ("a", "b", "c"), ("expert 0", "expert 1", "expert 2", "expert 3")


def table(values=SHARES, names=TASKS, columns=EXPERTS, kind="share", **arguments):
    return AttentionTable(names, columns, values, kind=kind, what="share of it", **arguments)


def test_the_table_is_a_finding_of_means_and_spreads():
    made = table(place="level_0")
    assert isinstance(made, Finding)
    np.testing.assert_allclose(made.mean, SHARES.mean(0))
    np.testing.assert_allclose(made.spread, SHARES.std(0))
    head, first, *_ = made.rows()
    assert head == ["level_0", "a", "b", "c"]
    assert first == [
        "expert 0",
        *(f"{m:.3f} ± {s:.3f}" for m, s in zip(made.mean[:, 0], made.spread[:, 0], strict=True)),
    ]
    assert made.title == "What each task reads, level_0"


def test_the_most_read_come_first_and_unreadable_ones_not_at_all():
    made = table(np.array([[0.1, 0.6, np.nan, 0.3]]), names=("a",))
    assert [name for name, *_ in made.top_features("a", 9)] == ["expert 1", "expert 3", "expert 0"]
    assert made.top_features("a", 1) == [("expert 1", 0.6, 0.0)]
    assert made.rows()[3] == ["expert 2", "–"]
    weights = table(np.array([[0.1, -0.6, 0.2, 0.3]]), names=("a",), kind="weight")
    assert weights.top_features("a", 1) == [("expert 1", -0.6, 0.0)]


def test_likeness_of_shares_is_that_of_scipy_row_by_row():
    found = table().similarity()
    assert isinstance(found, TaskMatrix) and not found.signed
    distances = jensenshannon(SHARES[:, 0], SHARES[:, 2], base=2, axis=-1)
    assert found["a", "c"] == pytest.approx(1 - np.mean(distances**2))
    np.testing.assert_allclose(np.diag(found.values), 1)


def test_tasks_that_read_nothing_in_common_have_no_likeness():
    apart = np.array([[0.5, 0.5, np.nan, np.nan], [np.nan, np.nan, 0.2, 0.8]])
    assert table(apart, names=("a", "b")).similarity()["a", "b"] == pytest.approx(0)


def test_likeness_of_weights_and_strengths():
    weights = RNG.normal(size=(5, 2, 4))
    found = table(weights, names=("a", "b"), kind="weight").similarity()
    lengths = np.linalg.norm(weights, axis=-1)
    expected = ((weights[:, 0] * weights[:, 1]).sum(-1) / lengths.prod(1)).mean()
    assert found["a", "b"] == pytest.approx(expected) and found.signed
    strengths = RNG.random((5, 2, 4))
    found = table(strengths, names=("a", "b"), kind="strength").similarity()
    assert found["a", "b"] == pytest.approx(1 - np.abs(strengths[:, 0] - strengths[:, 1]).mean())
    nothing = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    assert np.isnan(table(nothing, names=("a", "b")).similarity("cosine")["a", "b"])


def test_likeness_is_compared_with_gradients_by_ranks():
    likeness = table().similarity()
    reverse = TaskMatrix(TASKS, -likeness.values, "cosine of the gradients")
    assert likeness.agreement(likeness) == pytest.approx(1)
    assert likeness.agreement(reverse) == pytest.approx(-1)


def test_a_row_that_is_no_task_is_shown_and_not_compared():
    made = table(SHARES, names=("a", "b", "shared"), tasks=("a", "b"))
    assert made.similarity().names == ("a", "b")
    assert made.rows()[0] == ["", "a", "b", "shared"]
    one = table(SHARES[:, :1], names=("all tasks",), tasks=())
    assert one.title == "What is read for all tasks"
    with pytest.raises(ValueError, match=r"two or more tasks. Received: .*all tasks.*Gramian"):
        one.similarity()
    assert "likeness" not in one.words()


def test_words_name_tasks_numbers_and_what_does_not_follow():
    values = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]])
    said = table(values, names=("a", "b"), place="level_1").words()
    assert said.startswith(
        "The share of it at level_1 is largest of expert 0 for a (0.7); of expert 3 for b (0.7)."
    )
    assert "Jensen-Shannon" in said and "need not help each other" in said


def test_pictures_have_a_title_and_of_many_columns_those_that_differ():
    made = table(place="level_0")
    panel = made.figure().axes[0]
    assert panel.get_title() == made.title
    assert [label.get_text() for label in panel.get_yticklabels()] == list(TASKS)
    values = np.full((2, 40), 0.5)
    values[0, 7] = 0.9
    many = table(values, ("a", "b"), [f"channel {c}" for c in range(40)], kind="strength")
    panel = many.figure().axes[0]
    shown = [label.get_text() for label in panel.get_xticklabels()]
    assert len(shown) == 24 and "channel 7" in shown
    assert "24 of 40" in panel.get_title()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": SHARES[:, :2]}, r"`values` should be of 3 rows and 4 columns"),
        ({"kind": "part"}, r"`kind` should be one of \['share', 'strength', 'weight'\]"),
        ({"checks": ("asleep",)}, r"`checks` should be some of .*\['asleep'\]"),
        ({"checks": ("isolated",)}, r"`owners` should be a task for .* 4 columns.*owners=None"),
        ({"owners": ("a", "b")}, r"`owners` should be .* Received: owners=\('a', 'b'\)"),
    ],
)
def test_tables_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        table(**arguments)


def test_unknown_tasks_and_measures_are_refused():
    with pytest.raises(ValueError, match=r"`task` should be one of .*Received: task='d'"):
        table().top_features("d")
    with pytest.raises(ValueError, match=r"`measure` should be one of"):
        table().similarity("overlap")
    weights = table(-SHARES, kind="weight")
    with pytest.raises(ValueError, match=r"`measure` should be 'cosine'"):
        weights.similarity("jensen_shannon")
