"""How far apart the losses of the tasks are when training starts."""

from collections.abc import Mapping, Sequence

import keras
from absl import logging

from mtlzoo.models.objectives import Objectives

# How far apart losses may be at the start without a warning.
FAR_APART = 100


def reported(
    objectives: Objectives, names: Sequence[str], before: Mapping[str, float]
) -> dict[str, float]:
    """The mean losses so far by task; logged, with a warning if, times their loss weights, they
    are far apart.

    Args:
        objectives: the losses of the tasks, of which the first step (or sequence) was made.
        names: the tasks that were computed in it.
        before: the losses of tasks that were reported before, which stay.
    """
    losses = keras.ops.convert_to_numpy(objectives.tracker.result()).tolist()
    now = dict(zip(objectives.names, losses, strict=True))
    known = {**{name: now[name] for name in names}, **before}
    factors = objectives.loss_weights or [1.0] * len(losses)
    weights = dict(zip(objectives.names, factors, strict=True))
    weighted = {name: known[name] * weights[name] for name in sorted(known)}
    found = [abs(loss) for loss in weighted.values() if abs(loss) > 0]
    text = ", ".join(f"`{name}` {loss:.3g}" for name, loss in weighted.items())
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
    return known
