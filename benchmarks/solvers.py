"""What the mathematics of a balancer costs by itself, on the device of Keras's backend.

Prints for each method that needs the Gramian alone the time from T gradients of T + 8 numbers to
their combination, compiled, and how far it lies in float32 from that in float64; and where TorchJD
is installed, the time of its aggregator, in turns with ours. No number may leave the device
meanwhile (checked with JAX).

    KERAS_BACKEND=jax python -m benchmarks.solvers [--tasks=2,8,16]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import importlib.util
import time
from collections.abc import Callable

import keras
import numpy as np
from absl import app, flags
from keras import ops

from benchmarks.peers_methods import TORCHJD, torchjd_aggregator
from mtlzoo import balancing

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", ["2", "8", "16"], "Numbers of tasks.")
flags.DEFINE_integer("rounds", 7, "Rounds of measurements; the medians are printed.")
flags.DEFINE_integer("calls", 30, "Calls in each measurement.")


def methods() -> list[str]:
    """Those that need the Gramian of one batch, and no losses."""
    return [name for name in balancing.names() if balancing.get(name).needs == {"gramian"}]


def compiled(function: Callable) -> Callable:
    """The function, compiled by XLA for one shape and dtype."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def kept_on_device() -> contextlib.AbstractContextManager:
    """Whatever copies a number from or to the device is an error here."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.transfer_guard("disallow")


def combination(name: str) -> Callable:
    """From (T, P) gradients to the update, in full precision but for what the method does."""
    balancer = balancing.get(name)

    def combine(gradients):
        weights = balancer.weights(ops.sum(gradients[:, None] * gradients, axis=-1))
        return ops.sum(weights[:, None] * gradients, axis=0)

    return combine


def ours(name: str, gradients: np.ndarray) -> tuple[Callable, float]:
    """What is measured, and the relative error of its result."""
    exact = compiled(combination(name))(ops.convert_to_tensor(gradients, "float64"))
    given = ops.convert_to_tensor(gradients, "float32")
    combine = compiled(combination(name))
    exact, found = (ops.convert_to_numpy(result) for result in (exact, combine(given)))
    error = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))

    def run():
        with kept_on_device():
            for _ in range(FLAGS.calls):
                result = combine(given)
        ops.convert_to_numpy(result)

    return run, error


def theirs(name: str, gradients: np.ndarray) -> Callable | None:
    """The same by TorchJD; `None` where it refuses so few tasks."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    given = torch.tensor(gradients, dtype=torch.float32, device=device)
    aggregator = torchjd_aggregator(name, len(gradients))
    try:
        aggregator(given)
    except ValueError:
        return None

    def run():
        for _ in range(FLAGS.calls):
            result = aggregator(given)
        result.cpu()

    return run


def main(argv):
    """Measure and print."""
    del argv
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    peer = importlib.util.find_spec("torchjd") is not None
    print(f"{keras.backend.backend()}: us from gradients to update, and its error in float32;")
    print("then TorchJD's as a ratio to ours" if peer else "TorchJD is not installed")
    sizes = [int(size) for size in FLAGS.tasks]
    print(" " * 12 + "".join(f"{f'T = {size}':>24}" for size in sizes))
    for name in methods():
        cells = []
        for size in sizes:
            gradients = np.random.default_rng(size).normal(size=(size, size + 8))
            mine, error = ours(name, gradients)
            runs = {"ours": mine}
            peers = theirs(name, gradients) if peer and name in TORCHJD else None
            if peers is not None:
                runs["theirs"] = peers
            times: dict[str, list[float]] = {key: [] for key in runs}
            for i in range(FLAGS.rounds + 1):
                for key, run in runs.items():
                    start = time.perf_counter()
                    run()
                    if i > 0:
                        times[key].append((time.perf_counter() - start) / FLAGS.calls)
            medians = {key: float(np.median(of_run)) for key, of_run in times.items()}
            ratio = f"{medians['theirs'] / medians['ours']:.1f}" if "theirs" in medians else ""
            cells.append(f"{medians['ours'] * 1e6:8.0f}{error:9.0e}{ratio:>7}")
        print(f"{name:12}" + "".join(cells), flush=True)


if __name__ == "__main__":
    app.run(main)
