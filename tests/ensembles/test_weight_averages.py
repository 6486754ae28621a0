"""Averages of weights, task vectors, greedy soups and refreshed statistics, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ensemble_cases import TASKS, model, rows

from mtlzoo import BinaryClassification, HardSharing, MultiTaskModel, Regression, SoftSharing
from mtlzoo.backbones import ConvNet
from mtlzoo.ensembles import average_weights, greedy_soup, refresh_statistics, task_arithmetic
from mtlzoo.ensembles.members import copy_of

STAY = TASKS[3]


def normalized(units=3, named=True, **arguments):
    """A model with batch normalization; with the names that Keras gives, or with fixed ones."""
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(units, name="dense" if named else None)(inputs)
    dense = keras.layers.BatchNormalization(name="norm" if named else None, **arguments)(dense)
    dense = keras.layers.Dropout(0.5)(dense)
    return MultiTaskModel(inputs, {"stay": STAY.head(dense)}, tasks=[STAY])


def random_weights(*models):
    rng = np.random.default_rng(0)
    for each in models:
        each.set_weights([rng.uniform(0.1, 1, w.shape) for w in each.get_weights()])


@pytest.mark.parametrize("named", [True, False])
def test_an_average_is_that_of_numpy_in_float64(named, tmp_path):
    models = [normalized(named=named) for _ in range(3)]
    random_weights(*models)
    models[1].compile("adam", balancer="uncertainty")  # whose state is none of the weights
    models[2].save(tmp_path / "third.keras")
    before = [each.get_weights() for each in models]
    weights = [0.5, 2.0, 1.5]
    found = average_weights([*models[:2], tmp_path / "third.keras"], weights)
    third = models[1].get_weights()[: len(before[0])]
    values = zip(before[0], third, before[2], strict=True)
    for new, each in zip(found.get_weights(), values, strict=True):
        wanted = np.average(np.asarray(each, "float64"), 0, weights)
        np.testing.assert_allclose(new, wanted, rtol=1e-7)
    assert found is not models[0] and not found.compiled
    for each, old in zip(models, before, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(each.get_weights(), old, strict=False))


def test_checkpoints_of_one_training_are_averaged(tmp_path):
    each, paths, seen = model([STAY]), [], []
    for i in range(3):
        random_weights(each)
        each.set_weights([w + i for w in each.get_weights()])
        seen.append(each.get_weights())
        paths.append(tmp_path / f"{i}.weights.h5")
        each.save_weights(paths[-1])
    found = average_weights(paths, like=each)
    for new, old in zip(found.get_weights(), zip(*seen, strict=True), strict=True):
        np.testing.assert_allclose(new, np.mean(old, 0), rtol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(each.get_weights(), seen[2], strict=True))


def test_sums_do_not_round_in_half_precision():
    keras.config.set_dtype_policy("bfloat16")
    models = [model([STAY], units=()) for _ in range(3)]
    for each, value in zip(models, (256.0, 1.0, 1.0), strict=True):  # 256 + 1 is 256 in bfloat16
        for variable in each.variables:
            variable.assign(np.full(variable.shape, value))
    found = average_weights(models)
    assert {float(np.asarray(v).ravel()[0]) for v in found.variables} == {86.0}


def test_columns_whose_layers_have_the_same_names():
    def soft():
        backbone = ConvNet((8, 8, 1), (2,), kernel_size=3, dense_units=())
        return SoftSharing(keras.Input((8, 8, 1)), [STAY, Regression("a")], backbone=backbone)

    models = [soft(), soft()]
    random_weights(*models)
    found = average_weights(models)
    values = zip(*(each.get_weights() for each in models), strict=True)
    for new, each in zip(found.get_weights(), values, strict=True):
        np.testing.assert_allclose(new, np.mean(each, 0), rtol=1e-6)


def test_task_vectors_are_added_and_subtracted():
    base, one, two = (normalized() for _ in range(3))
    random_weights(base, one, two)
    found = task_arithmetic(base, {"one": one, "two": two}, {"one": 0.3, "two": -1.0})
    values = zip(base.weights, one.weights, two.weights, found.weights, strict=True)
    for b, first, second, new in values:
        b, first, second = (np.asarray(v, "float64") for v in (b, first, second))
        wanted = b + 0.3 * (first - b) - (second - b)
        if "moving" in new.path:
            wanted = b  # statistics cannot be subtracted
        np.testing.assert_allclose(new, wanted, rtol=1e-5, atol=1e-6)

    for scale, like in ((0.0, base), (1.0, one)):
        same = task_arithmetic(base, [one], scale)
        for new, old in zip(same.trainable_variables, like.trainable_variables, strict=True):
            np.testing.assert_allclose(new, old, rtol=1e-6)
    half = task_arithmetic(base, [one, two], [0.5, 0.5])
    mean = average_weights([one, two])
    for new, old in zip(half.trainable_variables, mean.trainable_variables, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5)


def test_models_of_some_of_the_tasks_change_what_they_have():
    tasks = [Regression("a"), Regression("b")]
    base = model(tasks)
    alone = model(tasks[:1])
    random_weights(base, alone)
    found = task_arithmetic(base, [alone], 1.0)
    of_alone = {v.path: v for v in alone.variables}
    assert len(of_alone) == 4
    for new, old in zip(found.variables, base.variables, strict=True):
        np.testing.assert_allclose(new, of_alone.get(new.path, old), rtol=1e-6)


@pytest.mark.slow
def test_statistics_are_those_of_all_rows():
    found = normalized(momentum=0.9)
    x = np.random.default_rng(0).normal(2, 3, size=(70, 4)).astype("float32")
    x[:30] += 5  # so that means of batches differ
    features = keras.Model(found.input, found.get_layer("norm").input)
    before = [v.numpy() for v in found.variables]
    assert refresh_statistics(found, tf.data.Dataset.from_tensor_slices((x, x)).batch(32)) == 1
    norm = found.get_layer("norm")
    values = features.predict(x, verbose=0).astype("float64")
    np.testing.assert_allclose(norm.moving_mean, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, values.var(0), rtol=1e-5)
    assert norm.momentum == 0.9
    for variable, old in zip(found.variables, before, strict=True):
        assert ("moving" in variable.path) != np.array_equal(variable, old)

    by_arrays, wanted = normalized(), norm.moving_mean.numpy()
    by_arrays.set_weights(found.get_weights())
    refresh_statistics(by_arrays, x, batch_size=7)
    np.testing.assert_allclose(by_arrays.get_layer("norm").moving_mean, wanted, rtol=1e-5)
    refresh_statistics(by_arrays, [x[:2], x[2:]], steps=1)
    np.testing.assert_allclose(
        by_arrays.get_layer("norm").moving_mean, values[:2].mean(0), rtol=1e-5
    )
    norm.trainable = False
    assert refresh_statistics(found, x) == 0
    with pytest.raises(ValueError, match="`data` should have rows"):
        refresh_statistics(by_arrays, [])
    with pytest.raises(ValueError, match="`model` should be a `MultiTaskModel`"):
        refresh_statistics(keras.Sequential(), x)


def biased(bias, task=STAY):
    """A model that answers a constant, and is so far from right answers of 0."""
    each = model([task], units=())
    each.set_weights([np.zeros((4, 1)), np.full(1, bias)])
    return each


@pytest.mark.slow
def test_a_greedy_soup_takes_what_makes_it_no_worse():
    x, _ = rows()
    valid = (x, {"stay": np.zeros((48, 1), "float32")})
    # From the best on: -1; with -1.5 it would be -1.25, worse; with 2 it is 0.5, better; with 3
    # too it would be 4/3, worse.
    models = [biased(3.0), biased(-1.0), biased(2.0), biased(-1.5)]
    for task in (None, "stay"):
        soup = greedy_soup(models, valid, task=task)
        assert soup.ingredients == [1, 2]
        np.testing.assert_allclose(soup.model.predict(x, verbose=0)["stay"], 0.5, rtol=1e-6)
        assert soup.score >= max(soup.scores)
    rmse = soup.model.evaluate(*valid, return_dict=True, verbose=0)["stay_rmse"]
    assert soup.score == pytest.approx(-rmse, rel=1e-5)
    as_batches = greedy_soup(models, tf.data.Dataset.from_tensors(valid), task="stay")
    assert as_batches.ingredients == soup.ingredients


@pytest.mark.slow
def test_a_greedy_soup_of_a_metric_of_which_more_is_better_with_refreshed_statistics():
    x, y = rows()
    models = [normalized() for _ in range(2)]
    soup = greedy_soup(models, (x, {"stay": y["stay"]}), refresh=x)
    if len(soup.ingredients) == 2:
        mean = np.mean([m.get_weights()[0] for m in models], 0)
        np.testing.assert_allclose(soup.model.get_weights()[0], mean, rtol=1e-6)
    auc = model([TASKS[0]])
    found = greedy_soup([auc, auc], (x, {"click": y["click"]}), task="click")
    assert found.ingredients == [0, 1]  # equal models are no worse together


@pytest.mark.slow
def test_a_greedy_soup_of_models_that_all_are_wrong_takes_all():
    x, _ = rows()

    class Sure(BinaryClassification):
        monitor = "precision"

    sure = Sure("click", metrics=["precision"])
    models = [model([sure], units=()) for _ in range(2)]
    for each in models:
        each.set_weights([np.zeros((4, 1)), np.full(1, -3.0)])
    assert greedy_soup(models, (x, {"click": np.ones(48)})).ingredients == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("task", [None, "stay"])
def test_a_model_that_has_diverged_is_not_in_a_greedy_soup(task):
    x, _ = rows()
    valid = (x, {"stay": np.zeros((48, 1), "float32")})
    sound = [biased(-1.0), biased(2.0), biased(-1.5)]
    expected = greedy_soup(sound, valid, task=task)
    for bad in (np.nan, np.inf):
        soup = greedy_soup([biased(bad), *sound], valid, task=task)
        assert soup.ingredients == [i + 1 for i in expected.ingredients]
        assert soup.scores == [-np.inf, *expected.scores] and soup.score == expected.score
    with pytest.raises(ValueError, match=r"finite weights.*: model 0 \(`small`\), model 1"):
        greedy_soup([biased(np.nan), biased(np.inf)], valid, task=task)


def test_a_metric_that_hides_it_lets_no_diverged_model_in():
    x, _ = rows()
    kind = BinaryClassification("click", metrics=["accuracy"])
    kind.monitor = "accuracy"
    good, bad = model([kind], units=()), model([kind], units=())
    bad.set_weights([np.full((4, 1), np.nan), np.zeros(1)])
    soup = greedy_soup([bad, good], (x, {"click": np.zeros(48)}), task="click")
    assert soup.ingredients == [1] and soup.scores[0] == -np.inf


def with_one_more_layer():
    return HardSharing(keras.Input((4,), name="features"), [STAY], shared_units=(8, 8))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: model([STAY], units=(9,)), r"`shared_0/kernel` of shape \(4, 9\) in model 1"),
        (with_one_more_layer, r"model 1 .* with the variable `shared_1/kernel` that model 0"),
        (lambda: model([STAY], units=()), r"model 1 .* without the variable `shared_0/kernel`"),
        (lambda: model([Regression("go")]), r"`go/kernel` of model 1 .* has `stay/kernel`"),
    ],
)
def test_models_of_another_architecture(other, words):
    x, y = rows()
    first, second = model([STAY]), other()
    for make in (
        lambda: average_weights([first, second]),
        lambda: greedy_soup([first, second], (x, {"stay": y["stay"]})),
    ):
        with pytest.raises(ValueError, match=f"Models should be of one architecture.*{words}"):
            make()


def test_refusals(tmp_path):
    one = model([STAY])
    with pytest.raises(ValueError, match=r"`shared_0/kernel` of shape \(4, 9\) in the model 'x'"):
        task_arithmetic(one, {"x": model([STAY], units=(9,))})
    with pytest.raises(ValueError, match="the model 'x' with the variable `shared_1/kernel`"):
        task_arithmetic(one, {"x": with_one_more_layer()})
    for scales in ({"y": 1.0}, [1.0], "a", float("nan"), {"x": None}):
        with pytest.raises(ValueError, match=r"`scales` should be one number, or one for each"):
            task_arithmetic(one, {"x": one}, scales)
    for models in ([], {}, None, one, "one.keras"):
        with pytest.raises(ValueError, match=r"`models` should be a list of one model at least"):
            task_arithmetic(one, models)
    with pytest.raises(ValueError, match="`base` should hold multi-task models"):
        task_arithmetic(3, [one])
    for weights in ([1], [1, "a"], [1, -1], 3, [1, float("inf")]):
        with pytest.raises(ValueError, match=r"`weights` should be one number for each of the 2"):
            average_weights([one, one], weights)
    with pytest.raises(ValueError, match="`models` should be a list of one model at least"):
        average_weights([])
    with pytest.raises(ValueError, match=r"`like` is the model .*models\[1\]="):
        average_weights([one, tmp_path / "a.weights.h5"], like=one)
    one.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match=r"`like` is the model .*like=None"):
        average_weights([one, tmp_path / "a.weights.h5"])
    with pytest.raises(ValueError, match=r"`task` should be one of the tasks \['stay'\]"):
        greedy_soup([one], None, task="go")
    x, y = rows()
    with pytest.raises(ValueError, match=r"`data` should be .* `x` alone\. .*a tuple of 2"):
        refresh_statistics(normalized(), (x, y))
    with pytest.raises(ValueError, match=r"`refresh` should be .* `x` alone\. .*a tuple of 2"):
        greedy_soup([one], (x, y), refresh=(x, y))


def test_a_copy_computes_with_what_a_normalization_has_adapted_to():
    x = np.random.default_rng(0).normal(5.0, 3.0, size=(64, 4)).astype("float32")
    normalization = keras.layers.Normalization()
    normalization.adapt(x)
    inputs = keras.Input((4,))
    adapted = MultiTaskModel(inputs, {"stay": STAY.head(normalization(inputs))}, tasks=[STAY])
    np.testing.assert_array_equal(copy_of(adapted)(x)["stay"], adapted(x)["stay"])
