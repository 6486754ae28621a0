"""`mtlzoo report`: runs as one page of HTML."""

import pathlib
from typing import Any

import keras
from absl import flags

from mtlzoo import data, reporting
from mtlzoo.command_line import run_folder, sources
from mtlzoo.command_line.command import Answer, Command, Request, UsageError

SINGLE = "single tasks"


def define(values: flags.FlagValues) -> None:
    """Define its flags."""
    flags.DEFINE_string("out", "runs/report.html", "File to write.", flag_values=values)
    flags.DEFINE_string("title", "Training report", "Headline of the page.", flag_values=values)


def run(request: Request) -> Answer:
    """Read the runs, and write the page."""
    folders = [pathlib.Path(word) for word in request.words]
    if pathlib.Path(request.flags["out"]).is_dir():
        raise UsageError(f"`--out` should be a file. Received: {request.flags['out']!r}, a folder")
    records = [run_folder.read(folder) for folder in folders]
    runs: dict[str, reporting.Run] = {}
    single = reporting.Run(SINGLE, records[0]["command"])
    seen: set[tuple[str, int]] = set()
    for folder, record in zip(folders, records, strict=True):
        request.note(f"Reading {folder}")
        loaded = reporting_data(record)
        of_name = runs.setdefault(record["name"], reporting.Run(record["name"], record["command"]))
        if record["seed"] in {each.seed for each in of_name.trainings}:
            raise UsageError(
                f"Runs of one name should have different seeds. Received: {str(folder)!r} with "
                f"the name {record['name']!r} and the seed {record['seed']} once more; "
                "`mtlzoo train --name` gives names"
            )
        _add(of_name, folder / run_folder.MODEL, record, loaded, record["seed"])
        for task, of_task in record["baselines"].items():
            if (task, record["seed"]) not in seen:
                seen.add((task, record["seed"]))
                path = folder / run_folder.BASELINES / f"{task}.keras"
                _add(single, path, of_task, loaded, record["seed"])
    tasks = {name for each in runs.values() for name in each.tasks}
    compared = bool(single.trainings) and tasks <= set(single.tasks)
    path = reporting.report(
        request.flags["out"],
        [*runs.values()],
        baseline=single if compared else None,
        title=request.flags["title"],
        words=f"Data: {', '.join(sorted({record['data_set'] for record in records}))}.",
    )
    found = reporting.read(path)
    text = "\n".join([*found["says"], f"Written to {path}"])
    return Answer(text, {"path": str(path), "delta_m": found["delta_m"], "says": found["says"]})


def reporting_data(record: dict[str, Any]) -> Any:
    """The test rows of a run."""
    return sources.data.load(record["data_set"], **record["options"]).test


def _add(
    to: reporting.Run, path: pathlib.Path, record: dict[str, Any], test: Any, seed: int
) -> None:
    model = keras.saving.load_model(path)
    recorder = reporting.RunRecorder()
    nan = float("nan")  # which JSON has as null
    history = {
        key: [nan if value is None else value for value in values]
        for key, values in record["history"].items()
    }
    recorder.set_state({"history": history, "seconds": record["seconds"], "spent": 0.0})
    to.add(model, recorder, data.labels_of(test, model.task_names), seed=seed)


COMMAND = Command(
    name="report",
    summary="Writes one HTML page about runs of `mtlzoo train`.",
    words=("RUN...",),
    details=(
        "RUN is the folder of a run. Runs of one name with different seeds are shown as one, with\n"
        "intervals over seeds; baselines of --baselines are what gains are measured against."
    ),
    examples=(
        "report runs/mmoe --out=runs/report.html",
        "report runs/seed0 runs/seed1 runs/hard --title='Three runs'",
    ),
    define=define,
    run=run,
)
