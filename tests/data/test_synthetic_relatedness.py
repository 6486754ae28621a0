"""The synthetic data of the paper on MMoE."""

import numpy as np
import pytest

from mtlzoo import data
from mtlzoo.data import synthetic_relatedness
from mtlzoo.data.synthetic_relatedness import generate


def test_the_equation():
    """Noise and weights drawn again in the same order; nothing else is."""
    x, y = generate(50, 0.6, seed=3, weights_seed=4)
    rng = np.random.default_rng(4)
    u = np.linalg.qr(rng.normal(size=(100, 2)))[0]
    (a1, a2, a3, a4), (b1, b2, b3, b4) = rng.normal(size=(2, 4))
    rng = np.random.default_rng(3)
    features = rng.normal(size=(50, 100))
    np.testing.assert_allclose(x, features, rtol=1e-6)
    for name, w in (("first", u[:, 0]), ("second", 0.6 * u[:, 0] + 0.8 * u[:, 1])):
        z = features @ w
        expected = z + np.sin(a1 * z + b1) + np.sin(a2 * z + b2)
        expected += np.sin(a3 * z + b3) + np.sin(a4 * z + b4)
        np.testing.assert_allclose(y[name], expected + 0.1 * rng.normal(size=50), rtol=1e-4)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("correlation", [-1, -0.5, 0, 0.5, 0.9, 1])
def test_p_is_the_cosine_of_the_weight_vectors(correlation):
    x, y = generate(20000, correlation, seed=1, weights_seed=2)
    # By Stein's lemma the best linear fit of w . x and its sinusoids points along w.
    fits = [np.linalg.lstsq(x, y[name], rcond=None)[0] for name in ("first", "second")]
    cosine = fits[0] @ fits[1] / np.linalg.norm(fits[0]) / np.linalg.norm(fits[1])
    np.testing.assert_allclose(cosine, correlation, atol=0.05)


def test_at_p_1_only_noise_tells_the_tasks_apart():
    _, y = generate(20000, 1.0, seed=1, weights_seed=2)
    np.testing.assert_allclose(np.std(y["first"] - y["second"]), 0.1 * np.sqrt(2), rtol=0.02)


def test_loaded():
    options = {"rows": 600, "held_out_rows": 300, "batch_size": 200, "correlation": 0.9}
    loaded = data.load("synthetic_relatedness", **options)
    assert [task.name for task in loaded.tasks] == ["first", "second"]
    assert loaded.inputs.shape == (None, 100)
    parts = [list(part) for part in (loaded.train, loaded.valid, loaded.test)]
    assert [sum(len(x) for x, _, _ in part) for part in parts] == [600, 300, 300]
    x, y, weight = parts[2][0]
    assert x.shape == (200, 100) and y["first"].shape == weight["second"].shape == (200,)
    again = next(iter(data.load("synthetic_relatedness", **options).test))
    np.testing.assert_array_equal(again[1]["second"], y["second"])
    other = next(iter(data.load("synthetic_relatedness", data_seed=1, **options).test))
    assert np.abs(other[1]["second"] - y["second"]).max() > 0
    assert np.abs(parts[1][0][0] - x).max() > 0  # other rows in each split


def test_bad_options():
    for correlation in (1.5, -2, True, "half", float("nan")):
        with pytest.raises(ValueError, match="`correlation` should be a number from -1 to 1"):
            generate(10, correlation, 0, 0)
    with pytest.raises(ValueError, match="`rows` should be a positive integer"):
        data.load("synthetic_relatedness", rows=0)
    with pytest.raises(ValueError, match="`held_out_rows` should be a positive integer"):
        data.load("synthetic_relatedness", held_out_rows=1.5)
    with pytest.raises(ValueError, match="should be a data set that has files to prepare"):
        synthetic_relatedness.prepare()
