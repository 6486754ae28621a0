"""On Keras's JAX backend, where TensorFlow is not even imported, the weights are the same."""

import importlib.util
import pathlib

import numpy as np
import pytest
from gradient_cases import gradient_sets

from mtlzoo import balancing

pytestmark = [
    pytest.mark.slow,  # JAX compiles every method
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None, reason="JAX is not installed (pip install jax)"
    ),
]

HERE = pathlib.Path(__file__).parent
METHODS = [name for name in balancing.names() if balancing.get(name).needs == {"gramian"}]
SETS = ["plain", "positive", "nearly sum to zero", "one zero", "scales"]


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory, run_on_jax):
    """The Gramians and JAX's weights of them, by method, number of tasks and dtype."""
    folder = tmp_path_factory.mktemp("jax")
    gramians = {}
    for size in (2, 4):
        sets = gradient_sets(size)
        batch = np.stack([sets[name] @ sets[name].T for name in SETS])
        for name in METHODS:
            for dtype in ("float32", "float64"):
                gramians[f"{name} {size} {dtype}"] = batch.astype(dtype)
    np.savez(folder / "gramians.npz", **gramians)
    run_on_jax(HERE / "balancers_on_jax.py", folder)
    weights = np.load(folder / "weights.npz")
    return {key: (gramian, weights[key]) for key, gramian in gramians.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", METHODS)
def test_weights_are_those_of_tensorflow(name, size, dtype, on_jax):
    gramians, found = on_jax[f"{name} {size} {dtype}"]
    expected = balancing.get(name).weights(gramians)
    assert found.dtype == expected.dtype == dtype
    lengths = np.sqrt(np.einsum("nii->ni", gramians.astype("float64")))
    found, expected = found * lengths, expected * lengths
    bound = (1e-3 if dtype == "float32" else 1e-9) * np.abs(expected).max(axis=-1, keepdims=True)
    assert np.all(np.abs(found - expected) <= bound)
