"""The tables of the recipe on explanations."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtlzoo import analysis
from recipes.parts.tables import print_aligned

WORDS = 8  # that are listed
TIMES = 3  # a word that is listed is in as many captions


def print_shares(
    shares: Mapping[str, Mapping[str, list[float]]], alike: Mapping[str, float]
) -> None:
    """Print where the attributions of both tasks lie.

    Args:
        shares: by method and task, the share in the right half of each picture.
        alike: by method, how alike the maps of the two tasks are.
    """
    rows = [["share in the right half, %", "left", "right", "right > left", "empty", "alike"]]
    for method, of_task in shares.items():
        left, right = (np.array(of_task[task]) for task in ("left", "right"))
        known = np.isfinite(left) & np.isfinite(right)
        more = 100 * np.mean(right[known] > left[known]) if known.any() else np.nan
        numbers = [f"{100 * np.nanmean(v):.1f} ± {100 * error(v):.1f}" for v in (left, right)]
        same = method not in alike
        known_of = ["" if same else f"{more:.0f}", str(int((~known).sum()))]
        rows.append([method, *numbers, *known_of, "" if same else f"{alike[method]:.2f}"])
    print()
    print_aligned(rows)


def print_tests(tests: Mapping[str, Mapping[str, analysis.RandomizationTest]]) -> None:
    """Print how alike the maps are to those of randomized weights."""
    tasks = list(next(iter(tests.values())))
    rows = [["rank correlation after randomizing", *tasks, "depends on the weights"]]
    for method, of_task in tests.items():
        numbers = [f"{of_task[task].means[-1]:.2f}" for task in tasks]
        verdicts = {test.depends for test in of_task.values()}
        rows.append([method, *numbers, "yes" if verdicts == {True} else "no or unclear"])
    print()
    print_aligned(rows)


def error(values: Any) -> float:
    """The standard error of a mean."""
    known = np.asarray(values)[np.isfinite(values)]
    return float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else float("nan")


def spreads(values: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Means and their standard errors."""
    return {
        key: {
            name: {"mean": float(np.nanmean(v)), "standard_error": error(v)}
            for name, v in of.items()
        }
        for key, of in values.items()
    }


def print_modalities(shares: Mapping, lost: Mapping) -> None:
    """Print each modality's share of the attribution beside what is lost without it."""
    names = list(next(iter(shares.values())))
    rows = [["", *(f"{m}, %" for m in names), *(f"lost without {m}" for m in names)]]
    for task, of_modality in shares.items():
        means = [f"{100 * np.nanmean(v):.0f} ± {100 * error(v):.0f}" for v in of_modality.values()]
        rows.append([task, *means, *(f"{lost[task][m]:+.3f}" for m in names)])
    print()
    print_aligned(rows)


def print_words(found: list[tuple[str, int, float]]) -> None:
    """Print words as `ranked_words` gives them."""
    rows = [["word", "captions", "mean attribution to `has_sound`"]]
    print()
    print_aligned(rows + [[word, str(n), f"{mean:+.2f}"] for word, n, mean in found])


def ranked_words(words: list[list[str]], values: np.ndarray) -> list[tuple[str, int, float]]:
    """The words that several captions have, with their number and mean attribution, best first."""
    of_word: dict[str, list[float]] = {}
    for row, attributions in zip(words, values, strict=True):
        for word, value in zip(row, attributions, strict=False):
            of_word.setdefault(word, []).append(float(value))
    found = [(w, len(v), float(np.mean(v))) for w, v in of_word.items() if len(v) >= TIMES]
    found = sorted(found, key=lambda word: -word[2])
    return found[:WORDS] + found[max(WORDS, len(found) - WORDS) :]
