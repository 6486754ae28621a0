import logging
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported

import pytest

# Their tests share nothing, and are most of the work.
ONE_BY_ONE = {"test_balancers.py", "test_models.py", "test_bad_input.py"}


@pytest.hookimpl(tryfirst=True)  # before the plugin reads the marks
def pytest_collection_modifyitems(items):
    """Where tests run side by side (`-n 2 --dist loadgroup`), those of a file, which may share
    fixtures, stay together."""
    for item in items:
        if item.path.name not in ONE_BY_ONE:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


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
