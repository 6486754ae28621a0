"""On Keras's JAX backend: outputs are TensorFlow's, layers run, and models say what they need."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest
from backbone_cases import CASES, inputs_of, randomize

from mtlzoo import layers

pytestmark = [
    pytest.mark.slow,  # JAX compiles every operation of every backbone
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None, reason="JAX is not installed (pip install jax)"
    ),
]

# The layers that cannot be called, and why.
NOT_CALLED = {"Fusion": "base of the fusions", "Gate": "base of the gates"}
HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory, run_on_jax):
    """What JAX printed, and both backends' outputs by case."""
    folder = tmp_path_factory.mktemp("jax")
    expected = {}
    for case, (make, _) in CASES.items():
        backbone = randomize(make())
        x = inputs_of(backbone)
        expected[case] = backbone(x, training=False).numpy()
        named = x if isinstance(x, dict) else {backbone.inputs[0].name: x}
        arrays = {f"input_{name}": values for name, values in named.items()}
        arrays |= {f"weight_{i}": values for i, values in enumerate(backbone.get_weights())}
        np.savez(folder / f"{case}.npz", **arrays)
        description = {"kind": type(backbone).__name__, "config": backbone.get_config()}
        (folder / f"{case}.json").write_text(json.dumps(description))
    printed = run_on_jax(HERE / "jax_outputs.py", folder)
    return printed, {c: (np.load(folder / f"{c}.npy"), expected[c]) for c in CASES}


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_of_tensorflow(case, on_jax):
    actual, expected = on_jax[1][case]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * scale)


def test_every_layer_runs(on_jax):
    (line,) = [line for line in on_jax[0].splitlines() if line.startswith("called:")]
    assert set(layers.__all__) - set(line.split()) == set(NOT_CALLED)


@pytest.mark.parametrize("name", ["HardSharing", "models", "export"])
def test_models_say_that_they_need_tensorflow(name, on_jax):
    line = (
        f"refused: {name} mtlzoo's models need Keras's TensorFlow backend: their training step is "
        "TensorFlow's. Set KERAS_BACKEND=tensorflow before Keras is imported."
    )
    assert line in on_jax[0] and "Received: the backend 'jax'" in on_jax[0]
