"""Composing scenes, and their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtlzoo.data import pictures
from mtlzoo.data.stamp_scenes.material import SURE, TOUCHED

#: Most objects in a scene.
MOST_OBJECTS = 4
#: The longer side of an object, as a share of the picture's side.
SIDES = (0.25, 0.6)
#: An object stays visible to at least this share of its pixels.
LEAST_VISIBLE = 0.7
#: Fewest pixels that surely belong to an object, as a share of the picture's. What is thinner at
#: the size that was drawn is not used.
LEAST_AREA = 0.01
#: How often a place for an object is sought before the scene goes without it.
ATTEMPTS = 10
#: Label of a pixel that is partly object.
MISSING = 255
#: Shares of a photograph's width that the backgrounds of the splits come from.
BANDS = {"train": (0.0, 0.6), "valid": (0.6, 0.8), "test": (0.8, 1.0)}

Scenes = dict[str, np.ndarray]


def compose(
    cutouts: Sequence[np.ndarray],
    categories: Sequence[int],
    backgrounds: Sequence[np.ndarray],
    scenes: int,
    size: int,
    rng: np.random.Generator,
) -> Scenes:
    """Compose scenes.

    The number of objects is uniform, the category of each is uniform over those that there are, and
    so is the cut-out in the category. Later objects lie over earlier ones.

    Args:
        cutouts: pictures `(h, w, 4)` in `uint8`.
        categories: of each cut-out, its class id.
        backgrounds: pictures `(h, w, 3)` in `uint8`.
        scenes: how many.
        size: pixels of a side.
        rng: where all choices come from.

    Returns:
        `image` `(n, size, size, 3)` and `mask` `(n, size, size)` in `uint8`, `boxes`
        `(n, MOST_OBJECTS, 5)` and `count` `(n,)` in `float32`, `category` `(n,)` in `int32`.
    """
    by_category = [
        [cutout for cutout, c in zip(cutouts, categories, strict=True) if c == category]
        for category in sorted(set(categories))
    ]
    ids = sorted(set(categories))
    made: Scenes = {
        "image": np.empty((scenes, size, size, 3), np.uint8),
        "mask": np.empty((scenes, size, size), np.uint8),
        "boxes": np.full((scenes, MOST_OBJECTS, 5), -1, np.float32),
        "count": np.empty(scenes, np.float32),
        "category": np.empty(scenes, np.int32),
    }
    for number in range(scenes):
        scene = Scene(background(backgrounds, size, rng))
        wanted = int(rng.integers(1, MOST_OBJECTS + 1))
        tries = 0
        while len(scene.classes) < wanted and (tries < ATTEMPTS * wanted or not scene.classes):
            tries += 1
            position = int(rng.integers(len(ids)))
            group = by_category[position]
            scene.place(group[int(rng.integers(len(group)))], ids[position], rng)
        boxes = scene.boxes()
        order = np.argsort(-scene.visible, kind="stable")
        made["image"][number] = np.rint(scene.pixels)
        made["mask"][number] = scene.mask
        made["boxes"][number, : len(boxes)] = boxes[order]
        made["count"][number] = len(boxes)
        made["category"][number] = boxes[order[0], 4]
    return made


def background(
    backgrounds: Sequence[np.ndarray], size: int, rng: np.random.Generator
) -> np.ndarray:
    """Crop a square of a photograph and tint it, so that colour does not tell objects from grey.

    Args:
        backgrounds: pictures `(h, w, 3)` in `uint8`.
        size: pixels of the side that the crop is resized to.
        rng: where the choices come from.

    Returns:
        The picture `(size, size, 3)` in `float64`.
    """
    photograph = backgrounds[int(rng.integers(len(backgrounds)))]
    height, width = photograph.shape[:2]
    largest = min(height, width)
    side = int(rng.integers(min(size, largest), largest + 1))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = photograph[top : top + side, left : left + side]
    return pictures.resize(crop, size, size) * rng.uniform(0.5, 1.0, 3)


def band(photograph: np.ndarray, split: str) -> np.ndarray:
    """Return the part of a photograph that a split's backgrounds come from.

    Args:
        photograph: `(h, w, 3)`.
        split: the split.

    Returns:
        A view of it.
    """
    start, stop = (round(share * photograph.shape[1]) for share in BANDS[split])
    return photograph[:, start:stop]


class Scene:
    """A picture in the making.

    Args:
        pixels: the background `(size, size, 3)` in floats.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        size = len(pixels)
        self.pixels = pixels
        self.mask = np.zeros((size, size), np.uint8)
        # of each pixel the object that was the last to touch it, counted from 1
        self.owner = np.zeros((size, size), np.int64)
        self.classes: list[int] = []
        self.visible = np.zeros(0, np.int64)  # pixels of each object
        self._areas = np.zeros(0, np.int64)  # the same before others were laid over it

    def place(self, cutout: np.ndarray, category: int, rng: np.random.Generator) -> bool:
        """Lay a cut-out on the picture, unless it is too thin or hides another too far.

        Args:
            cutout: `(h, w, 4)` in `uint8`.
            category: its class id.
            rng: where size and place come from.

        Returns:
            Whether it was.
        """
        size = len(self.pixels)
        height, width = pictures.fitting(cutout, round(rng.uniform(*SIDES) * size))
        top, left = rng.integers(size - height + 1), rng.integers(size - width + 1)
        resized = pictures.resize(cutout, height, width)
        alpha = resized[..., 3]
        touched = alpha >= TOUCHED
        sure = alpha >= SURE
        area = int(touched.sum())
        where = (slice(top, top + height), slice(left, left + width))
        hidden = np.bincount(self.owner[where][touched], minlength=len(self.classes) + 1)[1:]
        visible = self.visible - hidden
        too_little = visible < LEAST_VISIBLE * self._areas
        if sure.sum() < LEAST_AREA * size**2 or too_little.any():
            return False
        opacity = alpha[..., None] / 255
        self.pixels[where] += opacity * (resized[..., :3] - self.pixels[where])
        self.owner[where][touched] = len(self.classes) + 1
        self.mask[where][touched] = np.where(sure[touched], category + 1, MISSING)
        self.classes.append(category)
        self.visible = np.append(visible, area)
        self._areas = np.append(self._areas, area)
        return True

    def boxes(self) -> np.ndarray:
        """Return the boxes around what is visible of the objects, `(objects, 5)`."""
        size = len(self.owner)
        rows = []
        for number, category in enumerate(self.classes, 1):
            own = self.owner == number
            y, x = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
            edges = np.array([x[0], y[0], x[-1] + 1, y[-1] + 1]) / size
            rows.append([*edges, category])
        return np.array(rows, np.float32)
