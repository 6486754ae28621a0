"""Heads: rows from sequences, images and volumes; masks; resizing; types."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    DepthEstimation,
    MultiLabelClassification,
    Regression,
    SpanExtraction,
)
from mtlzoo.tasks.heads import BilinearResizing

KINDS = [
    BinaryClassification("a"),
    Classification("b", 5),
    MultiLabelClassification("c", 3),
    Regression("d", dim=2),
]


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.name)
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (2, 2, 3, 4)])
def test_heads_of_rows_take_the_average(task, shape):
    features = keras.Input(shape)
    output = task.head(features)
    assert output.shape == (None, *task.output_shape)
    model = keras.Model(features, output)
    names = [layer.name for layer in model.layers[1:]]
    assert names == ([task.name] if len(shape) == 1 else [f"{task.name}_pool", task.name])
    x = np.random.default_rng(0).normal(size=(5, *shape)).astype("float32")
    kernel, bias = (np.asarray(w) for w in model.get_layer(task.name).weights)
    expected = x.reshape(5, -1, 4).mean(1) @ kernel + bias
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-6)


def test_masked_steps_are_left_out_without_a_warning():
    tokens = keras.Input((5,), dtype="int32")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = keras.layers.Embedding(9, 4, mask_zero=True)(tokens)
        model = keras.Model(tokens, {"d": KINDS[3].head(features)})
    ids = np.array([[3, 4, 0, 0, 5], [0, 0, 0, 0, 0]])
    embedded = np.asarray(model.layers[1].embeddings)[ids[0, [0, 1, 4]]].mean(0)
    kernel, bias = (np.asarray(w) for w in model.get_layer("d").weights)
    found = np.asarray(model(ids)["d"])
    np.testing.assert_allclose(found[0], embedded @ kernel + bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[1], bias)  # nothing is left: a zero, not a NaN


@pytest.mark.parametrize("size", [(8, 12), (5, 7), (2, 3), (1, 1), (4, 6)])
def test_resizing_is_that_of_tensorflow(size):
    images = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype("float32")
    layer = BilinearResizing(size)
    expected = tf.image.resize(images, size, method="bilinear")
    np.testing.assert_allclose(layer(images), expected, atol=1e-5)
    spec = tf.TensorSpec((None, None, None, 3), tf.float32)
    of_any_size = tf.function(layer.call, input_signature=[spec])
    np.testing.assert_allclose(of_any_size(images), expected, atol=1e-5)
    again = BilinearResizing.from_config(layer.get_config())
    assert again.size == size
    assert again.compute_output_shape((None, 4, 6, 3)) == (None, *size, 3)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("mixed_float16", "float32"), ("mixed_bfloat16", "float32"), ("float64", "float64")],
)
@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (KINDS[0], (3, 4)),
        (KINDS[0], (3, 3, 4)),
        (DepthEstimation("depth", (6, 6)), (3, 3, 4)),
        (SpanExtraction("answer"), (3, 4)),
    ],
)
def test_outputs_are_float32_unless_all_is_float64(policy, expected, task, shape):
    keras.config.set_dtype_policy(policy)
    x = keras.Input(shape)
    features = keras.layers.Dense(4)(x)
    model = keras.Model(x, task.head(features))
    assert features.dtype == policy.removeprefix("mixed_")
    assert model.output.dtype == expected
    assert model(np.ones((2, *shape))).dtype == expected
