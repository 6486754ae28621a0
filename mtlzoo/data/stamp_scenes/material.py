"""What scenes are made of: cut-outs and photographs, taken from their packages once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from mtlzoo.data import packages, pictures, tuxpaint

SCIKIT_IMAGE = packages.Package(
    name="scikit-image",
    version="0.26.0",
    file="scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    options=(
        "--only-binary=:all:",
        "--python-version=3.11",
        "--implementation=cp",
        "--platform=manylinux_2_28_x86_64",
    ),
)
#: Photographs in the wheel that show nothing of the six categories. Not among them for that reason:
#: a cat, a cup of coffee, a motorcycle.
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "retina.jpg",
    "rocket.jpg",
)
CATEGORIES = ("animals", "food", "household", "plants", "town", "vehicles")
#: Stamps of other folders that belong to a category.
_FOLDERS = {"military/vehicles": "vehicles"}
#: Pixels of the longer side of a kept cut-out; enough for scenes of 160 pixels.
LONGEST = 96
#: Pixels of the longer side of a kept photograph.
PHOTOGRAPH = 640
#: Alpha from which a pixel counts as touched by an object, and from which it surely belongs to it.
TOUCHED, SURE = 26, 230
#: Less of a stamp's touched pixels being sure means smoke or glass, which has no outline.
LEAST_SURE = 0.6


@dataclasses.dataclass(frozen=True)
class Material:
    """Cut-outs and photographs.

    Attributes:
        cutouts: pictures `(h, w, 4)` in `uint8`, without transparent borders.
        categories: of each cut-out, its position in `CATEGORIES`.
        families: of each cut-out, the name that near-duplicates share.
        photographs: pictures `(h, w, 3)` in `uint8`.
    """

    cutouts: list[np.ndarray]
    categories: np.ndarray
    families: np.ndarray
    photographs: list[np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return it as plain arrays; pictures of all sizes stand one after another."""
        return {
            "cutout_shapes": np.array([c.shape for c in self.cutouts]),
            "cutouts": np.concatenate([c.ravel() for c in self.cutouts]),
            "categories": self.categories,
            "families": self.families,
            "photograph_shapes": np.array([p.shape for p in self.photographs]),
            "photographs": np.concatenate([p.ravel() for p in self.photographs]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Material:
        """Return what `arrays` was called on.

        Args:
            arrays: the plain arrays.
        """
        return cls(
            _apart(arrays["cutouts"], arrays["cutout_shapes"]),
            arrays["categories"],
            arrays["families"],
            _apart(arrays["photographs"], arrays["photograph_shapes"]),
        )


def read(stamps: Path, wheel: Path) -> Material:
    """Read cut-outs and photographs from their packages.

    Args:
        stamps: the Debian package tuxpaint-stamps-default, checked.
        wheel: the wheel of scikit-image, checked.

    Returns:
        The material.
    """
    pictures.pillow()  # before the long reading
    cutouts, categories, families = [], [], []
    for stamp in tuxpaint.read(stamps):
        folders = "/".join(stamp.path.split("/")[:2])
        category = _FOLDERS.get(folders, stamp.category)
        if category not in CATEGORIES or stamp.in_cartoon_folder:
            continue
        cutout = cut_out(pictures.decode(stamp.png, "RGBA"))
        if cutout is not None:
            cutouts.append(cutout)
            categories.append(CATEGORIES.index(category))
            families.append(stamp.family)
    photographs = []
    for name in PHOTOGRAPHS:
        photograph = pictures.decode(packages.wheel_file(wheel, f"skimage/data/{name}"), "RGB")
        photographs.append(pictures.shrink(photograph, PHOTOGRAPH))
    return Material(cutouts, np.array(categories), np.array(families), photographs)


def cut_out(picture: np.ndarray) -> np.ndarray | None:
    """Cut a stamp to what is visible of it, and shrink it to the size that is kept.

    Args:
        picture: `(h, w, 4)` in `uint8`.

    Returns:
        The cut-out, or None if the stamp has no clear outline.
    """
    touched = picture[..., 3] >= TOUCHED
    sure = picture[..., 3] >= SURE
    if sure.sum() < LEAST_SURE * max(touched.sum(), 1) or touched.all():
        return None  # smoke, or a full rectangle
    rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
    cut = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return pictures.shrink(np.ascontiguousarray(cut), LONGEST)


def _apart(flat: np.ndarray, shapes: np.ndarray) -> list[np.ndarray]:
    ends = np.cumsum(shapes.prod(1))[:-1]
    return [p.reshape(s) for p, s in zip(np.split(flat, ends), shapes, strict=True)]
