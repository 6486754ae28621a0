"""Losses, ordinary and extreme, and independent references for what methods make of them."""

import contextlib
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

NAMES = "abc"
LOSSES = {
    "plain": [1.0, 2.0, 4.0],
    "equal": [2.0, 2.0, 2.0],
    "one zero": [0.0, 2.0, 4.0],
    "all zero": [0.0, 0.0, 0.0],
    "one negative": [-1.0, 2.0, 4.0],
    "all negative": [-1.0, -2.0, -4.0],
    "sum to zero": [-1.0, -1.0, 2.0],
    "far apart": [1e-8, 1.0, 1e8],
    "tiny": [1e-30, 2e-30, 4e-30],
    "huge": [1e30, 2e30, 4e30],
    "tiny and huge": [1e-30, 1.0, 1e30],
}


def built(method, names=NAMES):
    """The method with tasks of these names."""
    method.build([SimpleNamespace(name=n, loss_family="classification") for n in names])
    return method


def derivatives(method, losses, present=None, dtype="float64"):
    """The objective, and its derivatives by the losses and by each trained variable."""
    losses = tf.constant(losses, dtype)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        objective = method.objective(losses, present)
    sources = [losses, *(v.value for v in method.trainable_variables)]
    return objective.numpy(), [g.numpy() for g in tape.gradient(objective, sources)]


def weights(method, losses, present=None, dtype="float64"):
    """The derivatives by the losses alone."""
    return derivatives(method, losses, present, dtype)[1][0]


def slopes(function, point, step=1e-5):
    """The derivatives of a function of a vector, by central differences."""
    point = np.asarray(point, "float64")
    found = []
    for direction in step * np.eye(len(point)):
        found.append((function(point + direction) - function(point - direction)) / (2 * step))
    return np.array(found)


def keep(method, values):
    """Assign what a step taught, as the model does."""
    for name, value in values.items():
        method.state[name].assign(value)


@contextlib.contextmanager
def state_in(dtype):
    """Balancers that are built here keep their state in this precision."""
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before)


class Adam:
    """Adam as in the paper, on NumPy arrays, each entry with its own count of steps."""

    def __init__(self, value, rate):
        self.value, self.rate = np.array(value, "float64"), rate
        self.first, self.second, self.count = (np.zeros_like(self.value) for _ in range(3))

    def step(self, gradient, moves):
        for i in np.argwhere(moves):
            i = tuple(i)
            self.count[i] += 1
            self.first[i] = 0.9 * self.first[i] + 0.1 * gradient[i]
            self.second[i] = 0.999 * self.second[i] + 0.001 * gradient[i] ** 2
            mean = self.first[i] / (1 - 0.9 ** self.count[i])
            square = self.second[i] / (1 - 0.999 ** self.count[i])
            self.value[i] -= self.rate * mean / (np.sqrt(square) + 1e-8)
