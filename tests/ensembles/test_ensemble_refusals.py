"""What cannot be fused, in words that name the task and the model."""

import keras
import pytest
from ensemble_cases import TASKS, model, rows

from mtlzoo import (
    BinaryClassification,
    Classification,
    HardSharing,
    MultiTaskModel,
    ObjectDetection,
    Regression,
    SurfaceNormalEstimation,
    ensembles,
)
from mtlzoo.ensembles import (
    Ensemble,
    FittedWeights,
    GeometricMean,
    MajorityVote,
    Maximum,
    Mean,
    Stacking,
    Temperature,
    WeightedMean,
    WeightedVote,
)

STAY = Regression("stay")


def other_inputs(inputs, tasks=(STAY,)):
    return HardSharing(inputs, list(tasks), shared_units=(), backbone=None, name="other")


def without_tasks():
    inputs = keras.Input((4,))
    return MultiTaskModel(inputs, {"stay": keras.layers.Dense(1, name="stay")(inputs)}, name="bare")


@pytest.mark.parametrize("models", [[], None, "model.keras", {}])
def test_no_models(models):
    with pytest.raises(ValueError, match=r"`models` should be a list of one model at least"):
        Ensemble(models)


@pytest.mark.parametrize(
    "given", [3, keras.Sequential(), keras.layers.Dense(1), keras.Model(*[keras.Input((1,))] * 2)]
)
def test_no_multi_task_model(given):
    with pytest.raises(ValueError, match=r"multi-task models.* Received: models\[1\]="):
        Ensemble([model(), given])


def test_files_that_are_not_there_and_models_without_tasks(tmp_path):
    for path in (tmp_path / "none.keras", tmp_path / "weights.h5"):
        with pytest.raises(ValueError, match=r"paths of `\.keras` files.* Received: models\[1\]="):
            Ensemble([model(), path])
    with pytest.raises(ValueError, match=r"model 1 \(`bare`\), without tasks"):
        Ensemble([model([STAY]), without_tasks()])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (lambda: keras.Input((5,), name="features"), r"`features` of shape \(None, 5\)"),
        (lambda: keras.Input((4,), name="others"), "`others` of shape"),
        (lambda: keras.Input((4,), name="features", dtype="float16"), "dtype float16"),
        (lambda: {"a": keras.Input((4,), name="a")}, r"with the inputs \['a'\]"),
        (lambda: [keras.Input((4,), name="a"), keras.Input((1,), name="b")], "'b'"),
    ],
)
def test_other_inputs(inputs, words):
    with pytest.raises(ValueError, match=rf"model 1 \(`other`\).*{words}"):
        Ensemble([model([STAY]), other_inputs(inputs())])


def test_inputs_without_a_name_may_be_called_anything():
    Ensemble([other_inputs(keras.Input((4,))), other_inputs(keras.Input((4,)))])


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (Classification("t", 3), Classification("t", 4), r"output_shape \(4,\)"),
        (Classification("t", 2), Regression("t", 2), "kind Regression"),
        (BinaryClassification("t"), BinaryClassification("t", from_logits=False), "from_logits"),
        (BinaryClassification("t"), BinaryClassification("t", missing=float("nan")), "missing nan"),
    ],
)
def test_tasks_of_one_name_that_are_not_the_same(one, other, words):
    with pytest.raises(ValueError, match=rf"The task `t` should be the same.*{words}.*model 1"):
        Ensemble([model([one]), model([other])])


@pytest.mark.parametrize(
    "fusion", [MajorityVote(), WeightedVote([1, 1]), GeometricMean(), Temperature()]
)
def test_values_have_no_classes(fusion):
    kind = type(fusion).__name__
    with pytest.raises(
        ValueError, match=rf"`fusion` of task `stay` should be one of values.*{kind}"
    ):
        Ensemble([model([STAY])] * 2, fusion)


def test_normals_and_boxes_have_no_maximum():
    for task in (SurfaceNormalEstimation("t"), ObjectDetection("t", 2, 3)):
        with pytest.raises(ValueError, match=r"`fusion` of task `t` should be a mean.*Maximum"):
            Maximum().of(task)


def test_a_temperature_of_what_cannot_be_fused():
    with pytest.raises(ValueError, match=r"`fusion` should be one of \['fitted_weights'"):
        Temperature("median")
    with pytest.raises(ValueError, match=r"`fusion` of task `stay`.*FittedWeights"):
        Ensemble([model([STAY])] * 2, FittedWeights(geometric=True))


@pytest.mark.parametrize("fusion", ["median", 3, None, Mean])
def test_unknown_fusions(fusion):
    with pytest.raises(ValueError, match=r"`fusion` should be one of \['fitted_weights', "):
        Ensemble([model()], fusion)
    with pytest.raises(ValueError, match="The fusion of task `stay`: `fusion` should be one of"):
        Ensemble([model()], {"stay": fusion})


def test_a_fusion_of_an_unknown_task():
    with pytest.raises(ValueError, match=r"only the tasks \['click', .*'leave' in fusion="):
        Ensemble([model()], {"leave": "mean"})


@pytest.mark.parametrize("weights", [[-1, 2], [], [float("nan")], "ab", [[1]], 3, None, [1, "x"]])
def test_weights_that_are_none(weights):
    with pytest.raises(ValueError, match=r"`weights` should be a list of numbers"):
        WeightedMean(weights)


def test_weights_that_do_not_fit():
    with pytest.raises(ValueError, match=r"`weights` should not all be 0"):
        WeightedVote([0, 0])
    models = [model([STAY]), model([STAY, TASKS[0]], units=(6,))]
    with pytest.raises(ValueError, match=r"`weights` of task `stay` .* each of the 2 models"):
        Ensemble(models, {"stay": WeightedMean([1, 2, 3])})
    with pytest.raises(ValueError, match=r"`weights` of task `click` .* each of the 2 models"):
        Ensemble(models, {"click": Temperature(WeightedMean([1]))})
    with pytest.raises(ValueError, match=r"`weights` of task `click` should not be 0 for all"):
        Ensemble(models, WeightedMean([1, 0]))


def test_other_arguments():
    with pytest.raises(ValueError, match="`l2` should be a number"):
        Stacking(-1.0)
    with pytest.raises(ValueError, match="`geometric` should be a bool"):
        FittedWeights(1)
    with pytest.raises(ValueError, match="`Mean` should be that of a task"):
        Mean()([keras.ops.ones((1, 1)), keras.ops.ones((1, 1))])


def test_nothing_to_learn():
    ensemble = Ensemble([model()], {"click": "maximum"})
    ensemble.compile("adam")
    x, y = rows()
    with pytest.raises(ValueError, match=r"something to learn.*'click': 'Maximum'"):
        ensemble.fit(x, y)
    assert ensemble.evaluate(x, y, verbose=0, return_dict=True)["loss"] > 0


def test_names_are_those_that_need_no_arguments():
    assert ensembles.names() == [
        *("fitted_weights", "geometric_mean", "majority_vote", "maximum", "mean", "stacking"),
        "temperature",
    ]
