"""Yeast: fourteen functions of a gene, correlated and unbalanced, from 103 measurements.

2417 genes of the yeast Saccharomyces cerevisiae (Elisseeff and Weston, 2001), as the Mulan library
publishes them.

Tasks:
  class1 .. class14  binary, whether the gene belongs to the functional class: 1.4 % of the genes do
                     to class14, 75 % to class12

Input: `features` (103,), expression levels and phylogenetic profiles, standardized by the
preprocessor.

Splits: 70, 15 and 15 % at random.

Options of `load`: batch_size=64, seed=0, data_seed=0, preprocessed=True, raw_files, data_dir,
download=False. `raw_files` is the wheel of river 0.26.1, the file `yeast.csv.gz` in it, or a folder
that holds one of them; `download` fetches the wheel with pip (2.7 MB).

The data is public, without a stated licence; river has the licence BSD-3-Clause.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mtlzoo.data.array_set import ArraySet
from mtlzoo.data.packages import Contents, Package, wheel_file
from mtlzoo.data.parts import assign_parts
from mtlzoo.data.standardizing import standardizing

if TYPE_CHECKING:
    from mtlzoo.tasks import Task

__all__ = ["load", "prepare"]

FEATURES, CLASSES = 103, 14
SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}
FILE = "yeast.csv.gz"
SOURCE = Contents(
    package=Package(
        name="river",
        version="0.26.1",
        file="river-0.26.1-cp311-cp311-manylinux_2_28_x86_64.whl",
        sha256="6a11e1a9749beec3ea138efeb0205b2c5cea8d424e9deee306c8980faec01bef",
        options=(
            "--only-binary=:all:",
            "--python-version=3.11",
            "--implementation=cp",
            "--platform=manylinux_2_28_x86_64",
        ),
    ),
    read=lambda path: {FILE: wheel_file(path, f"river/datasets/{FILE}")},
    file=FILE,
    sha256="2969cb4bab877a27adcbe17871fa0b378a1e54b98816cd6106b542ee450a1c09",
)


def read(source: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Read the table: the features, then the classes.

    Args:
        source: the file `yeast.csv.gz`.

    Returns:
        `features` `(n, 103)`, and by class an array `(n,)`.
    """
    lines = gzip.decompress(source[FILE]).decode("ascii").splitlines()[1:]
    table = np.array([line.split(",") for line in lines], "float64")
    assert table.shape[1] == FEATURES + CLASSES
    labels = {f"class{i + 1}": table[:, FEATURES + i].astype("int32") for i in range(CLASSES)}
    return {"features": table[:, :FEATURES].astype("float32"), **labels}


def divide(arrays: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Divide the genes at random.

    Args:
        arrays: as of `read`.
        rng: where the order comes from.

    Returns:
        Of each gene the name of its split.
    """
    return assign_parts(range(len(arrays["features"])), SHARES, rng)


def tasks() -> list[Task]:
    """Make the tasks, one for each class."""
    from mtlzoo.tasks import BinaryClassification

    return [BinaryClassification(f"class{i + 1}") for i in range(CLASSES)]


_SET = ArraySet(
    name="yeast",
    sources=(SOURCE,),
    read=read,
    divide=divide,
    inputs=("features",),
    tasks=tasks,
    preprocessor=lambda train: standardizing("features", train["features"]),
    homepage="https://mulan.sourceforge.net/datasets-mlc.html",
    licence="public, without a stated licence",
    citation="A. Elisseeff, J. Weston: A Kernel Method for Multi-Labelled Classification. "
    "NeurIPS 2001.",
)
load, prepare = _SET.load, _SET.prepare
