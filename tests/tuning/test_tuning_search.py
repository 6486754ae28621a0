"""Searches by KerasTuner over architectures, balancers and sharing."""

import keras
import keras_tuner
import numpy as np
import pytest

from mtlzoo import HardSharing, MMoE, Regression, SoftSharing
from mtlzoo.balancing import CAGrad
from mtlzoo.tuning import MultiTaskHyperModel, MultiTaskObjective, pareto_front

TASKS = [Regression("a"), Regression("b")]
SPACE = {
    HardSharing: {"shared_units": [(4,), (6, 4)], "tower_units": (2,)},
    MMoE: {"num_experts": [2, 3], "expert_units": (4,), "tower_units": (2,)},
}


@pytest.fixture(scope="module")
def rows():
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    return x, {"a": x[:, 0] + x[:, 1], "b": x[:, 2]}


def hyper_model(**arguments):
    space = arguments.pop("space", SPACE)
    arguments.setdefault("balancers", ["equal", "pcgrad"])
    return MultiTaskHyperModel(keras.Input((3,)), TASKS, space, **arguments)


def search(tuner, rows):
    x, y = rows
    tuner.search(x, y, validation_data=(x, y), epochs=1, batch_size=64, verbose=0)
    return tuner


def test_hyperparameters_stand_under_their_architecture():
    hp = keras_tuner.HyperParameters()
    hyper = hyper_model(learning_rate=0.01)
    model = hyper.build(hp)
    assert isinstance(model, HardSharing)
    assert hp.values == {
        "architecture": "HardSharing",
        "balancer": "equal",
        "learning_rate": 0.01,
        "HardSharing/shared_units": "(4,)",
    }
    hp.values |= {"architecture": "MMoE", "balancer": "pcgrad", "MMoE/num_experts": 3}
    model = hyper.build(hp)
    assert isinstance(model, MMoE)
    assert model.gate_weights(np.ones((1, 3), "float32"))["a"].shape == (1, 3)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)


