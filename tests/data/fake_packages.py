"""Small packages that pass for the original ones, with generated pictures and sounds."""

import dataclasses
import gzip
import hashlib
import io
import tarfile
import zipfile

import numpy as np

from mtlzoo.data import tuxpaint
from mtlzoo.data.multi_fashion import original
from mtlzoo.data.stamp_scenes import material

ROOT = "./usr/share/tuxpaint/stamps/"
FOLDERS = ("animals/birds", "food", "household", "plants", "town", "vehicles", "symbols", "space")
FAMILIES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def packed_tar(kind, files):
    """The content of a tar archive, packed by `gz` or `xz`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{kind}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def write_deb(path, files):
    """A Debian package that installs files."""
    inside = packed_tar("xz", files)
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": inside}
    with open(path, "wb") as file:
        file.write(b"!<arch>\n")
        for name, content in parts.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))


def pass_for(monkeypatch, module, name, path):
    """Let a file pass for that of a package."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    package = dataclasses.replace(getattr(module, name), sha256=digest)
    monkeypatch.setattr(module, name, package)


def png(array):
    """A picture as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def blob(rng, height=40, width=30):
    """An ellipse of one colour with a soft outline on transparent ground."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    alpha = np.clip((0.9 - np.hypot(x, y)) * 10, 0, 1) * 255
    colour = np.broadcast_to(rng.integers(40, 216, 3), (height, width, 3))
    return np.concatenate([colour, alpha[..., None]], -1).astype(np.uint8)


def stamp_files(speech=None):
    """Seven families of one or two stamps in each of eight folders, and what is to be left out."""
    rng = np.random.default_rng(0)
    files = {}
    for folder in FOLDERS:
        for number, family in enumerate(FAMILIES):
            for suffix in ("", "-1")[: 1 + number % 2]:
                path = f"{ROOT}{folder}/{folder[:2]}{family}{suffix}"
                files[f"{path}.png"] = png(blob(rng, 30 + number, 40))
                files[f"{path}.txt"] = f"A {family}, in {folder}.\nfr.utf8=Un {family}.\n".encode()
                if number % 3 == 0:
                    files[f"{path}.ogg"] = b"a sound"
                if number % 2:
                    files[f"{path}.dat"] = b"noflip nomirror\n"
                if speech and number:
                    files[f"{path}_desc_fr.ogg"] = speech
    files[f"{ROOT}animals/cartoon/ant.png"] = png(blob(rng))
    files[f"{ROOT}animals/birds/anant_mirror.png"] = png(blob(rng))
    files[f"{ROOT}animals/birds/drawing.svg"] = b"<svg/>"
    files[f"{ROOT}food/smoke.png"] = png(np.full((20, 20, 4), 100, np.uint8))
    files["./usr/share/doc/stamps/picture.png"] = b"not a stamp"
    return files


def write_stamps(monkeypatch, folder, speech=None):
    """Tux Paint's stamps."""
    path = folder / tuxpaint.PACKAGE.file
    write_deb(path, stamp_files(speech))
    pass_for(monkeypatch, tuxpaint, "PACKAGE", path)
    return path


def write_photographs(monkeypatch, folder):
    """The wheel of scikit-image; the band of a photograph's split shows in its red channel."""
    photograph = np.zeros((100, 200, 3), np.uint8)
    photograph[:, :120], photograph[:, 120:160], photograph[:, 160:] = 20, 100, 240
    path = folder / material.SCIKIT_IMAGE.file
    with zipfile.ZipFile(path, "w") as archive:
        for name in material.PHOTOGRAPHS:
            archive.writestr(f"skimage/data/{name}", png(photograph))
    pass_for(monkeypatch, material, "SCIKIT_IMAGE", path)
    return path


def fashion_files(monkeypatch, train=40, test=20):
    """The files of Fashion-MNIST: an item's pixels are its number, its class the last digit."""
    files = {}
    for prefix, count, first in (("train", train, 1), ("t10k", test, 101)):
        numbers = np.arange(first, first + count, dtype=np.uint8)
        pixels = np.broadcast_to(numbers[:, None, None], (count, 28, 28))
        files[f"{prefix}-images-idx3-ubyte"] = bytes(16) + pixels.tobytes()
        files[f"{prefix}-labels-idx1-ubyte"] = bytes(8) + (numbers % 10).tobytes()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(original, "FILES", digests)
    return files


def write_fashion(monkeypatch, folder):
    """Debian's package of Fashion-MNIST."""
    path = folder / original.PACKAGE.file
    files = fashion_files(monkeypatch)
    where = "./usr/share/datasets/fashion-mnist/"
    write_deb(path, {f"{where}{name}.gz": gzip.compress(c) for name, c in files.items()})
    pass_for(monkeypatch, original, "PACKAGE", path)
    return path


def rows_of(dataset):
    """A data set, whole, as three dicts."""
    parts = zip(*dataset.as_numpy_iterator(), strict=True)
    return [
        {name: np.concatenate([batch[name] for batch in part]) for name in part[0]}
        if isinstance(part[0], dict)
        else np.concatenate(part)
        for part in parts
    ]
