"""VADER texts: how a sentence feels, how much people disagree about it, and where it comes from.

23 703 short texts that at least fifteen people rated from -4 (extremely negative) to 4 (Hutto and
Gilbert, 2014): 4200 tweets, 10 605 snippets of movie reviews, 3708 of product reviews and 5190 of
newspaper editorials.

Tasks:
  sentiment     regression, the mean of the ratings
  disagreement  regression, their standard deviation
  domain        four classes: editorials, movies, products, tweets

Input: `text`, which the preprocessor turns into ids of its first 32 words: 0 is padding, 1 a word
that fewer than three training texts have.

Splits: 80, 10 and 10 % of each domain, by document: all sentences of an editorial or of a product
review are in one split, and equal texts are. For movies the documents are not known, and snippets
of one review may be apart.

Options of `load`: batch_size=128, seed=0, data_seed=0, preprocessed=True, raw_files, data_dir,
download=False. `raw_files` is the source distribution of vaderSentiment 3.3.2, the file
`hutto_ICWSM_2014.tar.gz` in it, or a folder that holds one of them; `download` fetches the source
distribution with pip (2.5 MB). Tweets may name people.

vaderSentiment has the MIT licence.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
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

#: By class of `domain`: how its files begin, and whether its ids are `document_sentence`.
DOMAINS = {
    "editorials": ("nytEditorialSnippets", True),
    "movies": ("movieReviewSnippets", False),
    "products": ("amazonReviewSnippets", True),
    "tweets": ("tweets", False),
}
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
WORDS, LEAST_TEXTS = 32, 3
FILE = "hutto_ICWSM_2014.tar.gz"
_PLACE = f"vaderSentiment-3.3.2/additional_resources/{FILE}"
SOURCE = Contents(
    package=Package(
        name="vadersentiment",
        version="3.3.2",
        file="vaderSentiment-3.3.2.tar.gz",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    ),
    read=lambda path: {FILE: sdist_file(path, _PLACE)},
    file=FILE,
    sha256="d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
)


def read(source: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Join the texts with their ratings.

    Args:
        source: the file `hutto_ICWSM_2014.tar.gz`.

    Returns:
        `text`, `document`, and by task the labels, each `(n,)`.
    """
    rows = []
    with tarfile.open(fileobj=io.BytesIO(source[FILE]), mode="r:gz") as archive:
        for domain, (prefix, by_sentence) in enumerate(DOMAINS.values()):
            ratings = {row[0]: row for row in _table(archive, f"{prefix}_anonDataRatings")}
            for key, _, text in _table(archive, f"{prefix}_GroundTruth"):
                mean, deviation = (float(value) for value in ratings[key][1:3])
                document = key.split("_")[0] if by_sentence else key
                rows.append((text, f"{prefix} {document}", mean, deviation, domain))
    texts, documents, means, deviations, domains = zip(*rows, strict=True)
    return {
        "text": np.array(texts),
        "document": np.array(documents),
        "sentiment": np.array(means, "float32"),
        "disagreement": np.array(deviations, "float32"),
        "domain": np.array(domains, "int32"),
    }


def _table(archive: tarfile.TarFile, name: str) -> list[list[str]]:
    """The three first fields of each line of a file; one of the files has a byte order mark."""
    file = archive.extractfile(f"hutto_ICWSM_2014/{name}.txt")
    assert file is not None
    lines = file.read().decode("utf-8-sig", "replace").replace("\r", "").split("\n")
    return [line.split("\t")[:3] for line in lines if line]


def divide(arrays: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Divide the texts by document, each domain by the same shares.

    Args:
        arrays: as of `read`.
        rng: where the order comes from.

    Returns:
        Of each text the name of its split.
    """
    texts, documents = arrays["text"].tolist(), arrays["document"].tolist()
    # Documents that have a text in common are one.
    group = {name: name for name in documents}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    first: dict[str, str] = {}
    for text, document in zip(texts, documents, strict=True):
        group[root(document)] = root(first.setdefault(text, document))
    strata = [list(DOMAINS)[number] for number in arrays["domain"]]
    return assign_parts([root(name) for name in documents], SHARES, rng, strata)


def tasks() -> list[Task]:
    """Make the tasks."""
    from mtlzoo.tasks import Classification, Regression

    return [
        Regression("disagreement"),
        Classification("domain", num_classes=len(DOMAINS)),
        Regression("sentiment"),
    ]


def preprocessor(train: Mapping[str, np.ndarray]) -> keras.Model:
    """Make the model that turns texts into ids of words.

    Args:
        train: the inputs of the training rows.

    Returns:
        A model from `{"text": (batch,)}`, strings, to `(batch, 32)` in `int32`.
    """
    import keras

    raw = {"text": keras.Input((), name="text", dtype="string")}
    known = vocabulary(train["text"].tolist(), LEAST_TEXTS)
    ids = keras.ops.cast(to_ids(known, WORDS, "words")(raw["text"]), "int32")
    return keras.Model(raw, ids, name="preprocessor")


_SET = ArraySet(
    name="vader_texts",
    sources=(SOURCE,),
    read=read,
    divide=divide,
    inputs=("text",),
    tasks=tasks,
    preprocessor=preprocessor,
    homepage="https://github.com/cjhutto/vaderSentiment",
    licence="MIT",
    citation="C. J. Hutto, E. Gilbert: VADER: A Parsimonious Rule-based Model for Sentiment "
    "Analysis of Social Media Text. ICWSM 2014.",
    batch_size=128,
)
load, prepare = _SET.load, _SET.prepare
