"""Construction, heads, metrics, served answers and configurations of the kinds of task."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, softmax

from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    MultiLabelClassification,
    Regression,
    Task,
)

NAN = float("nan")
KINDS = [
    BinaryClassification("a"),
    BinaryClassification("a2", from_logits=False),
    Classification("b", 5),
    Classification("b2", 5, from_logits=False),
    MultiLabelClassification("c", 3),
    MultiLabelClassification("c2", 3, from_logits=False),
    Regression("d"),
    Regression("e", dim=3),
]
by_task = pytest.mark.parametrize("task", KINDS, ids=lambda task: task.name)


@keras.saving.register_keras_serializable(package="test_task_kinds")
def cubic(y_true, y_pred):
    return keras.ops.abs(y_true - y_pred) ** 3


@keras.saving.register_keras_serializable(package="test_task_kinds")
class Scaled(keras.losses.Loss):
    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, y_true, y_pred):
        return self.factor * keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)

    def get_config(self):
        return {"factor": self.factor, **super().get_config()}


@by_task
def test_the_head_is_one_dense_layer_with_the_name_of_the_task(task):
    features = keras.Input((6,))
    output = task.head(features)
    layer = keras.Model(features, output).get_layer(task.name)
    assert isinstance(layer, keras.layers.Dense)
    assert layer.units == task.output_shape[0]
    task.check_output(output.shape)
    expected = {"a2": "sigmoid", "b2": "softmax", "c2": "sigmoid"}.get(task.name, "linear")
    assert layer.activation.__name__ == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("mixed_float16", "float32"), ("mixed_bfloat16", "float32"), ("float64", "float64")],
)
def test_outputs_are_float32_unless_all_is_float64(policy, expected):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        features = keras.layers.Dense(4)(keras.Input((6,)))
        assert KINDS[0].head(features).dtype == expected
    finally:
        keras.config.set_dtype_policy(before)


@by_task
def test_metrics_are_new_each_time_and_the_deciding_one_is_there(task):
    first, second = task.metrics(), task.metrics()
    names = [metric.name for metric in first]
    assert [metric.name for metric in second] == names
    assert not {id(m) for m in first} & {id(m) for m in second}
    assert task.monitor in names
    assert task.mode == ("min" if isinstance(task, Regression) else "max")
    assert task.loss_family == ("regression" if isinstance(task, Regression) else "classification")
    assert len(set(names)) == len(names)
    for name in names:
        assert ("macro" in name or "micro" in name) == (
            isinstance(task, Classification | MultiLabelClassification) and name != "accuracy"
        )


@by_task
def test_perfect_outputs_have_perfect_metrics(task):
    rows = 40
    labels = np.arange(rows * task.output_shape[0]).reshape(rows, -1) * 7 % 5
    if isinstance(task, Regression):
        labels = labels.astype("float32")
        outputs = labels
        labels = labels.reshape(rows, *task.label_shape)
    elif isinstance(task, Classification):
        labels = labels[:, 0] % 5
        outputs = 20 * np.eye(5)[np.arange(rows) % 5]
        labels = np.arange(rows) % 5
        outputs = outputs if task.from_logits else softmax(outputs, -1)
    else:
        labels = labels % 2
        outputs = 20.0 * labels - 10
        outputs = outputs if task.from_logits else expit(outputs)
    values, present, _ = task.read_labels(labels)
    weights = np.ones(present.shape, "float32")
    for metric in task.metrics():
        task.update_metric(metric, values, outputs.astype("float32"), weights)
        best = 0 if metric.name in {"mae", "rmse"} else 1
        assert float(metric.result()) == pytest.approx(best, abs=1e-6), metric.name


@pytest.mark.one_in(2)
@by_task
def test_masked_entries_do_not_count_in_any_metric(task):
    rng = np.random.default_rng(0)
    outputs = rng.normal(0, 2, (60, *task.output_shape)).astype("float32")
    if task.from_logits is False:
        outputs = softmax(outputs, -1) if isinstance(task, Classification) else expit(outputs)
    if isinstance(task, Regression):
        labels = rng.normal(size=(60, *task.label_shape))
    else:
        labels = rng.integers(0, getattr(task, "num_classes", 2), (60, *task.label_shape))
    whole_rows = task.label_shape == ()
    weights = (rng.random(labels.shape) < 0.5).astype("float32")
    values = task.read_labels(labels).values
    other = rng.normal(0, 2, outputs.shape).astype("float32")
    mask = weights[:, None] if whole_rows else weights
    changed = np.where(mask > 0, outputs, np.abs(other) if task.from_logits is False else other)
    for metric, same in zip(task.metrics(), task.metrics(), strict=True):
        task.update_metric(metric, values, outputs, weights)
        task.update_metric(same, values, changed, weights)
        assert float(metric.result()) == pytest.approx(float(same.result()), abs=1e-6), metric.name
        nothing = type(metric).from_config(metric.get_config())
        task.update_metric(nothing, values, outputs, np.zeros_like(weights))
        assert float(nothing.result()) == 0, metric.name


def test_keras_metrics_of_cells_against_numpy():
    rng = np.random.default_rng(1)
    labels, outputs = rng.normal(size=(50, 3)), rng.normal(size=(50, 3)).astype("float32")
    weights = (rng.random((50, 3)) < 0.5).astype("float32")
    task = Regression("e", dim=3, metrics=["mae", "rmse", "LogCoshError", "CosineSimilarity"])
    mae, rmse, log_cosh, cosine = task.metrics()
    values = task.read_labels(labels).values
    for metric in (mae, rmse, log_cosh, cosine):
        task.update_metric(metric, values, outputs, weights)
    error, rows = labels - outputs, weights.min(axis=1)
    assert float(mae.result()) == pytest.approx(np.average(abs(error), weights=weights), rel=1e-5)
    assert float(rmse.result()) ** 2 == pytest.approx(np.average(error**2, weights=weights))
    expected = np.average(np.log(np.cosh(error)), weights=weights)
    assert float(log_cosh.result()) == pytest.approx(expected, rel=1e-5)
    norms = np.linalg.norm(labels, axis=1) * np.linalg.norm(outputs, axis=1)
    expected = np.average((labels * outputs).sum(1) / norms, weights=rows)
    assert float(cosine.result()) == pytest.approx(expected, rel=1e-4)


def test_accuracies_against_numpy():
    rng = np.random.default_rng(2)
    outputs = rng.normal(size=(50, 3)).astype("float32")
    cells = (rng.random((50, 3)) < 0.5).astype("float32")
    labels, ids = rng.integers(0, 2, (50, 3)), rng.integers(0, 3, 50)
    for task, y, z, w, hit in [
        (KINDS[0], labels[:, 0], outputs[:, :1], cells[:, 0], (outputs > 0)[:, 0] == labels[:, 0]),
        (KINDS[4], labels, outputs, cells, (outputs > 0) == labels),
        (Classification("b", 3), ids, outputs, cells[:, 0], outputs.argmax(-1) == ids),
    ]:
        metric = task.metrics()[0]
        task.update_metric(metric, task.read_labels(y).values, z, w)
        assert metric.name.endswith("accuracy")
        assert float(metric.result()) == pytest.approx(np.average(hit, weights=w))


def test_given_metrics():
    task = BinaryClassification("a", metrics=["auc", keras.metrics.BinaryCrossentropy(
        name="entropy", from_logits=True), cubic])  # fmt: skip
    assert [m.name for m in task.metrics()] == ["auc", "entropy", "cubic"]
    assert (task.monitor, task.mode) == ("auc", "max")
    task = BinaryClassification("a", metrics=["accuracy"])
    assert (task.monitor, task.mode) == ("loss", "min")
    assert Regression("d", metrics=[]).metrics() == []


# Made in the test: a metric's variables would start TensorFlow while tests are collected.
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: "nonsense", r"metrics of task `a` should be Keras metrics.*'nonsense'"),
        (keras.metrics.Precision, r"`a` should read logits.*Precision.*reads probabilities"),
        (keras.metrics.AUC, r"`a` should read logits.*AUC 'auc.*', which reads probabilities"),
        (keras.metrics.BinaryAccuracy, r"`a` should read logits.*BinaryAccuracy"),
        (lambda: keras.metrics.F1Score(threshold=0.5), r"`a` should read logits.*F1Score"),
        (
            lambda: keras.metrics.MeanMetricWrapper(lambda y, z: y, name="same"),
            r"metrics of task `a` should be able to be made anew.*MeanMetricWrapper 'same'",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_metrics_that_misread_outputs(make, text):
    with pytest.raises(ValueError, match=text):
        BinaryClassification("a", metrics=[make()]).metrics()


def test_serve():
    z = np.array([[2.0, -1.0, 0.5], [-3.0, 4.0, -0.5]], "float32")
    for as_given in (lambda x: x, tf.constant):
        out = BinaryClassification("a").serve(as_given(z[:, :1]))
        np.testing.assert_allclose(out["a"], expit(z[:, :1]), rtol=1e-6)
        np.testing.assert_array_equal(out["a_class"], [1, 0])
        out = Classification("b", 3).serve(as_given(z))
        np.testing.assert_allclose(out["b"], softmax(z, -1), rtol=1e-6)
        np.testing.assert_array_equal(out["b_class"], [0, 1])
        out = MultiLabelClassification("c", 3).serve(as_given(z))
        np.testing.assert_allclose(out["c"], expit(z), rtol=1e-6)
        np.testing.assert_array_equal(out["c_class"], [[1, 0, 1], [0, 1, 0]])
        assert {out["c_class"].dtype.name, out["c"].dtype.name} == {"int64", "float32"}
        assert set(Regression("e", dim=3).serve(as_given(z))) == {"e"}
        np.testing.assert_array_equal(Regression("e", dim=3).serve(as_given(z))["e"], z)


def test_serve_probabilities_as_they_are():
    p = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]], "float32")
    out = BinaryClassification("a", from_logits=False).serve(p[:, :1])
    np.testing.assert_array_equal(out["a"], p[:, :1])
    np.testing.assert_array_equal(out["a_class"], [0, 1])
    out = Classification("b", 3, from_logits=False).serve(p)
    np.testing.assert_array_equal(out["b"], p)
    np.testing.assert_array_equal(out["b_class"], [1, 0])
    out = MultiLabelClassification("c", 3, from_logits=False).serve(p)
    np.testing.assert_array_equal(out["c_class"], [[0, 1, 0], [1, 0, 0]])


ROUND_TRIPS = [
    *KINDS,
    BinaryClassification("f", missing=NAN, loss="binary_focal_crossentropy", metrics=["f1"]),
    Classification(
        "g", 3, loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    ),
    Regression("h", loss=cubic, metrics=[cubic, "mse", "rmse"]),
    Regression("i", loss=Scaled(2.0), missing=-5),
    Task("j", loss=Scaled(3.0), output_shape=(4, None), label_shape=(4, 2)),
]


@pytest.mark.parametrize("task", ROUND_TRIPS, ids=lambda task: task.name)
def test_all_arguments_round_trip(task):
    config = keras.saving.serialize_keras_object(task)
    text = json.dumps(config, allow_nan=False)
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is type(task)
    assert json.dumps(keras.saving.serialize_keras_object(again)) == text
    for attribute in ("name", "label_shape", "output_shape", "monitor", "mode", "loss_family"):
        assert getattr(again, attribute) == getattr(task, attribute)
    assert [m.name for m in again.metrics()] == [m.name for m in task.metrics()]
    shape = (3, *[n or 2 for n in task.output_shape])
    labels = keras.ops.ones((3, *[n or 2 for n in task.label_shape]), "int32")
    values, outputs = task.read_labels(labels).values, np.full(shape, 0.4)
    if shape[1:] == (4, 2):
        values = values[:, 0]
        outputs = outputs[:, 0]
    np.testing.assert_array_equal(
        task.loss_values(task.loss, values, outputs), again.loss_values(again.loss, values, outputs)
    )


def test_metric_objects_round_trip():
    task = Regression("d", metrics=[keras.metrics.MeanSquaredError(name="mse"), "rmse"])
    again = Regression.from_config(json.loads(json.dumps(task.get_config())))
    assert [type(m) for m in again.metrics()] == [type(m) for m in task.metrics()]
    assert [m.name for m in again.metrics()] == ["mse", "rmse"]
    assert again.monitor == "rmse"


def test_numpy_numbers_are_taken():
    task = Classification("b", np.int64(3), missing=np.int64(-7))
    assert task.output_shape == (3,)
    json.dumps(task.get_config())


@pytest.mark.parametrize("name", ["", "a-b", "1a", "_a", "größe", "a b", None, "a/b"])
def test_names_that_are_no_identifiers(name):
    with pytest.raises(ValueError, match=r"`name` of a task should be an identifier.*name="):
        Regression(name)


@pytest.mark.parametrize("name", ["loss", "serve", "serving_default", "val_click"])
def test_names_that_are_taken(name):
    with pytest.raises(ValueError, match=rf"not start with 'val_'.*Received: name='{name}'"):
        Regression(name)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Classification("b", 1), r"`num_classes` of task `b`.*at least 2.*num_classes=1"),
        (lambda: Classification("b", 2.0), r"`num_classes` of task `b`.*num_classes=2\.0"),
        (lambda: MultiLabelClassification("c", 0), r"`num_labels` of task `c`.*num_labels=0"),
        (lambda: Regression("d", dim=0), r"`dim` of task `d`.*at least 1.*dim=0"),
        (lambda: Regression("d", dim=True), r"`dim` of task `d`.*dim=True"),
        (lambda: Regression("d", missing="x"), r"`missing` of task `d`.*a number.*missing='x'"),
        (
            lambda: BinaryClassification("a", missing=0),
            r"`missing` of task `a`.*not be a label.*=0",
        ),
        (lambda: Classification("b", 3, missing=2), r"`missing` of task `b` should not be a label"),
        (lambda: Classification("b", 3, missing=-0.5), r"`missing` of task `b`.*whole.*=-0\.5"),
        (lambda: Regression("d", metrics="mae"), r"`metrics` of task `d` should be a list.*'mae'"),
        (lambda: Task("t", loss="mse"), r"generic task `t`.*`output_shape`.*output_shape=None"),
        (lambda: Task("t", output_shape=(1,)), r"generic task `t` should have a `loss`.*loss=None"),
    ],
)
def test_bad_arguments(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_bad_outputs_and_features():
    text = r"output of task `b` should have shape \(None, 5\)\. Received: shape=\(None, 4\)"
    with pytest.raises(ValueError, match=text):
        KINDS[2].check_output((None, 4))
    with pytest.raises(ValueError, match=r"task `a` should have shape \(None, 1\).*\(None,\)"):
        KINDS[0].check_output((None,))
    text = r"features of task `a` should have shape \(None, F\), .*\(None, 1, 2, 3, 4, 5\)"
    with pytest.raises(ValueError, match=text):
        KINDS[0].head(keras.Input((1, 2, 3, 4, 5)))
    with pytest.raises(ValueError, match=r"Task `t` should be of a kind that has a head"):
        Task("t", loss="mse", output_shape=(1,)).head(keras.Input((3,)))
