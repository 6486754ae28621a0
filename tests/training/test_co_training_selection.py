"""Which answers become labels, and how far views agree, against references in NumPy."""

import numpy as np
import pytest
from scipy.special import softmax

from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    MultiLabelClassification,
    Regression,
    SemanticSegmentation,
)
from mtlzoo.training.co_training import agreement, answers
from mtlzoo.training.co_training.selection import quotas, select

RNG = np.random.default_rng


@pytest.mark.parametrize("total", [0, 1, 7, 100])
@pytest.mark.parametrize("counts", [[1, 1], [3, 1], [0, 5, 2, 2], [1, 0, 0], [7, 11, 13, 17, 19]])
def test_quotas_are_the_proportions_of_the_labels_rounded(counts, total):
    counts = np.array(counts)
    found = quotas(counts, total, "labels")
    exact = total * counts / counts.sum()
    assert found.sum() == total
    assert (np.abs(found - exact) < 1).all()
    assert (found[counts == 0] == 0).all()


def test_quotas_of_equal_parts_leave_out_a_class_without_labels():
    assert quotas(np.array([9, 0, 1, 5]), 7, "equal").tolist() == [3, 0, 2, 2]
    assert quotas(np.array([9, 0, 1]), 7, None) is None


def brute_force(classes, certainties, candidates, threshold, total, quota):
    """One after the other, the most certain first."""
    left = {c: n for c, n in enumerate(quota)} if quota is not None else None
    chosen = []
    for i in np.argsort(-certainties):
        if not candidates[i] or not certainties[i] >= threshold or len(chosen) == total:
            continue
        if left is not None:
            if not left[classes[i]]:
                continue
            left[classes[i]] -= 1
        chosen.append(i)
    return sorted(chosen)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("balance", ["labels", "equal", None])
def test_selection_is_that_of_going_through_one_by_one(seed, balance):
    rng = RNG(seed)
    n, total, threshold = 60, int(rng.integers(1, 40)), rng.uniform(0.2, 0.9)
    classes, certainties = rng.integers(0, 4, n), rng.random(n)
    candidates = rng.random(n) < 0.7
    quota = quotas(rng.integers(1, 9, 4), total, balance)
    found = select(
        classes, certainties, candidates, threshold=threshold, total=total, quota=quota, rng=rng
    )
    expected = brute_force(classes, certainties, candidates, threshold, total, quota)
    assert found.tolist() == expected


def test_nothing_is_selected_where_nothing_is_certain():
    settings = {"total": 5, "quota": np.array([5]), "rng": RNG(0)}
    classes = np.zeros(4, int)
    certainties = np.array([0.89, np.nan, 0.9, 1.0])
    all_of_them = np.ones(4, bool)
    assert select(classes, certainties, all_of_them, threshold=0.9, **settings).tolist() == [2, 3]
    assert not select(classes, certainties, ~all_of_them, threshold=0.0, **settings).size


def test_equal_certainties_are_drawn_by_the_seed():
    def chosen(seed):
        classes, certainties = np.zeros(1000, int), np.ones(1000)
        return select(
            *(classes, certainties, np.ones(1000, bool)),
            threshold=0.5,
            total=10,
            quota=None,
            rng=RNG(seed),
        ).tolist()

    assert chosen(1) == chosen(1) != chosen(2)
    assert max(chosen(1)) > 100  # not the first rows


# -- agreement --------------------------------------------------------------------------------


def test_kappa_is_that_of_the_table_of_both():
    rng = RNG(3)
    first = rng.integers(0, 4, 500)
    second = np.where(rng.random(500) < 0.6, first, rng.integers(0, 4, 500))
    table = np.zeros((4, 4))
    np.add.at(table, (first, second), 1)
    table /= table.sum()
    by_chance = table.sum(0) @ table.sum(1)
    expected = (np.trace(table) - by_chance) / (1 - by_chance)
    np.testing.assert_allclose(agreement.cohens_kappa(first, second), expected, rtol=1e-12)
    np.testing.assert_allclose(agreement.agreement_rate(first, second), np.trace(table))


