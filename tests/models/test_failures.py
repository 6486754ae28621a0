"""Steps that must not be applied: non-finite losses, illegal labels, overflows."""

import keras
import numpy as np
import pytest
from model_cases import (
    Constant,
    assert_all_moved,
    assert_close,
    assert_same,
    compiled,
    copies,
    data,
    hard_sharing,
    tasks,
    train,
)
from test_absent_tasks import with_batch_norm

from mtlzoo import MultiTaskModel


def kept(model):
    """What a failed step must leave alone: all but the number of steps."""
    own = [*model.variables, *model.optimizer.variables, *model.balancer.variables]
    return [v for v in own if v.path.rsplit("/", 1)[-1] != "step"]


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    ("balancer", "eager"),
    [
        ("equal", True),
        ("uncertainty", False),
        ("pcgrad", False),
        ("grad_drop", True),
        (Constant(wrt="features"), True),
        (Constant(every=2), True),
    ],
)
def test_a_non_finite_loss_ends_the_training_and_changes_nothing(balancer, eager):
    model = with_batch_norm()
    compiled(model, balancer, keras.optimizers.Adam(0.01), run_eagerly=eager)
    x, y = data()
    train(model, x, y)
    before, trainable = copies(kept(model)), copies(model.trainable_variables)
    x[1, 2] = np.nan
    with pytest.raises(FloatingPointError, match=r"loss of task `a` is not finite \(loss nan\)"):
        train(model, x, y)
    assert_same(kept(model), before)
    assert int(model.optimizer.iterations) == 2
    # The report is made once; clean data train on.
    train(model, *data())
    assert_all_moved(model.trainable_variables, trainable)


def test_the_task_with_the_failing_loss_is_named():
    model = compiled(hard_sharing())
    x, y = data()
    y["b"] = np.full(8, 1e30, "float32")  # its square overflows
    before = copies(kept(model))
    with pytest.raises(FloatingPointError, match=r"loss of task `b` is not finite \(loss inf\)"):
        train(model, x, y)
    assert_same(kept(model), before)


def test_a_failure_inside_a_sequence_of_steps_is_found_at_its_end():
    model = compiled(hard_sharing(), run_eagerly=False, steps_per_execution=3)
    x, y = data(28)
    x[5] = np.nan  # the second of seven batches
    one = compiled(hard_sharing())
    train(one, x[:4], {name: labels[:4] for name, labels in y.items()})
    with pytest.raises(FloatingPointError, match="loss of task `a`"):
        train(model, x, y)
    assert_close(model.trainable_variables, one.trainable_variables, 1e-6)
    assert int(model.optimizer.iterations) == 1


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("name", "value"), [("a", 7), ("a", -2), ("b", np.inf)])
def test_an_illegal_label_is_refused_with_task_and_value(name, value):
    model = compiled(hard_sharing())
    x, y = data()
    y[name] = y[name].astype("float64")
    y[name][1] = value
    before = copies(model.trainable_variables)
    message = f"Labels of task `{name}` should be legal labels of .*: a label of value {value:g}"
    with pytest.raises(ValueError, match=message):
        train(model, x, y)
    assert_same(model.trainable_variables, before)
    with pytest.raises(ValueError, match=message):
        model.evaluate(x, y, verbose=0)
    train(model, *data())
    assert_all_moved(model.trainable_variables, before)


def test_in_a_graph_an_illegal_label_is_refused_before_the_first_update():
    model = compiled(hard_sharing(), run_eagerly=False)
    x, y = data()
    y["a"][0] = 2
    before = copies(model.trainable_variables)
    with pytest.raises(ValueError, match=r"Labels of task `a`.*a label of value 2"):
        train(model, x, y)
    assert_same(model.trainable_variables, before)
    assert int(model.optimizer.iterations) == 0


def test_what_stands_under_a_zero_weight_does_not_matter():
    logs = []
    for value in (1, 5, -1):
        keras.utils.set_random_seed(0)
        model = compiled(hard_sharing(), metrics=None)
        x, y = data()
        y["a"][0] = value
        logs.append(train(model, x, y, {"a": np.r_[0.0, np.ones(7)]}))
    assert logs[0] == logs[1] == logs[2]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("balancer", ["equal", "pcgrad", "grad_drop", Constant(wrt="features")])
def test_an_overflow_under_loss_scaling_halves_the_scale_and_is_no_failure(balancer):
    keras.config.set_dtype_policy("mixed_float16")
    model = hard_sharing()
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=2.0**26
    )
    compiled(model, balancer, optimizer)
    x, y = data(4)
    before = copies(model.trainable_variables)
    logs = train(model, x, y)
    assert np.isfinite(logs["loss"]).all()
    assert_same(model.trainable_variables, before)
    assert float(optimizer.dynamic_scale) == 2.0**25
    assert int(optimizer.inner_optimizer.iterations) == 0
    train(model, x, y, epochs=15)
    assert_all_moved(model.trainable_variables, before)
    assert 1 < float(optimizer.dynamic_scale) < 2.0**24


def test_a_non_finite_gradient_of_a_finite_loss_is_a_failure():
    def root(y_true, y_pred):
        return keras.ops.sqrt(keras.ops.abs(keras.ops.sum(y_pred - y_pred, axis=-1)))

    model = compiled(hard_sharing(), "pcgrad", loss={"b": root})
    before = copies(model.trainable_variables)
    with pytest.raises(FloatingPointError, match="gradient of task `b` is not finite"):
        train(model, *data())
    assert_same(model.trainable_variables, before)


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
class AddsNoNumber(keras.layers.Layer):
    """Adds the root of a negative number to the losses."""

    def call(self, inputs):
        self.add_loss(keras.ops.mean(keras.ops.sqrt(-1.0 - inputs**2)))
        return inputs


@pytest.mark.parametrize("balancer", ["equal", "mgda"])
def test_an_added_loss_that_is_not_finite_ends_the_training_and_changes_nothing(balancer):
    x = keras.Input((4,))
    hidden = AddsNoNumber()(keras.layers.Dense(5)(x))
    model = MultiTaskModel(x, {t.name: t.head(hidden) for t in tasks()}, tasks=tasks())
    compiled(model, balancer)
    before = copies(model.variables)
    with pytest.raises(FloatingPointError, match="The losses that layers add"):
        train(model, *data())
    assert_same(model.trained_variables, before[: len(model.trained_variables)])
