"""The table and the picture of presets, and the student that is one."""

import pathlib

import keras
import pytest

pytest.importorskip("matplotlib")

from docs import making
from mtlzoo import Classification, data, presets
from mtlzoo.training import Distillation
from recipes.parts.preset_report import draw_gains, task_table
from recipes.preset_families import multi_fashion


def card(name, data_set, **changed):
    found = {
        "metric": "auc",
        "value": 0.81,
        "mean": 0.8,
        "std": 0.02,
        "single_task": 0.79,
        "seeds": 3,
    }
    arguments = {
        "metrics": {
            "click": {**found, "seeds": 3},
            "stay": {**found, "metric": "rmse", "seeds": 3},
        },
        "delta_m": {"value": 1.5, "mean": 1.25, "std": 0.5},
        "parameters": 1234,
        "size_bytes": 5600,
        "storage": "int8",
    }
    return presets.Card(name=name, data_set=data_set, **{**arguments, **changed})


def test_a_line_for_each_task_and_presets_by_data_set():
    lines = task_table([card("a", "one"), card("b", "two"), card("c", "one")]).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["`a`", "", "`c`", "", "`b`", ""]
    assert lines[2] == (
        "| `a` | `click` | auc | 0.8100 | 0.8000 ± 0.0200 | 0.7900 "
        "| +1.25 ± 0.50 | 1,234 | 6, int8 |"
    )
    assert lines[3].split("|")[2:4] == [" `stay` ", " rmse "]


def test_the_picture_is_drawn_also_of_a_single_seed(tmp_path):
    single = {"value": -1.5, "mean": -1.5, "std": None}
    draw_gains(tmp_path / "gains.png", [card("a", "one"), card("b", "two", delta_m=single)])
    assert (tmp_path / "gains.png").stat().st_size > 5_000


def test_the_page_says_what_the_cards_say():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "results" / "presets.md").read_text()
    named = {name for name in presets.names() if f"| `{name}` |" in page}
    assert named == set(presets.names(trained=True))
    # To mend it: `make_presets.bring_up_to_date()`, which draws the picture too.
    assert making.filled(page) == page


def test_a_student_has_the_answers_of_its_teacher(monkeypatch):
    inputs = keras.Input((36, 36, 1), name="image")
    front = keras.Model({"image": inputs}, keras.layers.Rescaling(1 / 255)(inputs))
    tasks = [Classification(name, num_classes=10) for name in ("left", "right")]
    loaded = data.Loaded(None, None, None, tasks, inputs, front)
    student = multi_fashion.student(loaded)
    monkeypatch.setattr(multi_fashion, "teacher", lambda: multi_fashion.hard_sharing(loaded))
    whole = multi_fashion.taught(student, loaded, 0)
    assert isinstance(whole, Distillation) and whole.student is student
    assert set(whole.task_names) == {"left", "left_soft", "right", "right_soft"}
