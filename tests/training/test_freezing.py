"""Frozen parts: what stays, what is seen of it, and that it is saved."""

import keras
import numpy as np
import pytest
from conformance.registry import BALANCERS, Case, rows

from mtlzoo import HardSharing, MultiTaskModel, Regression
from mtlzoo.backbones import ConvNet
from mtlzoo.training import Backup, GradualUnfreezing, freeze, trunk_stages, unfreeze

GRAPH = Case("MultiTaskModel")
TRUNK = ("words", "inner", "twice", "norm")


def arrays(variables):
    return {v.path: keras.ops.convert_to_numpy(v).copy() for v in variables}


def moved(model, before):
    """The names of the layers of which a variable is another than before."""
    now = arrays(model.variables)
    paths = [path for path in now if not np.array_equal(now[path], before[path])]
    return {path.split("/")[-2] for path in paths if "/" in path}  # others are the balancer's


def deep(balancer="pcgrad", optimizer=None, compiled=True, **arguments):
    keras.utils.set_random_seed(1)
    inputs = {"features": keras.Input((6,), name="features")}
    model = HardSharing(inputs, Case().tasks(), shared_units=(8, 8), activation="tanh")
    if compiled:
        optimizer = optimizer or keras.optimizers.Adam(0.01)
        model.compile(optimizer, BALANCERS[balancer](), **{"jit_compile": False, **arguments})
    return model


# -- which layers ---------------------------------------------------------------------------------


def images():
    backbone = ConvNet((28, 28, 1), filters=(2, 3), name="backbone")
    tasks = [Regression("a"), Regression("b")]
    inputs = keras.Input((28, 28, 1))
    return HardSharing(inputs, tasks, backbone=backbone, shared_units=(4,), tower_units=(3,))


def frozen(model):
    layers = model._flatten_layers(include_self=False)
    return {layer.name for layer in layers if layer.weights and not layer.trainable}


OF_IMAGES = {
    "what all share": (
        (),
        {},
        {"backbone", "conv_0_conv", "conv_1_conv", "dense_0_dense", "shared_0"},
    ),
    "a name": (("shared_0",), {}, {"shared_0"}),
    "a pattern": (("*_tower_*",), {}, {"a_tower_0", "b_tower_0"}),
    "a name inside": (("conv_1_conv",), {}, {"conv_1_conv"}),
    "a path": (("backbone/conv_0*",), {}, {"conv_0_conv"}),
    "a model inside": (
        ("backbone",),
        {},
        {"backbone", "conv_0_conv", "conv_1_conv", "dense_0_dense"},
    ),
    "stages": ((), {"stages": ["conv_0", "shared_0"]}, {"conv_0_conv", "shared_0"}),
    "a task": ((), {"tasks": ["b"]}, {"b", "b_tower_0"}),
}


@pytest.mark.parametrize("case", OF_IMAGES)
def test_what_is_named_is_frozen_and_trained_again(case):
    layers, others, expected = OF_IMAGES[case]
    model = images()
    names = freeze(model, *layers, **others)
    assert frozen(model) - {"backbone"} == expected - {"backbone"}
    assert set(names) == expected - {"backbone"}
    trained = {id(v) for v in model.trainable_variables}
    assert not any(id(v) in trained for name in names for v in _layer(model, name).variables)
    if layers or others:
        assert unfreeze(model, *layers, **others) == names
    else:
        assert set(names) < set(unfreeze(model))
    assert not frozen(model)


def _layer(model, name):
    return next(layer for layer in model._flatten_layers() if layer.name == name)


def test_a_part_of_what_is_frozen_can_be_trained():
    model = images()
    freeze(model, "backbone")
    unfreeze(model, "conv_1_conv")
    assert {v.path.split("/")[-2] for v in model.get_layer("backbone").trainable_variables} == {
        "conv_1_conv"
    }


def test_a_kernel_beside_an_update_of_low_rank_stays_frozen():
    model = images()
    dense = model.get_layer("shared_0")
    dense.enable_lora(2)
    freeze(model, "shared_0")
    assert not dense.trainable_variables
    unfreeze(model, "shared_0")
    assert {v.name for v in dense.trainable_variables} == {"bias", "lora_kernel_a", "lora_kernel_b"}


