"""Old files of PyTorch: views with strides of their own, and nothing else than tensors."""

import os
import pickle

import numpy as np
import pytest
from old_torch_files import Called, Global, old_torch_file

from mtlzoo.pretrained import torch_files


def some_tensors():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 4, 2, 5)).astype("float32")
    return {
        "plain": kernel,
        "transposed": kernel.copy().transpose(3, 2, 0, 1),
        "part": rng.normal(size=(6, 4)).astype("float64")[2:5, 1::2],
        "count": np.array(7, "int64"),
        "empty": np.zeros((0, 3), "float32"),
        "half": np.array([1.5, -2.0], "float16"),
    }


def test_what_was_written_is_read_whatever_the_strides():
    tensors = some_tensors()
    assert not tensors["transposed"].flags.c_contiguous and not tensors["part"].flags.c_contiguous
    found = torch_files.read(old_torch_file(tensors))
    assert list(found) == list(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert found[name].flags.owndata and found[name].flags.writeable


def test_nothing_but_tensors_is_named(tmp_path):
    ran = tmp_path / "ran"
    call = Called(os.system, f"touch {ran}")
    with pytest.raises(ValueError, match=r"name nothing but tensors.* Received: posix\.system"):
        torch_files.read(old_torch_file(some_tensors(), extra=call))
    assert not ran.exists()
    pickle.loads(pickle.dumps(call))
    assert ran.exists()  # this is what was refused


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor"),
        ("os", "system"),
    ],
)
def test_other_names_are_refused_whether_they_exist_or_not(module, name):
    content = old_torch_file(some_tensors(), extra=Global(module, name))
    with pytest.raises(ValueError, match=rf"Received: {module}\.{name}$"):
        torch_files.read(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "before 1.6"),
        (b"PK\x03\x04 a file of later versions", "before 1.6"),
        (old_torch_file({}, magic=5), r"before 1\.6, of little-endian numbers. Received: \[5, 1"),
        (old_torch_file(some_tensors())[:-1], "should be whole"),
        (old_torch_file(some_tensors(), part=("1", 0, 2)), "whole storages only"),
    ],
    ids=["empty", "zip", "magic", "cut", "part"],
)
def test_other_files_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        torch_files.read(content)


def test_a_tensor_beyond_its_storage_is_refused():
    beyond = np.lib.stride_tricks.as_strided(np.zeros(5, "float32"), (2, 3), (4, 8))
    with pytest.raises(ValueError, match=r"lie in their storages. Received: one of shape \(2, 3\)"):
        torch_files.read(old_torch_file({"beyond": beyond}))
