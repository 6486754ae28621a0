"""Rows of a data set as arrays."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def first_rows(part: tf.data.Dataset, count: int) -> tuple[Any, Any, Any]:
    """Inputs, labels and weights of the first rows.

    Args:
        part: the data set, in batches of any size.
        count: how many rows at most.
    """
    (element,) = part.unbatch().batch(count).take(1)
    return keras.tree.map_structure(np.asarray, element)
