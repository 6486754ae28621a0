"""What is read from optimizers, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import HardSharing, Regression
from mtlzoo.models import optimizers

SGD = keras.optimizers.SGD


def multi(first, second):
    """`first` for the variable `a`, `second` for all others."""
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(second, {"a": first}))


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm", "clipvalue"])
@pytest.mark.parametrize("kind", ["plain", "multi"])
def test_clipping_is_that_of_the_optimizer(clip, kind):
    grads = [tf.constant([3.0, -4.0]), None, tf.constant([[0.1, 12.0]]), tf.constant([5.0])]
    names = "abcd"
    variables = [
        keras.Variable(np.zeros((2,) if g is None else g.shape), name=n)
        for n, g in zip(names, grads, strict=True)
    ]
    optimizer = SGD(1.0, **{clip: 2.0})
    if kind == "multi":
        optimizer = multi(SGD(1.0), optimizer)
    optimizer.build(variables)
    assert optimizers.needs_global_gradients(optimizer)
    found = optimizers.exact_clip(grads, variables, optimizer)
    assert found[1] is None
    optimizer.apply([None if g is None else tf.identity(g) for g in grads], variables)
    for one, variable in zip(found, variables, strict=True):
        if one is not None:
            np.testing.assert_allclose(one, -np.array(variable), rtol=1e-6)
    if kind == "multi":
        np.testing.assert_array_equal(found[0], grads[0])
    scaled = [None if g is None else 64 * g for g in grads]
    again = optimizers.exact_clip(scaled, variables, optimizer, tf.constant(64.0))
    np.testing.assert_allclose(again[2], 64 * found[2], rtol=1e-6)
    assert again[1] is None


def test_an_optimizer_that_does_not_look_at_gradients_needs_none_of_this():
    assert not optimizers.needs_global_gradients(keras.optimizers.Adam())
    assert optimizers.takes_slices(keras.optimizers.Adam())
    scaling = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    assert optimizers.needs_global_gradients(scaling)
    for optimizer in (scaling, SGD(clipnorm=1.0), SGD(loss_scale_factor=2.0)):
        assert not optimizers.takes_slices(optimizer)


def test_what_the_user_excluded_from_weight_decay_stays_excluded():
    kept, listed, named, ours = (
        keras.Variable([1.0], name=name) for name in ("kept", "listed", "bias", "log_variance")
    )
    optimizer = keras.optimizers.AdamW(0.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[listed], var_names=["bias"])
    optimizers.exclude_from_weight_decay(optimizer, [ours])
    optimizer.build([kept, listed, named, ours])
    optimizer.learning_rate = 1.0
    optimizer.apply([tf.zeros([1])] * 4)
    assert float(kept[0]) == 0.5
    assert [float(v[0]) for v in (listed, named, ours)] == [1.0, 1.0, 1.0]


def in_half(dtype=None):
    tasks = [Regression("a"), Regression("b")]
    return HardSharing(keras.Input((3,)), tasks, shared_units=(4,), dtype=dtype)


@pytest.mark.slow
def test_layers_in_float16_get_loss_scaling_also_where_the_program_computes_in_float32():
    model = in_half("mixed_float16")
    model.compile("adam", "pcgrad", run_eagerly=True)
    assert optimizers.scales_dynamically(model.optimizer)
    model.compile(SGD(0.1), "pcgrad", run_eagerly=True, auto_scale_loss=False)
    assert not optimizers.scales_dynamically(model.optimizer)
    model = in_half()
    model.compile("adam", "pcgrad", run_eagerly=True)
    assert not optimizers.scales_dynamically(model.optimizer)


@pytest.mark.slow
def test_a_mixed_model_goes_on_in_a_program_that_computes_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    model = in_half()
    model.compile("adam", "pcgrad", run_eagerly=True)
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    y = {"a": x[:, 0], "b": x[:, 1]}
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)
    for found, expected in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(found, expected)
    logs = [each.fit(x, y, verbose=0).history for each in (model, loaded)]
    assert logs[0] == logs[1]
