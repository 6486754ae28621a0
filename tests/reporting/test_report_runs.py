import keras
import numpy as np
import pytest
import tensorflow as tf
from report_cases import ROWS, some_data, tasks, trained

from mtlzoo import HardSharing, Regression, report, training
from mtlzoo.reporting import Run, RunRecorder, read


@pytest.fixture(scope="module")
def model_and_record():
    return trained(tasks(), 0)


@pytest.fixture(scope="module")
def run(model_and_record):
    """A run of one training."""
    made = Run("one")
    made.add(*model_and_record, some_data(), seed=3, latency_calls=2)
    return made


@pytest.mark.slow
def test_the_values_are_those_of_evaluate(model_and_record, run):
    x, y = some_data()
    scores = model_and_record[0].evaluate(x, y, return_dict=True, verbose=0)
    for key in ("buy_loss", "buy_accuracy", "buy_auc", "kind_macro_f1", "price_rmse", "price_loss"):
        task, _, metric = key.partition("_")
        assert run.values(task, metric) == {3: pytest.approx(scores[key], abs=1e-6)}


@pytest.mark.slow
def test_an_interval_of_one_training_is_of_rows_and_holds_the_value(run):
    for task, metric in (("buy", "auc"), ("kind", "macro_f1"), ("price", "rmse")):
        found = run.interval(task, metric)
        assert found.by == "rows"
        assert found.low < found.value < found.high
        assert found.value == pytest.approx(run.values(task, metric)[3], abs=1e-5)
    right = (run.trainings[0].outcomes["buy"].confusion.trace()) / ROWS
    error = 1.96 * np.sqrt(right * (1 - right) / ROWS)
    found = run.interval("buy", "accuracy")
    assert found.high - found.low == pytest.approx(2 * error, rel=0.3)


@pytest.mark.slow
def test_missing_labels_and_labels_of_other_tasks_do_not_count(model_and_record):
    x, y = some_data()
    y = {**y, "buy": np.where(np.arange(ROWS) < 40, y["buy"], -1), "other": y["price"]}
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(20)
    some = Run("some")
    some.add(*model_and_record, batches, latency_calls=0)
    scores = model_and_record[0].evaluate(
        x[:40], {n: v[:40] for n, v in y.items() if n != "other"}, return_dict=True, verbose=0
    )
    assert some.values("buy", "auc")[None] == pytest.approx(scores["buy_auc"], abs=1e-6)
    assert some.trainings[0].outcomes["buy"].confusion.sum() == 40
    assert some.trainings[0].outcomes["kind"].confusion.sum() == ROWS


def test_parameters_are_by_owner(model_and_record, run):
    training = run.trainings[0]
    assert training.parameters == {None: 20, "buy": 5, "kind": 15, "price": 5}
    trained_ones = model_and_record[0].trainable_variables
    assert sum(training.parameters.values()) == sum(np.prod(v.shape) for v in trained_ones)
    assert training.latency.row > 0 and training.latency.batch_size == ROWS
    assert training.settings["architecture"].startswith("HardSharing(shared_units=[4]")
    assert training.settings["optimizer"].startswith("Adam(learning_rate=0.01,")
    assert training.settings["balancer"] == "Equal()"


def test_a_metric_whose_state_is_no_sum_has_a_value_without_interval():
    @keras.saving.register_keras_serializable("report_test")
    class Greatest(keras.metrics.Metric):
        def __init__(self, name="greatest", **options):
            super().__init__(name=name, **options)
            self.most = self.add_variable((), "zeros", name="most")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.most.assign(keras.ops.maximum(self.most, keras.ops.max(y_true)))

        def result(self):
            return keras.ops.convert_to_tensor(self.most)

    x, y = some_data()
    model, record = trained([Regression("price", metrics=[Greatest()])], 0, epochs=1)
    run = Run("one")
    run.add(model, record, (x, {"price": y["price"]}), latency_calls=0)
    found = run.interval("price", "greatest")
    assert found.by == "none" and np.isnan(found.low)
    assert found.value == pytest.approx(y["price"].max())


