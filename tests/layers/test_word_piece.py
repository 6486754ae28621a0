"""Texts as ids: BERT's algorithm in plain Python, stored sentences, files, exports, given words."""

import random
import unicodedata

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import HardSharing, SequenceTagging
from mtlzoo.layers import MaskedMean, WordFeatures, WordPiece, WordPieceOfWords

# Pieces as the package `tokenizers` 0.23.3 finds them with the vocabulary of MiniLM.
SENTENCES = {
    "The Fulton County Grand Jury said Friday an investigation of Atlanta's recent primary "
    "election produced ``no evidence''.": "the fulton county grand jury said friday an "
    "investigation of atlanta ' s recent primary election produced ` ` no evidence ' ' .",
    "unaffable embeddings, tokenization & hyperparameterization!": "una ##ffa ##ble em ##bed "
    "##ding ##s , token ##ization & hyper ##para ##meter ##ization !",
    "Na\xefve caf\xe9-goers r\xe9sum\xe9 in Z\xdcRICH & S\xe3o Paulo: \xbd off": "naive cafe - go "
    "##ers resume in zurich & sao paulo : \xbd off",
    "\u5317\u4eac is the capital of \u4e2d\u56fd, \u65e5\u672c; \u3072\u3089\u304c\u306a "
    "\u30ab\u30bf\u30ab\u30ca": "\u5317 \u4eac is the capital of \u4e2d \u56fd , \u65e5 \u672c ; "
    "\u3072 ##\u3089 ##\u304b ##\u306a \u30ab ##\u30bf ##\u30ab ##\u30ca",
    "\ud55c\uad6d\uc5b4 and \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u0391\u03a3": ""
    "\u1112 ##\u1161 ##\u11ab ##\u1100 ##\u116e ##\u11a8 ##\u110b ##\u1165 and \u03b5 ##\u03bb "
    "##\u03bb ##\u03b7 ##\u03bd ##\u03b9 ##\u03ba ##\u03b1 \u03b1 ##\u03c3",
    "\U0001f469\u200d\U0001f467 \u2764\ufe0f :-) ... \U0001f600!!! ok?": "[UNK] [UNK] : - ) . . . "
    "[UNK] ! ! ! ok ?",
    "tab\tnew\nline\r\nnul\x00bell\x07soft\xadhyphen zero\u200bwidth": "tab new line nu ##lb ##ell "
    "##so ##ft ##hy ##ph ##en zero ##wi ##dt ##h",
    "nbsp\xa0thin\u2009ideographic\u3000line\u2028sep": "n ##bs ##p thin id ##eo ##graphic line "
    "sep",
    "a" * 100 + " " + "a" * 101: "aaa " + "##aa " * 48 + "##a [UNK]",
    "\u0130stanbul \u0141\xd3D\u0179 Stra\xdfe \ufb01ne \u01c5 \xc5se": "istanbul \u0142odz st "
    "##ra\xdfe \ufb01 ##ne [UNK] as ##e",
    "$5.00 == \u20ac4.50 \u2260 \xa33 \xb1 2% #tag @you _x_ ^~`|": "$ 5 . 00 = = \u20ac ##4 . 50 "
    "= \xa33 \xb1 2 % # tag @ you _ x _ ^ ~ ` |",
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u05e0\u05b4\u05e7\u05bc\u05d5\u05bc\u05d3": ""
    "\u0440 ##\u0443 ##\u0441 ##\u0441 ##\u043a ##\u0438\u0438 \u05e0 ##\u05e7 ##\u05d5 ##\u05d3",
    "( CLS ) mask?  ##ing": "( cl ##s ) mask ? # # ing",
    " \t ": "",
    "": "",
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = SPECIAL + sorted(set(" ".join(SENTENCES.values()).split()) - {"[UNK]"})
ID = {piece: i for i, piece in enumerate(VOCABULARY)}
LENGTH = 64


@pytest.fixture(scope="module")
def layer():
    return WordPiece(VOCABULARY, LENGTH)


def framed(*texts, length=LENGTH):
    """Ids of texts given as pieces, each a list."""
    ids = [ID["[CLS]"]]
    body = [ID["[SEP]"]]
    for pieces in texts:
        body += [ID[piece] for piece in pieces] + ([ID["[SEP]"]] if pieces else [])
    ids += body[1:-1][: length - 2] if len(body) > 1 else []
    ids.append(ID["[SEP]"])
    return ids + [0] * (length - len(ids))


# -- the algorithm once more, as its authors wrote it ---------------------------------------------


def plain_words(text):
    """Clean, Chinese characters apart, lower case, accents off, punctuation apart."""
    kept = []
    for c in text:
        category = unicodedata.category(c)
        if c in "\t\n\r" or category == "Zs":
            kept.append(" ")
        elif ord(c) not in (0, 0xFFFD) and category not in ("Cc", "Cf", "Co"):
            chinese = 0x4E00 <= ord(c) <= 0x9FFF or 0xF900 <= ord(c) <= 0xFAFF
            chinese |= 0x3400 <= ord(c) <= 0x4DBF or 0x20000 <= ord(c) <= 0x2A6DF
            kept.append(f" {c} " if chinese else c)
    for token in "".join(kept).split():
        lowered = "".join(c.lower() for c in token)
        bare = [c for c in unicodedata.normalize("NFD", lowered) if unicodedata.category(c) != "Mn"]
        words, new = [], True
        for c in bare:
            in_ascii = 33 <= ord(c) <= 47 or 58 <= ord(c) <= 64 or 91 <= ord(c) <= 96
            if in_ascii or 123 <= ord(c) <= 126 or unicodedata.category(c)[0] == "P":
                words.append(c)
                new = True
            else:
                words = [*words, c] if new else [*words[:-1], words[-1] + c]
                new = False
        yield from words


def pieces_of(word, vocabulary):
    if len(word) > 100:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def by_hand(text, vocabulary=ID):
    return [piece for word in plain_words(text) for piece in pieces_of(word, vocabulary)]


def test_sentences_of_another_implementation(layer):
    found = layer(np.array(list(SENTENCES))).numpy()
    for text, row in zip(SENTENCES, found, strict=True):
        assert by_hand(text) == SENTENCES[text].split()
        assert row.tolist() == framed(SENTENCES[text].split()), ascii(text)


def random_texts(count):
    """Words of the vocabulary, whole or glued, and letters of many alphabets."""
    rng = random.Random(0)
    blocks = [(0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x6FF)]
    blocks += [(0x900, 0x97F), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x20A0, 0x2BFF), (0, 0x1F)]
    blocks += [(0x3000, 0x30FF), (0x4E00, 0x9FD5), (0xAC00, 0xD7A3), (0xE000, 0xE0FF)]
    blocks += [(0xF900, 0xFAFF), (0xFE00, 0xFFFF), (0x1F300, 0x1F64F), (0x300, 0x36F)]
    words = [piece.removeprefix("##") for piece in VOCABULARY[4:]]
    blanks = ["", " ", "  ", "\t", "\n", "\u3000", "\xa0", "\u200d", "\u0301"]

    def part():
        if rng.random() < 0.5:
            return "".join(rng.choices(words, k=rng.choice([1, 2, 3, 70])))
        block = rng.choice(blocks)
        return "".join(chr(rng.randint(*block)) for _ in range(rng.randint(1, 8)))

    return ["".join(part() + rng.choice(blanks) for _ in range(5)) for _ in range(count)]


