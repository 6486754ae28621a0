"""Layers written out in float64 NumPy, over one or two dimensions."""

import math

import numpy as np


def weights_of(model, prefix):
    """The weights of the layers whose names begin so, by the rest of the name and the variable."""
    return {
        f"{layer.name.removeprefix(prefix)}/{variable.name}": np.asarray(variable, "float64")
        for layer in model._flatten_layers()
        if layer.name.startswith(prefix) and not layer._layers
        for variable in layer.variables
    }


def convolve(x, kernel, strides=1, rate=1):
    """Cell by cell of an odd kernel, with as many zeros on both sides."""
    sizes, cells = x.shape[1:-1], kernel.shape[:-2]
    halves = [(rate * (cell // 2),) * 2 for cell in cells]
    padded = np.pad(x, [(0, 0), *halves, (0, 0)])
    total = 0.0
    for at in np.ndindex(*cells):
        starts = [rate * i for i in at]
        window = [slice(s, s + n, strides) for s, n in zip(starts, sizes, strict=True)]
        total = total + padded[(slice(None), *window)] @ kernel[at]
    return total


def batch_norm(x, weights, name, epsilon=1e-5):
    """In inference, with the moving statistics."""
    mean, variance = weights[f"{name}/moving_mean"], weights[f"{name}/moving_variance"]
    x = (x - mean) / np.sqrt(variance + epsilon)
    return x * weights[f"{name}/gamma"] + weights[f"{name}/beta"]


def group_norm(x, weights, name):
    """Mean and variance over the positions and channels of a group; at most 32 groups."""
    groups = math.gcd(x.shape[-1], 32)
    parts = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    mean, variance = (f(parts, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
    x = ((parts - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    return x * weights[f"{name}/gamma"] + weights[f"{name}/beta"]


def layer_norm(x, weights, name, epsilon):
    """Over the last axis."""
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)
    return x * weights[f"{name}/gamma"] + weights[f"{name}/beta"]


NORMS = {"batch": batch_norm, "group": group_norm}


def relu(x):
    return np.maximum(x, 0.0)


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)
