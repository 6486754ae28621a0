"""`load(name)` and what it returns."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from mtlzoo.tasks import Task

# A data set is a module with a docstring that describes it, `load(**options) -> Loaded` and
# `prepare(raw_files, data_dir, download)`, which makes the full data ready and says where.
_MODULES = {
    "brown": "mtlzoo.data.brown",
    "brown_questions": "mtlzoo.data.brown_questions",
    "celeb_a": "mtlzoo.data.from_tfds.celeb_a",
    "census_income": "mtlzoo.data.census_income",
    "glue": "mtlzoo.data.from_tfds.glue",
    "movielens": "mtlzoo.data.from_tfds.movielens",
    "movies": "mtlzoo.data.movies",
    "multi_fashion": "mtlzoo.data.multi_fashion",
    "scene_folders": "mtlzoo.data.scene_folders",
    "scene_frames": "mtlzoo.data.scene_frames",
    "scene_sets": "mtlzoo.data.scene_sets",
    "shapes3d": "mtlzoo.data.from_tfds.shapes3d",
    "smallnorb": "mtlzoo.data.from_tfds.smallnorb",
    "stamp_scenes": "mtlzoo.data.stamp_scenes",
    "stamps": "mtlzoo.data.stamps",
    "synthetic_relatedness": "mtlzoo.data.synthetic_relatedness",
    "vader_texts": "mtlzoo.data.vader_texts",
    "voice_prompts": "mtlzoo.data.voice_prompts",
    "watch_recordings": "mtlzoo.data.watch_recordings",
    "yeast": "mtlzoo.data.yeast",
}


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A loaded data set.

    Attributes:
        train: batches `(x, y, sample_weight)`; `y` and `sample_weight` are dicts by task name and
            the weights have shape `(batch,)`. Reshuffled in each epoch.
        valid: the same, a part of the official training data set aside for choosing; never
            shuffled.
        test: the same, the official test data; never shuffled.
        tasks: the tasks, whose names are the keys of `y`.
        inputs: what a model is built on: one `keras.Input`, or a dict of them by column.
        preprocessor: a model from raw columns to `x`. It has been applied to the data already,
            unless they were loaded with `preprocessed=False`; a served model begins with it.
    """

    train: tf.data.Dataset
    valid: tf.data.Dataset
    test: tf.data.Dataset
    tasks: list[Task]
    inputs: keras.KerasTensor | dict[str, keras.KerasTensor]
    preprocessor: keras.Model


def names() -> list[str]:
    """Return the names that `load` knows."""
    return sorted(_MODULES)


def module(name: str) -> Any:
    """Import the module of a data set.

    Args:
        name: the data set's name.

    Returns:
        The module.

    Raises:
        ValueError: there is no data set of this name.
    """
    if not isinstance(name, str) or name not in _MODULES:
        raise ValueError(f"`name` should be one of {names()}. Received: name={name!r}")
    return importlib.import_module(_MODULES[name])


def load(name: str, **options: Any) -> Loaded:
    """Load a data set by name.

    Args:
        name: the data set's name, one of `names()`.
        **options: what the data set's own `load` takes, such as `batch_size` (256), `seed` (0)
            and `preprocessed` (True).

    Returns:
        The data set, ready for `fit`.

    Raises:
        ValueError: there is no data set of this name, or an option has an unusable value.

    Example:
        ```python
        from mtlzoo import data

        census = data.load("census_income", batch_size=512)
        print([task.name for task in census.tasks], census.inputs.shape)
        ```
    """
    return module(name).load(**options)
