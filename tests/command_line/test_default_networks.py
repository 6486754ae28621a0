"""Which network the command line chooses for which inputs."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtlzoo
from mtlzoo import BinaryClassification, Regression, SemanticSegmentation, SequenceTagging
from mtlzoo.command_line.command import UsageError
from mtlzoo.command_line.default_networks import RESERVED, kinds_of, network
from mtlzoo.data import Loaded

TWO = [BinaryClassification("a"), BinaryClassification("b")]


def loaded(inputs, tasks=TWO, preprocessor=None):
    def zeros(tensor):
        shape = [3, *tensor.shape[1:]]
        ids = np.arange(np.prod(shape)).reshape(shape) if "int" in tensor.dtype else np.zeros(shape)
        return tf.constant(ids.astype(tensor.dtype))

    rows = tf.data.Dataset.from_tensors((keras.tree.map_structure(zeros, inputs), {}, {}))
    return Loaded(rows, rows, rows, list(tasks), inputs, preprocessor)


def vector(size=6, name="features"):
    return keras.Input((size,), name=name)


def picture(size=24, name="image"):
    return keras.Input((size, size, 3), name=name)


def words(length=5, name="text"):
    return keras.Input((length,), dtype="int32", name=name)


def made(cls, of, **given):
    chosen = network(cls, of, given)
    return cls(of.inputs, of.tasks, **chosen.arguments), chosen


@pytest.mark.parametrize("name", ["HardSharing", "CrossStitch", "MMoE", "PLE", "SNR", "MTAN"])
def test_columns_need_no_backbone(name):
    model, chosen = made(getattr(mtlzoo, name), loaded(vector()))
    assert "backbone" not in chosen.arguments
    assert chosen.said
    assert [model.output[name].shape for name in "ab"] == [(None, 1), (None, 1)]


def test_what_is_given_is_kept():
    _, chosen = made(mtlzoo.MMoE, loaded(vector()), expert_units=(3,), num_experts=2)
    assert chosen.arguments == {"expert_units": (3,), "num_experts": 2, "tower_units": (32,)}
    assert chosen.said == ["tower_units=(32,)", "expert_units=(3,)", "num_experts=2"]


def test_ids_and_numbers_are_a_table():
    inputs = {
        "user": keras.Input((), dtype="int32", name="user"),
        "age": keras.Input((), name="age"),
        "genres": vector(4, "genres"),
    }
    model, chosen = made(mtlzoo.HardSharing, loaded(inputs))
    assert kinds_of(loaded(inputs)) == {"user": "ids", "age": "numbers", "genres": "numbers"}
    assert chosen.said[0] == "a TabularEncoder of user, age, genres"
    table = next(v for v in model.shared_variables if "embedding" in v.path)
    assert table.shape[0] == 3  # the ids in the data are 0, 1 and 2


def test_the_preprocessor_says_how_many_words_there_are():
    raw = keras.Input((), dtype="string", name="text")
    ids = keras.layers.TextVectorization(
        vocabulary=["one", "two", "three"], output_sequence_length=5, name="words"
    )
    of = loaded(words(), preprocessor=keras.Model(raw, ids(raw)))
    model, chosen = made(mtlzoo.HardSharing, of)
    assert chosen.said == ["TextEncoder for `text`, a text"]
    embedding = next(v for v in model.shared_variables if v.shape[-1] == 64 and v.shape[0] == 5)
    assert embedding is not None


@pytest.mark.parametrize(
    ("tensor", "kind", "backbone"),
    [
        (picture(), "picture", "ConvNet"),
        (picture(96), "picture", "ResNet"),
        (keras.Input((16, 3), name="motion"), "series", "SensorEncoder"),
    ],
)
def test_each_kind_of_input_has_its_backbone(tensor, kind, backbone):
    of = loaded(tensor)
    assert kinds_of(of) == {tensor.name: kind}
    _, chosen = made(mtlzoo.HardSharing, of)
    assert type(chosen.arguments["backbone"]).__name__ == backbone
    assert chosen.said == [f"{backbone} for `{tensor.name}`, a {kind}"]


def test_what_was_16_bit_integers_is_a_sound():
    raw = keras.Input((2000,), dtype="int16", name="sound")
    front = keras.Model(raw, keras.layers.Rescaling(1 / 32768)(raw))
    of = loaded(vector(2000, "sound"), preprocessor=front)
    assert kinds_of(of) == {"sound": "sound"}
    assert type(made(mtlzoo.HardSharing, of)[1].arguments["backbone"]).__name__ == "AudioEncoder"


def test_tasks_by_position_get_maps_and_sequences():
    model, _ = made(
        mtlzoo.HardSharing, loaded(picture(32), [SemanticSegmentation("s", 3, size=(32, 32))])
    )
    assert model.output["s"].shape == (None, 32, 32, 3)
    model, _ = made(mtlzoo.HardSharing, loaded(words(), [SequenceTagging("t", 4)]))
    assert model.output["t"].shape == (None, 5, 4)
    made(mtlzoo.TaskQueryAttention, loaded(words()))


def test_several_modalities_are_fused():
    inputs = {
        "image": picture(),
        "text": words(),
        "age": vector(1, "age"),
        "year": keras.Input((), name="year"),
        "maker": keras.Input((), dtype="int32", name="maker"),
        "image_present": keras.Input((), dtype="bool", name="image_present"),
    }
    of = loaded(inputs)
    assert kinds_of(of) == {
        **{"image": "picture", "text": "text", "age": "numbers"},
        **{"year": "numbers", "maker": "ids"},
    }
    _, chosen = made(mtlzoo.CrossModalFusion, of)
    assert set(chosen.arguments["encoders"]) == {"image", "text", "year", "maker"}
    with pytest.raises(UsageError, match=r"`MMoE` reads inputs of one kind. .*`CrossModalFusion`"):
        network(mtlzoo.MMoE, of, {})


@pytest.mark.parametrize(
    ("cls", "inputs", "said"),
    [
        (mtlzoo.CrossModalFusion, vector(), "needs inputs of several kinds"),
        (mtlzoo.CrossModalFusion, picture(), r"Received: `image` \(picture\)"),
        (mtlzoo.TaskQueryAttention, vector(), "needs an input with positions"),
        (mtlzoo.AITM, vector(), r"needs `sequence`: give it by --set sequence=VALUE"),
        (mtlzoo.HardSharing, keras.Input((2, 2, 2, 2)), "There is no default network"),
    ],
)
def test_what_is_missing_is_named(cls, inputs, said):
    with pytest.raises(UsageError, match=said):
        network(cls, loaded(inputs), {})
    with pytest.raises(UsageError, match="needs `sequence`"):
        network(mtlzoo.AITM, loaded(vector(), [Regression("a")]), {"tower_units": (8,)})


def test_what_is_reserved_are_arguments():
    taken = [inspect.signature(cls).parameters for cls in (mtlzoo.MMoE, mtlzoo.CrossModalFusion)]
    assert all(any(name in of_class for of_class in taken) for name in RESERVED)
