"""Numbered SavedModels in the layout that a serving system watches."""

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from mtlzoo import export
from mtlzoo.layers.arguments import check_count, check_number
from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.serving import folders, infos

# In the hidden folder: what is being written, what was taken back, what is being removed.
_UNFINISHED, _WITHDRAWN, _DISCARDED = "unfinished", "withdrawn", "discarded"
_HIDDEN = re.compile(rf"({_UNFINISHED}|{_WITHDRAWN}|{_DISCARDED})-([0-9]+)")


class PublishError(OSError):
    """A version that could not be written; those that were published are as they were."""


class Versions:
    """Publishes a model as numbered SavedModels, each there whole or not at all.

    The folder has one SavedModel for each version, `1`, `2` and so on, as TensorFlow Serving and
    others watch for: the highest number is what is served. A version is written to a hidden folder
    beside the others, brought to the disk, and given its number by one rename. So a process that is
    killed, or a disk that is full, leaves all published versions as they were.

    A number is never used twice, not after a roll-back or a kill either: who has answers of
    version 7 knows which model that was.

    One process writes at a time, and others wait for it: it holds a lock, which the kernel takes
    back when it dies. What is unfinished while nobody holds the lock was left by a kill, and is
    removed by the next who gets it. Reading takes no lock.

    Args:
        folder: where the versions are; made if it is not there. Hidden files in it are those of
            this class.
        keep: how many versions stay, the newest, whenever one is published; of those that were
            withdrawn, as many. Defaults to 3.
        keep_seconds: versions that were published less than so many seconds ago stay as well.
            Defaults to 0.0.

    Attributes:
        folder: where the versions are.

    Raises:
        ValueError: if an argument is out of its range, or nothing can be written in the folder.

    Example:
    ```python
    import tempfile

    import keras
    import tensorflow as tf
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.serving import Versions

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,), name="features"), tasks, shared_units=(16,))
    versions = Versions(tempfile.mkdtemp(), keep=2)
    versions.publish(model, {"auc": 0.71})  # 1
    versions.publish(model, {"auc": 0.73})  # 2
    versions.info(2)["auc"]  # 0.73
    served = tf.saved_model.load(versions.path(2))
    served.serve(tf.zeros((1, 8)))
    versions.roll_back()  # 1
    versions.publish(model)  # 3
    versions.numbers()  # [1, 3]
    ```
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 3, keep_seconds: float = 0.0) -> None:
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise ValueError(
                f"`folder` should be the path of a folder. Received: folder={folder!r}"
            )
        self.folder = Path(folder)
        self._keep = check_count("keep", keep)
        self._keep_seconds = check_number(
            "keep_seconds", keep_seconds, "a number of seconds that is not negative", 0.0
        )
        self._hidden = self.folder / ".versions"
        self._lock = self._hidden / "lock"
        self._highest = self._hidden / "highest"
        try:
            self._hidden.mkdir(parents=True, exist_ok=True)
            with folders.locked(self._lock, wait=False) as alone:
                if alone:  # else another process is writing, and cleans up next time
                    self._clean()
        except OSError as error:
            raise ValueError(
                "`folder` should be a folder that can be written to. "
                f"Received: folder={str(folder)!r}, which gives {error}"
            ) from error

    # -- reading --------------------------------------------------------------------------------

    def numbers(self) -> list[int]:
        """The published versions, ascending."""
        return folders.numbers(self.folder)

    def newest(self) -> int | None:
        """The version that is served, `None` if there is none."""
        return max(self.numbers(), default=None)

    def withdrawn(self) -> list[int]:
        """The versions that were rolled back and are still there to be looked at, ascending."""
        return self._hidden_numbers(_WITHDRAWN)

    def path(self, number: int) -> str:
        """The SavedModel of a version.

        Args:
            number: a published or withdrawn version.

        Raises:
            ValueError: if there is no such version.
        """
        for place in (self.folder / str(number), self._place(_WITHDRAWN, number)):
            if type(number) is not bool and isinstance(number, Integral) and place.is_dir():
                return str(place)
        raise ValueError(
            f"`number` should be one of the versions {self.numbers()}, or of the withdrawn ones "
            f"{self.withdrawn()}. Received: number={number!r}"
        )

    def info(self, number: int) -> dict[str, Any]:
        """What was given to `publish`, with the version's `number`, `time` and `tasks`.

        Args:
            number: a published or withdrawn version.

        Raises:
            ValueError: if there is no such version, or it was not published by this class.
        """
        path = self.path(number)
        try:
            return infos.read(Path(path))
        except (OSError, ValueError) as error:
            raise ValueError(
                "`number` should be a version that `publish` has written. "
                f"Received: number={number}, which gives {error}"
            ) from error

    # -- writing --------------------------------------------------------------------------------

    def publish(
        self,
        model: MultiTaskModel,
        info: Mapping[str, Any] | None = None,
        *,
        tasks: Sequence[str] | None = None,
        preprocessor: keras.Model | str | None = "own",
    ) -> int:
        """Write the next version, and remove those that are not kept.

        Args:
            model: the model.
            info: what `info` tells of the version later, of what JSON can hold. Defaults to `None`.
            tasks: list of names of the tasks to serve. Defaults to all.
            preprocessor: what stands in front, see `mtlzoo.export.save`. Defaults to `"own"`.

        Returns:
            The number of the version.

        Raises:
            PublishError: if it cannot be written. The published versions are as they were, and what
                was written of this one is removed.
            ValueError: for a model that cannot be exported, or an `info` that JSON cannot hold.
        """
        told = infos.checked(info)
        with self._writing():
            self._clean()
            number = self._next_number()
            part = self._place(_UNFINISHED, number)
            try:
                export.save(model, part, tasks, preprocessor=preprocessor)
                served = sorted(model.tasks if tasks is None else tasks)
                told |= {"number": number, "time": time.time(), "tasks": served}
                infos.write(part, told)
                folders.sync_all(part)
                # First, so that a kill between the two skips a number instead of using it twice.
                self._remember(number)
                folders.move(part, self.folder / str(number))
            except BaseException as error:
                _remove(part)
                if isinstance(error, OSError | tf.errors.OpError):
                    raise self._failed(f"version {number} could not be written", error) from error
                raise
            try:
                self._prune()
            except OSError as error:  # it is published all the same
                logging.warning("Old versions could not be removed yet: %s", error)
        return number

    def roll_back(self) -> int:
        """Withdraw the newest version, so that the one before it is served again.

        It is moved out of the numbers by one rename, and stays readable under its number until
        newer ones are withdrawn.

        Returns:
            The version that is the newest now.

        Raises:
            PublishError: if it cannot be moved.
            ValueError: if there is no older version.
        """
        with self._writing():
            found = self.numbers()
            if len(found) < 2:
                raise ValueError(
                    "`roll_back` should have an older version to go back to. "
                    f"Received: versions {found} in {str(self.folder)!r}"
                )
            number = found[-1]
            self._remember(number)  # one that somebody else has put here was not
            folders.move(self.folder / str(number), self._place(_WITHDRAWN, number))
        return found[-2]

    def prune(self) -> list[int]:
        """Remove the versions that are not kept; `publish` calls it.

        Returns:
            The versions that were removed, withdrawn ones among them, ascending.

        Raises:
            PublishError: if nothing can be moved in the folder.
        """
        with self._writing():
            return self._prune()

    # -- with the lock --------------------------------------------------------------------------

    def _prune(self) -> list[int]:
        found, now = self.numbers(), time.time()
        old = [n for n in found[: -self._keep] if not self._is_young(n, now)]
        places = {n: self.folder / str(n) for n in old}
        places |= {n: self._place(_WITHDRAWN, n) for n in self.withdrawn()[: -self._keep]}
        for number, place in places.items():
            # By a rename, so that nobody sees a version without some of its files.
            folders.move(place, self._place(_DISCARDED, number))
        for number in places:
            _remove(self._place(_DISCARDED, number))
        return sorted(places)

    def _is_young(self, number: int, now: float) -> bool:
        if not self._keep_seconds:
            return False
        try:
            published = float(self.info(number)["time"])
        except (KeyError, TypeError, ValueError):  # not one of ours
            published = (self.folder / str(number)).stat().st_mtime
        # Without the sign: a clock that was set back would keep a version for years.
        return abs(now - published) < self._keep_seconds

    def _clean(self) -> None:
        """Remove what nobody is writing any more."""
        for place in self._hidden_places(_UNFINISHED) + self._hidden_places(_DISCARDED):
            _remove(place)

    def _next_number(self) -> int:
        hidden = (self._hidden_numbers(kind) for kind in (_UNFINISHED, _WITHDRAWN, _DISCARDED))
        taken = folders.numbers(self.folder, of_files_too=True)
        return 1 + max([self._remembered(), *taken, *(n for part in hidden for n in part)])

    def _remember(self, number: int) -> None:
        if number > self._remembered():  # a full disk does not stop a roll-back
            folders.write(self._highest, str(number))

    def _remembered(self) -> int:
        try:
            return int(self._highest.read_text())
        except FileNotFoundError:
            return 0
        except ValueError:
            logging.warning(
                "%s should hold the highest number that was used, and does not; it is taken from "
                "the versions that are there.",
                self._highest,
            )
            return 0

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the only one who writes; other processes and threads wait."""
        try:
            self._hidden.mkdir(parents=True, exist_ok=True)
            with folders.locked(self._lock):
                yield
        except PublishError:
            raise
        except OSError as error:
            raise self._failed("nothing could be changed", error) from error

    def _failed(self, what: str, error: Exception) -> PublishError:
        failed = PublishError(
            f"In {str(self.folder)!r} {what}; the published versions {self.numbers()} are as they "
            f"were: {error}"
        )
        failed.errno = getattr(error, "errno", None)
        return failed

    def _place(self, kind: str, number: int) -> Path:
        return self._hidden / f"{kind}-{number}"

    def _hidden_numbers(self, kind: str) -> list[int]:
        return sorted(int(place.name.partition("-")[2]) for place in self._hidden_places(kind))

    def _hidden_places(self, kind: str) -> list[Path]:
        if not self._hidden.is_dir():
            return []
        found = ((place, _HIDDEN.fullmatch(place.name)) for place in self._hidden.iterdir())
        return [place for place, match in found if match and match[1] == kind]


def _remove(place: Path) -> None:
    """Remove a hidden folder, now or, where that fails, before the next version is written."""
    try:
        if place.exists():
            folders.remove(place)
    except OSError as error:
        logging.warning("%s could not be removed yet: %s", place, error)
