"""Every balancer, with one model, through every guarantee; with `-m slow` also every balancer with
every model."""

import pytest

from conformance import guarantees
from conformance.registry import (
    BALANCERS,
    QUICK,
    THROUGH_ALL,
    USUAL_ARCHITECTURE,
    USUAL_BALANCER,
    Case,
)

CROSS = [
    pytest.param(
        architecture,
        balancer,
        id=f"{architecture}-{balancer}",
        marks=[] if architecture == USUAL_ARCHITECTURE and balancer in QUICK else pytest.mark.slow,
    )
    for architecture in THROUGH_ALL
    for balancer in BALANCERS
    if balancer != USUAL_BALANCER  # which `test_models.py` has
]


@pytest.mark.parametrize(("architecture", "balancer"), CROSS)
@pytest.mark.parametrize("guarantee", guarantees.OF_BALANCERS, ids=lambda g: g.__name__[6:])
def test_balancer(guarantee, architecture, balancer, tmp_path):
    guarantee(Case(architecture, balancer), tmp_path)
