"""What versions are made of: numbered folders, a lock, and moves that a kill cannot halve."""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from absl import logging

# What a serving system takes for versions, without zeros in front.
_NUMBER = re.compile(r"0|[1-9][0-9]*")


def numbers(folder: Path, of_files_too: bool = False) -> list[int]:
    """The versions in a folder, ascending: folders with a number for a name.

    Args:
        folder: where they are; it need not be there.
        of_files_too: whether any other file with such a name counts. Defaults to `False`.
    """
    try:
        with os.scandir(folder) as entries:
            found = [each for each in entries if _NUMBER.fullmatch(each.name)]
            return sorted(int(each.name) for each in found if of_files_too or each.is_dir())
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that no two processes or threads have at the same time.

    The kernel gives it back when a process ends, however that happens; so who has it knows that
    nobody alive is at work.

    Args:
        path: a file of its own, which stays.
        wait: whether to wait while another one has the lock. Defaults to `True`.

    Returns:
        A context manager that gives whether the lock is held.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


def sync(path: Path) -> None:
    """Have the disk keep a file, or the list of a folder's files.

    Args:
        path: the file or folder.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync_all(folder: Path) -> None:
    """Have the disk keep a folder with all that is in it.

    Args:
        folder: the folder.
    """
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(place, name))
        sync(Path(place))


def write(path: Path, text: str) -> None:
    """Write a small file so that at any moment the old or the new one is there.

    Args:
        path: the file.
        text: what is in it then.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text)
        sync(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync(path.parent)


def move(old: Path, new: Path) -> None:
    """Move a folder by one rename within a file system.

    Args:
        old: where it is.
        new: where it will be; nothing is there.

    Raises:
        OSError: if it is not moved.
    """
    os.rename(old, new)
    try:
        for folder in {new.parent, old.parent}:
            sync(folder)
    except OSError as error:
        logging.warning("A power cut may undo the move of %s to %s: %s", old, new, error)


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it.

    Args:
        folder: the folder.
    """
    shutil.rmtree(folder)
