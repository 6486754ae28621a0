"""Models with tasks of pixels, steps and spans: trained, saved, loaded, served; on replicas."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import (
    BinaryClassification,
    DepthEstimation,
    HardSharing,
    SemanticSegmentation,
    SequenceTagging,
    SpanExtraction,
    SurfaceNormalEstimation,
)

NAN = float("nan")
ROWS = 12


def of_images():
    image = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(6, 3, 2, padding="same", activation="relu")(image)
    tasks = [
        SemanticSegmentation("parts", 3, (8, 8)),
        DepthEstimation("depth", (6, 6), missing=0.0),
        SurfaceNormalEstimation("normals"),
        BinaryClassification("indoors"),
    ]
    backbone = keras.Model(image, maps, name="trunk")
    model = HardSharing(keras.Input((8, 8, 3), name="image"), tasks, backbone=backbone)
    rng = np.random.default_rng(0)
    labels = {
        "parts": rng.integers(0, 3, (ROWS, 8, 8)).astype("uint8"),
        "depth": rng.uniform(1, 5, (ROWS, 6, 6, 1)).astype("float32"),
        "normals": rng.normal(size=(ROWS, 4, 4, 3)).astype("float32"),
        "indoors": rng.integers(0, 2, ROWS),
    }
    for name, missing in (("parts", 255), ("depth", 0), ("normals", NAN), ("indoors", -1)):
        labels[name][rng.random(labels[name].shape[:3]) < 0.3] = missing
    return model, rng.normal(size=(ROWS, 8, 8, 3)).astype("float32"), labels


def of_texts():
    tokens = keras.Input((6,), dtype="int32")
    embedded = keras.layers.Embedding(20, 6, mask_zero=True)(tokens)
    backbone = keras.Model(tokens, embedded, name="trunk")
    tasks = [
        SequenceTagging("entities", 3),
        SpanExtraction("answer"),
        BinaryClassification("polite"),
    ]
    model = HardSharing(keras.Input((6,), dtype="int32", name="tokens"), tasks, backbone=backbone)
    rng = np.random.default_rng(0)
    x = rng.integers(1, 20, (ROWS, 6))
    x[::2, 4:] = 0
    labels = {
        "entities": rng.integers(-1, 3, (ROWS, 6)),
        "answer": np.sort(rng.integers(0, 4, (ROWS, 2)), axis=1),
        "polite": rng.integers(-1, 2, ROWS),
    }
    labels["answer"][::3] = -1
    return model, x, labels


slow = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "jit"),
    [
        (of_images, False),
        (of_texts, False),
        pytest.param(of_images, True, marks=slow),
        pytest.param(of_texts, True, marks=slow),
    ],
)
def test_a_model_is_trained_saved_loaded_and_served(make, jit, tmp_path):
    model, x, y = make()
    model.compile(keras.optimizers.Adam(0.01), balancer="pcgrad", jit_compile=jit)
    logs = model.fit(x, y, batch_size=ROWS // 2, epochs=3, verbose=0).history
    for name, task in model.tasks.items():
        assert logs[f"{name}_loss"][-1] < logs[f"{name}_loss"][0]
        assert np.isfinite(logs[f"{name}_{task.monitor}"]).all()

    # What evaluate says is the mean over the labels.
    expected = model.predict(x, verbose=0)
    found = model.evaluate(x, y, batch_size=5, verbose=0, return_dict=True)
    for name, task in model.tasks.items():
        read = task.read_labels(y[name])
        losses = np.asarray(task.loss_values(task.loss, read.values, expected[name]))
        mean = losses[np.asarray(read.present)].mean()
        assert found[f"{name}_loss"] == pytest.approx(mean, rel=1e-4), name

    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    again = loaded.predict(x, verbose=0)
    for name, task in model.tasks.items():
        assert loaded.tasks[name].get_config() == task.get_config()
        np.testing.assert_array_equal(again[name], expected[name])

    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    for name, task in model.tasks.items():
        answers = served.signatures[name](
            **{model.inputs[0].name: tf.cast(x, model.inputs[0].dtype)}
        )
        expected_answers = task.serve(expected[name])
        assert set(answers) == set(expected_answers)
        for key, value in expected_answers.items():
            np.testing.assert_allclose(answers[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_tasks_without_labels_do_not_move_and_weights_count():
    model, x, y = of_images()
    weights = {name: np.ones(ROWS, "float32") for name in y}
    weights["depth"] = np.zeros((ROWS, 6, 6), "float32")  # no label counts
    weights["parts"] = np.random.default_rng(1).uniform(0, 2, (ROWS, 8, 8)).astype("float32")
    weights["parts"][:, 0] = 0
    y["depth"][:, 0] = -3  # illegal, but its weight is 0
    del y["normals"], weights["normals"]
    model.compile("adam", balancer="pcgrad", jit_compile=False)
    before = {name: [np.array(v) for v in model.task_variables(name)] for name in model.tasks}
    logs = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    read = model.tasks["parts"].read_labels(y["parts"])
    task = model.tasks["parts"]
    losses = task.loss_values(task.loss, read.values, model.predict(x, verbose=0)["parts"])
    counts = np.asarray(read.present) & (weights["parts"] > 0)
    expected = np.sum((losses * weights["parts"])[counts]) / counts.sum()
    assert logs["parts_loss"] == pytest.approx(expected, rel=1e-4)
    logs = model.fit(x, y, sample_weight=weights, verbose=0).history
    assert np.isnan(logs["depth_loss"]).all()
    assert np.isnan(logs["normals_loss"]).all()
    assert logs["normals_mean_angle"] == [0]
    for name, values in before.items():
        same = [
            np.array_equal(a, b) for a, b in zip(values, model.task_variables(name), strict=True)
        ]
        assert all(same) == (name in ("depth", "normals")), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "name", "place", "illegal", "value"),
    [
        (of_images, "parts", (3, 2, 1), 7, "7"),
        (of_images, "depth", (0, 1, 1, 0), -2.5, "-2.5"),
        (of_images, "normals", (0, 0, 0), [0, 0, 0], "0"),
        (of_texts, "entities", (1, 3), 3, "3"),
        (of_texts, "answer", (1,), [4, 2], "4"),
    ],
)
def test_an_illegal_label_stops_training_with_its_task_and_value(make, name, place, illegal, value):
    model, x, y = make()
    model.compile("adam", balancer="pcgrad", jit_compile=False)
    before = model.get_weights()
    y[name][place] = illegal
    message = rf"task `{name}` should be legal.*a label of value {value}\. The"
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, verbose=0)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


# A process of its own: the devices must be split before TensorFlow starts.
PROGRAM = """
import sys