def test_what_a_model_does_not_have_is_refused_with_what_is_near():
    model = images()
    with pytest.raises(ValueError, match=r"near it are \['shared_0'.*Received: 'shard_0'"):
        freeze(model, "shard_0")
    with pytest.raises(ValueError, match=r"`stages` should name stages.*near it are \['conv_1'"):
        freeze(model, "shared_0", stages=["conv1"])
    with pytest.raises(ValueError, match=r"`tasks` should name tasks.*there are \['a', 'b'\]"):
        freeze(model, "shared_0", tasks=["clicks"])
    with pytest.raises(ValueError, match="`stages` should be a list of names"):
        freeze(model, stages="conv_1")
    with pytest.raises(ValueError, match=r"`layers` should be names of layers.*Received: 3"):
        freeze(model, 3)
    assert not frozen(model)
    with pytest.raises(ValueError, match="which share none"):
        freeze(Case("SoftSharing").build())
    with pytest.raises(ValueError, match="`model` should be a multi-task model"):
        freeze(model.single_task("a"))
    esmm = Case("ESMM").build()
    with pytest.raises(ValueError, match=r"tasks with layers of their own\. Received: 'click'"):
        freeze(esmm, tasks=["click"])


@pytest.mark.parametrize("name", ["CrossStitch", "AdapterSharing, lora", "PLE"])
def test_the_trunk_of_an_architecture_is_what_no_task_owns(name):
    model = Case(name).build()
    owned = {id(v) for task in model.task_names for v in model.task_variables(task)}
    of_stages = [la for stage in trunk_stages(model).values() for la in stage]
    found = {id(v) for layer in of_stages for v in layer.trainable_variables}
    assert found == {id(v) for v in model.shared_variables}
    freeze(model)
    assert {id(v) for v in model.trainable_variables} == owned


# -- training -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_frozen_stays_with_its_statistics_and_its_place_in_the_optimizer():
    model = GRAPH.compiled(keras.optimizers.Adam(0.01, weight_decay=0.1))
    x, y = rows(model, 24)
    fit = {"batch_size": 12, "verbose": 0, "shuffle": False}
    model.fit(x, y, **fit)
    freeze(model)
    before, slots = arrays(model.variables), arrays(model.optimizer.variables)
    model.fit(x, y, **fit)
    assert moved(model, before) and not moved(model, before) & set(TRUNK)
    now = arrays(model.optimizer.variables)
    of_trunk = [path for path in now if any(f"{name}_" in path for name in TRUNK)]
    assert len(of_trunk) == 14  # two moments of each of 7 variables
    assert all(np.array_equal(now[path], slots[path]) for path in of_trunk)
    unfreeze(model)
    before = arrays(model.variables)
    model.fit(x, y, **fit)
    assert moved(model, before) >= set(TRUNK)


def test_heads_of_a_frozen_trunk_learn_as_on_its_features():
    """The reference is a model of the features that the frozen trunk gives."""
    model = deep(optimizer=keras.optimizers.SGD(0.1))
    x, y = rows(model, 24)
    freeze(model)
    features = keras.Model(model.input, model.get_layer("shared_1").output).predict(x, verbose=0)
    alone = MultiTaskModel(
        given := keras.Input((8,)),
        {task.name: task.head(given) for task in Case().tasks()},
        tasks=Case().tasks(),
    )
    alone.compile(keras.optimizers.SGD(0.1), "equal", jit_compile=False)
    for name in model.task_names:
        alone.get_layer(name).set_weights(model.get_layer(name).get_weights())
    logs = [
        m.fit(d, y, batch_size=12, epochs=2, shuffle=False, verbose=0).history
        for m, d in ((model, x), (alone, features))
    ]
    for name in model.task_names:
        for one, other in zip(
            model.get_layer(name).get_weights(), alone.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-6)
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], abs=1e-5)


@pytest.mark.slow
def test_frozen_before_compile_the_optimizer_knows_it_not(caplog):
    model = deep(compiled=False)
    freeze(model)
    model.compile("adam", "uncertainty")
    assert not [v for v in model.optimizer.variables if "shared" in v.path]
    unfreeze(model, "shared_1")
    assert "should be compiled again before it is trained" in caplog.text
    freeze(model, "shared_1")
    x, y = rows(model, 12)
    with pytest.raises(ValueError, match="`groups` should be trainable when the model is compiled"):
        model.fit(x, y, verbose=0, callbacks=[GradualUnfreezing()])
    unfreeze(model)
    model.compile("adam", "uncertainty", jit_compile=False)
    model.fit(x, y, verbose=0)


