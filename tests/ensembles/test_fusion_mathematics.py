"""Every fusion of every kind of task against NumPy in float64, also at extremes."""

import numpy as np
import pytest
from ensemble_cases import BINARY, KINDS, WITH_CLASSES, log_probabilities, raw_outputs, served
from scipy.special import logsumexp

from mtlzoo import ensembles
from mtlzoo.ensembles import FittedWeights, Stacking, WeightedMean, WeightedVote

SIZES = [3.0, 1e4]
WEIGHTS = np.array([0.5, 0.2, 0.3])


def fused(fusion, kind, raw):
    return np.asarray(ensembles.get(fusion).of(KINDS[kind][0])(list(raw)))


def answer(kind, outputs):
    return np.asarray(KINDS[kind][0].serve(outputs)["t"])


def weighted(logs, weights):
    return logsumexp(logs, 0, b=np.reshape(weights, (-1, *[1] * (logs.ndim - 1))))


def votes(logs, axis, weights):
    shape = (-1, *[1] * (logs.ndim - 1))
    chosen = np.argmax(logs, axis)[..., None] == np.arange(logs.shape[axis])
    counted = (np.moveaxis(chosen, -1, axis) * weights.reshape(shape)).sum(0)
    with np.errstate(divide="ignore"):
        return np.log(counted + 1e-3 * np.exp(weighted(logs, weights)))


REFERENCES = {
    "mean": lambda logs, axis: weighted(logs, np.ones(len(logs)) / len(logs)),
    "geometric_mean": lambda logs, axis: logs.mean(0),
    "maximum": lambda logs, axis: logs.max(0),
    "majority_vote": lambda logs, axis: votes(logs, axis, np.ones(len(logs)) / len(logs)),
    "fitted_weights": lambda logs, axis: weighted(logs, np.ones(len(logs)) / len(logs)),
    "stacking": lambda logs, axis: logs.mean(0),
    "temperature": lambda logs, axis: weighted(logs, np.ones(len(logs)) / len(logs)),
    WeightedMean(WEIGHTS * 7): lambda logs, axis: weighted(logs, WEIGHTS),
    WeightedVote(WEIGHTS * 7): lambda logs, axis: votes(logs, axis, WEIGHTS),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", WITH_CLASSES)
def test_probabilities_are_those_of_numpy(kind):
    for size in SIZES[: 1 if "probabilities" in kind else 2]:
        raw = raw_outputs(kind, size=size)
        logs, axis = log_probabilities(kind, raw)
        for fusion, reference in REFERENCES.items():
            wanted = served(kind, reference(logs, axis), axis)
            outputs = fused(fusion, kind, raw)
            assert outputs.shape == raw.shape[1:] and outputs.dtype == "float32"
            assert np.isfinite(outputs).all()
            # Half a unit of a logit of 1e4 is 5e-4.
            tolerance = 2e-6 if size == 3 else 2e-3
            np.testing.assert_allclose(
                answer(kind, outputs), wanted, atol=tolerance, err_msg=str((fusion, size))
            )


def test_the_logit_of_a_mean_is_exact_far_out():
    raw = np.array([[[-1e4]], [[-300.0]]], "float32")
    np.testing.assert_allclose(fused("mean", "binary", raw), -300 - np.log(2), rtol=1e-6)
    raw = np.array([[[1e4, 0.0, 0.0]], [[0.0, 1e4, 0.0]]], "float32")
    found = fused("mean", "classes", raw)[0]
    np.testing.assert_allclose(found[:2], np.log([0.5, 0.5]), rtol=1e-6)
    assert found[2] < -9e3  # not minus infinity, and not a made-up floor


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITH_CLASSES])
def test_values_are_those_of_numpy(kind):
    raw = raw_outputs(kind).astype("float64")
    if kind == "normals":
        raw /= np.linalg.norm(raw, axis=-1, keepdims=True)
    means = {
        "mean": raw.mean(0),
        "fitted_weights": raw.mean(0),
        "stacking": raw.mean(0),
        WeightedMean(WEIGHTS): np.tensordot(WEIGHTS, raw, 1),
    }
    if kind in ("values", "depths", "own kind"):
        means["maximum"] = raw.max(0)
    for fusion, wanted in means.items():
        found = fused(fusion, kind, raw_outputs(kind))
        if kind == "normals":
            wanted = wanted / np.linalg.norm(wanted, axis=-1, keepdims=True)
        np.testing.assert_allclose(found, wanted, atol=1e-5, err_msg=str(fusion))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", KINDS)
