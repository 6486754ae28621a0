"""An ensemble is a multi-task model as any other: fit, files, export, members left alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ensemble_cases import TASKS, model, rows

from mtlzoo import (
    BinaryClassification,
    Classification,
    MMoE,
    MultiTaskModel,
    Regression,
    SequenceTagging,
    SpanExtraction,
    ensembles,
)
from mtlzoo.ensembles import Ensemble, FittedWeights, Stacking, Temperature, WeightedMean
from mtlzoo.metrics import ExpectedCalibrationError


def three():
    """Of one name, of another width, of another architecture."""
    mixture = MMoE(keras.Input((4,), name="features"), TASKS, num_experts=2, name="mixture")
    return [model(dropout=0.5), model(units=(6,)), mixture]


FUSION = {
    "click": Temperature("majority_vote"),
    "colour": FittedWeights(),
    "tags": WeightedMean([1, 2, 3]),
    "stay": Stacking(1e-3),
}


def compiled(fusion=FUSION, models=None, **options):
    ensemble = Ensemble(models or three(), fusion)
    ensemble.compile(keras.optimizers.SGD(0.05), **options)
    return ensemble


def of_numpy(tensors):
    return {name: np.asarray(tensor) for name, tensor in tensors.items()}


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], **tolerance, err_msg=name)


@pytest.mark.slow
def test_fit_learns_what_the_fusions_have_and_leaves_the_models_alone(tmp_path):
    models = three()
    before = [model.get_weights() for model in models]
    ensemble = compiled(models=models)
    learned = {v.path.split("/")[0] for v in ensemble.trainable_variables}
    assert learned == {"click", "colour", "stay"}
    inside = [w for member in ensemble.members for w in member.get_weights()]

    x, y = rows(missing=True)
    weights = {"colour": np.linspace(0, 1, 48)}
    start = ensemble.evaluate(x, y, sample_weight=weights, return_dict=True, verbose=0)
    ensemble.fit(x, y, sample_weight=weights, epochs=20, shuffle=False, verbose=0)
    end = ensemble.evaluate(x, y, sample_weight=weights, return_dict=True, verbose=0)
    for task in ("colour", "stay"):
        assert end[f"{task}_loss"] < start[f"{task}_loss"]
    assert end["tags_loss"] == pytest.approx(start["tags_loss"])
    shares = ensemble.fusion_weights()
    assert shares["tags"] == pytest.approx({0: 1 / 6, 1: 2 / 6, 2: 3 / 6})
    assert sum(shares["colour"].values()) == pytest.approx(1)
    assert len(set(shares["colour"].values())) == 3
    assert ensemble.temperatures().keys() == {"click"} and ensemble.temperatures()["click"] != 1

    after = [w for member in ensemble.members for w in member.get_weights()]
    assert all(np.array_equal(a, b) for a, b in zip(inside, after, strict=True))
    for given, old in zip(models, before, strict=True):
        assert given.trainable and given.trainable_variables
        assert all(np.array_equal(a, b) for a, b in zip(given.get_weights(), old, strict=True))

    # Files, of the model and of its weights alone, with the optimizer.
    outputs = ensemble.predict(x, verbose=0)
    ensemble.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(loaded.predict(x, verbose=0), outputs, rtol=0)
    assert loaded.fusion_weights() == shares
    assert {v.path for v in loaded.trainable_variables} == {
        v.path for v in ensemble.trainable_variables
    }
    ensemble.save_weights(tmp_path / "model.weights.h5")
    other = Ensemble(models, FUSION)
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(other.predict(x, verbose=0), outputs, rtol=0)
    for again in (ensemble, loaded):
        again.fit(x, y, sample_weight=weights, verbose=0, shuffle=False)
    assert_same(loaded.predict(x, verbose=0), ensemble.predict(x, verbose=0), rtol=1e-6)


@pytest.mark.slow
def test_export_answers_what_the_tasks_serve(tmp_path):
    ensemble = Ensemble(three(), FUSION)
    ensemble.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    x, _ = rows()
    outputs = ensemble.predict(x, verbose=0)
    assert set(served.signatures) == {"serve", "serving_default", *ensemble.task_names}
    for name, task in ensemble.tasks.items():
        answers = served.signatures[name](features=x)
        assert_same(of_numpy(answers), of_numpy(task.serve(outputs[name])), atol=2e-6)
        single = ensemble.single_task(name)
        np.testing.assert_allclose(single(x)[name], outputs[name], atol=2e-6)


@pytest.mark.slow
def test_sequences_of_any_length_in_graphs_and_files(tmp_path):
    tasks = [SequenceTagging("tags", 3, metrics=[]), SpanExtraction("answer", metrics=[])]

    def reader():
        inputs = keras.Input((None, 4), name="steps")
        hidden = keras.layers.Dense(5, "tanh")(inputs)
        return MultiTaskModel(inputs, {t.name: t.head(hidden) for t in tasks}, tasks=tasks)

    models = [reader() for _ in range(3)]
    ensemble = Ensemble(models, "majority_vote")
    ensemble.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    compiled = tf.function(lambda x: ensemble(x, training=False), jit_compile=True)
    for length in (2, 7):
        x = tf.random.stateless_normal((2, length, 4), (0, 1))
        outputs = ensemble(x, training=False)
        assert_same(of_numpy(compiled(x)), of_numpy(outputs), atol=2e-5)
        for task in tasks:
            answers = served.signatures[task.name](steps=x)
            assert_same(of_numpy(answers), of_numpy(task.serve(outputs[task.name])), atol=2e-6)


@pytest.mark.slow
def test_eager_graph_and_xla_train_alike():
    x, y = rows(missing=True)
    found = []
    models = three()[:2]
    for options in ({"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}):
        ensemble = compiled({**FUSION, "tags": "mean"}, models, **options)
        ensemble.fit(x, y, epochs=2, batch_size=48, verbose=0)
        found.append(ensemble.predict(x, verbose=0))
    assert_same(found[0], found[1], atol=2e-6)
    assert_same(found[0], found[2], atol=2e-6)


def test_an_absent_task_learns_nothing():
    ensemble = compiled()
    x, y = rows()
    y["colour"][:] = -1
    before = [v.numpy() for v in ensemble.task_variables("colour")]
    ensemble.fit(x, y, verbose=0)
    after = [v.numpy() for v in ensemble.task_variables("colour")]
    assert len(before) == 1 and np.array_equal(before, after)
    assert ensemble.shared_variables == []


@pytest.mark.slow
def test_tasks_are_fused_over_the_models_that_have_them():
    click, colour, stay = BinaryClassification("click"), Classification("colour", 3), TASKS[3]
    models = [model([click, stay]), model([colour, click], units=(6,)), model([click])]
    ensemble = Ensemble(models, {"click": WeightedMean([1, 0, 3]), "stay": "stacking"})
    assert ensemble.task_names == ("click", "colour", "stay")
    assert ensemble.members_of == {"click": [0, 1, 2], "colour": [1], "stay": [0]}
    x, _ = rows()
    outputs = ensemble.predict(x, verbose=0)
    alone = [each.predict(x, verbose=0) for each in models]
    np.testing.assert_array_equal(outputs["colour"], alone[1]["colour"])
    np.testing.assert_allclose(outputs["stay"], alone[0]["stay"], atol=1e-6)
    probability = [click.serve(each["click"])["click"] for each in alone]
    wanted = 0.25 * np.asarray(probability[0]) + 0.75 * np.asarray(probability[2])
    np.testing.assert_allclose(click.serve(outputs["click"])["click"], wanted, atol=1e-6)

    # Weights belong to the positions of all models, also where a task is only in some.
    only = Ensemble(models[:2], WeightedMean([5, 2]))
    assert only.fusion_weights()["colour"] == {1: 1.0}


def test_permuted_models_and_tasks_are_the_same_ensemble():
    models = three()
    one = Ensemble(models, {"colour": WeightedMean([1, 2, 3])})
    other = Ensemble(models[::-1], {"colour": WeightedMean([3, 2, 1])})
    x, _ = rows()
    assert_same(of_numpy(one(x)), of_numpy(other(x)), atol=1e-6)
    backwards = model(TASKS[::-1])
    backwards.set_weights(models[0].get_weights())
    same = Ensemble([backwards, *models[1:]])
    assert_same(same.predict(x, verbose=0), Ensemble(models).predict(x, verbose=0), atol=0, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_models_of_other_precision(policy, tmp_path):
    if policy == "float64":
        keras.config.set_floatx("float64")
    keras.config.set_dtype_policy(policy)
    models = [model(), model(units=(6,))]
    if policy != "float64":  # whose heads are made of what the program computes in
        keras.config.set_dtype_policy("float32")
    x, y = rows()
    ensemble = compiled({"click": "temperature", "colour": "fitted_weights"}, models)
    wanted = "float64" if policy == "float64" else "float32"
    outputs = ensemble(x)
    assert {np.asarray(t).dtype for t in outputs.values()} == {np.dtype(wanted)}
    mean = np.mean([np.asarray(each(x)["stay"]) for each in models], 0)
    np.testing.assert_allclose(outputs["stay"], mean, rtol=1e-5)
    ensemble.fit(x, y, epochs=2, verbose=0)
    assert ensemble.temperatures()["click"] != 1
    ensemble.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(of_numpy(loaded(x)), of_numpy(ensemble(x)), rtol=0)


@pytest.mark.slow
def test_batch_normalization_and_dropout_inside_rest():
    inputs = keras.Input((4,))
    features = keras.layers.BatchNormalization()(inputs)
    features = keras.layers.Dropout(0.9)(features)
    task = Regression("stay")
    plain = MultiTaskModel(inputs, {"stay": task.head(features)}, tasks=[task])
    ensemble = compiled("stacking", [plain, plain])
    x, y = rows()
    outputs = ensemble(x, training=True)["stay"]
    np.testing.assert_array_equal(outputs, ensemble(x, training=False)["stay"])
    ensemble.trainable = True
    ensemble.fit(x, {"stay": y["stay"]}, verbose=0)
    inside, outside = ensemble.members[0].get_weights(), plain.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(inside, outside, strict=True))
    assert len(ensemble.trainable_variables) == 2


def test_files_ensembles_and_implied_tasks_are_models_too(tmp_path):
    inputs = keras.Input((4,))
    outputs = {"stay": keras.layers.Dense(1, name="stay")(inputs)}
    implied = MultiTaskModel(inputs, outputs)
    implied.compile("adam", loss={"stay": "mse"}, balancer="uncertainty")
    x, y = rows()
    implied.fit(x, {"stay": y["stay"]}, verbose=0)
    implied.save(tmp_path / "implied.keras")
    inner = Ensemble([implied, tmp_path / "implied.keras"])
    outer = Ensemble([inner, str(tmp_path / "implied.keras")], "stacking")
    outer.save(tmp_path / "outer.keras")
    wanted = implied.predict(x, verbose=0)
    for each in (inner, outer, keras.saving.load_model(tmp_path / "outer.keras")):
        assert_same(each.predict(x, verbose=0), wanted, atol=1e-6)


def test_without_a_copy_models_become_part_of_it():
    one = model([TASKS[3]])
    ensemble = Ensemble([one], "stacking", copy=False)
    assert ensemble.members[0] is one and not one.trainable_variables
    assert [v.path for v in ensemble.trainable_variables] == ["stay/departure", "stay/bias"]


def test_tasks_of_ones_own_need_not_be_registered():
    class Rating(Regression):
        monitor = "mae"

    models = [model([Rating("stars")]) for _ in range(2)]
    x, _ = rows()
    wanted = np.mean([each.predict(x, verbose=0)["stars"] for each in models], 0)
    found = Ensemble(models)
    np.testing.assert_allclose(found(x)["stars"], wanted, rtol=1e-5)
    assert type(found.tasks["stars"]) is Rating


@pytest.mark.slow
def test_a_fusion_of_ones_own(tmp_path):
    @keras.saving.register_keras_serializable(package="tests")
    class Median(ensembles.Fusion):
        def fuse(self, values):
            return keras.ops.median(values, axis=0)

    models = [model([TASKS[3]]) for _ in range(3)]
    ensemble = Ensemble(models, Median())
    x, _ = rows()
    outputs = ensemble.predict(x, verbose=0)["stay"]
    wanted = np.median([each.predict(x, verbose=0)["stay"] for each in models], 0)
    np.testing.assert_allclose(outputs, wanted, rtol=1e-6)
    ensemble.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0)["stay"], outputs)


@pytest.mark.slow
def test_a_preprocessor_is_that_of_all_models(tmp_path):
    raw = keras.Input((4,), name="raw")
    preprocessor = keras.Model(raw, keras.layers.Rescaling(2.0)(raw))
    models = [model([TASKS[0]], preprocessor=preprocessor) for _ in range(2)]
    ensemble = Ensemble(models)
    assert ensemble.preprocessor is preprocessor
    ensemble.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.export(tmp_path / "served")
    x, _ = rows()
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["click"](raw=x)
    wanted = TASKS[0].serve(ensemble.predict(2 * x, verbose=0)["click"])
    np.testing.assert_allclose(served["click"], wanted["click"], atol=2e-6)
    with pytest.raises(ValueError, match=r"`preprocessor` should be given .*model 1 \(`small`\)"):
        Ensemble([models[0], model([TASKS[0]])])
    assert Ensemble([models[0], model([TASKS[0]])], preprocessor=None).preprocessor is None


@pytest.mark.slow
def test_temperature_lowers_the_calibration_error_of_models_that_are_too_sure():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 4)).astype("float32")
    y = {"click": (rng.random(2000) < 1 / (1 + np.exp(-x[:, 0]))).astype("float32")}
    sure = model([BinaryClassification("click")], units=())
    sure.set_weights([np.array([[5.0], [0], [0], [0]], "float32"), np.zeros(1, "float32")])
    calibrated = Ensemble([sure], "temperature")
    calibrated.compile(
        keras.optimizers.Adam(0.1), weighted_metrics={"click": [ExpectedCalibrationError()]}
    )
    before = calibrated.evaluate(x, y, return_dict=True, verbose=0)
    calibrated.fit(x, y, epochs=5, batch_size=100, verbose=0)
    after = calibrated.evaluate(x, y, return_dict=True, verbose=0)
    assert before["click_ece"] > 0.15 and after["click_ece"] < 0.04
    assert after["click_accuracy"] == before["click_accuracy"]
    assert calibrated.temperatures()["click"] == pytest.approx(5, rel=0.15)
