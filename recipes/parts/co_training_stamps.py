"""Stamps with few labels, of pictures and captions, as they are or made worse."""

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from mtlzoo import data
from mtlzoo.tasks import Task

CONDITIONS = ("clean", "wrong labels", "noisy pictures", "dropped words")
VIEWS = ("caption", "image")
SIDE = 128  # pixels of the pictures that the features are of
WRONG, NOISE, DROPPED = 0.4, 0.4, 0.5
CORRUPTED = "category"  # the task with wrong labels

#: Inputs, labels, tasks, and which rows are for training.
Division = tuple[dict, dict, list[Task], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Stamps:
    """One division, under one condition.

    Attributes:
        x: inputs of the training rows by name.
        given: their labels by task, -1 for none.
        truth: their labels by task, all of them right.
        test_x: inputs of the test rows.
        test_y: their labels.
    """

    x: dict[str, np.ndarray]
    given: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]
    test_x: dict[str, np.ndarray]
    test_y: dict[str, np.ndarray]


def load(seed: int, data_dir: str | None) -> Division:
    """All stamps of a division, of which the validation part is tested on, too."""
    stamps = data.load("stamps", batch_size=10_000, data_seed=seed, data_dir=data_dir)
    parts = [
        next(iter(part.as_numpy_iterator())) for part in (stamps.train, stamps.valid, stamps.test)
    ]
    x = {view: np.concatenate([part[0][view] for part in parts]) for view in VIEWS}
    y = {task.name: np.concatenate([part[1][task.name] for part in parts]) for task in stamps.tasks}
    in_training = np.arange(len(x["image"])) < len(parts[0][0]["image"])
    return x, y, stamps.tasks, in_training


def pixels_to_features(
    pictures: list[np.ndarray], trunk: keras.Model
) -> list[dict[bool, np.ndarray]]:
    """By division, of pictures as they are and with noise, the features of a network.

    Args:
        pictures: those of each division, the same ones in different orders.
        trunk: the network, for pictures of 128 by 128 pixels.
    """
    place = {image.tobytes(): i for i, image in enumerate(pictures[0])}
    distinct = pictures[0]
    noise = np.random.default_rng(0).normal(0, NOISE, distinct.shape).astype("float32")
    both = {False: distinct, True: np.clip(distinct + noise, 0, 1)}
    features = {}
    for noisy, images in both.items():
        larger = keras.ops.image.resize(images, (SIDE, SIDE))
        features[noisy] = trunk.predict(larger, batch_size=64, verbose=0)
    found = []
    for images in pictures:
        rows = [place[image.tobytes()] for image in images]
        found.append({noisy: values[rows] for noisy, values in features.items()})
    return found


def arranged(
    division: Division,
    features: Mapping[bool, np.ndarray],
    condition: str,
    labelled: int,
    seed: int,
) -> Stamps:
    """A division with few labels, under one condition.

    Args:
        division: the stamps.
        features: those of its pictures, without and with noise.
        condition: one of `CONDITIONS`.
        labelled: how many training rows have labels.
        seed: of what is drawn.
    """
    x, truth, tasks, in_training = division
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(np.flatnonzero(in_training))[:labelled]
    given = {}
    for task in tasks:
        given[task.name] = np.full(len(in_training), -1, "int32")
        given[task.name][chosen] = truth[task.name][chosen]
    if condition == "wrong labels":
        wrong = chosen[: round(WRONG * len(chosen))]
        (count,) = [task.num_classes for task in tasks if task.name == CORRUPTED]
        given[CORRUPTED][wrong] += rng.integers(1, count, len(wrong))
        given[CORRUPTED] = np.where(given[CORRUPTED] >= 0, given[CORRUPTED] % count, -1)
    words = x["caption"]
    if condition == "dropped words":
        words = np.where(rng.random(words.shape) < DROPPED, 0, words)
    inputs = {"caption": words, "image": features[condition == "noisy pictures"]}
    train, test = in_training, ~in_training
    return Stamps(
        *(
            {name: values[train] for name, values in each.items()}
            for each in (inputs, given, truth)
        ),
        *({name: values[test] for name, values in each.items()} for each in (inputs, truth)),
    )
