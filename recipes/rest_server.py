"""Serve a model over HTTP, in the JSON of TensorFlow Serving's REST API.

    python -m recipes.rest_server --model=runs/quickstart/mmoe.keras --name=income --port=8501

`--model` is a folder of numbered versions (`mtlzoo.serving.Versions`), whose newest is served and
swapped while it answers; or a `.keras` file, the folder of a run (`mtlzoo train`) or a preset,
which is published into a folder of its own first. It needs `pip install 'mtlzoo[rest]'`. A request
may come in rows or in columns, and a model with one input takes bare values:

    POST /v1/models/NAME:predict              {"instances": [{"age": 39, ...}, ...]}
                                              {"inputs": {"age": [39, ...], ...}}
    POST /v1/models/NAME/tasks/TASK:predict   the same; that task alone is computed
    GET  /v1/models/NAME                      version, tasks, names and shapes of inputs and answers

Rows are answered as `predictions`, columns as `outputs`, both with the `version` that answered; a
number that is not finite is null. What does not fit is an error 400 that names the field. There is
no batching, no limit and no lock on the door: this is a demo, to be kept on this machine.
"""

import json
import pathlib
import tempfile
from typing import Any

import keras
import numpy as np
from absl import app, flags

try:
    import fastapi
    import uvicorn
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException
except ImportError as error:
    raise ImportError(
        "The REST demo should have FastAPI and uvicorn. Install them with "
        "`pip install 'mtlzoo[rest]'`"
    ) from error

from mtlzoo import MultiTaskModel, presets
from mtlzoo.serving import Answer, Server, Versions

_MODEL = flags.DEFINE_string("model", None, "Folder of versions, .keras file, run or preset.")
_NAME = flags.DEFINE_string("name", "model", "The model's name in the addresses.")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "The address to listen at.")
_PORT = flags.DEFINE_integer("port", 8501, "The port; 0 for one that is free.", lower_bound=0)


def main(_) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="served-") as own,
        Server(folder_of(_MODEL.value, own)) as server,
    ):
        uvicorn.run(rest_app(server, _NAME.value), host=_HOST.value, port=_PORT.value)


def folder_of(model: str, own: str) -> pathlib.Path:
    """The folder of versions that is served: that of `model`, or `own` where it has none."""
    path = pathlib.Path(model)
    is_preset = model in presets.names() or (path / "preset.json").exists()
    file = path / "model.keras" if (path / "run.json").exists() else path
    if model and file.is_dir() and not is_preset:
        return path
    if not is_preset and not (file.suffix == ".keras" and file.is_file()):
        raise ValueError(
            "`--model` should be a folder of versions or of a run, a .keras file, or one of the "
            f"presets {presets.names()}. Received: {model!r}"
        )
    loaded = presets.load(model) if is_preset else keras.saving.load_model(file)
    if not isinstance(loaded, MultiTaskModel):
        raise ValueError(f"`--model` should be of a `MultiTaskModel`. Received: {loaded!r}")
    versions = Versions(own)
    versions.publish(loaded)
    return versions.folder


def rest_app(server: Server, name: str) -> fastapi.FastAPI:
    """The application: three addresses, and errors as TensorFlow Serving words them."""
    rest = fastapi.FastAPI(title=name)

    @rest.exception_handler(ValueError)
    @rest.exception_handler(LookupError)
    @rest.exception_handler(HTTPException)  # addresses that are not there
    async def refused(request: fastapi.Request, error: Exception) -> JSONResponse:
        if isinstance(error, HTTPException):
            return JSONResponse({"error": error.detail}, error.status_code)
        status = 404 if isinstance(error, LookupError) else 400
        return JSONResponse({"error": str(error.args[0])}, status)

    def check(model: str) -> None:
        if model != name:
            raise LookupError(f"The model should be {name!r}. Received: {model!r}")

    @rest.get("/v1/models/{model}")
    def describe(model: str) -> dict[str, Any]:
        check(model)
        return {"name": name, **server.describe()}

    @rest.post("/v1/models/{model}:predict")
    async def predict(model: str, request: fastapi.Request) -> JSONResponse:
        check(model)
        return await run_in_threadpool(answered, server, await request.body(), None)

    @rest.post("/v1/models/{model}/tasks/{task}:predict")
    async def predict_task(model: str, task: str, request: fastapi.Request) -> JSONResponse:
        check(model)
        if task not in (tasks := server.describe()["tasks"]):
            raise LookupError(f"The task should be one of {tasks}. Received: {task!r}")
        return await run_in_threadpool(answered, server, await request.body(), task)

    return rest


def answered(server: Server, body: bytes, task: str | None) -> JSONResponse:
    """The answer to the body of a request."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:  # the second: too many brackets
        raise ValueError(f"The body should be JSON. Received: {error}") from error
    known = {"instances", "inputs", "signature_name"}
    if not isinstance(request, dict) or len(request.keys() & {"instances", "inputs"}) != 1:
        raise ValueError("The body should be an object with either 'instances' or 'inputs'.")
    if unknown := sorted(request.keys() - known):
        raise ValueError(f"The body should have only {sorted(known)}. Received: {unknown}")
    if task and "signature_name" in request:
        raise ValueError("The body should have no 'signature_name', since the address has the task")
    signature = task or request.get("signature_name", "serve")
    names = list(server.describe()["inputs"])
    if "inputs" in request:
        given = request["inputs"]
        columns = given if isinstance(given, dict) or len(names) > 1 else {names[0]: given}
        answer = server.answer(columns, signature)
        return JSONResponse({"outputs": plain(answer), "version": answer.version})
    answer = server.answer(columns_of(request["instances"], names), signature)
    return JSONResponse({"predictions": rows_of(answer), "version": answer.version})


def columns_of(instances: Any, names: list[str]) -> dict[str, list]:
    """Rows by input."""
    if not isinstance(instances, list) or not instances:
        raise ValueError("'instances' should be a list of one row or more.")
    if len(names) == 1 and not isinstance(instances[0], dict):
        return {names[0]: instances}
    for i, row in enumerate(instances):
        if not isinstance(row, dict) or set(row) != set(names):
            found = sorted(row) if isinstance(row, dict) else type(row).__name__
            raise ValueError(f"instances[{i}] should have the inputs {names}. Received: {found}")
    return {name: [row[name] for row in instances] for name in names}


def rows_of(answer: Answer) -> list[dict[str, Any]]:
    """Answers by row."""
    columns = plain(answer)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def plain(answer: Answer) -> dict[str, list]:
    """Answers in lists, with None for what JSON cannot hold."""
    return {
        name: (
            np.where(np.isfinite(values), values, None).tolist()
            if values.dtype.kind == "f" and not np.isfinite(values).all()
            else values.tolist()
        )
        for name, values in sorted(answer.items())
    }


if __name__ == "__main__":
    flags.mark_flag_as_required("model")
    app.run(main)
