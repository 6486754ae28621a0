"""Students: smaller twins of the models of the zoo."""

import keras
import numpy as np
import pytest
from model_cases import adapted_preprocessor

from mtlzoo import BinaryClassification, HardSharing, MMoE, Regression, Sluice
from mtlzoo.backbones import MLP


def make_tasks():
    return [BinaryClassification("click"), Regression("stay")]


def test_all_widths_are_scaled_and_nothing_else():
    model = MMoE(
        keras.Input((8,), name="x"),
        make_tasks(),
        num_experts=3,
        expert_units=(16, 9),
        tower_units=(5, 1),
        dropout=0.2,
        name="teacher",
    )
    student = model.student(0.5)
    assert type(student) is MMoE and student.name == "teacher_student"
    config, own = student.get_config(), model.get_config()
    assert config.pop("expert_units") == [8, 4] and own.pop("expert_units") == [16, 9]
    assert config.pop("tower_units") == [2, 1] and own.pop("tower_units") == [5, 1]
    assert config.pop("name") != own.pop("name")
    assert config == own
    assert not {id(v) for v in student.variables} & {id(v) for v in model.variables}
    assert student.tasks["click"] is not model.tasks["click"]
    assert model.student(2).get_config()["expert_units"] == [32, 18]


def test_a_quarter_of_the_parameters():
    model = HardSharing(
        keras.Input((100,)), make_tasks(), backbone=MLP((100,), (400, 400)), shared_units=(200,)
    )
    ratio = model.student(0.5).count_params() / model.count_params()
    assert 0.25 < ratio < 0.35  # the first layer's width halves on one side alone


def test_arguments_replace_those_of_the_twin():
    backbone = keras.Sequential([keras.layers.Dense(4)])
    model = HardSharing(keras.Input((8,)), make_tasks(), backbone=backbone, shared_units=(6,))
    with pytest.raises(ValueError, match=r"`backbone` of this model has no method `scaled`"):
        model.student()
    small = keras.layers.Dense(2)
    student = model.student(backbone=small, shared_units=(5,), name="pupil")
    assert student.name == "pupil"
    assert student.count_params() == (8 * 2 + 2) + (2 * 5 + 5) + 2 * (5 + 1)


@pytest.mark.parametrize("scale", [0, -1, float("inf"), float("nan"), True, "half"])
def test_a_scale_that_is_none(scale):
    model = HardSharing(keras.Input((8,)), make_tasks(), shared_units=(6,))
    with pytest.raises(ValueError, match=r"`scale` should be a positive number\. Received: scale="):
        model.student(scale)


def test_a_student_has_the_adapted_preprocessor():
    preprocessor, raw = adapted_preprocessor(4)
    model = HardSharing(
        keras.Input((4,)), make_tasks(), shared_units=(6,), preprocessor=preprocessor
    )
    np.testing.assert_array_equal(model.student().preprocessor(raw), preprocessor(raw))
    assert model.student(preprocessor=None).preprocessor is None


def test_widths_of_parts_stay_divisible():
    model = Sluice(keras.Input((8,)), make_tasks(), units=(10, 6), subspaces=2)
    assert model.student(0.5).get_config()["units"] == [4, 4]
