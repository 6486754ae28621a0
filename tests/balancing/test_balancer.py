"""What all balancers share: life cycle, state, names, serialization, errors."""

import ast
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from gradient_cases import tasks

from mtlzoo import balancing
from mtlzoo.balancing import (
    COSMOS,
    DBMTL,
    DWA,
    EMA,
    FAMO,
    GLS,
    IMTLG,
    IMTLL,
    MGDA,
    PBI,
    PCD,
    RLW,
    STCH,
    AlignedMTL,
    AutoLambda,
    Balancer,
    CAGrad,
    Combined,
    ConFIG,
    DualProj,
    Equal,
    ExcessMTL,
    FairGrad,
    GradDrop,
    GradientBalancer,
    GradNorm,
    GradVac,
    InitialLossScale,
    JacobianBalancer,
    Krum,
    LossBalancer,
    MoCo,
    MoDo,
    NashMTL,
    PCGrad,
    ScaleInvariant,
    SDMGrad,
    TaskPrioritization,
    TrimmedMean,
    Uncertainty,
    UPGrad,
    WarmUp,
)
from mtlzoo.balancing.balancer import NEEDS

TASKS = tasks(a="classification", b="regression", c="regression")
TRAINED = {"uncertainty": ["log_variance"], "imtl_l": ["log_scale"]}
SOURCES = sorted(Path(balancing.__file__).parent.glob("*.py"))


def test_build_keeps_state_for_the_same_names_and_makes_it_anew_for_others():
    balancer = DWA()
    balancer.build(TASKS)
    balancer.on_epoch_end({"a_loss": 1.0, "b_loss": 2.0, "c_loss": 3.0})
    first = balancer.history
    balancer.build(tasks(a="regression", b="regression", c="regression"))
    assert balancer.history is first
    assert balancer.loss_families == ("regression",) * 3
    balancer.build(tasks(a="regression", d="regression"))
    assert balancer.task_names == ("a", "d")
    assert np.all(keras.ops.convert_to_numpy(balancer.history) == 0)


@pytest.mark.parametrize("names", [["b", "a"], ["a", "a"], []])
def test_build_refuses_unsorted_names(names):
    wrong = [tasks(**{n: "regression"})[0] for n in names]
    with pytest.raises(ValueError, match=r"`tasks` should be .* sorted order of unique names"):
        Equal().build(wrong)


@pytest.mark.parametrize("name", balancing.names())
def test_state(name):
    balancer = balancing.get(name)
    assert balancer.needs and balancer.needs <= NEEDS
    assert balancer.variables == []
    balancer.build(TASKS)
    assert list(balancer.state)[:2] == ["step", "task_weights"]
    assert list(balancer.state.values()) == balancer.variables
    assert len({id(v) for v in balancer.variables}) == len(balancer.variables)
    assert int(balancer.step) == 0
    assert keras.backend.is_int_dtype(balancer.step.dtype)
    np.testing.assert_array_equal(balancer.task_weights, np.ones(3))
    for variable in balancer.variables:
        assert variable.aggregation == "only_first_replica"
    for variable in balancer.trainable_variables:
        assert variable.shape[0] == 3, "trainable state has the task axis first"
    assert [v.name for v in balancer.trainable_variables] == TRAINED.get(name, [])


def test_add_variable_refuses_a_taken_name():
    class Twice(LossBalancer):
        def create_variables(self):
            self.add_variable("x", (), "zeros")
            self.add_variable("x", (), "zeros")

    with pytest.raises(ValueError, match=r"`name` should be new .* Received: `name='x'`"):
        Twice().build(TASKS)