@pytest.mark.slow
def test_a_metric_may_be_a_plain_function_and_a_seed_of_numpy(tmp_path, caplog):
    def distance(y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)

    x, y = some_data()
    y = {"price": y["price"], "shared": y["price"]}
    tasks = [Regression("price", metrics=[distance, "mae"]), Regression("shared")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=[4])
    model.compile("sgd", run_eagerly=True)
    run = Run("one")
    logs = {"price_loss": [1e-13, 3e-13], "shared_loss": [0.0, 0.0]}
    run.add(model, logs, (x, y), seed=np.int64(3), latency_calls=0)
    (value,) = run.values("price", "distance").values()
    assert value == pytest.approx(run.values("price", "mae")[3], rel=1e-6)
    assert run.interval("price", "distance").by == "rows"
    (training,) = read(report(tmp_path / "report.html", [run]))["runs"][0]["trainings"]
    assert training["seed"] == 3
    assert training["parameters"] == {"shared": 20, "by_task": {"price": 5, "shared": 5}}
    assert "retracing" not in caplog.text


def test_the_recorder_has_the_logs_of_fit_and_goes_on_after_a_kill(model_and_record):
    _, recorder = model_and_record
    assert len(recorder.seconds) == 2 and min(recorder.seconds) > 0
    assert set(recorder.history) >= {"loss", "val_buy_auc"}
    assert all(len(values) == 2 for values in recorder.history.values())
    other = RunRecorder()
    other.on_train_begin()
    other.set_state(recorder.get_state())
    assert (other.history, other.seconds) == (recorder.history, recorder.seconds)
    other.on_epoch_begin(2)
    other.set_state({**recorder.get_state(), "spent": 100.0})
    other.on_epoch_end(2, {"loss": 1.0, "new": 2.0})
    assert other.seconds[2] >= 100 and other.history["loss"][2] == 1.0
    assert np.isnan(other.history["new"][:2]).all() and np.isnan(other.history["val_buy_auc"][2])
    training.callback_states._check("RunRecorder", other.get_state(), "get_state()")


def test_bad_input_is_refused(model_and_record):
    model, record = model_and_record
    x, y = some_data()
    run = Run("one")
    with pytest.raises(ValueError, match=r"`model` should be a multi-task model. Received: a Sequ"):
        run.add(keras.Sequential(), record)
    raw = HardSharing(keras.Input((4,)), tasks(), shared_units=[4])
    with pytest.raises(ValueError, match=r"`model` should be compiled"):
        run.add(raw, record)
    with pytest.raises(
        ValueError, match=r"`history` should have an epoch .* Received: an empty one"
    ):
        run.add(model, RunRecorder())
    with pytest.raises(ValueError, match="with the key `kind_loss`"):
        run.add(model, {"loss": [1.0], "buy_loss": [1.0]})
    with pytest.raises(ValueError, match=r"`history` should be a `RunRecorder`"):
        run.add(model, 3)
    with pytest.raises(ValueError, match=r"`history` should have a list of numbers for 'loss'"):
        run.add(model, {"loss": 3})
    with pytest.raises(ValueError, match=r"`test` should be a `tf.data.Dataset`"):
        run.add(model, record, [x, y])
    with pytest.raises(ValueError, match=r"`test` should have labels as a dict by task name"):
        run.add(model, record, (x, y["buy"]))
    with pytest.raises(ValueError, match=r"`test` should have labels of one of the tasks \['buy'"):
        run.add(model, record, (x, {"other": x}))
    with pytest.raises(
        ValueError, match=r"labels of task `buy` that are labels .* Received: 1 that"
    ):
        run.add(model, record, (x, {"buy": np.where(np.arange(ROWS), y["buy"], 7)}))
    with pytest.raises(ValueError, match=r"`test` should have rows"):
        run.add(model, record, (x[:0], {"buy": y["buy"][:0]}))
    with pytest.raises(ValueError, match=r"`latency_calls` should be an integer of at least 0"):
        run.add(model, record, latency_calls=-1)
    with pytest.raises(ValueError, match=r"`seed` should be an integer or None"):
        run.add(model, record, seed="0")
    assert not run.trainings
    run.add(model, record.history, seed=0)
    with pytest.raises(ValueError, match=r"`seed` should differ .* task `buy` .* Received: seed=0"):
        run.add(model, record, seed=0)
    with pytest.raises(ValueError, match=r"`name` should not be empty"):
        Run(" ")
    with pytest.raises(ValueError, match=r"`command` should be text. Received: command=3"):
        Run("one", 3)