def test_random_texts_against_plain_python(layer):
    texts = random_texts(400)
    found = layer(tf.constant(texts)).numpy()
    for text, row in zip(texts, found, strict=True):
        assert row.tolist() == framed(by_hand(text)), ascii(text)
    assert (found == ID["[UNK]"]).any() and (found[:, -1] == ID["[SEP]"]).any()


def test_the_longest_piece_wins_though_the_word_is_then_unknown():
    layer = WordPiece([*SPECIAL, "ab", "a", "##bc", "##c", "abcd"], 6)
    found = layer(tf.constant(["abc", "abcd", "abce", "a bc"])).numpy()
    np.testing.assert_array_equal(
        found, [[2, 4, 7, 3, 0, 0], [2, 8, 3, 0, 0, 0], [2, 1, 3, 0, 0, 0], [2, 5, 1, 3, 0, 0]]
    )


def test_bytes_that_are_no_text_are_left_out(layer):
    found = layer(tf.constant([b"the \xff\xfegrand \xe4", b"\xff"])).numpy()
    assert found.tolist() == [framed(["the", "grand"]), framed([])]


def test_several_texts_in_a_row():
    layer = WordPiece(VOCABULARY, 7)
    texts = [["the jury", "no evidence"], ["", "the"], ["the", ""], ["", ""], ["the " * 9, "no"]]
    expected = [
        framed(["the", "jury"], ["no", "evidence"], length=7),
        framed(["the"], length=7),
        framed(["the"], length=7),
        framed([], length=7),
        framed(["the"] * 5, length=7),
    ]
    assert expected[0][-1] == ID["[SEP]"] and expected[0].count(ID["[SEP]"]) == 2
    np.testing.assert_array_equal(layer(np.array(texts)).numpy(), expected)


