"""A model that is saved as a preset and loaded again is the same model."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from preset_cases import (
    ARCHITECTURES,
    adapted,
    answers,
    hard_sharing,
    mmoe,
    raw_tensors,
    tasks,
)

from mtlzoo import HardSharing, MMoE, MultiTaskModel, presets
from mtlzoo.presets import fingerprints, weights


def assert_same(found, wanted, tolerance=1e-6):
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=tolerance, rtol=tolerance)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_preset_answers_what_the_model_answered(name, tmp_path):
    model = ARCHITECTURES[name]()
    path = model.save_to_preset(tmp_path / "mine")
    keras.layers.Dense(1)  # so that layers without a name get other numbers
    again = type(model).from_preset(path)
    assert type(again) is type(model) and not again.compiled
    assert_same(answers(again), answers(model))
    card = presets.card(path)
    own = [*model.shared_variables, *(v for t in model.task_names for v in model.task_variables(t))]
    assert card.parameters == sum(int(np.prod(v.shape)) for v in own)
    assert (card.name, card.model) == ("mine", type(model).__name__)
    assert card.tasks["kind"] == {
        "kind": "Classification", "metric": "macro_f1", "mode": "max", "classes": 3,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["hard_sharing", "mmoe", "ple"])
def test_weights_fit_the_model_of_permuted_tasks(name):
    model, permuted = ARCHITECTURES[name](), ARCHITECTURES[name](tasks()[::-1])
    weights.assign(permuted, weights.arrays_of(model))
    assert_same(answers(permuted), answers(model))


def test_what_compile_was_given_is_left_out(tmp_path):
    model = hard_sharing()
    model.compile("adam", "uncertainty")
    assert model.balancer_variables
    path = model.save_to_preset(tmp_path / "compiled")
    assert "Adam" not in (path / "preset.json").read_text()
    again = HardSharing.from_preset(path)
    assert_same(answers(again), answers(model))
    again.compile("sgd", "pcgrad")
    assert presets.save(again, tmp_path / "again").name == "again"


def test_the_preprocessor_keeps_its_words_and_statistics_and_stands_in_front(tmp_path):
    front = adapted()
    model = hard_sharing(preprocessor=front)
    path = model.save_to_preset(tmp_path / "raw", storage="int8")
    again = presets.load(path)
    np.testing.assert_allclose(again.preprocessor(raw_tensors()), front(raw_tensors()), atol=1e-6)
    wanted = again(front(raw_tensors()), training=False)["stay"]
    served = tf.saved_model.load(again.export(tmp_path / "served"))
    found = served.signatures["stay"](**{k: tf.constant(v) for k, v in raw_tensors().items()})
    np.testing.assert_allclose(found["stay"], wanted, atol=1e-5)


def test_nested_lookups_of_one_name_keep_the_words_of_each(tmp_path):
    def encoder(column, words):
        given = keras.Input((1,), dtype="string", name=column)
        lookup = keras.layers.StringLookup(name="words", output_mode="one_hot")
        lookup.adapt(np.array([[word] for word in words]))
        return keras.Model(given, lookup(given), name=f"encoder_of_{column}")

    raw = {name: keras.Input((1,), dtype="string", name=name) for name in ("color", "way")}
    parts = [
        encoder("color", ["red", "green"])(raw["color"]),
        encoder("way", ["up", "down"])(raw["way"]),
    ]
    front = keras.Model(raw, keras.layers.Concatenate()(parts))
    again = presets.load(hard_sharing(preprocessor=front).save_to_preset(tmp_path / "mine"))
    rows = {"color": tf.constant([["red"], ["green"]]), "way": tf.constant([["down"], ["no"]])}
    found = np.asarray(again.preprocessor(rows))
    np.testing.assert_array_equal(found, front(rows))
    assert found[:, 0].tolist() == [0, 0]  # no color is unknown


def test_a_lookup_in_the_graph_keeps_its_words(tmp_path):
    given = tasks()
    color = keras.Input((1,), dtype="string", name="color")
    lookup = keras.layers.StringLookup(output_mode="one_hot", name="words")
    lookup.adapt(np.array([["red"], ["green"]]))
    outputs = {task.name: task.head(lookup(color)) for task in given}
    model = MultiTaskModel(color, outputs, tasks=given)
    again = presets.load(model.save_to_preset(tmp_path / "mine"))
    rows = tf.constant([["red"], ["green"], ["blue"]])
    np.testing.assert_allclose(again(rows)["stay"], model(rows)["stay"], atol=1e-6)


def test_what_answers_no_finite_numbers_to_normal_ones_is_refused(tmp_path):
    given, features = tasks(), keras.Input((6,), name="features")
    outputs = {task.name: task.head(keras.ops.log(features)) for task in given}
    model = MultiTaskModel(features, outputs, tasks=given)
    with pytest.raises(ValueError, match=r"belongs into its preprocessor"):
        model.save_to_preset(tmp_path / "mine")


def test_preprocessors_with_other_words_are_apart():
    def lookup(words):
        given = keras.Input((), dtype="string")
        return keras.Model(given, keras.layers.StringLookup(vocabulary=words)(given))

    assert fingerprints.front_distance(lookup(["a1", "b1"]), lookup(["a1", "b1"])) == 0
    assert fingerprints.front_distance(lookup(["a1", "b1"]), lookup(["c1", "d1"])) == 2


def test_what_is_not_finite_hides_no_difference():
    def shifted_log(shift, least=0.0):
        given = keras.Input((6,))
        return keras.Model(given, keras.ops.log(keras.ops.maximum(given, least)) + shift)

    logs = fingerprints.front_distance
    assert logs(shifted_log(0, least=-1e9), shifted_log(0, least=-1e9)) == 0
    assert logs(shifted_log(100, least=-1e9), shifted_log(0, least=-1e9)) == pytest.approx(100)
    assert logs(shifted_log(0, least=1.0), shifted_log(0, least=-1e9)) == float("inf")


@pytest.mark.slow
def test_a_program_of_its_own_loads_it(tmp_path):
    path = mmoe().save_to_preset(tmp_path / "mine")
    code = f"from mtlzoo import MMoE, presets; MMoE.from_preset({str(path)!r}); "
    code += f"print(presets.check({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'stay': 0.0" in done.stdout


def test_new_weights_and_configurations(tmp_path):
    model = hard_sharing()
    path = model.save_to_preset(tmp_path / "mine")
    new = HardSharing.from_preset(path, load_weights=False)
    assert np.abs(answers(new)["stay"] - answers(model)["stay"]).max() > 1e-3

    bare = presets.save(model, tmp_path / "bare", with_weights=False)
    assert sorted(p.name for p in bare.iterdir()) == ["README.md", "card.json", "preset.json"]
    assert presets.card(bare).trained is False
    assert "no trained weights" in (bare / "README.md").read_text()
    assert isinstance(MultiTaskModel.from_preset(bare, load_weights=False), HardSharing)
    with pytest.raises(ValueError, match=r"`load_weights` should be False for 'bare'"):
        presets.load(bare)


def test_the_wrong_class_is_refused_by_name(tmp_path):
    path = hard_sharing().save_to_preset(tmp_path / "mine")
    assert isinstance(MultiTaskModel.from_preset(path), HardSharing)
    with pytest.raises(
        ValueError, match=r"`HardSharing.from_preset`.* Received: `MMoE.from_preset`"
    ):
        MMoE.from_preset(path)


def test_a_path_is_a_folder_and_a_name_that_is_one_too_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "hard_sharing_census_income"
    path = hard_sharing().save_to_preset(pathlib.Path(name))
    assert set(presets.load(path).task_names) == {"click", "kind", "stay"}
    assert set(presets.card(f"./{name}").tasks) == {"click", "kind", "stay"}
    error = r"`name_or_dir` should say which of two: .*Say './hard_sharing_census_income'"
    with pytest.raises(ValueError, match=error):
        presets.load(name)
    with pytest.raises(ValueError, match=r"`name_or_dir` should be one of .* or a folder"):
        presets.card(pathlib.Path("mmoe_census_income"))


def test_check_finds_other_answers(tmp_path):
    path = hard_sharing().save_to_preset(tmp_path / "mine")
    assert presets.check(path) == {"click": 0.0, "kind": 0.0, "stay": 0.0}
    card = presets.card(path)
    other = hard_sharing()
    other.get_layer("stay").bias.assign([3.0])
    stale = presets.save(other, tmp_path / "other")
    text = (stale / "card.json").read_text()
    mean = presets.card(stale).fingerprint["stay"]["mean"]
    changed = text.replace(str(mean), str(card.fingerprint["stay"]["mean"]))
    _write_again(stale, "card.json", changed)
    with pytest.raises(ValueError, match=r"should answer for task `stay` what its card says"):
        presets.check(stale)


def _write_again(path, name, text):
    """A file in place of another, with its checksum."""
    import hashlib

    before = hashlib.sha256((path / name).read_bytes()).hexdigest()
    (path / name).write_text(text)
    after = hashlib.sha256((path / name).read_bytes()).hexdigest()
    config = (path / "preset.json").read_text()
    (path / "preset.json").write_text(config.replace(before, after))


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
class Forgetful(keras.layers.Layer):
    """A layer that computes with what is neither in its config nor a weight."""

    factor = 1.0

    def call(self, x):
        return self.factor * x


def test_what_cannot_be_made_again_is_not_saved(tmp_path):
    features = keras.Input((6,), name="features")
    forgetful = Forgetful()
    forgetful.factor = 2.0

    def model(layer):
        given = tasks()
        outputs = {task.name: task.head(layer(features)) for task in given}
        return MultiTaskModel(features, outputs, tasks=given)

    with pytest.raises(ValueError, match=r"`model` should be one that can be made again"):
        model(keras.layers.Lambda(lambda x: 2 * x)).save_to_preset(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"`model` should answer the same when it is made again"):
        model(forgetful).save_to_preset(tmp_path / "mine")
    assert not list(tmp_path.iterdir())


def test_bad_arguments_of_saving(tmp_path):
    model = hard_sharing()
    with pytest.raises(ValueError, match=r"`storage` should be one of \['float32'.*int4"):
        model.save_to_preset(tmp_path / "mine", storage="int4")
    with pytest.raises(ValueError, match=r"`card` should be a `presets.Card` or None"):
        model.save_to_preset(tmp_path / "mine", card={"title": "Mine"})
    for given in (
        {"metrics": {"clik": {"metric": "auc", "value": 0.8}}},
        {"groups": {"sex": {"Female": {"rows": 7, "metrics": {"clik": 0.8}}}}},
    ):
        with pytest.raises(ValueError, match=r"the tasks \['click', .* only. Received: \['clik'\]"):
            model.save_to_preset(tmp_path / "mine", card=presets.Card(**given))
    with pytest.raises(ValueError, match=r"`with_weights` should be a bool"):
        presets.save(model, tmp_path / "mine", with_weights=1)
    with pytest.raises(ValueError, match=r"`model` should be a `MultiTaskModel` with tasks"):
        presets.save(adapted(), tmp_path / "mine")
    with pytest.raises(ValueError, match=r"`path` should be the path of a folder"):
        model.save_to_preset(7)
    with pytest.raises(ValueError, match=r"`path` should end in a name"):
        model.save_to_preset(".")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match=r"`path` should be a new or an empty folder"):
        model.save_to_preset(tmp_path / "full")
    assert [p.name for p in tmp_path.iterdir()] == ["full"]
