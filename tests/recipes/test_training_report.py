import contextlib
import dataclasses
import io

import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

pytest.importorskip("matplotlib")
pytest.importorskip("tensorboard")

from mtlzoo import data
from mtlzoo.reporting import intervals, read, scores
from recipes import training_report

pytestmark = pytest.mark.slow
PARTS = ("train", "validation")
TASKS = ["education", "income", "never_married"]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The recipe on a few rows, one epoch of one seed."""
    out = tmp_path_factory.mktemp("training_report")
    load = data.load

    def few_rows(name, **options):
        census = load(name, **options)
        parts = {part: getattr(census, part).take(2) for part in ("train", "valid", "test")}
        return dataclasses.replace(census, **parts)

    printed = io.StringIO()
    flags.FLAGS.mark_as_parsed()
    with (
        pytest.MonkeyPatch.context() as patch,
        flagsaver.flagsaver(out=str(out), epochs=1, seeds=1, batch_size=64),
        contextlib.redirect_stdout(printed),
    ):
        patch.setattr(training_report.data, "load", few_rows)
        patch.setattr(scores, "GROUPS", 5)
        patch.setattr(intervals, "RESAMPLES", 5)
        tf.config.run_functions_eagerly(True)
        try:
            training_report.main([])
        finally:
            tf.config.run_functions_eagerly(False)
    return out, printed.getvalue()


@pytest.mark.slow
def test_the_page_has_all_tasks_runs_and_findings(job):
    found = read(job[0] / "report.html")
    assert [run["name"] for run in found["runs"]] == ["single tasks", "MMoE"]
    for run in found["runs"]:
        assert sorted(run["metrics"]) == TASKS
        assert run["command"].startswith("python -m recipes.training_report")
    assert set(found["delta_m"]) == {"MMoE"}
    titles = [finding["title"] for finding in found["findings"]]
    assert len(titles) == len(set(titles)) >= 4
    assert all(line in job[1] for line in found["says"])


def test_each_training_has_logs_for_tensorboard(job):
    logs = job[0] / "tensorboard"
    folders = {str(path.parent.relative_to(logs)) for path in logs.rglob("events.out.*")}
    expected = {f"single_tasks/{task}/seed_0/{part}" for task in TASKS for part in PARTS}
    assert folders == expected | {f"MMoE/seed_0/{part}" for part in PARTS}
