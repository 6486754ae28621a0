"""Where models and data come from: a file, the folder of a run, a preset; a data set by name."""

import dataclasses
import functools
import inspect
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
from absl import flags

from mtlzoo import MultiTaskModel, data
from mtlzoo.command_line import assignments, catalogue, run_folder
from mtlzoo.command_line.command import Request, UsageError
from mtlzoo.command_line.spelling import bare, hint
from mtlzoo.data import Loaded

MODEL_HELP = (
    "MODEL is a `.keras` file, the folder of a run (`mtlzoo train`), the name of a preset, or its "
    "folder."
)
DATA_HELP = (
    "DATASET is a name (`mtlzoo list data`); it may be left out where the run or the preset says "
    "it."
)
SPLITS = ("train", "valid", "test")


class Source(NamedTuple):
    """A data set, and how it was asked for.

    Attributes:
        loaded: the data set.
        name: its name.
        options: what its `load` was given.
    """

    loaded: Loaded
    name: str
    options: dict[str, Any]


class Origin(NamedTuple):
    """A model, and what is known of its data.

    Attributes:
        read: loads the model and compiles it, which takes a while.
        name: what it is called.
        data_set: the name of its data set, if it is known.
        options: what `load` was given, as far as it is known.
        trained: whether its weights have learned anything: some presets are configurations.
    """

    read: Callable[[], MultiTaskModel]
    name: str
    data_set: str | None
    options: dict[str, Any]
    trained: bool = True


def define_data(values: flags.FlagValues) -> None:
    """Define the flags that say which data."""
    flags.DEFINE_integer(
        "batch_size", None, "Rows in a batch. Defaults to that of the data set.",
        lower_bound=1, flag_values=values,
    )  # fmt: skip
    flags.DEFINE_multi_string(
        "data", [], "NAME=VALUE of an option of the data set's `load`, such as source=full; may be "
        "repeated.", flag_values=values,
    )  # fmt: skip


def define_split(values: flags.FlagValues) -> None:
    """Define the flag that says which part of the data."""
    flags.DEFINE_enum("split", "test", list(SPLITS), "Which part of the data.", flag_values=values)


def data_set(
    word: str, values: Mapping[str, Any], known: Mapping[str, Any], seed: int | None = None
) -> Source:
    """Load a data set.

    Args:
        word: its name.
        values: the values of flags, those of `define_data` among them.
        known: options that hold where the flags say nothing else.
        seed: of the order of the rows. Defaults to that of the data set.
    """
    name = catalogue.named("data", word)
    function = data.loading.module(name).load
    options = {**known, **assignments.read("data", values["data"], function)}
    taken = inspect.signature(function).parameters
    for key, value in (("batch_size", values["batch_size"]), ("seed", seed)):
        if value is not None and key in taken:
            options[key] = value
    for key, each in taken.items():
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD and key not in options:
            raise UsageError(f"The data set {name!r} needs `{key}`: give it by --data {key}=VALUE")
    return Source(data.load(name, **options), name, options)


def of_tasks(loaded: Loaded, wanted: Sequence[str] | None) -> Loaded:
    """The data set with some of its tasks.

    Raises:
        UsageError: one of them is not there.
    """
    if not wanted:
        return loaded
    known = [task.name for task in loaded.tasks]
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"`--tasks` should name tasks of the data set, {known}.{hint(name, known)} "
                f"Received: {name!r}"
            )
    tasks = [task for task in loaded.tasks if task.name in wanted]
    return dataclasses.replace(loaded, tasks=tasks)


def check_fits(model: MultiTaskModel, source: Source) -> None:
    """See that a data set has what a model reads and learns.

    Raises:
        UsageError: it has not.
    """
    known = [task.name for task in source.loaded.tasks]
    missing = [name for name in model.task_names if name not in known]
    if missing:
        raise UsageError(
            f"The data set {source.name!r} should have the model's tasks {list(model.task_names)}. "
            f"Received: one with {known}, without {missing}"
        )
    own = [tuple(t.shape[1:]) for t in keras.tree.flatten(model.input)]
    its = [tuple(t.shape[1:]) for t in keras.tree.flatten(source.loaded.inputs)]
    if len(own) != len(its) or any(len(a) != len(b) for a, b in zip(own, its, strict=True)):
        raise UsageError(
            f"The data set {source.name!r} should have inputs as the model reads them, of shapes "
            f"{own}. Received: {its}"
        )