# -- given words ----------------------------------------------------------------------------------


def test_places_of_given_words():
    layer = WordPieceOfWords(VOCABULARY, 9, num_words=4)
    texts = ["unaffable jury's off", "\x07 off", "", "the of no said off"]
    words = [text.split(" ") + [""] * 5 for text in texts]
    found = layer(np.array(texts))
    given = layer(np.array([row[:5] for row in words]))
    ids = WordPiece(VOCABULARY, 9)(np.array(texts))
    for result in (found, given):
        np.testing.assert_array_equal(result["tokens"], ids)
    # [CLS] una ##ffa ##ble jury ' s off [SEP]; a word of a control character has no pieces.
    places = [[1, 4, 7, -1], [-1, 1, -1, -1], [-1] * 4, [1, 2, 3, 4]]
    np.testing.assert_array_equal(found["first_pieces"], places)
    np.testing.assert_array_equal(given["first_pieces"], places)
    assert VOCABULARY[ids[0, 4]] == "jury" and VOCABULARY[ids[0, 7]] == "off"


def test_a_text_before_the_words_moves_their_places():
    layer = WordPieceOfWords(VOCABULARY, 9, num_words=3)
    words, before = np.array(["the off no"] * 3), np.array(["who ?", "", "of " * 5])
    found = layer(words, before=before)
    pairs = np.stack([before, words], axis=1)
    np.testing.assert_array_equal(found["tokens"], WordPiece(VOCABULARY, 9)(pairs))
    # "who" is unknown. In the last row there is room for one word before the last separator.
    places = [[4, 5, 6], [1, 2, 3], [7, -1, -1]]
    np.testing.assert_array_equal(found["first_pieces"], places)
    assert found["tokens"][2, -1] == ID["[SEP]"]


def test_features_of_words():
    features = np.arange(10.0, dtype="float32").reshape(1, 5, 2)
    places = np.array([[3, -1, 0]])
    expected = [[[6, 7], [0, 0], [0, 1]]]
    np.testing.assert_array_equal(WordFeatures()([features, places]), expected)
    inputs = keras.Input((5, 2)), keras.Input((3,), dtype="int32")
    words = WordFeatures()(list(inputs))
    assert words.shape == (None, 3, 2)
    pooled = keras.Model(inputs, MaskedMean()(words))  # its Keras mask leaves the second out
    np.testing.assert_allclose(pooled([features, places]), [[3, 4]])


# -- in preprocessors -----------------------------------------------------------------------------


def tagger():
    raw = {"text": keras.Input((), name="text", dtype="string")}
    prepared = WordPieceOfWords(VOCABULARY, 12, num_words=4)(raw["text"])
    preprocessor = keras.Model(raw, prepared)
    inputs = {
        "tokens": keras.Input((12,), dtype="int32", name="tokens"),
        "first_pieces": keras.Input((4,), dtype="int32", name="first_pieces"),
    }
    features = keras.layers.Embedding(len(VOCABULARY), 3)(inputs["tokens"])
    trunk = keras.Model(inputs, WordFeatures()([features, inputs["first_pieces"]]))
    task = SequenceTagging("tags", 3)
    return HardSharing(inputs, [task], backbone=trunk, preprocessor=preprocessor)


