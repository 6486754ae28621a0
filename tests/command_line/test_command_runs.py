"""Training, evaluation, export, explanation and report on a small data set."""

import json

import keras
import pytest
import tensorflow as tf

import mtlzoo
from mtlzoo import presets
from mtlzoo.command_line import main, sources
from mtlzoo.command_line.command import UsageError
from mtlzoo.reporting import read

SET = "synthetic_relatedness"
SMALL = ["--data", "rows=512", "--data", "held_out_rows=128", "--batch_size=128"]
TINY = ["--set", "shared_units=8", "--set", "tower_units=4", "--epochs=2", "--learning_rate=0.01"]


@pytest.fixture(scope="module")
def run(eagerly, tmp_path_factory):
    """A trained model with baselines, and what the command said."""
    out = tmp_path_factory.mktemp("runs") / "hard"
    line = ["train", "hard_sharing", SET, *SMALL, *TINY, "--baselines", f"--out={out}"]
    assert main(line) == 0
    return out


def answered(line, capsys):
    capsys.readouterr()
    code = main([*line, "--json", "--quiet"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


def test_a_run_has_a_model_metrics_and_a_record(run):
    model = keras.saving.load_model(run / "model.keras")
    assert isinstance(model, mtlzoo.HardSharing)
    metrics = json.loads((run / "metrics.json").read_text())
    record = json.loads((run / "run.json").read_text())
    assert metrics["model"] == "HardSharing"
    assert metrics["name"] == record["name"] == "HardSharing, equal"
    assert list(metrics["tasks"]) == ["first", "second"]
    assert record["options"] == {"rows": 512, "held_out_rows": 128, "batch_size": 128, "seed": 0}
    assert record["command"].startswith(f"mtlzoo train hard_sharing {SET} --data rows=512")
    assert len(record["history"]["val_first_rmse"]) == len(record["seconds"]) == 2
    assert sorted(p.name for p in (run / "baselines").iterdir()) == ["first.keras", "second.keras"]
    values = [metrics["tasks"][t]["metrics"]["rmse"] for t in ("first", "second")]
    alone = [metrics["tasks"][t]["single_task"]["rmse"] for t in ("first", "second")]
    gain = 50 * sum((b - m) / b for m, b in zip(values, alone, strict=True))
    assert metrics["delta_m"] == pytest.approx(gain, rel=1e-5)
    # The best epoch by validation data is the one that was kept.
    scores = [record["history"][f"val_{t}_rmse"] for t in ("first", "second")]
    means = [sum(of_epoch) for of_epoch in zip(*scores, strict=True)]
    assert metrics["best_epoch"] == 1 + means.index(min(means))


@pytest.mark.slow
def test_evaluation_says_what_the_training_said(run, capsys):
    found = answered(["evaluate", str(run)], capsys)
    trained = json.loads((run / "metrics.json").read_text())
    assert found["data_set"] == SET
    for name, entry in found["tasks"].items():
        assert entry["metrics"] == pytest.approx(trained["tasks"][name]["metrics"], rel=1e-5)
    assert main(["evaluate", str(run / "model.keras"), SET, *SMALL, "--split=valid"]) == 0
    captured = capsys.readouterr()
    assert "first   rmse *" in captured.out
    assert captured.err.startswith("Evaluating model on synthetic_relatedness, valid")
    assert main(["evaluate", str(run / "model.keras")]) == 2
    assert "DATASET should be given" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tasks", "inputs", "said"),
    [
        (["first", "third"], (100,), r"tasks \['first', 'second'\].*without \['second'\]"),
        (["first", "second"], (10, 10), r"of shapes \[\(100,\)\]. Received: \[\(10, 10\)\]"),
    ],
)
def test_data_of_other_tasks_or_inputs_is_refused(run, tasks, inputs, said):
    model = keras.saving.load_model(run / "model.keras")
    rows = tf.data.Dataset.range(1)
    of = [mtlzoo.Regression(name) for name in tasks]
    loaded = mtlzoo.data.Loaded(rows, rows, rows, of, keras.Input(inputs), None)
    with pytest.raises(UsageError, match=said):
        sources.check_fits(model, sources.Source(loaded, "other", {}))


@pytest.mark.slow
def test_training_goes_on_with_tasks_weights_and_a_balancer(run, tmp_path, capsys):
    line = ["train", str(run), SET, *SMALL, "--epochs=1", "--balancer=cagrad(c=0.4)"]
    line += ["--loss_weights=first=2", "--keep=last", f"--out={tmp_path / 'next'}", "--seed=1"]
    found = answered([*line, "--name=hard"], capsys)
    assert found["name"] == "hard"
    assert found["best_epoch"] is None
    assert keras.saving.load_model(tmp_path / "next/model.keras").balancer.c == 0.4
    before = json.loads((run / "metrics.json").read_text())
    assert found["parameters"] == before["parameters"]
    for flag in ("--set=dropout=0.5", "--tasks=first"):
        assert main([*line, flag]) == 2
        assert "should be given for a class of the zoo" in capsys.readouterr().err


@pytest.mark.slow
def test_a_report_has_the_runs_and_their_baselines(run, tmp_path, capsys):
    line = ["train", str(run), SET, *SMALL, "--epochs=1", "--name=hard", "--seed=1"]
    assert main([*line, f"--out={tmp_path / 'next'}"]) == 0
    before = json.loads((run / "metrics.json").read_text())
    page = tmp_path / "report.html"
    said = answered(["report", str(run), str(tmp_path / "next"), f"--out={page}"], capsys)
    names = [each["name"] for each in read(page)["runs"]]
    assert names == ["single tasks", "HardSharing, equal", "hard"]
    assert said["delta_m"]["HardSharing, equal"]["value"] == pytest.approx(
        before["delta_m"], rel=1e-4
    )
    assert main(["report", str(run), str(run), f"--out={page}"]) == 2
    assert "different seeds" in capsys.readouterr().err


def test_only_some_tasks_are_learned_and_what_is_there_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    line = ["train", "HardSharing", SET, *SMALL, *TINY, f"--out={tmp_path}"]
    assert main(line) == 2
    assert "should be a new folder, or that of a run" in capsys.readouterr().err
    assert main([*line[:-1], "--tasks=third"]) == 2
    assert "Received: 'third'" in capsys.readouterr().err
    assert main([*line[:-1], "--set=dropout=2", f"--out={tmp_path / 'x'}"]) == 2
    assert "`dropout` should be a number from 0 to below 1" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_preset_is_evaluated_and_one_without_weights_is_refused(run, tmp_path, capsys):
    model = keras.saving.load_model(run / "model.keras")
    options = {"rows": 512, "held_out_rows": 128, "batch_size": 128}
    card = presets.Card(title="Two", data_set=SET, load=options)
    presets.save(model, tmp_path / "two", card=card)
    presets.save(model, tmp_path / "none", card=card, with_weights=False)
    found = answered(["evaluate", str(tmp_path / "two")], capsys)
    trained = json.loads((run / "metrics.json").read_text())
    assert found["name"] == "two"
    for name, entry in found["tasks"].items():
        assert entry["metrics"] == pytest.approx(trained["tasks"][name]["metrics"], rel=1e-5)
    for words in (["evaluate"], ["export"]):
        line = [*words, str(tmp_path / "none"), *[str(tmp_path / "x")] * (words == ["export"])]
        assert main(line) == 2
        assert "is a configuration without weights" in capsys.readouterr().err


@pytest.mark.slow
def test_an_exported_model_answers(run, tmp_path, capsys):
    path = str(tmp_path / "served")
    found = answered(["export", str(run), path, "--tasks=second"], capsys)
    assert found == {
        **{"name": "HardSharing, equal", "path": path},
        **{"format": "tf_saved_model", "tasks": ["second"]},
    }
    served = tf.saved_model.load(path)
    assert list(served.signatures["serve"](features=tf.zeros((2, 100)))) == ["second"]
    assert main(["export", str(run), path]) == 2
    assert "`path` should be a new or an empty directory" in capsys.readouterr().err


def test_an_explanation_is_words_and_pictures(run, tmp_path, capsys):
    out = tmp_path / "why"
    line = ["explain", str(run), "--method=integrated_gradients", "--rows=2", f"--out={out}"]
    found = answered(line, capsys)
    assert found["files"] == ["integrated_gradients.png", "words.txt", "findings.json"]
    assert all((out / name).stat().st_size > 0 for name in found["files"])
    assert "first" in found["findings"][0]["words"]
    assert main([*line, "--method=attention"]) == 2
    assert "should have gates, stitches, masks" in capsys.readouterr().err


@pytest.mark.slow
def test_importance_reads_the_raw_columns_of_a_table(tmp_path, capsys):
    out = tmp_path / "mmoe"
    assert main(["train", "MMoE", "census_income", "--epochs=1", f"--out={out}"]) == 0
    found = answered(["explain", str(out), "--rows=100", f"--out={tmp_path / 'why'}"], capsys)
    assert [each["name"] for each in found["findings"]] == ["importance", "attention_0"]
    assert "age" in [row[0] for row in found["findings"][0]["rows"]]
