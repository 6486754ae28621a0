"""Multi-task attention network."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_rate, check_units
from mtlzoo.layers.normalization import normalization
from mtlzoo.layers.task_attention import TaskAttention
from mtlzoo.models.architecture import Architecture, policy_config
from mtlzoo.models.resizing import resized, same_positions
from mtlzoo.models.stages import stages_of
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class MTAN(Architecture):
    r"""A shared network, of which each task attends to other features at every stage (Liu et al.,
    2019).

    $$a_t^{(k)} = m_t^{(k)} \odot p^{(k)}, \quad
    m_t^{(k)} = \sigma\big(n(\mathrm{relu}(n(z_t^{(k)} W_t^{(k)})) V_t^{(k)})\big), \quad
    z_t^{(k)} = [u^{(k)}, f_t^{(k)}(a_t^{(k-1)})], \quad y_t = h_t(a_t^{(K)}).$$

    $u^{(k)}$ and $p^{(k)}$ are the first and the last features of the shared stage k. $W$ and $V$
    act as convolutions 1×1, $n$ is batch normalization, over all replicas. $f$ leads to the next
    stage: a convolution 3×3 to its width (for vectors a fully connected layer), normalization,
    relu, and maximum pooling to its resolution. By default it is each task's own; with
    `shared_lead=True` the convolution is one for all tasks, as in the paper.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a functional Keras model, a `Sequential` or a layer from the inputs to features,
            of which a copy that begins with its weights is shared. Without it the inputs are
            vectors of floats.
        stages: the stages of the backbone, each the name of the layer of $p$, where $u = p$, or a
            pair of the names of the layers of $u$ and of $p$, at both of which the backbone can be
            cut. Defaults to its `stage_names`, which those of `mtlzoo.backbones` have (for `ResNet`
            $u$ is the end of a stage's first block); without these it is one stage.
        units: widths of fully connected layers after the backbone, each a stage. Defaults to none.
        shared_lead: whether the tasks share the convolutions of $f$. Then shared variables lie
            behind the tasks' own, and balancing at features level is refused. Defaults to False.
        activation: activation of `units`. Defaults to `"relu"`.
        dropout: rate of the dropout after each of `units`. Defaults to 0.
        dtype: dtype policy of the layers, but those of the backbone. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, stages, widths, rates or dtypes, or stages whose
            resolutions do not fit.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import MTAN, BinaryClassification, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = MTAN(keras.Input((8,)), tasks, units=(16, 8))
    model.attention_masks(np.ones((2, 8)))["click"]["units_1"].shape  # (2, 8)
    ```

    References:
        Liu, Johns and Davison, *End-to-End Multi-Task Learning with Attention*, CVPR 2019.

    *Differences from the paper*: any network, and where it has no decoder the task reads the masked
    features of the last stage. By default $f$ is each task's own, so that all that is shared comes
    before all that is not. Where it is shared, its normalization is still each task's own: masked
    features of other tasks have other statistics.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        stages: Sequence[str | Sequence[str]] | None = None,
        units: Sequence[int] = (),
        shared_lead: bool = False,
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        units = check_units("units", units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        if not isinstance(shared_lead, bool):
            raise ValueError(
                f"`shared_lead` should be True or False. Received: shared_lead={shared_lead!r}"
            )
        firsts, ends = _firsts_and_ends(backbone, stages)
        start, chain = stages_of(inputs, backbone, ends, units, activation, dropout, dtype)

        # --- Graph ---
        shared = []  # name, u and p of each stage
        features, first = start, None
        for stage in chain:
            features = stage.draw(features, "shared")
            if stage.name in firsts:
                first = features
            else:
                shared.append((stage.name, features if first is None else first, features))
                first = None
        leads: dict[str, keras.layers.Layer] = {}
        masks: dict[str, dict[str, Any]] = {}
        outputs = {}
        for task_name, task in by_name.items():
            masks[task_name] = {}
            attended = None
            for stage_name, u, p in shared:
                prefix = f"{task_name}_{stage_name}"
                if not same_positions(u, p):
                    raise ValueError(
                        "The two tensors of a stage should have the same positions. Received: "
                        f"shapes {u.shape} and {p.shape} of stage {stage_name!r}"
                    )
                if attended is not None:
                    owner = "shared" if shared_lead else task_name
                    lead_name = f"{owner}_{stage_name}_lead"
                    if lead_name not in leads:
                        leads[lead_name] = _lead(attended, p.shape[-1], lead_name, dtype)
                    attended = _leading_on(leads[lead_name](attended), p, prefix, dtype)
                attention = TaskAttention(p.shape[-1], name=f"{prefix}_attention", dtype=dtype)
                masks[task_name][stage_name] = attention([u] if attended is None else [u, attended])
                multiply = keras.layers.Multiply(name=f"{prefix}_attended", dtype=dtype)
                attended = multiply([masks[task_name][stage_name], p])
            outputs[task_name] = task.head(attended)

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "stages": None if stages is None else [_listed(entry) for entry in stages],
            "units": list(units),
            "shared_lead": shared_lead,
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        inside = {"masks": masks}
        tasks = list(by_name.values())
        super().__init__(inputs, outputs, tasks, arguments, preprocessor, name, inside)

    def attention_masks(
        self, x: Any, batch_size: int | None = None
    ) -> dict[str, dict[str, np.ndarray]]:
        """What each task lets through of the shared features.

        Args:
            x: inputs of the model, a batch of them or as for `predict`.
            batch_size: as for `predict`.

        Returns:
            dict by task of dicts by stage of arrays between 0 and 1, of the shape of the stage's
            features.
        """
        return self._read("masks", x, batch_size)


def _lead(attended: Any, width: int, name: str, dtype: Any) -> keras.layers.Layer:
    """A new layer from what a task has attended to, to this width."""
    rank = len(attended.shape) - 2
    if not rank:
        return keras.layers.Dense(width, use_bias=False, name=name, dtype=dtype)
    convolution: Any = getattr(keras.layers, f"Conv{rank}D")
    return convolution(width, 3, padding="same", use_bias=False, name=name, dtype=dtype)


def _leading_on(led: Any, target: Any, prefix: str, dtype: Any) -> Any:
    """What a task has attended to, normalized and at the positions of the next stage."""
    norm = normalization("batch", target.shape[-1], f"{prefix}_lead_norm", dtype)
    features = keras.layers.ReLU(name=f"{prefix}_lead_relu", dtype=dtype)(norm(led))
    return resized(features, target, "Max", f"{prefix}_lead_pool", dtype)


def _firsts_and_ends(backbone: Any, stages: Any) -> tuple[set[str], list[str] | None]:
    """The names of the layers of u, where it is not p, and of all layers to cut at, in order."""
    if stages is None and hasattr(backbone, "stage_names"):
        known = {layer.name for layer in backbone.layers}
        blocks = [(f"{name}_block_0", name) for name in backbone.stage_names]
        stages = [pair if pair[0] in known else pair[1] for pair in blocks]
    if stages is None:
        return set(), None
    if not isinstance(stages, list | tuple):
        raise ValueError(
            f"`stages` should be a list of names and pairs. Received: stages={stages!r}"
        )
    pairs = [entry for entry in stages if isinstance(entry, list | tuple)]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            "`stages` should be names of layers and pairs of them, of the first and the last "
            f"features of a stage. Received: stages={stages!r}"
        )
    ends = [name for entry in stages for name in (entry if entry in pairs else [entry])]
    return {first for first, _ in pairs}, ends


def _listed(entry: str | Sequence[str]) -> str | list[str]:
    return entry if isinstance(entry, str) else list(entry)
