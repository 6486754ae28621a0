import collections
import logging
import math
import os
import pathlib
import subprocess
import sys
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported

import hypothesis
import pytest

# The same examples in every run, and as many as the default run has time for; no example is timed,
# since the first one traces graphs.
hypothesis.settings.register_profile("mtlzoo", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.load_profile("mtlzoo")

# Their tests share nothing, and are most of the work.
ONE_BY_ONE = {
    *("test_balancers.py", "test_models.py", "test_bad_input.py", "test_replicas.py"),
    # What is collected last should leave no worker waiting.
    *("test_distillation.py", "test_freezing.py", "test_mutual_learning.py"),
    *("test_starting_points.py", "test_co_training.py"),
}


@pytest.hookimpl(tryfirst=True)  # before the plugin reads the marks
def pytest_collection_modifyitems(items):
    """Where tests run side by side (`-n 2 --dist loadgroup`), those of a file, which may share
    fixtures, stay together."""
    for item in items:
        if item.path.name not in ONE_BY_ONE:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
    _mark_slow(items)


def _mark_slow(items):
    """Of the cases of a test that is marked `one_in(n)`, one in n stays in the default run. Which
    ones is decided by their names, so that it is not always the same value of one parameter."""
    cases = collections.defaultdict(list)
    for item in items:
        share = item.get_closest_marker("one_in")
        if share and not item.get_closest_marker("slow"):
            cases[item.path, item.function, *share.args].append(item)
    for (*_, n), of_a_test in cases.items():
        of_a_test.sort(key=lambda item: zlib.crc32(item.name.encode()))
        for item in of_a_test[math.ceil(len(of_a_test) / n) :]:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def fresh_keras():
    """Every test starts from the same seed and leaves the float policy as it was."""
    import keras

    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


@pytest.fixture(autouse=True, scope="session")
def quiet():
    """Only warnings and worse in the output of a failed test."""
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def run_on_jax():
    """Runs a program with Keras's JAX backend on a folder, and gives back what it printed."""

    def run(program, folder):
        root = str(pathlib.Path(__file__).parents[1])
        settings = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": root}
        done = subprocess.run(
            [sys.executable, program, folder],
            capture_output=True,
            text=True,
            cwd=root,
            env={**os.environ, **settings},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run
