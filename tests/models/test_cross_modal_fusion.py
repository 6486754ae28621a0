"""CrossModalFusion: its forward pass, missing modalities, what can be read, what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import BinaryClassification, CrossModalFusion, Regression
from mtlzoo.backbones import TextEncoder
from mtlzoo.layers import BottleneckFusion

FUSIONS = ["bottleneck", "concatenation", "cross_attention", "gated", "low_rank"]
ROWS = 12


def make_inputs():
    return {
        "caption": keras.Input((5,), dtype="int32", name="caption"),
        "caption_present": keras.Input((), dtype="bool", name="caption_present"),
        "image": keras.Input((6, 6, 2), name="image"),
        "sensor": keras.Input((3,), name="sensor"),
        "sensor_present": keras.Input((1,), dtype="bool", name="sensor_present"),
    }


def make_encoders(width=8):
    return {
        "caption": keras.layers.Embedding(20, width, mask_zero=True, name="words"),
        "image": keras.layers.Conv2D(width, 3, activation="relu", name="edges"),
    }


def small(fusion="concatenation", **arguments):
    tasks = [BinaryClassification("click"), Regression("stay")]
    arguments = {"encoders": make_encoders(), "projection_units": 8, "fusion_units": 6} | arguments
    return CrossModalFusion(make_inputs(), tasks, fusion=fusion, **arguments)


def rows(seed=0):
    rng = np.random.default_rng(seed)
    x = {
        "caption": rng.integers(0, 20, (ROWS, 5)).astype("int32"),
        "caption_present": rng.random(ROWS) > 0.4,
        "image": rng.normal(size=(ROWS, 6, 6, 2)).astype("float32"),
        "sensor": rng.normal(size=(ROWS, 3)).astype("float32"),
        "sensor_present": rng.random((ROWS, 1)) > 0.4,
    }
    x["caption"][0] = 0  # nothing but padding
    return x, {"click": rng.integers(0, 2, ROWS), "stay": rng.normal(size=ROWS)}


def answers(model, x):
    outputs = model.predict(x, verbose=0)
    return np.concatenate([outputs["click"], outputs["stay"]], axis=1)


def test_the_forward_pass_is_that_of_its_equation():
    model = small(shared_units=(5,), tower_units=(4,), activation="tanh", dropout=0.3)
    x, _ = rows()
    w = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(h, name):
        return h @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    words = w["words/embeddings"][x["caption"]]
    mask = (x["caption"] > 0)[..., None]
    caption = (words * mask).sum(1) / np.maximum(mask.sum(1), 1)
    kernel, bias = w["edges/kernel"], w["edges/bias"]
    patches = np.lib.stride_tricks.sliding_window_view(x["image"], (3, 3), axis=(1, 2))
    image = np.maximum(np.einsum("bxycij,ijcf->bxyf", patches, kernel) + bias, 0).mean((1, 2))
    vectors = {"caption": caption, "image": image, "sensor": x["sensor"]}
    present = np.stack(
        [x["caption_present"], np.ones(ROWS), x["sensor_present"][:, 0]], axis=1
    ).astype("float64")
    projected = [
        dense(v, f"{m}_projection") * p
        for (m, v), p in zip(vectors.items(), present.T[:, :, None], strict=True)
    ]
    h = np.tanh(dense(np.concatenate([*projected, present], axis=1), "fusion/projection"))
    h = np.tanh(dense(h, "shared_0"))
    expected = [dense(np.tanh(dense(h, f"{t}_tower_0")), t) for t in ("click", "stay")]
    np.testing.assert_allclose(answers(model, x), np.concatenate(expected, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fusion",
    ["gated", *(f for f in FUSIONS if f != "gated")],
)
def test_training_with_missing_modalities(fusion, tmp_path):
    model = small(fusion, modality_dropout=0.3, alignment=0.5)
    x, y = rows()
    model.compile("adam", balancer="pcgrad", jit_compile=False)
    logs = model.fit(x, y, batch_size=4, epochs=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    # The contrastive loss is no task's.
    assert logs["loss"][0] > logs["click_loss"][0] + logs["stay_loss"][0] + 0.1
    expected = answers(model, x)
    garbage = {key: value.copy() for key, value in x.items()}
    garbage["caption"][~x["caption_present"]] = 7
    garbage["sensor"][~x["sensor_present"][:, 0]] = 1e3
    np.testing.assert_array_equal(answers(model, garbage), expected)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        answers(keras.saving.load_model(tmp_path / "model.keras"), x), expected
    )


@pytest.mark.slow
def test_a_trained_model_is_served_without_a_modality(tmp_path):
    model = small("gated", modality_dropout=0.3)
    x, y = rows()
    model.compile("adam", balancer="pcgrad", jit_compile=False)
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    model.export(tmp_path / "served", verbose=False)
    signatures = tf.saved_model.load(tmp_path / "served").signatures

    present = rows(seed=1)[0] | {"caption_present": np.ones(ROWS, bool)}
    absent = present | {"caption_present": np.zeros(ROWS, bool)}
    found = {}
    for name, asked in {"present": present, "absent": absent}.items():
        expected = model.predict(asked, verbose=0)
        served = signatures["serve"](**{key: tf.constant(value) for key, value in asked.items()})
        np.testing.assert_allclose(served["stay"], expected["stay"], rtol=1e-4, atol=1e-6)
        chances = 1 / (1 + np.exp(-expected["click"]))
        np.testing.assert_allclose(served["click"], chances, rtol=1e-4, atol=1e-6)
        found[name] = served["stay"].numpy()
    assert np.abs(found["present"] - found["absent"]).max() > 1e-3
    # Ids that are none, as a client may send that has no caption.
    absent["caption"] = np.full((ROWS, 5), -1, "int32")
    served = signatures["stay"](**{key: tf.constant(value) for key, value in absent.items()})
    np.testing.assert_array_equal(served["stay"], found["absent"])


def test_what_is_missing_is_not_trained_on():
    """Not a number in vectors, ids that are none, and the statistics of a normalization."""

    def trained(x):
        keras.utils.set_random_seed(0)
        norm = keras.layers.BatchNormalization(synchronized=True)
        model = small(encoders=make_encoders() | {"sensor": norm})
        model.compile("adam", balancer="pcgrad", jit_compile=False)
        model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
        return model.get_weights()

    x, y = rows()
    zeros = {key: value.copy() for key, value in x.items()}
    garbage = {key: value.copy() for key, value in x.items()}
    for held, word, number in ((zeros, 0, 0.0), (garbage, -7, np.nan)):
        held["caption"][~x["caption_present"]] = word
        held["sensor"][~x["sensor_present"][:, 0]] = number
    for found, expected in zip(trained(garbage), trained(zeros), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("fusion", ["concatenation", "bottleneck"])
def test_padding_of_an_encoder_without_keras_masks(fusion):
    """The features of `TextEncoder` are zero where padding is: it is no token."""

    def model(length):
        keras.utils.set_random_seed(0)
        inputs = {"caption": keras.Input((length,), dtype="int32", name="caption")}
        encoder = TextEncoder(20, length, width=8, num_layers=1, name="text")
        return CrossModalFusion(
            inputs, [Regression("stay")], encoders={"caption": encoder}, fusion=fusion
        )

    short, long = model(3), model(7)
    for found, given in zip(long.weights, short.weights, strict=True):
        value = np.array(given)
        if found.shape != given.shape:  # the embeddings of positions
            value = np.concatenate([value, np.ones((4, 8))])
        found.assign(value)
    for bias in ("caption_projection", "fusion"):
        weights = [v for v in short.get_layer(bias).weights if v.name == "bias"]
        others = [v for v in long.get_layer(bias).weights if v.name == "bias"]
        for i, (one, other) in enumerate(zip(weights, others, strict=True)):
            for variable in (one, other):
                variable.assign(np.full(one.shape, 0.1 * (i + 1)))
    words = np.array([[3, 4, 5], [6, 0, 0]], "int32")
    padded = np.concatenate([words, np.zeros((2, 4), "int32")], axis=1)
    expected = short.predict({"caption": words}, verbose=0)["stay"]
    found = long.predict({"caption": padded}, verbose=0)["stay"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_everything_before_the_towers_is_shared():
    for fusion in FUSIONS:
        model = small(fusion, tower_units=(4,))
        assert len(model.task_variables("click")) == len(model.task_variables("stay")) == 4
        (boundary,) = model.boundary
        assert boundary.shape == (None, 6)


def test_parameters():
    encoders = 20 * 8 + (3 * 3 * 2 * 8 + 8)
    projections = 2 * (8 * 8 + 8) + (3 * 8 + 8)
    concatenated = 3 * (8 + 1) * 6 + 6
    heads = 2 * (6 + 1)
    assert small().count_params() == encoders + projections + concatenated + heads


@pytest.mark.slow
def test_gates_and_joint_space_can_be_read():
    model = small("gated")
    x, _ = rows()
    weights = model.modality_weights(x)
    assert {name: value.shape for name, value in weights.items()} == dict.fromkeys(
        ("caption", "image", "sensor"), (ROWS, 6)
    )
    np.testing.assert_allclose(sum(weights.values()), 1, rtol=1e-6)
    assert not weights["caption"][~x["caption_present"]].any()
    joint = model.joint_representation(x)
    lengths = np.linalg.norm(joint["image"], axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    assert not joint["sensor"][~x["sensor_present"][:, 0]].any()
    with pytest.raises(ValueError, match="`fusion` should be 'gated' to have weights"):
        small().modality_weights(x)


@pytest.mark.slow
def test_alignment_brings_the_modalities_of_a_row_together():
    keras.utils.set_random_seed(0)
    model = small(alignment=1.0, temperature=0.2)
    x, y = rows()
    x["caption_present"][:] = True
    x["caption"] = np.arange(ROWS)[:, None].repeat(5, 1).astype("int32") + 1

    def alike():
        joint = model.joint_representation(x)
        cosines = joint["caption"] @ joint["image"].T
        return np.mean(np.diag(cosines)) - np.mean(cosines)

    before = alike()
    model.compile(keras.optimizers.Adam(0.03), balancer="equal", jit_compile=False)
    model.fit(x, y, batch_size=ROWS, epochs=30, verbose=0)
    assert alike() > before + 0.2


def test_a_configured_fusion_is_copied():
    layer = BottleneckFusion(5, num_bottlenecks=3, num_layers=1, num_heads=2)
    models = [small(layer) for _ in range(2)]
    assert not layer.built
    found = [model.get_layer("fusion") for model in models]
    assert found[0] is not found[1] and found[0].num_bottlenecks == 3
    again = CrossModalFusion.from_config(models[0].get_config())
    assert again.get_layer("fusion").num_bottlenecks == 3
    assert again.count_params() == models[0].count_params()
    student = models[0].student(0.5, encoders=make_encoders(4))
    assert student.get_layer("fusion").units == 2
    assert student.get_layer("fusion").num_bottlenecks == 3


def test_a_student():
    model = small(tower_units=(4,))
    student = model.student(0.5, encoders=make_encoders(4))
    assert student.get_layer("fusion").units == 3
    assert student.get_layer("image_projection").units == 4
    message = r"`encoders` should be given for the student: `encoders\['caption'\]`"
    with pytest.raises(ValueError, match=message):
        model.student(0.5)


def test_bad_arguments():
    inputs, tasks = make_inputs(), [Regression("stay")]
    with pytest.raises(
        ValueError, match=r"`inputs` should be a dict of `keras.Input`s by modality"
    ):
        CrossModalFusion(keras.Input((3,)), tasks)
    with pytest.raises(ValueError, match=r"`encoders` should have only the modalities .*'video'"):
        CrossModalFusion(inputs, tasks, encoders={"video": keras.layers.Dense(2)})
    with pytest.raises(ValueError, match=r"`encoders\['image'\]` should be a Keras model or layer"):
        CrossModalFusion(inputs, tasks, encoders={"image": "resnet"})
    with pytest.raises(ValueError, match=r"`fusion` should be one of .* Received: fusion='sum'"):
        small("sum")
    with pytest.raises(
        ValueError, match=r"`modality_dropout` should be a number from 0 to below 1"
    ):
        small(modality_dropout=1.0)
    with pytest.raises(ValueError, match=r"`weight` should be a number of at least 0"):
        small(alignment=-1)
    with pytest.raises(ValueError, match=r"`projection_units` should be a positive integer"):
        small(projection_units=0)
    with pytest.raises(ValueError, match=r"input `image` .*|`backbone`"):
        CrossModalFusion(inputs, tasks, encoders={"caption": make_encoders()["caption"]})
    flags = {"a": keras.Input((2,), name="a"), "a_present": keras.Input((2,), name="a_present")}
    with pytest.raises(ValueError, match=r"The input `a_present` should be a bool for each row"):
        CrossModalFusion(flags, tasks)
    deep = {"image": keras.layers.Reshape((2, 2, 3, 3, 2))}
    with pytest.raises(ValueError, match=r"encoder of `image` should give features of shape"):
        small(encoders=deep | {"caption": make_encoders()["caption"]})
