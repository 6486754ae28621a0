"""What `census_stream` prints and draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recipes.parts.plots import COLOURS, Figure
from recipes.parts.tables import print_aligned


def print_report(report: Mapping[str, Mapping], tasks: Sequence[str], good: float) -> None:
    """Print a table for each stream.

    Args:
        report: by stream, then by way, what was found with each seed.
        tasks: by which the AUC is shown.
        good: how close to the AUC of before a version is good again.
    """
    for name, ways in report.items():
        seeds = len(next(iter(ways.values())))
        print(f"\n{name}: mean over {seeds} seeds, and the standard deviation of AUCs")
        heads = [f"{task}, {when}" for task in tasks for when in ("all", "after")]
        heads += ["updates", "steps", "versions", "drifts"]
        heads += ["good after rows", "s", "lost", "total s"]
        rows = [["", *heads]]
        for way, found in ways.items():
            scores = []
            for task in tasks:
                scores.append(_spread([each["total"][task] for each in found]))
                scores.append(_spread([after(each, task) for each in found]))
            counts = [each["counts"] for each in found]
            numbers = [
                f"{np.mean([each[count] for each in counts]):.0f}"
                for count in ("updates", "steps", "published", "drifts")
            ]
            good_again = [each["recovered"] for each in found if each["recovered"]]
            again = ["", ""]
            if good_again:
                again = [
                    f"{np.mean([each['rows'] for each in good_again]):.0f}",
                    f"{np.mean([each['seconds'] for each in good_again]):.1f}",
                ]
                again[0] += f" ({len(good_again)} of {seeds})" if len(good_again) < seeds else ""
            lost = sum(each["lost"] for each in found)
            seconds = np.mean([each["seconds"] for each in found])
            rows.append([way, *scores, *numbers, *again, f"{lost}", f"{seconds:.0f}"])
        print_aligned(rows)
        _print_drifts(ways)
    print(
        f'"good": the first version after the change whose AUC of {tasks[0]}, on test rows as they'
    )
    print(f"are after it, is at most {good} below that of the first model on rows from before it")


def after(found: Mapping, task: str) -> float:
    """The mean prequential AUC of the windows after the first change."""
    rows, values = (np.array(part) for part in found["auc"][task])
    return float(np.mean(values[rows > found["change"]]))


def _print_drifts(ways: Mapping[str, Sequence[Mapping]]) -> None:
    """When each task's drift was found."""
    for way, found in ways.items():
        for seed, each in enumerate(found):
            if each["drifts"]:
                shown = ", ".join(f"{task} at {row}" for task, row in each["drifts"])
                print(f"drifts, {way}, seed {seed}: {shown}")


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.4f} ± {np.std(values):.4f}"


def draw(
    path: Path, report: Mapping[str, Mapping], marks: Mapping[str, Sequence[int]], tasks: Sequence
) -> None:
    """Draw the prequential AUC of each task over each stream.

    Args:
        path: the PNG file to write.
        report: by stream, then by way, what was found with each seed.
        marks: by stream the rows at which something changes.
        tasks: a column of panels for each.
    """
    size = (5.2 * len(tasks), 3.3 * len(report) + 0.6)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    panels = figure.subplots(len(report), len(tasks), squeeze=False)
    for line, (name, ways) in zip(panels, report.items(), strict=True):
        for panel, task in zip(line, tasks, strict=True):
            for colour, (way, found) in zip(COLOURS, ways.items(), strict=False):
                rows = np.array(found[0]["auc"][task][0])
                values = np.array([each["auc"][task][1] for each in found])
                panel.plot(rows, values.mean(0), color=colour, label=way, linewidth=1.6)
                panel.fill_between(
                    rows, values.min(0), values.max(0), color=colour, alpha=0.12, linewidth=0
                )
            for mark in marks[name]:
                panel.axvline(mark, color="grey", linestyle="--", linewidth=1)
            panel.set_title(f"{name}: {task}")
            panel.set_xlabel("rows of the stream")
            panel.set_ylabel("prequential AUC")
            panel.grid(alpha=0.3)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    seeds = len(next(iter(next(iter(report.values())).values())))
    figure.suptitle(
        f"AUC of each window before it is learned from: mean of {seeds} seeds, and their range"
    )
    figure.savefig(path)
