"""Every balancer, with one model, through every guarantee; with `-m slow` also with the other
models that hold for their kind, and every balancer with every architecture through one."""

import pytest

from conformance import guarantees, saving
from conformance.registry import (
    ARCHITECTURES,
    BALANCERS,
    QUICK,
    REFUSALS,
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
    for balancer in (BALANCERS if architecture == USUAL_ARCHITECTURE else QUICK)
    if balancer != USUAL_BALANCER  # which `test_models.py` has
]


@pytest.mark.parametrize(("architecture", "balancer"), CROSS)
@pytest.mark.parametrize("guarantee", guarantees.OF_BALANCERS, ids=lambda g: g.__name__[6:])
def test_balancer(guarantee, architecture, balancer, tmp_path):
    guarantee(Case(architecture, balancer), tmp_path)


PAIRS = [
    pytest.param(architecture, balancer, id=f"{architecture}-{balancer}")
    for architecture in ARCHITECTURES
    if architecture not in THROUGH_ALL  # which go through every guarantee
    for balancer in BALANCERS
    if balancer != Case(architecture).balancer  # which `test_models.py` has
]


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "balancer"), PAIRS)
def test_pair(architecture, balancer, tmp_path):
    """It trains and resumes, or is refused at once."""
    refuses, message = REFUSALS.get(architecture, (lambda balancer: False, ""))
    case = Case(architecture, balancer)
    if refuses(BALANCERS[balancer]()):
        with pytest.raises(ValueError, match=message):
            case.compiled()
    else:
        saving.check_resumed(case, tmp_path)
