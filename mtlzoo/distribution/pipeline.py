"""Models that are trained in stages: pipelines, and memory saved by computing again."""

from collections.abc import Sequence
from typing import Any

from mtlzoo.distribution.devices import check_device
from mtlzoo.distribution.placement import row
from mtlzoo.distribution.plan import Plan, Stages, layers_inside
from mtlzoo.distribution.schedules import GPIPE, Schedule
from mtlzoo.models import MultiTaskModel
from mtlzoo.models.cutting import pieces_of, stages_of


def pipeline(
    model: MultiTaskModel,
    at: Sequence[str],
    micro_batches: int,
    *,
    schedule: str = GPIPE,
    devices: Sequence[str] | None = None,
    rematerialize: bool = False,
) -> None:
    r"""Train a model in stages, each on its device, and each batch in micro-batches.

    While one stage works on a micro-batch, the next works on the one before. With $m$ micro-batches
    each of the $p$ stages idles for $(p - 1) / (m + p - 1)$ of the time; see `Schedule`, also for
    what is in memory. The step is the same as ever: losses are those of the whole batch, missing
    labels and balancers included, and so gradients are equal to those without stages. At features
    level the model is cut at its boundary too, and stages before it wait there for the weights.

    With `schedule="1f1b"`, `rematerialize=True` or a balancer at parameters level, passes are run
    again: "1f1b" adds a pass forward of the trunk, and each of the T passes backward of a balancer
    at parameters level goes through the whole schedule.

    A model has one set of stages: those of an earlier `pipeline` or `rematerialize` are forgotten.

    Paper: Huang et al., *GPipe* (2019), https://arxiv.org/abs/1811.06965.

    Args:
        model: a multi-task model, on one replica.
        at: names of the layers at which all stages but the last end, in the order of the graph.
            Tensors may lead past a cut, such as those of other modalities or of skip connections.
        micro_batches: into how many parts a batch is divided. Rows should be several times as many.
        schedule: `"gpipe"` or `"1f1b"`. Defaults to `"gpipe"`.
        devices: by stage the device, one more than there are cuts. `None` leaves them where they
            are: then stages only save memory.
        rematerialize: whether a stage of `"gpipe"` keeps its inputs alone and computes the rest
            again before its pass backward. Defaults to `False`.

    Raises:
        ValueError: if the model cannot be cut there, for a device that is not there, or for
            trainable `BatchNormalization`, whose statistics would be those of micro-batches.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression, distribution

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(16, 16), tower_units=(8,))
    distribution.pipeline(model, at=["shared_0"], micro_batches=4, devices=["CPU:0", "CPU:0"])
    model.compile("adam", balancer="pcgrad")
    ```

    Differences from the paper: rematerialization is a choice. Batch normalization, which there
    has the statistics of micro-batches, is refused.
    """
    _check_at(at)
    _check_bool(rematerialize)
    Schedule(schedule, len(at) + 1, micro_batches)
    if rematerialize and schedule != GPIPE:
        raise ValueError(
            f"`rematerialize` should be False with schedule={schedule!r}, which computes again as "
            f"it is. Received: rematerialize={rematerialize}"
        )
    if devices is not None and len(devices) != len(at) + 1:
        raise ValueError(
            f"`devices` should be one for each of the {len(at) + 1} stages. "
            f"Received: devices={devices!r}"
        )
    names = [check_device(f"devices[{i}]", name) for i, name in enumerate(devices or ())]
    _set(model, Stages(list(at), micro_batches, schedule, rematerialize, names))


def rematerialize(model: MultiTaskModel, at: Sequence[str]) -> None:
    r"""Train a model in stages that keep their inputs alone, and compute the rest once more when
    its gradients are taken: less memory for one more pass forward.

    With $n$ layers of equal size and $\sqrt n$ stages, memory for activations falls from $n$ to
    about $2 \sqrt n$. The gradients are the same, dropout included: masks are drawn again from the
    same state. (`keras.RematScope` fails on TensorFlow for layers that are told of training.) A
    model has one set of stages: those of an earlier `pipeline` or `rematerialize` are forgotten.

    Paper: Chen et al., *Training deep nets with sublinear memory cost* (2016),
    https://arxiv.org/abs/1604.06174.

    Args:
        model: a multi-task model.
        at: names of the layers at which all stages but the last end, in the order of the graph,
            such as `stage_names` of a backbone. An empty list takes stages back.

    Raises:
        ValueError: if the model cannot be cut there.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression, distribution

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(16, 16), tower_units=(8,))
    distribution.rematerialize(model, at=["shared_0", "shared_1"])
    model.compile("adam", balancer="pcgrad")
    ```
    """
    _check_at(at, may_be_empty=True)
    _set(model, Stages(list(at), rematerialized=True) if at else None)


def _set(model: MultiTaskModel, stages: Stages | None) -> None:
    plan = Plan.of(model)
    if stages is None:
        Plan(plan.placed, rows={"place": plan.rows.get("place", [])}).give_to(model)
        return
    stage_of = stages_of(model, stages.at)
    staged, rows = [], []
    placed = {id(operation) for operation, _ in plan.placed}
    for number, piece in pieces_of(model, stage_of).items():
        device = stages.devices[number] if stages.devices else ""
        for operation in piece.operations if device else ():
            if placed & {id(operation), *map(id, layers_inside(operation))}:
                raise ValueError(
                    "`devices` should be None where layers of the model are placed already. "
                    f"Received: devices={stages.devices} with {operation.name!r} placed"
                )
            if id(operation) in stage_of:
                staged.append((operation, device))
        rows.append(row(f"stage {number}", device or "-", piece.operations))
    Plan(plan.placed, stages, stage_of, staged, {**plan.rows, "stages": rows}).give_to(model)


def _check_at(at: Any, may_be_empty: bool = False) -> None:
    texts = isinstance(at, list | tuple) and all(isinstance(name, str) for name in at)
    if not texts or not (at or may_be_empty):
        raise ValueError(f"`at` should be a list of names of layers. Received: at={at!r}")


def _check_bool(value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"`rematerialize` should be a bool. Received: rematerialize={value!r}")
