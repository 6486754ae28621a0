import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import (
    BinaryClassification,
    Classification,
    HardSharing,
    MultiLabelClassification,
    MultiTaskModel,
    Regression,
)
from mtlzoo.analysis import (
    Finding,
    ModelSize,
    SimplificationTable,
    compare_sizes,
    prune_units,
    prune_weights,
    quantize,
    surrogate,
)
from mtlzoo.analysis.simplification import sizes
from mtlzoo.training import remove_task

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4)).astype("float32")


def tasks():
    return [BinaryClassification("click"), Regression("stay")]


@pytest.fixture(scope="module")
def table():
    keras.utils.set_random_seed(0)
    model = HardSharing(keras.Input((4,)), tasks(), shared_units=(256, 200), tower_units=())
    labels = {"click": (X[:, :1] > 0).astype("int32"), "stay": X[:, 1:2]}
    data = tf.data.Dataset.from_tensor_slices((X, labels)).batch(200)
    models = {
        "before": model,
        "zeros": prune_weights(model, 0.9),
        "units": remove_task(prune_units(model, 0.5), "click"),
        "int8": quantize(model),
    }
    model.compile("sgd", jit_compile=False)
    logs = model.evaluate(data, return_dict=True, verbose=0)
    return models, logs, compare_sizes(models, data, batch_sizes=[3], repeats=2)


@pytest.mark.slow
def test_sizes_are_those_of_real_files(table):
    models, _, found = table
    before = found["before"]
    count = 4 * 256 + 256 + 256 * 200 + 200 + 2 * 201
    assert before.parameters == count and before.array_bytes == 4 * count
    assert before.saved_model_bytes > 4 * count
    for name in ("units", "int8"):
        assert found[name].saved_model_bytes < before.saved_model_bytes
        assert found[name].keras_bytes < before.keras_bytes
        assert found[name].array_bytes < before.array_bytes / 3
    zeros = found["zeros"]
    assert zeros.parameters == count and zeros.nonzero < 0.15 * count
    assert abs(zeros.saved_model_bytes / before.saved_model_bytes - 1) < 0.01
    assert zeros.compressed_bytes < 0.6 * before.compressed_bytes
    assert not models["units"].compiled  # what is measured is a copy


@pytest.mark.slow
def test_metrics_are_those_of_evaluate_and_latency_a_ratio(table):
    _, logs, found = table
    for task, metric in (("click", "auc"), ("stay", "rmse")):
        np.testing.assert_allclose(
            found["before"].metrics[task][metric], logs[f"{task}_{metric}"], rtol=1e-5
        )
        assert found.metric("before", task) == found["before"].metrics[task][metric]
    assert found["before"].latency == {3: 1.0}
    assert found["units"].latency[3] > 0
    assert found.delta_m("before") == 0
    own = found["units"].metrics["stay"]["rmse"]
    gain = 100 * (logs["stay_rmse"] - own) / logs["stay_rmse"]
    assert found.delta_m("units") == pytest.approx(gain, abs=1e-3)
    assert math.isnan(found.metric("units", "click"))


@pytest.mark.slow
def test_the_table_is_a_finding(table):
    *_, found = table
    assert isinstance(found, Finding)
    head, *rows = found.rows()
    assert [row[0] for row in rows] == ["before", "zeros", "units", "int8"]
    assert all(len(row) == len(head) for row in rows)
    assert rows[2][head.index("click, auc")] == "–"
    words = found.words()
    assert "`zeros`: 100% of the parameters" in words and "packed by gzip" in words
    assert "without `click`" in words
    assert found.figure().axes[0].get_xlabel().startswith("kB")
    assert found.figure().get_suptitle() == "Smaller models: size and metrics"
    with pytest.raises(KeyError, match=r"There should be a model 'other'"):
        found["other"]


def test_gains_have_the_sign_of_the_task():
    def size(auc, rmse):
        metrics = {"click": {"auc": auc}, "stay": {"rmse": rmse}}
        return ModelSize(9, 9, 36, 90, 80, 50, {1: 1.0}, metrics)

    by_name = {task.name: task for task in tasks()}
    found = SimplificationTable({"a": size(0.8, 2.0), "b": size(0.6, 1.0)}, by_name)
    assert found.delta_m("b") == pytest.approx((-25 + 50) / 2)
    assert "worst for `click` (-25.00 %)" in found.words()
    found = SimplificationTable({"a": size(0.8, 0.0), "b": size(0.6, 1.0)}, by_name)
    assert math.isnan(found.delta_m("b"))


