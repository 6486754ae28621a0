"""Where the packages of weights are, for the tests of the real ones."""

import os
import pathlib
import sys

import pytest

from mtlzoo.data import cache

# The networks written out in NumPy are those of the backbones' tests.
sys.path.append(str(pathlib.Path(__file__).parents[1] / "backbones"))


@pytest.fixture
def fetched():
    """Finds a package in the folder `MTLZOO_PACKAGES`, else in the cache; else skips the test."""

    def find(package):
        named = os.environ.get("MTLZOO_PACKAGES")
        path = (pathlib.Path(named) if named else cache.folder(None, "fetched")) / package.file
        if not path.is_file():
            pytest.skip(
                f"{package.file} is neither in MTLZOO_PACKAGES nor in the cache "
                f"({' '.join(package.command)})"
            )
        return path

    return find