def test_a_random_search_finds_trials_and_its_best_model(rows, tmp_path):
    objective = MultiTaskObjective(TASKS, baselines={"a": 1.5, "b": 1.0})
    hyper = hyper_model(compile_options={"run_eagerly": True})  # which traces no graphs
    tuner = keras_tuner.RandomSearch(
        hyper, objective, max_trials=2, seed=1, directory=tmp_path, project_name="tiny"
    )
    search(tuner, rows)
    front = pareto_front(tuner, TASKS)
    assert len(front.trials) == 2
    assert front.front
    for trial in front.trials:
        other = {"MMoE": "HardSharing/", "HardSharing": "MMoE/"}[trial.settings["architecture"]]
        assert not any(key.startswith(other) for key in trial.settings)
        expected = [100 * (b - trial.values[t]) / b for t, b in (("a", 1.5), ("b", 1.0))]
        assert trial.score == pytest.approx(sum(expected) / 2)
    best = max(front.trials, key=lambda trial: trial.score)
    assert tuner.oracle.get_best_trials(1)[0].score == best.score
    model = tuner.get_best_models(1)[0]
    found = model.evaluate(*rows, return_dict=True, verbose=0)
    assert found["a_rmse"] == pytest.approx(best.values["a"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["BayesianOptimization", "Hyperband", "GridSearch"])
def test_other_tuners_work_with_limits(kind, rows, tmp_path):
    objective = MultiTaskObjective(TASKS, target="a", constraints={"b": 5.0})
    arguments = {"max_epochs": 3} if kind == "Hyperband" else {"max_trials": 4}
    tuner = getattr(keras_tuner, kind)(
        hyper_model(), objective, directory=tmp_path, project_name=kind, seed=0, **arguments
    )
    search(tuner, rows)
    front = pareto_front(tuner, TASKS)
    assert all(0 < trial.score < 2 for trial in front.trials)
    least = min(front.trials, key=lambda trial: trial.values["a"])
    assert least.score == max(trial.score for trial in front.trials)


def test_what_a_model_refuses_fails_its_trial():
    space = {SoftSharing: {"units": (4,)}, "mine": two_layers}
    hyper = hyper_model(space=space, balancers=["pcgrad"])
    hp = keras_tuner.HyperParameters()
    with pytest.raises(keras_tuner.errors.FailedTrialError, match="SoftSharing: "):
        hyper.build(hp)
    hp.values["architecture"] = "mine"
    assert hyper.build(hp).name == "mine_3"


@pytest.mark.one_in(2)
@pytest.mark.parametrize("order", ["refused first", "refused in the middle"])
def test_a_tuner_knows_all_hyperparameters_whatever_comes_first(order, tmp_path):
    refused, hard = {SoftSharing: {"units": [(4,), (5,)]}}, {HardSharing: SPACE[HardSharing]}
    rest = {"mine": two_layers}
    space = {**refused, **hard, **rest} if order == "refused first" else {**hard, **refused, **rest}
    hyper = hyper_model(space=space, balancers=["pcgrad"], learning_rate=0.01)
    objective = MultiTaskObjective(TASKS, baselines={"a": 1.5, "b": 1.0})
    tuner = keras_tuner.RandomSearch(hyper, objective, max_trials=2, seed=0, directory=tmp_path)
    known = tuner.oracle.get_space()
    assert known.values["architecture"] == "HardSharing"
    assert {hp.name for hp in known.space} == {
        *("architecture", "balancer", "learning_rate", "HardSharing/shared_units"),
        *("SoftSharing/units", "mine/width"),
    }


def test_the_first_balancer_is_one_that_the_first_architecture_takes(tmp_path):
    objective = MultiTaskObjective(TASKS, target="a")
    refused, hard = {SoftSharing: {"units": (4,)}}, {HardSharing: SPACE[HardSharing]}
    other = hyper_model(space={**refused, **hard}, balancers=["pcgrad", "equal"])
    first = keras_tuner.RandomSearch(other, objective, directory=tmp_path)
    values = first.oracle.get_space().values
    assert (values["architecture"], values["balancer"]) == ("SoftSharing", "equal")


def test_a_tuner_of_what_does_not_go_together_says_so(tmp_path):
    hyper = hyper_model(space={SoftSharing: {"units": (4,)}}, balancers=["pcgrad"])
    objective = MultiTaskObjective(TASKS, target="a")
    with pytest.raises(ValueError, match=r"should have two that go together. .* SoftSharing: "):
        keras_tuner.RandomSearch(hyper, objective, directory=tmp_path)


def two_layers(hp):
    width = hp.Int("mine/width", 3, 5)
    return HardSharing(keras.Input((3,)), TASKS, shared_units=(width,), name=f"mine_{width}")


def test_networks_and_balancers_are_made_anew_for_each_model():
    given = {HardSharing: {"backbone": lambda hp: keras.layers.Dense(hp.Int("width", 2, 4))}}
    balancer = CAGrad(c=0.3)
    hyper = hyper_model(space=given, balancers=[balancer])
    first, second = (hyper.build(keras_tuner.HyperParameters()) for _ in range(2))
    assert first.balancer is not second.balancer
    assert first.balancer is not balancer
    assert first.balancer.c == 0.3
    assert not {id(v) for v in first.variables} & {id(v) for v in second.variables}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"space": {}}, "`architectures` should be a dict of what is chosen from"),
        ({"space": {"MMoE": {}}}, "a class of the zoo with a dict of arguments, or a name with"),
        ({"space": {MMoE: {"num_experts": []}}}, "something to choose from for `num_experts`"),
        ({"balancers": "equal"}, "`balancers` should be a non-empty list"),
        ({"balancers": ["equl"]}, "Did you mean 'equal'"),
        ({"learning_rate": 0}, "`learning_rate` should be a positive number"),
        ({"learning_rate": (2, 1)}, "the least and the greatest"),
        ({"optimizer": "adam"}, "`optimizer` should be a function of the learning rate"),
    ],
)
def test_unusable_arguments_of_the_hyper_model_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        hyper_model(**arguments)