@pytest.mark.slow
def test_tasks_without_labels_are_no_measurement():
    model = HardSharing(keras.Input((4,)), tasks(), shared_units=(4,))
    weights = np.arange(400, dtype="float32")
    rows = (X, {"click": (X[:, :1] > 0).astype("int32"), "other": X}, weights)
    found = sizes._metrics(model, tf.data.Dataset.from_tensor_slices(rows).batch(200))
    model.compile("sgd", jit_compile=False, run_eagerly=True)
    rows[1].pop("other")
    logs = model.evaluate(
        X, rows[1], sample_weight=weights, batch_size=200, return_dict=True, verbose=0
    )
    assert found["click"]["loss"] == pytest.approx(logs["click_loss"])
    assert found["click"]["auc"] == pytest.approx(logs["click_auc"])
    assert all(map(math.isnan, found["stay"].values())) and "rmse" in found["stay"]

    def size(auc):
        metrics = {"click": {"auc": auc}, "stay": {"rmse": math.nan}}
        return ModelSize(9, 9, 36, 90, 80, 50, {1: 1.0}, metrics)

    by_name = {task.name: task for task in tasks()}
    table = SimplificationTable({"a": size(0.8), "b": size(0.6)}, by_name)
    assert table.delta_m("b") == pytest.approx(-25)
    words = table.words()
    assert "The data had no labels of `stay`." in words and "worst for" not in words
    assert math.isnan(
        SimplificationTable({"a": size(0.8), "b": size(math.nan)}, by_name).delta_m("b")
    )


def test_labels_that_are_not_named_are_refused_as_by_evaluate():
    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=(4,))
    with pytest.raises(ValueError, match=r"Labels should be a dict by task name"):
        sizes._metrics(model, tf.data.Dataset.from_tensor_slices((X, X[:, :1])).batch(200))


def test_what_cannot_be_compared():
    model = HardSharing(keras.Input((4,)), tasks(), shared_units=(4,))
    other = HardSharing(keras.Input((5,)), tasks(), shared_units=(4,))
    data = tf.data.Dataset.from_tensor_slices((X, {"stay": X[:, :1]})).batch(9)
    with pytest.raises(ValueError, match=r"`models` should be a dict of models"):
        compare_sizes({}, data)
    with pytest.raises(ValueError, match=r"should be multi-task models with tasks.*'b'"):
        compare_sizes({"a": model, "b": keras.Sequential()}, data)
    with pytest.raises(ValueError, match=r"should all take the inputs of the first.*'b'"):
        compare_sizes({"a": model, "b": other}, data)
    with pytest.raises(ValueError, match=r"`data` should be a `tf.data.Dataset`"):
        compare_sizes({"a": model}, (X, {}))
    with pytest.raises(ValueError, match=r"`batch_sizes` should be a list of integers"):
        compare_sizes({"a": model}, data, batch_sizes=3)
    with pytest.raises(ValueError, match=r"`repeats` should be an integer of at least 1"):
        compare_sizes({"a": model}, data, repeats=0)


# -- surrogates ----------------------------------------------------------------------------------


