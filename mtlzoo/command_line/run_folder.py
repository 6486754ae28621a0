"""The folder of a training: the model, its baselines, its metrics, and how it was made."""

import json
import pathlib
from typing import Any

from mtlzoo.command_line.command import UsageError
from mtlzoo.command_line.tables import plain

MODEL, METRICS, RECORD, BASELINES = "model.keras", "metrics.json", "run.json", "baselines"
FORMAT = 1


def is_run(folder: pathlib.Path) -> bool:
    """Whether a folder is that of a training."""
    return (folder / RECORD).is_file()


def read(folder: pathlib.Path) -> dict[str, Any]:
    """How the training was made.

    Raises:
        UsageError: the folder is none of a training.
        ValueError: the record cannot be read.
    """
    if not is_run(folder):
        raise UsageError(
            f"{str(folder)!r} should be the folder of a run, which `mtlzoo train` writes. "
            f"Received: one without {RECORD!r}"
        )
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(folder / RECORD)!r} should be JSON. Received: {error}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(
            f"{str(folder / RECORD)!r} should have the format {FORMAT}. Received: another one"
        )
    return record


def write(folder: pathlib.Path, record: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Write how a training was made, and what came of it.

    Args:
        folder: the folder; it is there.
        record: what `read` gives again.
        metrics: what the command answers.
    """
    (folder / METRICS).write_text(json.dumps(plain(metrics), indent=2) + "\n", encoding="utf-8")
    (folder / RECORD).write_text(
        json.dumps({"format": FORMAT, **plain(record)}, indent=2) + "\n", encoding="utf-8"
    )
