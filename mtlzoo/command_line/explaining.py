"""`mtlzoo explain`: what a model's answers rest on."""

import json
import pathlib
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from absl import flags

from mtlzoo import MultiTaskModel, analysis, data
from mtlzoo.analysis.attention.reading import reader_of
from mtlzoo.analysis.explanation.explaining import METHODS
from mtlzoo.command_line import default_networks, sources
from mtlzoo.command_line.command import Answer, Command, Request, of_words
from mtlzoo.command_line.help_text import WIDTH
from mtlzoo.command_line.tables import aligned

IMPORTANCE, ATTENTION = "importance", "attention"


def define(values: flags.FlagValues) -> None:
    """Define its flags."""
    flags.DEFINE_string("out", "runs/explain", "Folder to write to.", flag_values=values)
    known = ["auto", IMPORTANCE, ATTENTION, *METHODS]
    flags.DEFINE_enum(
        "method", "auto", known, "What is asked. auto: importance of columns "
        "for tables, integrated_gradients for pictures, texts and sounds; and attention where the "
        "model has something of the kind.", flag_values=values,
    )  # fmt: skip
    flags.DEFINE_list("tasks", None, "Tasks to explain. Defaults to all.", flag_values=values)
    flags.DEFINE_integer(
        "rows", None, "Rows that are read. Defaults to 500 for importance and attention, else 4.",
        lower_bound=1, flag_values=values,
    )  # fmt: skip
    flags.DEFINE_integer(
        "repeats", 5, "How often importance permutes a column.", lower_bound=3, flag_values=values
    )
    sources.define_split(values)
    flags.DEFINE_integer("seed", 0, "Seed of what is drawn.", lower_bound=0, flag_values=values)
    sources.define_data(values)


def run(request: Request) -> Answer:
    """Ask, and write what was found."""
    _, model, source = sources.with_data(request)
    values = request.flags
    with of_words():
        found = dict(_findings(model, source, request))
    out = pathlib.Path(values["out"])
    out.mkdir(parents=True, exist_ok=True)
    document, blocks, files = [], [], []
    for name, finding in found.items():
        document.append({"name": name, **_told(finding), "picture": f"{name}.png"})
        blocks.append(f"{finding.title}\n\n{textwrap.fill(finding.words(), WIDTH)}")
        finding.figure().savefig(out / f"{name}.png")
        files.append(f"{name}.png")
    words = "\n\n".join(
        f"{block}\n\n{aligned(finding.rows())}"
        for block, finding in zip(blocks, found.values(), strict=True)
    )
    (out / "words.txt").write_text(words + "\n", encoding="utf-8")
    (out / "findings.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    files += ["words.txt", "findings.json"]
    text = "\n\n".join([*blocks, f"Written to {out}: {', '.join(files)}"])
    return Answer(text, {"out": str(out), "files": files, "findings": document})


def _findings(
    model: MultiTaskModel, source: sources.Source, request: Request
) -> Iterator[tuple[str, Any]]:
    """What was asked for, by the name of its files."""
    values = request.flags
    method, wanted = values["method"], values["tasks"]
    kinds = set(default_networks.kinds_of(source.loaded).values())
    is_table = kinds <= {"numbers", "ids"}
    if method == IMPORTANCE or (method == "auto" and is_table):
        request.note("Permuting each column")
        yield IMPORTANCE, _importance(model, source, request)
    elif method != ATTENTION:
        method = "integrated_gradients" if method == "auto" else method
        request.note(f"Explaining rows by {method}")
        x, y = _rows(model, source, request, 4)
        labels = {
            name: list(np.asarray(y[name]))
            for name in wanted or model.task_names
            if np.asarray(y[name]).ndim == 1
        }
        yield (
            str(method),
            analysis.explain_tasks(model, x, tasks=wanted, labels=labels, method=method),
        )
    if values["method"] in ("auto", ATTENTION):
        try:
            reader_of(model)
        except ValueError:
            if values["method"] == ATTENTION:
                raise
            return
        request.note("Reading gates, stitches and attention")
        x, _ = _rows(model, source, request, 500)
        for i, table in enumerate(analysis.read_attention(model, x)):
            yield f"{ATTENTION}_{i}", table


def _importance(model: MultiTaskModel, source: sources.Source, request: Request) -> Any:
    """By raw columns where the model has a preprocessor, which tells their names."""
    values, raw = request.flags, model.preprocessor is not None
    if raw:
        loaded = data.load(source.name, **{**source.options, "preprocessed": False})
        source = source._replace(loaded=loaded)
    x, y = _rows(model, source, request, 500)
    return analysis.permutation_importance(
        model,
        x,
        y,
        tasks=values["tasks"],
        repeats=values["repeats"],
        seed=values["seed"],
        raw=raw,
    )


def _rows(model: MultiTaskModel, source: sources.Source, request: Request, count: int) -> Any:
    """The first rows of a part: inputs, and labels by task."""
    count = request.flags["rows"] or count
    part = data.labels_of(getattr(source.loaded, request.flags["split"]), model.task_names)
    rows = part.unbatch().take(count).batch(count)
    x, y, _ = next(iter(rows))
    return keras.tree.map_structure(lambda tensor: tensor.numpy(), (x, y))


def _told(finding: Any) -> Mapping[str, Any]:
    return {"title": finding.title, "words": finding.words(), "rows": finding.rows()}


COMMAND = Command(
    name="explain",
    summary="Shows what a model's answers rest on, in words and pictures.",
    words=("MODEL", "[DATASET]"),
    details=f"{sources.MODEL_HELP}\n{sources.DATA_HELP}",
    examples=(
        "explain runs/train --rows=1000 --out=runs/explain",
        "explain runs/fashion --method=grad_cam --tasks=left",
        "explain mmoe_census_income --method=attention",
    ),
    define=define,
    run=run,
    completes=("presets", "data"),
)
