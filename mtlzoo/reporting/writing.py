"""`report`: training runs as one page of HTML; and the data that is read from it again."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlzoo.analysis import Finding
from mtlzoo.analysis.phrases import listed
from mtlzoo.reporting import findings as found_by_analyses
from mtlzoo.reporting.costs import costs
from mtlzoo.reporting.curves import curves
from mtlzoo.reporting.gains import Baseline, Gains, check_baseline, gains
from mtlzoo.reporting.judgments import judgments
from mtlzoo.reporting.markup import Html, join, tag
from mtlzoo.reporting.page import DATA_ID, page
from mtlzoo.reporting.provenance import in_data, limits, provenance
from mtlzoo.reporting.results import against_baseline, in_words, results, tasks_of
from mtlzoo.reporting.run import Run


def report(
    path: str | os.PathLike,
    runs: Sequence[Run],
    *,
    baseline: Baseline | None = None,
    findings: Sequence[Finding] = (),
    title: str = "Training report",
    words: str = "",
    class_names: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write one HTML page about training runs that needs nothing from the network.

    It has each task's curves and metrics with confidence intervals, confusion matrices and
    calibration, gains over a baseline, parameters and speed, what analyses found, the commands,
    seeds and settings of the runs, and what the numbers cannot say. It has no program in it, and
    runs of the same numbers give the same file. The numbers are in it once more as JSON, which
    `reporting.read` gives back.

    Args:
        path: The file to write; its folder is made.
        runs: The runs, a `reporting.Run` each, with different names. They must have been given a
            training at least.
        baseline: What gains are measured against, with each task of the runs: a run, such as one of
            single-task models, or a dict of the deciding metric by task. Defaults to `None`.
        findings: What analyses found, in the order of the page. Defaults to none.
        title: The headline. Defaults to `"Training report"`.
        words: What the runs are about, in paragraphs of text. Defaults to `""`.
        class_names: By task the names of its classes, in the order of their ids. Defaults to
            `None`, which shows the ids.

    Returns:
        The path of the file.

    Raises:
        ValueError: If there are no runs, a run has no training, two have one name, the baseline
            lacks a task or has another one, or an argument is none of what it should be.
        ImportError: If the picture of a finding needs a package that is not installed.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression, report
    from mtlzoo.reporting import Run

    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=[8])
    model.compile("adam")
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = {"a": x[:, 0], "b": x[:, 1]}
    run = Run("hard sharing")
    run.add(model, model.fit(x, y, verbose=0), (x, y))
    report("report.html", [run], baseline={"a": 1.0, "b": 1.0}, title="Two columns")
    ```
    """
    runs = _check_runs(runs)
    found = found_by_analyses.check(findings)
    for argument, text in (("title", title), ("words", words)):
        if not isinstance(text, str):
            raise ValueError(f"`{argument}` should be text. Received: {argument}={text!r}")
    names = _check_class_names(class_names, runs)
    file = _check_path(path)
    compared: dict[str, Gains | None] = {}
    than = "the given baseline"
    if baseline is not None:
        check_baseline(runs, baseline)
        compared = {run.name: gains(run, baseline) for run in runs if run is not baseline}
        if isinstance(baseline, Run):
            than = baseline.name
            if baseline not in runs:
                runs = _check_runs([baseline, *runs])
    said = [*in_words(runs, compared, than)]
    gained = against_baseline(runs, compared, baseline, than) if baseline is not None else Html("")
    of_limits = limits(runs, compared, baseline)
    sections = [
        ("What it says", _list(said)),
        ("Results on test data", results(runs)),
        ("Against the baseline", gained),
        ("Training curves", curves(runs)),
        ("Confusion and calibration", judgments(runs, names)),
        ("Parameters and speed", costs(runs, baseline if isinstance(baseline, Run) else None)),
        (
            "Findings",
            join([found_by_analyses.section(f, f"finding-{i}") for i, f in enumerate(found)]),
        ),
        ("How it was made", provenance(runs)),
        ("Limits", _list(of_limits)),
    ]
    data = {
        "title": title,
        "runs": in_data(runs),
        "delta_m": {
            name: gain.whole._asdict() if gain else None for name, gain in compared.items()
        },
        "findings": found_by_analyses.in_data(found),
        "says": said,
        "limits": of_limits,
    }
    text = page(title, _lead(runs, words), sections, data)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def read(path: str | os.PathLike) -> dict[str, Any]:
    """The numbers of a page that `report` wrote.

    Args:
        path: The file.

    Returns:
        A dict with `title`, `runs`, `delta_m` by run, `findings`, `says` and `limits`. Numbers that
        are not known are `None`.

    Raises:
        ValueError: If the file is no such page.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression, report
    from mtlzoo.reporting import Run, read

    model = HardSharing(keras.Input((4,)), [Regression("a")], shared_units=[8])
    model.compile("adam")
    x = np.ones((16, 4), "float32")
    run = Run("alone")
    run.add(model, model.fit(x, {"a": x[:, 0]}, verbose=0), (x, {"a": x[:, 0]}), seed=0)
    report("report.html", [run])
    read("report.html")["runs"][0]["metrics"]["a"]["rmse"]["value"]  # a number
    ```
    """
    text = Path(path).read_text(encoding="utf-8")
    held = re.search(rf'<script type="application/json" id="{DATA_ID}">(.*?)</script>', text, re.S)
    if held is None:
        raise ValueError(
            f"`path` should be a page that `mtlzoo.report` wrote. Received: path={str(path)!r}"
        )
    return json.loads(held[1])


