"""`mtlzoo train`: build a model for a data set, train it, say how good it is."""

import math
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
from absl import flags

from mtlzoo import HardSharing, MultiTaskModel, balancing, data, distribution
from mtlzoo.command_line import (
    assignments,
    catalogue,
    default_networks,
    run_folder,
    scoring,
    sources,
)
from mtlzoo.command_line.command import Answer, Command, Request, UsageError, of_words
from mtlzoo.command_line.spelling import known_as
from mtlzoo.metrics import delta_m
from mtlzoo.reporting import RunRecorder
from mtlzoo.reporting.settings import parameters
from mtlzoo.tasks import Task
from mtlzoo.training import BestEpoch


def define(values: flags.FlagValues) -> None:
    """Define its flags."""

    def text(name: str, default: str | None, told: str) -> None:
        flags.DEFINE_string(name, default, told, flag_values=values)

    def choice(name: str, default: str, known: list[str], told: str) -> None:
        flags.DEFINE_enum(name, default, known, told, flag_values=values)

    def number(name: str, default: int, told: str, least: int) -> None:
        flags.DEFINE_integer(name, default, told, lower_bound=least, flag_values=values)

    text("out", "runs/train", "Folder to write to.")
    text("name", None, "What the run is called in reports. Runs of one name with different seeds "
         "are one there. Defaults to model and balancer.")  # fmt: skip
    text("balancer", "equal", "Balancer, by name or with arguments, such as pcgrad or "
         "'cagrad(c=0.4)'.")  # fmt: skip
    number("epochs", 10, "Epochs.", 1)
    text("optimizer", "adam", "Optimizer of Keras, by name.")
    flags.DEFINE_float(
        "learning_rate", 1e-3, "Its learning rate.", lower_bound=0, flag_values=values
    )
    flags.register_validator(  # the bound lets NaN through
        "learning_rate", math.isfinite, "It should be a finite number.", flag_values=values
    )
    flags.DEFINE_list("tasks", None, "Tasks to learn. Defaults to all.", flag_values=values)
    flags.DEFINE_list(
        "loss_weights", None, "Factors of the losses: TASK=NUMBER,...", flag_values=values
    )
    flags.DEFINE_multi_string(
        "set", [], "NAME=VALUE of an argument of the model, such as num_experts=8 or "
        "expert_units=64,32; may be repeated.", flag_values=values,
    )  # fmt: skip
    number("seed", 0, "Seed of weights, dropout and the order of rows.", 0)
    choice("keep", "best", ["best", "last"], "Epoch whose weights are kept; best: on the "
           "validation data.")  # fmt: skip
    flags.DEFINE_bool(
        "baselines", False, "Also train a network for each task, to tell `delta_m`.",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_bool(
        "load_weights", True, "Whether a preset goes on from its weights; else it is trained anew.",
        flag_values=values,
    )  # fmt: skip
    choice("strategy", "auto", ["auto", *distribution.strategy_names()], "What to train on.")
    flags.DEFINE_list(
        "devices", None, "Those of --strategy=mirrored, such as GPU:0,GPU:1.", flag_values=values
    )
    choice("jit_compile", "auto", ["auto", "true", "false"], "Whether XLA compiles the step.")
    sources.define_data(values)


class _Trained(NamedTuple):
    model: MultiTaskModel
    recorder: RunRecorder
    best_epoch: int | None
    scores: dict[str, dict[str, Any]]


def run(request: Request) -> Answer:
    """Train, evaluate, write."""
    values, (word, data_word) = request.flags, request.words
    with of_words():
        strategy = distribution.strategy(values["strategy"], devices=values["devices"])
    origin_of, known = _model_word(word, values)
    source = sources.data_set(data_word, values, known, values["seed"])
    source = source._replace(loaded=sources.of_tasks(source.loaded, values["tasks"]))
    balancer = _balancer(values["balancer"])
    out = _checked(values["out"])
    if not distribution.is_chief(strategy):  # all workers train and save, the first one for good
        out = pathlib.Path(tempfile.mkdtemp())
    keras.utils.set_random_seed(values["seed"])
    with strategy.scope():
        model = _build(origin_of, source, request)
        _compile(model, balancer, values)
    request.note(f"Training {type(model).__name__} on {source.name}, balancer {values['balancer']}")
    trained = _train(model, source, request)
    shutil.rmtree(out / run_folder.BASELINES, ignore_errors=True)  # of the run that is replaced
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / run_folder.MODEL)
    baselines = {}
    if values["baselines"]:
        for task in (trained.model.tasks[name] for name in model.task_names):
            baselines[task.name] = _single(task, source, strategy, request)
            folder = out / run_folder.BASELINES
            folder.mkdir(exist_ok=True)
            baselines[task.name].model.save(folder / f"{task.name}.keras")
    name = values["name"] or f"{type(model).__name__}, {values['balancer']}"
    metrics = _metrics(name, trained, baselines, source, values)
    run_folder.write(out, _record(name, trained, baselines, source, request), metrics)
    files = [run_folder.MODEL, run_folder.METRICS, run_folder.RECORD]
    files += [run_folder.BASELINES] * bool(baselines)
    lines = [scoring.table(metrics["tasks"], ("single_task", "single task"))]
    if metrics["delta_m"] is not None:
        lines.append(f"delta_m against the single tasks: {metrics['delta_m']:+.2f} %")
    lines.append(f"On the test data; * decides the task. Written to {out}: {', '.join(files)}")
    return Answer("\n".join(lines), {**metrics, "out": str(out), "files": files})


