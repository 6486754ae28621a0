"""The model card: plain data, and a page of Markdown."""

import dataclasses
import json

import numpy as np
import pytest

from mtlzoo.presets import Card

FULL = Card(
    name="mine",
    title="Clicks",
    model="MMoE",
    tasks={
        "click": {"kind": "BinaryClassification", "metric": "auc", "mode": "max", "classes": None},
        "stay": {"kind": "Regression", "metric": "rmse", "mode": "min", "classes": None},
    },
    data="A hundred clicks.",
    data_set="clicks",
    load={"batch_size": 8},
    split="the last ten",
    metrics={
        "click": {
            "metric": "auc", "value": 0.75, "mean": 0.74, "std": 0.01, "seeds": 3,
            "single_task": 0.7,
        },
        "stay": {
            "metric": "rmse", "value": 2.0, "mean": 2.1, "std": None, "seeds": 1,
            "single_task": 2.2,
        },
    },
    delta_m={"value": 1.5, "mean": -0.25, "std": 0.125},
    groups={"sex": {"Female": {"rows": 7, "metrics": {"click": None, "stay": 2.5}}}},
    parameters=1234,
    flops=2468,
    latency_ms={"batch_1": 0.5, "batch_256": 2.25, "machine": "2 CPU cores"},
    size_bytes=4096,
    storage="int8",
    command="python -m recipes.make_presets --name=mine",
    limits=("Nobody has looked.",),
    licence="none",
    fingerprint={"click": {}},
)  # fmt: skip


def test_a_card_is_the_same_after_json():
    again = Card.from_dict(json.loads(json.dumps(FULL.to_dict(), allow_nan=False)))
    assert again == FULL
    with pytest.raises(dataclasses.FrozenInstanceError):
        again.name = "other"


def test_the_page_says_all_of_it():
    page = FULL.markdown()
    for text in [
        "# Clicks",
        'model = presets.load("mine")  # a MMoE',
        "| `stay` | Regression | - | rmse | lower |",
        "| `click` | auc | 0.7500 | 0.7400 ± 0.0100 (3 seeds) | 0.7000 |",
        "| `stay` | rmse | 2.0000 | 2.1000 (1 seed) | 2.2000 |",
        "+1.50 % with these weights, -0.25 ± 0.12 % over seeds",
        "| column | group | rows | `click`, auc | `stay`, rmse |",
        "| sex | Female | 7 | - | 2.5000 |",
        "| parameters | 1,234 |",
        "| latency, batch of 256, 2 CPU cores | 2.25 ms |",
        "| weights stored as | int8 |",
        'Loaded by `data.load("clicks", batch_size=8)`.',
        "```bash\npython -m recipes.make_presets --name=mine\n```",
        "* Nobody has looked.",
    ]:
        assert text in page
    assert FULL.missing() == []


def test_an_empty_card_says_what_it_lacks():
    assert Card().markdown() == "# A preset\n"
    assert {"title", "metrics", "limits", "flops"} <= set(Card().missing())
    assert not {"metrics", "flops", "groups"} & set(Card(trained=False).missing())
    page = Card(name="bare", model="MTAN", trained=False).markdown()
    assert 'presets.load("bare", load_weights=False)' in page and "no trained weights" in page


@pytest.mark.parametrize("value", [float("nan"), np.float32(1), {1, 2}])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(ValueError, match=r"`delta_m` of a card should be plain data"):
        Card(delta_m={"value": value})


def test_what_has_been_measured_once_is_enough():
    card = dataclasses.replace(
        FULL,
        metrics={"click": {"metric": "auc", "value": 0.75}},
        delta_m={"value": 1.5},
        latency_ms={"batch_1": 0.5},
    )
    page = card.markdown()
    assert "| `click` | auc | 0.7500 | - | - |" in page
    assert "+1.50 % with these weights." in page
    assert "| latency, batch of 1 | 0.50 ms |" in page


def test_a_tuple_is_the_list_that_will_be_read():
    card = Card(load={"size": (1, 2)})
    assert card.load == {"size": [1, 2]}
    assert Card.from_dict(json.loads(json.dumps(card.to_dict()))) == card


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"limits": "Not trained."}, r"`limits` of a card should be a list of sentences"),
        ({"metrics": {"click": {"value": 1.0}}}, r"`metrics\['click'\]` .* 'metric' and 'value'"),
        ({"metrics": {"click": 0.8}}, r"should be a dict with .* Received: 0.8"),
        ({"delta_m": {"mean": 1.0}}, r"`delta_m` of a card should be a dict with 'value'"),
        ({"groups": {"sex": {"a": {"rows": 1}}}}, r"`groups\['sex'\]\['a'\]` .* 'metrics'"),
    ],
)
def test_a_card_without_what_is_shown_of_it_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        Card(**arguments)


def test_unknown_keys_are_refused():
    with pytest.raises(ValueError, match=r"some of the keys \['name', .*'author'"):
        Card.from_dict({"author": "me"})
