"""What layers of pieces of words have in common: a vocabulary, and how words are cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras

from mtlzoo.layers.arguments import check_count
from mtlzoo.layers.plain_text import CHINESE, PRIVATE, plain_letters

if TYPE_CHECKING:
    import tensorflow as tf

# A longer word is not cut into pieces.
_MOST_LETTERS = 100
_PADDING, _UNKNOWN, _FIRST, _SEPARATOR = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_GOES_ON = "##"
# In no text: a NUL is dropped before.
_SAME = "\0"


class WordCutter(keras.layers.Layer):
    """Base of the layers that turn texts into ids of pieces of words.

    Args:
        vocabulary: see `WordPiece`.
        length: number of ids of a row, at least 3.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        ValueError: for an unusable vocabulary or length.
    """

    def __init__(self, vocabulary: Sequence[str], length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocabulary = _checked_vocabulary(vocabulary)
        self.length = check_count("length", length)
        if length < 3:
            raise ValueError(f"`length` should be at least 3. Received: length={length}")
        # As Keras's own layers of strings: these are not cast, may come as lists, and run on the
        # host.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self.supports_jit = False

    def build(self, *shapes: Any, **named_shapes: Any) -> None:
        """Make the tables of letters and pieces."""
        import tensorflow as tf

        letters = plain_letters()
        ids = range(len(self.vocabulary))
        initializer = tf.lookup.KeyValueTensorInitializer
        with tf.init_scope():
            self._letters = tf.lookup.StaticHashTable(
                initializer(list(letters), list(letters.values()), "string", "string"), _SAME
            )
            self._pieces = tf.lookup.StaticHashTable(
                initializer(list(self.vocabulary), list(ids), "string", "int32"), -1
            )
        self._longest = max(map(len, self.vocabulary))
        self.built = True

    def _plain_words(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """The plain words of each text, punctuation and Chinese characters apart, ragged."""
        import tensorflow as tf

        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        texts = tf.strings.regex_replace(texts, PRIVATE, "")
        texts = tf.strings.regex_replace(texts, CHINESE, r" \0 ")
        letters = tf.strings.unicode_split(texts, "UTF-8")

        def plain(flat: tf.Tensor) -> tf.Tensor:
            found = self._letters.lookup(flat)
            return tf.where(found == _SAME, flat, found)

        return tf.strings.split(
            tf.strings.reduce_join(tf.ragged.map_flat_values(plain, letters), axis=-1)
        )

    def _pieces_of(self, words: tf.Tensor) -> tf.RaggedTensor:
        """The ids of the pieces of plain words `(n,)`, `(n, None)`: always the longest that fits.

        A word of which a rest is no piece, or that is too long, is one unknown piece.
        """
        import tensorflow as tf

        different, where = tf.unique(words)
        too_long = tf.strings.length(different, unit="UTF8_CHAR") > _MOST_LETTERS
        sizes = tf.range(self._longest, 0, -1)
        rows = tf.range(tf.size(different))

        def some_left(rests: tf.Tensor, *_: Any) -> tf.Tensor:
            return tf.reduce_any(rests != "")

        def cut(rests: Any, unknown: Any, is_rest: Any, owners: Any, ids: Any) -> tuple:
            """Cut one piece off each word of which something is left."""
            going = tf.boolean_mask(rows, rests != "")
            rest = tf.gather(rests, going)
            # `(going, sizes)`: how the rests begin, the longest first.
            tops = tf.strings.substr(
                tf.repeat(rest[:, None], self._longest, axis=1),
                tf.zeros((tf.size(going), self._longest), "int32"),
                tf.repeat(sizes[None], tf.size(going), axis=0),
                unit="UTF8_CHAR",
            )
            keys = tf.where(is_rest, tf.strings.join([_GOES_ON, tops]), tops)
            found = self._pieces.lookup(keys)
            best = tf.argmax(found >= 0, axis=1, output_type="int32")  # the first of equals
            piece = tf.gather(found, best, batch_dims=1)
            used = tf.minimum(tf.gather(sizes, best), tf.strings.length(rest, unit="UTF8_CHAR"))
            most = tf.fill(tf.shape(used), _MOST_LETTERS)
            after = tf.strings.substr(rest, used, most, unit="UTF8_CHAR")
            at = going[:, None]
            return (
                tf.tensor_scatter_nd_update(rests, at, tf.where(piece < 0, "", after)),
                tf.tensor_scatter_nd_update(unknown, at, piece < 0),
                tf.constant(True),
                tf.concat([owners, going], 0),
                tf.concat([ids, piece], 0),
            )

        none, grows = tf.zeros((0,), "int32"), tf.TensorShape([None])
        _, unknown, _, owners, ids = tf.while_loop(
            some_left,
            cut,
            (tf.where(too_long, "", different), too_long, tf.constant(False), none, none),
            shape_invariants=(grows, grows, tf.TensorShape([]), grows, grows),
        )
        known = tf.logical_not(tf.gather(unknown, owners))
        whole = tf.boolean_mask(rows, unknown)
        owners = tf.concat([tf.boolean_mask(owners, known), whole], 0)
        mark = tf.fill(tf.shape(whole), self._id_of(_UNKNOWN))
        ids = tf.concat([tf.boolean_mask(ids, known), mark], 0)
        order = tf.argsort(owners, stable=True)  # the pieces of a word stay in order
        pieces = tf.RaggedTensor.from_value_rowids(
            tf.gather(ids, order),
            tf.cast(tf.gather(owners, order), "int64"),
            nrows=tf.cast(tf.size(different), "int64"),
        )
        return tf.gather(pieces, where)

    def _pieces_by_text(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """The ids of the pieces of texts `(n,)`, `(n, None)`."""
        words = self._plain_words(texts)
        return words.with_values(self._pieces_of(words.values)).merge_dims(1, 2)

    def _framed(self, pieces: tf.RaggedTensor) -> tf.Tensor:
        """Ids between the first and the last token, what does not fit cut off, and padding."""
        import tensorflow as tf

        ones = tf.ones((pieces.nrows(), 1), "int32")
        rows = [ones * self._id_of(_FIRST), pieces[:, : self.length - 2]]
        ids = tf.concat([*rows, ones * self._id_of(_SEPARATOR)], axis=1)
        return ids.to_tensor(0, shape=(None, self.length))

    def _separated(self, pieces: tf.RaggedTensor) -> tf.RaggedTensor:
        """The same with a separator behind each row that has any pieces."""
        import tensorflow as tf

        ends = tf.RaggedTensor.from_row_lengths(
            tf.fill([tf.math.count_nonzero(pieces.row_lengths())], self._id_of(_SEPARATOR)),
            tf.cast(pieces.row_lengths() > 0, "int64"),
        )
        return tf.concat([pieces, ends], axis=1)

    def _id_of(self, piece: str) -> int:
        return self.vocabulary.index(piece)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {"vocabulary": list(self.vocabulary), "length": self.length}
        return {**super().get_config(), **config}


def of_backend(tensor: tf.Tensor) -> Any:
    """A tensor of TensorFlow as one of the backend's, outside of TensorFlow's graphs."""
    if keras.backend.backend() == "tensorflow" or not hasattr(tensor, "numpy"):
        return tensor
    return keras.ops.convert_to_tensor(tensor.numpy())


def _checked_vocabulary(vocabulary: Any) -> tuple[str, ...]:
    pieces = tuple(vocabulary) if isinstance(vocabulary, list | tuple) else ()
    if not pieces or not all(isinstance(piece, str) and piece for piece in pieces):
        raise ValueError(
            "`vocabulary` should be a list of pieces of words. "
            f"Received: vocabulary={vocabulary!r}"[:200]
        )
    piece, count = Counter(pieces).most_common(1)[0]
    if count > 1:
        raise ValueError(
            f"`vocabulary` should have each piece once. Received: {piece!r} {count} times"
        )
    lacking = {_UNKNOWN, _FIRST, _SEPARATOR} - set(pieces)
    if lacking or pieces[0] != _PADDING:
        raise ValueError(
            f"`vocabulary` should begin with {_PADDING} and have {_UNKNOWN}, {_FIRST} and "
            f"{_SEPARATOR}. Received: one that begins with {pieces[0]!r} and lacks "
            f"{sorted(lacking)}"
        )
    return pieces


def check_texts(argument: str, texts: Any, ranks: tuple[int, ...]) -> None:
    """Check that a symbolic tensor has strings.

    Args:
        argument: its name, for the message.
        texts: the tensor.
        ranks: those that it may have.

    Raises:
        ValueError: if it has not.
    """
    shape = texts.shape
    if texts.dtype == "string" and len(shape) in ranks and all(shape[1:]):
        return
    raise _no_texts(argument, ranks, tuple(shape), texts.dtype)


def as_texts(argument: str, texts: Any, ranks: tuple[int, ...]) -> tf.Tensor:
    """Strings as a tensor of TensorFlow.

    Args:
        argument: their name, for the message.
        texts: a tensor, an array or a list.
        ranks: those that it may have.

    Raises:
        ValueError: if it has another, or is of no strings.
    """
    import tensorflow as tf

    tensor = tf.convert_to_tensor(texts)
    rank = tensor.shape.rank  # None in a graph that does not know it
    if tensor.dtype != tf.string or (rank is not None and rank not in ranks):
        raise _no_texts(argument, ranks, tensor.shape, tensor.dtype.name)
    return tensor


def _no_texts(argument: str, ranks: tuple[int, ...], shape: Any, dtype: Any) -> ValueError:
    forms = " or ".join({1: "(batch,)", 2: "(batch, n)"}[rank] for rank in ranks)
    return ValueError(
        f"`{argument}` should be strings of shape {forms}. Received: shape={shape}, dtype={dtype}"
    )
