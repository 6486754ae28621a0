"""What travels between replicas in a step, by each balancer (`reductions.py`), and that such a
step could run on TPUs."""

import pytest

from conformance.processes import Cases
from conformance.reductions import ALL, SUMMED_TWICE, TASKS

CASES = Cases("conformance.reductions", [], [[*ALL, *SUMMED_TWICE]])


@pytest.mark.parametrize("case", CASES.parameters())
def test_reductions(case, request):
    result = CASES.result(case, request)
    for sizes in (result["steps"], result["kept"]):
        for found in sizes:
            found["sum"] = sum(found["expected"].values())
            if case in SUMMED_TWICE:
                found["sum"] += found["expected"]["update"]
            assert found["calls"] == found["sum"] == found["graph"] + found["integers"]
            # What several replicas trace, TPUs could run: nothing is read while it is traced.
            assert found["read by the host"] == 0
            assert found["not for TPUs"] == []
    small, large = result["steps"]
    assert large["expected"]["update"] > 2 * small["expected"]["update"]
    # Beside the update, the models of two sizes send the same, or T gradients.
    rest = [each["sum"] - each["expected"]["update"] for each in (small, large)]
    if "features" in case or case in ("equal", "uncertainty", "famo"):
        assert rest[0] == rest[1] < 4 * (TASKS**2 + 8 * TASKS)
    for kept, of_all in zip(result["kept"], result["steps"], strict=True) if result["kept"] else ():
        assert kept["sum"] < of_all["sum"]
        assert kept["sum"] == kept["expected"]["update"] + 4 * (5 * TASKS + 1)
