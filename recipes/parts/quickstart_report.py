"""What the quickstart prints."""

from pathlib import Path

import tensorflow as tf

from mtlzoo import data
from mtlzoo.data.census_income import raw_rows
from mtlzoo.data.census_income.columns import EDUCATION_GROUPS
from recipes.parts.tables import print_aligned

SINGLE, HARD, GATED = "single-task", "hard sharing", "MMoE"
SERVED_ROWS = 6


def print_table(report: dict[str, dict]) -> None:
    """Print the comparison, and what it says in words."""
    columns = list(report.values())
    single, tasks = report[SINGLE], list(report[SINGLE]["test"])
    rows = [["", *report]]
    for task in tasks:
        label = f"{task}, {single['metric'][task]}"
        rows.append([label, *(f"{c['test'][task]:.4f}" for c in columns)])
    rows.append(["delta_m, %", "-", *(f"{c['delta_m']:+.2f}" for c in columns[1:])])
    rows.append(["parameters", *(f"{c['parameters']:,}" for c in columns)])
    rows.append(["training time, s", *(f"{c['seconds']:.1f}" for c in columns)])
    rows.append(["epoch kept", *(kept(c["best_epoch"]) for c in columns)])

    print("\nOn the test data (single-task: one network for each task, parameters and time summed)")
    print_aligned(rows)
    print()
    for name in (HARD, GATED):
        print(in_words(name, report[name], single))
    print("This is one seed: see others (--seed=1) before trusting a few tenths of a percent.")


def in_words(name: str, result: dict, single: dict) -> str:
    """What the numbers of one multi-task model say, also where they are against it."""
    gain, tasks = result["delta_m"], list(single["test"])
    better = [task for task in tasks if result["test"][task] > single["test"][task]]
    verdict = "beats" if gain > 0 else "does not beat"
    return (
        f"{name} {verdict} the single-task models: {gain:+.2f} % on average, better on "
        f"{len(better)} of {len(tasks)} tasks ({', '.join(better) or 'none'}), with "
        f"{result['parameters'] / single['parameters']:.0%} of their parameters."
    )


def kept(epochs: dict[str, int]) -> str:
    """The epochs of the tasks, or the one that they share."""
    values = list(epochs.values())
    return str(values[0]) if len(set(values)) == 1 else " / ".join(map(str, values))


def answer_raw_rows(path: Path, census: data.Loaded) -> None:
    """Let the SavedModel, loaded by TensorFlow alone, answer raw rows of the test data."""
    served = tf.saved_model.load(path)
    rows = raw_rows(SERVED_ROWS, split="test")
    answers = served.signatures["serve"](**{name: tf.constant(v) for name, v in rows.items()})
    truth = [y for _, y, _ in census.test.unbatch().take(SERVED_ROWS)]

    groups = list(EDUCATION_GROUPS)
    table = [["age", "income > 50K", "truth", "never married", "truth", "education", "truth"]]
    for i, y in enumerate(truth):
        row = [f"{rows['age'][i]:.0f}"]
        for task in ("income", "never_married"):
            row += [f"{answers[task][i, 0]:.3f}", "yes" if y[task] else "no"]
        row += [groups[answers["education_class"][i]], groups[int(y["education"])]]
        table.append(row)
    print(f"\nThe SavedModel answers the first {SERVED_ROWS} raw rows of the test data:")
    print_aligned(table)
