"""Tables of recipes: mean ± standard deviation over seeds, in columns."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlzoo.metrics import delta_m
from mtlzoo.tasks import Task

if TYPE_CHECKING:
    from recipes.parts.comparison import Result

SINGLE = "single tasks"


def summarize(results: Mapping[str, "Sequence[Result]"], tasks: Sequence[Task]) -> dict[str, dict]:
    """By model the mean and the standard deviation over seeds of every deciding metric, and of
    `delta_m` against the single tasks of the same seed, if those are among the models.
    """
    report = {}
    for name, runs in results.items():
        metrics = {
            f"{task.name}, {task.monitor}": spread([run.test[task.name] for run in runs])
            for task in tasks
        }
        if SINGLE in results and name != SINGLE:
            pairs = zip(runs, results[SINGLE], strict=True)
            metrics["delta_m, %"] = spread([_gain(r.test, s.test, tasks) for r, s in pairs])
        report[name] = {
            "metrics": metrics,
            "parameters": runs[0].parameters,
            "seconds": float(np.mean([run.seconds for run in runs])),
            "seconds_of_seeds": [run.seconds for run in runs],
            "epochs": [run.epoch for run in runs],
        }
    return report


def _gain(results: dict, baselines: dict, tasks: Sequence[Task]) -> float:
    # After a training too short to find anything a baseline is 0, and no relative gain exists.
    return delta_m(results, baselines, tasks) if all(baselines.values()) else math.nan


def spread(values: Sequence[float]) -> dict:
    """The mean, the standard deviation (`None` of one value), and the values."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std, "values": [float(v) for v in values]}


def print_table(report: Mapping[str, dict], than: str | None = None) -> None:
    """Print a line for each model: mean ± standard deviation over seeds, parameters, time.

    Args:
        report: as of `summarize`.
        than: the model whose time is the unit of one more column, of medians over seeds, since
            another job may have held one training up; `None` for no such column.
    """
    times = {name: float(np.median(row["seconds_of_seeds"])) for name, row in report.items()}
    columns = list(dict.fromkeys(c for found in report.values() for c in found["metrics"]))
    rows = [["", *columns, "parameters", "training, s"]]
    if than is not None:
        rows[0].append(f"time, {than} = 1")
    for name, found in report.items():
        cells = [text(found["metrics"].get(column)) for column in columns]
        rows.append([name, *cells, f"{found['parameters']:,}", f"{found['seconds']:.0f}"])
        if than is not None:
            rows[-1].append(f"{times[name] / times[than]:.2f}")
    print()
    print_aligned(rows)


def print_metrics(report: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a line for each metric and a column for each model, of one training each.

    Args:
        report: by model its `metrics`, `parameters` and `seconds`.
    """
    rows = [["", *report]]
    for metric in next(iter(report.values()))["metrics"]:
        rows.append([metric, *(f"{found['metrics'][metric]:.4f}" for found in report.values())])
    rows.append(["parameters", *(f"{found['parameters']:,}" for found in report.values())])
    rows.append(["training, s", *(f"{found['seconds']:.0f}" for found in report.values())])
    print()
    print_aligned(rows)


def text(found: Mapping[str, Any] | None, digits: int = 4, sign: str = "") -> str:
    """What `spread` gives, as the cell of a table: mean ± standard deviation, or a dash for `None`.

    Args:
        found: the spread.
        digits: after the point.
        sign: `"+"` for a mean that always has its sign.
    """
    if found is None:
        return "-"
    mean = f"{found['mean']:{sign}.{digits}f}"
    return mean if found["std"] is None else f"{mean} ± {found['std']:.{digits}f}"


def print_spreads(
    corner: str,
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    digits: int = 4,
    factor: float = 1.0,
) -> None:
    """Print the mean and the standard deviation over seeds of several numbers for each row.

    Args:
        corner: what stands above the names of the rows.
        rows: by name, by column, the values of the seeds.
        digits: after the point.
        factor: what the values are multiplied with: 100 for percent.
    """
    columns = list(next(iter(rows.values())))
    table = [[corner, *columns]]
    for name, found in rows.items():
        spreads = [spread(factor * np.array(found[column])) for column in columns]
        table.append([name, *(text(each, digits) for each in spreads)])
    print_aligned(table)


def print_aligned(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text in columns, the first to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for i, (first, *others) in enumerate(rows):
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip())
        if i == 0:
            print("-" * (sum(widths) + 2 * (len(widths) - 1)))
