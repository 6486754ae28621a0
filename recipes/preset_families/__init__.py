"""What the presets of each data set are made of: one file for each data set.

A file has a `FAMILY`, or for benchmarks whose data cannot be had here a `CONFIGURATIONS`.
`recipes.make_presets` reads them.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import MultiTaskModel, data
from mtlzoo.tasks import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
    """A preset to make.

    Attributes:
        title: what it is, in a few words: the heading of its card.
        build: makes the model of the loaded data. It gets `preprocessor=loaded.preprocessor`, so
            that the preset takes raw rows where it is served.
        around: the model that is trained in its place and holds it, such as a `Distillation`; it
            gets the model, the data and the seed, and trains the teachers. Defaults to none.
        epochs: another number of epochs than that of the family. Defaults to that.
        limits: sentences on what to keep in mind, beside those of the family.
    """

    title: str
    build: Callable[[data.Loaded], MultiTaskModel]
    around: Callable[[MultiTaskModel, data.Loaded, int], MultiTaskModel] | None = None
    epochs: int | None = None
    limits: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """The presets of one data set, trained in the same way.

    Attributes:
        data_set: its name, for `data.load`.
        data: where the data comes from, and how many rows it has, in one or two sentences.
        licence: that of the data, in a sentence.
        split: which rows the metrics are of, in a few words.
        models: the presets to make, by name.
        single_task: makes the network of one task, the baseline of `delta_m`.
        epochs: how many; the validation data chooses one of them.
        load: arguments of `data.load`: plain values, since the cards have them. They include
            `batch_size`.
        tasks: names of the tasks that count. Defaults to all of the data.
        learning_rate: what Adam begins with.
        optimizer: makes the optimizer of a training of so many steps. Defaults to Adam, whose rate
            falls to 0 along a cosine.
        balancer: name of the balancer of the multi-task models.
        compile_options: further arguments of `compile`, such as `loss_weights`.
        groups: for each column of groups of people the name of the group of each test row, from the
            loaded data; metrics are told for each. Defaults to none.
        limits: sentences on what the presets are not good for, and on biases in the data.
        no_weights: why trained weights must stay out of the package, which then has the
            configurations only; the command makes the weights elsewhere. Defaults to none, they may
            be in it.
    """

    data_set: str
    data: str
    licence: str
    split: str
    models: Mapping[str, Planned]
    single_task: Callable[[data.Loaded, Task], MultiTaskModel]
    epochs: int
    load: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tasks: Sequence[str] | None = None
    learning_rate: float = 1e-3
    optimizer: Callable[[int], keras.optimizers.Optimizer] | None = None
    balancer: str = "equal"
    compile_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    groups: Callable[[data.Loaded], Mapping[str, np.ndarray]] | None = None
    limits: Sequence[str] = ()
    no_weights: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """A model without trained weights, such as one for a benchmark whose data cannot be had here.

    Attributes:
        title: the heading of its card.
        build: makes the model.
        data: what the data is, who gives it and on what terms.
        licence: that of the data, in a sentence.
        why: why there are no trained weights.
        command: what would train it.
        data_set: the data's name for `data.load`, if it has one.
        load: arguments of `data.load`.
        limits: sentences on what to keep in mind.
    """

    title: str
    build: Callable[[], MultiTaskModel]
    data: str
    licence: str
    why: str
    command: str
    data_set: str | None = None
    load: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    limits: Sequence[str] = ()
