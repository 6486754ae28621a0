"""Texts as the ids of pieces of words, as BERT reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from mtlzoo.layers.arguments import check_count
from mtlzoo.layers.word_cutter import WordCutter, as_texts, check_texts, of_backend


@keras.saving.register_keras_serializable(package="mtlzoo")
class WordPiece(WordCutter):
    """Texts as ids of pieces of words: BERT's uncased WordPiece (Devlin et al., 2019).

    A text loses control characters, capitals and accents; Chinese characters and punctuation become
    words of their own. Of each word the longest piece of the vocabulary that it begins with is cut
    off, then the longest of the rest, whose pieces are written `##...`. A word with a rest that is
    no piece, or of more than 100 letters, is `[UNK]`. Around the pieces stand `[CLS]` and `[SEP]`;
    what does not fit is cut off before `[SEP]`. Of several texts each ends with `[SEP]`; one
    without any pieces is left out.

    It is made of TensorFlow's operations on strings, and so belongs into a preprocessor, which is
    saved and exported with its model, the vocabulary inside.

    Args:
        vocabulary: list of pieces in the order of their ids, that begins with `[PAD]` and has
            `[UNK]`, `[CLS]` and `[SEP]`, such as `mtlzoo.pretrained.minilm.vocabulary()`.
        length: number of ids of a row, at least 3.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        Strings `(batch,)`, or `(batch, n)` for n texts in a row; int32 `(batch, length)` out,
        padded by 0.

    Raises:
        ValueError: for an unusable vocabulary or length.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import WordPiece

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##happy", "!"]
    WordPiece(pieces, 6)(np.array(["Unhappy!", "Happy"]))  # [[2, 4, 5, 6, 3, 0], [2, 1, 3, ...]]
    ```

    References:
        Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers for Language
        Understanding*, NAACL 2019.

        Wu et al., *Google's Neural Machine Translation System*, arXiv:1609.08144, 2016.

    *Differences from the paper's code*: as in the package `tokenizers`, letters become small one by
    one, so that a capital sigma at the end of a word is an ordinary one, and characters for private
    use vanish. What a character is, the Unicode data of the running Python says; an exported model
    keeps what it was then. `[CLS]` and the like written in a text are ordinary text.
    """

    def call(self, texts: Any) -> Any:
        """The ids."""
        import tensorflow as tf

        texts = as_texts("texts", texts, (1, 2))
        if texts.shape.rank == 1:
            texts = texts[:, None]
        several = self._separated(self._pieces_by_text(tf.reshape(texts, [-1])))
        rows = tf.RaggedTensor.from_uniform_row_length(several, texts.shape[1])
        return of_backend(self._framed(rows.merge_dims(1, 2)[:, :-1]))

    def compute_output_spec(self, texts: Any) -> keras.KerasTensor:
        """Int32 `(batch, length)`."""
        check_texts("texts", texts, (1, 2))
        return keras.KerasTensor((texts.shape[0], self.length), dtype="int32")


@keras.saving.register_keras_serializable(package="mtlzoo")
class WordPieceOfWords(WordCutter):
    """Given words as ids of pieces, and of each word the place of its first piece.

    For tasks of words, such as tagging: `WordFeatures` picks the features of these places, so that
    labels and answers are by word, as the data has them. The ids are those of `WordPiece`.

    Args:
        vocabulary: see `WordPiece`.
        length: number of ids of a row, at least 3.
        num_words: of how many words of a row the place is given.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        Strings `(batch, n)`, n words of which those behind the last are empty, or `(batch,)`, texts
        whose words blanks part; `before`, strings `(batch,)`, is a text that comes first, such as a
        question, whose words are not counted. A dict of int32 out: `tokens` `(batch, length)`, and
        `first_pieces` `(batch, num_words)`, -1 for words that are empty or do not fit.

    Raises:
        ValueError: for an unusable vocabulary or number.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import WordPieceOfWords

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##happy", "!"]
    layer = WordPieceOfWords(pieces, 7, num_words=3)
    layer(np.array(["Unhappy un!"]))  # tokens [[2, 4, 5, 4, 6, 3, 0]], first_pieces [[1, 3, -1]]
    ```
    """

    def __init__(
        self, vocabulary: Sequence[str], length: int, num_words: int, **kwargs: Any
    ) -> None:
        super().__init__(vocabulary, length, **kwargs)
        self.num_words = check_count("num_words", num_words)

    def call(self, words: Any, before: Any = None) -> dict[str, Any]:
        """The ids and the places."""
        import tensorflow as tf

        words = as_texts("words", words, (1, 2))
        if words.shape.rank == 1:
            given = tf.strings.split(words)
        else:
            given = tf.RaggedTensor.from_tensor(words)
        pieces = given.with_values(self._pieces_by_text(given.values))
        counts = pieces.with_values(pieces.values.row_lengths())
        counts = counts.to_tensor(0, shape=(None, self.num_words))
        starts = 1 + tf.cumsum(counts, axis=1, exclusive=True)
        rows = pieces.merge_dims(1, 2)
        if before is not None:
            first = self._separated(self._pieces_by_text(as_texts("before", before, (1,))))
            starts += first.row_lengths()[:, None]
            rows = tf.concat([first, rows], axis=1)
        fits = (counts > 0) & (starts < self.length - 1)
        places = tf.cast(tf.where(fits, starts, -1), "int32")
        return {
            "tokens": of_backend(self._framed(rows)),
            "first_pieces": of_backend(places),
        }

    def compute_output_spec(self, words: Any, before: Any = None) -> dict[str, keras.KerasTensor]:
        """Int32 `(batch, length)` and `(batch, num_words)`."""
        check_texts("words", words, (1, 2))
        if before is not None:
            check_texts("before", before, (1,))
        return {
            "tokens": keras.KerasTensor((words.shape[0], self.length), dtype="int32"),
            "first_pieces": keras.KerasTensor((words.shape[0], self.num_words), dtype="int32"),
        }

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_words": self.num_words}
