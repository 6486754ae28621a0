import keras
import numpy as np
import pytest
from conformance.processes import lines_of

from mtlzoo import BinaryClassification, HardSharing, MMoE, MultiTaskModel, Regression
from mtlzoo.analysis import (
    GradualPruning,
    KeepZeros,
    prune_units,
    prune_weights,
    sparsity_of,
)
from mtlzoo.analysis.simplification.magnitudes import kernels_of
from mtlzoo.analysis.simplification.units import part_of
from mtlzoo.training import callback_states

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 6)).astype("float32")
Y = {"click": (X[:, :1] > 0).astype("int32"), "stay": X[:, 1:2]}


def tasks():
    return [BinaryClassification("click"), Regression("stay")]


def sharing(**options):
    return HardSharing(
        keras.Input((6,)), tasks(), shared_units=(12, 10), tower_units=(5,), **options
    )


def arrays(model, scope="all"):
    return [np.array(kernel) for kernel in kernels_of(model, scope)]


def least(values, sparsity):
    """The same with the least ones zero, one by one."""
    flat = np.concatenate([v.ravel() for v in values])
    for _ in range(int(sparsity * flat.size)):
        left = [(abs(v), i) for i, v in enumerate(flat) if v != 0]
        flat[min(left)[1]] = 0
    ends = np.cumsum([v.size for v in values])[:-1]
    return [p.reshape(v.shape) for p, v in zip(np.split(flat, ends), values, strict=True)]


@pytest.mark.parametrize("scope", ["all", "shared", "tasks", ["click"]])
def test_the_least_weights_of_the_scope_are_zero_and_no_others(scope):
    model = sharing()
    pruned = prune_weights(model, 0.6, scope=scope)
    before = {v.path: np.array(v) for v in model.weights}
    assert type(pruned) is HardSharing and not pruned.compiled
    wanted = least(arrays(model, scope), 0.6)
    for found, expected in zip(arrays(pruned, scope), wanted, strict=True):
        np.testing.assert_array_equal(found, expected)
    chosen = {v.path for v in kernels_of(pruned, scope)}
    for variable in pruned.weights:
        if variable.path not in chosen:
            np.testing.assert_array_equal(np.array(variable), before[variable.path])
    assert {v.path: np.array(v).tolist() for v in model.weights} == {
        path: value.tolist() for path, value in before.items()
    }


def test_scopes_are_those_of_the_owners():
    model = sharing()
    names = {s: [v.path.split("/")[0] for v in kernels_of(model, s)] for s in ("shared", "tasks")}
    assert names["shared"] == ["shared_0", "shared_1"]
    assert names["tasks"] == ["click_tower_0", "stay_tower_0", "click", "stay"]
    assert [v.path for v in kernels_of(model, ["stay"])] == ["stay_tower_0/kernel", "stay/kernel"]
    gated = MMoE(keras.Input((6,)), tasks(), num_experts=2, expert_units=(4, 3))
    assert {"experts/kernel_0", "experts/kernel_1"} <= {v.path for v in kernels_of(gated, "shared")}


def test_per_layer_each_kernel_has_as_many_zeros():
    pruned = prune_weights(sharing(), 0.5, per="layer")
    for kernel in arrays(pruned):
        assert (kernel == 0).sum() == kernel.size // 2
    assert prune_weights(pruned, 0.5, per="layer").count_params() == pruned.count_params()
    np.testing.assert_array_equal(
        arrays(prune_weights(pruned, 0.5, per="layer"))[0], arrays(pruned)[0]
    )


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        pytest.param(
            lambda: keras.optimizers.Adam(0.05),
            {"balancer": "pcgrad", "jit_compile": True},
            marks=pytest.mark.slow,
        ),
        (
            lambda: keras.optimizers.Adam(0.05),
            {"balancer": "pcgrad", "jit_compile": False, "run_eagerly": True},
        ),
        pytest.param(
            lambda: keras.optimizers.AdamW(0.05, weight_decay=0.1, use_ema=True),
            {"balancer": "uncertainty", "jit_compile": False},
            marks=pytest.mark.slow,
        ),
        (
            lambda: keras.optimizers.SGD(0.05, momentum=0.9, gradient_accumulation_steps=2),
            {"run_eagerly": True, "jit_compile": False},
        ),
    ],
    ids=[
        "gradient balancer, XLA",
        "gradient balancer",
        "loss balancer, averages",
        "eager, accumulation",
    ],
)
def test_zeros_stay_zero_while_the_others_learn(optimizer, options):
    model = prune_weights(sharing(dropout=0.1), 0.7)
    zeros = [kernel == 0 for kernel in arrays(model)]
    before = arrays(model)
    model.compile(optimizer(), **options)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(all((k[z] == 0).all() for k, z in zip(arrays(model), zeros, strict=True)))

    model.fit(X, Y, batch_size=8, verbose=0, callbacks=[KeepZeros(), Look()])
    assert seen == [True] * 4
    for kernel, zero, old in zip(arrays(model), zeros, before, strict=True):
        assert (kernel[zero] == 0).all()
        assert (kernel[~zero] != old[~zero]).any()


