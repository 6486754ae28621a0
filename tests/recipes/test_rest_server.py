"""The REST demo: requests in rows and in columns, one task, what it says of the model, errors."""

import importlib
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest
from fastapi.testclient import TestClient

from mtlzoo import Classification, HardSharing, Regression
from mtlzoo.serving import Server, Versions
from recipes import rest_server

ROWS = [{"colour": "red", "size": [1, 250]}, {"colour": "grey", "size": [0, 7]}]
COLUMNS = {"colour": ["red", "grey"], "size": [[1, 250], [0, 7]]}
AT = "/v1/models/shop"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A version of a model behind a preprocessor of strings and small whole numbers."""
    keras.utils.set_random_seed(0)
    raw = {
        "colour": keras.Input((), name="colour", dtype="string"),
        "size": keras.Input((2,), name="size", dtype="uint8"),
    }
    words = keras.layers.StringLookup(
        vocabulary=["red", "blue"], mask_token=None, output_mode="one_hot"
    )(raw["colour"])
    joined = keras.layers.Concatenate()([words, keras.layers.Rescaling(1 / 255)(raw["size"])])
    model = HardSharing(
        keras.Input((5,), name="features"),
        [Classification("kind", num_classes=3), Regression("stay")],
        shared_units=(4,),
        preprocessor=keras.Model(raw, joined, name="preprocessor"),
    )
    versions = Versions(tmp_path_factory.mktemp("served"))
    versions.publish(model)
    return versions.folder


@pytest.fixture(scope="module")
def server(folder):
    with Server(folder, poll_seconds=1000) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    return TestClient(rest_server.rest_app(server, "shop"))


def test_rows_and_columns_get_the_answers_of_the_server(client, server):
    expected = server.answer({name: np.array(v) for name, v in COLUMNS.items()})
    outputs = client.post(f"{AT}:predict", json={"inputs": COLUMNS}).json()
    assert set(outputs) == {"outputs", "version"} and outputs["version"] == 1
    assert set(outputs["outputs"]) == {"kind", "kind_class", "stay"}
    for name, values in outputs["outputs"].items():
        np.testing.assert_allclose(values, expected[name], atol=1e-6)

    found = client.post(f"{AT}:predict", json={"instances": ROWS}).json()
    assert len(found["predictions"]) == 2 and found["version"] == 1
    for i, row in enumerate(found["predictions"]):
        assert set(row) == {"kind", "kind_class", "stay"}
        assert isinstance(row["kind_class"], int) and len(row["kind"]) == 3
        np.testing.assert_allclose(row["stay"], expected["stay"][i], atol=1e-6)


def test_one_task_is_answered_alone(client):
    found = client.post(f"{AT}/tasks/stay:predict", json={"instances": ROWS}).json()
    assert [set(row) for row in found["predictions"]] == [{"stay"}, {"stay"}]
    named = {"signature_name": "stay", "inputs": COLUMNS}
    assert set(client.post(f"{AT}:predict", json=named).json()["outputs"]) == {"stay"}


def test_what_it_says_of_the_model(client):
    assert client.get(AT).json() == {
        "name": "shop",
        "version": 1,
        "tasks": ["kind", "stay"],
        "inputs": {
            "colour": {"dtype": "string", "shape": [None]},
            "size": {"dtype": "uint8", "shape": [None, 2]},
        },
        "signatures": {
            "kind": {
                "kind": {"dtype": "float32", "shape": [None, 3]},
                "kind_class": {"dtype": "int64", "shape": [None]},
            },
            "serve": {
                "kind": {"dtype": "float32", "shape": [None, 3]},
                "kind_class": {"dtype": "int64", "shape": [None]},
                "stay": {"dtype": "float32", "shape": [None, 1]},
            },
            "stay": {"stay": {"dtype": "float32", "shape": [None, 1]}},
        },
    }


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{", "The body should be JSON"),
        ("[]", "either 'instances' or 'inputs'"),
        ({"instances": ROWS, "inputs": COLUMNS}, "either 'instances' or 'inputs'"),
        ({"instances": ROWS, "rows": 1}, "Received: ['rows']"),
        ({"instances": []}, "'instances' should be a list of one row or more"),
        ({"instances": [ROWS[0], {"colour": "red"}]}, "instances[1] should have the inputs ['col"),
        (
            {"instances": [3]},
            "instances[0] should have the inputs ['colour', 'size']. Received: in",
        ),
        ({"inputs": {"colour": ["red"]}}, "inputs ['colour', 'size']. Received: ['colour']"),
        ({"inputs": {**COLUMNS, "size": [[1, 256]]}}, "Input `size` should be of dtype uint8"),
        ({"inputs": {**COLUMNS, "size": [[1, 2.5]]}}, "Input `size` should be of dtype uint8"),
        ({"inputs": {**COLUMNS, "size": [[1], [1, 2]]}}, "Input `size` should be of dtype uint8"),
        ({"inputs": {**COLUMNS, "size": [1, 2]}}, "Input `size` should have shape (None, 2)"),
        ({"inputs": {**COLUMNS, "colour": ["red", None]}}, "Input `colour` should be of dtype str"),
        ({"inputs": {**COLUMNS, "colour": ["red"]}}, "the same number of rows"),
        ({"inputs": COLUMNS, "signature_name": "nope"}, "`signature` should be one of"),
        ({"inputs": COLUMNS, "signature_name": 3}, "`signature` should be one of"),
        ("[" * 200_000, "The body should be JSON"),
        ({"inputs": {**COLUMNS, "kind_of": 1}}, "Received: ['colour', 'kind_of', 'size']"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_field(client, body, text):
    content = body if isinstance(body, str) else json.dumps(body)
    answer = client.post(f"{AT}:predict", content=content)
    assert answer.status_code == 400 and text in answer.json()["error"]


def test_unknown_models_and_tasks(client):
    for answer, text in [
        (client.get("/v1/models/nope"), "The model should be 'shop'. Received: 'nope'"),
        (client.post("/v1/models/nope:predict", json={}), "Received: 'nope'"),
        (client.post(f"{AT}/tasks/nope:predict", json={}), "one of ['kind', 'stay']"),
    ]:
        assert answer.status_code == 404 and text in answer.json()["error"]
    for answer, code, text in [
        (client.get("/v2"), 404, "Not Found"),
        (client.post(AT), 405, "Method Not Allowed"),
    ]:
        assert answer.status_code == code and answer.json() == {"error": text}
    body = {"inputs": COLUMNS, "signature_name": "kind"}
    answer = client.post(f"{AT}/tasks/stay:predict", json=body)
    assert answer.status_code == 400 and "no 'signature_name'" in answer.json()["error"]


def test_what_the_model_refuses_is_an_error_400(monkeypatch, client, server):
    def refusing(*args):
        raise ValueError("`x` should have values that the model takes")

    monkeypatch.setattr(server, "answer", refusing)
    answer = client.post(f"{AT}:predict", json={"inputs": COLUMNS})
    assert answer.status_code == 400 and "values that the model takes" in answer.json()["error"]


def test_without_fastapi_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "recipes.rest_server")
    with pytest.raises(ImportError, match=r"FastAPI and uvicorn.*`pip install 'mtlzoo\[rest\]'`"):
        importlib.import_module("recipes.rest_server")


def test_a_single_input_takes_bare_values_and_infinity_becomes_null():
    class One:
        """Stands for a server of a model with one input."""

        def describe(self):
            return {"inputs": {"x": {}}}

        def answer(self, x, signature):
            return rest_server.Answer({"y": np.log(np.array(x["x"], "float32"))}, 4)

    for body in ({"instances": [1, 0]}, {"instances": [{"x": 1}, {"x": 0}]}):
        found = json.loads(rest_server.answered(One(), json.dumps(body).encode(), None).body)
        assert found == {"predictions": [{"y": 0.0}, {"y": None}], "version": 4}
    found = json.loads(rest_server.answered(One(), b'{"inputs": [1, 0]}', None).body)
    assert found == {"outputs": {"y": [0.0, None]}, "version": 4}


@pytest.mark.slow
def test_a_process_answers_over_http_and_swaps(folder, tmp_path):
    shutil.copytree(folder / "1", tmp_path / "served" / "1")
    command = [sys.executable, "-m", "recipes.rest_server", f"--model={tmp_path / 'served'}"]
    process = subprocess.Popen(
        [*command, "--name=shop", "--port=0"], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in process.stderr:
            if at := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                break
        url = at[1] + AT

        def ask(place, body=None):
            data = None if body is None else json.dumps(body).encode()
            try:
                with urllib.request.urlopen(url + place, data, timeout=60) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)

        assert ask("")["tasks"] == ["kind", "stay"]
        assert ask(":predict", {"instances": ROWS})["version"] == 1
        code, told = ask(":predict", {"instances": [{"colour": "red"}]})
        assert code == 400 and "['colour', 'size']" in told["error"]
        shutil.copytree(folder / "1", tmp_path / "part")
        (tmp_path / "part").rename(tmp_path / "served" / "2")
        while ask(":predict", {"inputs": COLUMNS})["version"] == 1:
            pass
        assert ask("")["version"] == 2
    finally:
        process.terminate()
        process.wait(60)


def test_a_keras_file_is_published_first(tmp_path):
    model = HardSharing(keras.Input((2,), name="x"), [Regression("stay")])
    model.save(tmp_path / "m.keras")
    found = rest_server.folder_of(str(tmp_path / "m.keras"), str(tmp_path / "own"))
    assert found == tmp_path / "own" and Versions(found).numbers() == [1]
    assert rest_server.folder_of(str(found), "not used") == found
    run = tmp_path / "run"  # as `mtlzoo train` writes it
    run.mkdir()
    (run / "run.json").write_text("{}")
    shutil.copy(tmp_path / "m.keras", run / "model.keras")
    assert rest_server.folder_of(str(run), str(tmp_path / "of_run")) == tmp_path / "of_run"
    for wrong in ("", "m.h5", "mmoe_census", str(tmp_path / "none.keras")):
        with pytest.raises(ValueError, match=r"`--model` should be a folder of versions or of a r"):
            rest_server.folder_of(wrong, str(tmp_path / "own"))
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "plain.keras")
    with pytest.raises(ValueError, match="`--model` should be of a `MultiTaskModel`"):
        rest_server.folder_of(str(tmp_path / "plain.keras"), str(tmp_path / "other"))
