import contextlib
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

from mtlzoo import BinaryClassification, HardSharing, MMoE, MultiTaskModel, Regression, presets
from mtlzoo.data.loading import Loaded
from recipes import make_presets
from recipes.parts import comparison, preset_costs, preset_making
from recipes.parts.training import Progress
from recipes.preset_families import Configuration, Family, Planned

TASKS = [BinaryClassification("click"), Regression("stay")]
FEATURES = 6


def model(cls=HardSharing, tasks=None, **arguments):
    inputs = keras.Input((FEATURES,), name="features")
    return cls(inputs, TASKS if tasks is None else tasks, **arguments)


@pytest.fixture(scope="module")
def loaded():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, FEATURES)).astype("float32")
    y = {"click": (x[:, 0] > 0).astype("int32"), "stay": x.sum(1)}
    y["click"][64:72] = 1
    weight = dict.fromkeys(y, np.ones(96, "float32"))
    rows = tf.data.Dataset.from_tensor_slices((x, y, weight))
    parts = [rows.take(32), rows.skip(32).take(32), rows.skip(64)]
    inputs = keras.Input((FEATURES,), name="features")
    return Loaded(*(part.batch(16) for part in parts), TASKS, inputs, keras.Sequential())


def test_operations_of_dense_layers_are_two_for_each_weight():
    # Each weight is a product and a sum, each bias a sum.
    found = preset_costs.flops(model(shared_units=(7,), tower_units=()))
    assert found == 2 * (6 * 7 + 7 * 1 + 7 * 1) + (7 + 1 + 1)


def test_operations_of_experts_are_those_of_each_expert_and_of_mixing_them():
    network = model(MMoE, num_experts=3, expert_units=(5,), tower_units=())
    experts, gates, heads = 3 * 6 * 5, 2 * 6 * 3, 2 * 5
    mixing, biases, softmax = 2 * 3 * 5, 3 * 5 + 2, 2 * 5 * 3
    products = experts + gates + heads + mixing
    assert preset_costs.flops(network) == 2 * products + biases + softmax


def test_einsum_is_counted_by_its_letters():
    x, y = keras.Input((4, 5), name="x"), keras.Input((5, 6), name="y")
    product = keras.ops.einsum("bij,bjk->bik", x, y)
    network = MultiTaskModel(
        {"x": x, "y": y},
        {"out": keras.layers.Flatten(name="out")(product)},
        tasks=[Regression("out", dim=24)],
    )
    assert preset_costs.flops(network) == 2 * 4 * 5 * 6


@pytest.mark.slow
def test_metrics_by_group_are_those_of_its_rows(loaded):
    network = model(shared_units=(4,))
    group = np.array(["few"] * 8 + ["many"] * 24)
    found = preset_making.by_group(network, loaded, {"where": group})["where"]
    assert {name: each["rows"] for name, each in found.items()} == {"few": 8, "many": 24}
    assert found["few"]["metrics"]["click"] is None  # all rows have one class
    assert 0 <= found["many"]["metrics"]["click"] <= 1
    x, y, _ = next(iter(loaded.test.unbatch().batch(32)))
    errors = np.asarray(network(x)["stay"])[8:, 0] - y["stay"][8:]
    rmse = float(np.sqrt(np.mean(np.square(errors))))
    assert found["many"]["metrics"]["stay"] == pytest.approx(rmse, rel=1e-5)


def test_an_area_under_a_curve_needs_some_rows_of_both_classes():
    few, missing = np.repeat([0, 1], [50, 9]), np.repeat([0, 1, -1], [50, 9, 5])
    click, stay = TASKS
    assert not preset_making.has_metric(click, few)
    assert not preset_making.has_metric(click, missing)
    assert preset_making.has_metric(click, np.repeat([0, 1, -1], [50, 10, 5]))
    assert preset_making.has_metric(stay, few)


def test_the_smallest_storage_that_moves_no_metric_by_a_tenth_of_its_spread(loaded, monkeypatch):
    moved = {"int8": 0.3, "bfloat16": 0.2, "float16": 0.001, None: 0.0}

    class Stored:
        def __init__(self, model, storage):
            self.storage = storage

        def __enter__(self):
            return self.storage

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(preset_making, "stored", Stored)
    monkeypatch.setattr(
        preset_making, "scores", lambda model, part: {"click": 0.8, "stay": 2 + moved[model]}
    )
    trained = preset_making.Trained(None, 0, None, loaded)  # the model is not looked at

    def smallest(stay, click=0.01):
        return preset_making.smallest(trained, {"click": click, "stay": stay})

    assert smallest(4.0) == "int8"
    assert smallest(2.5) == "bfloat16"
    assert smallest(1.0) == "float16"
    assert smallest(0.001) == "float32"
    assert smallest(4.0, click=None) == "float32"
    assert smallest(4.0, click=0.0) == "int8"  # nothing moves it


