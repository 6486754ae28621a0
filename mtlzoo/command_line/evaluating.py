"""`mtlzoo evaluate`: the metrics of a model on a data set."""

from absl import flags

from mtlzoo.command_line import scoring, sources
from mtlzoo.command_line.command import Answer, Command, Request


def define(values: flags.FlagValues) -> None:
    """Define its flags."""
    sources.define_split(values)
    sources.define_data(values)


def run(request: Request) -> Answer:
    """Evaluate a model."""
    origin, model, source = sources.with_data(request)
    split = request.flags["split"]
    request.note(f"Evaluating {origin.name} on {source.name}, {split}")
    part = getattr(source.loaded, split)
    # A line for each evaluation would say what the table says.
    scores = scoring.evaluate(model, part, int(request.verbose == 1))
    tasks = scoring.by_task(model, scores)
    document = {
        "name": origin.name,
        "model": type(model).__name__,
        "data_set": source.name,
        "split": split,
        "tasks": tasks,
    }
    return Answer(f"{scoring.table(tasks)}\n* decides the task.", document)


COMMAND = Command(
    name="evaluate",
    summary="Tells the metrics of a model, task by task.",
    words=("MODEL", "[DATASET]"),
    details=f"{sources.MODEL_HELP}\n{sources.DATA_HELP}",
    examples=(
        "evaluate runs/train",
        "evaluate mmoe_census_income --split=valid",
        "evaluate model.keras census_income --data source=full --json",
    ),
    define=define,
    run=run,
    completes=("presets", "data"),
)
