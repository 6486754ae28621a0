"""Every preset is exported, and answers in a process that has TensorFlow only."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import export, presets
from mtlzoo.export.parts import parts
from mtlzoo.presets import fingerprints

# Served in the default run too: a small one of tables.
QUICK = ["hard_sharing_census_income"]

# Runs without this library, as a server does: answers by each signature, and what the command line
# tool of TensorFlow shows.
SERVER = """
import contextlib, sys
sys.modules["mtlzoo"] = None  # also where the library is installed
import numpy as np
import tensorflow as tf
from absl import flags
from tensorflow.python.tools import saved_model_cli

saved_model_cli.create_parser()  # which defines its flags
for folder in sys.argv[1:]:
    served = tf.saved_model.load(folder + "/served")
    rows = {name: tf.constant(v) for name, v in np.load(folder + "/rows.npz").items()}
    for name, signature in served.signatures.items():
        np.savez(f"{folder}/{name}.npz", **signature(**rows))
    flags.FLAGS(["saved_model_cli", f"--dir={folder}/served", "--all"])
    with open(folder + "/shown.txt", "w") as file, contextlib.redirect_stdout(file):
        saved_model_cli.show()
assert not any(name.startswith("mtlzoo.") for name in sys.modules)
"""


def rows_of(model):
    """Rows as tensors, as the model's preprocessor takes them, or it itself."""
    given = fingerprints.rows(model.preprocessor or model)
    return keras.tree.map_structure(tf.convert_to_tensor, given)


def write(name: str, folder: pathlib.Path):
    """The preset with its rows by name, both written, and the structure of its rows."""
    model = presets.load(name, load_weights=name in presets.names(trained=True))
    given = rows_of(model)
    rows = parts(model).rows_by_name(given)
    rows = {key: v.astype("S") if v.dtype == object else v for key, v in rows.items()}
    model.export(folder / "served")
    np.savez(folder / "rows.npz", **rows)
    return model, given, rows


def answer(folders):
    done = subprocess.run(
        [sys.executable, "-I", "-c", SERVER, *map(str, folders)],
        cwd=folders[0],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def check(model, given, rows, folder: pathlib.Path):
    """The answers of the other process are those of the tasks, on what `predict` gives."""
    x = given if model.preprocessor is None else model.preprocessor(given)
    raw = model.predict(x, verbose=0)
    shown = (folder / "shown.txt").read_text()
    together = {}
    for name, task in model.tasks.items():
        expected = {key: np.asarray(value) for key, value in task.serve(raw[name]).items()}
        together |= expected
        assert_answers(dict(np.load(folder / f"{name}.npz")), expected)
        assert f"signature_def['{name}']" in shown
    for signature in ("serve", "serving_default"):
        assert_answers(dict(np.load(folder / f"{signature}.npz")), together)
    for name in rows:
        assert f"inputs['{name}'] tensor_info" in shown
    for name in together:
        assert f"outputs['{name}'] tensor_info" in shown


def assert_answers(found, expected):
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and found[key].shape == value.shape, key
        if value.dtype.kind == "f":
            scale = max(1.0, float(np.abs(value).max(initial=0.0)))
            np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-5 * scale, err_msg=key)
        else:  # of cells whose two best classes are equal to rounding, one may be another
            assert np.mean(found[key] == value) > 0.999, key


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The quick presets, answered in one process."""
    cases = {name: tmp_path_factory.mktemp(name) for name in QUICK}
    made = {name: write(name, folder) for name, folder in cases.items()}
    answer(list(cases.values()))
    return {name: (*made[name], folder) for name, folder in cases.items()}


@pytest.mark.parametrize("name", QUICK)
def test_a_preset_answers_raw_rows_without_the_library(served, name):
    check(*served[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in presets.names() if name not in QUICK])
def test_every_preset_answers_raw_rows_without_the_library(name, tmp_path):
    made = write(name, tmp_path)
    answer([tmp_path])
    check(*made, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", presets.names(trained=True))
@pytest.mark.parametrize("form", [form for form in export.names() if form != "tf_saved_model"])
def test_a_trained_preset_in_the_other_formats(name, form, tmp_path):
    """With what stands in front where the format has its operations, else without."""
    model = presets.load(name)
    path = tmp_path / {"litert": "m.tflite", "onnx": "m.onnx", "openvino": "m.xml"}[form]
    given, front = rows_of(model), "own"
    try:
        export.save(model, path, format=form)
    except ValueError as error:
        assert "`preprocessor=None`" in str(error)
        given, front = model.preprocessor(given), None
        export.save(model, path, format=form, preprocessor=None)
    given = keras.tree.map_structure(np.asarray, given)
    found = export.compare(path, model, given, preprocessor=front)
    assert found.worst < 1e-4 * max(1.0, *found.scales.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_command_line_tool_of_tensorflow_runs_a_task(served, name):
    model, _, _, folder = served[name]
    task = model.task_names[0]
    tool = pathlib.Path(sys.executable).with_name("saved_model_cli")
    names = list(np.load(folder / "rows.npz"))
    inputs = ";".join(f"{key}={folder / 'rows.npz'}[{key}]" for key in names)
    command = [tool, "run", "--dir", folder / "served", "--tag_set", "serve"]
    command += ["--signature_def", task, "--inputs", inputs, "--outdir", folder / "out"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = np.load(folder / f"{task}.npz")
    for key in expected:
        np.testing.assert_allclose(np.load(folder / "out" / f"{key}.npy"), expected[key], atol=1e-6)