def test_a_balancer_of_gradients_of_nothing_is_refused():
    model = deep(compiled=False)
    freeze(model)
    with pytest.raises(ValueError, match="no trainable variable that two tasks share"):
        model.compile("adam", "pcgrad")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "HardSharing",
        "MultiTaskModel",
        "AdapterSharing, batch_norm",
    ],
)
def test_a_frozen_model_is_saved_with_its_optimizer_and_goes_on(name, tmp_path):
    """Frozen after `compile`, so that the optimizer has more than what is trained."""
    model = Case(name).compiled(keras.optimizers.Adam(0.01))
    x, y = rows(model, 24)
    fit = {"batch_size": 12, "verbose": 0, "shuffle": False}
    model.fit(x, y, **fit)
    freeze(model)
    model.fit(x, y, **fit)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert frozen(again) == frozen(model) and frozen(model)
    for each in (model, again):
        each.fit(x, y, **fit)
        unfreeze(each)
        each.fit(x, y, **fit)
    for one, other in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_was_frozen_at_compile_is_when_loaded(tmp_path):
    """In the other order: the optimizer has less than what is trainable when it is saved."""
    model = deep(compiled=False)
    freeze(model, "shared_0")
    model.compile("adam", "pcgrad", jit_compile=False)
    unfreeze(model, "shared_0")
    freeze(model, "shared_1")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert frozen(again) == {"shared_1"}
    assert [v.path for v in again.optimizer.variables] == [
        v.path for v in model.optimizer.variables
    ]


def test_a_frozen_backbone_is_saved_frozen():
    backbone = ConvNet((28, 28, 1), filters=(2, 3))
    freeze(backbone, "conv_0_conv")
    again = ConvNet.from_config(backbone.get_config())
    assert frozen(again) == {"conv_0_conv"}
    freeze_nothing = ConvNet((28, 28, 1), filters=(2, 3))
    assert "frozen" not in freeze_nothing.get_config()
    config = {**backbone.get_config(), "frozen": [99]}
    with pytest.raises(ValueError, match="`frozen` of a config should be places among the"):
        ConvNet.from_config(config)


