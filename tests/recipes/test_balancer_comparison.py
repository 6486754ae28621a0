"""What the recipes share that compare balancers: choosing, judging and refusing."""

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from mtlzoo import BinaryClassification, HardSharing, SoftSharing, balancing
from mtlzoo.backbones import ConvNet
from recipes.parts import balancer_pictures, balancers, comparison, tables
from recipes.parts import balancer_report as told
from recipes.parts.comparison import Result


def results(valid, test):
    """A result for each seed."""
    return [Result({"a": t}, 1, 10, 1.0, {}, v) for v, t in zip(valid, test, strict=True)]


def report(**gains):
    """By row `delta_m` of each seed, as in the report of a recipe."""
    return {
        tables.SINGLE: {"metrics": {}},
        **{
            balancers.TUNED if name == "tuned" else name: {
                "metrics": {"delta_m, %": tables.spread(gain)}
            }
            for name, gain in gains.items()
        },
    }


# -- what is compared ---------------------------------------------------------------------------


def test_all_is_every_name_and_others_are_taken_once():
    assert balancers.named(["all"]) == balancing.names()
    assert balancers.named(["famo", "equal", "famo"]) == ["famo", "equal"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["pcgard"], "Did you mean 'pcgrad'"),
        (["equal", "all"], "`balancer` should be one of"),
        ([], "`--balancer` should have a name, or be `all`. Received none"),
    ],
)
def test_unknown_balancers_are_refused_before_anything_is_trained(given, said):
    with pytest.raises(ValueError, match=said):
        balancers.named(given)


def test_balancers_are_compared_with_one_architecture():
    made = {"MMoE": 1, "PLE": 2}
    assert balancers.the_one(None, made, "MMoE") == 1
    assert balancers.the_one(["PLE"], {"PLE": 2}, "MMoE") == 2
    for models, of_them in ((["MMoE", "PLE"], made), (["PEL"], {}), (["PEL", "MMoE"], {"MMoE": 1})):
        with pytest.raises(ValueError, match=f"one architecture.*Received: {','.join(models)}"):
            balancers.the_one(models, of_them, "MMoE")


@pytest.mark.slow
def test_what_the_architecture_refuses_is_named_with_the_reason():
    inputs = keras.Input((8, 8, 1))
    tasks = [BinaryClassification("a"), BinaryClassification("b")]
    arguments = {"backbone": ConvNet((8, 8, 1), filters=(2,), dense_units=(3,))}
    names = ["equal", "pcgrad"]
    good, refused = balancers.allowed(SoftSharing(inputs, tasks, **arguments), names)
    assert good == ["equal"]
    assert list(refused) == ["pcgrad"]
    assert "has no trainable variable that two tasks share" in refused["pcgrad"]
    assert balancers.allowed(HardSharing(inputs, tasks, **arguments), names) == (names, {})


def test_an_error_of_a_balancer_is_no_refusal(monkeypatch):
    def fail(self, *_):
        raise RuntimeError("broken")

    monkeypatch.setattr(balancing.PCGrad, "build", fail)
    tasks = [BinaryClassification("a"), BinaryClassification("b")]
    model = HardSharing(keras.Input((2,)), tasks, shared_units=(3,))
    with pytest.raises(RuntimeError, match="broken"):
        balancers.allowed(model, ["pcgrad"])


# -- fixed weights ------------------------------------------------------------------------------


def test_fixed_weights_are_each_pair_at_each_ratio():
    two = balancers.fixed_weights(["a", "b"])
    assert two[0] == {"a": 1.0, "b": 1.0}
    np.testing.assert_allclose([w["a"] / w["b"] for w in two], [1, 0.25, 0.5, 2, 4])
    three = balancers.fixed_weights(["a", "b", "c"])
    assert len(three) == 1 + 3 * 4
    np.testing.assert_allclose([sum(w.values()) for w in three], 3.0)
    a_and_c = three[5:9]
    np.testing.assert_allclose([w["a"] / w["c"] for w in a_and_c], [0.25, 0.5, 2, 4])
    np.testing.assert_allclose([w["a"] * w["c"] for w in a_and_c], [w["b"] ** 2 for w in a_and_c])


