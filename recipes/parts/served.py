"""What a SavedModel is like that was made of a model: how large, and how fast."""

import pathlib
import shutil
import time
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from mtlzoo import MultiTaskModel
from recipes.parts.comparison import parameters
from recipes.parts.tables import print_aligned


def compare(
    out: pathlib.Path, models: Mapping[str, MultiTaskModel], part: tf.data.Dataset, rounds: int = 30
) -> dict[str, dict[str, float]]:
    """Export models, and compare the sizes of the SavedModels and the times of their answers.

    Args:
        out: where to write them; one that is there already is replaced.
        models: the models by name.
        part: data whose inputs they answer, 1 row and 256 rows at a time.
        rounds: how often each answers, in turn with the others.

    Returns:
        By model its numbers, which are printed as a table.
    """
    rows = next(iter(part.unbatch().batch(256)))[0]
    loaded = {}
    found: dict[str, dict[str, float]] = {}
    for name, model in models.items():
        path = out / name.replace(" ", "_")
        if path.exists():
            shutil.rmtree(path)  # that of an earlier run, whose models were others
        model.export(path, verbose=False)
        loaded[name] = tf.saved_model.load(str(path))
        found[name] = {"parameters": parameters(model), "SavedModel, MB": size(path) / 1e6}
    for count in (1, 256):
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds):
            for name in models:
                started = time.perf_counter()
                loaded[name].serve(rows[:count])
                times[name].append(time.perf_counter() - started)
        for name, taken in times.items():  # the first call is traced
            found[name][f"ms for {count}"] = 1e3 * float(np.median(taken[1:]))
    columns = list(next(iter(found.values())))
    lines = [["served", *columns]]
    for name, numbers in found.items():
        cells = [f"{numbers[column]:,.2f}" for column in columns[1:]]
        lines.append([name, f"{numbers['parameters']:,}", *cells])
    print()
    print_aligned(lines)
    return found


def size(path: pathlib.Path) -> int:
    """The bytes of all files of a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
