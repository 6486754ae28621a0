"""A model in service: numbered versions that are published whole, and a loop that serves them."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.serving.server import Answer, Server, Swap
from mtlzoo.serving.versions import PublishError, Versions

__all__ = ["Answer", "PublishError", "Server", "Swap", "Versions"]
