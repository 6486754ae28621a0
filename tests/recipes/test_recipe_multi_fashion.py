import contextlib
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from mtlzoo import models
from mtlzoo.data import multi_fashion as fashion
from mtlzoo.metrics import delta_m

pytest.importorskip("matplotlib")

from fake_packages import write_fashion

from recipes import multi_fashion
from recipes.parts import multi_fashion_report
from recipes.parts.fashion import Item

# Of tf.data, which is not meant to be eager here.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
CHOSEN = ["CrossStitch", "OMoE", "TaskQueryAttention"]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The recipe on a handful of pairs, with three architectures."""
    out = tmp_path_factory.mktemp("multi_fashion")
    printed = io.StringIO()
    flags.FLAGS.mark_as_parsed()
    with (
        pytest.MonkeyPatch.context() as patch,
        flagsaver.flagsaver(
            out=str(out), data_dir=str(out), models=CHOSEN, rows=16, epochs=1, batch_size=8
        ),
        contextlib.redirect_stdout(printed),
    ):
        fashion.prepare(write_fashion(patch, out), data_dir=out)
        tf.config.run_functions_eagerly(True)  # a step of each model is faster so
        multi_fashion.main([])
        tf.config.run_functions_eagerly(False)
    return out, printed.getvalue(), json.loads((out / "results.json").read_text())


def test_every_architecture_is_compared_or_left_out_with_a_reason():
    named = {a.__name__ for a in (*multi_fashion.ARCHITECTURES, *multi_fashion.NOT_HERE)}
    assert named == set(models.__all__) - {"MultiTaskModel", "LogSharing"}
    assert not set(multi_fashion.ARCHITECTURES) & set(multi_fashion.NOT_HERE)


@pytest.mark.slow
def test_accuracy_decides_and_is_compared_with_the_single_tasks(job):
    _, printed, report = job
    assert list(report) == ["single tasks", *CHOSEN]
    columns = ["left, accuracy", "right, accuracy"]
    tasks = [Item(name, 10, metrics=["accuracy"]) for name in ("left", "right")]
    assert [(task.monitor, task.mode) for task in tasks] == [("accuracy", "max")] * 2
    test = {
        name: {c.split(",")[0]: found["metrics"][c]["mean"] for c in columns}
        for name, found in report.items()
    }
    for name in CHOSEN:
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{name}  ")]
        assert line.split()[1:3] == [f"{test[name][task]:.4f}" for task in ("left", "right")]
        expected = delta_m(test[name], test["single tasks"], tasks)
        np.testing.assert_allclose(report[name]["metrics"]["delta_m, %"]["mean"], expected)


@pytest.mark.slow
def test_parameters_are_those_of_the_networks(job):
    *_, report = job
    convolutions = 26 * 10 + 251 * 20
    column, head = convolutions + 721 * 50, 51 * 10
    assert report["single tasks"]["parameters"] == 2 * (column + head)
    assert report["CrossStitch"]["parameters"] == 2 * (column + head) + 3 * 4
    mixture = 4 * column + 36 * 36 * 4  # four trunks, and a gate that reads the picture
    assert report["OMoE"]["parameters"] == mixture + 2 * head


@pytest.mark.slow
def test_what_is_read_and_left_out_is_printed(job):
    _, printed, _ = job
    assert "CrossStitch: received of left, right, dense_0" in printed
    assert "OMoE: mean use of experts" in printed
    assert "TaskQueryAttention: mean row and column of 0 to 5" in printed
    assert "  ESMM: needs the yes/no steps of a funnel" in printed


@pytest.mark.slow
def test_the_pictures_are_there(job):
    out, *_ = job
    for name in ("accuracy.png", "answers.png"):
        assert (out / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_balancers_are_compared_and_those_refused_are_named(tmp_path, monkeypatch, capsys):
    fashion.prepare(write_fashion(monkeypatch, tmp_path), data_dir=tmp_path)
    folder = str(tmp_path)
    with flagsaver.flagsaver(
        out=folder, data_dir=folder, rows=16, epochs=1, batch_size=8, seeds=2,
        balancer=["uncertainty", "pcgrad"], models=["SoftSharing"],
    ):  # fmt: skip
        multi_fashion.main([])
    printed, report = capsys.readouterr().out, json.loads((tmp_path / "results.json").read_text())
    rows = ["single tasks", "equal", "uncertainty", "fixed weights, tuned"]
    assert list(report) == [*rows, "pcgrad"]
    for row in rows:
        assert len(report[row]["metrics"]["left, accuracy"]["values"]) == 2
    assert f"  pcgrad: {report['pcgrad']['refused']}" in printed
    assert "has no trainable variable that two tasks share" in report["pcgrad"]["refused"]
    assert (tmp_path / "balancers.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_center_of_attention_is_the_mean_place():
    weights = np.zeros((1, 1, 1, 36))
    weights[..., 1 * 6 + 4] = 0.5  # row 1, column 4
    weights[..., 3 * 6 + 4] = 0.5
    assert multi_fashion_report.center(weights) == [2.0, 4.0]
