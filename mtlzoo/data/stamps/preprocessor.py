"""The model from raw stamps to what a model is built on."""

from __future__ import annotations

from collections.abc import Iterable

import keras
from keras import layers, ops

from mtlzoo.data.stamps.pieces import SAMPLES, SIDE
from mtlzoo.data.words import to_ids, vocabulary

#: Words of a caption that are read; 98 % of the captions are not longer.
WORDS = 16


def make(captions: Iterable[str]) -> keras.Model:
    """Make the preprocessor from the captions of the training part.

    Only stock Keras layers and operations are used, so that the exported model needs nothing of
    this package.

    Args:
        captions: the training captions; neither validation nor test ones belong here.

    Returns:
        A model from the dict of raw inputs to the dict of inputs: `image` `(batch, 64, 64, 3)` and
        `speech` `(batch, 16000)` in `float32`, `caption` `(batch, 16)` in `int32`, and the booleans
        as they are.
    """
    raw = {
        "caption": keras.Input((), name="caption", dtype="string"),
        "image": keras.Input((SIDE, SIDE, 3), name="image", dtype="uint8"),
        "speech": keras.Input((SAMPLES,), name="speech", dtype="int16"),
    }
    present = {
        f"{name}_present": keras.Input((), name=f"{name}_present", dtype="bool") for name in raw
    }
    ids = to_ids(vocabulary(captions), WORDS, "words")(raw["caption"])
    outputs = {
        "caption": ops.cast(ids, "int32"),
        "image": layers.Rescaling(1 / 255, dtype="float32", name="scaled_image")(raw["image"]),
        "speech": layers.Rescaling(1 / 32768, dtype="float32", name="scaled_speech")(raw["speech"]),
    }
    return keras.Model(raw | present, outputs | present, name="preprocessor")
