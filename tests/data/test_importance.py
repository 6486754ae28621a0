"""Importance sampling: which rows are drawn, how they are weighted, and that this is unbiased."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import HardSharing, data
from mtlzoo.tasks import BinaryClassification, Classification, Regression, SemanticSegmentation

ROWS = 40
TASKS = [Classification("kind", 3), Regression("value")]


def arrays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype("float32")
    y = {
        "kind": rng.integers(-1, 3, ROWS).astype("int32"),
        "value": rng.normal(size=(ROWS, 1)).astype("float32"),
    }
    y["value"][:5] = np.nan
    return x, y, {"kind": rng.uniform(0, 2, ROWS).astype("float32")}


def sampling(given=None, tasks=TASKS, **arguments):
    dataset = tf.data.Dataset.from_tensor_slices(arrays() if given is None else given).batch(16)
    return data.ImportanceSampling(dataset, tasks, **{"batch_size": 16, **arguments})


def model():
    keras.utils.set_random_seed(0)
    made = HardSharing(keras.Input((4,)), TASKS, shared_units=[8])
    made.compile("sgd")
    return made


class Rows(keras.Model):
    """Stands for a model whose outputs are made of the row."""

    def call(self, x, training=False):
        return {"value": x[:, :1]}


def by_value(errors, **arguments):
    """A sampling of rows whose squared errors are given."""
    errors = np.asarray(errors, "float32")
    x = np.sqrt(errors)[:, None]
    given = (x, {"value": np.zeros_like(x)})
    found = sampling(given, [Regression("value")], **{"by": "loss", **arguments})
    return found, found.update(Rows())


def epoch(found):
    """Rows and weights of an epoch; a row is known by its first input."""
    batches = list(found.dataset)
    x = np.concatenate([x.numpy()[:, 0] for x, _, _ in batches])
    w = np.concatenate([w["value"].numpy() for _, _, w in batches])
    return x, w


def test_before_any_score_an_epoch_has_each_row_once():
    x, y, w = arrays()
    found = sampling()
    batches = list(found.dataset)
    assert [len(x) for x, _, _ in batches] == [16, 16, 8] and len(found.dataset) == 3
    rows = np.concatenate([b[0].numpy() for b in batches])
    order = np.array([np.flatnonzero((x == row).all(1))[0] for row in rows])
    assert sorted(order) == list(range(ROWS)) and not np.array_equal(order, np.arange(ROWS))
    weights = np.concatenate([b[2]["kind"].numpy() for b in batches])
    np.testing.assert_allclose(weights, w["kind"][order], rtol=1e-5)
    for batch in batches:
        np.testing.assert_allclose(batch[2]["value"], 1, rtol=1e-6)
    labels = np.concatenate([b[1]["kind"].numpy() for b in batches])
    np.testing.assert_array_equal(labels, y["kind"][order])


@pytest.mark.slow
def test_rows_are_drawn_in_proportion_to_their_scores():
    errors = [0.0, 1.0, 3.0, 4.0]
    found, scores = by_value(errors, uniform=0.2)
    np.testing.assert_allclose(scores, errors, rtol=1e-6)
    expected = 0.8 * np.array(errors) / 8 + 0.2 / 4
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-6)
    drawn = np.concatenate([epoch(found)[0] for _ in range(200)])
    counts = [np.isclose(drawn**2, error, atol=1e-5).sum() for error in errors]
    # A row is in an epoch as often as expected, rounded up or down: a variance of 1/4 at most.
    np.testing.assert_allclose(np.array(counts) / 200, 4 * expected, atol=4 * 0.5 / np.sqrt(200))


@pytest.mark.slow
def test_weights_are_those_that_keep_the_mean():
    errors = np.linspace(0.1, 9, 50)
    found, _ = by_value(errors)
    x, w = epoch(found)
    rows = np.array([np.argmin(abs(errors - value**2)) for value in x])
    np.testing.assert_allclose(w, 1 / (50 * found.probabilities[rows]), rtol=1e-5)
    assert w.max() <= 1 / 0.2 + 1e-5
    means = [float(np.mean(w * x)) for x, w in (epoch(found) for _ in range(300))]
    error = np.std(means) / np.sqrt(300)
    assert abs(np.mean(means) - np.sqrt(errors).mean()) < 4 * error


@pytest.mark.slow
def test_the_mean_of_a_batch_varies_less_than_with_uniform_rows():
    errors = np.concatenate([np.full(95, 0.01), np.full(5, 100.0)])
    found, _ = by_value(errors, batch_size=10)

    def spread(of):
        return np.std([float(np.mean(w * x.numpy() ** 2)) for x, w in of])

    drawn = [(x[:, 0], w["value"].numpy()) for _ in range(20) for x, _, w in found.dataset]
    plain, _ = by_value(errors, batch_size=10, uniform=1.0)
    uniform = [(x[:, 0], w["value"].numpy()) for _ in range(20) for x, _, w in plain.dataset]
    assert spread(drawn) < 0.5 * spread(uniform)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("by", ["loss", "gradient_norm"])
def test_scores_are_those_of_an_independent_computation(by):
    x, y, w = arrays()
    network = model()
    found = sampling(by=by, loss_weights={"value": 3.0}).update(network)
    outputs = {n: v.astype("float64") for n, v in network.predict(x, verbose=0).items()}
    kind, there = np.maximum(y["kind"], 0), y["kind"] >= 0
    exp = np.exp(outputs["kind"])
    soft = exp / exp.sum(1, keepdims=True)
    weight = w["kind"] * there / there.mean()
    of_kind = -np.log(soft[np.arange(ROWS), kind]) * weight
    known = ~np.isnan(y["value"])
    error = np.where(known, outputs["value"] - y["value"], 0)
    gradients = (soft - np.eye(3)[kind]) * weight[:, None]
    expected = {
        "loss": of_kind + 3 / known.mean() * error[:, 0] ** 2,
        "gradient_norm": np.sqrt((gradients**2).sum(1) + (6 / known.mean() * error[:, 0]) ** 2),
    }
    np.testing.assert_allclose(found, expected[by], rtol=1e-4, atol=1e-6)


def test_pixels_of_a_row_add_up():
    pixels = np.full((4, 2, 2), 255)
    pixels[1:, 0, 0], pixels[2:, 1, 1] = 0, 1
    task = SemanticSegmentation("pixels", 2)
    given = (np.zeros((4, 2, 2, 2), "float32"), {"pixels": pixels})

    class Outputs(keras.Model):
        def call(self, x, training=False):
            return {"pixels": x}

    scores = sampling(given, [task], by="loss").update(Outputs())
    parts = np.array([0, 1, 2, 2]) / (5 / 4)  # of 5 labelled pixels in 4 rows
    np.testing.assert_allclose(scores, parts * np.log(2), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["loss", "gradient_norm"])
def test_the_loss_of_a_task_with_few_labels_stays_what_it_is(by):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 4)).astype("float32")
    y = {
        "kind": rng.integers(0, 3, 400).astype("int32"),
        "value": np.where(np.arange(400)[:, None] % 10, np.nan, 5 + 3 * x[:, :1]).astype("f4"),
    }
    network = model()
    network.compile(keras.optimizers.SGD(0.0))
    found = sampling((x, y), by=by, batch_size=40)
    expected = network.evaluate(x, y, verbose=0, batch_size=400, return_dict=True)
    found.update(network)
    logs = network.fit(found.dataset, epochs=30, verbose=0).history
    for name in ("kind_loss", "value_loss"):
        mean, error = np.mean(logs[name]), np.std(logs[name]) / np.sqrt(30)
        assert abs(mean - expected[name]) < 4 * error + 0.02 * expected[name], name


def test_scores_are_of_the_loss_that_is_given():
    x = np.full((4, 1), 3.0, "float32")
    given = (x, {"value": np.zeros_like(x)})
    found = sampling(given, [Regression("value")], by="loss", loss={"value": "mae"})
    np.testing.assert_allclose(found.update(Rows()), 3)


@pytest.mark.slow
def test_the_callback_scores_by_the_model_in_training():
    found, network = sampling(seed=4), model()
    before = found.probabilities.copy()
    network.fit(found.dataset, epochs=3, verbose=0, callbacks=[found.callback(every=2)])
    assert not np.allclose(before, found.probabilities)
    after = found.probabilities.copy()
    network.fit(found.dataset, epochs=1, verbose=0, callbacks=[found.callback(every=2)])
    np.testing.assert_array_equal(after, found.probabilities)


def test_the_same_seed_draws_the_same_rows_and_epochs_differ():
    errors = np.linspace(0, 9, 30)
    one, other = (by_value(errors, seed=7)[0] for _ in range(2))
    first, second = epoch(one)[0], epoch(one)[0]
    np.testing.assert_array_equal(first, epoch(other)[0])
    assert not np.array_equal(first, second)


def test_with_equal_scores_of_zero_rows_are_drawn_alike():
    found, _ = by_value(np.zeros(8))
    np.testing.assert_allclose(found.probabilities, 1 / 8)


def test_what_cannot_be_sampled_is_refused():
    x, y, _ = arrays()
    for arguments, message in (
        ({"by": "size"}, "`by` should be one of"),
        ({"uniform": 0.0}, "`uniform` should be a number above 0"),
        ({"batch_size": 0}, "`batch_size` should be an integer"),
        ({"tasks": [BinaryClassification("other")]}, "`tasks` should have all tasks of the labels"),
        ({"loss_weights": {"other": 1}}, "`loss_weights` should be a dict with keys among"),
        ({"loss_weights": {"kind": -1}}, r"`loss_weights\['kind'\]` should be a number of at"),
        ({"loss": {"other": "mae"}}, "`loss` should be a dict with keys among"),
        ({"given": (x[:0], {n: v[:0] for n, v in y.items()})}, "`dataset` should have rows"),
    ):
        with pytest.raises(ValueError, match=message):
            sampling(**arguments)
    endless = tf.data.Dataset.from_tensor_slices((x, y)).batch(8).repeat()
    with pytest.raises(ValueError, match="`dataset` should have an end"):
        data.ImportanceSampling(endless, TASKS, batch_size=8)
    with pytest.raises(ValueError, match="`every` should be an integer"):
        sampling().callback(every=0)
    with pytest.raises(ValueError, match=r"Scores should be finite.*Received: inf for row 1"):
        by_value([1.0, np.inf, 2.0])
