"""The stamps of Tux Paint: pictures, captions, sounds, and what their authors noted.

They are read from Debian's package tuxpaint-stamps-default (GPL-2; nothing of it is in mtlzoo). A
stamp is a picture `<category>/<folders>/<name>.png` with files of the same name beside it. Left out
are stamps that exist as drawings (SVG) only, since nothing here can draw them, and the ones whose
name ends in `_mirror` or `_flip`, which are copies.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from mtlzoo.data.packages import Package, deb_files

PACKAGE = Package(
    name="tuxpaint-stamps-default",
    version="2022.06.04-1",
    file="tuxpaint-stamps-default_2022.06.04-1_all.deb",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
)
_ROOT = "usr/share/tuxpaint/stamps/"
_COPY = re.compile(r"_(mirror|flip)$")


@dataclasses.dataclass(frozen=True)
class Stamp:
    """One stamp.

    Attributes:
        path: its place below the folder of all stamps, without extension.
        png: the content of its picture's file.
        caption: what it shows, in English.
        notes: what its authors noted for the drawing program, such as `noflip`.
        has_sound: whether a sound belongs to it (an animal's voice, a letter's name).
        speech: the content of the Ogg file in which its caption is spoken in French, or None.
    """

    path: str
    png: bytes
    caption: str
    notes: frozenset[str]
    has_sound: bool
    speech: bytes | None

    @property
    def category(self) -> str:
        """The uppermost folder."""
        return self.path.split("/")[0]

    @property
    def in_cartoon_folder(self) -> bool:
        """Whether it stands in a folder of cartoons."""
        return "cartoon" in self.path.split("/")

    @property
    def family(self) -> str:
        """What it shares with the stamps that show nearly the same."""
        return family(self.path)


def family(path: str) -> str:
    """Return the name that near-duplicates share, and some that are not: rather one too many.

    It is the first word of the base name, whatever the folder: `frog` and `frog-1`, `lion` and
    `cartoon/lion`, `dreydl-hay` and `dreydl-nun`, `A_filled` and `a_outline`, `apple_fuji` and
    `apple_red` are families, and so are all flags (`redflag`).

    Args:
        path: the place of a stamp.

    Returns:
        The name.
    """
    name = re.sub(r"^\d+_?(?=.)", "", path.split("/")[-1].lower())
    return "flag" if name.endswith("flag") else re.split(r"(?<=.)[-_ \d]", name)[0]


def read(package: Path, speech: bool = False) -> list[Stamp]:
    """Read the stamps from the Debian package, which takes some ten seconds to unpack.

    Args:
        package: the package's file, checked.
        speech: whether the spoken captions are read. Defaults to `False`.

    Returns:
        The stamps, sorted by path.
    """
    endings = (".png", ".txt", ".dat") + (("_desc_fr.ogg",) if speech else ())
    contents: dict[str, bytes] = {}
    sounds = set()

    def wanted(name: str) -> bool:
        if not name.startswith(_ROOT):
            return False
        if name.endswith((".ogg", ".wav")):
            sounds.add(name.removeprefix(_ROOT)[:-4])
        return name.endswith(endings)

    for name, content in deb_files(package, wanted):
        contents[name.removeprefix(_ROOT)] = content
    stamps = []
    for path in sorted(name[:-4] for name in contents if name.endswith(".png")):
        if _COPY.search(path):
            continue
        stamps.append(
            Stamp(
                path=path,
                png=contents[f"{path}.png"],
                caption=_first_line(contents.get(f"{path}.txt", b"")),
                notes=frozenset(contents.get(f"{path}.dat", b"").decode("latin-1").lower().split()),
                has_sound=path in sounds,
                speech=contents.get(f"{path}_desc_fr.ogg"),
            )
        )
    return stamps


def _first_line(text: bytes) -> str:
    lines = text.decode("utf-8-sig", "replace").splitlines()
    return lines[0].strip() if lines else ""
