"""Backups that go wrong, each in a fork of this process: `python backup_accidents.py FOLDER`.

Prints a line of JSON for each accident: where the file that is left was written, which others are
there, and whether the training that goes on from it ends as one without accidents does.
"""

import json
import logging
import os
import resource
import signal
import sys
from pathlib import Path

import killed_runs
import numpy as np

from mtlzoo.training import backup_files

NAME = "combined"


def full(folder: Path) -> None:
    """From the second backup on there is no space for a file of this size."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    write = backup_files.write

    def limited(path, content):
        if path.exists():
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        try:
            write(path, content)
        finally:
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )

    backup_files.write = limited
    logging.getLogger("absl").addHandler(logging.FileHandler(folder / "log", delay=True))
    killed_runs.train(NAME, str(folder / "backup"), str(folder / "b.npz"))


def half_written(folder: Path) -> None:
    """The process is killed in the middle of writing the second backup."""

    def savez(file, **arrays):
        if Path(folder / "backup").exists():
            file.write(b"PK" + bytes(1000))
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        real(file, **arrays)

    real, np.savez = np.savez, savez
    killed_runs.train(NAME, str(folder / "backup"), str(folder / "b.npz"))


ACCIDENTS = {"full": full, "half written": half_written}


def main(folder: str) -> None:
    whole = str(Path(folder, "a.npz"))
    assert killed_runs.fork(killed_runs.train, NAME, None, whole) == 0
    for name, accident in ACCIDENTS.items():
        place = Path(folder, name.replace(" ", "_"))
        place.mkdir()
        killed = killed_runs.fork(accident, place)
        left = sorted(each.name for each in place.iterdir() if "backup" in each.name)
        found = backup_files.read(place / "backup")
        result = {"signal": killed, "left": left, "at": [found["epoch"], found["step"]]}
        if killed:
            backup, out = str(place / "backup"), str(place / "b.npz")
            assert killed_runs.fork(killed_runs.train, NAME, backup, out) == 0
        result["after"] = killed_runs.compare(whole, str(place / "b.npz"))
        result["cleaned"] = not backup_files.unfinished(place / "backup").exists()
        log = place / "log"
        result["log"] = log.read_text() if log.exists() else ""
        print(json.dumps({"case": name, **result}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