def test_kappa_at_extremes():
    a = np.array([0, 1, 0, 1])
    assert agreement.cohens_kappa(a, a) == 1
    assert agreement.cohens_kappa(a, 1 - a) == -1
    assert agreement.cohens_kappa(a, np.zeros(4, int)) == 0
    assert np.isnan(agreement.cohens_kappa(a * 0, a * 0))
    assert np.isnan(agreement.cohens_kappa(a[:0], a[:0]))
    assert np.isnan(agreement.agreement_rate(a[:0], a[:0]))


def test_concordance_against_numpy_and_at_extremes():
    rng = RNG(4)
    a = rng.normal(3, 2, 300)
    b = 0.5 * a + rng.normal(0, 1, 300)
    cov = np.cov(a, b, bias=True)
    expected = 2 * cov[0, 1] / (cov[0, 0] + cov[1, 1] + (a.mean() - b.mean()) ** 2)
    np.testing.assert_allclose(agreement.concordance(a, b), expected, rtol=1e-12)
    np.testing.assert_allclose(agreement.concordance(a, a), 1)
    assert 0 < agreement.concordance(a, a + 5) < 0.5  # a shift is no agreement
    assert np.isnan(agreement.concordance(np.ones(3), np.ones(3)))
    assert np.isnan(agreement.concordance(a[:0], a[:0]))


# -- answers ----------------------------------------------------------------------------------


def test_classes_are_certain_by_their_probability():
    raw = RNG(0).normal(0, 3, (20, 5)).astype("float32")
    found = answers.of_classes(Classification("kind", 5), raw)
    expected = softmax(raw.astype("float64"), axis=-1)
    np.testing.assert_array_equal(found.labels, raw.argmax(-1))
    np.testing.assert_allclose(found.certainties, expected.max(-1), rtol=1e-12)
    given = answers.of_classes(Classification("kind", 5, from_logits=False), expected)
    np.testing.assert_allclose(given.certainties, expected.max(-1))


def test_yes_and_no_are_certain_in_both_directions():
    raw = np.array([[-3.0], [0.1], [800.0], [-800.0]], "float32")
    found = answers.of_classes(BinaryClassification("click"), raw)
    assert found.labels.tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(found.certainties[:2], 1 / (1 + np.exp([-3, -0.1])), rtol=1e-6)
    np.testing.assert_array_equal(found.certainties[2:], 1)
    task = BinaryClassification("click", from_logits=False)
    found = answers.of_classes(task, np.array([[0.2], [0.9]]))
    assert found.labels.tolist() == [0, 1]
    np.testing.assert_allclose(found.certainties, [0.8, 0.9])


def test_cells_and_pixels_are_entries_of_their_own():
    found = answers.of_classes(MultiLabelClassification("tags", 2), np.array([[2.0, -1.0]]))
    assert found.labels.tolist() == [[1, 0]]
    task = MultiLabelClassification("tags", 2)
    assert answers.groups(task, found.labels).tolist() == [[1, 2]]  # yes of 0, no of 1
    assert answers.group_count(task) == 4
    pixels = RNG(0).normal(size=(2, 3, 4, 5))
    found = answers.of_classes(SemanticSegmentation("parts", 5), pixels)
    np.testing.assert_array_equal(found.labels, pixels.argmax(-1))


def test_values_are_certain_where_two_views_agree():
    task = Regression("place", dim=2)
    a, b = np.array([[1.0, 10.0]]), np.array([[1.5, 50.0]])
    found = answers.of_values(task, a, b, np.array([2.0, 10.0]))
    np.testing.assert_allclose(found.labels, [[1.25, 30.0]])
    np.testing.assert_allclose(found.certainties, [[0.75, 0.0]])
    one = answers.of_values(Regression("stay"), a[:, :1], b[:, :1], np.array([2.0]))
    assert one.labels.shape == one.certainties.shape == (1,)