import keras
import numpy as np
import tensorflow as tf

keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import test_task_life

make = getattr(test_task_life, sys.argv[1])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
found = []
for scope in (tf.distribute.get_strategy(), strategy):
    keras.utils.set_random_seed(3)
    with scope.scope():
        model, x, y = make()
        model.compile(keras.optimizers.SGD(0.1), balancer="pcgrad", jit_compile=False)
    for name in {"parts", "entities"} & set(y):
        y[name][:5] = model.tasks[name].missing  # nearly all that is missing is on one replica
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(12)
    logs = model.fit(data, epochs=2, verbose=0).history
    found.append((logs, [np.array(v) for v in model.trainable_variables]))
(logs, one), (others, two) = found
assert sorted(logs) == sorted(others)
for key in logs:
    near = 1e-6 if key.endswith("auc") else 1e-9
    np.testing.assert_allclose(logs[key], others[key], rtol=near, err_msg=key)
for a, b in zip(one, two, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
print("replicas agree")
"""


@slow
@pytest.mark.parametrize("make", [of_images, of_texts])
def test_two_replicas_train_as_one(make):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, make.__name__],
        capture_output=True,
        text=True,
        timeout=400,
        cwd=__file__.rsplit("/", 1)[0],
    )
    assert "replicas agree" in done.stdout, done.stderr[-3000:]
