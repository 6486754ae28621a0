"""The program `mtlzoo`: what the library can do, from a terminal. See `mtlzoo --help`."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.command_line.program import main, run

__all__ = ["main", "run"]