def _lead(runs, words):
    trainings = sum(len(run.trainings) for run in runs)
    tasks = [
        f"{name} ({type(task).__name__}, by {task.monitor})"
        for name, task in tasks_of(runs).items()
    ]
    counted = f"{len(runs)} run{'s' * (len(runs) > 1)}, {trainings} training{'s' * (trainings > 1)}"
    lines = [line for line in words.splitlines() if line.strip()]
    return [tag("p", f"{counted}. Tasks: {listed(tasks)}."), *(tag("p", line) for line in lines)]


def _list(lines):
    return tag("ul", [tag("li", line) for line in lines], class_="plain") if lines else Html("")


def _check_runs(runs):
    if isinstance(runs, Run) or not isinstance(runs, list | tuple) or not runs:
        raise ValueError(f"`runs` should be a non-empty list of runs. Received: runs={runs!r}")
    for run in runs:
        if not isinstance(run, Run):
            raise ValueError(f"`runs` should hold `mtlzoo.reporting.Run`s only. Received: {run!r}")
        if not run.trainings:
            raise ValueError(
                f"The run {run.name!r} should have a training at least: give it one by `add`. "
                "Received: none"
            )
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise ValueError(f"`runs` should have different names. Received: {names}")
    return list(runs)


def _check_class_names(given, runs):
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f"`class_names` should be a dict by task. Received: class_names={given!r}")
    tasks = tasks_of(runs)
    for name, classes in given.items():
        if name not in tasks:
            raise ValueError(
                f"`class_names` should have only the tasks {list(tasks)} as keys. "
                f"Received: {name!r}"
            )
        count = getattr(tasks[name], "num_classes", 2)
        if not isinstance(classes, list | tuple) or len(classes) != count:
            raise ValueError(
                f"`class_names` should have a list of {count} names for task `{name}`. "
                f"Received: {classes!r}"
            )
        if not all(isinstance(each, str) for each in classes):
            raise ValueError(
                f"`class_names` should be text for task `{name}`. Received: {classes!r}"
            )
    return dict(given)


def _check_path(path):
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise ValueError(f"`path` should be that of a file. Received: path={path!r}")
    if Path(path).is_dir():
        raise ValueError(f"`path` should be a file, and not a folder. Received: path={str(path)!r}")
    return Path(path)
