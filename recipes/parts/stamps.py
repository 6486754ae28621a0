"""Stamps as recipes take them: preprocessed once, without a modality, and encoders of each."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtlzoo import data
from mtlzoo.backbones import AudioEncoder, ConvNet, TextEncoder
from mtlzoo.data.pipeline import batches

MODALITIES = ("caption", "image", "speech")
WIDTH = 32  # of each modality, and of what they are fused into
DROPOUT = 0.3
VOCABULARY = 320  # no division has more words in two or more training captions


def load(seed: int, data_dir: str | None, batch_size: int) -> data.Loaded:
    """A division of the stamps, preprocessed once and not in every epoch.

    Args:
        seed: of the division, and of the order of the training rows.
        data_dir: where prepared data is kept.
        batch_size: rows in a batch.
    """
    stamps = data.load("stamps", batch_size=10_000, data_seed=seed, data_dir=data_dir)

    def in_memory(part: tf.data.Dataset, order: int | None = None) -> tf.data.Dataset:
        (rows,) = part
        return batches(rows, batch_size, order)

    return dataclasses.replace(
        stamps,
        train=in_memory(stamps.train, seed),
        valid=in_memory(stamps.valid),
        test=in_memory(stamps.test),
    )


def only(modalities: Sequence[str], stamps: data.Loaded) -> data.Loaded:
    """The same stamps with some of the inputs."""
    keys = [key for m in modalities for key in (m, f"{m}_present")]

    def choose(x, y, weight):
        return {key: x[key] for key in keys}, y, weight

    parts = {name: getattr(stamps, name).map(choose) for name in ("train", "valid", "test")}
    return dataclasses.replace(stamps, inputs={key: stamps.inputs[key] for key in keys}, **parts)


def without_modality(missing: str | None, part: tf.data.Dataset) -> tf.data.Dataset:
    """The same rows with one modality declared missing. What it holds is not looked at then."""

    def remove(x, y, weight):
        if missing is None:
            return x, y, weight
        flag = f"{missing}_present"
        return x | {flag: tf.zeros_like(x[flag])}, y, weight

    return part.map(remove)


def encoders(
    inputs: Mapping[str, Any], modalities: Sequence[str] = MODALITIES, *, moved: bool = False
) -> dict[str, keras.Model]:
    """New encoders, all of which give tokens: of words, places in the image, and moments.

    Args:
        inputs: the inputs of the data.
        modalities: which encoders.
        moved: whether images are moved by up to a tenth of their sides in training.
    """

    def image(inputs):
        return dropped(*image_maps(inputs, moved))

    make: dict[str, Callable[[Any], keras.Model]] = {
        "caption": caption_encoder,
        "image": image,
        "speech": speech_encoder,
    }
    return {modality: make[modality](inputs) for modality in modalities}


def caption_encoder(inputs: Mapping[str, Any]) -> keras.Model:
    """A new encoder of words."""
    (words,) = inputs["caption"].shape[1:]
    return TextEncoder(VOCABULARY, words, width=WIDTH, num_layers=1, dropout=DROPOUT)


def image_maps(inputs: Mapping[str, Any], moved: bool = False) -> tuple[Any, Any]:
    """An input for pictures, and the maps that a new network makes of them."""
    layers = keras.layers
    pixels = keras.Input(inputs["image"].shape[1:])
    half = layers.AveragePooling2D(2)(pixels)
    if moved:
        half = layers.RandomTranslation(0.1, 0.1, fill_mode="nearest")(half)
    trunk = ConvNet(half.shape[1:], (8, 16, WIDTH), kernel_size=3, dense_units=())
    return pixels, keras.Model(trunk.input, trunk.get_layer("conv_2").output)(half)


def dropped(pixels: Any, maps: Any) -> keras.Model:
    """The encoder of images, with dropout of whole maps."""
    last = keras.layers.SpatialDropout2D(DROPOUT)(maps)
    return keras.Model(pixels, last, name="image_encoder")


def speech_encoder(inputs: Mapping[str, Any]) -> keras.Model:
    """A new encoder of sounds."""
    (samples,) = inputs["speech"].shape[1:]
    return AudioEncoder(
        samples,
        8000,
        fft_length=256,
        sequence_stride=256,
        num_mel_bins=32,
        blocks=(1, 1),
        widths=(16, WIDTH),
        norm="group",  # those without speech are no part of any statistics
        pooled=False,
    )
