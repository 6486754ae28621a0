"""Sets of task gradients, and independent references for what methods make of them."""

from types import SimpleNamespace

import numpy as np
from scipy.optimize import nnls


def tasks(**families):
    """Task-like objects in sorted order, as `tasks(a="regression")`."""
    return [SimpleNamespace(name=n, loss_family=families[n]) for n in sorted(families)]


def gradient_sets(size, seed=0):
    """Name -> (T, P) gradients in float64, ordinary and extreme."""
    rng = np.random.default_rng(seed)
    plain = rng.normal(size=(size, size + 5))
    sets = {
        "plain": plain,
        "wide": rng.normal(size=(size, 1000)),
        "low rank": rng.normal(size=(size, max(1, size // 2))),
        "rank 1": rng.normal(size=(size, 1)),
        "sum to zero": plain - plain.mean(0),
        "nearly sum to zero": plain - 0.99 * plain.mean(0),
        "almost aligned": plain.mean(0) + 0.1 * plain,
        "ill-conditioned": plain * 0.5 ** np.arange(size + 5),
        "scales": plain * np.logspace(-8, 8, size)[rng.permutation(size), None],
        "positive": np.abs(plain),
        "all equal": np.ones((size, 1)) * plain[0],
        "all zero": np.zeros((size, 3)),
    }
    if size > 1:
        sets["one zero"] = np.concatenate([plain[:1] * 0, plain[1:]])
        sets["opposite"] = np.concatenate([-plain[1:2], plain[1:]])
        sets["opposite, far apart"] = np.concatenate([-1e8 * plain[1:2], plain[1:]])
        sets["duplicate, far apart"] = np.concatenate([1e8 * plain[1:2], plain[1:]])
    return sets


def stationary_sets():
    """Name -> gradients of which a mean with positive weights is zero, of lengths that differ."""
    rng = np.random.default_rng(0)
    angles = 2 * np.pi / 3 * np.arange(3)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    sets = {
        "opposite": np.array([[1.0, 0.0], [-3.0, 0.0]]),
        "opposite, far apart": np.array([[1e3, 2e3], [-1.0, -2.0]]),
        "at 120 degrees": directions * np.array([[1.0], [2.0], [5.0]]),
        "on a line": np.array([[1.0], [-2.0], [3.0], [-4.0]]),
        "copies and an opposite": np.array([[1.0, 1.0], [2.0, 2.0], [-1.0, -1.0]]),
    }
    for name, shape in {"in a plane": (4, 2), "one is the rest's": (3, 9)}.items():
        rows = rng.normal(size=shape)
        last = -rng.uniform(0.5, 2.0, size=len(rows)) @ rows
        sets[name] = np.concatenate([rows, last[None]])
    return sets


def shortest_mean(gradients):
    """The shortest convex combination, by SciPy's NNLS on the gradients themselves."""
    lengths = np.linalg.norm(gradients, axis=1)
    shortest = lengths.min()
    if shortest == 0:
        return np.zeros(gradients.shape[1])
    equations = np.concatenate([(gradients / lengths[:, None]).T, shortest / lengths[None]])
    right = np.zeros(len(equations))
    right[-1] = 1.0
    solution, _ = nnls(equations, right, maxiter=100 * len(lengths))
    weights = solution / lengths
    return weights @ gradients / weights.sum()


def without_conflict(gradients, vector):
    """The vector nearest to `vector` with no negative inner product, by SciPy's NNLS."""
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    rows = np.divide(gradients, lengths, out=np.zeros_like(gradients), where=lengths > 0)
    unit = np.linalg.norm(vector) or 1.0
    added, _ = nnls(rows.T, -vector / unit, maxiter=100 * len(rows))
    return vector + unit * (added @ rows)


def surgery(gradients, orders):
    """PCGrad, literally: gradient vectors, one projection after the other."""
    total = np.zeros(gradients.shape[1])
    for i, own in enumerate(gradients):
        projected = own.copy()
        for j in np.argsort(orders[i])[: len(gradients) - 1]:
            other = gradients[j]
            if projected @ other < 0:
                projected = projected - projected @ other / (other @ other) * other
        total += projected
    return total


def scrambled(value):
    """The hash of `mtlzoo.layers.hashing`, in Python integers."""
    value ^= value >> 16
    value = value * 0x7FEB352D % 2**32
    value ^= value >> 15
    value = value * 0x846CA68B % 2**32
    return value ^ value >> 16
