"""Every balancer, with one model, through every guarantee; with `-m slow` also with the other
models that hold for their kind, and every balancer with every architecture through one."""

import pytest

from conformance import guarantees, saving
from conformance.registry import (
    ARCHITECTURES,
    BALANCERS,
    QUICK,
    THROUGH_ALL,
    USUAL_ARCHITECTURE,
    USUAL_BALANCER,
    Case,
)

CROSS = [
    (architecture, balancer)
    for architecture in THROUGH_ALL
    for balancer in (BALANCERS if architecture == USUAL_ARCHITECTURE else QUICK)
    if balancer != USUAL_BALANCER  # which `test_models.py` has
]


CASES = [
    pytest.param(
        guarantee,
        architecture,
        balancer,
        id=f"{guarantee.__name__[6:]}-{architecture}-{balancer}",
        marks=[]
        if architecture == USUAL_ARCHITECTURE
        and balancer in QUICK
        and guarantee in guarantees.OF_EVERY_BALANCER
        else pytest.mark.slow,
    )
    for guarantee in guarantees.OF_BALANCERS
    for architecture, balancer in CROSS
]


@pytest.mark.parametrize(("guarantee", "architecture", "balancer"), CASES)
def test_balancer(guarantee, architecture, balancer, tmp_path):
    guarantee(Case(architecture, balancer), tmp_path)


PAIRS = [
    (architecture, balancer)
    for architecture in ARCHITECTURES
    for balancer in BALANCERS
    if balancer != Case(architecture).balancer  # which `test_models.py` has
    and (architecture, balancer) not in CROSS
]


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "balancer"), PAIRS, ids=map("-".join, PAIRS))
def test_pair(architecture, balancer, tmp_path):
    """It trains and resumes, or is refused at once."""
    case = Case(architecture, balancer)
    message = case.refusal()
    if message:
        with pytest.raises(ValueError, match=message):
            case.compiled()
    else:
        saving.check_resumed(case, tmp_path)
