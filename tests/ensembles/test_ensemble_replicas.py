"""One replica equals two, on logical devices in a process of their own."""

import pytest
from conformance.processes import lines_of


@pytest.mark.slow
def test_an_ensemble_is_fitted_alike_on_two_replicas():
    (found,) = lines_of("ensemble_replicas", [], ["ensembles"])
    moved = found.pop("moved")
    assert moved < 1e-6
    assert found.keys() == {"variables", "history", "evaluate", "predict", "statistics"}
    for what, difference in found.items():
        assert difference < 2e-5, what