class Known(keras.layers.Layer):
    """Answers that a tree, or a line, can or cannot imitate."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, x):
        return self.function(x)


def known(task, function):
    inputs = keras.Input((4,))
    return MultiTaskModel(inputs, {task.name: Known(function)(inputs)}, tasks=[task])


def steps(x):
    ops = keras.ops
    return ops.where(x[:, :1] > 0.5, 5.0, ops.where(x[:, 1:2] > 0, 1.0, -1.0))


def test_a_tree_finds_the_steps_of_a_model():
    found = surrogate(known(Regression("stay"), steps), "stay", X, names=["a", "b", "c", "d"])
    assert isinstance(found, Finding)
    assert found.score > 0.99 and found.fidelity["R²"] == found.score
    rules = found.rules()
    assert any("a > 0.4" in r or "a > 0.5" in r for r in rules if "value 5 " in r)
    assert set(list(found.importances())[:2]) == {"a", "b"}
    assert "That is poor" not in found.words()
    assert found.words().count("\n* ") == len(rules)
    assert found.rows()[0] == ["column", "importance"]
    assert len(found.figure().axes) == 2


def test_fidelity_is_measured_on_rows_that_it_has_not_seen():
    def wild(x):
        return keras.ops.sin(40 * x[:, :1]) * keras.ops.sign(x[:, 1:2] * x[:, 2:3])

    found = surrogate(known(Regression("stay"), wild), "stay", X, max_depth=20, min_rows=1)
    assert found.score < 0.5
    assert "That is poor" in found.words() and "Do not take what follows" in found.words()


def test_a_linear_model_finds_the_coefficients():
    def linear(x):
        return 3 * x[:, :1] - x[:, 2:3]

    task = BinaryClassification("click")
    found = surrogate(known(task, linear), "click", X, "linear", test_share=0.5)
    spread = X.std(0)
    assert found.of == "logit" and found.score > 0.999
    assert found.fidelity["agreement"] > 0.98 > found.fidelity["agreement of a constant"]
    assert found.importances()["x0"] == pytest.approx(3 * spread[0], rel=0.1)
    assert found.importances()["x2"] == pytest.approx(-spread[2], rel=0.15)
    with pytest.raises(ValueError, match=r'`kind` should be "tree" for rules'):
        found.rules()


@pytest.mark.parametrize("kind", ["tree", "linear"])
def test_classes_are_imitated_as_classes(kind):
    task = Classification("kind", 3)
    found = surrogate(known(task, lambda x: x[:, :3]), "kind", X, kind, seed=3)
    assert found.of == "class" and "R²" not in found.fidelity
    same, most = found.fidelity["agreement"], found.fidelity["agreement of a constant"]
    assert found.score == pytest.approx(1 - (1 - same) / (1 - most))
    assert same > most
    assert len(found.figure().axes) == 1


def test_a_model_that_always_answers_the_same_is_said():
    found = surrogate(known(Regression("stay"), lambda x: 0 * x[:, :1] + 2), "stay", X)
    assert math.isnan(found.score)
    assert "The model answers the same for all" in found.words()
    assert found.rules() == ["always: value 2 (100.0% of the rows)"]


def test_text_is_read_by_value_through_the_preprocessor():
    age = keras.Input((), name="age")
    work = keras.Input((), name="work", dtype="string")
    at_home = keras.layers.StringLookup(
        vocabulary=["home", "office", "sea"], num_oov_indices=0, output_mode="one_hot"
    )(work)
    features = keras.layers.Concatenate()([keras.layers.Reshape((1,))(age), at_home])
    preprocessor = keras.Model({"age": age, "work": work}, features)
    inputs = keras.Input((4,))
    task = Regression("stay")
    output = Known(lambda x: 10 * x[:, 3:4] + 0.01 * x[:, :1])(inputs)
    model = MultiTaskModel(inputs, {"stay": output}, tasks=[task], preprocessor=preprocessor)
    rows = {
        "age": RNG.uniform(20, 60, 300).astype("float32"),
        "work": RNG.choice([b"home", b"office", b"sea"], 300),
    }
    found = surrogate(model, "stay", rows, max_depth=1)
    assert found.score > 0.98
    assert [rule.partition(":")[0] for rule in found.rules()] == ["work is not sea", "work = sea"]
    with pytest.raises(ValueError, match=r"a value in each row.*None in `work`"):
        surrogate(model, "stay", {**rows, "work": np.array([None, *rows["work"][1:]], object)})
    only = surrogate(model, "stay", rows, columns=["age"])
    assert only.columns == ("age",) and only.score < 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "buy"}, r"`task` should be one of the tasks \['stay'\]"),
        ({"kind": "forest"}, r"`kind` should be one of \['tree', 'linear'\]"),
        ({"test_share": 1.0}, r"`test_share` should be between 0 and 1"),
        ({"max_depth": 0}, r"`max_depth` should be a positive integer"),
        ({"x": X[:30]}, r"`x` should have at least 40 rows to learn from"),
        ({"x": np.zeros((50, 4, 4, 1))}, r"pictures and sequences are neither"),
        ({"names": ["a"]}, r"`names` should be 4 different names"),
        ({"columns": ["z"]}, r"`columns` should name some of .*'z'"),
        ({"columns": "x0"}, r"`columns` should be a list of names"),
        ({"x": {}}, r"`x` should have columns"),
        (
            {"x": np.where(np.arange(4) == 1, np.nan, X), "kind": "linear"},
            r'finite numbers in all columns for `kind="linear"`.*others in \[\'x1\'\]',
        ),
        ({"x": {"a": X[:, 0], "b": X[:5, 0]}}, r"as many rows in each column.* 5 of `b`"),
    ],
)
def test_what_a_surrogate_cannot_read(arguments, message):
    model = known(Regression("stay"), steps)
    with pytest.raises(ValueError, match=message):
        surrogate(model, **{"task": "stay", "x": X, **arguments})


def test_a_linear_model_needs_two_classes():
    always = known(Classification("kind", 3), lambda x: x[:, :3] * 0 + [0.0, 9.0, 0.0])
    with pytest.raises(ValueError, match=r"answers class 1 of `kind` for all"):
        surrogate(always, "kind", X, "linear")


def test_kinds_of_tasks_without_one_answer():
    several = known(MultiLabelClassification("tags", 3), lambda x: x[:, :3])
    with pytest.raises(ValueError, match=r"`task` should be a binary or other classification"):
        surrogate(several, "tags", X)
