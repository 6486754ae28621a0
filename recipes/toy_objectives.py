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

import functools
import json
import math
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from mtlzoo import balancing
from recipes import plots
from recipes.toy_problem import PROTOCOLS, Front, Protocol, bounds, losses_of
from recipes.training import print_aligned

_OUT = flags.DEFINE_string("out", "runs/toy_objectives", "Folder to write to.")
_PROTOCOL = flags.DEFINE_enum("protocol", "both", ["k1", "k01", "both"], "Which to run.")
_STEPS = flags.DEFINE_integer("steps", None, "Steps, where not the protocol's.", lower_bound=1)
_BALANCER = flags.DEFINE_list("balancer", ["all"], "Methods by name, with commas; or all.")

LEARNING_RATE = 1e-3
# Where a path is looked at: often enough to draw it. Between two of them is an epoch, for methods
# that learn at the end of each.
LOOKS = 400
# Arguments that the papers give for this problem, where they are not the defaults.
ARGUMENTS: dict[str, dict[str, Any]] = {"cagrad": {"c": 0.5}, "famo": {"decay": 0.0}}
TASKS = [SimpleNamespace(name=name, loss_family="regression") for name in ("L1", "L2")]
# What there is to give to a method: one batch, of two losses, without noise and without rows.
GIVEN = frozenset({"losses", "gramian", "jacobian", "second_forward"})
# On the front is who is as near as this, in units of losses that go from -20 to -0.4 on it.
NEAR = 0.1
# Stuck is who is not, and moved less than this in the last tenth of the steps.
STILL = 0.1


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    names = balancing.names() if _BALANCER.value == ["all"] else _BALANCER.value
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {}
    for key in PROTOCOLS if _PROTOCOL.value == "both" else [_PROTOCOL.value]:
        protocol = PROTOCOLS[key]
        steps = _STEPS.value or protocol.steps
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
        draw(out / f"{key}.png", key, paths, front, report[key]["ends"])
    (out / "results.json").write_text(json.dumps(report, indent=2) + "\n")
    pictures = "".join(f"{key}.png, " for key in report)
    print(f"\nWritten to {out}: {pictures}results.json")


# --- Walk --------------------------------------------------------------------------------------


