"""The tables that pages take from classes, docstrings and lists of names."""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence

import mtlzoo
from docs.making import ROOT
from docs.making.bibliography import Paper, cited_by, papers, places
from mtlzoo import balancing
from mtlzoo import presets as shipped
from mtlzoo.balancing import Balancer, GradientBalancer, JacobianBalancer, LossBalancer
from mtlzoo.data import loading
from recipes.parts import preset_report

sys.path.insert(0, str(ROOT / "tests"))
from conformance import registry  # it knows of what methods the tests ask which promise

MADE_OF_OTHERS = ("Combined", "EMA", "WarmUp")
# What a class asks for, besides the name of a task, to be there at all.
ASKED_FOR = {"PCD": {"primary": "task"}}
TASK_ARGUMENTS = {"num_classes": 2, "num_labels": 2, "num_tags": 2, "max_boxes": 1}
KINDS = {
    LossBalancer: "losses",
    GradientBalancer: "gradients",
    JacobianBalancer: "gradients, by entry",
}
CITATION = r"\s*\([^()]*(?:19|20)\d\d[^()]*\)"  # which has a column of its own


def rows(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown.

    Args:
        header: The first line.
        lines: The others, of as many cells.
    """
    table = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in table)


def first_line(thing: object) -> str:
    """What a docstring says first, without citation and full stop.

    Args:
        thing: A class or a module.
    """
    text = inspect.getdoc(thing).split("\n\n")[0]
    return re.sub(CITATION, "", " ".join(text.split())).removesuffix(".").replace("|", "∣")


def paper_of(name: str) -> str:
    """The first paper that a class cites, as a link.

    Args:
        name: The name of the class.
    """
    found = cited_by(name)
    return f"[{found[0].short}]({found[0].address})" if found else "–"


def balancers() -> str:
    """Every balancer: its class, its name, what it weighs, what it can."""
    names = {type(balancing.get(name)).__name__: name for name in balancing.names()}
    classes = [getattr(mtlzoo, name) for name in sorted(_public("balancing"), key=str.lower)]
    order = [*KINDS, Balancer]
    classes.sort(key=lambda cls: order.index(_kind(cls)))
    return rows(
        ("balancer, name", "what it does", "weighs", "features level", "corrects scales", "paper"),
        (
            (
                " ".join(f"`{name}`" for name in (cls.__name__, names.get(cls.__name__)) if name),
                first_line(cls),
                KINDS.get(_kind(cls), "as its parts"),
                _features(cls),
                _scales(cls, names.get(cls.__name__)),
                paper_of(cls.__name__),
            )
            for cls in classes
        ),
    )


def _public(room: str) -> list[str]:
    return [name for name, where in mtlzoo._WHERE.items() if where == room]


def _kind(cls: type) -> type:
    if cls.__name__ in MADE_OF_OTHERS:
        return Balancer
    # A method of both losses and gradients counts by its gradients.
    part = cls if issubclass(cls, tuple(KINDS)) else type(cls().gradient_part)
    return next(kind for kind in KINDS if issubclass(part, kind))


def _features(cls: type) -> str:
    if _kind(cls) is LossBalancer:
        return "–"
    if _kind(cls) is Balancer:
        return "as its parts"
    if "wrt" not in inspect.signature(cls).parameters and not issubclass(cls, GradientBalancer):
        return "no"
    try:
        cls(**ASKED_FOR.get(cls.__name__, {}), wrt="features")
    except ValueError:
        return "no"
    return "yes"


def _scales(cls: type, name: str | None) -> str:
    if _kind(cls) is Balancer:
        return "as its parts"
    return "yes" if name in registry.CORRECTS_SCALE else "no"


def architectures() -> str:
    """Every architecture: what it is, and its paper."""
    names = [name for name in _public("models") if name != "MultiTaskModel"]
    return rows(
        ("model", "what it is", "paper"),
        ((f"`{name}`", first_line(getattr(mtlzoo, name)), paper_of(name)) for name in names),
    )


def tasks() -> str:
    """Every kind of task, with its missing label and the metric that decides."""
    kinds = [getattr(mtlzoo, name) for name in _public("tasks") if name != "Task"]
    return rows(
        ("task", "what it is", "missing", "deciding metric", "all metrics"),
        (_task(kind) for kind in kinds),
    )


def _task(kind: type) -> tuple[str, ...]:
    wanted = inspect.signature(kind).parameters
    given = {
        name: value
        for name, value in TASK_ARGUMENTS.items()
        if name in wanted and wanted[name].default is inspect.Parameter.empty
    }
    task = kind("task", **given)
    missing = "NaN" if task.missing != task.missing else str(task.missing).replace("-", "−")
    better = {"max": "higher", "min": "lower"}[task.mode]
    metrics = ", ".join(f"`{metric.name}`" for metric in task.default_metrics())
    decides = f"`{task.monitor}`, {better} is better"
    return f"`{kind.__name__}`", first_line(kind), missing, decides, metrics


def backbones() -> str:
    """Every backbone: what it is, and its paper."""
    room = mtlzoo.backbones
    names = sorted(name for name in room.__all__ if name != "Backbone")
    return rows(
        ("backbone", "what it is", "paper"),
        ((f"`{name}`", first_line(getattr(room, name)), paper_of(name)) for name in names),
    )


def data_sets() -> str:
    """Every data set that has a name."""
    modules = {name: loading.module(name) for name in loading.names()}
    return rows(
        ("name", "what it is"), ((f"`{name}`", first_line(m)) for name, m in modules.items())
    )


def presets() -> str:
    """The trained presets of the package, a line each."""
    return shipped.table(trained=True)


def preset_configurations() -> str:
    """The presets without weights."""
    return shipped.table(trained=False)


def preset_tasks() -> str:
    """The trained presets task by task."""
    return preset_report.task_table([shipped.card(name) for name in shipped.names(trained=True)])


def bibliography() -> str:
    """Every paper that a docstring cites, by the first author."""
    ordered = sorted(papers(), key=lambda p: (p.first_author.lower(), p.year, p.title))
    return rows(("who", "paper", "where", "cited by"), (_entry(paper) for paper in ordered))


def _entry(paper: Paper) -> tuple[str, ...]:
    cells = paper.authors, f"[{paper.title}]({paper.address})", paper.venue_and_year
    return (*cells, ", ".join(f"`{place.strip('_')}`" for place in places(paper)))


TABLES: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        *(balancers, architectures, tasks, backbones, data_sets, bibliography),
        *(presets, preset_configurations, preset_tasks),
    )
}
