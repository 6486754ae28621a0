"""Each trained preset of the package on its own data: its card's metrics, and raw rows served."""

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("matplotlib")

from mtlzoo import data, presets
from recipes.parts import preset_making

pytestmark = pytest.mark.slow


def prepared(card, **options):
    """The data of a card, if it is on this machine."""
    try:
        return data.load(card.data_set, **card.load, **options)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", presets.names(trained=True))
def test_a_preset_has_the_metrics_of_its_card(name):
    card, model = presets.card(name), presets.load(name)
    found = preset_making.scores(model, prepared(card).test)
    assert set(found) == set(card.metrics)
    for task, metric in card.metrics.items():
        # Sums in another order, on another machine.
        assert found[task] == pytest.approx(metric["value"], rel=2e-3)


@pytest.mark.parametrize("name", presets.names(trained=True))
def test_a_served_preset_takes_raw_rows(name, tmp_path):
    card, model = presets.card(name), presets.load(name)
    raw, _, _ = next(iter(prepared(card, preprocessed=False).test))
    raw = {column: values[:16] for column, values in raw.items()}
    model.export(tmp_path / "served", verbose=False)
    serve = tf.saved_model.load(tmp_path / "served").signatures["serve"]
    answers = serve(**raw)
    outputs = model.predict_on_batch(model.preprocessor(raw))
    for task_name, task in model.tasks.items():
        for key, expected in task.serve(outputs[task_name]).items():
            assert len(answers[key]) == 16
            np.testing.assert_allclose(answers[key], expected, rtol=1e-4, atol=1e-4)
