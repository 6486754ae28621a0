"""Where do balancing methods end between two objectives? The toy problem of CAGrad's paper.

    python -m recipes.toy_objectives --out=runs/toy_objectives

Moves a point in the plane by every method of `mtlzoo.balancing.names()` that needs no more than two
losses and their gradients, with Adam, from the starting points of two protocols: "k1" of CAGrad,
with equal scales of the losses, and "k01" of Nash-MTL and FAMO, where the first loss is ten times
smaller. Prints where each method ends, how far from the Pareto front that is and whether it is
stuck there, and draws a picture of the paths for each protocol.

Liu et al., *Conflict-Averse Gradient Descent for Multi-task Learning*, NeurIPS 2021; Navon et al.,
*Multi-Task Learning as a Bargaining Game*, ICML 2022; Liu et al., *FAMO: Fast Adaptive Multitask
Optimization*, NeurIPS 2023. Formulas, starting points, steps and learning rate are the papers'.
"""

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from absl import app, flags

from mtlzoo import balancing
from recipes.parts import job, toy_pictures
from recipes.parts.toy_problem import PROTOCOLS, Front, Protocol
from recipes.parts.toy_report import ends, print_report
from recipes.parts.toy_walk import Walk

FLAGS = job.define_flags(
    out="runs/toy_objectives", steps=(None, "Steps, where not the protocol's.")
)
flags.DEFINE_enum("protocol", "both", ["k1", "k01", "both"], "Which to run.")
flags.DEFINE_list("balancer", ["all"], "Methods by name, with commas; or all.")

# What there is to give to a method: one batch, of two losses, without noise and without rows.
GIVEN = frozenset({"losses", "gramian", "jacobian", "second_forward"})


def main(_) -> None:
    out = job.begin()
    names = balancing.names() if FLAGS.balancer == ["all"] else FLAGS.balancer
    report: dict[str, Any] = {}
    for key in PROTOCOLS if FLAGS.protocol == "both" else [FLAGS.protocol]:
        protocol = PROTOCOLS[key]
        steps = FLAGS.steps or protocol.steps
        paths, left_out, seconds = walk_all(names, protocol, steps)
        front = Front(protocol.scale)
        report[key] = {
            "steps": steps,
            "front": front.describe(),
            "ends": {name: ends(path, protocol, front) for name, path in paths.items()},
            "left_out": left_out,
            "seconds": seconds,
        }
        print_report(key, report[key])
        toy_pictures.draw(out / f"{key}.png", key, paths, front, report[key]["ends"])
    job.end(out, report, *(f"{key}.png" for key in report))


def walk_all(
    names: Iterable[str], protocol: Protocol, steps: int
) -> tuple[dict[str, np.ndarray], dict[str, str], float]:
    """The paths of all methods by name, why others were left out, and the seconds it took."""
    paths, left_out = {}, {}
    started = time.perf_counter()
    for name in names:
        reason = why_not(balancing.get(name))
        if reason:
            left_out[name] = reason
            continue
        begun = time.perf_counter()
        paths[name] = Walk(name, protocol).path(steps)
        print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)
    return paths, left_out, time.perf_counter() - started


def why_not(balancer: balancing.Balancer) -> str:
    """Why a method cannot be used here, or nothing."""
    reasons = {
        "n_batches": "compares parts of a batch, and there is no batch",
        "holdout": "learns from held-out rows, and there are no rows",
    }
    missing = sorted(balancer.needs - GIVEN)
    return "; ".join(reasons.get(need, f"needs {need!r}") for need in missing)


if __name__ == "__main__":
    app.run(main)
