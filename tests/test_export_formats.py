"""LiteRT, ONNX and OpenVINO files: written, run by their runtimes, compared with the model."""

import dataclasses
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from conformance import registry

from mtlzoo import Classification, HardSharing, Regression, export
from mtlzoo.analysis import Finding
from mtlzoo.export import parts, portable

RNG = np.random.default_rng(0)
ROWS = {
    "colour": RNG.choice(["red", "green", "blue", "not seen before"], 9),
    "price": RNG.uniform(0.0, 9.0, 9).astype("float32"),
}
SUFFIXES = {"tf_saved_model": "", "litert": ".tflite", "onnx": ".onnx", "openvino": ".xml"}


@pytest.fixture(scope="module")
def model():
    """Two tasks behind a preprocessor of a string and a number."""
    keras.utils.set_random_seed(0)
    raw = {
        "colour": keras.Input((), name="colour", dtype="string"),
        "price": keras.Input((), name="price"),
    }
    lookup = keras.layers.StringLookup(
        vocabulary=["red", "green", "blue"], mask_token=None, output_mode="one_hot"
    )
    price = keras.ops.log1p(keras.ops.expand_dims(raw["price"], -1))  # not an operation of ONNX
    price = keras.layers.Normalization(mean=1.5, variance=1.0)(price)
    joined = keras.layers.Concatenate()([lookup(raw["colour"]), price])
    return HardSharing(
        keras.Input((5,), name="features"),
        [Classification("kind", num_classes=3), Regression("stay")],
        shared_units=(6,),
        preprocessor=keras.Model(raw, joined, name="preprocessor"),
    )


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """The whole model in the two formats that have look-ups of strings."""
    folder = tmp_path_factory.mktemp("files")
    made = {form: folder / f"model{SUFFIXES[form]}" for form in ("litert", "onnx")}
    for form, path in made.items():
        assert model.export(path, format=form) == path
    return made


@pytest.fixture(scope="module")
def features(model):
    """What the model is given for `ROWS`."""
    return model.preprocessor({k: tf.constant(v) for k, v in ROWS.items()}).numpy()


@pytest.fixture(scope="module")
def expected(model, features):
    """What a server should answer for `ROWS`."""
    raw = model.predict(features, verbose=0)
    served = {}
    for name, task in model.tasks.items():
        served |= task.serve(raw[name])
    return {key: np.asarray(value) for key, value in served.items()}


def assert_answers(found, expected):
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-6, err_msg=key)


def assert_answers_threads(loaded, rows):
    """Some runtimes lay the rows of all threads into the same memory."""
    chosen = [RNG.integers(0, 9, 300) for _ in range(40)]
    requests = [{name: values[some] for name, values in rows.items()} for some in chosen]
    alone = [loaded.answer(each)["stay"] for each in requests]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(loaded.answer, requests))
    np.testing.assert_array_equal([each["stay"] for each in together], alone)


# -- what other runtimes answer -----------------------------------------------------------------


def test_litert_answers_raw_rows_by_a_signature_for_each_task(files, expected):
    interpreter = Interpreter(model_path=str(files["litert"]))
    assert set(interpreter.get_signature_list()) == {"serve", "kind", "stay"}
    assert_answers(interpreter.get_signature_runner("serve")(**ROWS), expected)
    alone = interpreter.get_signature_runner("stay")(**ROWS)
    assert_answers(alone, {"stay": expected["stay"]})


def test_onnx_answers_raw_rows(files, expected):
    session = onnxruntime.InferenceSession(files["onnx"])
    assert [each.name for each in session.get_inputs()] == ["colour", "price"]
    rows = {**ROWS, "colour": ROWS["colour"].astype(object)}
    names = [each.name for each in session.get_outputs()]
    assert_answers(dict(zip(names, session.run(None, rows), strict=True)), expected)