@pytest.mark.slow
def test_without_the_callback_they_learn_again_and_with_it_they_rest_again(tmp_path):
    model = prune_weights(sharing(), 0.7)
    model.compile("adam", jit_compile=False)
    zero = arrays(model)[0] == 0
    model.fit(X, Y, verbose=0, callbacks=[KeepZeros()])
    model.save(tmp_path / "pruned.keras")
    loaded = keras.saving.load_model(tmp_path / "pruned.keras")
    loaded.fit(X, Y, verbose=0, callbacks=[KeepZeros()])
    assert (arrays(loaded)[0][zero] == 0).all()
    model.fit(X, Y, verbose=0)
    assert (arrays(model)[0][zero] != 0).any()
    again = prune_weights(model, 0.7)
    assert 0.7 - sparsity_of(again) < 1 / sum(k.size for k in arrays(again))
    model.fit(X, Y, verbose=0, callbacks=[KeepZeros(["click"])])


class Fails(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise RuntimeError("out of disk")


@pytest.mark.slow
def test_a_training_that_fails_holds_nothing_in_the_next():
    model = prune_weights(sharing(), 0.7)
    model.compile("adam", jit_compile=False, run_eagerly=True)
    kernel, own = model.get_layer("shared_0").kernel, keras.constraints.MaxNorm(5.0)
    kernel.constraint = own
    zero = np.array(kernel) == 0
    with pytest.raises(RuntimeError, match=r"out of disk"):
        model.fit(X, Y, verbose=0, callbacks=[KeepZeros(), Fails()])
    assert (np.array(kernel)[zero] == 0).all()
    model.fit(X, Y, verbose=0, callbacks=[KeepZeros("shared"), KeepZeros("tasks")])
    assert (np.array(kernel)[zero] == 0).all()
    assert kernel.constraint is own and model.get_layer("stay").kernel.constraint is None
    with pytest.raises(RuntimeError, match=r"out of disk"):
        model.fit(X, Y, verbose=0, callbacks=[KeepZeros(), Fails()])
    model.fit(X, Y, verbose=0)
    assert (np.array(kernel)[zero] != 0).any() and kernel.constraint is own


def test_structured_zeros_stay_zero_behind_a_normalization():
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(6, 3, name="conv", bias_initializer="ones")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.DepthwiseConv2D(2, name="depthwise", bias_initializer="ones")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    model = MultiTaskModel(inputs, {t.name: t.head(x) for t in tasks()}, tasks=tasks())
    norm = model.get_layer("norm")
    norm.set_weights([RNG.uniform(1, 2, 6) for _ in range(4)])
    pruned = prune_weights(model, 0.5, structured=True)
    small = prune_units(pruned, {"conv": 0.5})
    pictures = RNG.normal(size=(3, 6, 6, 2)).astype("float32")
    for name, wanted in pruned(pictures).items():
        np.testing.assert_allclose(small(pictures)[name], wanted, atol=1e-5)
    assert (np.array(pruned.get_layer("norm").beta) == 0).sum() == 3
    assert (np.array(norm.beta) != 0).all()


def test_parts_are_whole_numbers_whatever_floats_say():
    assert [part_of(share, 100) for share in (0.29, 0.57, 0.58, 0.295)] == [29, 57, 58, 29]
    model = HardSharing(keras.Input((100,)), [Regression("stay")], shared_units=(), tower_units=())
    assert sparsity_of(prune_weights(model, 0.29)) == 0.29


@pytest.mark.slow
def test_structured_zeros_are_whole_units_which_can_go(tmp_path):
    model = sharing()
    model.get_layer("shared_0").bias.assign(RNG.uniform(1, 2, 12))
    pruned = prune_weights(model, 0.5, structured=True, scope="shared")
    kernel, bias = (np.array(v) for v in pruned.get_layer("shared_0").get_weights())
    old = np.array(model.get_layer("shared_0").kernel)
    gone = np.argsort(np.abs(old).sum(0))[:6]
    assert (kernel[:, gone] == 0).all() and (bias[gone] == 0).all()
    kept = np.setdiff1d(np.arange(12), gone)
    np.testing.assert_array_equal(kernel[:, kept], old[:, kept])
    pruned.compile(keras.optimizers.Adam(0.05), jit_compile=False, run_eagerly=True)
    pruned.fit(X, Y, verbose=0, callbacks=[KeepZeros()])
    small = prune_units(pruned, {"shared_0": 0.5, "shared_1": 0.5})
    assert small.count_params() < 0.6 * pruned.count_params()
    for name, wanted in pruned.predict(X, verbose=0).items():
        np.testing.assert_allclose(small.predict(X, verbose=0)[name], wanted, atol=1e-5)


@pytest.mark.slow
def test_experts_without_inputs_keep_their_biases_zero():
    model = MMoE(keras.Input((6,)), tasks(), num_experts=2, expert_units=(5, 4), tower_units=())
    pruned = prune_weights(model, 0.5, structured=True, scope="shared")
    experts = pruned.get_layer("experts")
    zero = (np.array(experts.kernels[1]) == 0).all(1)
    assert zero.sum() == 4  # two units of both experts
    pruned.compile(keras.optimizers.Adam(0.05), jit_compile=False, run_eagerly=True)
    pruned.fit(X, Y, verbose=0, callbacks=[KeepZeros("shared")])
    assert (np.array(experts.biases[1])[zero] == 0).all()
    assert (np.array(experts.biases[1])[~zero] != 0).any()


# -- step by step --------------------------------------------------------------------------------


def test_the_schedule_is_the_cubic_one_of_the_paper():
    pruning = GradualPruning(0.8, steps=100, begin=20, every=10, initial_sparsity=0.2)
    for update in (20, 45, 70, 120):
        left = 1 - (update - 20) / 100
        np.testing.assert_allclose(pruning.sparsity_at(update), 0.8 - 0.6 * left**3)
    assert pruning.sparsity_at(19) == 0
    assert pruning.sparsity_at(500) == 0.8


@pytest.mark.slow
def test_more_and_more_weights_go_and_none_comes_back(caplog):
    model = sharing()
    model.compile("adam", jit_compile=False, run_eagerly=True)
    pruning = GradualPruning(0.75, steps=6, begin=1, every=2)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(sparsity_of(model))

    model.fit(X, Y, batch_size=4, verbose=0, callbacks=[pruning, Look()])
    size = sum(kernel.size for kernel in arrays(model))
    wanted = [pruning.sparsity_at(u) for u in (1, 1, 3, 3, 5, 5, 7, 7)]
    np.testing.assert_allclose(seen, wanted, atol=1 / size)
    state = callback_states.get([pruning])
    assert state[0]["state"] == {"pruned_at": 7}
    resumed = GradualPruning(0.75, steps=6, begin=1, every=2)
    callback_states.restore([resumed], state)
    assert resumed.get_state() == {"pruned_at": 7}
    model.fit(X, Y, batch_size=16, verbose=0, callbacks=[GradualPruning(0.9, steps=20)])
    assert "before `GradualPruning` was through at update 20" in caplog.text


def test_a_second_model_is_pruned_from_its_first_update():
    pruning = GradualPruning(0.8, steps=1, initial_sparsity=0.5)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(sparsity_of(self.model))

    for _ in range(2):
        model = HardSharing(keras.Input((6,)), tasks(), shared_units=(4,), tower_units=())
        model.compile("sgd", jit_compile=False, run_eagerly=True)
        model.fit(X, Y, batch_size=32, verbose=0, callbacks=[pruning, Look()])
    assert seen == [0.5, 0.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"`sparsity` should be a number from 0 to below 1"),
        ({"sparsity": 0.5, "per": "task"}, r"`per` should be 'model' or 'layer'"),
        ({"sparsity": 0.5, "scope": "heads"}, r"`scope` should be 'all', 'shared', 'tasks' or"),
        ({"sparsity": 0.5, "scope": ["buy"]}, r"name some of the tasks .*'buy' in scope"),
        ({"sparsity": 0.5, "scope": []}, r"`scope` should be"),
        (
            {"sparsity": 0.5, "scope": ["click"], "structured": True},
            r"`scope` should have layers whose units can be cut.*answer of the task `click`",
        ),
    ],
)
def test_what_cannot_be_pruned(arguments, message):
    model = HardSharing(keras.Input((6,)), tasks(), shared_units=(4,), tower_units=())
    with pytest.raises(ValueError, match=message):
        prune_weights(model, **arguments)


def test_one_task_has_nothing_shared():
    model = HardSharing(keras.Input((6,)), [Regression("stay")], shared_units=(4,))
    with pytest.raises(ValueError, match=r"`scope` should have kernels in it.*'shared'"):
        prune_weights(model, 0.5, scope="shared")
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"`scope` should have kernels in it"):
        model.fit(X, {"stay": X[:, :1]}, verbose=0, callbacks=[KeepZeros("shared")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 0.5, "steps": 0}, r"`steps` should be an integer of at least 1"),
        ({"sparsity": 0.5, "steps": 5, "begin": -1}, r"`begin` should be an integer of at least 0"),
        ({"sparsity": 0.5, "steps": 5, "every": 0}, r"`every` should be an integer"),
        (
            {"sparsity": 0.5, "steps": 5, "initial_sparsity": 0.6},
            r"`initial_sparsity` should be at most `sparsity`, 0.5",
        ),
    ],
)
def test_schedules_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradualPruning(**arguments)


@pytest.mark.slow
def test_zeros_stay_zero_on_two_replicas():
    (found,) = lines_of("pruned_replicas", [], ["analysis"])
    assert found == {"replicas": 2, "zeros": True, "moved": [True] * 3, "sparsity": [0.7, 0.7]}
