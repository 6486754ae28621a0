"""The search on census data: what it writes, and what it looks for within limits."""

import json

import keras
import pytest
from absl.testing import flagsaver

pytest.importorskip("matplotlib")
pytest.importorskip("keras_tuner")

from mtlzoo import BinaryClassification
from recipes import tuning

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")


@pytest.mark.slow
def test_the_recipe_searches_and_reads_the_test_data_once(tmp_path, capsys):
    with flagsaver.flagsaver(out=str(tmp_path), trials=2, epochs=1, batch_size=1024):
        tuning.main([])
    report = json.loads((tmp_path / "results.json").read_text())
    assert len(report["trials"]) == 3
    assert set(report["best"]) == {"income", "never_married", "education"}
    assert all((tmp_path / name).exists() for name in ("pareto_front.png", "search"))
    assert keras.saving.load_model(tmp_path / "best.keras").compiled
    assert "trials were completed" in capsys.readouterr().out


def test_limits_make_one_task_count():
    tasks = [BinaryClassification("income"), BinaryClassification("education")]
    baselines = {"income": 0.9, "education": 0.8}
    assert tuning.objective(tasks, baselines).name == "val_delta_m"
    with flagsaver.flagsaver(least=["income=0.93"], target="education"):
        found = tuning.objective(tasks, baselines)
    assert found.name == "val_within_limits"
    logs = {"val_income_auc": 0.93, "val_education_auc": 0.7}
    assert 0 < found.get_value(logs) < 2
    assert found.get_value(logs | {"val_income_auc": 0.465}) == pytest.approx(-20.5)
