"""The reader of Tux Paint's stamps, and how they are divided."""

import pytest
from fake_packages import FAMILIES, FOLDERS, write_stamps

from mtlzoo.data import tuxpaint

SHARES = {"train": 0.5, "valid": 0.25, "test": 0.25}


def test_stamps_are_read_with_what_belongs_to_them(tmp_path, monkeypatch):
    stamps = tuxpaint.read(write_stamps(monkeypatch, tmp_path, b"spoken"))
    paths = [stamp.path for stamp in stamps]
    assert paths == sorted(paths) and len(paths) == len(FOLDERS) * 10 + 2
    assert not any(path.endswith(("_mirror", "drawing", "picture")) for path in paths)
    assert all(stamp.png.startswith(b"\x89PNG") and stamp.speech is None for stamp in stamps)
    bee = stamps[paths.index("animals/birds/anbee-1")]
    assert (bee.category, bee.caption, bee.family) == (
        "animals",
        "A bee, in animals/birds.",
        "anbee",
    )
    assert bee.notes == {"noflip", "nomirror"} and not bee.has_sound and not bee.in_cartoon_folder
    ant = stamps[paths.index("animals/birds/anant")]
    assert ant.has_sound and not ant.notes
    assert stamps[paths.index("animals/cartoon/ant")].in_cartoon_folder


def test_speech_is_read_when_asked(tmp_path, monkeypatch):
    stamps = tuxpaint.read(write_stamps(monkeypatch, tmp_path, b"spoken"), speech=True)
    spoken = {stamp.family[2:] for stamp in stamps if stamp.speech == b"spoken"}
    assert spoken == set(FAMILIES[1:])
    assert {stamp.speech for stamp in stamps} == {b"spoken", None}


@pytest.mark.parametrize(
    "paths",
    [
        "frog a/frog-1 a/Frog2",
        "lion cartoon/lion lion_cub",
        "dreydl-hay dreydl-nun dreydl",
        "x/a_outline y/A_filled",
        "redflag blue-and-yellowflag",
        "4_mars mars",
        "money/010 math/0",
    ],
)
def test_near_duplicates_are_one_family(paths):
    assert len({tuxpaint.family(path) for path in paths.split()}) == 1


def test_different_things_are_different_families():
    names = ["frog-1", "lion", "4_mars", "9_pluto", "redflag", "math/1", "math/2", "a_outline"]
    assert len({tuxpaint.family(name) for name in names}) == len(names)
