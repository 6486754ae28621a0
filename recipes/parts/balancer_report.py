"""What recipes that compare balancers print, draw and conclude."""

import math
import pathlib
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from recipes.parts import balancer_pictures, tables
from recipes.parts.balancers import EQUAL, TUNED, Found
from recipes.parts.tables import SINGLE


def compare(out: pathlib.Path, found: Found) -> dict[str, dict]:
    """Print and draw what was found.

    Args:
        out: the folder for `balancers.png`.
        found: the results of `train_all`.

    Returns:
        By row of the table, or refused balancer, what belongs into `results.json`.
    """
    report = tables.summarize(found.results, found.tasks)
    for reference in (EQUAL, TUNED):
        for name, gain in gains_over(report, reference).items():
            report[name][f"delta_m over {reference}, %"] = gain
    tables.print_table(report, than=EQUAL)
    choices, seeds = len(found.validation), len(found.results[EQUAL])
    report[TUNED] |= {
        "loss_weights": found.tuned,
        "trainings": (choices - 1) * seeds,
        "validation": [
            {"loss_weights": weights, "score": tables.spread(scores)}
            for weights, scores in found.validation
        ],
    }
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in found.tuned.items())
    print(
        f"\n{TUNED}: {weights}; the best of {choices} by the validation data, which took "
        f"{report[TUNED]['trainings']} trainings beside those of {EQUAL}"
    )
    if found.results[TUNED] is found.results[EQUAL]:
        print(f"That is {EQUAL}: both rows are the same trainings.")
    for line in conclusion(report):
        print(textwrap.fill(line, 100, subsequent_indent=6 * " ", break_on_hyphens=False))
    if found.refused:
        print("\nRefused by the architecture:")
    for name, reason in found.refused.items():
        print(f"  {name}: {reason}")
    balancer_pictures.gains(
        out / "balancers.png",
        {name: row["metrics"]["delta_m, %"] for name, row in report.items() if name != SINGLE},
        [EQUAL, TUNED],
    )
    return {**report, **{name: {"refused": reason} for name, reason in found.refused.items()}}


def gains_over(report: Mapping[str, Mapping], reference: str) -> dict[str, dict]:
    """By other row the mean over seeds of `delta_m` beyond that of the reference in the same seed,
    with its standard error (`None` of one seed).

    Args:
        report: as of `recipes.parts.tables.summarize`.
        reference: one of its rows.
    """
    values = {
        name: np.array(row["metrics"]["delta_m, %"]["values"])
        for name, row in report.items()
        if name != SINGLE
    }
    found = {}
    for name, own in values.items():
        if name != reference:
            spread = tables.spread(own - values[reference])
            error = None if spread["std"] is None else spread["std"] / math.sqrt(len(own))
            found[name] = {"mean": spread["mean"], "standard_error": error}
    return found


def conclusion(report: Mapping[str, Mapping]) -> list[str]:
    """Lines that say which rows beat `equal` and the tuned weights by more than two standard
    errors, and which lose so.

    Args:
        report: as of `recipes.parts.tables.summarize`.
    """
    seeds = len(report[EQUAL]["metrics"]["delta_m, %"]["values"])
    if seeds == 1:
        return ["", "One seed has no standard error: it does not say which balancer is better."]
    lines = []
    for reference in (EQUAL, TUNED):
        found = gains_over(report, reference)
        better, worse, neither, unknown = [], [], [], []
        for name, gain in sorted(found.items(), key=lambda item: -item[1]["mean"]):
            mean, error = gain["mean"], gain["standard_error"]
            if math.isnan(mean):
                unknown.append(name)
            elif abs(mean) > 2 * error:
                (better if mean > 0 else worse).append(f"{name} ({mean:+.4f} ± {error:.4f})")
            else:
                neither.append(name)
        lines += [
            "",
            f"delta_m beyond that of {reference} in the same {seeds} seeds, mean ± standard error:",
            f"  better by more than two standard errors: {_listed(better)}",
            f"  worse by more than two standard errors: {_listed(worse)}",
            f"  neither: {_listed(neither)}",
        ]
        if unknown:
            lines.append(f"  unknown, since a single task found nothing: {_listed(unknown)}")
        lucky = len(found) * chance(seeds)
        lines.append(
            f"  were all alike, about {lucky:.1f} of {len(found)} would seem better by chance, and "
            "as many worse"
        )
    return lines


def _listed(names: Sequence[str]) -> str:
    return "; ".join(names) or "none"


def chance(seeds: int) -> float:
    """How likely the mean of so many normal numbers lies above its true value by more than two
    standard errors: one tail of Student's t distribution.

    Args:
        seeds: how many, at least 2.
    """
    free = seeds - 1.0
    return float(tf.math.betainc(free / 2, 0.5, free / (free + 4.0))) / 2
