"""Reading labels: present, missing, invalid; shapes and dtypes that are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    MultiLabelClassification,
    Regression,
    Task,
)

NAN, INF = float("nan"), float("inf")
BINARY = BinaryClassification("click")
IDS = Classification("topic", 3)
CELLS = MultiLabelClassification("tags", 2)
REAL = Regression("price")
PAIR = Regression("position", dim=2)


def read(task, labels, loss=None):
    return [np.asarray(part).tolist() for part in task.read_labels(labels, loss)]


def test_binary():
    values, present, invalid = read(BINARY, np.array([1.0, 0.0, 0.3, -1.0, 2.0, NAN, INF, -0.5]))
    assert values == pytest.approx(np.array([[1], [0], [0.3], [0], [0], [0], [0], [0]]))
    assert present == [True, True, True, False, False, False, False, False]
    assert invalid == [False, False, False, False, True, True, True, True]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64", "float16", "float64"])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_binary_in_any_type_and_both_shapes(dtype, shape):
    values, present, invalid = read(BINARY, np.array([1, 0], dtype).reshape(shape))
    assert (values, present, invalid) == ([[1], [0]], [True, True], [False, False])


def test_binary_with_nan_as_missing():
    task = BinaryClassification("click", missing=NAN)
    _, present, invalid = read(task, np.array([NAN, -1.0, 1.0]))
    assert (present, invalid) == ([False, False, True], [False, True, False])
    assert read(task, np.array([1, 0]))[1] == [True, True]


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_class_ids(shape):
    labels = np.array([2, 0, -1, 3, -2]).reshape(shape)
    values, present, invalid = read(IDS, labels)
    assert values == [2, 0, 0, 0, 0]
    assert present == [True, True, False, False, False]
    assert invalid == [False, False, False, True, True]
    assert IDS.read_labels(labels).values.dtype == "int32"


def test_class_ids_are_not_wrapped_into_range():
    assert read(IDS, np.array([2**32], "int64"))[2] == [True]
    assert read(IDS, np.array([255], "uint8"))[1:] == [[False], [True]]  # not -1
    assert read(Classification("topic", 200), np.array([199], "uint8"))[0] == [199]


def test_float_ids_are_for_nan_as_missing_only():
    task = Classification("topic", 3, missing=NAN)
    values, present, invalid = read(task, np.array([2.0, NAN, 1.5, 3.0]))
    assert values == [2, 0, 0, 0]
    assert present == [True, False, False, False]
    assert invalid == [False, False, True, True]
    assert read(task, np.array([2, 0]))[0] == [2, 0]
    with pytest.raises(ValueError, match=r"`topic` should be class ids of an integer.*float32"):
        IDS.check_labels(np.zeros(2, "float32"))
    with pytest.raises(ValueError, match=r"`topic` should be class ids of an integer.*bool"):
        IDS.check_labels(np.zeros(2, "bool"))


def test_cells():
    labels = np.array([[1, -1], [0, 5], [-1, -1]])
    values, present, invalid = read(CELLS, labels)
    assert values == [[1, 0], [0, 0], [0, 0]]
    assert present == [[True, False], [True, False], [False, False]]
    assert invalid == [[False, False], [False, True], [False, False]]


@pytest.mark.parametrize("task", [CELLS, PAIR])
def test_a_loss_of_whole_rows_needs_whole_rows(task):
    missing = task.missing
    labels = np.array([[1, missing], [0, 1], [INF, missing]])
    for loss in ("cosine_similarity", lambda y, f: keras.ops.sum(y - f, axis=-1)):
        _, present, invalid = read(task, labels, task.resolve_loss(loss))
        assert present == [False, True, False]
        assert invalid == [False, False, True]


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_real_values(shape):
    values, present, invalid = read(REAL, np.array([1.5, NAN, INF, -1.0]).reshape(shape))
    assert values == [[1.5], [0], [0], [-1]]
    assert present == [True, False, False, True]
    assert invalid == [False, False, True, False]


def test_real_values_with_a_number_as_missing():
    task = Regression("price", missing=-999.9)
    labels = np.array([-999.9, NAN, 1.0], "float32")
    assert read(task, labels)[1:] == [[False, False, True], [False, True, False]]
    assert read(Regression("price", missing=-1), np.array([-1, 7]))[1] == [False, True]


def test_real_cells():
    _, present, invalid = read(PAIR, np.array([[1.0, NAN], [INF, 2.0]]))
    assert present == [[True, False], [False, True]]
    assert invalid == [[False, False], [True, False]]


def test_generic_rows():
    task = Task("map", loss="cosine_similarity", output_shape=(2, 2))
    labels = np.zeros((2, 2, 2))
    labels[1, 0, 0] = NAN
    values, present, _ = task.read_labels(labels)
    assert values.shape == (2, 2, 2)
    assert np.asarray(present).tolist() == [True, False]
    ids = Task("ids", loss=lambda y, f: f[:, 0], output_shape=(4,), label_shape=())
    assert ids.read_labels(np.zeros((3, 1))).values.shape == (3,)


@pytest.mark.parametrize("task", [BINARY, IDS, CELLS, REAL, PAIR])
def test_missing_labels_are_missing(task):
    labels = task.missing_labels(3)
    task.check_labels(labels)
    _, present, invalid = task.read_labels(labels)
    assert not np.any(present)
    assert not np.any(invalid)

    @tf.function(input_signature=[tf.TensorSpec((None, 2))])
    def as_many_as(x):
        return task.missing_labels(keras.ops.shape(x)[0])

    np.testing.assert_array_equal(as_many_as(tf.zeros((3, 2))), labels)


@pytest.mark.parametrize("task", [BINARY, IDS, CELLS, REAL, PAIR])
def test_reads_the_same_under_xla_and_with_any_batch(task):
    labels = np.resize([0, 1, task.missing, 2], (8, *task.label_shape))
    labels = labels.astype("int32" if task is IDS else "float32")
    spec = tf.TensorSpec((None, *task.label_shape), labels.dtype)
    compiled = tf.function(task.read_labels, jit_compile=True, input_signature=[spec])
    for ours, expected in zip(compiled(labels), task.read_labels(labels), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros(4, "int32"),
        tf.TensorSpec((None, 1), tf.int64),
        keras.KerasTensor((None,), "int32"),
        tf.TensorSpec((8, None), tf.uint8),
    ],
)
def test_static_check_accepts(labels):
    BINARY.check_labels(labels)
    IDS.check_labels(labels)
    REAL.check_labels(labels)


@pytest.mark.parametrize(
    ("task", "labels", "text"),
    [
        (BINARY, np.zeros((4, 2)), r"`click` should have shape \(None,\).*shape=\(4, 2\)"),
        (BINARY, np.zeros(()), r"`click` should have shape \(None,\).*shape=\(\)"),
        (IDS, np.zeros((4, 3), "int32"), r"`topic` should have shape \(None,\).*\(4, 3\)"),
        (CELLS, np.zeros(4), r"`tags` should have shape \(None, 2\).*shape=\(4,\)"),
        (CELLS, np.zeros((4, 3)), r"`tags` should have shape \(None, 2\).*shape=\(4, 3\)"),
        (PAIR, np.zeros((4, 2, 1)), r"`position` should have shape \(None, 2\).*\(4, 2, 1\)"),
        (PAIR, tf.TensorSpec(None), r"`position` should have shape \(None, 2\).*shape=None"),
        (BINARY, np.array(["a"]), r"`click` should be numbers. Received: dtype=str"),
        (REAL, tf.TensorSpec((None,), tf.string), r"`price` should be numbers.*dtype=string"),
        (IDS, np.array([None]), r"`topic` should be numbers. Received: dtype=object"),
        (REAL, np.zeros(2, "complex64"), r"`price` should be numbers. Received: dtype=complex64"),
        (REAL, [1.0], r"`price` should be an array or a tensor. Received: labels of type list"),
    ],
)
def test_bad_labels(task, labels, text):
    with pytest.raises(ValueError, match=text):
        task.check_labels(labels)
