"""Log keys and what they mean; callbacks that read them; the balancer's epoch end."""

import keras
import numpy as np
import pytest
from model_cases import Constant, compiled, data, hard_sharing, tasks, train

from mtlzoo import DWA, BinaryClassification, MultiTaskModel, Regression

OF_A = {"a_loss", "a_accuracy", "a_precision", "a_recall", "a_f1", "a_auc"}
OF_B = {"b_loss", "b_mae", "b_rmse", "b_r2"}


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (tasks(), {"loss"} | OF_A | OF_B),
        (tasks()[:1], {"loss"} | OF_A),
        ([Regression("b", metrics=["mae"])], {"loss", "b_loss", "b_mae"}),
    ],
    ids=["two tasks", "one task", "chosen metrics"],
)
def test_log_keys_are_the_same_in_fit_and_evaluate_also_for_one_task(given, expected):
    model = compiled(hard_sharing(given), metrics=None)
    x, y = data()
    y = {task.name: y[task.name] for task in given}
    logs = train(model, x, y, validation_data=(x, y))
    assert set(logs) == expected | {f"val_{key}" for key in expected}
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert set(found) == expected
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(found["loss"])
    for key, value in found.items():
        assert logs[f"val_{key}"] == [pytest.approx(value, rel=1e-6)]


def test_metrics_of_compile_replace_and_weighted_metrics_join_those_of_the_task():
    model = compiled(
        hard_sharing(),
        metrics={"a": ["accuracy"], "b": []},
        weighted_metrics={"b": [keras.metrics.MeanAbsoluteError(name="weighted_mae")]},
    )
    x, y = data()
    assert set(train(model, x, y)) == {"loss", "a_loss", "a_accuracy", "b_loss", "b_weighted_mae"}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("balancer", ["equal", "uncertainty", "dwa", "pcgrad", Constant()])
def test_loss_is_the_weighted_sum_of_task_losses_plus_regularization(balancer):
    """It does not depend on the balancer, so that runs with different ones can be compared."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,), name="x")
    trunk = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5))(inputs)
    outputs = {task.name: task.head(trunk) for task in tasks()}
    model = MultiTaskModel(inputs, outputs, tasks=tasks())
    compiled(model, balancer, keras.optimizers.SGD(0.0), loss_weights={"b": 3.0})
    penalty = 0.5 * float(np.sum(np.square(model.shared_variables[0])))
    x, y = data()
    evaluated = model.evaluate(x, y, verbose=0, return_dict=True)
    for logs in (evaluated, {k: v[0] for k, v in train(model, x, y).items()}):
        expected = logs["a_loss"] + 3.0 * logs["b_loss"] + penalty
        assert logs["loss"] == pytest.approx(expected, rel=1e-6)
        assert logs["a_loss"] == pytest.approx(evaluated["a_loss"], rel=1e-6)


def test_logs_start_anew_each_epoch():
    model = compiled(hard_sharing(), optimizer=keras.optimizers.SGD(0.0), metrics=None)
    for key, (first, second) in train(model, *data(), epochs=2).items():
        assert first == second, key


# -- callbacks --------------------------------------------------------------------------------


def callbacks_for(monitor, folder):
    return [
        keras.callbacks.EarlyStopping(monitor=monitor, patience=1),
        keras.callbacks.ModelCheckpoint(
            str(folder / "best.keras"), monitor=monitor, save_best_only=True
        ),
        keras.callbacks.ReduceLROnPlateau(monitor=monitor, patience=1),
    ]


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("monitor", "is_better"),
    [
        ("val_a_auc", lambda new, old: new > old),
        ("val_b_rmse", lambda new, old: new < old),
        ("a_loss", lambda new, old: new < old),
        ("val_b_loss", lambda new, old: new < old),
    ],
)
def test_callbacks_learn_the_direction_from_the_task(monitor, is_better, tmp_path):
    model = compiled(hard_sharing(), metrics={"a": ["auc"], "b": ["rmse"]})
    x, y = data()
    found = callbacks_for(monitor, tmp_path)
    train(model, x, y, validation_data=(x, y), callbacks=found)
    for callback in found:
        for new, old in ((0.2, 0.1), (0.1, 0.2)):
            assert bool(callback.monitor_op(new, old)) == is_better(new, old), callback


def test_a_direction_given_by_the_user_stays(tmp_path):
    model = compiled(hard_sharing(), metrics={"a": ["auc"], "b": []})
    x, y = data()
    stopping = keras.callbacks.EarlyStopping(monitor="val_a_auc", mode="min")
    train(model, x, y, validation_data=(x, y), callbacks=[stopping])
    assert stopping.mode == "min" and bool(stopping.monitor_op(0.1, 0.2))


def test_a_metric_that_does_not_decide_has_its_direction_too():
    model = compiled(hard_sharing([BinaryClassification("a")]), metrics=None)
    x, y = data()
    stopping = keras.callbacks.EarlyStopping(monitor="a_precision")
    train(model, x, {"a": y["a"]}, callbacks=stopping)
    assert stopping.mode == "max"


@pytest.mark.slow
def test_callbacks_may_come_as_a_callback_list():
    model = compiled(hard_sharing(), DWA(), metrics={"a": ["auc"], "b": []})
    x, y = data()
    stopping = keras.callbacks.EarlyStopping(monitor="a_auc")
    together = keras.callbacks.CallbackList([stopping], add_history=True, model=model, epochs=1)
    train(model, x, y, callbacks=together)
    assert bool(stopping.monitor_op(0.2, 0.1))
    first, second = train(model, x, y, callbacks=together)["a_loss"]  # Keras goes on with it
    np.testing.assert_allclose(model.balancer.history[0], [second, first], rtol=1e-6)


@pytest.mark.slow
def test_dwa_sees_the_losses_at_the_end_of_each_epoch():
    model = compiled(hard_sharing(), "dwa")
    x, y = data()
    logs = train(model, x, y, epochs=3, validation_data=(x, y))
    history = np.array(model.balancer.history)
    for row, name in zip(history, ("a", "b"), strict=True):
        np.testing.assert_allclose(row, logs[f"{name}_loss"][:0:-1], rtol=1e-6)
    ratios = history[:, 0] / history[:, 1] / 2.0
    expected = 2 * np.exp(ratios) / np.exp(ratios).sum()
    train(model, x, y, initial_epoch=3, epochs=4)
    np.testing.assert_allclose(list(model.task_weights.values()), expected, rtol=1e-5)


def test_the_epoch_end_of_the_balancer_comes_before_that_of_other_callbacks():
    model = compiled(hard_sharing(), "dwa")
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(np.array(model.balancer.history)[0, 0])
    )
    logs = train(model, *data(), epochs=2, callbacks=[watch])
    np.testing.assert_allclose(seen, logs["a_loss"], rtol=1e-6)
