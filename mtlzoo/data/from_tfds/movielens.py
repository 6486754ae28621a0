"""MovieLens: how a user rates a movie, and whether the user likes it.

100 000 ratings of 1682 movies by 943 users (Harper and Konstan, 2015), or, with
config="1m-ratings", a million ratings of about 3900 movies by 6040 users.

Tasks:
  rating  regression, from 1 to 5 stars
  liked   binary, whether they are at least 4

Inputs, in `int32` but for the genres:
  user, movie  ids, which the preprocessor looks up; 0 is one with fewer than five training ratings
  gender       of the user, as it was stated: 1 is male
  age          of the user, the bucket: 1 to 7 begin at 1, 18, 25, 35, 45, 50 and 56 years
  occupation   of the user, one of 22
  genres       (21,) in `float32`, which of them the movie has

Splits: by time, so that nobody is trained on the future: the first 80 % of the ratings, the next
10 and the last 10, ratings of one second together. Users come and go: for many of the later ratings
the user is not among the training ones.

Options of `load`: config="100k-ratings", batch_size=256, seed=0, preprocessed=True, raw_files,
data_dir, download=False. TensorFlow Datasets prepares it of `ml-100k.zip` (4.9 MB) or `ml-1m.zip`
(5.9 MB), which it fetches or takes from the folder `raw_files`. Rows stay in memory.

The data is for research, and may neither be passed on nor be used to earn money without permission:
https://grouplens.org/datasets/movielens
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlzoo.data.from_arrays import check_options, from_arrays
from mtlzoo.data.from_tfds import reading
from mtlzoo.data.loading import Loaded
from mtlzoo.data.pipeline import check_batching

if TYPE_CHECKING:
    import keras

URL = "https://files.grouplens.org"
#: By configuration that has columns of users, the file that it is made of.
FILES = {"100k-ratings": "ml-100k.zip", "1m-ratings": "ml-1m.zip"}
AGES = (1, 18, 25, 35, 45, 50, 56)
OCCUPATIONS, GENRES = 22, 21
LEAST_RATINGS, LIKED = 5, 4
INPUTS = ("age", "gender", "genres", "movie", "occupation", "user")
TASKS = ("liked", "rating")
#: At which parts of the ratings the validation and the test ones begin.
VALID, TEST = 0.8, 0.9
_FEATURES = (
    *("bucketized_user_age", "movie_genres", "movie_id", "timestamp", "user_gender", "user_id"),
    *("user_occupation_label", "user_rating"),
)


def load(
    *,
    config: str = "100k-ratings",
    batch_size: int = 256,
    seed: int = 0,
    preprocessed: bool = True,
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Loaded:
    """Load MovieLens.

    Args:
        config: which ratings, `100k-ratings` or `1m-ratings`. Defaults to `"100k-ratings"`.
        batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to 256.
        seed: of the order of the training rows, which differs from epoch to epoch. Defaults to 0.
        preprocessed: True gives users, movies and ages as ids; False users and movies as strings
            and ages in years. Defaults to `True`.
        raw_files: only until the data is prepared: a folder that holds `ml-100k.zip`, or
            `ml-1m.zip`.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether the file may be fetched if the data is not prepared. Defaults to `False`.

    Returns:
        The data set with the tasks `liked` and `rating`. How many ids there are is
        `preprocessor.get_layer("user_ids").vocabulary_size()`, and the same of `movie_ids` and
        `age_ids`.

    Raises:
        ValueError: an option has an unusable value, or the data is not there and may not be
            fetched.
        ImportError: the extra `datasets` is not installed.

    Example:
        ```python
        from mtlzoo import data

        movies = data.load("movielens", download=True)
        x, y, sample_weight = next(iter(movies.train))  # x["user"] (256,), y liked and rating
        ```
    """
    from mtlzoo.tasks import BinaryClassification, Regression

    check_batching(batch_size, seed)
    check_options(preprocessed)
    builder = prepare(raw_files, data_dir, download, config=config)
    columns = read(builder)
    where = divide(columns["timestamp"])
    splits = {
        part: (
            {name: columns[name][where == part] for name in INPUTS},
            {name: columns[name][where == part] for name in TASKS},
        )
        for part in ("train", "valid", "test")
    }
    tasks = [BinaryClassification("liked"), Regression("rating")]
    model = preprocessor(splits["train"][0])
    return from_arrays(splits, tasks, model, batch_size, seed, preprocessed)


def read(builder: Any) -> dict[str, np.ndarray]:
    """Read all ratings.

    Args:
        builder: as of `prepare`.

    Returns:
        The raw inputs, the labels and `timestamp`, each `(n, ...)`.
    """
    import tensorflow as tf

    def row(example: dict[str, Any]) -> dict[str, Any]:
        genres = tf.reduce_sum(tf.one_hot(example["movie_genres"], GENRES), axis=0)
        return {
            "age": tf.cast(example["bucketized_user_age"], "int32"),
            "gender": tf.cast(example["user_gender"], "int32"),
            "genres": tf.minimum(genres, 1.0),
            "liked": tf.cast(example["user_rating"] >= LIKED, "int32"),
            "movie": example["movie_id"],
            "occupation": tf.cast(example["user_occupation_label"], "int32"),
            "rating": example["user_rating"],
            "timestamp": example["timestamp"],
            "user": example["user_id"],
        }

    examples = reading.examples(builder, "train", dict.fromkeys(_FEATURES, True))
    rows = examples.map(row, num_parallel_calls=tf.data.AUTOTUNE).batch(4096)
    parts = list(rows.as_numpy_iterator())
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    ids = {name: np.char.decode(columns[name].astype("S"), "ascii") for name in ("movie", "user")}
    return columns | ids


def divide(timestamps: np.ndarray) -> np.ndarray:
    """Divide the ratings by time.

    Args:
        timestamps: of the ratings, `(n,)`.

    Returns:
        Of each rating the name of its split.
    """
    count = len(timestamps)
    begins = np.sort(timestamps)[[int(count * VALID), int(count * TEST)]]
    parts = np.array(["train", "valid", "test"])
    return parts[np.searchsorted(begins, timestamps, side="right")]


def preprocessor(train: Mapping[str, np.ndarray]) -> keras.Model:
    """Make the model that looks up users, movies and ages.

    Args:
        train: the raw inputs of the training rows.

    Returns:
        A model from the dict of raw columns to the dict of ids `(batch,)` in `int32` and `genres`
        `(batch, 21)` in `float32`.
    """
    import keras
    from keras import layers, ops

    raw = {
        **{name: keras.Input((), name=name, dtype="string") for name in ("movie", "user")},
        **{name: keras.Input((), name=name, dtype="int32") for name in ("age", "gender")},
        "genres": keras.Input((GENRES,), name="genres"),
        "occupation": keras.Input((), name="occupation", dtype="int32"),
    }
    lookups = {"age": layers.IntegerLookup(vocabulary=AGES, mask_token=None, name="age_ids")}
    for name in ("movie", "user"):
        found, counts = np.unique(train[name], return_counts=True)
        known = found[counts >= LEAST_RATINGS].tolist()
        lookups[name] = layers.StringLookup(vocabulary=known, mask_token=None, name=f"{name}_ids")
    ids = {name: ops.cast(lookup(raw[name]), "int32") for name, lookup in lookups.items()}
    return keras.Model(raw, raw | ids, name="preprocessor")


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    *,
    config: str = "100k-ratings",
) -> Any:
    """Have TensorFlow Datasets prepare MovieLens, once.

    Args:
        raw_files: a folder that holds `ml-100k.zip`, or `ml-1m.zip`.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether the file may be fetched. Defaults to `False`.
        config: which ratings. Defaults to `"100k-ratings"`.

    Returns:
        The builder.

    Raises:
        ValueError: `config` has an unusable value, or the data is not prepared and there is nothing
            to prepare it from.
        ImportError: the extra `datasets` is not installed.
    """
    if config not in list(FILES):
        raise ValueError(f"`config` should be one of {list(FILES)}. Received: config={config!r}")
    files = (FILES[config],)
    return reading.prepared(f"movielens/{config}", files, URL, raw_files, data_dir, download)
