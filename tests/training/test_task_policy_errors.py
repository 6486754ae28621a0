"""What policies refuse, when they are made, when they are started, and in training."""

import pytest
from scheduled import epoch, started

from mtlzoo.training import (
    EXP3,
    UCB,
    Curriculum,
    LearningSpeed,
    MetricPriority,
    Priority,
    Proportional,
    RoundRobin,
    TaskPolicy,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Priority({"a": 0}),
            r"`importance\['a'\]` should be a number above 0. Received: 0",
        ),
        (
            lambda: Priority({"a": -1}),
            r"`importance\['a'\]` should be a number above 0. Received: -1",
        ),
        (
            lambda: Priority(["a"]),
            r"`importance` should be a dict by name. Received: importance=\['a'",
        ),
        (
            lambda: Priority(targets={"a": 0.9}),
            r"`targets\['a'\]` should be a metric and a finite num",
        ),
        (
            lambda: Priority(targets={"a": ("auc", float("nan"))}),
            r"`targets\['a'\]` should be a metri",
        ),
        (
            lambda: Priority(targets={"a": {}}),
            r"`targets\['a'\]` should be a metric and a finite numb",
        ),
        (
            lambda: Priority(targets=[("a", 1)]),
            "`targets` should be a dict by task. Received: target",
        ),
        (
            lambda: Priority(deadlines={"a": 0}),
            r"`deadlines\['a'\]` should be an integer of at least",
        ),
        (
            lambda: Priority(deadlines=3),
            "`deadlines` should be a dict by task. Received: deadlines=3",
        ),
        (
            lambda: Priority(least=-0.1),
            "`least` should be a number of at least 0. Received: least=-0",
        ),
        (
            lambda: Priority(urgency=-1),
            "`urgency` should be a number of at least 0. Received: urgenc",
        ),
        (
            lambda: Priority(modes={"auc": "up"}),
            "`modes` should be a dict by metric of 'max' or 'min",
        ),
        (
            lambda: LearningSpeed(alpha=-1),
            "`alpha` should be a number of at least 0. Received: alpha",
        ),
        (
            lambda: LearningSpeed(decay=1),
            "`decay` should be a number from 0 to below 1. Received: de",
        ),
        (
            lambda: LearningSpeed(least=1),
            "`least` should be a number from 0 to below 1. Received: le",
        ),
        (
            lambda: MetricPriority({"a": 1}),
            "`metrics` should be a dict by task name of the names of",
        ),
        (
            lambda: MetricPriority(gamma=-1),
            "`gamma` should be a number of at least 0. Received: gam",
        ),
        (
            lambda: RoundRobin([]),
            r"`order` should be a list of names, or None. Received: order=\[\]",
        ),
        (
            lambda: RoundRobin(length=0),
            "`length` should be an integer of at least 1. Received: lengt",
        ),
        (
            lambda: Proportional({"a": -2}),
            r"`sizes\['a'\]` should be a number above 0. Received: -2",
        ),
        (
            lambda: Proportional(temperature=0),
            "`temperature` should be a positive number. Received:",
        ),
        (
            lambda: Curriculum(["a", "a"]),
            "`order` should be a list of different names, or None. Rec",
        ),
        (
            lambda: Curriculum(by="auc"),
            "`by` should be 'loss', or a dict by task of the names of met",
        ),
        (
            lambda: Curriculum(unit="days"),
            "`unit` should be 'epochs' or 'steps'. Received: unit='da",
        ),
        (lambda: Curriculum(pace=0), "`pace` should be an integer of at least 1. Received: pace=0"),
        (
            lambda: UCB(discount=0),
            "`discount` should be a number above 0, up to 1. Received: discou",
        ),
        (
            lambda: UCB(exploration=-1),
            "`exploration` should be a number of at least 0. Received: ex",
        ),
        (lambda: UCB(memory=1), "`memory` should be an integer of at least 2. Received: memory=1"),
        (
            lambda: EXP3(step_size=0),
            "`step_size` should be a number above 0. Received: step_size=0",
        ),
        (
            lambda: EXP3(exploration=0),
            "`exploration` should be a number above 0, up to 1. Received",
        ),
        (lambda: EXP3(bias=-1), "`bias` should be a number of at least 0. Received: bias=-1"),
        (
            lambda: EXP3(mixing=1),
            "`mixing` should be a number from 0 to below 1. Received: mixing=1",
        ),
        (lambda: EXP3(costs={"a": 0}), r"`costs\['a'\]` should be a number above 0. Received: 0"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            Priority({"d": 1}),
            r"`importance` should have names among \['a', 'b', 'c'\] only. Rec.* 'd'",
        ),
        (
            Priority(targets={"d": ("auc", 1)}),
            r"`targets` should have names among .* Received: 'd'",
        ),
        (Priority(deadlines={"d": 1}), r"`deadlines` should have names among .* Received: 'd'"),
        (
            Priority(least=0.4),
            r"`least` should be below 1 over the number of the tasks \['a', 'b', 'c",
        ),
        (
            MetricPriority({"d": "auc"}),
            r"`metrics` should have entries of the tasks \['a', 'b', 'c'\]",
        ),
        (RoundRobin(["a", "d"]), r"`order` should have names among \['a', 'b', 'c'\] only. .* 'd'"),
        (
            Proportional(),
            "`sizes` should be given where no data sets are mixed. Received: sizes=None",
        ),
        (
            Proportional({"a": 1}),
            r"`sizes` should have a number for each of .* Received: none for `b`",
        ),
        (Proportional({"d": 1}), r"`sizes` should have names among .* only. Received: 'd'"),
        (Curriculum(["a", "b"]), r"`order` should have all of \['a', 'b', 'c'\]. Received: no `c`"),
        (Curriculum(["d"]), r"`order` should have names among .* only. Received: 'd'"),
        (Curriculum(by={"a": "auc"}), r"`by` should have a metric of all tasks .*: none of `b`"),
        (
            UCB(costs={"a": 1}),
            r"`costs` should have a number for each of .* Received: none for `b`",
        ),
        (EXP3(costs={"d": 1}), r"`costs` should have names among .* only. Received: 'd'"),
    ],
)
def test_names_that_do_not_fit_are_named_when_a_policy_is_started(policy, message):
    with pytest.raises(ValueError, match=message):
        started(policy)


