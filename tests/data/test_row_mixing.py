"""MixUp and CutMix: what becomes of inputs, labels of every kind, and missing ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import HardSharing, data
from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    DepthEstimation,
    MultiLabelClassification,
    ObjectDetection,
    Regression,
    SemanticSegmentation,
    SequenceTagging,
)

ROWS = 512
TASKS = [
    Classification("kind", ROWS),
    BinaryClassification("yes"),
    Regression("value"),
    SequenceTagging("tags", num_tags=ROWS),
]


def numbered():
    """Rows whose labels and inputs all tell the number of the row."""
    number = np.arange(ROWS)
    x = np.eye(ROWS, dtype="float32")
    y = {
        "kind": number.astype("int32"),
        "yes": (number % 2).astype("int32"),
        "value": number[:, None].astype("float32"),
        "tags": np.repeat(number[:, None], 3, 1).astype("int32"),
    }
    return x, y


def batches(element, size=ROWS):
    return tf.data.Dataset.from_tensor_slices(element).batch(size)


def mixed(element, tasks=TASKS, **options):
    (found,) = data.mix_up(batches(element), tasks, **{"alpha": 1.0, **options})
    return tf.nest.map_structure(lambda part: part.numpy(), found)


def test_inputs_and_labels_are_mixed_alike():
    x, y, w = mixed(numbered())
    assert ((x > 0).sum(1) <= 2).all() and ((x > 0).sum(1) == 2).mean() > 0.98
    np.testing.assert_allclose(x.sum(1), 1, rtol=1e-6)
    assert (x[np.arange(ROWS), np.arange(ROWS)] > 0).all()  # each row with another one
    np.testing.assert_allclose(y["kind"], x, atol=1e-6)
    numbers = np.arange(ROWS)
    np.testing.assert_allclose(y["value"][:, 0], x @ numbers, rtol=1e-4)
    np.testing.assert_allclose(y["yes"][:, 0], x @ (numbers % 2), atol=1e-5)
    assert all((part == 1).all() for part in w.values())


def test_labels_without_a_mean_are_drawn_by_the_shares():
    x, y, _ = mixed(numbered())
    tags, own = y["tags"], np.arange(ROWS)
    assert (tags == tags[:, :1]).all()
    assert (x[own, tags[:, 0]] > 0).all()
    shares, kept = x[own, own], tags[:, 0] == own
    error = 4 * np.sqrt((shares * (1 - shares)).sum()) / ROWS
    assert abs(shares.mean() - kept.mean()) < error


@pytest.mark.one_in(2)
@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_have_the_beta_distribution(alpha):
    x, _, _ = mixed(numbered(), alpha=alpha)
    shares = x[np.arange(ROWS), np.arange(ROWS)]
    shares = shares[(x > 0).sum(1) == 2].astype("float64")
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 4 * np.sqrt(variance / len(shares))
    assert abs(shares.var() - variance) < 0.25 * variance


def test_a_label_alone_stays_with_the_probability_of_its_share():
    x, y = numbered()
    missing = np.arange(ROWS) % 4 == 0
    y["kind"] = np.where(missing, -1, y["kind"])
    y["value"] = np.where(missing[:, None], np.nan, y["value"])
    given = {"kind": np.full(ROWS, 2, "float32"), "value": np.full(ROWS, 3, "float32")}
    x, y, w = mixed((x, y, given))
    own = np.arange(ROWS)
    other = np.where((x > 0).sum(1) == 2, np.argmax(np.where(np.eye(ROWS), 0, x), 1), own)
    both, none = ~missing & ~missing[other], missing & missing[other]
    gone = y["kind"][:, 0] == -1
    assert gone[none].all() and not gone[both].any() and none.sum() > 10
    np.testing.assert_allclose(y["kind"][both], x[both], atol=1e-5)
    alone = ~both & ~none
    assert alone.sum() > 100
    share = np.where(missing, 1 - x[own, own], x[own, own])[alone]
    kept = ~gone[alone]
    assert abs(kept.mean() - share.mean()) < 4 * np.sqrt((share * (1 - share)).sum()) / len(share)
    labels = np.where(missing, other, own)[alone][kept]
    np.testing.assert_array_equal(y["kind"][alone][kept], np.eye(ROWS)[labels])
    np.testing.assert_allclose(w["kind"], np.where(gone, 0, 2), rtol=1e-6)
    np.testing.assert_allclose(w["value"], np.where(np.isnan(y["value"][:, 0]), 0, 3), rtol=1e-6)
    read = Classification("kind", ROWS).read_labels(y["kind"])
    np.testing.assert_array_equal(read.present, ~gone)
    assert not np.any(read.invalid)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("labelled", [1.0, 0.5, 0.05])
@pytest.mark.parametrize("name", ["kind", "several"])
def test_the_loss_keeps_its_size_where_labels_are_rare(labelled, name):
    """Of the mean loss of a label, which the step divides by the number of labels that count."""
    rng = np.random.default_rng(0)
    rows = 4000
    x = rng.normal(size=(rows, 1)).astype("float32")
    there = rng.uniform(size=rows) < labelled
    y = {
        "kind": np.where(there, rng.integers(0, 3, rows), -1),
        "several": np.where(there[:, None], rng.integers(0, 2, (rows, 2)), -1),
    }
    w = dict.fromkeys(y, rng.choice([0, 1, 3], rows).astype("float32"))
    task = {"kind": Classification("kind", 3), "several": MultiLabelClassification("several", 2)}
    element = (x, {name: y[name]}, {name: w[name]})
    (found,) = data.mix_up(batches(element, rows), [task[name]], alpha=1.0)

    def mean_loss(element):
        _, labels, weights = element
        read = task[name].read_labels(labels[name])
        values = np.array(read.values, "float64")
        outputs = np.tile([0.3, -0.2, 1.0][: values.shape[-1] if values.ndim > 1 else 3], (rows, 1))
        losses = np.asarray(task[name].loss_values(task[name].loss, read.values, outputs))
        weight = np.asarray(weights[name]).reshape(rows, *(1,) * (losses.ndim - 1))
        counts = np.asarray(read.present) & (weight > 0)
        return (losses * weight * counts).sum() / counts.sum()

    before, after = mean_loss(element), mean_loss(found)
    assert abs(after - before) < 0.15 * before


def test_the_loss_is_the_mean_of_both_losses():
    rng = np.random.default_rng(0)
    rows = 6
    x = np.eye(rows, dtype="float32")
    y = {"kind": rng.integers(-1, 3, rows)}
    w = {"kind": rng.uniform(0.5, 2, rows).astype("float32")}
    task = Classification("kind", 3)
    there = y["kind"] >= 0
    y["kind"] = np.where(there, y["kind"], 0)
    w["kind"][~there] *= 0.5
    x, labels, weights = mixed((x, y, w), [task])
    logits = rng.normal(size=(rows, 3))
    read = task.read_labels(labels["kind"])
    found = task.loss_values(task.loss, read.values, logits) * weights["kind"]
    log_soft = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    for i in range(rows):
        expected = -sum(x[i, j] * w["kind"][j] * log_soft[i, y["kind"][j]] for j in range(rows))
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6)


def test_cells_are_mixed_where_both_rows_have_them():
    rng = np.random.default_rng(0)
    x = np.eye(ROWS, dtype="float32")
    cells = rng.integers(-1, 2, (ROWS, 2))
    values = np.where(rng.uniform(size=(ROWS, 3)) < 0.3, np.nan, rng.normal(size=(ROWS, 3)))
    y = {"several": cells, "vector": values.astype("float32")}
    tasks = [MultiLabelClassification("several", 2), Regression("vector", dim=3)]
    x, found, w = mixed((x, y), tasks)
    own = np.arange(ROWS)
    other = np.where((x > 0).sum(1) == 2, np.argmax(np.where(np.eye(ROWS), 0, x), 1), own)
    share = x[own, own, None]
    for name, missing in (("several", cells < 0), ("vector", np.isnan(values))):
        given = np.where(missing, 0, y[name])
        result = found[name]
        gone = np.isnan(result) if name == "vector" else result == -1
        both = ~missing & ~missing[other]
        expected = share * given + (1 - share) * given[other]
        np.testing.assert_allclose(result[both], expected[both], rtol=1e-3, atol=1e-5)
        assert gone[missing & missing[other]].all()
        alone = ~missing & missing[other]
        kept = ~gone[alone]
        chance = np.broadcast_to(share, alone.shape)[alone]
        assert abs(kept.mean() - chance.mean()) < 4 * np.sqrt(0.25 / alone.sum())
        np.testing.assert_allclose(result[alone][kept], given[alone][kept], rtol=1e-6)
        assert (w[name] == 1).all()


def test_inputs_that_are_not_named_stay():
    x, y = numbered()
    words = np.array([str(i) for i in range(ROWS)])
    found, _, _ = mixed(({"x": x, "word": words}, y), inputs=["x"])
    assert found["word"].tolist() == [word.encode() for word in words]
    assert ((found["x"] > 0).sum(1) == 2).any()


@pytest.mark.slow
def test_a_seed_gives_the_same_pairs_and_epochs_differ():
    def epochs(seed):
        dataset = data.mix_up(batches(numbered()), TASKS, alpha=1.0, seed=seed)
        return [next(iter(dataset))[0].numpy() for _ in range(2)]

    (one, later), (again, _), (other, _) = epochs(1), epochs(1), epochs(2)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, later) and not np.array_equal(one, other)


H, W = 10, 14


def pictures(rows=200):
    number = np.arange(rows)
    image = np.broadcast_to(number[:, None, None, None], (rows, H, W, 1)).astype("float32")
    y = {
        "kind": number.astype("int32"),
        "parts": image[..., 0].astype("int32"),
        "depth": image[..., 0] + 1,
    }
    tasks = [
        Classification("kind", rows),
        SemanticSegmentation("parts", rows, missing=-1),
        DepthEstimation("depth"),
    ]
    return image, y, tasks


def test_cut_mix_pastes_labels_of_pixels_with_the_pixels():
    image, y, tasks = pictures()
    given = {"depth": np.arange(200).astype("float32") + 1}
    ((x, labels, w),) = data.cut_mix(batches((image, y, given), 200), tasks)
    x = x.numpy()[..., 0]
    np.testing.assert_array_equal(labels["parts"], x)
    np.testing.assert_array_equal(labels["depth"], x + 1)
    np.testing.assert_array_equal(w["depth"], x + 1)  # each pixel has the weight of its row
    own = np.arange(200)
    part = (x == own[:, None, None]).mean((1, 2))
    assert 0.2 < part.mean() < 0.9 and part.std() > 0.1
    np.testing.assert_allclose(labels["kind"].numpy()[own, own], part, atol=1e-5)
    np.testing.assert_allclose(np.sum(labels["kind"], 1), 1, rtol=1e-5)
    for picture, number in zip(x, own, strict=True):  # what is pasted is a rectangle
        where = np.argwhere(picture != number)
        if len(where):
            (top, left), (bottom, right) = where.min(0), where.max(0) + 1
            assert len(where) == (bottom - top) * (right - left)


def test_cut_mix_cuts_the_named_input_only():
    image, y, tasks = pictures(20)
    x = {"image": image, "number": np.arange(20).astype("float32")}
    ((found, _, _),) = data.cut_mix(batches((x, y), 20), tasks, image="image")
    np.testing.assert_array_equal(found["number"], x["number"])
    assert (found["image"].numpy() != image).any()


def test_what_cannot_be_mixed_is_refused():
    x, y = numbered()
    image, of_pixels, tasks = pictures(4)
    boxes = {"boxes": np.zeros((4, 2, 5), "float32")}
    cases = [
        (data.mix_up, (x, y), TASKS, {"alpha": 0}, "`alpha` should be a number above 0"),
        (data.mix_up, (x, y), TASKS, {"seed": -1}, "`seed` should be an integer"),
        (data.mix_up, (x, y), TASKS[:1], {}, "`tasks` should have all tasks of the labels"),
        (data.mix_up, ({"x": x}, y), TASKS, {"inputs": ["z"]}, "`inputs` should be names among"),
        (data.mix_up, (x.astype("int32"), y), TASKS, {}, "`inputs` should be those of float type"),
        (data.cut_mix, (image, of_pixels), tasks, {"image": "x"}, "`image` should be the name"),
        (data.cut_mix, (x, y), TASKS, {}, "The input that is cut should be images"),
        (
            data.cut_mix,
            (image[:, ::2], of_pixels),
            tasks,
            {},
            "Labels of task `parts` should have the size",
        ),
        (
            data.cut_mix,
            (image, boxes),
            [ObjectDetection("boxes", 2, 2)],
            {},
            "Images with boxes should not be cut.*`boxes`",
        ),
    ]
    for function, element, given, options, message in cases:
        with pytest.raises(ValueError, match=message):
            function(batches(element, 4), given, **options)


@pytest.mark.slow
def test_a_model_is_trained_on_mixed_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
    y = {
        "kind": rng.integers(-1, 3, 64).astype("int32"),
        "yes": rng.integers(0, 2, 64).astype("int32"),
        "several": rng.integers(-1, 2, (64, 2)).astype("int32"),
        "value": x[:, :1],
    }
    tasks = [
        Classification("kind", 3),
        BinaryClassification("yes"),
        MultiLabelClassification("several", 2),
        Regression("value"),
    ]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=[8])
    model.compile("adam")
    train = data.mix_up(batches((x, y), 16), tasks)
    logs = model.fit(train, epochs=20, verbose=0).history
    assert logs["loss"][-1] < logs["loss"][0]
