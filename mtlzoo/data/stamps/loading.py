"""Loading stamps: pictures, captions and speech are kept as arrays, and divided when asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtlzoo.data import cache, packages, pictures, tuxpaint
from mtlzoo.data.from_arrays import check_options, from_arrays
from mtlzoo.data.loading import Loaded
from mtlzoo.data.parts import assign_parts
from mtlzoo.data.pipeline import check_batching
from mtlzoo.data.stamps import pieces

NAME = "stamps"
SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}
#: Classes of `category`; the other folders have fewer than twenty stamps each and are the last one.
CATEGORIES = (
    "animals",
    "food",
    "household",
    "plants",
    "seasonal",
    "symbols",
    "town",
    "vehicles",
    "other",
)
#: Raised when the same package gives other arrays, so that no old file is taken for a new one.
_VERSION = 1


def load(
    *,
    batch_size: int = 64,
    seed: int = 0,
    data_seed: int = 0,
    preprocessed: bool = True,
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Loaded:
    """Load the stamps.

    Args:
        batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to 64.
        seed: of the order of the training rows, which differs from epoch to epoch. Defaults to 0.
        data_seed: of which stamps are in which split. Defaults to 0.
        preprocessed: True gives `x` as a dict with `image` and `speech` in `float32` and `caption`
            as word ids; False with bytes, strings and `int16`. Defaults to `True`.
        raw_files: only until the data is prepared: the Debian package, or a folder that holds it.
        data_dir: where prepared data is kept; see `mtlzoo.data.cache.folder`.
        download: whether the package may be fetched if the data is not prepared. Defaults to
            `False`.

    Returns:
        The data set with the tasks `category`, `has_sound` and `upright`.

    Raises:
        ValueError: an option has an unusable value, or the data is not there and may not be
            fetched.
        ImportError: the extra `datasets` is not installed and the data not prepared.

    Example:
        ```python
        from mtlzoo import data

        stamps = data.load("stamps", download=True)
        x, y, sample_weight = next(iter(stamps.train))
        print(x["image"].shape, x["caption"].shape, x["speech"].shape)
        ```
    """
    from mtlzoo.data.stamps import preprocessor as preprocessors
    from mtlzoo.tasks import BinaryClassification, Classification

    check_batching(batch_size, seed)
    check_options(preprocessed, data_seed)
    arrays = cache.read(_prepared_file(raw_files, data_dir, download))
    where = divide(arrays, data_seed)
    tasks = [
        Classification("category", num_classes=len(CATEGORIES)),
        BinaryClassification("has_sound"),
        BinaryClassification("upright"),
    ]
    splits = {}
    for split in SHARES:
        rows = {name: values[where == split] for name, values in arrays.items()}
        labels = {task.name: rows[task.name] for task in tasks}
        inputs = {name: rows[name] for name in ("caption", "image", "speech")}
        present = {
            "caption_present": rows["caption"] != "",
            "image_present": np.ones(len(rows["image"]), bool),
            "speech_present": rows["speech_present"],
        }
        splits[split] = (inputs | present, labels)
    preprocessor = preprocessors.make(splits["train"][0]["caption"].tolist())
    return from_arrays(splits, tasks, preprocessor, batch_size, seed, preprocessed)


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> cache.Prepared:
    """Keep the stamps as arrays, once; with speech if soundfile is installed.

    Args:
        raw_files: the Debian package, or a folder that holds it.
        data_dir: where prepared data is kept; see `mtlzoo.data.cache.folder`.
        download: whether the package may be fetched if `raw_files` is None. Defaults to `False`.

    Returns:
        Where the data is, and how many stamps a split has.

    Raises:
        ValueError: the data is not prepared and there is nothing to prepare it from.
        ImportError: the extra `datasets` is not installed.
    """
    path = _prepared_file(raw_files, data_dir, download)
    where = divide(cache.read(path), 0)
    return cache.Prepared(path.parent, {split: int((where == split).sum()) for split in SHARES})


def read(package: Path, speech: bool) -> dict[str, np.ndarray]:
    """Read the stamps from the Debian package.

    Args:
        package: the package's file, checked.
        speech: whether spoken captions are decoded; else no stamp has speech.

    Returns:
        By input, task, `speech_present` and `family` an array `(n, ...)`.
    """
    pictures.pillow()  # before the long reading
    stamps = tuxpaint.read(package, speech)
    spoken = np.zeros((len(stamps), pieces.SAMPLES), np.int16)
    for number, stamp in enumerate(stamps):
        if stamp.speech is not None:
            spoken[number] = pieces.decode_speech(stamp.speech)
    names = [s.category if s.category in CATEGORIES else "other" for s in stamps]
    return {
        "caption": np.array([s.caption for s in stamps]),
        "image": np.stack([pieces.on_white(pictures.decode(s.png, "RGBA")) for s in stamps]),
        "speech": spoken,
        "speech_present": np.array([s.speech is not None for s in stamps]),
        "category": np.array([CATEGORIES.index(n) for n in names], np.int32),
        "has_sound": np.array([s.has_sound for s in stamps], np.int32),
        "upright": np.array(["noflip" in s.notes for s in stamps], np.int32),
        "family": np.array([s.family for s in stamps]),
    }


def divide(arrays: dict[str, np.ndarray], data_seed: int) -> np.ndarray:
    """Divide the stamps, families whole, by the same shares of each category.

    Args:
        arrays: as of `read`.
        data_seed: of the division.

    Returns:
        Of each stamp the name of its split.
    """
    strata = [CATEGORIES[c] for c in arrays["category"]]
    rng = np.random.default_rng(data_seed)
    return assign_parts(arrays["family"].tolist(), SHARES, rng, strata)


def _prepared_file(
    raw_files: str | Path | None, data_dir: str | Path | None, download: bool
) -> Path:
    """The file with the arrays, made if it is not there; one with speech is preferred."""
    folder = cache.folder(data_dir, NAME)
    with_speech, silent = (
        folder / f"stamps_v{_VERSION}_{kind}.npz" for kind in ("speech", "silent")
    )
    speech = pieces.can_decode_speech()
    asked = raw_files is not None or download
    if with_speech.is_file() or (silent.is_file() and not (asked and speech)):
        return with_speech if with_speech.is_file() else silent
    if not asked:
        raise cache.refuse(NAME, data_dir)
    package = packages.locate(tuxpaint.PACKAGE, raw_files, folder.parent / "fetched")
    path = with_speech if speech else silent
    cache.write(path, read(package, speech))
    return path
