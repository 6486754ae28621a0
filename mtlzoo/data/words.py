"""The words of texts, as Keras's layer splits them, and the layer that turns them into ids."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words(text: str) -> list[str]:
    """Split a text as Keras's layer does: lower case, without punctuation.

    Args:
        text: the text.

    Returns:
        Its words.
    """
    return text.lower().translate(_NO_PUNCTUATION).split()


def vocabulary(texts: Iterable[str], least: int = 2, most: int | None = None) -> list[str]:
    """Return the words of texts, those in most of them first.

    Args:
        texts: the training texts; neither validation nor test ones belong here.
        least: in how many of them a word has to be, so that "unknown" is trained as well. Defaults
            to 2.
        most: the number of words that are kept. Defaults to all.

    Returns:
        The words.
    """
    counts = Counter(word for text in texts for word in set(words(text)))
    known = [word for word, count in counts.items() if count >= least]
    return sorted(known, key=lambda word: (-counts[word], word))[:most]


def to_ids(known: list[str], length: int, name: str) -> keras.layers.Layer:
    """Make the layer that turns texts into the ids of their words.

    Args:
        known: the words, as of `vocabulary`.
        length: how many words of a text are read; shorter ones are padded by zeros.
        name: of the layer.

    Returns:
        A layer from `(batch,)` strings to `(batch, length)` integers: 0 is padding, 1 a word that
        is not known.
    """
    from keras import layers

    return layers.TextVectorization(
        standardize="lower_and_strip_punctuation",
        output_sequence_length=length,
        vocabulary=known,
        name=name,
    )
