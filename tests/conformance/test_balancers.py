"""Some balancers of each kind through what they may break; with `-m slow` every balancer through
every guarantee, one of each kind with another model, and every balancer with every architecture."""

import pytest

from conformance import guarantees, saving
from conformance.registry import (
    ARCHITECTURES,
    BALANCERS,
    KINDS,
    PLAIN,
    THROUGH_ALL,
    USUAL_ARCHITECTURE,
    USUAL_BALANCER,
    Case,
)

CROSS = [
    (architecture, balancer)
    for architecture in THROUGH_ALL
    for balancer in (BALANCERS if architecture == USUAL_ARCHITECTURE else KINDS)
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
        and balancer in KINDS
        and guarantee in guarantees.OF_EVERY_BALANCER
        else pytest.mark.slow,
    )
    for guarantee in guarantees.OF_BALANCERS
    for architecture, balancer in CROSS
]


@pytest.mark.one_in(4)
@pytest.mark.parametrize(("guarantee", "architecture", "balancer"), CASES)
def test_balancer(guarantee, architecture, balancer, tmp_path):
    guarantee(Case(architecture, balancer), tmp_path)


PAIRS = [
    (architecture, balancer)
    for architecture in ARCHITECTURES
    for balancer in {**PLAIN, **dict.fromkeys(KINDS)}
    if balancer != Case(architecture).balancer  # which `test_models.py` has
    and (architecture, balancer) not in CROSS
]


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "balancer"), PAIRS, ids=map("-".join, PAIRS))
def test_pair(architecture, balancer, tmp_path):
    """It trains, one of each kind of balancer also resumes, or it is refused at once."""
    case = Case(architecture, balancer)
    message = case.refusal()
    if message:
        with pytest.raises(ValueError, match=message):
            case.compiled()
    elif balancer in KINDS:
        saving.check_resumed(case, tmp_path)
    else:
        guarantees.check_trained(case, tmp_path)
