"""Decoders of dense tasks: ASPP and 3x3 convolutions before the last one."""

import keras
import numpy as np
import pytest
from backbones.numpy_forward import batch_norm, convolve, relu, weights_of

from mtlzoo import (
    DepthEstimation,
    HardSharing,
    ObjectDetection,
    SemanticSegmentation,
    SurfaceNormalEstimation,
)
from mtlzoo.backbones import ResNet

KINDS = {
    "segmentation": lambda **a: SemanticSegmentation("t", 5, **a),
    "depth": lambda **a: DepthEstimation("t", **a),
    "normals": lambda **a: SurfaceNormalEstimation("t", **a),
}
DECODER = {"head_units": (6, 4), "aspp_filters": 7, "aspp_rates": (1, 2)}


def resized(x, size):
    """Linear interpolation between the centres of pixels, along one axis after the other."""
    for axis, after in zip((1, 2), size, strict=True):
        before = x.shape[axis]
        at = (np.arange(after) + 0.5) * before / after - 0.5
        x = np.apply_along_axis(lambda row, at=at: np.interp(at, np.arange(len(row)), row), axis, x)
    return x


def decoded(model, x):
    """The head `t` of `DECODER`, in NumPy."""
    w = weights_of(model.get_layer("t_aspp"), "")

    def unit(x, name, rate=1):
        kernel = w[f"{name}_conv/kernel"]
        return relu(batch_norm(convolve(x, kernel, rate=rate), w, f"{name}_norm"))

    branches = [unit(x, "point"), unit(x, "rate_0"), unit(x, "rate_1", 2)]
    mean = unit(x.mean((1, 2), keepdims=True), "mean")
    branches.append(np.broadcast_to(mean, branches[0].shape))
    x = unit(np.concatenate(branches, -1), "join")
    w = weights_of(model, "t_")
    for i in range(2):
        x = relu(batch_norm(convolve(x, w[f"head_{i}/kernel"]), w, f"head_{i}_norm"))
    return convolve(x, w["projection/kernel"]) + w["projection/bias"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_is_its_definition(kind):
    keras.config.set_dtype_policy("float64")
    task = KINDS[kind](size=(10, 9), **DECODER)
    features = keras.Input((5, 6, 3), dtype="float64")
    model = keras.Model(features, task.head(features))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        values = rng.normal(scale=0.5, size=variable.shape)
        is_scale = variable.name in ("gamma", "moving_variance")
        variable.assign(1 + np.abs(values) if is_scale else values)
    x = rng.normal(size=(2, 5, 6, 3))
    expected = resized(decoded(model, x), (10, 9))
    assert expected.std() > 0.1
    np.testing.assert_allclose(model(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters(kind):
    channels = {"segmentation": 5, "depth": 1, "normals": 3}[kind]

    def count(**arguments):
        features = keras.Input((4, 4, 3))
        model = keras.Model(features, KINDS[kind](**arguments).head(features))
        return sum(v.shape.num_elements() for v in model.trainable_variables)

    assert count() == 3 * channels + channels
    assert count(head_units=(6, 4)) == 9 * 3 * 6 + 12 + 9 * 6 * 4 + 8 + (4 + 1) * channels
    branches = 3 * 7 + 2 * 9 * 3 * 7 + 3 * 7  # point, two rates, mean
    pyramid = branches + 4 * 7 * 7 + 5 * 2 * 7
    assert count(aspp_filters=7, aspp_rates=(1, 2)) == pyramid + (7 + 1) * channels
    assert count(**DECODER) == pyramid + 9 * 7 * 6 + 12 + 9 * 6 * 4 + 8 + (4 + 1) * channels


@pytest.mark.parametrize("kind", KINDS)
def test_by_default_there_is_one_convolution(kind):
    features = keras.Input((4, 4, 3))
    model = keras.Model(features, KINDS[kind]().head(features))
    assert [v.path for v in model.variables] == ["t/kernel", "t/bias"]


@pytest.mark.parametrize("kind", KINDS)
def test_config(kind):
    task = KINDS[kind](**DECODER)
    config = task.get_config()
    assert (config["head_units"], config["aspp_filters"]) == ([6, 4], 7)
    assert config["aspp_rates"] == [1, 2]
    again = type(task).from_config(config)
    assert again.get_config() == config and again.head_units == (6, 4)
    for key in DECODER:  # a file from before there were decoders
        del config[key]
    assert type(task).from_config(config).get_config() == KINDS[kind]().get_config()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("argument", "value", "text"),
    [
        ("head_units", (0,), "should be a tuple of positive integers"),
        ("head_units", 64, "should be a tuple of positive integers"),
        ("aspp_filters", 0, "should be an integer of at least 1"),
        ("aspp_rates", (6, None), "should be a tuple of positive integers"),
    ],
)
def test_errors(kind, argument, value, text):
    with pytest.raises(ValueError) as error:
        KINDS[kind](**{argument: value})
    assert str(error.value) == f"`{argument}` of task `t` {text}. Received: {argument}={value!r}"


# -- in a model -------------------------------------------------------------------------------


def dense(**arguments):
    decoder = {"head_units": (4,), "aspp_filters": 4, "aspp_rates": (1, 2)}
    tasks = [
        SemanticSegmentation("parts", 3, (16, 16), metrics=[], **decoder),
        DepthEstimation("depth", (16, 16), metrics=[], **decoder),
    ]
    trunk = ResNet((16, 16, 3), blocks=(1, 1), widths=(4, 6), output_stride=2, pooled=False)
    return HardSharing(keras.Input((16, 16, 3)), tasks, backbone=trunk, **arguments)


def scenes(rows=4):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 16, 16, 3)).astype("float32")
    depth = rng.uniform(1, 2, (rows, 16, 16)).astype("float32")
    return x, {"parts": rng.integers(0, 3, depth.shape), "depth": depth}


