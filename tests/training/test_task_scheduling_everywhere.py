"""Scheduling with every kind of balancer, and on two replicas as on one."""

import numpy as np
import pytest
from conformance.processes import Cases
from scheduled import Steps, batches, compiled, fitted, mixed

from mtlzoo.balancing import AutoLambda, GradDrop, MoDo, PCGrad
from mtlzoo.training import LearningSpeed, Proportional, RoundRobin

CASES = Cases(
    "training.scheduled_replicas",
    [],
    [["mixture", "mixture, two at once", "weights", "selection"]],
)


@pytest.mark.parametrize("case", CASES.parameters())
def test_two_replicas_are_as_one(case, request):
    found = CASES.result(case, request)
    assert max(found[name] for name in ("variables", "logs", "shares")) < 1e-6, found
    assert found["spread"] > 1e-3


BALANCERS = {
    "loss": lambda: "uncertainty",
    "gradient": PCGrad,
    "gradient, features": lambda: PCGrad(wrt="features"),
    "jacobian": GradDrop,
    "second forward": lambda: "famo",
    "parts of a batch": MoDo,
    "held out": lambda: AutoLambda(initial=1.0),
}
THROUGH = {
    "mixture": (RoundRobin, mixed),
    "weights": (lambda: Proportional({"a": 3, "b": 1}), lambda: "weights"),
    "selection": (LearningSpeed, lambda: "selection"),
}


def losses(model):
    """By task, of rows that all have labels."""
    found = model.evaluate(batches(2, "a", "b"), return_dict=True, verbose=0)
    return np.array([found["a_loss"], found["b_loss"]])


QUICK = ("gradient, features", "mixture")


@pytest.mark.parametrize(
    ("balancer", "through"),
    [
        pytest.param(b, t, marks=[] if (b, t) == QUICK else [pytest.mark.slow])
        for b in BALANCERS
        for t in THROUGH
    ],
)
def test_every_kind_of_balancer_is_scheduled(balancer, through):
    policy, acted = THROUGH[through]
    steps = Steps()
    model = compiled(BALANCERS[balancer]())
    before = losses(model)
    fitted(policy(), acted(), model, [steps], epochs=4)
    assert (losses(model) < before).all()
    assert steps.moved == steps.selected
    if through == "weights":
        assert steps.selected == [["a", "b"]] * 40
    else:
        assert {tuple(each) for each in steps.selected} == {("a",), ("b",)}
