"""What training starts from: the pull towards it, rates by depth, adapters beside it."""

import keras
import numpy as np
import pytest

from mtlzoo import (
    BinaryClassification,
    Classification,
    HardSharing,
    MMoE,
    MultiTaskModel,
    Regression,
)
from mtlzoo.backbones import ConvNet
from mtlzoo.training import (
    GradualUnfreezing,
    add_l2_sp,
    add_task,
    freeze,
    layerwise_learning_rates,
    load_weights_by_task,
    remove_task,
    unfreeze,
    with_adapters,
)

ROWS = 16
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("float32")
Y = {"a": X[:, 0], "b": X[:, 1]}


def model(**arguments):
    keras.utils.set_random_seed(0)
    tasks = [Regression("a"), Regression("b")]
    arguments = {"shared_units": (5, 5), "activation": "tanh", **arguments}
    return HardSharing(keras.Input((4,)), tasks, **arguments)


def layers(found, *names):
    return [v for name in names for v in found.get_layer(name).weights]


# -- the pull -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_penalty_and_its_gradient_are_those_of_the_paper():
    """One step of SGD on labels that are all missing moves by the penalty alone."""
    pulled = model()
    start = [v.numpy().astype("float64") for v in layers(pulled, "shared_0", "shared_1")]
    add_l2_sp(pulled, alpha=0.3, beta=0.2)
    for v in pulled.weights:
        if v.trainable:
            v.assign(v + 0.5)
    own, new = layers(pulled, "shared_0", "shared_1"), layers(pulled, "a", "b")
    before = [[v.numpy().astype("float64") for v in part] for part in (own, new)]
    penalty = 0.3 / 2 * sum(((w - s) ** 2).sum() for w, s in zip(before[0], start, strict=True))
    penalty += 0.2 / 2 * sum((w**2).sum() for w in before[1])
    assert float(sum(pulled.losses)) == pytest.approx(penalty, rel=1e-5)
    pulled.compile(keras.optimizers.SGD(0.1), "mgda", jit_compile=False)
    logs = pulled.fit(X, {name: np.full(ROWS, np.nan) for name in Y}, verbose=0).history
    assert logs["loss"][0] == pytest.approx(penalty, rel=1e-5)
    for variable, old, first in zip(own, before[0], start, strict=True):
        np.testing.assert_allclose(variable, old - 0.1 * 0.3 * (old - first), atol=1e-6)


