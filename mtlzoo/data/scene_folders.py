"""Scenes in the folders that the authors of MTAN publish NYUv2 and Cityscapes in.

`<folder>/<part>/<kind>/<i>.npy`, with the parts `train` and `val` and the kinds

* `image`: `(H, W, 3)`, floats from 0 to 1;
* `label`: `(H, W)`, class ids; -1 is missing;
* `depth`: `(H, W, 1)`, metres, or for Cityscapes inverse depths; 0 is missing;
* `normal`: `(H, W, 3)`; a zero vector is missing. Cityscapes has none.

Read as well are maps with channels first, depths `(H, W)`, the name `label_7` that the labels of
Cityscapes have there, 255 or NaN for what is missing, and folders without one of the label kinds.
Nothing of these data sets is in mtlzoo, and none of them is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from mtlzoo.data.loading import Loaded
from mtlzoo.data.pipeline import check_batching
from mtlzoo.data.scene_frames.loading import tasks_of

if TYPE_CHECKING:
    import tensorflow as tf

    from mtlzoo.tasks import Task

#: By task the folders that its labels may be in.
_FOLDERS = {"depth": ("depth",), "normals": ("normal",), "segmentation": ("label", "label_7")}


def load(
    folder: str | Path,
    *,
    num_classes: int = 13,
    batch_size: int = 8,
    seed: int = 0,
    valid_share: float = 0.1,
) -> Loaded:
    """Load scenes from folders of `.npy` files, which are read one by one as they are needed.

    Args:
        folder: the folder that holds `train` and `val`.
        num_classes: classes of the segmentation: 13 for NYUv2, 7 for Cityscapes. Defaults to 13.
        batch_size: scenes in a batch; the last one of an epoch may be smaller. Defaults to 8.
        seed: of the order of the training scenes, which differs from epoch to epoch. Defaults to 0.
        valid_share: which part of `train` is set aside for choosing, above 0 and at most a half:
            its last scenes, since neighbouring ones are alike. Defaults to 0.1.

    Returns:
        The data set with those of the tasks `depth`, `normals` and `segmentation` that have a
        folder; `test` is `val`. What is missing is NaN, and 255 in segmentations.

    Raises:
        ValueError: an option has an unusable value, or the folder has another form.

    Example:
        ```text
        from mtlzoo.data import scene_folders

        nyu = scene_folders.load("~/nyuv2")
        street = scene_folders.load("~/cityscapes", num_classes=7)
        ```
    """
    check_batching(batch_size, seed)
    if not 0 < valid_share <= 0.5:
        raise ValueError(
            "`valid_share` should be above 0 and at most a half. "
            f"Received: valid_share={valid_share!r}"
        )
    parts = {part: Path(folder).expanduser() / part for part in ("train", "val")}
    numbers = {part: _numbers(path) for part, path in parts.items()}
    kinds = {"image": "image"}
    for task, names in _FOLDERS.items():
        there = [n for n in names if all((path / n).is_dir() for path in parts.values())]
        if there:
            kinds[task] = there[0]
    if len(kinds) == 1:
        raise ValueError(
            "`folder` should have one of `label`, `depth` and `normal` in both `train` and `val`. "
            f"Received: folder={str(folder)!r}"
        )
    count = len(numbers["train"])
    kept = count - max(1, round(count * valid_share))
    if kept < 1:
        raise ValueError(
            f"`folder` should have two training scenes or more. Received: folder={str(folder)!r}"
        )
    chosen = {
        "train": [(parts["train"], i) for i in numbers["train"][:kept]],
        "valid": [(parts["train"], i) for i in numbers["train"][kept:]],
        "test": [(parts["val"], i) for i in numbers["val"]],
    }
    first = read(*chosen["train"][0], kinds)
    datasets = {
        split: _dataset(scenes, kinds, first, batch_size, seed if split == "train" else None)
        for split, scenes in chosen.items()
    }
    shape = first["image"].shape
    return loaded_of(datasets, tasks_of((shape[0], shape[1]), num_classes, kinds), shape)


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> NoReturn:
    """Refuse: the folder is read as it is.

    Args:
        raw_files: unused, as are the others.
        data_dir: unused.
        download: unused.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "`name` should be a data set that has files to prepare. Received: name='scene_folders', "
        "which reads a folder of yours as it is: data.load('scene_folders', folder=...)"
    )