def test_the_storage_is_chosen_by_the_validation_data_alone(loaded, monkeypatch, tmp_path):
    """Each model's validation metric is its own, and the test data is empty of information."""
    runs = iter(range(100))

    def train(family, planned, seed, progress):
        result = comparison.Result({"click": 0.5, "stay": 1.0}, 1, 1, 1.0, valid=float(seed))
        return preset_making.Trained(f"seed {seed}", seed, result, loaded)

    def scores(network, part):
        if part is loaded.valid:
            return {"click": 0.7 + 0.1 * next(runs), "stay": 2.0 + next(runs)}
        return {"click": 0.5, "stay": 2.0}

    def smallest(trained, spreads):
        chosen.append((trained.model, spreads))
        return "int8"

    chosen = []
    monkeypatch.setattr(preset_making, "train", train)
    monkeypatch.setattr(preset_making, "scores", scores)
    monkeypatch.setattr(preset_making, "smallest", smallest)
    monkeypatch.setattr(preset_making, "stored", lambda *_: contextlib.nullcontext("stored"))
    monkeypatch.setattr(preset_costs, "flops", lambda _: 1)
    monkeypatch.setattr(preset_costs, "latency", lambda _: {})
    monkeypatch.setattr(preset_making, "write", lambda network, folder, card, storage: card)
    single = [{"click": 0.4, "stay": 1.0}, {"click": 0.6, "stay": 5.0}]
    card = preset_making.make("one", tiny_family(), single, tmp_path, None)
    ((model_chosen, spreads),) = chosen
    assert model_chosen == "seed 1"
    assert spreads == {"click": pytest.approx(0.2 / 2**0.5), "stay": pytest.approx(2 / 2**0.5)}
    # Over the means that the card shows, 0.5 and 3, not over the networks of one seed.
    assert card.delta_m["value"] == pytest.approx(100 * (0 + 1 / 3) / 2)
    assert card.metrics["stay"]["single_task"] == 3.0


def tiny_family(**arguments):
    names = ("one", "two")
    return Family(
        data_set="clicks", data="", licence="", split="", single_task=None, epochs=1,
        models={name: Planned(title=name, build=None) for name in names}, **arguments,
    )  # fmt: skip


def test_weights_that_must_stay_out_of_the_package_do(monkeypatch, tmp_path):
    made = []
    family = tiny_family(no_weights="There are no trained weights here.", limits=["Small."])
    monkeypatch.setattr(make_presets, "families", lambda: {"clicks": family})
    monkeypatch.setattr(make_presets, "report", lambda card: None)
    monkeypatch.setattr(make_presets, "bring_up_to_date", lambda: None)
    monkeypatch.setattr(make_presets, "make", lambda *given: made.append("weights"))
    monkeypatch.setattr(preset_making, "configure", lambda *given: made.append(given))
    package = pathlib.Path(presets.__file__).parent
    with flagsaver.flagsaver(name=["two"], out=str(package)):
        make_presets.main([])
    ((name, configuration, out),) = made
    assert (name, out) == ("two", package)
    assert configuration.limits == ["Small."] and configuration.why == family.no_weights
    with flagsaver.flagsaver(name=["two"], out=str(tmp_path)):
        make_presets.main([])
    assert made[1:] == ["weights"]


def test_the_stamps_in_the_package_are_what_the_recipe_makes():
    name = "cross_modal_fusion_stamps"
    made = preset_making.without_weights(name, make_presets.families()["stamps"])
    card = presets.card(name)
    assert card.limits == [made.why, *made.limits]
    assert (card.title, card.command, card.data) == (made.title, made.command, made.data)
    assert not card.trained


def test_what_is_asked_for(monkeypatch):
    family = tiny_family()
    bare = Configuration(title="", build=None, data="", licence="", why="", command="")
    monkeypatch.setattr(make_presets, "families", lambda: {"clicks": family, "bare": {"x": bare}})
    assert make_presets.chosen(["two", "x"]) == {"clicks": ["two"], "bare": ["x"]}
    assert make_presets.chosen(["clicks"]) == {"clicks": ["one", "two"]}
    for names in ([], ["three"]):
        with pytest.raises(
            ValueError, match=r"`--name` should be some of \['bare', 'clicks', 'one"
        ):
            make_presets.chosen(names)


def test_all_families_name_their_presets_alike():
    for module, made in make_presets.families().items():
        names = made.models if isinstance(made, Family) else made
        assert names
        if isinstance(made, Family):
            assert all(name.endswith(module) for name in names)


@pytest.mark.slow
def test_a_preset_is_made_from_several_trainings(loaded, monkeypatch, tmp_path):
    monkeypatch.setattr(preset_making.data, "load", lambda name, seed, **options: loaded)
    monkeypatch.setattr(preset_costs, "CALLS", 2)
    family = Family(
        data_set="clicks",
        load={"batch_size": 16},
        data="Made up.",
        licence="none",
        split="the last third",
        models={
            "hard_sharing_clicks": Planned(
                title="Clicks", build=lambda given: model(shared_units=(8,)), limits=["Small."]
            )
        },
        single_task=lambda given, task: model(tasks=[task], shared_units=(8,)),
        epochs=2,
        groups=lambda given: {"half": np.repeat(["a", "b"], 16)},
        limits=["Not real."],
    )
    progress = Progress(6, 2)
    single = preset_making.train_single_tasks(family, 2, progress)
    (tmp_path / "hard_sharing_clicks").mkdir()
    card = preset_making.make("hard_sharing_clicks", family, single, tmp_path, progress)
    assert card.missing() == []
    assert card.limits == ["Small.", "Not real."]
    assert card.command.endswith("--name=hard_sharing_clicks --seeds=2")
    assert card.metrics["stay"]["seeds"] == 2
    assert presets.check(tmp_path / "hard_sharing_clicks")
    again = presets.load(tmp_path / "hard_sharing_clicks")
    found = preset_making.scores(again, loaded.test)
    assert found["stay"] == pytest.approx(card.metrics["stay"]["value"], rel=1e-5)
    measured = preset_making.measure(tmp_path / "hard_sharing_clicks")
    assert (measured.metrics, measured.flops) == (card.metrics, card.flops)
    assert presets.check(tmp_path / "hard_sharing_clicks")