class Walk:
    """One method, from all starting points at once.

    A method of the Gramian takes all of them as a batch, with its state by start; of any other
    there is a balancer for each start. All of them see the losses above their bounds, Li - bi,
    which are positive: many divide by losses or take logarithms. The gradients are the same.

    Args:
        name: of the method.
        protocol: scale and starts.
    """

    def __init__(self, name: str, protocol: Protocol):
        self.scale = protocol.scale
        self.bounds = tf.constant(bounds(protocol.scale))
        self.x = keras.Variable(np.array(protocol.starts, "float32"), name="x")
        starts = range(len(protocol.starts))
        if takes_batches(balancer_of(name)):
            # Groups of variables are what leading axes are for in training.
            points = [keras.Variable(np.zeros(2), name=f"start_{i}") for i in starts]
            groups = {f"start {i}": [rf"start_{i}$"] for i in starts}
            self.balancers = {...: balancer_of(name, groups=groups)}
        else:
            points = [keras.Variable(np.zeros(2), name="x")]
            self.balancers = {i: balancer_of(name) for i in starts}
        for balancer in self.balancers.values():
            balancer.build(TASKS, points)
        self.trained = [v for b in self.balancers.values() for v in b.trainable_variables]
        # The epsilon is that of PyTorch, with which the papers' programs run.
        self.optimizer = keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-8)
        self.optimizer.build([self.x, *self.trained])

    @functools.cached_property
    def run(self):
        """Takes steps, as one program, and returns the mean losses `(starts, 2)` over them."""

        @tf.function(jit_compile=True, autograph=False)
        def run(steps):
            _, total = tf.while_loop(
                lambda done, total: done < steps,
                lambda done, total: (done + 1, total + self.step()),
                (0, tf.zeros(self.x.shape)),
            )
            return total / steps

        return run

    def step(self) -> Any:
        """Take one step, and return the losses before it."""
        with tf.GradientTape(persistent=True) as tape:
            x = tf.convert_to_tensor(self.x)
            tape.watch(x)
            first, second = tf.unstack(losses_of(x, self.scale), axis=-1)
        losses = tf.stack([first, second], axis=-1)
        # (starts, losses, coordinates); the starts do not depend on each other.
        rows = tf.stack([tape.gradient(first, x), tape.gradient(second, x)], axis=-2)
        above = losses - self.bounds

        updates, of_trained, learned = [], [], {}
        for which, balancer in self.balancers.items():
            update, own, learned[which] = balance(balancer, above[which], rows[which])
            updates.append(tf.reshape(update, (-1, 2)))
            of_trained += own
        self.optimizer.apply([tf.concat(updates, 0), *of_trained], [self.x, *self.trained])

        after = losses_of(tf.convert_to_tensor(self.x), self.scale) - self.bounds
        for which, balancer in self.balancers.items():
            remember(balancer, learned[which])
            balancer.step.assign(balancer.step + 1)
            if "second_forward" in balancer.needs:
                part = balancer.loss_part
                found = part.after_update(above[which], after[which])
                remember(balancer, balancer.named(part, found))
        return losses

    def end_epoch(self, losses: np.ndarray) -> None:
        """Give the mean losses `(starts, 2)` of an epoch to the methods that learn from them."""
        for which, balancer in self.balancers.items():
            above = (losses - np.array(self.bounds))[which]
            if above.ndim == 1:
                names = (f"{task.name}_loss" for task in TASKS)
                balancer.on_epoch_end(dict(zip(names, above.tolist(), strict=True)))

    def path(self, steps: int) -> np.ndarray:
        """Take steps; the points `(looks + 1, starts, 2)` on the way, the start included."""
        points = [keras.ops.convert_to_numpy(self.x)]
        every = max(1, steps // LOOKS)
        for done in range(0, steps, every):
            self.end_epoch(self.run(min(every, steps - done)).numpy())
            points.append(keras.ops.convert_to_numpy(self.x))
        return np.array(points)


def balancer_of(name: str, **arguments: Any) -> balancing.Balancer:
    """A new balancer, with the papers' arguments and these."""
    balancer = balancing.get(name)
    config = {**balancer.get_config(), **ARGUMENTS.get(name, {}), **arguments}
    return type(balancer).from_config(config)


def takes_batches(balancer: balancing.Balancer) -> bool:
    """Whether one balancer serves all starts."""
    learns_by_epoch = type(balancer).on_epoch_end is not balancing.Balancer.on_epoch_end
    return isinstance(balancer, balancing.GradientBalancer) and not learns_by_epoch


def balance(balancer: balancing.Balancer, losses: Any, rows: Any) -> tuple[Any, list[Any], dict]:
    """What a method makes of losses and gradients, as a training step would ask it.

    Args:
        balancer: the method.
        losses: `(2,)`, or `(starts, 2)` for methods that take batches.
        rows: `(2, 2)` or `(starts, 2, 2)`, the gradient of each loss.

    Returns:
        The update, the gradients of the balancer's trainable variables, and its new state.
    """
    own: list[Any] = []
    learned: dict[str, Any] = {}
    of_losses, of_gradients = balancer.loss_part, balancer.gradient_part
    if of_losses is not None:
        variables = [v.value for v in balancer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(losses)
            objective = of_losses.objective(losses)
        weights, *own = tape.gradient(
            objective,
            [losses, *variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        rows = weights[..., None] * rows
        learned = balancer.named(of_losses, of_losses.advance(losses))
    if of_gradients is None:
        return tf.reduce_sum(rows, -2), own, learned
    if isinstance(of_gradients, balancing.JacobianBalancer):
        (update,), found = of_gradients.advance([rows])
    else:
        gramian = tf.matmul(rows, rows, transpose_b=True)
        weights, found = of_gradients.advance(gramian, losses)
        update = tf.reduce_sum(weights[..., None] * rows, -2)
    return update, own, {**learned, **balancer.named(of_gradients, found)}


def remember(balancer: balancing.Balancer, values: Mapping[str, Any]) -> None:
    """Assign new values to a balancer's state."""
    for name, value in values.items():
        balancer.state[name].assign(value)


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


# --- Report ------------------------------------------------------------------------------------


def ends(path: np.ndarray, protocol: Protocol, front: Front) -> list[dict]:
    """For each start, where a path `(looks + 1, starts, 2)` ends."""
    losses = losses_of(tf.constant(path[-1], "float64"), protocol.scale).numpy()
    distances, places = front.nearest(losses)
    before = path[-1 - math.ceil((len(path) - 1) / 10)]
    moved = np.sqrt(((path[-1] - before) ** 2).sum(-1))
    return [
        {
            "start": list(start),
            "x": path[-1, i].tolist(),
            "L1": float(losses[i, 0]),
            "L2": float(losses[i, 1]),
            "mean": float(losses[i].mean()),
            "distance": float(distances[i]),
            "place": float(places[i]),
            "end": verdict(float(distances[i]), float(moved[i])),
        }
        for i, start in enumerate(protocol.starts)
    ]


def verdict(distance: float, moved: float) -> str:
    """Whether a path has come to the front, is stuck, or is still on its way."""
    if not (math.isfinite(distance) and math.isfinite(moved)):
        return "lost"
    if distance <= NEAR:
        return "front"
    return "stuck" if moved < STILL else "moving"


def point(x: Sequence[float]) -> str:
    """A point of the plane, in words."""
    return f"({x[0]:g}, {x[1]:g})".replace("-", "−")


def print_report(key: str, found: Mapping[str, Any]) -> None:
    """Print the front, where each path ended, and a line of it for each method."""
    print(f"\n{key}: k = {PROTOCOLS[key].scale:g}, {found['steps']:,} steps\n")
    rows = [["on the front", "x1", "x2", "L1", "L2", "mean", "place"]]
    for name, at in found["front"].items():
        numbers = [*at["x"], *at["losses"], at["mean"], at["place"]]
        rows.append([name, *(f"{number:.2f}" for number in numbers)])
    print_aligned(rows)
    print()
    columns = ("L1", "L2", "mean", "distance", "place")
    rows = [["method", "start", *columns, "end"]]
    for name, of_starts in found["ends"].items():
        for i, end in enumerate(of_starts):
            numbers = [f"{end[column]:.2f}" for column in columns]
            rows.append(["" if i else name, point(end["start"]), *numbers, end["end"]])
    print_aligned(rows)
    print()
    starts = next(iter(found["ends"].values()), [])
    rows = [["", *(point(end["start"]) for end in starts)]]
    for name, of_starts in found["ends"].items():
        rows.append([name, *(summary(end) for end in of_starts)])
    print_aligned(rows)
    for name, reason in found["left_out"].items():
        print(f"left out: {name}, which {reason}")
    print(f"{found['seconds']:.0f} s")


def summary(end: Mapping[str, Any]) -> str:
    """Where on the front, or how far from it."""
    if end["end"] == "front":
        return f"front at {end['place']:.2f}"
    return f"{end['end']} {end['distance']:.1f} off"


def draw(
    path: pathlib.Path,
    key: str,
    paths: Mapping[str, np.ndarray],
    front: Front,
    found: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Draw the paths of all methods of a protocol."""
    grid = np.stack(np.meshgrid(np.linspace(-12, 12, 361), np.linspace(-12, 12, 361)), axis=-1)
    means = losses_of(tf.constant(grid), front.scale).numpy().mean(-1)
    plots.paths_in_the_plane(
        path,
        paths,
        {name: [end["end"] == "front" for end in of_starts] for name, of_starts in found.items()},
        (grid[..., 0], grid[..., 1], means),
        front.points,
        {
            "least mean loss": front.points[front.least_mean],
            "balanced middle": front.points[front.middle],
        },
        f"Paths from {len(PROTOCOLS[key].starts)} starts on the mean of both losses, "
        f"k = {front.scale:g}",
    )


if __name__ == "__main__":
    app.run(main)