def test_equal_models_are_the_model_and_one_alone_is_untouched(kind):
    raw = raw_outputs(kind, models=1)
    for fusion in ("mean", "geometric_mean", "maximum", "fitted_weights", "stacking"):
        try:
            same = fused(fusion, kind, np.repeat(raw, 3, 0))
        except ValueError:
            continue  # refused for such a task, see `test_ensemble_refusals.py`
        np.testing.assert_allclose(answer(kind, same), answer(kind, raw[0]), atol=3e-6)
        if fusion != "stacking":
            np.testing.assert_array_equal(fused(fusion, kind, raw), raw[0])


@pytest.mark.parametrize("kind", WITH_CLASSES)
def test_a_vote_of_equal_models_has_their_class(kind):
    raw = np.repeat(raw_outputs(kind, models=1), 3, 0)
    axis = -2 if kind == "spans" else -1
    for fusion in ("majority_vote", WeightedVote([1, 0, 2])):
        found = answer(kind, fused(fusion, kind, raw))
        one = answer(kind, raw[0])
        if kind in BINARY:
            np.testing.assert_array_equal(found > 0.5, one > 0.5)
        else:
            np.testing.assert_array_equal(found.argmax(axis), one.argmax(axis))


def test_models_may_come_in_any_order():
    raw, order = raw_outputs("classes"), [2, 0, 1]
    for fusion in ("mean", "geometric_mean", "maximum", "majority_vote"):
        one, other = fused(fusion, "classes", raw), fused(fusion, "classes", raw[order])
        np.testing.assert_allclose(one, other, atol=1e-6)
    for fusion in (WeightedMean, WeightedVote):
        one = fused(fusion(WEIGHTS), "classes", raw)
        other = fused(fusion(WEIGHTS[order]), "classes", raw[order])
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_tie_is_for_the_larger_mean():
    raw = np.log([[[0.6, 0.4]], [[0.1, 0.9]]]).astype("float32")
    task = ensembles.scales.Classification("t", 2)
    found = np.asarray(ensembles.get("majority_vote").of(task)(list(raw)))
    assert found.argmax() == 1
    np.testing.assert_allclose(np.exp(found[0]), [0.5, 0.5], atol=1e-3)


def test_opposite_normals_are_a_zero_vector_and_finite():
    raw = np.zeros((2, 1, 2, 3, 3), "float32")
    raw[0, ..., 0], raw[1, ..., 0] = 5, -2
    assert np.abs(fused("mean", "normals", raw)).max() == 0


def test_half_precision_is_fused_in_float32():
    raw = raw_outputs("classes").astype("float16")
    found = fused("mean", "classes", raw)
    assert found.dtype == "float32"
    wanted = fused("mean", "classes", raw.astype("float32"))
    np.testing.assert_array_equal(found, wanted)


def test_fitted_weights_and_stacking_with_what_they_learned():
    raw = raw_outputs("classes")
    logs, axis = log_probabilities("classes", raw)
    learned = np.array([0.3, -1.0, 2.0])
    shares = np.exp(learned) / np.exp(learned).sum()
    for geometric in (False, True):
        fusion = FittedWeights(geometric).of(KINDS["classes"][0])
        fusion.build([(None, 3)] * 3)
        fusion.logits.assign(learned)
        wanted = np.tensordot(shares, logs, 1) if geometric else weighted(logs, shares)
        found = np.asarray(fusion(list(raw)))
        np.testing.assert_allclose(
            answer("classes", found), served("classes", wanted, axis), atol=1e-6
        )
    rng = np.random.default_rng(1)
    departure, bias = rng.normal(size=(9, 3)), rng.normal(size=3)
    fusion = Stacking().of(KINDS["classes"][0])
    fusion.build([(None, 3)] * 3)
    fusion.departure.assign(departure)
    fusion.bias.assign(bias)
    wanted = logs.mean(0) + np.concatenate(list(logs), -1) @ departure + bias
    np.testing.assert_allclose(
        answer("classes", fusion(list(raw))), served("classes", wanted, axis), atol=1e-5
    )


def test_a_temperature_divides_logits():
    raw = raw_outputs("labels", models=1)
    fusion = ensembles.get("temperature").of(KINDS["labels"][0])
    fusion.build([(None, 4)])
    fusion.log_temperature.assign(np.log(2.5))
    np.testing.assert_allclose(np.asarray(fusion(list(raw))), raw[0] / 2.5, atol=1e-5)
