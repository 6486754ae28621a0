import contextlib
import io
import json

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from mtlzoo.data import multi_fashion as fashion

pytest.importorskip("matplotlib")

from fake_packages import write_fashion

from recipes import ensemble_fusion

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The recipe on a handful of pairs."""
    out = tmp_path_factory.mktemp("ensemble_fusion")
    printed = io.StringIO()
    small = {"members": 2, "seeds": 1, "rows": 8, "epochs": 1, "tune_epochs": 1, "fit_epochs": 1}
    flags.FLAGS.mark_as_parsed()
    with (
        pytest.MonkeyPatch.context() as patch,
        flagsaver.flagsaver(out=str(out), data_dir=str(out), batch_size=4, test_rows=8, **small),
        contextlib.redirect_stdout(printed),
    ):
        patch.setattr(ensemble_fusion, "fusions", lambda: {"mean": "mean", "fitted": "temperature"})
        patch.setattr(ensemble_fusion, "STEPS", 3)
        patch.setattr(ensemble_fusion, "VALID_ROWS", 2)
        fashion.prepare(write_fashion(patch, out), data_dir=out)
        ensemble_fusion.main([])
    return out, printed.getvalue(), json.loads((out / "results.json").read_text())


def test_all_rows_are_there_with_their_costs(job):
    out, printed, report = job
    rows = [
        *("one model", "one model, temperature", "mean", "fitted", "weights averaged"),
        *("fine-tuned, one model", "fine-tuned, mean", "fine-tuned, weights averaged"),
        *("fine-tuned, greedy soup", "between two models"),
    ]
    assert list(report) == rows
    one = report["one model"]["parameters"]
    factors = {"mean": 2, "fine-tuned, mean": 2, "weights averaged": 1}
    for name, factor in factors.items():
        assert report[name]["parameters"] == factor * one
        assert f"{factor * one:,}" in printed
    assert report["fitted"]["parameters"] == 2 * one + 2  # a temperature for each task
    for name in rows[:-1]:
        metrics = report[name]["metrics"]
        of_tasks = [metrics[f"{task}, accuracy"]["mean"] for task in ("left", "right")]
        np.testing.assert_allclose(metrics["accuracy"]["mean"], np.mean(of_tasks), rtol=1e-6)
        assert 0 <= metrics["calibration error"]["mean"] <= 1
    assert (out / "fusion.png").stat().st_size > 10_000


def test_lines_end_at_the_two_models(job):
    *_, report = job
    for values in report["between two models"].values():
        assert np.shape(values["values"]) == (1, 3)


def test_what_is_fitted_sees_neither_training_nor_test_data(job, monkeypatch):
    out, *_ = job
    with flagsaver.flagsaver(data_dir=str(out), batch_size=4):
        monkeypatch.setattr(ensemble_fusion, "VALID_ROWS", 2)
        loaded, held = ensemble_fusion.load(0)
    chosen, held = (
        [x.tobytes() for x, *_ in part.unbatch().as_numpy_iterator()]
        for part in (loaded.valid, held)
    )
    assert chosen and not set(chosen) & set(held)