def loaded_of(
    datasets: dict[str, tf.data.Dataset], tasks: list[Task], shape: tuple[int, ...]
) -> Loaded:
    """A data set of pictures that are between 0 and 1 already, so that the preprocessor is none.

    Args:
        datasets: `train`, `valid` and `test`.
        tasks: the tasks.
        shape: that of a picture.
    """
    import keras

    image = keras.Input(shape, name="image")
    same = keras.layers.Identity(name="as_it_is")(image)
    return Loaded(
        **datasets,
        tasks=tasks,
        inputs=keras.Input(shape, name="image"),
        preprocessor=keras.Model({"image": image}, same, name="preprocessor"),
    )


def read(part: Path, number: int, kinds: dict[str, str]) -> dict[str, np.ndarray]:
    """Read one scene.

    Args:
        part: the folder `train` or `val`.
        number: which scene.
        kinds: by `image` and task, the name of the folder.

    Returns:
        By `image` and task the map, with NaN, and 255 in segmentations, for what is missing.

    Raises:
        ValueError: a map has another form.
    """
    scene = {}
    for name, kind in kinds.items():
        path = part / kind / f"{number}.npy"
        channels = {"image": 3, "depth": 1, "normals": 3, "segmentation": 1}[name]
        values = _channels_last(np.load(path, allow_pickle=False), channels, path)
        if name == "segmentation":
            ids = values[..., 0].astype(np.float32)
            values = np.where(np.isfinite(ids) & (ids >= 0), ids, 255).astype(np.uint8)
        else:
            values = values.astype(np.float32)
        if name == "depth":
            values = np.where(values > 0, values, np.nan)[..., 0]
        if name == "normals":
            values = np.where((values == 0).all(-1, keepdims=True), np.nan, values)
        scene[name] = values
    return scene


def _channels_last(values: np.ndarray, channels: int, path: Path) -> np.ndarray:
    """`(H, W, channels)`, of a map with channels last, first, or without them."""
    if values.ndim == 2 and channels == 1:
        return values[..., None]
    if values.ndim == 3 and values.shape[-1] == channels:
        return values
    if values.ndim == 3 and values.shape[0] == channels:
        return np.moveaxis(values, 0, -1)
    raise ValueError(
        f"`{path.parent.name}/{path.name}` should have {channels} channels, last or first. "
        f"Received: shape={values.shape}"
    )


def _numbers(part: Path) -> list[int]:
    """The numbers of the scenes of a part."""
    numbers = sorted(int(p.stem) for p in (part / "image").glob("*.npy") if p.stem.isdigit())
    if not numbers:
        raise ValueError(
            "`folder` should hold `train/image/0.npy` and so on, and `val`. "
            f"Received: no such files in {str(part)!r}"
        )
    return numbers


def _dataset(
    scenes: list[tuple[Path, int]],
    kinds: dict[str, str],
    first: dict[str, np.ndarray],
    batch_size: int,
    seed: int | None,
) -> tf.data.Dataset:
    import tensorflow as tf

    rng = None if seed is None else np.random.default_rng(seed)
    tasks = [name for name in kinds if name != "image"]

    def rows() -> Iterator[tuple]:
        order = range(len(scenes)) if rng is None else rng.permutation(len(scenes))
        for i in order:
            scene = read(*scenes[i], kinds)
            image = scene.pop("image")
            yield image, scene, dict.fromkeys(tasks, np.float32(1))

    specs = {name: tf.TensorSpec(a.shape, a.dtype) for name, a in first.items()}
    weights = {name: tf.TensorSpec((), "float32") for name in tasks}
    signature = (specs.pop("image"), specs, weights)
    dataset = tf.data.Dataset.from_generator(rows, output_signature=signature)
    return (
        dataset.apply(tf.data.experimental.assert_cardinality(len(scenes)))
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
