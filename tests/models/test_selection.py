"""Tasks that are selected, switched and weighed while a model trains."""

import keras
import numpy as np
import pytest
from model_cases import assert_all_moved, assert_close, assert_same, copies, double, state, train

from mtlzoo import FAMO, HardSharing, MMoE, MultiTaskModel, PCGrad, Regression
from mtlzoo.balancing import AutoLambda, Combined, MoDo
from mtlzoo.training import Backup, Distillation

NAMES = ("a", "b", "c")
#: What is selected in each step: a set that was there before comes again.
TURNS = (["a", "b"], ["c"], ["b", "a"])


def data(rows=8):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4))
    return x, {name: rng.normal(size=(rows, 1)) for name in NAMES}


def tasks():
    return [Regression(name, metrics=[]) for name in NAMES]


def with_batch_norm():
    """Statistics of the trunk and of each head, and a layer that adds a loss in each head."""
    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="x")
    trunk = keras.layers.BatchNormalization(name="trunk_norm")(keras.layers.Dense(6, "tanh")(x))
    outputs = {}
    for task in tasks():
        tower = keras.layers.Dense(3, "tanh", activity_regularizer="l2", kernel_regularizer="l2")
        tower = keras.layers.BatchNormalization(name=f"{task.name}_norm")(tower(trunk))
        outputs[task.name] = task.head(tower)
    return MultiTaskModel(x, outputs, tasks=tasks())


def compiled(balancer="equal", optimizer=None, model=None, **arguments):
    model = model or with_batch_norm()
    optimizer = optimizer or keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(optimizer, balancer, **{"run_eagerly": True, **arguments})
    return model


def everything(model):
    return [*state(model), *model.optimizer.variables]


def in_turns(model, choose):
    for names in TURNS:
        choose(model, names)
        train(model, *data(), batch_size=8)
    return copies(everything(model))


def switch(model, names):
    model.switch_tasks(**{name: names is None or name in names for name in NAMES})


@pytest.mark.slow
@pytest.mark.parametrize(
    "balancer",
    [
        "uncertainty",
        PCGrad(wrt="features"),
        "grad_drop",
        Combined("dwa", "mgda"),
        "equal",
        "pcgrad",
        PCGrad(every=2),
        FAMO(),
        AutoLambda(),
        MoDo(),
    ],
    ids=str,
)
def test_selecting_trains_as_switching_off_does(balancer):
    double()
    model, other = compiled(balancer), compiled(balancer)
    # What a head adds to the loss counts only if it is computed, and then moves the trunk too.
    for each in (model, other):
        for layer in each.layers:
            layer.activity_regularizer = None
    assert_close(in_turns(model, MultiTaskModel.select_tasks), in_turns(other, switch), 1e-12)


OPTIMIZERS = {
    "accumulation": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
    "averages": lambda: keras.optimizers.Adam(0.01, use_ema=True, weight_decay=0.1, clipnorm=0.1),
}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["accumulation", "averages"])
def test_with_averages_and_accumulation_too(optimizer):
    double()
    model, other = (compiled("pcgrad", OPTIMIZERS[optimizer]()) for _ in range(2))
    for each in (model, other):
        for layer in each.layers:
            layer.activity_regularizer = None
    assert_close(in_turns(model, MultiTaskModel.select_tasks), in_turns(other, switch), 1e-12)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("balancer", ["equal", "pcgrad", PCGrad(wrt="features")], ids=str)
def test_nothing_of_the_other_tasks_is_computed(balancer):
    model = compiled(balancer)
    called = []
    for task in NAMES:
        layer = model.get_layer(task)
        layer.call = lambda *x, call=layer.call, task=task, **given: (
            called.append(task) or call(*x, **given)
        )
    model.select_tasks(("b",))
    before = {name: copies(model.task_variables(name)) for name in NAMES}
    statistics = [v for v in model.non_trainable_variables if "c_norm" in v.path]
    kept = copies(statistics)
    x, y = data()
    train(model, x, y, batch_size=8)
    assert set(called) == {"b"}
    assert_same(model.task_variables("a"), before["a"])
    assert_all_moved(model.task_variables("b"), before["b"])
    assert_same(statistics, kept)
    assert model.task_weights["a"] == model.task_weights["c"] == 0
    assert sorted(k for k, v in model.history.history.items() if np.isfinite(v[0])) == [
        "b_loss",
        "loss",
    ]


@pytest.mark.slow
def test_a_step_is_traced_once_for_each_set():
    model = HardSharing(keras.Input((4,)), tasks(), shared_units=[3])
    model = compiled(model=model, run_eagerly=False, jit_compile=False)
    traced = []
    step = model.train_step
    model.train_step = lambda batch: traced.append(model.selected_tasks) or step(batch)
    in_turns(model, MultiTaskModel.select_tasks)
    in_turns(model, MultiTaskModel.select_tasks)
    assert traced == [["a", "b"], ["c"]]


@pytest.mark.slow
def test_evaluation_is_of_all_tasks():
    model = compiled()
    model.select_tasks(["a"])
    model.weigh_tasks(b=0.0)
    logs = model.evaluate(*data(), return_dict=True, verbose=0)
    assert all(np.isfinite(logs[f"{name}_loss"]) for name in NAMES)
    model.compile("sgd")
    assert model.selected_tasks == list(NAMES)
    assert model.task_factors == dict.fromkeys(NAMES, 1.0)


