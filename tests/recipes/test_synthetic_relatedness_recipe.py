"""The recipe on the synthetic experiment, from end to end on a few rows."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from recipes import synthetic_relatedness as recipe
from recipes.parts import synthetic_relatedness_report as report


@pytest.mark.slow
def test_the_table_and_the_file_tell_the_same(tmp_path, capsys):
    with flagsaver.flagsaver(
        out=str(tmp_path), seeds=2, epochs=2, rows=512, batch_size=256, correlation=[0.5, 1.0]
    ):
        recipe.main([])
    printed, report = capsys.readouterr().out, json.loads((tmp_path / "results.json").read_text())
    assert (tmp_path / "losses.png").stat().st_size > 10_000
    assert len(report["orderings"]) == 4
    for name in recipe.MODELS:
        (line,) = (text for text in printed.splitlines() if text.startswith(name) and "±" in text)
        for p in ("0.5", "1.0"):
            found = report["final"][name][p]
            assert f"{found['mean']:.3f} ± {found['std']:.3f}" in line
            assert report["curves"][f"{name}, p={p}"][-1] == pytest.approx(found["mean"])
    for ordering, found in report["orderings"].items():
        assert f"{found['holds']:<5} {ordering}:" in printed


@pytest.mark.slow
def test_bottoms_of_other_widths(tmp_path, capsys, eagerly):
    with flagsaver.flagsaver(
        out=str(tmp_path),
        bottom_units=[2],
        seeds=2,
        epochs=1,
        rows=256,
        batch_size=256,
        correlation=[0.5, 1.0],
    ):
        recipe.main([])
    printed, report = capsys.readouterr().out, json.loads((tmp_path / "bottoms.json").read_text())
    found, difference = report["final"]["2 units"], report["differences"]["2 units"]["mean"]
    assert difference == pytest.approx(found["0.5"]["mean"] - found["1.0"]["mean"])
    assert f"2 units, loss at p=0.5 less that at p=1.0: {difference:+.4f}" in printed


def test_sizes_are_those_of_the_paper():
    counts = {name: recipe.build(model).count_params() for name, model in recipe.MODELS.items()}
    bottom = 101 * 113 + 2 * (114 * 8 + 9)
    experts = 8 * 101 * 16 + 2 * (17 * 8 + 9)
    assert counts == {
        "shared bottom": bottom,
        "OMoE": experts + 100 * 8,
        "MMoE": experts + 2 * 100 * 8,
    }


def test_orderings_are_read_from_the_losses():
    finals = {
        ("shared bottom", 0.5): [4.0, 8.0, 6.0],
        ("shared bottom", 1.0): [2.0, 2.0, 2.0],
        ("OMoE", 0.5): [2.0, 3.0, 4.0],
        ("OMoE", 1.0): [1.0, 1.0, 1.0],
        ("MMoE", 0.5): [1.0, 1.0, 1.0],
        ("MMoE", 1.0): [1.0, 1.0, 1.0],
    }
    curves = {key: np.array(values)[:, None] for key, values in finals.items()}
    orderings = report.summarize(curves)["orderings"]
    assert [found["holds"] for found in orderings.values()] == ["yes"] * 4
    means = [found["mean"] for found in orderings.values() if "mean" in found]
    assert means == pytest.approx([2.0, 3.0, 4.0])

    for key in (("MMoE", 0.5), ("shared bottom", 0.5)):
        curves[key] = 6.0 - curves[key]
    orderings = report.summarize(curves)["orderings"]
    assert [found["holds"] for found in orderings.values()] == ["no", "even", "no", "yes"]


@pytest.mark.slow
def test_models_of_a_seed_begin_alike_whatever_was_trained_before():
    """One model is trained again and again instead of being built anew."""
    with flagsaver.flagsaver(rows=512, batch_size=256, epochs=1, seeds=2, correlation=[0.5]):
        once = recipe.train_all(recipe.MODELS)
    with flagsaver.flagsaver(rows=512, batch_size=256, epochs=1, seeds=2, correlation=[1.0, 0.5]):
        again = recipe.train_all(recipe.MODELS)
    for name in recipe.MODELS:
        np.testing.assert_allclose(once[name, 0.5], again[name, 0.5], rtol=1e-5)
        assert once[name, 0.5][0, 0] != once[name, 0.5][1, 0]
