"""Loading Multi-Fashion: the items are kept, the pairs are composed when asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtlzoo.data import cache
from mtlzoo.data.from_arrays import check_options, from_arrays
from mtlzoo.data.loading import Loaded
from mtlzoo.data.multi_fashion import original
from mtlzoo.data.pictures import scaling
from mtlzoo.data.pipeline import check_batching

NAME = "multi_fashion"
#: Sides of the picture and of an item, and so how far the right item is moved. MultiMNIST has 36
#: pixels as well.
CANVAS, ITEM = 36, original.SIDE
#: Share of the official training items that is set aside for validation.
VALID_SHARE = 0.1


def load(
    *,
    batch_size: int = 256,
    seed: int = 0,
    data_seed: int = 0,
    preprocessed: bool = True,
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Loaded:
    """Load Multi-Fashion.

    Args:
        batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to 256.
        seed: of the order of the training rows, which differs from epoch to epoch. Defaults to 0.
        data_seed: of the pairs, and of the items that are set aside for validation. Defaults to 0.
        preprocessed: True gives `x` as one `float32` tensor `(batch, 36, 36, 1)` between 0 and 1;
            False as `{"image": uint8}`. Defaults to `True`.
        raw_files: only until the data is prepared: the Debian package, or a folder that holds it or
            the four idx files.
        data_dir: where prepared data is kept; see `mtlzoo.data.cache.folder`.
        download: whether the package may be fetched if the data is not prepared. Defaults to
            `False`.

    Returns:
        The data set with the tasks `left` and `right`.

    Raises:
        ValueError: an option has an unusable value, or the data is not there and may not be
            fetched.

    Example:
        ```python
        from mtlzoo import data

        fashion = data.load("multi_fashion", download=True)
        x, y, sample_weight = next(iter(fashion.train))  # x (256, 36, 36, 1), y left and right
        ```
    """
    from mtlzoo.tasks import Classification

    check_batching(batch_size, seed)
    check_options(preprocessed, data_seed)
    items = cache.read(_prepared_file(raw_files, data_dir, download))
    splits = {}
    for number, (split, chosen) in enumerate(choose(items, data_seed).items()):
        pixels, classes = (items[f"{_official(split)}_{kind}"] for kind in ("images", "labels"))
        left, right = pairs(chosen, np.random.default_rng([data_seed, number]))
        splits[split] = (
            {"image": overlay(pixels[left], pixels[right])},
            {"left": classes[left].astype("int32"), "right": classes[right].astype("int32")},
        )
    tasks = [Classification(name, num_classes=len(original.CLASSES)) for name in ("left", "right")]
    preprocessor = scaling((CANVAS, CANVAS, 1))
    return from_arrays(splits, tasks, preprocessor, batch_size, seed, preprocessed)


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> cache.Prepared:
    """Keep the items of Fashion-MNIST as arrays, once.

    Args:
        raw_files: the Debian package, or a folder that holds it or the four idx files.
        data_dir: where prepared data is kept; see `mtlzoo.data.cache.folder`.
        download: whether the package may be fetched if `raw_files` is None. Defaults to `False`.

    Returns:
        Where the data is, and how many pairs a split has.

    Raises:
        ValueError: the data is not prepared and there is nothing to prepare it from.
    """
    path = _prepared_file(raw_files, data_dir, download)
    rows = {split: len(chosen) for split, chosen in choose(cache.read(path), 0).items()}
    return cache.Prepared(path.parent, rows)


def choose(items: dict[str, np.ndarray], data_seed: int) -> dict[str, np.ndarray]:
    """Choose the items of each split.

    Args:
        items: as of `original.read`.
        data_seed: of the items that are set aside.

    Returns:
        By split the numbers of its items: official training items for `train` and `valid`, which
        have none in common, official test items for `test`.
    """
    count = len(items["train_labels"])
    order = np.random.default_rng(data_seed).permutation(count)
    held_out = round(count * VALID_SHARE)
    test = np.arange(len(items["test_labels"]))
    return {"train": order[held_out:], "valid": order[:held_out], "test": test}


def pairs(chosen: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pair each item with another one, so that each is once left and once right.

    Args:
        chosen: the numbers of the items, at least two.
        rng: where the order comes from.

    Returns:
        The numbers of the left and of the right items.
    """
    left = rng.permutation(chosen)
    return left, np.roll(left, 1)


def overlay(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Lay items over each other; the brighter pixel counts.

    Args:
        left: items for the top left, `(n, 28, 28)`.
        right: items for the bottom right, `(n, 28, 28)`.

    Returns:
        The pictures `(n, 36, 36, 1)`, of the same type.
    """
    canvas = np.zeros((len(left), CANVAS, CANVAS), left.dtype)
    canvas[:, :ITEM, :ITEM] = left
    corner = canvas[:, CANVAS - ITEM :, CANVAS - ITEM :]
    np.maximum(corner, right, out=corner)
    return canvas[..., None]


def _official(split: str) -> str:
    return "test" if split == "test" else "train"


def _prepared_file(
    raw_files: str | Path | None, data_dir: str | Path | None, download: bool
) -> Path:
    """The file with the items, made if it is not there."""
    folder = cache.folder(data_dir, NAME)
    path = folder / "items.npz"
    if not path.is_file():
        if raw_files is not None:
            cache.write(path, original.read(raw_files))
        elif download:
            cache.write(path, original.fetch(folder.parent / "fetched"))
        else:
            raise cache.refuse(NAME, data_dir)
    return path