@pytest.mark.slow
def test_the_starting_point_is_saved_and_frozen_parts_are_left_out(tmp_path, caplog):
    pulled = model()
    penalty = add_l2_sp(pulled, "shared_1", alpha=0.5, beta=0.0)
    pulled.compile(keras.optimizers.Adam(0.05), "pcgrad", jit_compile=False)
    pulled.fit(X, Y, verbose=0)
    pulled.save(tmp_path / "pulled.keras")
    again = keras.saving.load_model(tmp_path / "pulled.keras")
    assert (again.attached.alpha, again.attached.beta) == (0.5, 0.0)
    for one, other in zip(penalty.weights, again.attached.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert float(sum(again.losses)) == float(sum(pulled.losses)) > 0
    pulled.save_weights(tmp_path / "pulled.weights.h5")
    again.load_weights(tmp_path / "pulled.weights.h5")
    for each in (pulled, again):
        each.fit(X, Y, verbose=0, shuffle=False)
    for one, other in zip(pulled.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    freeze(pulled, "shared_1")
    assert sum(pulled.losses) == 0
    assert again.student(0.5).attached is None  # which has learned nothing yet
    assert add_task(again, Regression("c")).attached is None
    assert remove_task(again, "b").attached is None
    assert caplog.text.count("has no penalty for leaving the starting point") == 2
    load_weights_by_task(model(), again)
    again.export(tmp_path / "served", verbose=False)


@pytest.mark.slow
def test_in_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        pulled = model()
    finally:
        keras.config.set_dtype_policy("float32")
    add_l2_sp(pulled, alpha=100.0, beta=0.0)
    start = [v.numpy() for v in layers(pulled, "shared_0")]
    pulled.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    pulled.fit(X, Y, epochs=3, verbose=0)
    moved = [np.abs(v - s).max() for v, s in zip(layers(pulled, "shared_0"), start, strict=True)]
    assert 0 < max(moved) < 0.02  # each step goes back to the start, but for its own gradient


def test_bad_penalties_are_refused():
    pulled = model()
    with pytest.raises(ValueError, match=r"`alpha` should be a number of at least 0\. Received"):
        add_l2_sp(pulled, alpha=-1)
    with pytest.raises(ValueError, match=r"`layers` should name layers.*'shared_3'"):
        add_l2_sp(pulled, "shared_3")
    with pytest.raises(ValueError, match="`model` should be a multi-task model"):
        add_l2_sp(pulled.single_task("a"))
    add_l2_sp(pulled)
    with pytest.raises(ValueError, match="`model` should be one without such a penalty"):
        add_l2_sp(pulled)
    updated = model()
    updated.get_layer("shared_1").enable_lora(2)
    with pytest.raises(ValueError, match=r"call `enable_lora` afterwards.*whose layer `shared_1`"):
        add_l2_sp(updated)


@pytest.mark.slow
def test_an_update_of_low_rank_comes_after_the_penalty(tmp_path):
    pulled = model()
    add_l2_sp(pulled)
    pulled.get_layer("shared_1").enable_lora(2)
    pulled.compile("adam", jit_compile=False)
    pulled.fit(X, Y, verbose=0)
    pulled.save(tmp_path / "pulled.keras")
    again = keras.saving.load_model(tmp_path / "pulled.keras")
    for one, other in zip(pulled.attached.weights, again.attached.weights, strict=True):
        np.testing.assert_array_equal(one, other)


# -- rates ----------------------------------------------------------------------------------------


def test_each_stage_moves_by_its_own_rate(tmp_path):
    """With SGD, by the same gradients times another rate."""
    rates = {"shared_0": 0.25, "shared_1": 0.5, "a": 1.0, "b": 1.0}
    plain, staged = model(), model()
    plain.compile(keras.optimizers.SGD(0.1), "pcgrad", jit_compile=False)
    start = {name: plain.get_layer(name).get_weights() for name in rates}
    optimizer = layerwise_learning_rates(staged, keras.optimizers.SGD(0.1), decay=2.0)
    staged.compile(optimizer, "pcgrad", jit_compile=False)
    for each in (plain, staged):
        each.fit(X, Y, verbose=0)
    for name, rate in rates.items():
        for one, other, old in zip(
            plain.get_layer(name).get_weights(),
            staged.get_layer(name).get_weights(),
            start[name],
            strict=True,
        ):
            np.testing.assert_allclose(other - old, rate * (one - old), atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["schedule", "adam"])
def test_rates_are_saved_and_stages_may_be_frozen(kind, tmp_path):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9) if kind == "schedule" else "adam"
    staged = model()
    optimizer = layerwise_learning_rates(staged, optimizer, factors={"shared_*": 0.5, "b": 0.1})
    staged.compile(optimizer, "pcgrad", jit_compile=False)
    assert len(staged.optimizer.optimizers) == 3
    staged.fit(X, Y, epochs=2, verbose=0, shuffle=False, callbacks=[GradualUnfreezing()])
    staged.save(tmp_path / "staged.keras")
    again = keras.saving.load_model(tmp_path / "staged.keras")
    for each in (staged, again):
        unfreeze(each)
        each.fit(X, Y, verbose=0, shuffle=False)
    for one, other in zip(staged.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    rates = [[float(o.learning_rate) for o in m.optimizer.optimizers] for m in (staged, again)]
    assert rates[0] == rates[1]


def sequential():
    parts = [keras.layers.Dense(5, "tanh", name="d0"), keras.layers.Dense(5, name="d1")]
    return model(backbone=keras.Sequential(parts, name="trunk"), shared_units=(4,))


def bidirectional():
    keras.utils.set_random_seed(0)
    trunk = keras.layers.Bidirectional(keras.layers.SimpleRNN(2), name="both")
    steps = keras.layers.Reshape((4, 1))(inputs := keras.Input((4,)))
    tasks = [Regression("a"), Regression("b")]
    return MultiTaskModel(inputs, {t.name: t.head(trunk(steps)) for t in tasks}, tasks=tasks)


@pytest.mark.slow
@pytest.mark.parametrize("make", [sequential, bidirectional])
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_rates_are_saved_where_paths_are_others_in_a_loaded_model(kind, make, tmp_path):
    staged = make()
    optimizer = getattr(keras.optimizers, kind)(0.01)
    staged.compile(layerwise_learning_rates(staged, optimizer, 10.0), jit_compile=False)
    staged.fit(X, Y, verbose=0)
    staged.save(tmp_path / "staged.keras")
    again = keras.saving.load_model(tmp_path / "staged.keras")
    paths = [[v.path for v in each.trainable_variables] for each in (staged, again)]
    assert paths[0] != paths[1]
    for each in (staged, again):
        each.fit(X, Y, verbose=0, shuffle=False)
    for one, other in zip(staged.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rates_where_a_stage_was_frozen_at_compile_and_a_balancer_has_variables(tmp_path):
    staged = model()
    freeze(staged, "shared_0")
    optimizer = layerwise_learning_rates(staged, keras.optimizers.SGD(1.0), 2.0)
    staged.compile(optimizer, "uncertainty", jit_compile=False)
    unfreeze(staged, "shared_0")
    freeze(staged, "shared_1")
    staged.save(tmp_path / "staged.keras")
    again = keras.saving.load_model(tmp_path / "staged.keras")
    for each in (staged, again):
        rates = {
            v.path: float(o.learning_rate)
            for o in each.optimizer.optimizers
            if o.built
            for v in o._trainable_variables
        }
        assert rates.pop("shared_1/kernel") == rates.pop("shared_1/bias") == 0.5
        assert len(rates) > 4 and set(rates.values()) == {1.0}
    other = model()
    with pytest.raises(ValueError, match=f"model that it was made for, `{other.name}`"):
        model().compile(layerwise_learning_rates(other))


@pytest.mark.slow
def test_what_is_excluded_from_weight_decay_is_in_every_stage():
    """At a rate of 0 but for the decay, which goes by the rate: so with a decay that is large."""
    staged = model()
    adam = keras.optimizers.AdamW(1e-7, weight_decay=1e5)
    adam.exclude_from_weight_decay([staged.get_layer("a").kernel], ["bias"])
    staged.compile(layerwise_learning_rates(staged, adam, 2.0), jit_compile=False)
    for v in staged.trainable_variables:
        v.assign(np.ones(v.shape))
    staged.fit(X, Y, verbose=0)
    for v in staged.trainable_variables:
        kept = v.name == "bias" or v.path == "a/kernel"
        decay = {"shared_0": 0.25, "shared_1": 0.5}.get(v.path.split("/")[0], 1.0)
        expected = 1 if kept else 1 - 0.01 * decay
        np.testing.assert_allclose(v, np.full(v.shape, expected), atol=1e-5, err_msg=v.path)


REFUSED = {
    "clipping": (
        lambda: {"optimizer": keras.optimizers.SGD(global_clipnorm=1.0)},
        "should neither clip by the length of all gradients",
    ),
    "decay": (lambda: {"decay": 0}, r"`decay` should be a positive number\. Received: decay=0"),
    "factors": (
        lambda: {"factors": {"shared_7": 1.0}},
        r"`factors` should name stages.*'shared_7'",
    ),
    "a factor": (
        lambda: {"factors": {"a": -1}},
        r"`factors\['a'\]` should be a number of at least 0",
    ),
    "several": (
        lambda: {"optimizer": keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())},
        "`optimizer` should be a plain optimizer",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_rates_are_refused(case):
    arguments, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        layerwise_learning_rates(model(), **arguments())


# -- adapters -------------------------------------------------------------------------------------


def images():
    """A backbone in stages, or one with normalization."""
    return ConvNet((28, 28, 1), filters=(2, 3))


def normalized():
    inside = keras.Input((4,), name="features")
    hidden = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(6, name="in")(inside))
    return keras.Model(inside, keras.layers.Dense(5, "tanh", name="out")(hidden), name="backbone")


ADAPTERS = {"lora": images, "bottleneck": images, "batch_norm": normalized}


@pytest.mark.slow
@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_adapters_begin_with_what_the_model_predicts(adapter, tmp_path):
    backbone = ADAPTERS[adapter]()
    trained = HardSharing(
        keras.Input(backbone.input_shape[1:]),
        [BinaryClassification("a"), Classification("b", 3)],
        backbone=backbone,
        shared_units=(5,),
        tower_units=(4,),
    )
    rng = np.random.default_rng(0)
    for v in trained.weights:
        v.assign(v + 0.1 * np.abs(rng.normal(size=v.shape)))
    x = rng.normal(size=(6, *backbone.input_shape[1:])).astype("float32")
    adapted = with_adapters(trained, adapter, name="adapted")
    one, other = trained(x), adapted(x)
    for name in "ab":
        np.testing.assert_allclose(
            one[name], other[name], rtol=2e-3 if adapter == "bottleneck" else 1e-5
        )
    assert not adapted.shared_variables
    assert all(adapted.task_variables(name) for name in "ab")
    rests = [v for la in adapted.layers if la.name.startswith("shared_") for v in la.weights]
    before = [v.numpy() for v in rests]
    adapted.compile(keras.optimizers.Adam(0.01), "uncertainty", jit_compile=False)
    adapted.fit(x, {"a": np.arange(6) % 2, "b": np.arange(6) % 3}, verbose=0)
    for variable, value in zip(rests, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    other = adapted(x)
    adapted.save(tmp_path / "adapted.keras")
    again = keras.saving.load_model(tmp_path / "adapted.keras")(x)
    for name in "ab":
        np.testing.assert_array_equal(other[name], again[name])


@pytest.mark.slow
def test_an_update_of_low_rank_by_keras_serves_all_tasks():
    """The trunk rests, and the update of it starts at nothing."""
    found = model()
    before = found(X)
    freeze(found, "shared_0")
    found.get_layer("shared_1").enable_lora(2)
    for name in Y:
        np.testing.assert_array_equal(found(X)[name], before[name])
    found.compile("adam", "pcgrad", jit_compile=False)
    assert {v.name for v in found.shared_variables} == {"bias", "lora_kernel_a", "lora_kernel_b"}
    kernel = found.get_layer("shared_1")._kernel.numpy()
    found.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(found.get_layer("shared_1")._kernel, kernel)


def test_other_models_get_no_adapters():
    tree = [[("a", "b")], [("a",), ("b",)]]
    with pytest.raises(ValueError, match=r"`model` should be a `HardSharing` without a `tree`\."):
        with_adapters(model(tree=tree))
    mixture = MMoE(keras.Input((4,)), [Regression("a")], num_experts=2, expert_units=(3,))
    with pytest.raises(ValueError, match="Received: MMoE"):
        with_adapters(mixture)
