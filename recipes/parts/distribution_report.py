"""How far the same job on several devices or processes ends from that on one."""

import numpy as np

from recipes.parts.tables import print_aligned


def compare(found: dict[str, dict]) -> dict[str, dict]:
    """By job what ran, and how far it is from the first, that on one device.

    Args:
        found: by job, what `read` gives.
    """
    report = {}
    one = next(iter(found.values()))
    for job, each in found.items():
        losses = [np.subtract(each["losses"][key], values) for key, values in one["losses"].items()]
        weights = [a - b for a, b in zip(each["weights"], one["weights"], strict=True)]
        report[job] = {
            **{key: each[key] for key in ("strategy", "replicas", "step, ms")},
            "loss": each["losses"]["loss"][-1],
            "difference of weights": max(float(np.abs(d).max()) for d in weights),
            "difference of losses": max(float(np.abs(d).max()) for d in losses),
        }
    return report


def print_table(report: dict[str, dict]) -> None:
    """Print a line for each job."""
    columns = {
        "strategy": "{strategy}",
        "replicas": "{replicas}",
        "last loss": "{loss:.6f}",
        "max |dw|": "{difference of weights:.1e}",
        "max |d loss|": "{difference of losses:.1e}",
        "ms per step": "{step, ms:.1f}",
    }
    rows = [["", *columns]]
    for name, each in report.items():
        rows.append([name, *(form.format(**each) for form in columns.values())])
    print()
    print_aligned(rows)
    print("\nmax: the largest difference from one device, of any weight and of any logged loss")
