"""The presets of the package are whole, answer what their cards say, and are as good as that."""

import pathlib

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from docs import making
from mtlzoo import MMoE, MultiTaskModel, data, presets
from recipes.parts import preset_making

ROOT = pathlib.Path(__file__).parents[2]
CENSUS = [name for name in presets.names(trained=True) if name.endswith("census_income")]
OTHERS = [name for name in presets.names(trained=True) if name not in CENSUS]
CONFIGURATIONS = presets.names(trained=False)
# Without large trunks, which take seconds to make.
SMALL = ["hard_sharing_glue", "mmoe_movielens"]
MOST_BYTES = 600_000


@pytest.fixture(scope="module")
def census_test():
    """All test rows in one batch."""
    loaded = data.load("census_income", **presets.card(CENSUS[0]).load)
    return next(iter(loaded.test.unbatch().batch(10_000)))


def test_the_names():
    names = presets.names()
    assert names == sorted({*presets.names(trained=True), *CONFIGURATIONS})
    assert {
        *("hard_sharing_census_income", "mmoe_census_income", "ple_census_income"),
        "cross_stitch_census_income",
    } == set(CENSUS)
    assert {"mtan_nyuv2", "mtan_cityscapes", "hard_sharing_celeb_a"} <= set(CONFIGURATIONS)
    with pytest.raises(ValueError, match=r"`trained` should be a bool or None"):
        presets.names(trained="yes")


def test_an_unknown_name_says_which_are_near():
    error = r"one of \[.*'mmoe_census_income'.*Did you mean 'mmoe_census_income'.*'mmoe_census'"
    with pytest.raises(ValueError, match=error):
        MMoE.from_preset("mmoe_census")
    with pytest.raises(ValueError, match=r"`name_or_dir` should be the name of a preset"):
        presets.load(7)
    with pytest.raises(ValueError, match=r"`load_weights` should be a bool"):
        presets.load("mmoe_census_income", load_weights="yes")


@pytest.mark.parametrize("name", presets.names())
def test_a_card_is_complete(name):
    card = presets.card(name)
    assert card.missing() == []
    assert (card.name, card.trained) == (name, name not in CONFIGURATIONS)
    assert card.markdown() == (ROOT / "mtlzoo/presets" / name / "README.md").read_text("utf-8")
    assert name in card.command
    if card.data_set is not None:
        assert card.data_set in data.names()
    if card.trained:
        assert card.metrics.keys() == card.tasks.keys() == card.fingerprint.keys()
        assert card.size_bytes < MOST_BYTES
    else:
        assert any("no trained weights" in sentence for sentence in card.limits)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", presets.names(trained=True))
def test_a_preset_answers_what_it_answered_where_it_was_made(name):
    assert max(presets.check(name).values()) < 1e-3


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", CENSUS)
def test_the_metrics_of_census_are_those_of_the_card(name, census_test):
    card, model = presets.card(name), presets.load(name)
    x, y, _ = census_test
    outputs = {task: np.asarray(raw) for task, raw in model(x, training=False).items()}
    found = {
        "income": roc_auc_score(y["income"], outputs["income"]),
        "never_married": roc_auc_score(y["never_married"], outputs["never_married"]),
        "education": f1_score(y["education"], outputs["education"].argmax(-1), average="macro"),
    }
    for task, value in found.items():
        assert value == pytest.approx(card.metrics[task]["value"], abs=5e-4), task
    assert {"sex", "race"} == set(card.groups)
    for groups in card.groups.values():
        assert sum(found["rows"] for found in groups.values()) == 10_000
        assert all(found["metrics"].keys() == card.tasks.keys() for found in groups.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_the_metrics_of_others_are_those_of_the_card(name):
    card = presets.card(name)
    try:
        loaded = data.load(card.data_set, **card.load)
    except (ImportError, ValueError) as error:
        pytest.skip(f"the data is not prepared: {error}")
    found = preset_making.scores(presets.load(name), loaded.test)
    for task, value in found.items():
        assert value == pytest.approx(card.metrics[task]["value"], abs=1e-3), task


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in SMALL else pytest.mark.slow) for n in CONFIGURATIONS],
)
def test_a_configuration_makes_a_model(name):
    card = presets.card(name)
    model = MultiTaskModel.from_preset(name, load_weights=False)
    assert type(model).__name__ == card.model
    assert sorted(card.tasks) == list(model.task_names)
    count = sum(int(keras.ops.size(v)) for v in model.trainable_variables)
    assert count == card.parameters


def test_the_page_of_the_presets_is_up_to_date():
    page = (ROOT / "docs/presets.md").read_text("utf-8")
    assert making.filled(page) == page
    assert all(f"| `{name}` |" in page for name in presets.names())
