"""How a method of balancing moves points in the plane, for `recipes.toy_objectives`."""

import functools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo import balancing
from recipes.parts.toy_problem import Protocol, bounds, losses_of

LEARNING_RATE = 1e-3
# Where a path is looked at: often enough to draw it. Between two of them is an epoch, for methods
# that learn at the end of each.
LOOKS = 400
# Arguments that the papers give for this problem, where they are not the defaults.
ARGUMENTS: dict[str, dict[str, Any]] = {"cagrad": {"c": 0.5}, "famo": {"decay": 0.0}}
TASKS = [SimpleNamespace(name=name, loss_family="regression") for name in ("L1", "L2")]


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
