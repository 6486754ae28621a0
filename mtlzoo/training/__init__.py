"""Ways of training beyond `fit`: going on after the process was killed."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.training.backup import Backup

__all__ = ["Backup"]
