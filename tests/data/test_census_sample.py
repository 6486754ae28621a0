import hashlib
import lzma
import os
from pathlib import Path

import numpy as np
import pytest
from fake_census import official, some_rows, write_files

from mtlzoo.data import census_income
from mtlzoo.data.census_income import columns as c
from mtlzoo.data.census_income import loading, make_sample, original

FOLDER = Path(census_income.__file__).parent
SHA256 = {
    "train": "03c711d381f4c5b340df6fe39db04afad1602aba790eb609427541cecfc0d349",
    "test": "b42904d38f0fa03c1c3f91755457acb77abd4c95f102d29507b79613330b1afe",
}


@pytest.fixture(scope="module")
def sample():
    return {split: loading.read_sample(split) for split in SHA256}


@pytest.mark.parametrize("split", SHA256)
def test_the_sample_is_the_committed_one(split):
    packed = (FOLDER / f"sample_{split}.csv.xz").read_bytes()
    assert hashlib.sha256(packed).hexdigest() == SHA256[split]


def test_the_sample_is_small():
    assert sum(f.stat().st_size for f in FOLDER.glob("*.xz")) < 1_500_000


@pytest.mark.parametrize("split", SHA256)
def test_the_sample_can_be_made_again(split):
    source = os.environ.get("MTLZOO_CENSUS_FILES")
    if not source:
        pytest.skip("MTLZOO_CENSUS_FILES does not name the original census files")
    # The text is compared, not the packed bytes, which another liblzma may write differently.
    committed = lzma.decompress((FOLDER / f"sample_{split}.csv.xz").read_bytes())
    assert make_sample.sample_text(source, split) == committed


def test_the_choice_of_rows_is_a_fixed_random_sample():
    chosen = make_sample.choose("train", 1000, 200)
    assert chosen == sorted(set(chosen)) and len(chosen) == 200
    assert chosen == make_sample.choose("train", 1000, 200)
    assert set(chosen) != set(make_sample.choose("test", 1000, 200))
    assert 400 < np.mean(chosen) < 600


def test_columns_are_split_into_inputs_labels_leaks_and_weight():
    assert len(c.COLUMNS) == len(set(c.COLUMNS)) == 42
    assert c.COLUMNS[4] == "education" and c.COLUMNS[7] == "marital_stat"
    assert c.COLUMNS[10:12] == ("race", "hispanic_origin") and c.COLUMNS[24] == c.WEIGHT
    together = [*c.INPUTS, *c.LABELS, *c.LEAKS, c.WEIGHT]
    assert sorted(together) == sorted(c.COLUMNS)
    assert set(c.MONEY) < set(c.NUMBERS) < set(c.COLUMNS)


@pytest.mark.slow
def test_no_input_says_never_married_or_joint_in_words(sample):
    for name in c.CATEGORY_INPUTS:
        for value in set(sample["train"][name]) | set(sample["test"][name]):
            words = value.lower()
            assert "marr" not in words and "joint" not in words and "spouse" not in words, name
    for name in c.LEAKS:  # what the same rule finds in those left out
        values = " ".join(sorted(set(sample["train"][name]))).lower()
        assert "marr" in values or "joint" in values


def test_values_are_clean_and_missing_is_a_category(sample):
    for columns in sample.values():
        for name, values in columns.items():
            if values.dtype == object:
                assert all(v == v.strip() and v for v in set(values)), name
            else:
                assert values.dtype == "float32" and np.isfinite(values).all(), name
        assert "NA" in set(columns["hispanic_origin"])
        assert "?" in set(columns["country_of_birth_father"])


def test_label_values(sample):
    train = c.labels(sample["train"])
    assert set(train["income"]) == set(train["never_married"]) == {0, 1}
    assert set(train["education"]) == {0, 1, 2, 3, 4}
    # 6.2 % and 43.3 % of the full data; three standard errors of a sample of 20 000
    assert abs(train["income"].mean() - 0.0621) < 0.0052
    assert abs(train["never_married"].mean() - 0.4335) < 0.0105
    children = np.array(sample["train"]["education"]) == "Children"
    np.testing.assert_array_equal(children, train["education"] == 0)
    assert len({v for levels in c.EDUCATION_GROUPS.values() for v in levels}) == 17


def test_an_unknown_label_is_named():
    columns = {
        "income": np.array(["50000+"], object),
        "marital_stat": np.array(["Divorced"], object),
        "education": np.array(["Children"], object),
    }
    with pytest.raises(ValueError, match=r"Column `income` should .* Received: income='50000\+'"):
        c.labels(columns)


def test_validation_looks_only_at_the_inputs(sample):
    held_out = loading.validation_rows(sample["train"])
    changed = dict(sample["train"])
    for name in (*c.LABELS, *c.LEAKS, c.WEIGHT):
        changed[name] = changed[name][::-1]
    np.testing.assert_array_equal(loading.validation_rows(changed), held_out)
    changed["age"] = changed["age"] + 1
    assert (loading.validation_rows(changed) != held_out).mean() > 0.2


def test_original_rows_are_checked(sample, tmp_path, monkeypatch):
    rows = some_rows(20)
    write_files(tmp_path, rows)
    with pytest.raises(ValueError, match=r"should hold the 199523 official rows .*Received: 20"):
        next(original.rows(original.find(tmp_path), "train"))
    official(monkeypatch, rows)
    assert list(original.rows(original.find(tmp_path), "train")) == rows


def test_missing_and_altered_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`raw_files` should be a folder .* Received: raw_files="):
        original.find(tmp_path)
    (tmp_path / original.SDIST.file).write_bytes(b"altered")
    with pytest.raises(ValueError, match=r"should have the SHA-256 94a9.* Received: "):
        next(original.rows(original.find(tmp_path), "train"))
    short = tmp_path / "short"
    short.mkdir()
    write_files(short, [["1", "2"]])
    with pytest.raises(ValueError, match=r"should have 42 fields. Received: 2 fields in line 1"):
        next(original.rows(original.find(short), "test"))
