"""BERT in float64 NumPy, from arrays named as in its files, without padding."""

import math

import numpy as np


def forward(ids, tensors, heads, types=None):
    """The features of the tokens of one row, `(tokens, width)`, and what the pooler makes of them.

    Args:
        ids: a list of ids without padding.
        tensors: by name, kernels as (outputs, inputs).
        heads: number of heads.
        types: the types of the tokens. Defaults to zeros.
    """
    w = {name: np.asarray(tensor, "float64") for name, tensor in tensors.items()}
    types = [0] * len(ids) if types is None else types
    embedding = "embeddings.{}_embeddings.weight".format
    x = w[embedding("word")][ids] + w[embedding("token_type")][types]
    x = norm(x + w[embedding("position")][: len(ids)], w, "embeddings.LayerNorm")
    blocks = len({name.split(".")[2] for name in w if name.startswith("encoder.layer.")})
    for i in range(blocks):
        block = f"encoder.layer.{i}"
        q, k, v = (
            np.split(dense(x, w, f"{block}.attention.self.{part}"), heads, axis=1)
            for part in ("query", "key", "value")
        )
        mixed = [
            softmax(a @ b.T / math.sqrt(a.shape[1])) @ c for a, b, c in zip(q, k, v, strict=True)
        ]
        y = dense(np.concatenate(mixed, 1), w, f"{block}.attention.output.dense")
        x = norm(x + y, w, f"{block}.attention.output.LayerNorm")
        y = gelu(dense(x, w, f"{block}.intermediate.dense"))
        x = norm(x + dense(y, w, f"{block}.output.dense"), w, f"{block}.output.LayerNorm")
    return x, np.tanh(dense(x[:1], w, "pooler.dense")[0])


def dense(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(x, w, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)
