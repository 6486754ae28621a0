"""`mtlzoo export`: a model for serving."""

from absl import flags

from mtlzoo import export
from mtlzoo.command_line import sources
from mtlzoo.command_line.command import Answer, Command, Request, of_words


def define(values: flags.FlagValues) -> None:
    """Define its flags."""
    flags.DEFINE_list("tasks", None, "Tasks to serve. Defaults to all.", flag_values=values)
    flags.DEFINE_bool(
        "preprocessor", True, "Whether the model's preprocessor stands in front, so that raw "
        "columns are taken.", flag_values=values,
    )  # fmt: skip
    flags.DEFINE_enum(
        "format", "tf_saved_model", export.names(), "Form of what is written. Those but "
        "tf_saved_model need the extra of their name.", flag_values=values,
    )  # fmt: skip


def run(request: Request) -> Answer:
    """Export a model."""
    values, (word, path) = request.flags, request.words
    origin = sources.trained(word)
    model = origin.read()
    with of_words():
        export.save(
            model,
            path,
            values["tasks"],
            preprocessor="own" if values["preprocessor"] else None,
            format=values["format"],
        )
    tasks = sorted(values["tasks"] or model.task_names)
    text = f"Written to {path}: answers for {', '.join(tasks)}"
    return Answer(
        text, {"name": origin.name, "path": path, "format": values["format"], "tasks": tasks}
    )


COMMAND = Command(
    name="export",
    summary="Writes a model for serving, which needs no mtlzoo.",
    words=("MODEL", "PATH"),
    details=(
        f"{sources.MODEL_HELP}\n"
        "PATH is a new or an empty folder, and for other formats than a SavedModel a new file."
    ),
    examples=(
        "export runs/train served",
        "export mmoe_census_income income.onnx --tasks=income --format=onnx",
    ),
    define=define,
    run=run,
    completes=("presets",),
)
