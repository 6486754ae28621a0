"""The recipe on texts, on a few made-up rows and a small encoder of random weights."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from mtlzoo import MultiTaskModel, data, pretrained
from mtlzoo.backbones import BertEncoder
from mtlzoo.data.pipeline import batches
from mtlzoo.layers import WordPieceOfWords
from mtlzoo.pretrained import minilm
from recipes import text_transfer
from recipes.parts import texts

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "who", "is", "named", "?", "a", "b", "##b", "c"]
TEXTS = [b"a bb c", b"c", b"a " * 40 + b"c", b"bb"]
LABELS = {
    "vader_texts": {
        "disagreement": np.array([0.5, 1, 2, 1], "float32"),
        "domain": np.arange(4),
        "sentiment": np.array([1, -1, 2, 0], "float32"),
    },
    "brown": {"genre": np.arange(4), "tags": np.tile(np.arange(48) % 12, (4, 1)).astype("int32")},
    "brown_questions": {"answer": np.array([[1, 2], [0, 0], [0, 23], [0, 0]], "int32")},
}


def some_texts(name, **_):
    x = {"text": np.array(TEXTS)}
    if name == "brown_questions":
        x["question"] = np.array([b"who is named ?"] * 4)
    y = LABELS[name]
    part = batches((x, y, dict.fromkeys(y, np.ones(4, "float32"))), 2)
    return data.Loaded(part, part, part, [], {}, None)


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch.setattr)
        with flagsaver.flagsaver(steps=1, batch_size=4, test_rows=64, seeds=1, layers=1):
            yield text_transfer.preprocessor()


@pytest.fixture(scope="module")
def rows(small):
    """Training rows by data set, and test rows of all, by data set and in one batch."""
    sets = texts.load(0, None)
    test = texts.test_rows(sets, small, 64)
    return texts.train_rows(sets, small), test, test.unbatch().batch(12)


def stand_in(setattr):
    """Small things in place of the data and the weights."""

    def load(model, /, *, raw_files, download, sequence_length, **options):
        return BertEncoder(
            len(PIECES), sequence_length, width=8, num_heads=2, separator_id=3, **options
        )

    setattr(pretrained, "load", load)
    setattr(minilm, "vocabulary", lambda **_: PIECES)
    setattr(data, "load", some_texts)


def rows_of(name, reader):
    part = texts.prepared(some_texts(name).test, texts.TASKS[name], reader)
    x, y, w = zip(*part.as_numpy_iterator(), strict=True)
    return tuple({k: np.concatenate([b[k] for b in all_]) for k in all_[0]} for all_ in (x, y, w))


@pytest.mark.slow
def test_labels_of_words_without_a_place_are_missing(small):
    x, y, w = rows_of("brown", small)
    assert y["tags"].shape == (4, texts.WORDS) and set(w) == {"tags"}
    assert [(tags >= 0).sum() for tags in y["tags"]] == [3, 1, 24, 1]
    np.testing.assert_array_equal(y["tags"] >= 0, x["first_pieces"] >= 0)
    np.testing.assert_array_equal(y["tags"][2], np.arange(24) % 12)


@pytest.mark.slow
def test_an_answer_that_does_not_fit_is_missing(small):
    x, y, _ = rows_of("brown_questions", small)
    # [CLS], the question of four pieces and [SEP] come first.
    np.testing.assert_array_equal(x["first_pieces"][0, :4], [6, 7, 9, -1])
    assert x["first_pieces"][2, 23] == 29
    np.testing.assert_array_equal(y["answer"], [[1, 2], [0, 0], [0, 23], [0, 0]])
    shorter = WordPieceOfWords(PIECES, 20, texts.WORDS)
    part = some_texts("brown_questions").test.unbatch().batch(4)
    raw = next(iter(part))[0]
    read = shorter(raw["text"], before=raw["question"])

    def reader(_):
        return read

    found = texts.prepared(part, ("answer",), reader)
    answers = np.concatenate([y["answer"] for _, y, _ in found.as_numpy_iterator()])
    np.testing.assert_array_equal(answers, [[1, 2], [0, 0], [-1, -1], [0, 0]])


@pytest.mark.slow
def test_test_rows_of_all_sets_have_one_form(rows):
    _, test, _ = rows
    parts = list(test.as_numpy_iterator())
    assert len(parts) == 6 and all(set(y) == set(parts[0][1]) for _, y, _ in parts)
    present = [{name for name, values in w.items() if values.any()} for _, _, w in parts]
    vader = {"disagreement", "domain", "sentiment"}
    assert sorted(map(sorted, present)) == sorted(map(sorted, [{"tags"}, {"answer"}, vader] * 2))


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "name",
    [
        text_transfer.FROZEN,
        text_transfer.FINE_TUNED,
        text_transfer.SCRATCH,
    ],
)
def test_each_way_trains_what_it_should(small, rows, name, monkeypatch):
    made = []
    encoder = text_transfer.encoder
    monkeypatch.setattr(text_transfer, "encoder", lambda n: made.append(encoder(n)) or made[-1])
    train, _, test = rows
    weights = []
    fit = MultiTaskModel.fit

    def noted(model, *args, **options):
        weights.append([v.numpy() for v in made[-1].weights])
        return fit(model, *args, **options)

    monkeypatch.setattr(MultiTaskModel, "fit", noted)
    model, result = text_transfer.train(name, small, train, test, 0)
    pairs = zip(weights[0], made[0].weights, strict=True)
    still = all(np.array_equal(old, new.numpy()) for old, new in pairs)
    assert still == (name == text_transfer.FROZEN)
    assert set(result.test) == set(model.task_names)
    assert np.isfinite(list(result.test.values())).all()
    assert model.output["tags"].shape == (None, 24, 12)


@pytest.mark.slow
def test_it_prints_writes_and_serves(small, tmp_path, capsys):
    with flagsaver.flagsaver(out=str(tmp_path), models=["frozen", "from scratch"]):
        text_transfer.main([])
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "results.json").read_text())
    assert list(report) == ["frozen", "from scratch"]
    assert (tmp_path / "metrics.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    (line,) = [line for line in printed.splitlines() if line.startswith("saved, loaded")]
    assert float(line.split()[-1]) < 1e-5
    assert "tags_accuracy" in printed and "who is named ?" in printed


def test_the_error_of_a_constant(small):
    sets = texts.load(0, None)
    found = texts.errors_of_constants(sets)
    assert found["sentiment, rmse"] == pytest.approx(np.std([1, -1, 2, 0]))
