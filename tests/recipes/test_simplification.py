import contextlib
import io
import json

import pytest
from absl import flags
from absl.testing import flagsaver

from mtlzoo.data import multi_fashion as fashion

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

from fake_packages import write_fashion

from recipes import simplification

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The recipe on a handful of rows."""
    out = tmp_path_factory.mktemp("simplification")
    printed = io.StringIO()
    small = {"epochs": 1, "rows": 8, "batch_size": 4, "test_rows": 8, "tree_rows": 300}
    flags.FLAGS.mark_as_parsed()
    with (
        pytest.MonkeyPatch.context() as patch,
        flagsaver.flagsaver(out=str(out), data_dir=str(out), source="sample", **small),
        contextlib.redirect_stdout(printed),
    ):
        patch.setattr(simplification, "SPARSITIES", (0.5, 0.9))
        patch.setattr(simplification, "WIDTHS", (16, 256))
        fashion.prepare(write_fashion(patch, out), data_dir=out)
        simplification.main([])
    return out, printed.getvalue(), json.loads((out / "results.json").read_text())


def test_each_step_is_smaller_than_the_one_before(job):
    _, printed, report = job
    sizes = report["census"]
    steps = ["before", "1. no idle experts", "2. half of the units", "3. low rank"]
    counts = [sizes[name]["parameters"] for name in steps]
    assert counts == sorted(counts, reverse=True) and counts[2] < counts[0]
    assert sizes["80 % zeros"]["nonzero"] < 0.3 * sizes["before"]["parameters"]
    assert sizes["4. int8"]["array_bytes"] < sizes["3. low rank"]["array_bytes"]
    assert list(sizes["without never_married"]["metrics"]) == ["income"]
    assert f"{counts[0]:,}" in printed


def test_eight_bits_make_only_wide_layers_smaller(job):
    _, printed, report = job
    _, narrow, wide = report["eight_bits"]
    for row, smaller in ((narrow, False), (wide, True)):
        floats, integers = (int(cell.replace(",", "")) for cell in row[2:])
        assert (integers < floats) == smaller
    assert "256 units" in printed


def test_the_tree_and_the_curves_are_there(job):
    out, printed, report = job
    assert "For the probability that the model answers for `income`" in printed
    assert report["surrogate"]["rules"]
    for scope in ("shared", "tasks"):
        curve = report["sparsity"][scope]
        assert curve["sparsities"] == [0.5, 0.9]
        for values in (*curve["pruned"], *curve["tuned"]):
            assert all(0 <= value <= 1 for value in values.values())
    for picture in ("sizes.png", "surrogate.png", "sparsity.png"):
        assert (out / picture).stat().st_size > 10_000
