"""Several recipes in one process: all define `--out` and other flags, which absl has only once.

What a file of tests defines by importing its recipe is put aside after the import, and put in place
while the tests of that file run.
"""

import pytest
import tensorflow as tf
from absl import flags

_flags_of: dict = {}  # by file, its flags by name


def _take_out() -> dict:
    """The flags of recipes that are in place, which then are not."""
    known = {name for found in _flags_of.values() for name in found}
    for module, found in flags.FLAGS.flags_by_module_dict().items():
        # Those of `strategies` are in place for all recipes.
        if module.startswith("recipes.") and module != "recipes.parts.strategies":
            known |= {flag.name for flag in found}
    out = {name: flags.FLAGS[name] for name in known if name in flags.FLAGS}
    for name in out:
        delattr(flags.FLAGS, name)
    return out


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    """Around the import of a file of tests."""
    if not isinstance(collector, pytest.Module):
        yield
        return
    _take_out()
    yield
    _flags_of[collector.path] = _take_out()


@pytest.fixture(autouse=True, scope="module")
def flags_of_the_recipe(request):
    """The flags of the file's own recipe."""
    _take_out()
    for name, flag in _flags_of[request.path].items():
        flags.FLAGS[name] = flag
    flags.FLAGS.mark_as_parsed()
    yield
    _take_out()


@pytest.fixture
def eagerly():
    """Nothing is traced: a few steps of each model are faster so."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
