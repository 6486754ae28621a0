"""Class activation maps and saliency of every kind of task and of models that mislead others."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtlzoo import (
    BinaryClassification,
    Classification,
    DepthEstimation,
    HardSharing,
    MMoE,
    MultiLabelClassification,
    MultiTaskModel,
    ObjectDetection,
    Regression,
    SemanticSegmentation,
    analysis,
)
from mtlzoo.analysis import explain
from mtlzoo.backbones import AudioEncoder, ConvNet

CAMS = ("grad_cam", "grad_cam_pp", "layer_cam", "score_cam")
SIZE = (12, 12, 1)


def images(count=2):
    return np.random.default_rng(1).uniform(size=(count, *SIZE)).astype("float32")


def tasks():
    return [
        BinaryClassification("yes"),
        Classification("kind", 3),
        DepthEstimation("depth", size=SIZE[:2]),
        MultiLabelClassification("labels", 4),
        ObjectDetection("boxes", 2, 3, head_units=()),
        Regression("value", 2),
        SemanticSegmentation("pixels", 3, size=SIZE[:2]),
    ]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SIZE, name="image")
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(inputs)
    every = tasks()
    return MultiTaskModel(inputs, {task.name: task.head(x) for task in every}, tasks=every)


def grad_cam(model, task, x, column):
    """Selvaraju et al.'s map, by hand; `column` is of what the task puts out."""
    both = keras.Model(model.input, [model.get_layer("conv").output, model.output[task]])
    with tf.GradientTape() as tape:
        maps, outputs = both(x)
        score = column(outputs)
    weights = tf.reduce_mean(tape.gradient(score, maps), (1, 2), keepdims=True)
    return np.maximum(tf.reduce_sum(maps * weights, -1).numpy(), 0)


