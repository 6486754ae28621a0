"""Tasks that are balanced as one."""

import keras
import numpy as np
import pytest
from model_cases import Constant, Diagonal, double

from mtlzoo import MGDA, Equal, MoDo, MultiTaskModel, PCGrad, Regression, Uncertainty

layers = keras.layers


def model_of(row_of, seed=3):
    """Two outputs of one head, `a` and `a_too`, and another task's."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,), name="x")
    trunk = layers.Dense(5, "tanh", name="trunk")(inputs)
    head = layers.Dense(1, name="head")(layers.Dense(3, "tanh", name="tower")(trunk))
    outputs = {
        "a": layers.Identity(name="a")(head),
        "a_too": layers.Identity(name="a_too")(head),
        "b": layers.Dense(1, name="b")(trunk),
    }
    model = MultiTaskModel(inputs, outputs, tasks=[Regression(name) for name in outputs])
    model._held.row_of = row_of
    return model


def rows(count=12, seed=0):
    rng = np.random.default_rng(seed)
    names = ("a", "a_too", "b")
    return rng.normal(size=(count, 4)), {n: rng.normal(size=(count, 1)) for n in names}


def names(variables):
    return {v.path.split("/")[0] for v in variables}


def fit(model, x, y, balancer, optimizer=None, **arguments):
    arguments = {"metrics": {n: [] for n in model.task_names}, "run_eagerly": True, **arguments}
    model.compile(optimizer or keras.optimizers.SGD(0.1), balancer, **arguments)
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return model


def test_what_only_the_tasks_of_a_row_depend_on_is_its_own():
    apart, together = model_of({}), model_of({"a_too": "a"})
    assert names(apart.shared_variables) == {"trunk", "tower", "head"}
    assert names(together.shared_variables) == {"trunk"}
    assert names(together.task_variables("a")) == {"tower", "head"}
    assert together.task_variables("a_too") == []
    assert [t._keras_history.operation.name for t in together.boundary] == ["trunk"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "balancer",
    [PCGrad, Uncertainty, lambda: MGDA(wrt="features"), lambda: PCGrad(every=2), Diagonal],
    ids=["pcgrad", "uncertainty", "mgda, features", "pcgrad, every 2", "diagonal"],
)
def test_a_row_is_one_task_with_the_sum_of_the_losses(balancer):
    """(z - p)^2 + (z - q)^2 is 2 (z - (p + q) / 2)^2 and a number."""
    double()
    x, y = rows()
    together = fit(model_of({"a_too": "a"}), x, y, balancer())
    one = model_of({})
    one = MultiTaskModel(
        one.input, {n: one.output[n] for n in ("a", "b")}, tasks=[Regression("a"), Regression("b")]
    )
    mean = (y["a"] + y["a_too"]) / 2
    weights = {"a": 2.0}
    if balancer is Uncertainty:  # which sees the number, too: compare it where there is none
        y["a_too"] = y["a"] = mean
        together = fit(model_of({"a_too": "a"}), x, y, balancer())
    one = fit(one, x, {"a": mean, "b": y["b"]}, balancer(), loss_weights=weights)
    for name in ("a", "b"):
        np.testing.assert_allclose(
            together.predict(x, verbose=0)[name], one.predict(x, verbose=0)[name], rtol=1e-9
        )
        assert together.task_weights[name] == pytest.approx(one.task_weights[name], rel=1e-9)
    assert together.task_weights["a_too"] == together.task_weights["a"]


def test_weights_are_those_of_rows_in_their_order():
    model = fit(model_of({"a_too": "a"}), *rows(), Constant((2.0, 0.5)))
    assert model.task_weights == {"a": 2.0, "a_too": 2.0, "b": 0.5}
    assert model.balancer.task_weights.shape == (2,)


@pytest.mark.slow
def test_a_row_is_absent_when_all_its_tasks_are():
    x, y = rows()
    model = model_of({"a_too": "a"})
    fit(model, x, y, PCGrad(), keras.optimizers.Adam(0.01))
    own = [*model.task_variables("a"), *_slots(model, model.task_variables("a"))]

    def moved(gone):
        before = [np.array(v) for v in own]
        given = {n: np.full_like(v, np.nan) if n in gone else v for n, v in y.items()}
        model.train_on_batch(x, given)
        return [not np.array_equal(v, old) for v, old in zip(own, before, strict=True)]

    assert all(moved({"a_too"})) and all(moved({"a"}))
    assert not any(moved({"a", "a_too"}))


@pytest.mark.slow
def test_what_one_task_of_a_row_alone_reads_rests_without_it():
    inputs = keras.Input((4,), name="x")
    trunk = layers.Dense(5, "tanh", name="trunk")(inputs)
    outputs = {name: layers.Dense(1, name=name)(trunk) for name in ("a", "a_too", "b")}
    model = MultiTaskModel(inputs, outputs, tasks=[Regression(name) for name in outputs])
    model._held.row_of = {"a_too": "a"}
    x, y = rows()
    fit(model, x, y, PCGrad(), keras.optimizers.Adam(0.01))
    assert names(model.task_variables("a")) == {"a", "a_too"}
    before = {n: np.array(model.get_layer(n).kernel) for n in outputs}
    model.train_on_batch(x, {**y, "a_too": np.full_like(y["a_too"], np.nan)})
    moved = {n for n in outputs if not np.array_equal(model.get_layer(n).kernel, before[n])}
    assert moved == {"a", "b"}


def _slots(model, variables):
    paths = [v.path.replace("/", "_") for v in variables]
    return [v for v in model.optimizer.variables if any(p in v.path for p in paths)]


@pytest.mark.slow
def test_what_absent_tasks_alone_share_does_not_move():
    """Apart, the head is shared by two of three tasks."""
    x, y = rows()
    model = fit(model_of({}), x, y, PCGrad(), keras.optimizers.Adam(0.01))
    head = [v for v in model.shared_variables if names([v]) <= {"tower", "head"}]
    tracked = [*head, *_slots(model, head)]
    assert len(tracked) == 12
    before = [np.array(v) for v in tracked]
    gone = {n: np.full_like(v, np.nan) for n, v in y.items() if n != "b"}
    trunk = np.array(model.get_layer("trunk").kernel)
    model.train_on_batch(x, {**gone, "b": y["b"]})
    for variable, old in zip(tracked, before, strict=True):
        np.testing.assert_array_equal(variable, old)
    assert np.abs(model.get_layer("trunk").kernel - trunk).max() > 0
    model.train_on_batch(x, {**gone, "a": y["a"], "b": y["b"]})
    assert all(np.abs(v - old).max() > 0 for v, old in zip(tracked, before, strict=True))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("gone", [(), ("a",), ("a_too",)])
def test_a_balancer_is_told_the_losses_of_rows(gone):
    told = []

    class Told(Equal):
        def on_epoch_end(self, logs):
            told.append(logs)

    x, y = rows()
    y = {name: np.full_like(v, np.nan) if name in gone else v for name, v in y.items()}
    model = model_of({"a_too": "a"})
    model.compile("sgd", Told(), loss_weights={"a_too": 3.0}, run_eagerly=True)
    logs = model.fit(x, y, verbose=0).history
    parts = {"a": logs["a_loss"][0], "a_too": 3 * logs["a_too_loss"][0]}
    expected = sum(loss for name, loss in parts.items() if name not in gone)
    assert told[0]["a_loss"] == pytest.approx(expected, rel=1e-6)
    assert told[0]["b_loss"] == logs["b_loss"][0]


def test_parts_of_a_batch_are_refused():
    model = model_of({"a_too": "a"})
    with pytest.raises(ValueError, match=r"`balancer` should take the batch as a whole .* MoDo"):
        model.compile("sgd", MoDo())
    model_of({}).compile("sgd", MoDo())