@pytest.mark.slow
def test_missing_labels_in_half_precision_and_export(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = GRAPH.compiled(keras.optimizers.Adam(0.01))
    finally:
        keras.config.set_dtype_policy("float32")
    freeze(model)
    x, y = rows(model, 24)
    y["click"][:12] = -1
    before = arrays(model.variables)
    model.fit(x, y, batch_size=12, epochs=6, verbose=0, shuffle=False)  # some overflow
    assert not moved(model, before) & set(TRUNK)
    assert {"click", "kind", "stay"} <= moved(model, before)
    model.export(tmp_path / "served", verbose=False)
    assert frozen(model)


# -- gradually ------------------------------------------------------------------------------------


class Moved(keras.callbacks.Callback):
    """By epoch which layers have moved, and how often the step was traced."""

    def __init__(self):
        super().__init__()
        self.layers, self.traces = [], []

    def set_model(self, model):
        super().set_model(model)
        self.count, original = 0, model._step.train

        def train(*args):
            self.count += 1
            return original(*args)

        model._step.train = train

    def on_epoch_begin(self, epoch, logs=None):
        self.before = arrays(self.model.variables)

    def on_epoch_end(self, epoch, logs=None):
        self.layers.append(moved(self.model, self.before))
        self.traces.append(self.count)


HEADS = {"click", "kind", "stay"}


@pytest.mark.slow
@pytest.mark.parametrize("balancer", BALANCERS)
def test_every_balancer_trains_one_stage_more_each_epoch(balancer):
    model = deep(balancer)
    x, y = rows(model, 24)
    seen = Moved()
    model.fit(x, y, batch_size=12, epochs=3, verbose=0, callbacks=[GradualUnfreezing(), seen])
    assert seen.layers == [HEADS, HEADS | {"shared_1"}, HEADS | {"shared_1", "shared_0"}]
    assert seen.traces == [1, 2, 3]


@pytest.mark.slow
def test_groups_and_epochs_can_be_given():
    model = deep("equal")
    x, y = rows(model, 12)
    seen = Moved()
    gradual = GradualUnfreezing([["shared_0"], ["shared_1", "cl*"]], epochs=[1, 4])
    model.fit(x, y, epochs=5, verbose=0, callbacks=[gradual, seen])
    own, more = {"kind", "stay"}, {"kind", "stay", "click", "shared_1"}
    assert seen.layers == [own, more, more, more, more | {"shared_0"}]
    assert seen.traces == [1, 2, 2, 2, 3]
    model = deep("equal")
    again = Moved()  # where it was
    model.fit(
        x, y, epochs=5, initial_epoch=4, verbose=0, callbacks=[GradualUnfreezing(every=2), again]
    )
    assert again.layers == [HEADS | {"shared_1", "shared_0"}]


REFUSED = {
    "groups, a list of": ({"groups": ["shared_0"]}, "`groups` should be a list of lists"),
    "every": ({"every": 0}, "`every` should be an integer of at least 1. Received: every=0"),
    "epochs": ({"epochs": [2, 1]}, "`epochs` should be a list of ascending epochs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_refused(case):
    arguments, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        GradualUnfreezing(**arguments)


def test_unknown_groups_are_refused_before_a_step():
    model = deep()
    x, y = rows(model, 12)
    before = arrays(model.variables)
    with pytest.raises(ValueError, match=r"`groups` should name layers of the model.*'shred_0'"):
        model.fit(x, y, verbose=0, callbacks=[GradualUnfreezing([["shred_0"]])])
    with pytest.raises(ValueError, match="`epochs` should have one entry for each of the groups"):
        model.fit(x, y, verbose=0, callbacks=[GradualUnfreezing(epochs=[1])])
    assert not moved(model, before)


class Killed(keras.callbacks.Callback):
    def __init__(self, at):
        super().__init__()
        self.left = at

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 1])
def test_a_killed_training_goes_on_as_it_was(steps, tmp_path):
    """Of two steps in each epoch; killed in the first or the second."""
    x, y = rows(deep(), 24)
    fit = {"batch_size": 12, "epochs": 3, "verbose": 0, "shuffle": False}

    def callbacks(name):
        return [GradualUnfreezing(), Backup(tmp_path / name, every=1)]

    model = deep()
    model.fit(x, y, callbacks=callbacks("whole.npz"), **fit)
    killed = deep()
    with pytest.raises(KeyboardInterrupt):
        killed.fit(x, y, callbacks=[*callbacks("killed.npz"), Killed(steps)], **fit)
    again = deep()
    again.fit(x, y, callbacks=callbacks("killed.npz"), **fit)
    for one, other in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    done = deep()  # nothing is left, and it is as it was at the end
    done.fit(x, y, callbacks=callbacks("killed.npz"), **fit)
    assert not frozen(done)


# -- averages, and what `compile` did not see ------------------------------------------------------


def averaging(frequency=None):
    """At a rate at which nothing moves by itself."""
    return keras.optimizers.SGD(
        1e-9, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=frequency
    )


EMA = {
    "at the end": (averaging, lambda model: freeze(model, "shared_0")),
    "in the step": (lambda: averaging(1), lambda model: freeze(model, "shared_0")),
    "by hand": (averaging, lambda model: setattr(model.get_layer("shared_0"), "trainable", False)),
    "scaled": (
        lambda: keras.optimizers.LossScaleOptimizer(averaging()),
        lambda model: freeze(model, "shared_0"),
    ),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("case", EMA)
def test_averages_stay_with_their_variables(case):
    """`shared_0` to `shared_2` have the same shapes."""
    optimizer, without = EMA[case]
    keras.utils.set_random_seed(1)
    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=(4, 4, 4), activation="tanh")
    model.compile(optimizer(), jit_compile=False)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    fit = {"x": x, "y": {"a": x[:, 0], "b": x[:, 1]}, "verbose": 0}
    model.fit(**fit)
    model.get_layer("shared_0").kernel.assign_add(np.ones((4, 4)))  # its average lags
    before = arrays(model.weights)
    without(model)
    model.fit(**fit)
    for path, value in arrays(model.weights).items():
        if "/" not in path:  # the balancer's
            continue
        np.testing.assert_allclose(value, before[path], atol=1e-6, err_msg=path)


@pytest.mark.slow
def test_averages_are_what_a_training_ends_with():
    """A frozen layer before it does not change which."""
    model = deep("equal", keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    x, y = rows(model, 24)
    freeze(model, "shared_0")
    model.fit(x, y, batch_size=12, verbose=0)
    trained = [v for v in model.optimizer._trainable_variables if v.trainable]
    assert 0 < len(trained) < len(model.optimizer._trainable_variables)
    of = {
        id(v): a
        for v, a in zip(
            model.optimizer._trainable_variables,
            model.optimizer._model_variables_moving_average,
            strict=True,
        )
    }
    for variable in trained:
        np.testing.assert_array_equal(variable, of[id(variable)])


@pytest.mark.slow
def test_what_the_optimizer_does_not_know_is_refused_by_fit(caplog):
    model = deep(compiled=False)
    freeze(model, "shared_1")
    model.compile("adam", "uncertainty", jit_compile=False)
    unfreeze(model)
    x, y = rows(model, 12)
    before = arrays(model.variables)
    with pytest.raises(
        ValueError,
        match=rf"model `{model.name}` should be compiled again.*`shared_1/kernel` and 1 more",
    ):
        model.fit(x, y, verbose=0)
    assert not moved(model, before)
    model.compile("adam", "uncertainty", jit_compile=False)
    model.fit(x, y, verbose=0)


def test_no_model_is_refused():
    for function in (freeze, unfreeze):
        with pytest.raises(ValueError, match=r"should be a Keras model\. Received: model=None"):
            function(None, "shared_0")
