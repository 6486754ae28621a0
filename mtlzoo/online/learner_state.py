"""The file from which a learner that was killed goes on."""

import os
from pathlib import Path
from typing import Any

from absl import logging

from mtlzoo.online.stored_text import restored, stored
from mtlzoo.online.updating import UpdatePolicy
from mtlzoo.training import backup_files, model_state

# Of the form of the files.
_VERSION = 1


class StateFile:
    """All that a learner and its model are made of, in one file that is replaced as a whole.

    Args:
        path: the file.

    Raises:
        ValueError: if nothing can be written there.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path) or Path(path).is_dir():
            raise ValueError(f"`state` should be the path of a file. Received: state={path!r}")
        self.path = Path(path)
        backup_files.prepare(self.path)

    def read(self, model: Any, settings: dict[str, Any]) -> dict[str, Any] | None:
        """Put the state into the model, if there is a file.

        Args:
            model: the learner's model.
            settings: what must be as it was.

        Returns:
            What else was written, or `None`.

        Raises:
            ValueError: if the file is damaged, or that of another learner or model.
        """
        if not self.path.exists():
            return None
        found = backup_files.read(self.path)
        if not isinstance(found, dict) or found.get("online") != _VERSION:
            raise ValueError(
                "`state` should be a file that an `OnlineLearner` has written. "
                f"Received: state={str(self.path)!r}"
            )
        if found["settings"] != settings:
            differ = [key for key in settings if settings[key] != found["settings"].get(key)]
            raise ValueError(
                f"`state` should be a file of a learner with {_shown(settings, differ)}; give "
                "another path to begin anew. "
                f"Received: state={str(self.path)!r} with {_shown(found['settings'], differ)}"
            )
        model_state.check_identity(model, found["identity"], self.path)
        model_state.restore(model, found["model"])
        return restored(found["content"])

    def write(self, model: Any, settings: dict[str, Any], content: dict[str, Any]) -> bool:
        """Write the state; a disk that is full is logged, and leaves the file as it was.

        Args:
            model: the learner's model.
            settings: what must be the same when it is read.
            content: what else there is.

        Returns:
            Whether it was written.
        """
        whole = {
            "online": _VERSION,
            "settings": settings,
            "identity": model_state.identity(model),
            "model": model_state.read(model),
            "content": stored(content),
        }
        try:
            backup_files.write(self.path, whole)
        except OSError as error:
            logging.error("The state could not be written to %s: %s", self.path, error)
            return False
        return True


def settings(batch_size: int, policy: UpdatePolicy, versions: Any, **parts: Any) -> dict[str, Any]:
    """What a state must have in common with a learner that goes on from it.

    Args:
        batch_size: see `OnlineLearner`, as all others.
        policy: when to learn.
        versions: where models are published, or `None`.
        **parts: `replay`, `late_labels` and `held_back`, or `None` each.
    """
    wanted = {
        "replay": ("capacity", "per_task", "per_class"),
        "late_labels": ("max_rows",),
        "held_back": ("every", "seed"),
    }
    found = {
        name: None if part is None else {each: getattr(part, each) for each in wanted[name]}
        for name, part in parts.items()
    }
    update = {"policy": type(policy).__name__, **policy.settings()}
    return {"batch_size": batch_size, "update": update, "versions": versions is not None, **found}


def _shown(settings: dict[str, Any], keys: list[str]) -> str:
    return ", ".join(f"{key}={settings.get(key)!r}" for key in keys)
