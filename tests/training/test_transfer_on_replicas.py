"""Frozen and pulled models on two replicas do what they do on one, in processes of their own."""

import pytest
from conformance.processes import Cases

CASES = Cases(
    "training.transfer_on_replicas",
    [["gradual, pulled"]],
    [["frozen", "frozen before compile", "gradual, features", "rates"]],
)


@pytest.mark.parametrize("case", CASES.parameters())
def test_two_replicas_are_as_one(case, request):
    found = CASES.result(case, request)
    assert found["difference"] < 1e-9
    assert found["moved"] > 1e-3
    assert found["frozen moved"] == 0
