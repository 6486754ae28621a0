"""Models in which one teaches another, through the guarantees of every model."""

import pytest

from conformance import guarantees
from conformance.knowledge import MODELS, TaughtCase
from conformance.registry import KINDS, USUAL_BALANCER

GUARANTEES = [
    guarantees.check_modes,
    guarantees.check_mixed_precision,
    guarantees.check_overflow,
    guarantees.check_compiles_for_tpus,
    guarantees.check_missing_labels,
    guarantees.check_resumed,
    guarantees.check_resumed_with_momentum,
    guarantees.check_config,
    guarantees.check_deep_copy,
    guarantees.check_recompiled,
]
FIRST = next(iter(MODELS))
CASES = [
    pytest.param(
        guarantee,
        model,
        id=f"{guarantee.__name__[6:]}-{model}",
        marks=[] if (model, guarantee) == (FIRST, guarantees.check_resumed) else pytest.mark.slow,
    )
    for guarantee in GUARANTEES
    for model in MODELS
]


@pytest.mark.parametrize(("guarantee", "model"), CASES)
def test_model_that_is_taught(guarantee, model, tmp_path):
    guarantee(TaughtCase(model), tmp_path)


BALANCER_CASES = [
    pytest.param(guarantee, balancer, id=f"{guarantee.__name__[6:]}-{balancer}")
    for guarantee in (guarantees.check_modes, guarantees.check_resumed)
    for balancer in KINDS
    if balancer not in (USUAL_BALANCER, "modo")
]


@pytest.mark.slow
@pytest.mark.parametrize(("guarantee", "balancer"), BALANCER_CASES)
def test_balancer_of_a_student(guarantee, balancer, tmp_path):
    guarantee(TaughtCase(FIRST, balancer), tmp_path)
