"""Reading what a trained model lets one read, in one form for all architectures."""

from collections.abc import Callable, Sequence
from typing import Any

from mtlzoo import models
from mtlzoo.analysis.attention import exchanges, masks, mixtures
from mtlzoo.analysis.attention.attention_table import AttentionTable
from mtlzoo.models import MultiTaskModel

# How each is read, and whether that depends on the inputs.
_READERS: dict[type, tuple[Callable[..., list[AttentionTable]], bool]] = {
    models.MMoE: (mixtures.read_gates, True),
    models.OMoE: (mixtures.read_one_gate, True),
    models.PLE: (mixtures.read_levels, True),
    models.DBMTLNet: (mixtures.read_gates, True),
    models.SNR: (mixtures.read_connections, False),
    models.LearningToBranch: (mixtures.read_branches, False),
    models.DynamicSharing: (mixtures.read_strengths, False),
    models.CrossStitch: (exchanges.read_stitches, False),
    models.Sluice: (exchanges.read_subspaces, False),
    models.NDDR: (exchanges.read_fusions, False),
    models.AITM: (exchanges.read_transfers, True),
    models.MTAN: (masks.read_masks, True),
    models.TaskQueryAttention: (masks.read_queries, True),
    models.CrossModalFusion: (masks.read_modalities, True),
}
_INSTEAD = (
    "For such a model use the cosine of the gradients (`compile(track_gramian='shared')` with the "
    "callback `GramianHistory`) for how tasks are related, and `permutation_importance` for what "
    "each of them reads"
)


def read_attention(
    model: MultiTaskModel,
    x: Any = None,
    *,
    batch_size: int | None = None,
    names: Sequence[str] | None = None,
) -> list[AttentionTable]:
    """What the gates, stitches, masks, queries or branches of a trained model say of its tasks.

    | model | table | one for each |
    |---|---|---|
    | `MMoE`, `DBMTLNet` with experts | task × expert | model |
    | `OMoE` | one row × expert | model |
    | `PLE` | task × expert of all banks; also the shared gate | level |
    | `SNR` | task × sub-network, the strongest path to it | layer |
    | `LearningToBranch` | task × node, the probability of reading it | stage |
    | `DynamicSharing` | task × stage | model |
    | `CrossStitch`, `NDDR` | task × task whose features it receives | stage |
    | `Sluice` | task × subspace; task × stage | stage; model |
    | `AITM` | task × task | model |
    | `MTAN` | task × stage; task × channel | model; stage |
    | `TaskQueryAttention` | task × token | model |
    | `CrossModalFusion(fusion="gated")` | one row × modality | model |

    Positions, heads and units are averaged; rows of data stay apart, for the spread and for
    `AttentionTable.similarity`. A few hundred rows do.

    Args:
        model: A trained model of the zoo.
        x: Inputs of the model, a batch of them or as for `predict`. Defaults to `None`, for models
            whose tables do not depend on inputs; `SNR` looks for dead sub-networks where they are
            given.
        batch_size: As for `predict`.
        names: What the columns are, in place of numbers, in the tables that have as many: words
            for the tokens of `TaskQueryAttention`, for instance. Defaults to `None`.

    Returns:
        The tables, in the order in which the model computes.

    Raises:
        ValueError: If the model has nothing of the kind, inputs are missing, names are no different
            strings, or no table has as many columns as there are names.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, CrossStitch, Regression
    from mtlzoo.analysis import read_attention

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = CrossStitch(keras.Input((8,)), tasks, units=(16, 8))
    first, last = read_attention(model)
    print(first.words())
    ```
    """
    reader, depends = reader_of(model)
    if names is not None:
        texts = not isinstance(names, str) and all(isinstance(name, str) for name in names)
        if not texts or len(set(names)) != len(names):
            raise ValueError(
                f"`names` should be a list of different strings. Received: names={names!r}"
            )
    if depends and x is None:
        raise ValueError(
            f"`x` should be inputs of the model, on which depends what a `{type(model).__name__}` "
            "reads. Received: x=None"
        )
    tables = reader(model, x, batch_size)
    for table in tables:
        table.model = type(model).__name__
    return tables if names is None else _named(tables, tuple(names))


def reader_of(model: Any) -> tuple[Callable[..., list[AttentionTable]], bool]:
    """What reads a model, and whether that depends on the inputs.

    Raises:
        ValueError: if there is nothing to read in it.
    """
    what = type(model).__name__
    if isinstance(model, models.SoftSharing):
        raise ValueError(
            "`model` should have gates, stitches, masks or branches. Received: a `SoftSharing`, "
            "whose columns are only drawn to each other: read how far apart they are by "
            "`model.distances()`"
        )
    found = next((r for kind, r in _READERS.items() if isinstance(model, kind)), None)
    if isinstance(model, models.DBMTLNet) and not model._held.arguments["num_experts"]:
        found, what = None, "DBMTLNet` with `num_experts=0"
    if isinstance(model, models.CrossModalFusion) and "gates" not in model._held.inside:
        raise ValueError(
            "`model` should have one gate for each modality, by `fusion='gated'`. Received: a "
            f"`CrossModalFusion` with fusion={model._held.arguments['fusion']!r}. What its tasks "
            "take from each modality, `permutation_importance` says: each input is a group there"
        )
    if isinstance(model, models.AITM) and len(model._held.arguments["sequence"]) < 2:
        found, what = None, "AITM` with a sequence of one task, `"
    if found is None:
        raise ValueError(
            "`model` should have gates, stitches, masks, queries or branches to read. Received: a "
            f"`{what}`. {_INSTEAD}"
        )
    return found


def _named(tables: list[AttentionTable], names: tuple[str, ...]) -> list[AttentionTable]:
    fitting = [table for table in tables if len(table.columns) == len(names)]
    if not fitting:
        counts = sorted({len(table.columns) for table in tables})
        raise ValueError(
            f"`names` should be as many as a table has columns, {counts}. "
            f"Received: {len(names)} names"
        )
    for table in fitting:
        table.columns = names
    return tables