def is_model(word: str) -> bool:
    """Whether a word is that of a model which is there, not of a class of the zoo."""
    from mtlzoo import presets

    return pathlib.Path(word).exists() or word.endswith(".keras") or word in presets.names()


def origin(word: str, *, load_weights: bool = True) -> Origin:
    """Find a model.

    Args:
        word: what stands in the place of MODEL.
        load_weights: whether a preset has its trained weights. Defaults to `True`.

    Raises:
        UsageError: there is no such model.
    """
    from mtlzoo import presets

    path = pathlib.Path(word)
    if path.is_file() or path.suffix == ".keras":
        if not path.is_file():
            raise UsageError(f"There is no file {word!r}")
        return Origin(functools.partial(_read, path), path.stem, None, {})
    if run_folder.is_run(path):
        record = run_folder.read(path)
        read = functools.partial(_read, path / run_folder.MODEL)
        return Origin(read, record["name"], record["data_set"], record["options"])
    if path.is_dir() and not (path / "preset.json").is_file():
        raise UsageError(
            f"The folder {word!r} should be that of a run, with {run_folder.RECORD!r}, or of a "
            "preset, with 'preset.json'. Received: neither"
        )
    known = presets.names()
    if not path.is_dir() and word not in known:
        classes = [name for name in catalogue.names("models") if bare(name) == bare(word)]
        more = f" `{classes[0]}` is a class: `mtlzoo train` makes a model of it." if classes else ""
        raise UsageError(f"There is no model {word!r}.{hint(word, known)}{more} {MODEL_HELP}")
    card = presets.card(word)

    def read_preset() -> MultiTaskModel:
        return _compiled(presets.load(word, load_weights=load_weights and card.trained))

    return Origin(read_preset, card.name, card.data_set, dict(card.load or {}), card.trained)


def trained(word: str) -> Origin:
    """Find a model that has learned something.

    Args:
        word: what stands in the place of MODEL.

    Raises:
        UsageError: there is no such model, or it is a preset without weights.
    """
    found = origin(word)
    if not found.trained:
        raise UsageError(
            f"The preset {word!r} is a configuration without weights: `mtlzoo train {word} "
            f"{found.data_set or 'DATASET'}` gives it some"
        )
    return found


def with_data(
    request: Request, *, seed: int | None = None
) -> tuple[Origin, MultiTaskModel, Source]:
    """The model and the data set of the words MODEL and [DATASET], which fit each other.

    Raises:
        UsageError: one of them is not there, or they do not fit.
    """
    found = trained(request.words[0])
    if len(request.words) < 2 and found.data_set is None:
        raise UsageError("DATASET should be given, since the model does not say it")
    word = request.words[1] if len(request.words) > 1 else str(found.data_set)
    is_own = found.data_set is not None and bare(found.data_set) == bare(word)
    # Before the model, which takes longer: what is wrong with the words is said at once.
    source = data_set(word, request.flags, found.options if is_own else {}, seed)
    model = found.read()
    check_fits(model, source)
    return found, model, source


def _read(path: pathlib.Path) -> MultiTaskModel:
    if path.suffix not in (".h5", ".hdf5") and not zipfile.is_zipfile(path):
        raise ValueError(f"{str(path)!r} should be a `.keras` file. Received: another kind of file")
    found = keras.saving.load_model(path)
    if not isinstance(found, MultiTaskModel):
        raise UsageError(
            f"{str(path)!r} should be a multi-task model. Received: a {type(found).__name__}"
        )
    return _compiled(found)


def _compiled(found: MultiTaskModel) -> MultiTaskModel:
    if not found.compiled:
        found.compile("adam")
    return found