CONFIGURED = [
    Equal(),
    Uncertainty(),
    DWA(temperature=0.5),
    RLW("bernoulli", seed=5),
    GLS(),
    ScaleInvariant(epsilon=1e-3),
    IMTLL(),
    InitialLossScale(),
    STCH(mu=0.1, preference={"a": 1.0, "b": 2.0, "c": 3.0}, ideal={"a": 0.5, "b": 0, "c": -1}),
    TaskPrioritization(metrics={"a": "accuracy"}, gamma=2.0, decay=0.9),
    COSMOS({"a": 1, "b": 2, "c": 3}, penalty=0.0),
    PBI({"a": 1, "b": 2, "c": 3}, theta=0.5, ideal={"a": 0.5, "b": 0, "c": -1}),
    FAMO(learning_rate=0.1, decay=0.0, minimum_losses={"a": 0.5, "b": 0, "c": -1}),
    GradNorm(alpha=0.5, learning_rate=0.1, wrt="features", every=2),
    PCGrad(seed=7, wrt="features", every=3),
    MGDA(wrt="features", every=2),
    UPGrad(preference={"a": 1.0, "b": 0.0, "c": 2.0}, wrt="features"),
    DualProj(preference={"a": 1.0, "b": 0.0, "c": 2.0}, every=2),
    FairGrad(alpha=2.0, every=2),
    NashMTL(max_norm=None, wrt="features"),
    CAGrad(c=0.3, rescale=True, wrt="features"),
    PCD("b", tau={"a": 0.1, "c": 0.0}, beta=0.5, every=2),
    AlignedMTL(scale="rmse", preference={"a": 1.0, "b": 0.5, "c": 2.0}),
    IMTLG(wrt="features"),
    ConFIG(preference={"a": 1.0, "b": 0.5, "c": 2.0}),
    Krum(num_selected=2, every=2),
    GradVac(beta=0.1, seed=3),
    EMA(EMA(GradVac(every=2), decay=0.3), decay=0.5),
    MoDo(learning_rate=0.5, regularization=0.0, groups={"low": ["a"]}),
    SDMGrad({"a": 1.0, "b": 0.0, "c": 2.0}, strength=0.1, iterations=3),
    GradDrop(seed=3, leak={"a": 0.0, "b": 0.5, "c": 1.0}, wrt="features"),
    TrimmedMean(2, wrt="features"),
    MoCo(tracking=0.1, power=0.0),
    ExcessMTL(learning_rate=0.5),
    DBMTL(decay=0.5, power=1.0),
    AutoLambda(["a", "c"], initial=1.0),
    Combined(IMTLL(), IMTLG()),
    WarmUp(Equal(), EMA(GradVac()), epochs=3),
]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("balancer", CONFIGURED, ids=repr)
def test_config_and_variables_survive(balancer):
    config = keras.saving.serialize_keras_object(balancer)
    again = balancing.get(config)
    assert type(again) is type(balancer)
    assert again.get_config() == balancer.get_config()
    assert not again.built

    balancer.build(TASKS)
    for number, variable in enumerate(balancer.variables):
        variable.assign(keras.ops.full(variable.shape, number + 2, variable.dtype))
    saved = {n: keras.ops.convert_to_numpy(v) for n, v in balancer.state.items()}
    again.build(TASKS)
    for name, variable in again.state.items():
        variable.assign(saved.pop(name))
    assert not saved
    for one, other in zip(balancer.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_method_is_configured_above():
    named = {type(balancing.get(n)) for n in balancing.names()}
    # Those that have no arguments to begin with.
    assert {type(b) for b in CONFIGURED} == named | {PCD, Combined, EMA, WarmUp}


def test_get_takes_names_classes_and_instances():
    balancer = MGDA()
    assert balancing.get(balancer) is balancer
    assert isinstance(balancing.get(PCGrad), PCGrad)
    assert repr(balancing.get("pcgrad")) == "PCGrad(seed=0, wrt='parameters', every=1)"
    assert isinstance(balancing.get("grad_drop"), GradDrop)


def test_get_explains_what_it_knows():
    with pytest.raises(ValueError, match=r"one of \['aligned_mtl', 'auto.*mean 'pcgrad'\?"):
        balancing.get("PCGard")
    with pytest.raises(ValueError, match=r"Received: `balancer='zzzzzz'`") as caught:
        balancing.get("zzzzzz")
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(
        ValueError, match=r"should be `PCD\(primary\)`, which has arguments that its"
    ):
        balancing.get("pcd")
    with pytest.raises(ValueError, match=r"should be an object, not a class that needs arguments"):
        balancing.get(PCD)
    with pytest.raises(ValueError, match=r"should be a name, a `Balancer`.* `balancer=3`"):
        balancing.get(3)
    with pytest.raises(ValueError, match=r"should be a name, a `Balancer`"):
        balancing.get(keras.saving.serialize_keras_object(keras.layers.Dense(1)))


def test_combinations_take_names():
    for named, made in (
        (Combined("imtl_l", "imtl_g"), Combined(IMTLL(), IMTLG())),
        (WarmUp("equal", PCGrad, epochs=2), WarmUp(Equal(), PCGrad(), epochs=2)),
        (EMA("mgda"), EMA(MGDA())),
    ):
        assert named.get_config() == made.get_config()
    with pytest.raises(ValueError, match=r"`losses` should be a `LossBalancer`.*='pcgrad'`"):
        Combined("pcgrad", "uncertainty")
    with pytest.raises(ValueError, match=r"`gradients` should be one of .* `gradients='pgrad'`"):
        Combined("uncertainty", "pgrad")
    with pytest.raises(ValueError, match=r"`then` should be `EMA\(balancer\)`, which"):
        WarmUp("equal", "ema")


@pytest.mark.parametrize(
    "balancer",
    [
        *(UPGrad({"x": 1.0}), STCH(preference={"x": 1.0}), STCH(ideal={"x": 1.0})),
        *(FAMO(minimum_losses={"x": 0.0}), SDMGrad({"x": 1.0}), PBI({"x": 1.0})),
        Combined(COSMOS({"x": 1.0}), "mgda"),
    ],
    ids=repr,
)
def test_numbers_by_task_have_the_names_of_the_tasks(balancer):
    with pytest.raises(ValueError, match=r"one entry for each of the tasks \['a', 'b', 'c'\]"):
        balancer.build(TASKS)


@pytest.mark.parametrize("kind", [UPGrad, DualProj, ConFIG, AlignedMTL, SDMGrad])
def test_preferences_of_zero_alone_are_equal_ones(kind):
    method, plain = kind(preference={"a": 1.0, "b": 0.0, "c": 0.0}), kind()
    for each in (method, plain):
        each.build(TASKS)
    present = [False, True, True]
    found, expected = (each.weights(np.eye(3), present=present) for each in (method, plain))
    assert expected.sum() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
@pytest.mark.parametrize("name", ["auto_lambda", "famo", "gls", "pbi", "rlw", "uncertainty"])
def test_losses_of_half_precision_and_integers_are_numbers_too(name, dtype):
    found = []
    for losses in (np.array([1.0, 2.0, 3.0]), keras.ops.cast([1, 2, 3], dtype)):
        method = balancing.get(name)
        method.build(TASKS)
        found.append(float(method.objective(losses)))
    assert found[1] == pytest.approx(found[0], rel=1e-5) and found[0] != 0


def test_squares_that_overflow_leave_the_sum():
    rows = np.array([[1e25, 0.0], [0.0, 1.0], [1.0, 1.0]], "float32")
    for name in ("dbmtl", "excess_mtl"):
        method = balancing.get(name)
        variables = [keras.Variable(np.zeros(2), name="w")]
        method.build(TASKS, variables)
        (found,) = method.gradient_part.combine([rows])
        assert np.all(np.isfinite(found)), name


@pytest.mark.parametrize("kind", [PCGrad, MGDA, GradNorm, GradDrop])
def test_common_options_are_checked(kind):
    with pytest.raises(ValueError, match=r"`wrt` should be one of .* Received: `wrt='layers'`"):
        kind(wrt="layers")
    for every in (0, -1, 1.5, "2", True) if kind is not GradDrop else (0, 2):
        with pytest.raises(ValueError, match=r"`every` should be .* Received: `?every="):
            kind(every=every)


@pytest.mark.parametrize("kind", [PCGrad, GradDrop, RLW])
@pytest.mark.parametrize("seed", [-1, 0.5, None, True])
def test_seed_is_checked(kind, seed):
    with pytest.raises(ValueError, match=r"`seed` should be an integer .* Received: `seed="):
        kind(seed=seed)


@pytest.mark.parametrize(
    ("kind", "method", "argument"),
    [
        (LossBalancer, "objective", [1.0]),
        (GradientBalancer, "weights", np.eye(2)),
        (JacobianBalancer, "combine", [np.ones((2, 3))]),
    ],
)
def test_a_subclass_without_its_method_says_which(kind, method, argument):
    class Mine(kind):
        pass

    with pytest.raises(NotImplementedError, match=r"Mine should define `_"):
        getattr(Mine(), method)(argument)


def test_a_subclass_needs_no_init():
    class Halved(LossBalancer):
        def _objective(self, losses, present):
            return keras.ops.sum(keras.ops.where(present, losses, 0.0)) / 2

    balancer = Halved()
    balancer.build(TASKS)
    assert float(balancer.objective([1.0, 2.0, 3.0], [True, False, True])) == 2.0
    balancer.on_epoch_end({})
    assert isinstance(balancing.get(Halved), Balancer)


def test_sources_do_not_import_tensorflow():
    assert len(SOURCES) > 8
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [alias.name for alias in getattr(node, "names", [])]
            names.append(getattr(node, "module", None) or "")
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not any(n.split(".")[0] in ("tensorflow", "tf") for n in names), source


# Files without a method: what several methods compute.
SHARED = (
    *("arguments", "balancer", "bargaining", "directions", "meetings", "simplex", "tracking"),
    *("__init__", "quadratic"),
)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "source", [s for s in SOURCES if s.stem not in SHARED], ids=lambda path: path.stem
)
def test_examples_run(source):
    examples = re.findall(r"```python\n(.*?)```", source.read_text(), re.DOTALL)
    assert examples
    for example in examples:
        indent = re.match(r" *", example).group()
        code, names = re.sub(f"^{indent}", "", example, flags=re.M), {}
        exec(compile(code, str(source), "exec"), names)
        # What a comment says a line gives, to the digits that it has.
        for line, shown in re.findall(r"^(\S.*?)  # (.*)$", code, re.M):
            numbers = re.findall(r"-?\d+(?:\.\d*)?(?:e-?\d+)?", shown.split(":")[0])
            if re.match(r"(about |array\()*\[?-?\d", shown) and " = " not in line:
                found = np.ravel(keras.ops.convert_to_numpy(eval(line, names)))
                written = [float(number) for number in numbers[: found.size]]
                np.testing.assert_allclose(found, written, atol=0.006, rtol=0.006)
