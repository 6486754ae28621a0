"""Every balancer, with one model, through every guarantee; with `-m slow` also every balancer with
every model."""

import pytest

from conformance import guarantees
from conformance.registry import ARCHITECTURES, BALANCERS, QUICK, Case

CROSS = [
    pytest.param(
        architecture,
        balancer,
        id=f"{architecture}-{balancer}",
        marks=[] if architecture == Case.architecture and balancer in QUICK else pytest.mark.slow,
    )
    for architecture in ARCHITECTURES
    for balancer in BALANCERS
    if balancer != Case.balancer  # which `test_models.py` has
]


@pytest.mark.parametrize(("architecture", "balancer"), CROSS)
@pytest.mark.parametrize("guarantee", guarantees.OF_BALANCERS, ids=lambda g: g.__name__[6:])
def test_balancer(guarantee, architecture, balancer, tmp_path):
    guarantee(Case(architecture, balancer), tmp_path)