def test_fixed_weights_are_chosen_by_validation_data_alone():
    runs = [
        results([0.7, 0.7], [0.99, 0.99]),  # best on the test data
        results([0.6, 0.9], [0.10, 0.10]),  # best on the validation data, by the mean
        results([0.8, 0.6], [0.90, 0.90]),
    ]
    assert balancers.best_on_validation(runs) == 1
    assert balancers.best_on_validation([runs[0], runs[2]]) == 0  # the first of equals
    assert balancers.best_on_validation([results([math.nan], [1.0]), results([-5.0], [0.0])]) == 1


def train_by_names(monkeypatch, train, names, seeds):
    """What `train_all` does with balancers that nothing refuses, and without a network."""
    tasks = [BinaryClassification("a"), BinaryClassification("b")]
    single = Result({"a": 1.0, "b": 1.0}, {"a": 1, "b": 1}, 20, 2.0)
    monkeypatch.setattr(comparison, "train", train)
    monkeypatch.setattr(comparison, "train_single_tasks", lambda *_, **__: (None, single))
    monkeypatch.setattr(balancers, "allowed", lambda model, names: (names, {}))
    return balancers.train_all(
        names,
        lambda seed: SimpleNamespace(tasks=tasks),
        lambda loaded, task: None,
        lambda loaded, name: SimpleNamespace(name=name),
        seeds=seeds,
        epochs=1,
        learning_rate=0.1,
    )


@pytest.mark.slow
def test_the_tuned_row_is_that_of_the_chosen_weights(monkeypatch):
    trained = []

    def train(build, loaded, *, balancer="equal", loss_weights=None, seed, **_):
        first = (loss_weights or {"a": 1.0})["a"]
        trained.append((build().name, balancer, first, seed))
        # More weight of `a` is better on the test data, less on the validation data.
        return None, Result({"a": first + seed, "b": 1.0}, 1, 10, 1.0, {}, -first)

    found = train_by_names(monkeypatch, train, ["famo"], seeds=2)
    fixed = [("fixed_0.40_1.60", 0.4), ("fixed_0.67_1.33", 2 / 3)]
    fixed += [("fixed_1.33_0.67", 4 / 3), ("fixed_1.60_0.40", 1.6)]
    expected = [
        row
        for seed in (0, 1)
        for row in [
            ("equal", "equal", 1.0, seed),
            ("famo", "famo", 1.0, seed),
            *((name, "equal", pytest.approx(weight), seed) for name, weight in fixed),
        ]
    ]
    assert trained == expected
    assert list(found.results) == ["single tasks", "equal", "famo", "fixed weights, tuned"]
    np.testing.assert_allclose([found.tuned["a"], found.tuned["b"]], [0.4, 1.6])
    tests = [result.test["a"] for result in found.results[balancers.TUNED]]
    np.testing.assert_allclose(tests, [0.4, 1.4])
    scores = [scores for _, scores in found.validation]
    np.testing.assert_allclose(scores, np.repeat([[-1], [-0.4], [-2 / 3], [-4 / 3], [-1.6]], 2, 1))


@pytest.mark.slow
def test_an_error_says_whose_training_it_ended(monkeypatch):
    def train(build, loaded, *, balancer, **_):
        if balancer == "famo":
            raise RuntimeError("broken")
        return None, Result({"a": 1.0, "b": 1.0}, 1, 10, 1.0)

    with pytest.raises(RuntimeError, match="broken") as caught:
        train_by_names(monkeypatch, train, ["famo"], seeds=1)
    assert caught.value.__notes__[-1] == "This ended the training of `famo` with seed 0."


