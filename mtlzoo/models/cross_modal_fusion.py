"""Several modalities, fused before the tasks part."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_count, check_rate, check_seed, check_units
from mtlzoo.layers.attention_fusion import BottleneckFusion, CrossAttentionFusion
from mtlzoo.layers.fusion import ConcatenationFusion, Fusion, GatedFusion, LowRankFusion
from mtlzoo.layers.modalities import ContrastiveAlignment, ModalityDropout
from mtlzoo.layers.position_fusion import PositionFusion
from mtlzoo.layers.sequences import MaskedMean
from mtlzoo.models.architecture import Architecture, dense_stack, features_of, policy_config
from mtlzoo.tasks import Task

_FUSIONS: dict[str, type[Fusion]] = {
    "bottleneck": BottleneckFusion,
    "concatenation": ConcatenationFusion,
    "cross_attention": CrossAttentionFusion,
    "gated": GatedFusion,
    "low_rank": LowRankFusion,
}


@keras.saving.register_keras_serializable(package="mtlzoo")
class CrossModalFusion(Architecture):
    r"""An encoder for each modality, a fusion of them all, and a tower for each task.

    $$y_t = h_t(s(\mathrm{fuse}(P_1 e_1(x_1), \ldots, P_M e_M(x_M); p))),$$

    with encoders $e_m$, projections $P_m$ to one width, shared layers $s$, and $p_m$ 1 where
    modality $m$ is there. What is at the place of a missing modality, zeros by convention, is
    replaced by zeros before its encoder, and never shows in the answers.

    For tasks of pixels or steps one modality gives the positions, `positions_of`. What was fused,
    $z$, is joined to its features at each of them,

    $$y_t = h_t(s(a([p_m\, e_m(x_m)_s, z]\, W + b))),$$

    shared layers, towers and heads run there, and heads of tasks of whole rows take the mean. Where
    that modality is missing, its positions all hold what the others say.

    Args:
        inputs: a dict of `keras.Input`s, one for each modality; and for a modality that may be
            missing one more, of shape `()` and dtype `"bool"`, named `<modality>_present`.
        tasks: list of tasks.
        encoders: a dict by modality of Keras models or layers from its input to features: vectors,
            sequences or maps. A modality without one is a vector of floats. Padding is what a
            Keras mask of the features says, or without one the all-zero vectors of a sequence.
        fusion: `"concatenation"`, `"gated"`, `"low_rank"`, `"cross_attention"`, `"bottleneck"`, or
            a configured `mtlzoo.layers.Fusion`. The first three read one vector for each
            modality, the mean over its sequence or map; the others read its tokens. Defaults to
            `"concatenation"`.
        projection_units: width of all modalities before the fusion. Defaults to 64.
        fusion_units: width of the fused vector, where `fusion` is a name. Defaults to 64.
        positions_of: name of the modality at whose positions the tasks stand; its encoder gives a
            sequence or a map. Defaults to None, for tasks of whole rows.
        shared_units: widths of fully connected layers after the fusion. Defaults to none.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to none.
        modality_dropout: rate at which modalities are made missing in training, so that the model
            learns to do without. Defaults to 0.
        seed: int, seed of these draws. Defaults to a random one.
        alignment: weight of a contrastive loss that draws the modalities of one row together in
            one space, see `mtlzoo.layers.ContrastiveAlignment`. Defaults to 0.
        temperature: that of the contrastive loss. Defaults to 0.07.
        activation: activation of fused vector, shared layers and towers. Defaults to `"relu"`.
        dropout: rate of the dropout after each of the fully connected layers. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, encoders, tasks, widths, rates or dtypes, or positions of
            a modality that has none.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, CrossModalFusion, Regression

    inputs = {
        "caption": keras.Input((5,), dtype="int32", name="caption"),
        "caption_present": keras.Input((), dtype="bool", name="caption_present"),
        "image": keras.Input((8, 8, 3), name="image"),
    }
    encoders = {
        "caption": keras.layers.Embedding(100, 16, mask_zero=True),
        "image": keras.layers.Conv2D(16, 3),
    }
    tasks = [BinaryClassification("click"), Regression("stay")]
    model = CrossModalFusion(inputs, tasks, encoders=encoders, fusion="gated")
    x = {
        "caption": np.zeros((2, 5), "int32"),
        "caption_present": np.array([True, False]),
        "image": np.ones((2, 8, 8, 3)),
    }
    model.modality_weights(x)["caption"][1]  # zeros
    ```

    References:
        See the layers in `mtlzoo.layers`: `ConcatenationFusion`, `GatedFusion`, `LowRankFusion`,
        `CrossAttentionFusion`, `BottleneckFusion`, `PositionFusion`, `ModalityDropout`,
        `ContrastiveAlignment`.

    *Differences from the papers*: those of the layers.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        tasks: Sequence[Task],
        *,
        encoders: Mapping[str, Any] | None = None,
        fusion: str | Fusion = "concatenation",
        projection_units: int = 64,
        fusion_units: int = 64,
        positions_of: str | None = None,
        shared_units: Sequence[int] = (),
        tower_units: Sequence[int] = (),
        modality_dropout: float = 0.0,
        seed: int | None = None,
        alignment: float = 0.0,
        temperature: float = 0.07,
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        encoders = {} if encoders is None else encoders
        modalities = _modalities(inputs, encoders)
        check_count("projection_units", projection_units)
        check_count("fusion_units", fusion_units)
        shared_units = check_units("shared_units", shared_units)
        tower_units = check_units("tower_units", tower_units)
        modality_dropout = check_rate("modality_dropout", modality_dropout)
        seed = check_seed(seed)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        if positions_of is not None and positions_of not in modalities:
            raise ValueError(
                f"`positions_of` should be one of {modalities} or None. "
                f"Received: positions_of={positions_of!r}"
            )
        fuse = _fusion(fusion, fusion_units, dtype)
        align = ContrastiveAlignment(alignment, temperature, name="alignment", dtype=dtype)

        # --- Graph ---
        encodings, features, vectors = {}, {}, {}
        for modality in modalities:
            encodings[modality] = _encoded(modality, inputs, encoders.get(modality), dtype)
            encoded = _flat(modality, encodings[modality], dtype)
            encoded = (_tokens if fuse.reads_tokens else _pooled)(modality, encoded, dtype)
            project = keras.layers.Dense(
                projection_units, name=f"{modality}_projection", dtype=dtype
            )
            features[modality] = project(encoded)
            vectors[modality] = _pooled(f"{modality}_tokens", features[modality], dtype)
        joint, present = align(list(vectors.values()), _present(inputs, vectors, dtype))
        if modality_dropout:
            drop = ModalityDropout(modality_dropout, seed, name="modality_dropout")
            present = drop(present)
        fused = fuse(list(features.values()), present)
        fused, gates = fused if isinstance(fused, list | tuple) else (fused, None)
        fused = keras.layers.Activation(activation, name="fused", dtype=dtype)(fused)
        if positions_of is not None:
            i = modalities.index(positions_of)
            fused = _at_positions(
                encodings[positions_of], fused, present[:, i : i + 1], fuse.units, activation, dtype
            )
        shared = dense_stack(fused, shared_units, "shared", activation, dropout, dtype)
        outputs = {}
        for task_name, task in by_name.items():
            tower = dense_stack(
                shared, tower_units, f"{task_name}_tower", activation, dropout, dtype
            )
            outputs[task_name] = task.head(tower)

        # --- Config ---
        arguments = {
            "encoders": dict(encoders),
            "fusion": fusion,
            "projection_units": projection_units,
            "fusion_units": fusion_units,
            "positions_of": positions_of,
            "shared_units": list(shared_units),
            "tower_units": list(tower_units),
            "modality_dropout": modality_dropout,
            "seed": seed,
            "alignment": alignment,
            "temperature": temperature,
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        numbered = list(enumerate(modalities))
        inside = {"joint": {modality: joint[:, i] for i, modality in numbered}}
        if gates is not None:
            inside["gates"] = {modality: gates[:, i] for i, modality in numbered}
        tasks = list(by_name.values())
        super().__init__(inputs, outputs, tasks, arguments, preprocessor, name, inside)

    def joint_representation(self, x: Any, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """Each modality's vector in the space that `alignment` makes one.

        Args:
            x: inputs of the model, a batch of them or as for `predict`.
            batch_size: as for `predict`.

        Returns:
            dict by modality of arrays `(rows, projection_units)` of length 1, or 0 where the
            modality is missing.
        """
        return self._read("joint", x, batch_size)

    def modality_weights(self, x: Any, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """How much of the fused vector comes from each modality, by the gates of gated fusion.

        Args:
            x: inputs of the model, a batch of them or as for `predict`.
            batch_size: as for `predict`.

        Returns:
            dict by modality of arrays `(rows, fusion_units)`, which sum to 1 over the modalities.

        Raises:
            ValueError: if `fusion` has no gates.
        """
        if "gates" not in self._held.inside:
            fusion = self._held.arguments["fusion"]
            raise ValueError(f"`fusion` should be 'gated' to have weights. Received: {fusion!r}")
        return self._read("gates", x, batch_size)


def _modalities(inputs: Any, encoders: Any) -> list[str]:
    """The names of the modalities, sorted."""
    if not isinstance(inputs, Mapping):
        raise ValueError(
            f"`inputs` should be a dict of `keras.Input`s by modality. Received: inputs={inputs!r}"
        )
    flags = {name for name in inputs if name.removesuffix("_present") in set(inputs) - {name}}
    names = sorted(set(inputs) - flags)
    for name in flags:
        tensor = inputs[name]
        if tensor.dtype != "bool" or tuple(tensor.shape[1:]) not in {(), (1,)}:
            raise ValueError(
                f"The input `{name}` should be a bool for each row. "
                f"Received: shape={tuple(tensor.shape)}, dtype={tensor.dtype}"
            )
    if not isinstance(encoders, Mapping):
        raise ValueError(
            f"`encoders` should be a dict by modality. Received: encoders={encoders!r}"
        )
    for name, encoder in encoders.items():
        if name not in names:
            raise ValueError(
                f"`encoders` should have only the modalities {names} as keys. Received: {name!r}"
            )
        if not callable(encoder):
            raise ValueError(
                f"`encoders[{name!r}]` should be a Keras model or layer. Received: {encoder!r}"
            )
    return names


def _fusion(fusion: Any, units: int, dtype: Any) -> Fusion:
    """A new layer."""
    if isinstance(fusion, Fusion):
        return type(fusion).from_config({**fusion.get_config(), "name": "fusion", "dtype": dtype})
    if fusion not in _FUSIONS:
        raise ValueError(
            f"`fusion` should be one of {sorted(_FUSIONS)} or an `mtlzoo.layers.Fusion`. "
            f"Received: fusion={fusion!r}"
        )
    return _FUSIONS[fusion](units, name="fusion", dtype=dtype)


def _encoded(modality: str, inputs: Mapping[str, Any], encoder: Any, dtype: Any) -> Any:
    """Vectors `(batch, width)`, tokens `(batch, tokens, width)` with their mask, or a map."""
    flag = inputs.get(f"{modality}_present")

    def encode(tensor: Any) -> Any:
        if flag is not None:
            # Already here: a NaN would spoil gradients, an id that is none a lookup, any number
            # the statistics of a normalization.
            there = ops.reshape(flag, (-1,) + (1,) * (len(tensor.shape) - 1))
            tensor = ops.where(there, tensor, ops.zeros_like(tensor))
        return tensor if encoder is None else encoder(tensor)

    if encoder is None:
        features_of(inputs[modality])  # refuses what is no vector of floats
    features = features_of(inputs[modality], encode)
    rank = len(features.shape)
    if rank not in (2, 3, 4) or None in features.shape[1 if rank == 4 else 2 :]:
        raise ValueError(
            f"The encoder of `{modality}` should give features of shape (None, F), (None, S, F) or "
            f"(None, H, W, F). Received: shape={tuple(features.shape)}"
        )
    if rank == 3 and getattr(features, "_keras_mask", None) is None:
        features = keras.layers.Masking(name=f"{modality}_mask", dtype=dtype)(features)
    return features


def _flat(modality: str, features: Any, dtype: Any) -> Any:
    """The places of a map as tokens."""
    if len(features.shape) != 4:
        return features
    shape = (features.shape[1] * features.shape[2], features.shape[-1])
    return keras.layers.Reshape(shape, name=f"{modality}_flat", dtype=dtype)(features)


def _at_positions(
    features: Any, fused: Any, present: Any, units: int, activation: Any, dtype: Any
) -> Any:
    """What was fused, at each position of one modality."""
    if len(features.shape) == 2:
        raise ValueError(
            "`positions_of` should be a modality whose encoder gives features of shape "
            f"(None, S, F) or (None, H, W, F). Received: shape={tuple(features.shape)}"
        )
    join = PositionFusion(units, activation, name="at_positions", dtype=dtype)
    return join(features, fused, present)


def _tokens(name: str, features: Any, dtype: Any) -> Any:
    if len(features.shape) == 3:
        return features
    shape = (1, features.shape[-1])
    return keras.layers.Reshape(shape, name=f"{name}_token", dtype=dtype)(features)


def _pooled(name: str, features: Any, dtype: Any) -> Any:
    if len(features.shape) == 2:
        return features
    return MaskedMean(name=f"{name}_pool", dtype=dtype)(features)


def _present(inputs: Mapping[str, Any], vectors: Mapping[str, Any], dtype: Any) -> Any:
    """Ones and zeros `(batch, modalities)`."""
    columns = []
    for modality, vector in vectors.items():
        flag = inputs.get(f"{modality}_present")
        if flag is None:
            columns.append(ops.ones_like(vector[:, :1]))
        else:
            columns.append(ops.cast(ops.reshape(flag, (-1, 1)), vector.dtype))
    return ops.concatenate(columns, axis=1)
