"""Frozen and pulled models on two replicas do what they do on one, in processes of their own."""

import pytest
from conformance.processes import Cases

CASES = Cases(
    "training.transfer_on_replicas",
    [["gradual, pulled", "refused"]],
    [["frozen", "frozen before compile", "gradual, features", "rates"]],
)


REFUSED = [p for p in CASES.parameters() if p.values == ("refused",)]
ALIKE = [p for p in CASES.parameters() if p.values != ("refused",)]


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_normalization_that_is_not_synchronized_stays_frozen(case, request):
    found = CASES.result(case, request)
    for way in ("unfreeze", "gradually", "by hand"):
        said, trainable = found[way]
        assert said.startswith("`synchronized` of the layer `norm` should be True"), (way, said)
        assert not trainable, way


@pytest.mark.slow
@pytest.mark.parametrize("case", ALIKE)
def test_two_replicas_are_as_one(case, request):
    found = CASES.result(case, request)
    assert found["difference"] < 1e-9
    assert found["moved"] > 1e-3
    assert found["frozen moved"] == 0
