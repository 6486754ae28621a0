"""From what size on eight bits make a SavedModel smaller."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

import mtlzoo as zoo
from mtlzoo import analysis


def by_width(widths: Sequence[int]) -> list[list[str]]:
    """The SavedModels of narrow and wide layers, as floats and in eight bits; untrained.

    Args:
        widths: units of both shared layers of each model.

    Returns:
        The lines of a table.
    """
    rows = np.zeros((2, 16), "float32")
    labels = {"click": np.array([[0], [1]]), "stay": rows[:, :1]}
    batches = tf.data.Dataset.from_tensor_slices((rows, labels)).batch(2)
    table = [["two shared layers of", "parameters", "floats, kB", "int8, kB"]]
    for width in widths:
        tasks = [zoo.BinaryClassification("click"), zoo.Regression("stay")]
        model = zoo.HardSharing(
            keras.Input((16,)), tasks, shared_units=(width, width), tower_units=()
        )
        both = {"floats": model, "int8": analysis.quantize(model)}
        sizes = analysis.compare_sizes(both, batches, batch_sizes=(1,), repeats=1)
        kilobytes = [f"{sizes[name].saved_model_bytes / 1000:,.0f}" for name in both]
        table.append([f"{width} units", f"{model.count_params():,}", *kilobytes])
    return table
