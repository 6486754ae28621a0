"""Files of every version are loaded by this one (`make_files.py` makes those of a version)."""

import keras
import numpy as np
import pytest
from saved.make_files import CASES, FOLDER, record

import mtlzoo

FILES = sorted(FOLDER.glob("*/*.keras"))


def test_there_are_files_of_every_case():
    assert {path.stem for path in FILES} == set(CASES)
    assert mtlzoo.__version__ in {path.parent.name for path in FILES}


@pytest.mark.one_in(5)
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_old_file_answers_and_trains_on_as_it_did(path):
    found = record(keras.saving.load_model(path))
    expected = np.load(path.with_suffix(".npz"))
    assert set(found) == set(expected)
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-6, err_msg=key)
