"""Run on another backend, where there is no TensorFlow: the weights of Gramians from a file.

`python balancers_on_jax.py FOLDER` reads `gramians.npz` and writes `weights.npz`.
"""

import pathlib
import sys

import jax
import keras
import numpy as np

jax.config.update("jax_enable_x64", True)

from mtlzoo import balancing  # noqa: E402


def main(folder):
    assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
    found = {}
    for key, gramian in np.load(folder / "gramians.npz").items():
        name = key.split()[0]
        solve = jax.jit(balancing.get(name).weights)
        found[key] = np.asarray(solve(gramian))
    np.savez(folder / "weights.npz", **found)
    assert "tensorflow" not in sys.modules


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
