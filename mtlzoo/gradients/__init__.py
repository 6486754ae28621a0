"""Gradients of several task losses, and how a balancer turns them into one update.

Nothing else owns the training tape or sums over replicas. It knows nothing of
models or layers: it is given a way to compute T losses and lists of variables, and it gives back
one gradient for each variable.

On R replicas, every gradient returned here is a *share*: the sum of the shares over the replicas
is the gradient of the global batch. Keras's optimizers form that sum. Losses are shares too: each
is a sum over the replica's own rows divided by a global count.

Task gradients stay lists of tensors, one for each variable. They are never flattened into one
matrix, which costs a copy of them all, and under XLA on a CPU much more than that. Those by an
embedding table stay the rows that were looked up (`gramian.py`).
"""

from mtlzoo.gradients.balanced import balanced
from mtlzoo.gradients.holdout import TaskGradients, agreement, task_gradients, unweighed_scale
from mtlzoo.gradients.recording import (
    Recording,
    Update,
    Variables,
    may_branch,
    record,
    replica_count,
    replica_sum,
)

__all__ = [
    "Recording",
    "TaskGradients",
    "Update",
    "Variables",
    "agreement",
    "balanced",
    "may_branch",
    "record",
    "replica_count",
    "replica_sum",
    "task_gradients",
    "unweighed_scale",
]