@pytest.mark.slow
def test_it_is_saved_and_served_with_its_vocabulary(tmp_path):
    model = tagger()
    texts = tf.constant(["The Grand Jury", "naïve!"])
    prepared = model.preprocessor({"text": texts})
    expected = model.tasks["tags"].serve(model(prepared)["tags"])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    again = loaded.preprocessor({"text": texts})
    for name, values in prepared.items():
        np.testing.assert_array_equal(again[name], values)
    loaded.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    found = served.signatures["serve"](text=texts)
    np.testing.assert_array_equal(found["tags_class"], expected["tags_class"])
    np.testing.assert_allclose(found["tags"], expected["tags"], rtol=1e-5, atol=1e-6)
    assert served.serve({"text": tf.constant([], tf.string)})["tags"].shape == (0, 4, 3)


@pytest.mark.slow
def test_it_runs_in_a_data_set():
    layer = WordPiece(VOCABULARY, 5)  # not built before: its tables are made outside of the graph
    rows = tf.data.Dataset.from_tensor_slices(["the jury", "off", "no"]).batch(2)
    found = np.concatenate([ids.numpy() for ids in rows.map(layer)])
    np.testing.assert_array_equal(found, layer(np.array(["the jury", "off", "no"])))
    again = WordPiece.from_config(layer.get_config())
    np.testing.assert_array_equal(again(np.array(["the jury"])), found[:1])


def test_arguments_out_of_range():
    for vocabulary, said in [
        ("vocab.txt", r"`vocabulary` should be a list of pieces of words. Received: .*'vocab.txt'"),
        ([], r"`vocabulary` should be a list of pieces of words. Received: vocabulary=\[\]"),
        ([*SPECIAL, ""], r"`vocabulary` should be a list of pieces of words"),
        ([*SPECIAL, "a", "a"], r"`vocabulary` should have each piece once. Received: 'a' 2 times"),
        (SPECIAL[1:], r"begin with \[PAD\] and have .* Received: one that begins with '\[UNK\]'"),
        (SPECIAL[:3], r"Received: one that begins with '\[PAD\]' and lacks \['\[SEP\]'\]"),
    ]:
        with pytest.raises(ValueError, match=said):
            WordPiece(vocabulary, 5)
    with pytest.raises(ValueError, match=r"`length` should be at least 3. Received: length=2"):
        WordPiece(SPECIAL, 2)
    with pytest.raises(ValueError, match=r"`num_words` should be a positive integer"):
        WordPieceOfWords(SPECIAL, 5, 0)
    number = keras.Input((2,))
    with pytest.raises(ValueError, match=r"`texts` should be strings of shape \(batch,\) or .*flo"):
        WordPiece(SPECIAL, 5)(number)
    word = keras.Input((2,), dtype="string")
    with pytest.raises(ValueError, match=r"`before` should be strings of shape \(batch,\). Receiv"):
        WordPieceOfWords(SPECIAL, 5, 2)(word, before=word)


def test_what_is_no_text_is_refused_when_called():
    layer = WordPiece(VOCABULARY, 6)
    words = WordPieceOfWords(VOCABULARY, 6, num_words=2)
    for bad in (np.ones(3, "int32"), np.array("a"), np.full((1, 1, 1), "a"), tf.constant("a"), 3):
        with pytest.raises(ValueError, match=r"`texts` should be strings of shape \(batch,\) or"):
            layer(bad)
    with pytest.raises(ValueError, match=r"`words` should be strings .*dtype=int32"):
        words(np.ones((2, 2), "int32"))
    with pytest.raises(ValueError, match=r"`before` should be strings of shape \(batch,\)\. "):
        words(np.array([["a"]]), before=np.array([["a"]]))