@pytest.mark.parametrize("form", ["litert", "onnx"])
def test_a_loaded_file_answers_by_name(files, expected, form):
    loaded = export.load(files[form])
    assert loaded.format == form
    assert loaded.inputs == {"colour": ("string", (None,)), "price": ("float32", (None,))}
    assert_answers(loaded.answer({**ROWS, "price": ROWS["price"].astype("float64")}), expected)
    wrong = {
        r"`signature` should be one of \[.*'serve'.*\]. Received: signature='nope'": (ROWS, "nope"),
        r"dict of the inputs \['colour', 'price'\]. Received: \['price'\]": ({"price": [1.0]},),
        r"Input `colour` should be of strings. Received: dtype=int64": ({**ROWS, "colour": [1]},),
        r"Input `price` should be of dtype float32": ({**ROWS, "price": ["much"]},),
        r"`price` should be of .*dtype=float64, from 1 to 1e\+300": (
            {**ROWS, "price": [1, 1e300]},
        ),
        r"Input `price` should have shape \(None,\). Received: shape=\(9, 1\)": (
            {**ROWS, "price": ROWS["price"][:, None]},
        ),
        r"Input `price` should have shape .*Received: shape=\(\)": ({**ROWS, "price": 1.0},),
        r"the same number of rows. Received: \{'colour': 9, 'price': 2\}": (
            {**ROWS, "price": [1.0, 2.0]},
        ),
        r"Received: \[1, 'colour'\]": ({"colour": ROWS["colour"], 1: 2},),
    }
    for text, given in wrong.items():
        with pytest.raises(ValueError, match=text):
            loaded.answer(*given)


@pytest.mark.parametrize("form", ["litert", "onnx"])
def test_threads_get_the_answers_of_their_own_rows(files, form):
    assert_answers_threads(export.load(files[form]), ROWS)


@pytest.mark.parametrize("form", ["litert", "onnx"])
def test_the_comparison_finds_no_difference_and_finds_one(files, model, form):
    found = export.compare(files[form], model, ROWS)
    assert found.format == form and found.num_rows == 9
    assert set(found.differences) == {"kind", "stay"}
    assert found.worst < 1e-6 and found.changed["kind"] == 0 and np.isnan(found.changed["stay"])
    assert "No answered class differs" in found.words()

    before = model.get_weights()
    model.set_weights([-3 * w for w in before])
    try:
        other = export.compare(files[form], model, ROWS)
    finally:
        model.set_weights(before)
    assert other.worst == max(other.differences.values()) > 0.01 and other.changed["kind"] > 0
    assert re.search(r"differs from the model by .* It answers some other classes", other.words())


def test_openvino_has_no_tables_and_says_what_to_do(model, tmp_path, features, expected):
    with pytest.raises(ValueError, match=r"'openvino' for a model with .*LookupTable.*`preproc"):
        model.export(tmp_path / "m.xml", format="openvino")
    assert not list(tmp_path.iterdir())
    path = export.save(model, tmp_path / "m.xml", format="openvino", preprocessor=None)
    assert {each.name for each in tmp_path.iterdir()} == {"m.xml", "m.bin"}
    loaded = export.load(path)
    assert_answers(loaded.answer({"features": features}), expected)
    assert_answers_threads(loaded, {"features": features})
    assert export.compare(path, model, features, preprocessor=None).worst < 1e-6
    with pytest.raises(ValueError, match=r"`path` should be a file with the inputs.*another `pre"):
        export.compare(path, model, ROWS)


@pytest.mark.slow
def test_options_reach_the_converter(model, tmp_path):
    wide = HardSharing(keras.Input((64,), name="x"), [Regression("stay")], shared_units=(512,))
    x = RNG.normal(size=(5, 64)).astype("float32")
    plain = wide.export(tmp_path / "plain.tflite", format="litert")
    options = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    small = wide.export(tmp_path / "small.tflite", format="litert", options=options)
    assert small.stat().st_size < plain.stat().st_size / 2
    assert export.compare(plain, wide, x).worst < 1e-6 < export.compare(small, wide, x).worst < 0.1
    whole = export.save(wide, tmp_path / "f32.xml", format="openvino")
    options = {"compress_to_fp16": True}
    half = export.save(wide, tmp_path / "f16.xml", format="openvino", options=options)
    assert half.with_suffix(".bin").stat().st_size < whole.with_suffix(".bin").stat().st_size * 0.6
    named = export.save(wide, tmp_path / "m.onnx", format="onnx", options={"opset": 15})
    assert export.compare(named, wide, x).worst < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("form", SUFFIXES)
