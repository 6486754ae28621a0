"""Stamps: their inputs, labels and splits."""

import io
import sys

import keras
import numpy as np
import pytest
from fake_packages import FAMILIES, rows_of, write_stamps

from mtlzoo import data
from mtlzoo.data import tuxpaint, words
from mtlzoo.data.stamps import loading, pieces, preprocessor

pytest.importorskip("PIL", reason="the extra `datasets` is not installed")


def ogg(seconds, rate=44_100, hertz=440):
    """A tone as an Ogg file, in stereo."""
    soundfile = pytest.importorskip("soundfile", reason="the extra `datasets` is not installed")
    file = io.BytesIO()
    tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    soundfile.write(file, np.stack([tone, tone], -1), rate, format="OGG", subtype="VORBIS")
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the package, and prepared data in `kept`."""
    folder = tmp_path_factory.mktemp("stamps")
    with pytest.MonkeyPatch.context() as monkeypatch:
        write_stamps(monkeypatch, folder, ogg(0.5))
        loading.prepare(folder, folder / "kept")
    return folder


def load(folder, **options):
    return data.load("stamps", data_dir=folder / "kept", **options)


def test_the_elements_are_what_the_contract_says(folder):
    loaded = load(folder, batch_size=16)
    x, y, w = next(iter(loaded.train))
    assert sorted(x) == sorted(loaded.inputs)
    for name, tensor in loaded.inputs.items():
        assert x[name].shape == (16, *tensor.shape[1:]) and x[name].dtype == tensor.dtype
    assert x["image"].shape == (16, 64, 64, 3) and x["speech"].shape == (16, 16_000)
    assert x["caption"].shape == (16, 16) and x["caption"].dtype == "int32"
    assert [task.name for task in loaded.tasks] == sorted(y) == sorted(w)
    assert all(labels.shape == (16,) and labels.dtype == "int32" for labels in y.values())


def test_labels_are_those_of_the_stamps(folder):
    loaded = load(folder, preprocessed=False)
    count = 0
    for split in ("train", "valid", "test"):
        x, y, _ = rows_of(getattr(loaded, split))
        for number, caption in enumerate(x["caption"].tolist()):
            if caption == b"":  # two that are there for what they leave out
                assert not x["caption_present"][number]
                continue
            count += 1
            _, family, _, where = caption.decode().strip(".").replace(",", "").split()
            position, category = FAMILIES.index(family), where.split("/")[0]
            expected = category if category in loading.CATEGORIES else "other"
            assert loading.CATEGORIES[y["category"][number]] == expected
            assert y["has_sound"][number] == (position % 3 == 0)
            assert y["upright"][number] == (position % 2 == 1)
            assert x["speech_present"][number] == x["speech"][number].any() == (position > 0)
            assert x["image_present"][number] and x["caption_present"][number]
    assert count == 80


def test_families_are_in_one_split(folder):
    loaded = load(folder, preprocessed=False)
    seen = {
        split: {c.decode() for c in rows_of(getattr(loaded, split))[0]["caption"].tolist() if c}
        for split in ("train", "valid", "test")
    }
    assert all(len(captions) >= 6 for captions in seen.values())
    assert not seen["train"] & seen["valid"]
    assert not (seen["train"] | seen["valid"]) & seen["test"]
    other = rows_of(load(folder, preprocessed=False, data_seed=1).test)[0]["caption"]
    assert {c.decode() for c in other.tolist()} != seen["test"]


def test_words_are_those_of_the_training_captions():
    captions = ["A red fox.", "a fox's den", "The red, red rose"]
    assert words.vocabulary(captions) == ["a", "red"]
    model = preprocessor.make(captions)
    asked = ["Red: a (fox) is", ""]
    given = {
        name: np.zeros((2, *tensor.shape[1:]), tensor.dtype)
        for name, tensor in model.input.items()
        if name != "caption"
    }
    given = {name: keras.ops.convert_to_tensor(values) for name, values in given.items()}
    import tensorflow as tf

    got = model(given | {"caption": tf.constant(asked)})
    assert got["caption"].numpy()[:, :5].tolist() == [[3, 2, 1, 1, 0], [0, 0, 0, 0, 0]]
    assert got["image"].dtype == got["speech"].dtype == "float32"
    layer = model.get_layer("words")
    known = set(words.vocabulary(captions))
    for caption in captions:
        ids = [i for i in layer(tf.constant(caption)).numpy() if i]
        found = words.words(caption)
        assert len(ids) == len(found) and [i > 1 for i in ids] == [w in known for w in found]


def test_pictures_lie_on_white_and_keep_their_proportions():
    red = np.zeros((10, 40, 4), np.uint8)
    red[..., 0] = 200
    red[:, :20, 3] = 255
    got = pieces.on_white(red)
    assert got.shape == (64, 64, 3) and got.dtype == np.uint8
    assert (got[24:40, :28] == [200, 0, 0]).all()
    assert (got[:23] == 255).all() and (got[41:] == 255).all() and (got[:, 36:] == 255).all()


def test_speech_has_one_rate_and_one_length():
    for rate in (44_100, 8000, 22_050):
        samples = pieces.decode_speech(ogg(0.5, rate))
        assert samples.shape == (16_000,) and samples.dtype == np.int16
        assert np.abs(samples[4200:]).max() < 400 and np.abs(samples[500:3500]).max() > 12_000
        spectrum = np.abs(np.fft.rfft(samples[:4000].astype(float)))
        assert abs(spectrum.argmax() * 8000 / 4000 - 440) < 3
    assert pieces.decode_speech(ogg(3.0)).astype(bool).any()
    # what 8 kHz cannot hold is left out, and does not come back as another tone
    tone = np.sin(2 * np.pi * 6000 * np.arange(44_100) / 44_100)
    assert np.abs(pieces.resample(tone, 44_100)[400:-400]).max() < 0.01


@pytest.mark.slow
def test_without_soundfile_there_is_no_speech(tmp_path, monkeypatch):
    write_stamps(monkeypatch, tmp_path, b"not decoded")
    monkeypatch.setattr(pieces, "can_decode_speech", lambda: False)
    silent = load(tmp_path, raw_files=tmp_path, preprocessed=False)
    for dataset in (silent.train, silent.valid, silent.test):
        x, _, _ = rows_of(dataset)
        assert not x["speech_present"].any() and not x["speech"].any()
    # with soundfile it is made again when there is something to make it from
    monkeypatch.setattr(pieces, "can_decode_speech", lambda: True)
    assert not rows_of(load(tmp_path, preprocessed=False).train)[0]["speech"].any()
    write_stamps(monkeypatch, tmp_path, ogg(0.5))
    loading.prepare(tmp_path, tmp_path / "kept")
    assert rows_of(load(tmp_path, preprocessed=False).train)[0]["speech"].any()


def test_a_missing_extra_is_named_before_anything_is_read(tmp_path, monkeypatch):
    write_stamps(monkeypatch, tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setattr(tuxpaint, "read", None)
    with pytest.raises(ImportError, match=r"needs Pillow: pip install 'mtlzoo\[datasets\]'"):
        loading.prepare(tmp_path, tmp_path / "kept")


def test_missing_and_wrong_packages(tmp_path):
    with pytest.raises(ValueError, match=r"prepared data of stamps; .*m mtlzoo.data stamps --dow"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"`raw_files` should be `tuxpaint-stamps-default_2022"):
        load(tmp_path, raw_files=tmp_path)
    (tmp_path / tuxpaint.PACKAGE.file).write_bytes(b"!<arch>\n")
    with pytest.raises(ValueError, match=rf"should have the SHA-256 {tuxpaint.PACKAGE.sha256}"):
        load(tmp_path, raw_files=tmp_path)
