"""A shared network with small parts of each task's own in it."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.adapters import BottleneckAdapter, LowRankUpdate
from mtlzoo.layers.arguments import check_number, check_rate, check_units
from mtlzoo.models.architecture import Architecture, dense_stack, policy_config
from mtlzoo.models.stages import copy_weights, draw_again, stages_of
from mtlzoo.tasks import Task

ADAPTERS = ("bottleneck", "lora", "batch_norm")
# The layers whose kernels `adapter="lora"` updates: those that are one product with one kernel.
_UPDATED = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)


@keras.saving.register_keras_serializable(package="mtlzoo")
class AdapterSharing(Architecture):
    r"""One network for all tasks, with a few parameters of each task's own inside.

    Stage l of the network has weights $\theta^{(l)}$ that all tasks share, and an adapter for each
    task,

    $$x_t^{(l)} = a_t^{(l)}\big(f(x_t^{(l-1)}; \theta^{(l)})\big), \quad y_t = h_t(x_t^{(n)}).$$

    * `adapter="bottleneck"`: after each stage a narrow network beside the identity, over the last
      axis (`mtlzoo.layers.BottleneckAdapter`).
    * `adapter="lora"`: instead of $a$, an update of low rank to the kernel of each `Dense`,
      `EinsumDense`, `Conv1D`, `Conv2D` and `Conv3D` layer (`mtlzoo.layers.LowRankUpdate`). Other
      layers, and layers inside layers or nested models, are shared as they are.
    * `adapter="batch_norm"`: instead of $a$, each task has its own `BatchNormalization` layers,
      with statistics, scale and offset, while all other layers are shared. In a step the branches
      of all tasks run on all rows of the batch; with batches of one task each, the statistics of
      the absent tasks stay as they are, so that each task's are those of its own data.

    After the first adapter the tasks' features differ, so that the shared layers run once for each
    task: with T tasks the cost of T networks, with hardly more parameters than one.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a functional Keras model, a `Sequential` or a layer, which is copied, its weights
            with it. Without it the inputs are vectors of floats.
        stages: names of the layers of the backbone at which its stages end. Defaults to
            `backbone.stage_names`, or for a backbone without it the whole as one stage.
        units: widths of fully connected layers after the backbone, each a stage. Defaults to none.
        adapter: `"bottleneck"`, `"lora"` or `"batch_norm"`. Defaults to `"bottleneck"`.
        adapter_units: width of the bottleneck. Defaults to 8.
        rank: rank of the updates of `"lora"`. Defaults to 4.
        lora_alpha: what the updates of `"lora"` are multiplied by, over the rank. Defaults to 1.0.
        train_shared: whether the shared layers are trained. Defaults to True.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to none.
        activation: activation of `units`, towers and bottlenecks. Defaults to `"relu"`.
        dropout: rate of the dropout after each layer of `units` and towers. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, widths, rates or dtypes, an unknown adapter or one
            for which there is no layer, a backbone that cannot be copied in stages, or none at all.

    Example:
    ```python
    import keras
    from mtlzoo import AdapterSharing, BinaryClassification, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = AdapterSharing(keras.Input((8,)), tasks, units=(32, 16), adapter_units=4)
    len(model.task_variables("click"))  # 4 in each of 2 adapters and 2 in the head
    ```

    References:
        Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, ICML 2019.
        Rebuffi et al., *Efficient Parametrization of Multi-Domain Deep Neural Networks*, CVPR 2018.
        Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, ICLR 2022.
        Bilen & Vedaldi, *Universal Representations: The Missing Link between Faces, Text, Planktons
        and Cat Breeds*, 2017 (normalization for each domain).

    *Differences from the papers*: all tasks are trained together, by default with the shared
    layers; one bottleneck after a stage, where Houlsby et al. have two in each block of a
    transformer; and updates of low rank are not those of the projections that Hu et al. choose
    where these are inside a `MultiHeadAttention`, as in `mtlzoo.backbones.TextEncoder`, whose
    attention is shared as it is.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        stages: Sequence[str] | None = None,
        units: Sequence[int] = (),
        adapter: str = "bottleneck",
        adapter_units: int = 8,
        rank: int = 4,
        lora_alpha: float = 1.0,
        train_shared: bool = True,
        tower_units: Sequence[int] = (),
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        units = check_units("units", units)
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        lora_alpha = check_number("lora_alpha", lora_alpha, "a number of at least 0", 0)
        dtype = policy_config(dtype)
        if adapter not in ADAPTERS:
            raise ValueError(
                f"`adapter` should be one of {list(ADAPTERS)}. Received: adapter={adapter!r}"
            )
        if not isinstance(train_shared, bool):
            raise ValueError(
                f"`train_shared` should be True or False. Received: train_shared={train_shared!r}"
            )
        replaced: list[str] = []  # the names of the layers that are not shared as they are

        def inside(task_name) -> Callable[[Any], Any]:
            """What a task has in place of an operation of the shared network."""
            own: dict[int, Any] = {}  # a layer that is called twice is replaced by one

            def choose(operation):
                kind = {"lora": _UPDATED, "batch_norm": keras.layers.BatchNormalization}
                if not isinstance(operation, kind.get(adapter, ())):
                    return operation
                if id(operation) not in own:
                    name = f"{task_name}_{operation.name.removeprefix('shared_')}"
                    replaced.append(name)
                    if adapter == "lora":
                        own[id(operation)] = LowRankUpdate(
                            operation, rank, lora_alpha, name=f"{name}_update", dtype=dtype
                        )
                    else:
                        own[id(operation)] = _twin(operation, name)
                return own[id(operation)]

            return choose

        # --- Graph ---
        start, chain = stages_of(inputs, backbone, stages, units, activation, dropout, dtype)
        features = dict.fromkeys(by_name, start)
        choices = {task_name: inside(task_name) for task_name in by_name}
        for i, stage in enumerate(chain):
            part = stage.model(next(iter(features.values())), "shared")
            if not train_shared:
                part.trainable = False
            if adapter == "bottleneck" and i == 0:  # no adapter stands before it
                features = dict.fromkeys(by_name, draw_again(part, start, lambda layer: layer))
            else:
                features = {
                    task_name: draw_again(part, features[task_name], choice)
                    for task_name, choice in choices.items()
                }
            if adapter == "bottleneck":
                for task_name in by_name:
                    layer = BottleneckAdapter(
                        adapter_units,
                        activation,
                        name=f"{task_name}_{stage.name}_adapter",
                        dtype=dtype,
                    )
                    features[task_name] = layer(features[task_name])
        if adapter != "bottleneck" and not replaced:
            kind = "BatchNormalization" if adapter == "batch_norm" else "Dense or convolution"
            raise ValueError(
                f"`adapter` should be one for which the network has layers: there is no {kind} "
                f"layer in it. Received: adapter={adapter!r}"
            )
        outputs = {}
        for task_name, task in by_name.items():
            tower = dense_stack(
                features[task_name], tower_units, f"{task_name}_tower", activation, dropout, dtype
            )
            outputs[task_name] = task.head(tower)

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "stages": None if stages is None else list(stages),
            "units": list(units),
            "adapter": adapter,
            "adapter_units": adapter_units,
            "rank": rank,
            "lora_alpha": lora_alpha,
            "train_shared": train_shared,
            "tower_units": list(tower_units),
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        super().__init__(inputs, outputs, list(by_name.values()), arguments, preprocessor, name)


def _twin(layer: keras.layers.Layer, name: str) -> keras.layers.Layer:
    """A layer like another, with its weights, that is trained whether or not that one is."""
    twin = type(layer).from_config({**layer.get_config(), "name": name, "trainable": True})
    twin.build(layer.input.shape)
    copy_weights(layer, twin)
    return twin