def test_a_selected_task_that_shares_nothing_can_be_trained_by_a_gradient_balancer():
    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="x")
    trunk = keras.layers.Dense(3)(x)
    a, b, c = tasks()
    outputs = {"a": a.head(trunk), "b": b.head(trunk), "c": c.head(x)}
    model = compiled("pcgrad", model=MultiTaskModel(x, outputs, tasks=[a, b, c]))
    before = copies(model.task_variables("c"))
    model.select_tasks(["c"])
    train(model, *data())
    assert_all_moved(model.task_variables("c"), before)


def test_soft_targets_are_selected_with_their_task():
    double()
    teacher, student = (
        HardSharing(keras.Input((4,), name="x"), tasks(), shared_units=[3]) for _ in range(2)
    )
    model = compiled("pcgrad", model=Distillation(student, teacher))
    model.select_tasks(["b"])
    assert model.selected_tasks == ["b", "b_soft"]
    model.select_tasks(["a_soft"])
    assert model.selected_tasks == ["a", "a_soft"]
    train(model, *data())
    assert np.isfinite(model.history.history["a_soft_loss"][0])
    assert np.isnan(model.history.history["b_soft_loss"][0])


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "balancer",
    [
        "equal",
        PCGrad(wrt="features"),
        pytest.param("pcgrad", marks=pytest.mark.slow),
        pytest.param(FAMO(), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_factors_are_loss_weights_that_may_change(balancer):
    double()
    weights = {"a": 3.0, "b": 0.25, "c": 1.0}
    build = lambda: MMoE(keras.Input((4,)), tasks(), num_experts=2, expert_units=[3])  # noqa: E731
    keras.utils.set_random_seed(2)
    fixed = compiled(balancer, model=build(), loss_weights={**weights, "c": 2.0})
    keras.utils.set_random_seed(2)
    model = compiled(balancer, model=build(), loss_weights={"c": 2.0})
    train(model, *data(), epochs=0)
    model.weigh_tasks(a=9.0)
    model.weigh_tasks(**{**weights, "b": np.float32(0.25)})
    assert model.task_factors == weights
    for each in (fixed, model):
        train(each, *data(), epochs=2)
    assert_close(copies(everything(model)), copies(everything(fixed)), 1e-12)
    of_step = model.history.history
    total = of_step["a_loss"][1] + of_step["b_loss"][1] + 2.0 * of_step["c_loss"][1]
    assert of_step["loss"][1] == pytest.approx(total)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("balancer", ["uncertainty", "mgda"])
def test_a_task_with_the_factor_0_is_absent(balancer):
    double()
    model, other = compiled(balancer), compiled(balancer)
    model.weigh_tasks(b=0)
    other.switch_tasks(b=False)
    for each in (model, other):
        train(each, *data())
    assert_close(copies(everything(model)), copies(everything(other)), 1e-12)


@pytest.mark.parametrize("names", [[], "a", 3, ["a", "d"]])
def test_unusable_selections_are_refused(names):
    model = compiled()
    with pytest.raises(ValueError, match=r"^`names?` should be .*Received: names?="):
        model.select_tasks(names)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("factor", [-1, float("nan"), float("inf"), 1e39, True, "1", None])
def test_unusable_factors_are_refused(factor):
    model = compiled()
    with pytest.raises(ValueError, match=r"^The factor of task `b` should be a number that is not"):
        model.weigh_tasks(a=2.0, b=factor)
    assert model.task_factors["a"] == 1.0


def test_before_compile_there_is_nothing_to_select():
    with pytest.raises(ValueError, match=r"should be compiled first"):
        with_batch_norm().select_tasks(["a"])


def test_a_training_that_fails_leaves_what_was_chosen_before_it():
    model = compiled()
    model.select_tasks(["a", "b"])
    model.weigh_tasks(a=0.5)

    def choose(batch, logs):
        model.select_tasks(["c"])
        model.switch_tasks(b=False)
        model.weigh_tasks(a=0.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, *data(), callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=choose)])
    assert model.selected_tasks == ["a", "b"]
    assert model.task_mask == dict.fromkeys(NAMES, True)
    assert model.task_factors == {"a": 0.5, "b": 1.0, "c": 1.0}


@pytest.mark.slow
def test_initial_losses_are_of_the_first_step_of_each_task():
    model = compiled(loss_weights={"a": 2.0})
    model.select_tasks(["a"])
    train(model, *data(), batch_size=8)
    found = model.initial_losses
    assert found["a"] == pytest.approx(model.history.history["a_loss"][0])
    assert np.isnan([found["b"], found["c"]]).all()
    model.select_tasks(["b", "c"])
    train(model, *data(), batch_size=8)
    assert model.initial_losses["a"] == found["a"]
    assert model.initial_losses["c"] == pytest.approx(model.history.history["c_loss"][0])


def test_a_killed_training_goes_on_with_the_tasks_that_were_selected(tmp_path):
    def run(epochs, choose):
        model = compiled(model=HardSharing(keras.Input((4,)), tasks(), shared_units=[3]))
        chosen = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: choose and model.select_tasks(["a", "c"])
        )
        backup = Backup(tmp_path / "backup.npz")
        train(model, *data(), epochs=epochs, shuffle=False, callbacks=[chosen, backup])
        return model

    run(1, True)
    assert run(2, False).selected_tasks == ["a", "c"]
