"""A stream out of a folder that is being filled."""

import fnmatch
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import logging

from mtlzoo.layers.arguments import check_number
from mtlzoo.online.quarantine import Quarantine
from mtlzoo.online.reading import Fault

# What is not finished yet, by custom.
_UNFINISHED = (".part", ".tmp")


class DirectoryStream:
    """What `follow_directory` gives: an iterator over the files of a folder.

    Attributes:
        position: the names of the files that were given out or could not be read, in this order,
            as far as they are still in the folder, with `/` between them; `None` before the first.
        failed: how many files could not be read.
    """

    def __init__(
        self,
        folder: Path,
        read: Callable[[Path], Any],
        pattern: str,
        poll_seconds: float,
        until: str | None,
        start: str | None,
        quarantine: Quarantine | None,
    ) -> None:
        self._folder, self._read, self._pattern = folder, read, pattern
        self._poll_seconds, self._until = poll_seconds, until
        self._quarantine = quarantine
        self.position = start
        self.failed = 0
        # Of those that are still in the folder.
        self._done: set[str] = set() if start is None else set(start.split("/"))
        self._waiting: list[str] = []  # those of the last look that are still to be read
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while not self._stopped.is_set():
            if not self._waiting:
                # Asked before the look, so that files that came before the last one are seen.
                over = self._until is not None and (self._folder / self._until).exists()
                self._waiting = self._look()
                if over and not self._waiting:
                    break
                if not self._waiting:
                    self._stopped.wait(self._poll_seconds)
                    continue
            name = self._waiting.pop()
            self._done.add(name)
            self.position = name if self.position is None else f"{self.position}/{name}"
            path = self._folder / name
            try:
                return self._read(path)
            except Exception as error:  # whatever is in the file, the stream goes on
                self._fail(path, error)
        self._stopped.set()
        raise StopIteration

    def stop(self) -> None:
        """End the stream after the file that is being read; from any thread."""
        self._stopped.set()

    def _look(self) -> list[str]:
        """The new files, the first last."""
        try:
            with os.scandir(self._folder) as entries:
                there = {each.name for each in entries if each.is_file()}
        except OSError as error:  # not made yet, or away for a while
            logging.warning("The folder %s cannot be looked at: %s", self._folder, error)
            return []
        if self.position is not None and not self._done <= there:
            names = [name for name in self.position.split("/") if name in there]
            self._done, self.position = set(names), "/".join(names) or None
        new = [
            name
            for name in there - self._done - {self._until}
            if fnmatch.fnmatchcase(name, self._pattern)
            and not name.startswith(".")
            and not name.endswith(_UNFINISHED)
        ]
        return sorted(new, reverse=True)

    def _fail(self, path: Path, error: Exception) -> None:
        self.failed += 1
        reason = f"A file of the stream should be readable. Received: {type(error).__name__}: "
        fault = Fault(str(path), f"{reason}{error}")
        if self._quarantine is None:
            logging.error("%s: %s", fault.row, fault.reason)
        else:
            self._quarantine.put([fault])


def follow_directory(
    folder: str | os.PathLike,
    read: Callable[[Path], Any],
    *,
    pattern: str = "*",
    poll_seconds: float = 1.0,
    until: str | None = None,
    start: str | None = None,
    quarantine: Quarantine | None = None,
) -> DirectoryStream:
    r"""Give what is in the files of a folder, each once, as they appear.

    Files that are there are read in the order of their names, then those that come, and so on. A
    file should appear whole, by a rename: write it under a name that begins with a dot, or ends
    with `.part` or `.tmp`, in the same file system, and rename it. Files are not removed; names
    that are used again after a file was removed are read again.

    A file that cannot be read is a fault: it is put into the quarantine, or logged where there is
    none, and the stream goes on.

    Args:
        folder: where the files appear; it need not be there yet.
        read: from a path to an element of the stream, such as `read_json_lines`.
        pattern: which names, as a shell has them. Defaults to `"*"`.
        poll_seconds: how often the folder is looked at. Defaults to 1.0.
        until: the name of a file with which the stream ends, after all others are read. Defaults to
            `None`, no end but `stop()`.
        start: the `position` of another time, or the name of a file; the files that it names are
            passed over. Defaults to `None`, all files.
        quarantine: for files that cannot be read. Defaults to `None`.

    Returns:
        An iterator over the elements, with a `position` and a method `stop()`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    from pathlib import Path

    from mtlzoo.online import follow_directory, read_json_lines

    folder = Path("incoming")
    folder.mkdir()
    part = folder / "0001.jsonl.part"
    part.write_text('{"x": [0.1, 0.2], "y": {"click": 1}}\n')
    part.rename(folder / "0001.jsonl")
    (folder / "end").touch()
    stream = follow_directory(folder, read_json_lines, pattern="*.jsonl", until="end")
    list(stream)  # [[{'x': [0.1, 0.2], 'y': {'click': 1}}]]
    stream.position  # '0001.jsonl'
    ```
    """
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise ValueError(f"`folder` should be the path of a folder. Received: folder={folder!r}")
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"`folder` should be a folder. Received: folder={os.fspath(folder)!r}")
    if not callable(read):
        raise ValueError(f"`read` should be a function of a path. Received: read={read!r}")
    seconds = check_number("poll_seconds", poll_seconds, "a positive number of seconds", 1e-3)
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"`pattern` should be one of names. Received: pattern={pattern!r}")
    if until is not None and not (isinstance(until, str) and until and "/" not in until):
        raise ValueError(f"`until` should be the name of a file or None. Received: until={until!r}")
    if start is not None and not (isinstance(start, str) and all(start.split("/"))):
        raise ValueError(f"`start` should be a `position` or None. Received: start={start!r}")
    return DirectoryStream(Path(folder), read, pattern, seconds, until, start, quarantine)


def read_json_lines(path: str | os.PathLike) -> list[Any]:
    r"""Read a file with one row in each line, as JSON, with the keys that a `Reader` knows.

    Args:
        path: the file, in UTF-8.

    Returns:
        The rows, an element of a stream. A line that is no JSON, or no UTF-8, stays the text
        that it is, so that a `Reader` takes it for a fault and the others go on; empty lines are
        left out.

    Example:
    ```python
    from pathlib import Path

    from mtlzoo.online import read_json_lines

    Path("rows.jsonl").write_text('{"x": [0.1], "y": {"click": 1}}\n{"x": [0.')
    read_json_lines("rows.jsonl")  # [{'x': [0.1], 'y': {'click': 1}}, '{"x": [0.']
    ```
    """
    rows: list[Any] = []
    with open(path, encoding="utf-8", errors="backslashreplace") as lines:
        for line in lines:
            if text := line.strip():
                try:
                    rows.append(json.loads(text))
                except ValueError:
                    rows.append(text)
    return rows
