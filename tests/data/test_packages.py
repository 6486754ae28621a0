"""Packages: found, fetched, checked, read; and what is kept of them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_packages import packed_tar, pass_for, write_deb

from mtlzoo.data import cache, packages

DEB = packages.Package("a-set", "1.0", "a-set_1.0_all.deb", "0" * 64)
WHEEL = packages.Package("a-set", "1.0", "a_set-1.0-py3.whl", "0" * 64, ("--platform=any",))
NPM = packages.Package("a-set", "1.0", "a-set-1.0.tgz", "0" * 64)
SDIST = packages.Package("a-set", "1.0", "a_set-1.0.tar.gz", "0" * 64)


@pytest.fixture
def deb(tmp_path, monkeypatch):
    write_deb(tmp_path / DEB.file, {"./usr/a.txt": b"1", "./usr/b.png": b"22", "./c.txt": b""})
    pass_for(monkeypatch, sys.modules[__name__], "DEB", tmp_path / DEB.file)
    return tmp_path / DEB.file


def test_files_of_a_debian_package_are_read_in_order(deb):
    asked = []

    def wanted(name):
        asked.append(name)
        return name.endswith(".txt")

    assert list(packages.deb_files(deb, wanted)) == [("usr/a.txt", b"1"), ("c.txt", b"")]
    assert asked == ["usr/a.txt", "usr/b.png", "c.txt"]


def test_what_is_no_debian_package_is_refused(deb):
    whole = deb.read_bytes()
    deb.write_bytes(whole[1:])
    with pytest.raises(ValueError, match=r"should be a Debian package. Received: '.*\.deb'"):
        list(packages.deb_files(deb, bool))
    deb.write_bytes(whole[:72])
    with pytest.raises(ValueError, match=r"should hold `data.tar.\*`. Received"):
        list(packages.deb_files(deb, bool))


def test_a_package_is_found_as_a_file_or_in_a_folder(deb):
    assert packages.find(DEB, deb) == packages.find(DEB, str(deb.parent)) == deb
    renamed = deb.rename(deb.with_name("a-set_1.0~again_all.deb"))
    assert packages.find(DEB, deb.parent) == renamed


def test_a_missing_package_is_an_error_that_says_how_to_get_it(tmp_path):
    for given in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(
            ValueError,
            match=r"`raw_files` should be `a-set_1.0_all.deb` or a folder that holds it "
            r"\(apt-get download a-set=1.0\). Received: raw_files='/",
        ):
            packages.find(DEB, given)


def test_another_file_is_refused(deb):
    deb.write_bytes(deb.read_bytes() + b"!")
    with pytest.raises(
        ValueError, match=r"`a-set_1.0_all.deb` should have the SHA-256 [0-9a-f]{64}"
    ):
        packages.find(DEB, deb)


@pytest.fixture
def client(monkeypatch):
    """What clients are asked, and do."""
    asked = []

    def run(command, cwd, **options):
        asked.append(command)
        return run.answer(cwd)

    run.asked = asked
    monkeypatch.setattr(packages.subprocess, "run", run)
    return run


def test_the_client_of_the_registry_is_asked_for_the_version(deb, tmp_path, client):
    content = deb.read_bytes()

    def answer(folder):
        (folder / DEB.file).write_bytes(content)
        return subprocess.CompletedProcess([], 0, "", "")

    client.answer = answer
    fetched = packages.locate(DEB, None, tmp_path / "new")
    assert fetched == tmp_path / "new" / DEB.file and fetched.read_bytes() == content
    assert packages.fetch(DEB, tmp_path / "new") == fetched  # not again
    fetched.write_bytes(b"broken off")
    assert packages.fetch(DEB, tmp_path / "new").read_bytes() == content
    assert client.asked == [["apt-get", "download", "a-set=1.0"]] * 2
    content = b"another"
    with pytest.raises(ValueError, match="should have the SHA-256"):
        packages.fetch(DEB, tmp_path / "other")
    assert packages.locate(DEB, deb, tmp_path) == deb and len(client.asked) == 3


def test_a_client_that_fails_or_is_not_there(tmp_path, client):
    client.answer = lambda folder: subprocess.CompletedProcess([], 100, "", "no such version\n")
    with pytest.raises(RuntimeError, match=r"could not be fetched. .*pip said: no such version$"):
        packages.fetch(WHEEL, tmp_path)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--platform=any"]
    assert [command[:-1] for command in client.asked] == [[*pip, "--require-hashes", "-r"]]

    def answer(folder):
        raise FileNotFoundError("no apt-get here")

    client.answer = answer
    with pytest.raises(RuntimeError, match=r"as `raw_files`. apt-get said: no apt-get here$"):
        packages.fetch(DEB, tmp_path)


def test_npm_packs_and_its_files_are_read_in_order(tmp_path, monkeypatch, client):
    content = packed_tar("gz", {"package/b": b"2", "package/a": b"11", "package/c": b""})

    def answer(folder):
        (folder / NPM.file).write_bytes(content)
        return subprocess.CompletedProcess([], 0, "", "")

    client.answer = answer
    (tmp_path / NPM.file).write_bytes(content)
    pass_for(monkeypatch, sys.modules[__name__], "NPM", tmp_path / NPM.file)
    path = packages.fetch(NPM, tmp_path / "new")
    assert client.asked == [["npm", "pack", "a-set@1.0"]]
    found = packages.tar_files(path, lambda name: name != "package/c")
    assert list(found) == [("package/b", b"2"), ("package/a", b"11")]


def test_pip_is_given_the_checksum(tmp_path, client):
    read = []

    def answer(folder):
        read.append(Path(client.asked[-1][-1]).read_text("utf-8"))
        return subprocess.CompletedProcess([], 1, "", "no such thing")

    client.answer = answer
    with pytest.raises(RuntimeError, match=r"\(pip download --no-deps --no-binary :all: a-set==1"):
        packages.fetch(SDIST, tmp_path)
    assert read == [f"a-set==1.0 --hash=sha256:{'0' * 64}\n"]


def test_arrays_are_kept_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.npz"
    cache.write(path, {"bytes": np.arange(3, dtype=np.uint8), "words": np.array(["é", ""])})
    kept = cache.read(path)
    assert kept["bytes"].dtype == np.uint8 and kept["words"].tolist() == ["é", ""]

    class Broken:
        dtype = np.float32

        def __array__(self, *args, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.write(path, {"bytes": Broken()})
    assert cache.read(path)["bytes"].tolist() == [0, 1, 2]
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{}], object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        cache.read(tmp_path / "a.npz")


def test_the_folder_of_a_data_set(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder(None, "stamps") == tmp_path / "mtlzoo" / "stamps"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder(None, "stamps") == tmp_path / ".cache" / "mtlzoo" / "stamps"
    assert cache.folder("~/here", "stamps") == tmp_path / "here" / "stamps"
