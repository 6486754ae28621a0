import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.data.census_income import raw_rows
from mtlzoo.data.census_income.columns import CATEGORY_INPUTS, INPUTS, MONEY, NUMBER_INPUTS
from mtlzoo.data.census_income.preprocessor import edges, make


@pytest.fixture(scope="module")
def train():
    return raw_rows(500, split="train")


@pytest.fixture(scope="module")
def rows():
    """Test rows, one with a value that no training row has."""
    rows = raw_rows(7)
    rows["country_of_birth_self"][2] = "Atlantis"
    return rows


@pytest.fixture(scope="module")
def preprocessor(train):
    return make(train)


def tensors(rows):
    return {name: tf.constant(values) for name, values in rows.items()}


def reference(train, rows):
    """The features in float64 NumPy."""
    blocks = []
    for name in CATEGORY_INPUTS:
        known = ["<unknown>", *sorted(set(train[name]))]
        block = np.zeros((len(rows[name]), len(known)))
        for i, value in enumerate(rows[name]):
            block[i, known.index(value) if value in known else 0] = 1
        blocks.append(block)
    for name in NUMBER_INPUTS:
        seen, value = train[name].astype("float64"), rows[name].astype("float64")
        if name in MONEY:
            seen, value = np.log1p(seen), np.log1p(value)
        blocks.append(((value - seen.mean()) / max(seen.std(), 1e-7))[:, None])
    return np.concatenate(blocks, axis=1)


@pytest.mark.slow
def test_the_features_equal_an_independent_reference(preprocessor, train, rows):
    features = preprocessor(tensors(rows))
    assert features.dtype == "float32"
    np.testing.assert_allclose(features, reference(train, rows), atol=2e-5)
    np.testing.assert_allclose(preprocessor(tensors(train)), reference(train, train), atol=2e-5)


@pytest.mark.slow
def test_an_unknown_category_has_its_own_slot(preprocessor, train, rows):
    widths = [len(set(train[name])) + 1 for name in CATEGORY_INPUTS]
    start = sum(widths[: CATEGORY_INPUTS.index("country_of_birth_self")])
    features = preprocessor(tensors(rows)).numpy()
    assert features[2, start] == 1 and (features[[0, 1, 3], start] == 0).all()


def test_a_batch_of_one_is_a_row_of_a_larger_one(preprocessor, rows):
    features = preprocessor(tensors(rows)).numpy()
    traced = tf.function(preprocessor)
    for i in range(3):
        one = tensors({name: values[i : i + 1] for name, values in rows.items()})
        np.testing.assert_array_equal(preprocessor(one), features[i : i + 1])
        np.testing.assert_array_equal(traced(one), features[i : i + 1])  # batch known to be 1


def test_negative_money_stays_finite(preprocessor, rows):
    losses = {**rows, "capital_losses": np.full(7, -5, "float32")}
    zero = {**rows, "capital_losses": np.zeros(7, "float32")}
    np.testing.assert_array_equal(preprocessor(tensors(losses)), preprocessor(tensors(zero)))


def test_saving_and_loading_changes_nothing(preprocessor, rows, tmp_path):
    preprocessor.save(tmp_path / "p.keras")
    loaded = keras.saving.load_model(tmp_path / "p.keras")
    np.testing.assert_array_equal(loaded(tensors(rows)), preprocessor(tensors(rows)))


def test_only_stock_layers_are_used(preprocessor):
    for layer in preprocessor.layers:
        assert type(layer).__module__.startswith("keras."), layer
        assert not isinstance(layer, keras.layers.Lambda)


@pytest.mark.slow
def test_the_exported_model_needs_no_mtlzoo(preprocessor, rows, tmp_path):
    preprocessor.export(tmp_path / "served", verbose=False)
    np.savez(tmp_path / "rows.npz", **{k: v.astype(str) for k, v in rows.items()})
    script = """
import sys
import numpy as np, tensorflow as tf
folder, numbers = sys.argv[1], sys.argv[2].split(",")
served = tf.saved_model.load(folder + "/served")
texts = np.load(folder + "/rows.npz")
rows = {k: v.astype("float32") if k in numbers else v for k, v in texts.items()}
for n in (1, 7):
    out = served.serve({k: tf.constant(v[:n]) for k, v in rows.items()})
    np.save(f"{folder}/out{n}.npy", np.asarray(out))
assert "mtlzoo" not in sys.modules
"""
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), ",".join(NUMBER_INPUTS)],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        timeout=300,
    )
    features = preprocessor(tensors(rows)).numpy()
    assert set(rows) == set(INPUTS)
    for n in (1, 7):
        np.testing.assert_array_equal(np.load(tmp_path / f"out{n}.npy"), features[:n])


@pytest.mark.slow
def test_bins_are_those_of_an_independent_reference(train, rows, tmp_path):
    binned = make(train, num_bins=5)
    features, plain = binned(tensors(rows)).numpy(), reference(train, rows)
    blocks = []
    for name in NUMBER_INPUTS:
        bounds = edges(train[name], 5)
        block = np.zeros((len(rows[name]), len(bounds) + 1))
        for i, value in enumerate(rows[name]):
            block[i, sum(value >= bound for bound in bounds)] = 1
        blocks.append(block)
    np.testing.assert_array_equal(features[:, plain.shape[1] :], np.concatenate(blocks, axis=1))
    one = tensors({name: values[2:3] for name, values in rows.items()})
    np.testing.assert_array_equal(tf.function(binned)(one), features[2:3])
    binned.save(tmp_path / "p.keras")
    loaded = keras.saving.load_model(tmp_path / "p.keras")
    np.testing.assert_array_equal(loaded(tensors(rows)), features)


def test_edges_put_the_lowest_value_apart_and_share_the_rest():
    ages = np.arange(100, dtype="float32")
    assert edges(ages, 4) == [1, 34, 67]  # 0, then three times 33
    assert edges(np.repeat([0.0, 5.0, 9.0], [98, 1, 1]), 64) == [5, 9]
    assert edges(np.array([7.0, 7.0]), 4) == []


def test_a_quantity_without_a_second_value_has_no_bins(train):
    constant = {**train, "wage_per_hour": np.zeros(500, "float32")}
    names = [layer.name for layer in make(constant, num_bins=4).layers]
    assert "age_bins" in names and "wage_per_hour_bins" not in names
