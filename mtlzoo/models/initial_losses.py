"""How far apart the losses of the tasks are when training starts."""

import keras
from absl import logging

from mtlzoo.models.objectives import Objectives

# How far apart losses may be at the start without a warning.
FAR_APART = 100


def reported(objectives: Objectives) -> dict[str, float]:
    """The mean losses so far by task; logged, with a warning if, times their loss weights, they
    are far apart.

    Args:
        objectives: the losses of the tasks, of which the first step (or sequence) was made.
    """
    losses = keras.ops.convert_to_numpy(objectives.tracker.result()).tolist()
    weights = objectives.loss_weights or [1.0] * len(losses)
    weighted = [loss * weight for loss, weight in zip(losses, weights, strict=True)]
    found = [abs(loss) for loss in weighted if abs(loss) > 0]
    names = objectives.names
    text = ", ".join(f"`{n}` {loss:.3g}" for n, loss in zip(names, weighted, strict=True))
    logging.info("Losses of the tasks at the start, times their loss weights: %s", text)
    if found and max(found) > FAR_APART * min(found):
        logging.warning(
            "The losses at the start, times their loss weights, are more than %d-fold apart: "
            "%s. The larger may drown "
            "the smaller; `loss_weights` or a balancer that corrects scales brings them "
            "together.",
            FAR_APART,
            text,
        )
    return dict(zip(names, losses, strict=True))
