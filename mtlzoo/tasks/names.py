"""Task names: the only key of everything that belongs to a task."""

import re

# Signatures and log keys that exist beside the tasks'.
RESERVED = frozenset({"loss", "serve", "serving_default"})


def check_name(name: str) -> None:
    """Checks that `name` can name a task.

    Args:
        name: An identifier, as `click` or `home_price`, since it names a layer, a SavedModel
            signature and log keys.

    Raises:
        ValueError: If `name` is no identifier of ASCII letters, digits and underscores that starts
            with a letter, or is taken: `loss`, `serve`, `serving_default`, `val_...`.

    Example:
    ```python
    from mtlzoo.tasks.names import check_name

    check_name("home_price")
    ```
    """
    # TensorFlow's name scopes refuse other letters and a leading underscore.
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(
            "`name` of a task should be an identifier: ASCII letters, digits and underscores, "
            f"a letter first. Received: name={name!r}"
        )
    if name in RESERVED or name.startswith("val_"):
        raise ValueError(
            f"`name` of a task should not be one of {sorted(RESERVED)} and not start with 'val_', "
            f"which have a meaning of their own in logs and signatures. Received: name={name!r}"
        )
