"""Stamp scenes as recipes take them, and a network that reads them."""

import dataclasses
from collections.abc import Sequence

from mtlzoo import ObjectDetection, data
from mtlzoo.backbones import ResNet


def load(seed: int, scenes: int, batch_size: int, data_dir: str | None) -> data.Loaded:
    """The scenes, the same for every seed, in another order.

    Args:
        seed: of the order.
        scenes: training scenes.
        batch_size: scenes in a batch.
        data_dir: where prepared data is kept.
    """
    loaded = data.load(
        "stamp_scenes", scenes=scenes, batch_size=batch_size, seed=seed, data_dir=data_dir
    )
    # At most four objects: more candidates would only cost time in every evaluation.
    tasks = [
        ObjectDetection(task.name, task.num_classes, task.max_boxes, num_candidates=60)
        if isinstance(task, ObjectDetection)
        else task
        for task in loaded.tasks
    ]
    return dataclasses.replace(loaded, tasks=tasks)


def trunk(scenes: data.Loaded, widths: Sequence[str], name: str | None = None) -> ResNet:
    """A map of 16 x 16 cells for 64 x 64 pixels, which the heads read as it is or on average.

    Args:
        scenes: the data.
        widths: channels of the three stages, as of a flag.
        name: of the network.
    """
    return ResNet(
        scenes.inputs.shape[1:],
        blocks=(1, 1, 1),
        widths=tuple(map(int, widths)),
        stem="large",
        output_stride=4,
        pooled=False,
        name=name,
    )
