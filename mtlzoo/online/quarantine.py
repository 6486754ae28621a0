"""A file of the rows that could not be learned from."""

import json
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from mtlzoo.data.arguments import check_count
from mtlzoo.online.reading import Fault

# More kinds of reasons than these are counted together.
_MOST_REASONS = 1000


class Quarantine:
    """Writes what is wrong with which row of a stream to a file, and counts.

    The file has a line of JSON for each row: `time` in seconds since 1970, `reason`, `row`. Arrays
    are lists, numbers that are not finite are the strings `"NaN"`, `"Infinity"` and `"-Infinity"`.
    New lines are added to an old file. Where the disk is full, or the file as large as it may be,
    rows are counted all the same; a stream never ends because of its quarantine.

    Args:
        path: the file; its folder is made.
        max_bytes: how large the file may be, so that a stream of faults does not fill the disk.
            Defaults to `None`, any size.

    Attributes:
        path: the file.
        count: how many rows were put here, since this object was made.
        unwritten: how many of them are not in the file.

    Raises:
        ValueError: if an argument is out of its range, or the file cannot be written to now.

    Example:
    ```python
    from mtlzoo.online import Fault, Quarantine

    quarantine = Quarantine("run/quarantine.jsonl")
    quarantine.put([Fault({"x": [1.0, float("nan")]}, "Input `x` should be finite. Received: nan")])
    quarantine.count  # 1
    quarantine.by_reason  # {'Input `x` should be finite': 1}
    ```
    """

    def __init__(self, path: str | os.PathLike, max_bytes: int | None = None) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise ValueError(f"`path` should be that of a file. Received: path={path!r}")
        if max_bytes is not None:
            check_count("max_bytes", max_bytes)
        self.path = Path(path)
        self.count = self.unwritten = 0
        self._most = math.inf if max_bytes is None else max_bytes
        self._by_reason: dict[str, int] = {}
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._end_the_line()
        except OSError as error:
            raise ValueError(
                "`path` should be a file that can be written to. "
                f"Received: path={str(path)!r}, which gives {error}"
            ) from error

    @property
    def by_reason(self) -> dict[str, int]:
        """How many rows there are for each reason, without what was received."""
        with self._lock:
            return dict(self._by_reason)

    def put(self, faults: Sequence[Fault]) -> None:
        """Write and count faults; it never raises because of a disk or a row.

        Args:
            faults: what a `Reader` found.
        """
        if not faults:
            return
        now = time.time()
        lines = [_line(fault, now) for fault in faults]
        with self._lock:
            self.count += len(faults)
            for fault in faults:
                reason = fault.reason.partition(". Received: ")[0]
                if reason not in self._by_reason and len(self._by_reason) >= _MOST_REASONS:
                    reason = "other"
                self._by_reason[reason] = self._by_reason.get(reason, 0) + 1
            self._write(lines)

    def _write(self, lines: list[bytes]) -> None:
        written = 0
        try:
            with open(self.path, "ab", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                for line in lines:
                    if size + len(line) > self._most:
                        continue
                    try:
                        done = file.write(line)
                        if done < len(line):  # nearly full: the next write says so
                            file.write(line[done:])
                    except OSError:
                        file.truncate(size)  # no half lines
                        raise
                    size, written = size + len(line), written + 1
        except OSError as error:
            self._log(f"cannot be written to: {error}")
        else:
            if written < len(lines):
                self._log(f"is as large as it may be, {self._most} bytes")
        self.unwritten += len(lines) - written

    def _log(self, what: str) -> None:
        if not self.unwritten:  # once; a full disk need not fill the log
            logging.error("The quarantine %s %s. Rows are counted on.", self.path, what)

    def _end_the_line(self) -> None:
        """End a line in which a process was killed."""
        with open(self.path, "a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")


def _line(fault: Fault, now: float) -> bytes:
    content = {"time": now, "reason": fault.reason, "row": _plain(fault.row)}
    return json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


def _plain(value: Any) -> Any:
    """What JSON can hold: the same, or what comes next to it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        plain = value.tolist()
        if value.dtype.kind in "iub":
            return plain
        # Python has no such number as NumPy's longest.
        return str(plain) if isinstance(plain, np.generic) else _plain(plain)
    if hasattr(value, "numpy"):
        return _plain(value.numpy())
    return repr(value)