COLUMNS = {
    "yes": lambda y: y[:, 0],
    "kind": lambda y: y[:, 1],
    "depth": lambda y: tf.reduce_mean(y, (1, 2))[:, 0],
    "labels": lambda y: y[:, 1],
    "boxes": lambda y: tf.reduce_logsumexp(y[..., 1], (1, 2)),
    "value": lambda y: y[:, 1],
    "pixels": lambda y: tf.reduce_mean(y[..., 1], (1, 2)),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("task", COLUMNS)
def test_grad_cam_of_every_kind_of_task_is_that_of_the_paper(model, task):
    target = 0 if task == "depth" else 1
    found = explain(model, task, images(), method="grad_cam", target=target)
    expected = grad_cam(model, task, images(), COLUMNS[task])
    np.testing.assert_allclose(found.attributions["image"], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("method", [*CAMS, "saliency", "smooth_grad"])
def test_every_method_and_batches_change_nothing(model, method):
    for task in ("kind", "yes"):
        options = {"method": method, "target": 1, "samples": 3}
        found = explain(model, task, images(3), **options)
        assert found.attributions["image"].shape == (3, 12, 12)
        assert found.attributions["image"].min() >= 0
        if method != "smooth_grad":  # whose noise is another one then
            again = explain(model, task, images(3), batch_size=2, **options)
            np.testing.assert_allclose(
                again.attributions["image"], found.attributions["image"], rtol=1e-3, atol=1e-5
            )


def test_score_cam_of_one_unit_weighs_channels_by_the_probability(model):
    """By hand: every channel masks the image, and its weight is the probability then."""
    x = images(1)
    maps = keras.Model(model.input, model.get_layer("conv").output)(x).numpy()[0]
    low, high = maps.min((0, 1)), maps.max((0, 1))
    masked = x * ((maps - low) / (high - low + 1e-7)).transpose(2, 0, 1)[..., None]
    logits = model.predict(masked, verbose=0)["yes"][:, 0]
    for target, sign in ((1, 1), (0, -1)):
        found = explain(model, "yes", x, method="score_cam", target=target)
        expected = np.maximum(maps @ (1 / (1 + np.exp(-sign * logits))), 0)
        np.testing.assert_allclose(found.attributions["image"][0], expected, rtol=1e-4)


def test_score_cam_of_numbers_weighs_channels_by_the_change(model):
    x = images(1)
    maps = keras.Model(model.input, model.get_layer("conv").output)(x).numpy()[0]
    low, high = maps.min((0, 1)), maps.max((0, 1))
    masked = x * ((maps - low) / (high - low + 1e-7)).transpose(2, 0, 1)[..., None]
    values, start = (model.predict(t, verbose=0)["value"][:, 0] for t in (masked, np.zeros_like(x)))
    changes = (values - start) / np.abs(values - start).max()
    found = explain(model, "value", x, method="score_cam")
    expected = np.maximum(maps @ changes, 0)
    np.testing.assert_allclose(found.attributions["image"][0], expected, rtol=1e-3, atol=1e-5)


def test_saliency_is_the_absolute_gradient(model):
    x = tf.constant(images())
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = model(x)["kind"][:, 2]
    found = explain(model, "kind", x, method="saliency", target=2)
    expected = np.abs(tape.gradient(score, x).numpy()[..., 0])
    np.testing.assert_allclose(found.attributions["image"], expected, rtol=1e-4, atol=1e-7)


def test_smooth_grad_has_a_seed_and_leaves_numpys_alone(model):
    np.random.seed(5)
    expected = np.random.uniform()
    np.random.seed(5)
    options = {"method": "smooth_grad", "samples": 3}
    one, two = (explain(model, "kind", images(), **options) for _ in range(2))
    assert np.random.uniform() == expected
    other = explain(model, "kind", images(), seed=1, **options)
    np.testing.assert_array_equal(one.attributions["image"], two.attributions["image"])
    assert not np.allclose(one.attributions["image"], other.attributions["image"])


def test_the_target_is_what_is_answered_unless_it_is_given(model):
    x = images(4)
    answered = model.predict(x, verbose=0)
    found = explain(model, "kind", x, method="saliency")
    assert found.targets == answered["kind"].argmax(1).tolist()
    np.testing.assert_allclose(found.scores, answered["kind"].max(1), rtol=1e-5)
    assert found.asked == [f"class {i}" for i in found.targets]
    named = explain(model, "kind", x, method="saliency", target=[0, 1, 2, 0], classes="abc")
    assert named.asked == ["a", "b", "c", "a"]
    found = explain(model, "yes", x, method="saliency")
    assert found.targets == (answered["yes"][:, 0] >= 0).astype(int).tolist()
    np.testing.assert_allclose(found.scores, np.abs(answered["yes"][:, 0]), rtol=1e-5)
    found = explain(model, "pixels", x, method="saliency")
    votes = [np.bincount(v.ravel()).argmax() for v in answered["pixels"].argmax(-1)]
    assert found.targets == votes
    lower = explain(model, "value", x, method="saliency", target=1, sign=-1)
    np.testing.assert_allclose(lower.scores, -answered["value"][:, 1], rtol=1e-5)
    assert lower.asked[0] == "less output 1"


def test_a_shared_layer_is_said_and_another_tasks_layer_is_not_taken():
    """In the graph of the whole model the last convolution is that of task b."""
    inputs = keras.Input(SIZE, name="image")
    trunk = keras.layers.Conv2D(3, 3, name="trunk")(inputs)
    towers = {name: keras.layers.Conv2D(3, 3, name=f"{name}_conv")(trunk) for name in "ab"}
    outputs = {name: Regression(name).head(tower) for name, tower in towers.items()}
    model = MultiTaskModel(inputs, outputs, tasks=[Regression("a"), Regression("b")])
    found = explain(model, "a", images(), method="grad_cam")
    assert found.notes == "The map is made of what `a_conv` puts out."
    found = explain(model, "a", images(), method="grad_cam", layer="trunk")
    assert found.notes == ("The map is made of what `trunk` puts out, which task b depends on too.")
    assert found.notes in found.words()
    with pytest.raises(ValueError, match=r"for task `a` one of \['trunk', 'a_conv'\].*'b_conv'"):
        explain(model, "a", images(), method="grad_cam", layer="b_conv")


@pytest.mark.parametrize(
    "policy", [pytest.param("mixed_float16", marks=pytest.mark.slow), "mixed_bfloat16"]
)
def test_mixed_precision_is_explained_in_float32(policy):
    keras.utils.set_random_seed(0)
    both = [
        HardSharing(
            keras.Input(SIZE, name="image"),
            [BinaryClassification("yes"), Classification("kind", 3)],
            backbone=ConvNet(SIZE, (4, 6), kernel_size=3, dense_units=(8,), dtype=dtype),
            dtype=dtype,
        )
        for dtype in ("float32", policy)
    ]
    both[1].set_weights(both[0].get_weights())
    policies = [layer.dtype_policy.name for layer in both[1]._flatten_layers()]
    for method in (*CAMS, "saliency", "integrated_gradients"):
        full, mixed = (explain(m, "kind", images(), method=method, target=1) for m in both)
        np.testing.assert_allclose(
            mixed.attributions["image"], full.attributions["image"], rtol=1e-3, atol=1e-5
        )
    assert [layer.dtype_policy.name for layer in both[1]._flatten_layers()] == policies
    assert policy in policies


@pytest.mark.slow
def test_one_dimensional_convolutions_and_spectrograms():
    encoder = AudioEncoder(
        400, 8000, fft_length=64, sequence_stride=32, num_mel_bins=6, blocks=(1,), widths=(4,)
    )
    model = HardSharing(keras.Input((400,), name="sound"), [Regression("a")], backbone=encoder)
    x = np.random.default_rng(0).normal(size=(2, 400)).astype("float32")
    found = explain(model, "a", x, method="grad_cam")
    assert found.attributions["sound"].shape == (2, 13)  # frames, not laid over the samples
    with pytest.raises(ValueError, match=r"`method` should not be 'score_cam' where the map has"):
        explain(model, "a", x, method="score_cam")

    inputs = keras.Input((20, 3), name="steps")
    moved = keras.layers.Conv1D(4, 3, activation="relu", name="conv")(inputs)
    model = MultiTaskModel(inputs, {"a": Regression("a").head(moved)}, tasks=[Regression("a")])
    x = np.random.default_rng(0).normal(size=(2, 20, 3)).astype("float32")
    for method in CAMS:
        assert explain(model, "a", x, method=method).attributions["steps"].shape == (2, 20)


@pytest.mark.slow
def test_experts_that_are_networks():
    model = MMoE(
        keras.Input(SIZE, name="image"),
        [BinaryClassification("yes"), Regression("value")],
        expert_network=ConvNet(SIZE, (4,), dense_units=(8,)),
        num_experts=2,
    )
    found = explain(model, "yes", images(), method="saliency")
    assert found.attributions["image"].any()


@pytest.mark.slow
def test_pictures_of_bytes_are_explained_where_they_become_numbers():
    inputs = keras.Input(SIZE, dtype="uint8", name="image")
    x = keras.layers.Conv2D(4, 3, name="conv")(keras.layers.Rescaling(1 / 255)(inputs))
    model = MultiTaskModel(inputs, {"a": Regression("a").head(x)}, tasks=[Regression("a")])
    x = (255 * images()).astype("uint8")
    for method in (*CAMS, "saliency", "integrated_gradients"):
        found = explain(model, "a", x, method=method)
        assert found.attributions["image"].shape == (2, 12, 12)
    assert found.shown["image"].dtype == "uint8"


def test_bad_arguments(model):
    x = images()
    for options, message in (
        ({"method": "lime"}, r"`method` should be one of \['grad_cam'.* Received: method='lime'"),
        ({"target": 3}, r"`target` of task `kind` should be the index of a class, from 0 to 2"),
        ({"target": [0]}, r"one for each of the 2 rows"),
        ({"target": "cat"}, r"should be the index of a class"),
        ({"sign": 0}, r"`sign` should be 1, -1 or None. Received: sign=0"),
        ({"wrt": "sound"}, r"`wrt` should name inputs that task `kind` depends on"),
        ({"classes": ["a"]}, r"`classes` should be 3 names. Received: 1"),
        ({"steps": 0}, r"`steps` should be a positive integer"),
        ({"noise": -1}, r"`noise` should be a number of at least 0"),
        ({"method": "grad_cam", "layer": "nothing"}, r"one of \['conv'\].*nothing for it"),
        ({"method": "grad_cam", "baseline": x}, r"`baseline` should be None but for"),
        ({"baseline": np.zeros((3, *SIZE))}, r"`baseline` should have one row, or as many as"),
    ):
        with pytest.raises(ValueError, match=message):
            explain(model, "kind", x, **options)
    with pytest.raises(ValueError, match=r"`x` should have rows of the shape \(None, 12, 12, 1\)"):
        explain(model, "kind", np.zeros((2, 11, 12, 1)))
    with pytest.raises(ValueError, match=r"at least one. Received: {'image': 0}"):
        explain(model, "kind", np.zeros((0, *SIZE)))
    with pytest.raises(ValueError, match=r"`task` should be one of the tasks"):
        explain(model, "weight", x)


def test_a_model_without_convolutions_says_what_to_use():
    model = HardSharing(keras.Input((4,), name="x"), [Regression("a")], shared_units=(3,))
    message = r"should have convolutions.*task `a`.*'integrated_gradients'.*permutation_importance"
    with pytest.raises(ValueError, match=message):
        explain(model, "a", np.ones((2, 4)), method="grad_cam")


def test_a_task_without_a_gradient_says_so():
    inputs = keras.Input((4,), name="x")
    rounded = keras.layers.Dense(1, name="a")(ops.round(inputs))
    model = MultiTaskModel(inputs, {"a": rounded}, tasks=[Regression("a")])
    for method in ("integrated_gradients", "saliency"):
        with pytest.raises(ValueError, match=r"Task `a` should have a gradient by \['x'\]"):
            explain(model, "a", np.ones((2, 4)), method=method)
    with pytest.raises(ValueError, match=r"Task `a` should have a gradient by \['x'\]"):
        analysis.activation_maximization(model, "a", steps=1)
    ids = keras.Input((4,), dtype="int32", name="ids")
    model = MultiTaskModel(
        ids,
        {"a": keras.layers.Dense(1, name="a")(ops.cast(ids, "float32"))},
        tasks=[Regression("a")],
    )
    with pytest.raises(ValueError, match=r"should depend on numbers, or on ids that are embedded"):
        explain(model, "a", np.ones((2, 4)))


def test_maps_of_a_task_without_a_gradient_say_so():
    inputs = keras.Input(SIZE, name="image")
    rounded = ops.round(keras.layers.Conv2D(4, 3)(inputs))
    pooled = keras.layers.GlobalAveragePooling2D()(rounded)
    model = MultiTaskModel(
        inputs, {"a": keras.layers.Dense(1, name="a")(pooled)}, tasks=[Regression("a")]
    )
    for method in ("grad_cam", "grad_cam_pp", "layer_cam"):
        with pytest.raises(ValueError, match=r"Task `a` should have a gradient by what the map"):
            explain(model, "a", images(), method=method)


@pytest.mark.parametrize("case", ["in a chain", "side by side"])
def test_a_convolution_that_is_called_twice(case):
    inputs = keras.Input((12, 12, 4), name="image")
    conv = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")
    pool = keras.layers.GlobalAveragePooling2D()
    if case == "in a chain":
        last = conv(conv(inputs))
        head = pool(last)
    else:
        head = keras.layers.Subtract()([pool(conv(inputs)), pool(conv(ops.flip(inputs, 1)))])
    model = MultiTaskModel(
        inputs, {"a": keras.layers.Dense(1, name="a")(head)}, tasks=[Regression("a")]
    )
    x = np.random.default_rng(0).uniform(size=(2, 12, 12, 4)).astype("float32")
    found = explain(model, "a", x, method="grad_cam")
    assert "what `conv` in the last of 2 calls puts out" in found.words()
    if case == "in a chain":
        weights = model.get_layer("a").get_weights()[0][:, 0] / 144
        maps = keras.Model(inputs, last).predict(x, verbose=0)
        expected = np.maximum(maps @ weights, 0)
        np.testing.assert_allclose(found.attributions["image"], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_smooth_grad_is_the_mean_absolute_gradient_of_numbers_beside_ids():
    """With a sine the mean of the gradients and that of their absolute values differ much."""
    inputs = {"z": keras.Input((1,), name="z"), "id": keras.Input((), dtype="int32", name="id")}
    ids = keras.layers.Embedding(10, 2)(inputs["id"])
    both = keras.layers.Concatenate()([ops.sin(4 * inputs["z"]), ids])
    model = MultiTaskModel(
        inputs, {"a": keras.layers.Dense(1, name="a")(both)}, tasks=[Regression("a")]
    )
    weight = abs(model.get_layer("a").get_weights()[0][0, 0])
    x = {"z": np.array([[0.0], [2.0]], "float32"), "id": np.array([1, 2])}
    options = {"method": "smooth_grad", "noise": 1.0, "samples": 100}
    found = explain(model, "a", x, **options).attributions["z"][:, 0]
    # Noise of the range of the rows, 2, as a row of one value has none of its own.
    noisy = x["z"] + 2 * np.random.default_rng(1).normal(size=(2, 100_000))
    expected = np.abs(4 * weight * np.cos(4 * noisy)).mean(1)
    np.testing.assert_allclose(found, expected, rtol=0.15)


def test_a_model_of_float64_is_explained():
    inputs = keras.Input(SIZE, dtype="float64", name="image")
    conv = keras.layers.Conv2D(3, 3, dtype="float64")(inputs)
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float64")(conv)
    output = keras.layers.Dense(1, name="a", dtype="float64")(pooled)
    model = MultiTaskModel(inputs, {"a": output}, tasks=[Regression("a")])
    for method in ("grad_cam", "saliency"):
        assert explain(model, "a", images(), method=method).attributions["image"].any()


def test_without_tf_keras_vis_the_extra_is_named(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tf_keras_vis.gradcam", None)
    with pytest.raises(ImportError, match=r"pip install 'mtlzoo\[vis\]'"):
        explain(model, "kind", images(), method="grad_cam")
    assert analysis.explain(model, "kind", images()).gaps is not None