def values_of(model, name):
    """All values of a task's head, moving statistics among them."""
    return {v.path: np.asarray(v) for v in model.variables if v.path.startswith(f"{name}_")}


@pytest.mark.slow
def test_a_task_without_labels_does_not_move_and_the_model_is_saved(tmp_path):
    model = dense()
    x, y = scenes()
    y["depth"][:] = np.nan
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)  # tracing takes ten seconds
    depth, parts = (values_of(model, name) for name in ("depth", "parts"))
    assert len(depth) == len(parts) == 5 * 5 + 5 + 2  # of ASPP, of the convolution, of the last
    assert len(model.task_variables("depth")) == 5 * 3 + 3 + 2
    model.fit(x, y, verbose=0)
    for path, value in values_of(model, "depth").items():
        np.testing.assert_array_equal(value, depth[path], err_msg=path)
    for path, value in values_of(model, "parts").items():
        assert not np.array_equal(value, parts[path]), path

    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.tasks["parts"].get_config() == model.tasks["parts"].get_config()
    found = loaded(x)
    for name, outputs in model(x).items():
        np.testing.assert_array_equal(found[name], outputs)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_decoders_compute_in_half_precision_and_outputs_are_float32(policy):
    keras.config.set_dtype_policy(policy)
    model = dense()
    config = model.get_config()
    keras.config.set_dtype_policy("float32")
    for made in (model, HardSharing.from_config(config)):
        for layer in ("depth_aspp", "depth_head_0", "depth_head_0_norm", "depth_head_0_relu"):
            assert made.get_layer(layer).compute_dtype == policy.removeprefix("mixed_")
    outputs = model(scenes()[0])
    for name in ("parts", "depth"):
        assert model.output[name].dtype == outputs[name].dtype == "float32"
        assert np.isfinite(outputs[name]).all()


def test_students_have_narrower_heads():
    student = dense().student(0.5)
    for task in student.tasks.values():
        config = task.get_config()
        assert (config["head_units"], config["aspp_filters"]) == ([2], 2)
        assert config["aspp_rates"] == [1, 2]
    assert student.get_layer("parts_head_0").filters == 2
    boxes = ObjectDetection("boxes", 2, 3, head_units=(9, 1), metrics=[])
    model = HardSharing(
        keras.Input((4, 4, 3)), [boxes, DepthEstimation("depth")], backbone=keras.layers.Identity()
    )
    tasks = model.student(0.5, backbone=keras.layers.Identity()).tasks
    assert tasks["boxes"].head_units == (4, 1) and tasks["boxes"].max_boxes == 3
    assert tasks["depth"].aspp_filters is None and tasks["depth"].head_units == ()
