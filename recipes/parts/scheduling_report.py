"""The tables of the recipe on task scheduling."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from recipes.parts.four_tasks import ROWS
from recipes.parts.tables import print_aligned, spread, text


def summarize(
    found: Mapping[str, list[dict]], costs: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """By policy the mean and the spread of each task's AUC, of their mean, and of its gain over the
    first policy in the same seed; the steps of each task, and what they cost.

    Args:
        found: by policy, of each seed what was measured.
        costs: by task that of a step.
    """
    report: dict[str, dict[str, Any]] = {}
    means = {
        name: np.array([np.mean(list(run["test"].values())) for run in runs])
        for name, runs in found.items()
    }
    reference = next(iter(means.values()))
    for name, runs in found.items():
        gains = means[name] - reference
        steps = {task: float(np.mean([run["steps"][task] for run in runs])) for task in ROWS}
        report[name] = {
            "auc": {t: spread([run["test"][t] for run in runs]) for t in ROWS},
            "mean": spread(means[name].tolist()),
            "gain": float(gains.mean()),
            "standard_error": float(gains.std(ddof=1) / np.sqrt(len(gains))),
            "steps": steps,
            "cost": sum(costs[task] * steps[task] for task in ROWS),
        }
    return report


def print_report(report: Mapping[str, Any]) -> None:
    """Print a table of the policies and one of early stopping, and when tasks were stopped."""
    for title in ("policies", "early stopping"):
        rows = [["test AUC", *ROWS, "mean", "gain ± error", "steps", "cost"]]
        for name, row in report[title].items():
            cells = [text(found, 3) for found in row["auc"].values()]
            gain = f"{row['gain']:+.4f} ± {row['standard_error']:.4f}"
            steps = "/".join(f"{n:.0f}" for n in row["steps"].values())
            mean = f"{row['mean']['mean']:.4f}"
            rows.append([name, *cells, mean, gain, steps, f"{row['cost']:.0f}"])
        print()
        print_aligned(rows)
    print(f"\nstopped after epoch, by seed: {report['stopped after epoch']}")
    print(f"own variables are those of the epoch, by seed: {report['taken']}")
