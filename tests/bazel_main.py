"""Runs pytest on the files given as arguments: the main program of every Bazel test target."""

import os
import pathlib
import sys

import pytest

if __name__ == "__main__":
    root = pathlib.Path.cwd()  # Bazel starts tests where the declared files lie
    # Python puts the folder of this file first, and follows the link into the checkout for it:
    # files that a target does not declare would be found there.
    checkout = str(pathlib.Path(__file__).resolve().parent)
    sys.path = [entry for entry in sys.path if entry != checkout]
    # Programs that tests start find the package as the tests do.
    inherited = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [inherited])])
    sys.exit(pytest.main(["-c", "setup.cfg", "-p", "no:cacheprovider", *sys.argv[1:]]))
