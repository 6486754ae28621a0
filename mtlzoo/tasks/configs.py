"""Configurations, as files hold them: what must be in them."""

from collections.abc import Mapping
from typing import Any


def check_config(of: str, config: Any, *keys: str) -> dict[str, Any]:
    """A copy of `config`, which must be a dict with `keys`.

    Args:
        of: What it configures, for the message.
        config: The configuration.
        *keys: The keys that must be there; whether others may is up to the constructor.

    Returns:
        A dict of its own.

    Raises:
        ValueError: For anything but a dict, or if a key is not there.

    Example:
    ```python
    from mtlzoo.tasks.configs import check_config

    check_config("task `click`", {"loss": None}, "loss")  # {'loss': None}
    ```
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"The config of {of} should be a dict. Received: config={config!r}")
    for key in keys:
        if key not in config:
            raise ValueError(
                f"The config of {of} should have the key {key!r}. "
                f"Received: a config with the keys {list(config)}"
            )
    return dict(config)
