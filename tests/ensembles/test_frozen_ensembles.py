"""What is frozen in an ensemble: its members for good, its fusions as was said."""

import keras
import numpy as np
import pytest
from ensemble_cases import model, rows

from mtlzoo import MultiTaskModel, Regression
from mtlzoo.ensembles import Ensemble, average_weights
from mtlzoo.ensembles.members import copy_of
from mtlzoo.training import add_l2_sp, freeze, unfreeze

FUSION = {"click": "temperature", "stay": "fitted_weights"}
FITTED = ["click/log_temperature", "stay/logits"]


def paths(variables):
    return sorted(v.path for v in variables)


def two(**arguments):
    return Ensemble([model(), model(units=(5,))], FUSION, **arguments)


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "what", [{}, {"tasks": ["click", "stay"]}, {"layers": ["click", "stay"]}, {"layers": ["*"]}]
)
def test_nothing_unfreezes_the_members(what):
    ensemble = two()
    fitted = paths(ensemble.trainable_variables)
    assert len(fitted) == 2
    layers, tasks = what.get("layers", []), what.get("tasks", [])
    before = [np.array(v) for member in ensemble.members for v in member.weights]
    if what:
        freeze(ensemble, *layers, tasks=tasks)
        assert not ensemble.trainable_variables
    unfreeze(ensemble, *layers, tasks=tasks)
    assert paths(ensemble.trainable_variables) == fitted
    assert not any(member.trainable_variables for member in ensemble.members)
    ensemble.compile(keras.optimizers.Adam(0.1))
    x, y = rows()
    ensemble.fit(x, {name: y[name] for name in ensemble.task_names}, verbose=0)
    after = [np.array(v) for member in ensemble.members for v in member.weights]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_of_members_are_not_found():
    with pytest.raises(ValueError, match=r"`layers` should name layers .* which fits none"):
        unfreeze(two(), "shared_0")


@pytest.mark.slow
def test_what_is_frozen_and_l2_sp_are_saved(tmp_path):
    ensemble = two()
    freeze(ensemble, "click")
    add_l2_sp(ensemble, "stay", alpha=1.0)
    left = paths(ensemble.trainable_variables)
    ensemble.compile("adam")
    x, y = rows()
    y = {name: y[name] for name in ensemble.task_names}
    ensemble.fit(x, y, verbose=0)
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert len(left) == 1 and paths(loaded.trainable_variables) == left
    assert loaded.attached is not None and loaded.losses
    np.testing.assert_allclose(sum(loaded.losses), sum(ensemble.losses), rtol=1e-6)
    loaded.fit(x, y, verbose=0)
    assert paths(copy_of(ensemble).trainable_variables) == left


@pytest.mark.slow
def test_one_model_twice_and_models_that_share_are_copied():
    one = model()
    ensemble = Ensemble([one, one, model()], FUSION, copy=False)
    x, _ = rows()
    found = copy_of(ensemble).predict(x, verbose=0)
    for name, values in ensemble.predict(x, verbose=0).items():
        np.testing.assert_array_equal(found[name], values)


class NotRegistered(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


@pytest.mark.parametrize("make", [Ensemble, average_weights])
def test_a_model_that_cannot_be_made_again_is_named(make):
    inputs = keras.Input((4,))
    head = keras.layers.Dense(1, name="stay")(NotRegistered()(inputs))
    given = MultiTaskModel(inputs, {"stay": head}, tasks=[Regression("stay")], name="mine")
    with pytest.raises(ValueError, match=r"register_keras_serializable.* the model `mine`: "):
        make([given, given])
