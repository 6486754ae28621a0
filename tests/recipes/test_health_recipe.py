"""The recipe that plants faults finds them."""

import pytest
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from recipes import training_health as recipe


@pytest.mark.slow
def test_a_fault_is_printed_and_drawn(eagerly, tmp_path, capsys):
    few = {"epochs": 2, "rows": 64, "faults": ["stuck gates"], "out": str(tmp_path)}
    with flagsaver.flagsaver(**few):
        recipe.main([])
    printed = capsys.readouterr().out
    assert "stuck gates: expert 2 is idle" in printed
    assert "experts (a, b)" in printed
    assert (tmp_path / "training_health.png").stat().st_size > 10_000


def test_each_kind_of_fault_is_planted():
    planted = recipe.faults()
    assert len(planted) == len(recipe.KINDS)
    assert all(len(trainings) == 2 for trainings in planted.values())