# -- conclusion ---------------------------------------------------------------------------------


def test_the_conclusion_says_who_beats_whom_by_two_standard_errors():
    lines = told.conclusion(
        report(
            equal=[0.0, 0.2, 0.4],
            good=[1.0, 1.1, 1.5],  # beyond equal by 1.0, 0.9, 1.1
            like=[0.1, 0.1, 0.6],  # by 0.1, -0.1, 0.2
            bad=[-2.0, -1.8, -1.7],  # by -2.0, -2.0, -2.1
            tuned=[0.5, 0.6, 1.0],  # by 0.5, 0.4, 0.6
        )
    )
    of_equal, of_tuned = lines[1:6], lines[7:]
    assert of_equal == [
        "delta_m beyond that of equal in the same 3 seeds, mean ± standard error:",
        "  better by more than two standard errors: good (+1.0000 ± 0.0577); "
        "fixed weights, tuned (+0.5000 ± 0.0577)",
        "  worse by more than two standard errors: bad (-2.0333 ± 0.0333)",
        "  neither: like",
        "  were all alike, about 0.4 of 4 would seem better by chance, and as many worse",
    ]
    assert of_tuned[0].startswith("delta_m beyond that of fixed weights, tuned in the same 3 seeds")
    assert "errors: good (+0.5000 ± 0.0000)" in of_tuned[1]
    assert "errors: like (-0.4333" in of_tuned[2] and "bad (-2.5333" in of_tuned[2]
    assert "equal (-0.5000 ± 0.0577)" in of_tuned[2]
    assert of_tuned[3] == "  neither: none"


def test_differences_of_the_same_seeds_are_judged():
    # Seeds differ far more than the methods do, in the same way for both.
    gains = told.gains_over(report(equal=[-5.0, 0.0, 5.0], good=[-4.9, 0.1, 5.1]), "equal")
    assert list(gains) == ["good"]
    np.testing.assert_allclose(gains["good"]["mean"], 0.1)
    assert gains["good"]["standard_error"] < 1e-12


def test_one_seed_gives_no_conclusion():
    (_, line) = told.conclusion(report(equal=[0.0], good=[9.0], tuned=[1.0]))
    assert line == "One seed has no standard error: it does not say which balancer is better."


def test_a_gain_that_is_not_known_is_no_win_and_no_loss():
    lines = told.conclusion(report(equal=[0.0, 0.1], odd=[math.nan, 1.0], tuned=[0.0, 0.1]))
    assert "  unknown, since a single task found nothing: odd" in lines
    assert "  neither: fixed weights, tuned" in lines


def test_chance_is_a_tail_of_students_distribution():
    stats = pytest.importorskip("scipy.stats")
    for seeds in (2, 3, 5, 10):
        np.testing.assert_allclose(told.chance(seeds), stats.t.sf(2, seeds - 1), rtol=1e-5)


# -- picture ------------------------------------------------------------------------------------


def test_the_picture_sorts_and_marks_what_is_far_behind(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        balancer_pictures.Figure, "savefig", lambda self, path: drawn.update(figure=self, path=path)
    )
    values = {f"m{i}": [0.1 * i, 0.1 * i + 0.02] for i in range(8)}
    values |= {"far": [-90.0, -92.0], "none": [math.nan, 1.0], "equal": [0.35, 0.45]}
    spreads = {name: tables.spread(found) for name, found in values.items()}
    balancer_pictures.gains(tmp_path / "gains.png", spreads, ["equal"])
    (panel,) = drawn["figure"].axes
    assert [label.get_text() for label in panel.get_yticklabels()] == [
        "far", "m0", "m1", "m2", "m3", "equal", "m4", "m5", "m6", "m7"
    ]  # fmt: skip
    assert [text.get_text() for text in panel.texts] == ["\u25c0 -91 ± 1.4"]
    assert panel.get_xlim()[0] > -1