@pytest.mark.parametrize("name", registry.ARCHITECTURES)
def test_every_architecture_in_every_format(name, form, tmp_path):
    model = registry.ARCHITECTURES[name](registry.make_tasks(name))
    rows = {
        t.name: (
            RNG.normal(size=(7, *t.shape[1:])).astype("float32")
            if "float" in t.dtype
            else RNG.integers(0, 2, (7, *t.shape[1:])).astype(t.dtype)
        )
        for t in model.inputs
    }
    path = export.save(model, tmp_path / f"m{SUFFIXES[form]}", format=form)
    found = export.compare(path, model, rows)
    assert set(found.differences) == set(model.task_names)
    assert found.worst < 2e-6 and not any(share > 0 for share in found.changed.values())


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("m", {"format": "nope"}, r"`format` should be one of \['tf_saved_model', 'litert'"),
        ("m.onnx", {"format": "litert"}, r"`path` should end in '.tflite' for the format 'litert'"),
        ("m", {"options": {"opset": 15}}, r"`options` should be none .*Received: options={'ops"),
        ("m.onnx", {"format": "onnx", "options": {"ops": 1}}, r"only 'opset' .*\{'ops': 1\}"),
        ("m.onnx", {"format": "onnx", "options": {"opset": True}}, r"from 9 to .*opset=True"),
        ("m.onnx", {"format": "onnx", "options": {"opset": 99}}, r"`opset` should be .*opset=99"),
        ("m.onnx", {"format": "onnx", "options": 3}, r"`options` should be a dict.*options=3"),
        ("m.xml", {"format": "openvino", "options": {"a": 1}}, r"'compress_to_fp16'.*\{'a': 1\}"),
        (
            "m.xml",
            {"format": "openvino", "options": {"compress_to_fp16": "yes"}},
            r"`compress_to_fp16` should be a boolean. Received: compress_to_fp16='yes'",
        ),
        ("m.tflite", {"format": "litert", "options": {"a": 1}}, r"Received: 'a' in options="),
        ("m.tflite", {"format": "litert", "options": {3: 1}}, r"Received: 3 in options="),
        ("m.tflite", {"format": "litert", "options": {"convert": 3}}, r"Received: 'convert' in"),
        ("m.tflite", {"format": "litert", "tasks": ["nope"]}, r"`tasks` should be some of"),
    ],
)
def test_what_cannot_be_written_is_refused(model, tmp_path, name, arguments, text):
    with pytest.raises(ValueError, match=text):
        export.save(model, tmp_path / name, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_stays(model, tmp_path):
    (tmp_path / "m.onnx").write_text("kept")
    with pytest.raises(ValueError, match=r"`path` should be a new file. Received: path="):
        model.export(tmp_path / "m.onnx", format="onnx")
    assert (tmp_path / "m.onnx").read_text() == "kept"
    (tmp_path / "m.bin").write_text("kept")
    with pytest.raises(ValueError, match=r"the one that is written beside it.*m.xml', where .*m.b"):
        model.export(tmp_path / "m.xml", format="openvino", preprocessor=None)
    assert (tmp_path / "m.bin").read_text() == "kept"
    for path, text in ((tmp_path / "m.txt", "a file that ends in"), (3, "path of a written model")):
        with pytest.raises(ValueError, match=text):
            export.load(path)


@pytest.mark.parametrize(
    ("form", "package"),
    [
        ("onnx", "tf2onnx"),
        ("onnx", "onnxruntime"),
        ("openvino", "openvino"),
        ("litert", "ai_edge_litert.interpreter"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    model, files, tmp_path, monkeypatch, form, package
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install 'mtlzoo\[{form}\]'"):
        if package in ("tf2onnx", "openvino"):
            model.export(tmp_path / f"m{SUFFIXES[form]}", format=form)
        else:
            export.load(files[form])


def test_files_that_are_no_models_are_refused(tmp_path):
    for name in ("m.onnx", "m.tflite"):
        (tmp_path / name).write_text("no model")
    (tmp_path / "saved_model.pb").write_bytes(b"")
    for path in (tmp_path / "m.onnx", tmp_path / "m.tflite", tmp_path):
        with pytest.raises(ValueError, match=r"`path` should be a written model that can be read"):
            export.load(path)
    tf.saved_model.save(tf.Module(), tmp_path / "other")
    with pytest.raises(ValueError, match=r"should have a signature `serve`. Received: \[\]"):
        export.load(tmp_path / "other")


def test_a_task_that_a_saved_model_has_no_name_for_is_refused():
    model = HardSharing(keras.Input((2,), name="x"), [Regression("signatures"), Regression("stay")])
    with pytest.raises(ValueError, match=r"A served task should not be called 'signatures'"):
        parts.parts(model)
    assert list(parts.parts(model, ["stay"]).tasks) == ["stay"]


def test_what_names_no_operation_is_told_without_advice_on_operations():
    told = str(portable.refusal("litert", [], TypeError("wrong")))
    assert "`options` should fit the converter" in told and "TypeError: wrong" in told
    assert "preprocessor" not in told


def test_formats_that_are_left_to_keras(model, tmp_path):
    with pytest.raises(ValueError, match="Torch export requires PyTorch backend"):
        model.export(tmp_path / "m.pt2", format="torch")


def test_rows_that_do_not_fit_the_model_are_refused(files, model):
    for text, rows in {
        r"the inputs \['colour', 'price'\]. Received: ndarray": np.zeros(3),
        r"same number of rows.*'colour': 9, 'price': 2": {**ROWS, "price": np.zeros(2)},
        r"`price` should have shape \(None,\)": {**ROWS, "price": np.zeros((9, 2))},
        r"`price` should be of dtype float32. Received: dtype=<U4": {**ROWS, "price": ["much"] * 9},
    }.items():
        with pytest.raises(ValueError, match=text):
            export.compare(files["onnx"], model, rows)
    other = HardSharing(keras.Input((5,), name="features"), [Regression("elsewhere")])
    with pytest.raises(ValueError, match=r"answers some of the tasks \['elsewhere'\]"):
        export.compare(files["onnx"], other, ROWS, preprocessor=model.preprocessor)


# -- the finding --------------------------------------------------------------------------------


def test_a_comparison_is_a_finding():
    found = export.Comparison(
        "onnx", 40, {"a": 0.0, "b": 0.25}, {"a": 2.0, "b": 7.0}, {"a": float("nan"), "b": 0.05}
    )
    assert isinstance(found, Finding) and found.worst == 0.25
    assert found.words() == (
        "Over 40 rows the onnx file differs from the model by 2.5e-01 at most, in `b`, whose "
        "answers are up to 7. It answers some other classes in `b` (5.00%)."
    )
    nothing = dataclasses.replace(found, missing={"a": 0.0, "b": 1.0})
    assert "NaN in both and compare nothing: `b` (100.00%). It answers" in nothing.words()
    assert found.rows() == [
        ["task", "largest difference", "largest answer", "other classes"],
        ["a", "0.0e+00", "2", "–"],
        ["b", "2.5e-01", "7", "5.00%"],
    ]
    (panel,) = found.figure().axes
    assert panel.get_xscale() == "log"
    assert [label.get_text() for label in panel.get_yticklabels()] == ["a", "b"]
