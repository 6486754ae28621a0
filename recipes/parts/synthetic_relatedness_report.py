"""What the synthetic experiment found: final losses, and whether the paper's orderings appear."""

from collections.abc import Mapping

import numpy as np

from recipes.parts.tables import print_aligned

#: By model and p, the test losses `(seeds, epochs)`.
Curves = Mapping[tuple[str, float], np.ndarray]


def final_losses(curves: Curves) -> dict:
    """By model and p, the last loss of each seed."""
    return {key: runs[:, -1] for key, runs in curves.items()}


def summarize(curves: Curves) -> dict:
    """The mean and the spread over seeds of the final losses, and the paper's orderings."""
    finals = final_losses(curves)
    low, high = _ends(curves)
    bottom, one, many = (
        {p: finals[name, p] for p in (low, high)} for name in ("shared bottom", "OMoE", "MMoE")
    )
    orderings = {
        f"MMoE <= OMoE at p={low}": _paired(one[low] - many[low]),
        f"OMoE < shared bottom at p={low}": _paired(bottom[low] - one[low]),
        f"MMoE changes less from p={high} to p={low} than shared bottom": _paired(
            (bottom[low] - bottom[high]) - (many[low] - many[high])
        ),
        f"shared bottom spreads more over seeds than MMoE at p={low}": {
            "holds": "yes" if bottom[low].std() > many[low].std() else "no",
            "std": [float(bottom[low].std(ddof=1)), float(many[low].std(ddof=1))],
        },
    }
    return {"final": _means(finals), "orderings": orderings}


def _ends(curves: Curves) -> tuple[float, float]:
    """The lowest and the highest p."""
    ps = [p for _, p in curves]
    return min(ps), max(ps)


def _means(finals: dict[tuple[str, float], np.ndarray]) -> dict[str, dict]:
    """By model and p, mean and standard deviation over the seeds."""
    found: dict[str, dict] = {}
    for (name, p), values in finals.items():
        spread = {"mean": float(values.mean()), "std": float(values.std(ddof=1))}
        found.setdefault(name, {})[str(p)] = spread
    return found


def _paired(differences: np.ndarray) -> dict:
    """The mean of differences seed by seed, and whether it is above two standard errors."""
    error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    mean = float(differences.mean())
    holds = "even" if abs(mean) <= 2 * error else "yes" if mean > 0 else "no"
    return {"holds": holds, "mean": mean, "standard_error": error}


def compare_bottoms(curves: Curves) -> dict:
    """Print by how much a lower p raises the loss of each shared bottom.

    Returns:
        The final losses, and the differences.
    """
    finals = final_losses(curves)
    means = _means(finals)
    print()
    print_aligned(_rows(means))
    print()
    low, high = _ends(curves)
    report = {}
    for name in means:
        report[name] = _paired(finals[name, low] - finals[name, high])
        print(f"{name}, loss at p={low} less that at p={high}: {_as_text(report[name])}")
    return {"final": means, "differences": report}


def _rows(means: dict[str, dict]) -> list[list[str]]:
    """A table of final losses."""
    ps = list(next(iter(means.values())))
    rows = [["final test loss, mean ± std", *(f"p = {p}" for p in ps)]]
    for name, spreads in means.items():
        rows.append([name, *(f"{spreads[p]['mean']:.3f} ± {spreads[p]['std']:.3f}" for p in ps)])
    return rows


def _as_text(paired: dict) -> str:
    """A mean difference with its standard error."""
    return f"{paired['mean']:+.4f} ± {paired['standard_error']:.4f}, paired over seeds"


def print_table(report: dict) -> None:
    """Print the final losses, and the orderings one by one."""
    head, *rows = _rows(report["final"])
    counts = [f"{count:,}" for count in report["parameters"].values()]
    print()
    print_aligned([[*head, "parameters"], *([*r, n] for r, n in zip(rows, counts, strict=True))])
    print()
    for ordering, found in report["orderings"].items():
        if "mean" in found:
            numbers = _as_text(found)
        else:
            numbers = "standard deviations {:.4f} and {:.4f}".format(*found["std"])
        print(f"{found['holds']:<5} {ordering}: {numbers}")
