"""What the tests of the command line share."""

import pytest
import tensorflow as tf


@pytest.fixture(scope="module")
def eagerly():
    """Steps run without graphs, whose tracing would take most of the time of a few small steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