# -- the model ------------------------------------------------------------------------------------


def _model_word(word: str, values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A class of the zoo, or a model that goes on; and what is known of its data."""
    found = known_as(word, catalogue.names("models"))
    if found is not None and not sources.is_model(word):
        return catalogue.thing("models", found), {}
    if not sources.is_model(word):
        catalogue.named("models", word)  # which says what is near
    for flag in ("set", "tasks"):
        if values[flag]:
            raise UsageError(
                f"`--{flag}` should be given for a class of the zoo, such as `MMoE`. "
                f"Received: {word!r}, a model that is there"
            )
    origin = sources.origin(word, load_weights=values["load_weights"])
    return origin, origin.options


def _build(what: Any, source: sources.Source, request: Request) -> MultiTaskModel:
    """A new model of a class, or the one that goes on."""
    if isinstance(what, sources.Origin):
        model = what.read()
        sources.check_fits(model, source)
        request.note(f"{what.name}: goes on as it is")
        return model
    given = assignments.read("set", request.flags["set"], what, default_networks.RESERVED)
    chosen = default_networks.network(what, source.loaded, given)
    request.note(f"{what.__name__}: {'; '.join(chosen.said) or 'its defaults'}")
    with of_words("`--set NAME=VALUE` gives arguments of the model"):
        return what(
            source.loaded.inputs,
            source.loaded.tasks,
            preprocessor=source.loaded.preprocessor,
            **chosen.arguments,
        )


def _balancer(text: str) -> balancing.Balancer:
    """The balancer of a flag, new."""
    name, arguments = assignments.call("balancer", text)
    known = catalogue.named("balancers", name)
    cls = catalogue.thing("balancers", known)
    with of_words(f"`mtlzoo describe {known}` says what it is"):
        try:
            return cls(**assignments.read("balancer", arguments, cls))
        except TypeError as error:  # an argument without a default
            raise ValueError(
                f"`--balancer` should be `{name}(argument=value, ...)`: {error}"
            ) from error


def _compile(model: MultiTaskModel, balancer: Any, values: Mapping[str, Any]) -> None:
    weights = assignments.by_task("loss_weights", values["loss_weights"], model.task_names)
    jit: Any = {"auto": "auto", "true": True, "false": False}[values["jit_compile"]]
    with of_words():
        model.compile(_optimizer(values), balancer, loss_weights=weights, jit_compile=jit)


def _optimizer(values: Mapping[str, Any]) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.get(values["optimizer"])
    optimizer.learning_rate = values["learning_rate"]
    return optimizer


def _train(model: MultiTaskModel, source: sources.Source, request: Request) -> _Trained:
    """Fit a compiled model, and evaluate it on the test data."""
    values, loaded = request.flags, source.loaded
    recorder = RunRecorder()
    best = BestEpoch(model.tasks) if values["keep"] == "best" else None
    model.fit(
        data.labels_of(loaded.train, model.task_names),
        validation_data=data.labels_of(loaded.valid, model.task_names),
        epochs=values["epochs"],
        shuffle=False,  # the data set reshuffles itself
        callbacks=[recorder, best] if best is not None else [recorder],
        verbose=request.verbose,
    )
    scores = scoring.evaluate(model, loaded.test)
    return _Trained(model, recorder, None if best is None else best.epoch, scores)


def _single(task: Task, source: sources.Source, strategy: Any, request: Request) -> _Trained:
    """The network of one task, hard sharing of a single task with the same defaults."""
    loaded = sources.of_tasks(source.loaded, [task.name])
    keras.utils.set_random_seed(request.flags["seed"])
    chosen = default_networks.network(HardSharing, loaded, {})
    request.note(f"Baseline of {task.name}: HardSharing alone, {'; '.join(chosen.said)}")
    with strategy.scope():
        model = HardSharing(
            loaded.inputs, loaded.tasks, name=f"single_{task.name}", **chosen.arguments
        )
        model.compile(_optimizer(request.flags))
    return _train(model, source, request)


# -- what is written ------------------------------------------------------------------------------


def _checked(text: str) -> pathlib.Path:
    out = pathlib.Path(text)
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not run_folder.is_run(out)):
        raise UsageError(
            "`--out` should be a new folder, or that of a run, which is replaced. "
            f"Received: {text!r}"
        )
    return out


def _metrics(
    name: str,
    trained: _Trained,
    baselines: dict[str, _Trained],
    source: sources.Source,
    values: Mapping[str, Any],
) -> dict[str, Any]:
    tasks = scoring.by_task(trained.model, trained.scores)
    for task, single in baselines.items():
        tasks[task]["single_task"] = single.scores[task]
    gain = None
    if baselines:
        own, alone = (
            {task: of[task][entry["monitor"]] for task, entry in tasks.items()}
            for of in (trained.scores, {t: b.scores[t] for t, b in baselines.items()})
        )
        if all(alone.values()):  # else no relative gain exists
            gain = delta_m(own, alone, list(trained.model.tasks.values()))
    return {
        "name": name,
        "model": type(trained.model).__name__,
        "data_set": source.name,
        "seed": values["seed"],
        "epochs": values["epochs"],
        "best_epoch": trained.best_epoch,
        "parameters": sum(parameters(trained.model).values()),
        "seconds": sum(trained.recorder.seconds),
        "tasks": tasks,
        "delta_m": gain,
    }


def _record(
    name: str,
    trained: _Trained,
    baselines: dict[str, _Trained],
    source: sources.Source,
    request: Request,
) -> dict[str, Any]:
    def of_one(each: _Trained) -> dict[str, Any]:
        return {"history": each.recorder.history, "seconds": each.recorder.seconds}

    return {
        "name": name,
        "command": request.line,
        "seed": request.flags["seed"],
        "data_set": source.name,
        "options": source.options,
        **of_one(trained),
        "baselines": {task: of_one(single) for task, single in baselines.items()},
    }


COMMAND = Command(
    name="train",
    summary="Trains a model on a data set, and tells its metrics on the test data.",
    words=("MODEL", "DATASET"),
    details=(
        "MODEL is a class of the zoo (`mtlzoo list models`), for which a backbone is chosen that\n"
        "fits the data, or a model to go on with: a `.keras` file, the folder of a run, or a\n"
        "preset. DATASET is a name (`mtlzoo list data`). The folder --out gets model.keras,\n"
        "metrics.json and run.json, of which `mtlzoo report` makes a page."
    ),
    examples=(
        "train MMoE census_income --balancer=pcgrad --epochs=5 --baselines",
        "train MMoE census_income --set num_experts=8 --set expert_units=64,32",
        "train HardSharing multi_fashion --out=runs/fashion --seed=1",
        "train mmoe_census_income census_income --learning_rate=1e-4",
    ),
    define=define,
    run=run,
    completes=("models presets", "data"),
)
