"""What the peers of a model answer together, as soft labels for it."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from mtlzoo.ensembles.scales import scale_of
from mtlzoo.tasks import Task


def together(task: Task, outputs: Sequence[Any], temperature: float) -> Any:
    r"""The raw outputs of which a model learns what it would learn from all of these.

    With the softened probabilities $p_k = \mathrm{softmax}(z_k / T)$ of $K$ peers, the mean of the
    divergences $\mathrm{KL}(p_k \,\|\, q)$ has the same gradient in $q$ as the divergence from
    their mean $\bar p$, since they differ by the entropies of the peers alone. Its raw outputs are
    $T \log \bar p$; of values they are the mean.

    Args:
        task: the task.
        outputs: its raw outputs of each peer.
        temperature: T.

    Returns:
        Raw outputs of the same shape.
    """
    if len(outputs) == 1:
        return outputs[0]
    scale = scale_of(task)
    read = [scale.read(raw) for raw in outputs]
    if scale.axis is None:
        return scale.write(ops.mean(ops.stack(read), axis=0))
    softened = [ops.log_softmax(logs / temperature, axis=scale.axis) for logs in read]
    return scale.write(temperature * ops.logsumexp(ops.stack(softened), axis=0))
