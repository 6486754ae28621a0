"""Every step that a recipe trains could run on a TPU (`recipe_steps.py`)."""

import re

import pytest

pytest.importorskip("matplotlib")

from conformance.processes import TESTS, lines_of
from conformance.recipe_steps import KNOWN, RECIPES, WITHOUT_MODELS


def test_every_recipe_is_here():
    """Those that can be run as a program."""
    runnable = {
        path.stem
        for path in (TESTS.parent / "recipes").glob("*.py")
        if re.search(r"^    (app|strategies)\.run(_on_one)?\(main\)", path.read_text(), re.M)
    }
    assert runnable == {name.partition(",")[0] for name in RECIPES} | WITHOUT_MODELS


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_steps_compile_for_tpus(recipe):
    """With known shapes, without a call of the host, with all metrics, and to a finite loss."""
    *found, last = lines_of("conformance.recipe_steps", [recipe], ["recipes", "data"])
    assert len(last["models"]) == len(found) > 0
    faults = [step for step in found if step["faults"]]
    assert bool(faults) == (recipe in KNOWN), faults
    for step in found:
        if step in faults:
            assert step["faults"] == KNOWN[recipe], step["model"]
        else:
            assert step["finite"]
        assert step["metrics"] >= 2