def test_a_policy_is_started_with_different_names():
    for names in ([], ["a", "a"], "a"):
        with pytest.raises(ValueError, match="`names` should be different names, one at least"):
            TaskPolicy().start(names)
    with pytest.raises(
        ValueError, match=r"`seed` should be an integer of at least 0. Received: seed"
    ):
        TaskPolicy().start(["a"], seed=-1)
    with pytest.raises(ValueError, match=r"`tasks` should have the tasks of each of \['a'\]"):
        TaskPolicy().start(["a"], tasks={"b": ["a"]})


def test_metrics_that_are_not_logged_are_named():
    policy = started(Priority(targets={"a": ("auc", 0.5)}))
    with pytest.raises(
        ValueError, match=r"`targets\['a'\]` should name .* \['a_f1'\]. Received: 'auc'"
    ):
        policy.observe(epoch(0, a_f1=0.3, b_f1=0.4))
    with pytest.raises(
        ValueError, match=r"`by` should name a metric of task `a`, one of \['a_f1'\]"
    ):
        started(Curriculum(by=dict.fromkeys("abc", "auc"))).observe(epoch(0, a_f1=0.3))
    with pytest.raises(ValueError, match=r"`a` that is logged, one of .* `metrics\['a'\]='auc'`"):
        started(MetricPriority({"a": "auc"})).observe(epoch(0, a_f1=0.3, a_loss=1.0))
