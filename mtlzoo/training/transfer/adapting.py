"""A trained model with parts of each task's own beside its frozen trunk."""

from typing import Any

import keras

from mtlzoo.models import AdapterSharing, HardSharing
from mtlzoo.models.graph import nodes_from_inputs
from mtlzoo.models.stages import copy_weights, draw_again
from mtlzoo.training.transfer.stages import trunk_stages


def with_adapters(model: HardSharing, adapter: str = "lora", **arguments: Any) -> AdapterSharing:
    r"""A trained `HardSharing` whose trunk rests, with adapters of each task's own in it.

    The new model is an `AdapterSharing` with copies of the trunk, the towers and the heads. With
    `"lora"`, of updates of low rank, and `"batch_norm"` it predicts what the old one does, with
    `"bottleneck"` nearly so, since a bottleneck of zeros would not learn. The adapters stand after
    the stages of `trunk_stages`. The old model is left as it is.

    Of Keras's own `enable_lora` a layer has one update for all tasks, and a model that is saved has
    it merged into the kernel; here each task has its own, and it is saved.

    Args:
        model: the model, without a `tree`.
        adapter: `"lora"`, `"bottleneck"` or `"batch_norm"`, see `AdapterSharing`. Defaults to
            `"lora"`.
        **arguments: further arguments of `AdapterSharing`, such as `rank`, `adapter_units`, or
            `train_shared`, which is False here by default.

    Returns:
        The new model, which is to be compiled.

    Raises:
        ValueError: for another model, and for what `AdapterSharing` refuses.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.training import with_adapters

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(16, 16))
    adapted = with_adapters(model, rank=2)
    adapted.shared_variables  # [], since the trunk rests
    adapted.compile("adam", balancer="uncertainty")
    ```

    References:
        Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, ICLR 2022.
    """
    if not isinstance(model, HardSharing) or model.tree is not None:
        what = "one with a `tree`" if isinstance(model, HardSharing) else type(model).__name__
        raise ValueError(f"`model` should be a `HardSharing` without a `tree`. Received: {what}")
    stages = trunk_stages(model)
    trunk = _trunk(model)
    ends = [_last(trunk, layers) for layers in stages.values()]
    own = model._held.arguments
    new = AdapterSharing(
        keras.tree.map_structure(_input_like, model.input),
        list(model.tasks.values()),
        **{
            "backbone": trunk,
            "stages": list(dict.fromkeys(end for end in ends if end)),
            "adapter": adapter,
            "train_shared": False,
            "preprocessor": model.preprocessor,
            **{key: own[key] for key in ("tower_units", "activation", "dropout", "dtype")},
            **arguments,
        },
    )
    for name in model.task_names:
        for layer in model._flatten_layers(include_self=False):
            mine = layer.weights and all(model._ownership.of(v) == {name} for v in layer.weights)
            if mine and any(layer.name == other.name for other in new.layers):
                copy_weights(layer, new.get_layer(layer.name))
    return new


def _trunk(model: HardSharing) -> keras.Model:
    """The shared part with the layers of a model in it as its own, so that each can be adapted."""
    backbone, units = model._held.arguments["backbone"], model._held.arguments["shared_units"]
    inputs = keras.tree.map_structure(_input_like, model.input)
    if units:
        drops = "_dropout" if model._held.arguments["dropout"] else ""
        last = model.get_layer(f"shared_{len(units) - 1}{drops}")
        whole = keras.Model(model.input, last.output)
    else:
        whole = keras.Model(model.input, backbone(model.input))
    return keras.Model(inputs, _flat(whole, inputs), name="trunk")


def _flat(network: Any, features: Any) -> Any:
    """Draw a network with the layers of the functional models in it in their place."""

    def operation(each):
        is_functional = isinstance(each, keras.Model) and hasattr(each, "_run_through_graph")
        if is_functional and not isinstance(each, keras.Sequential):
            return lambda *inputs, **_: _flat(each, inputs[0] if len(inputs) == 1 else inputs)
        return each

    return draw_again(network, features, operation)


def _last(trunk: keras.Model, layers) -> str | None:
    """The name of the layer of a stage at which the trunk leaves it."""
    ids = {id(layer) for layer in layers}
    names = [n.operation.name for n in nodes_from_inputs(trunk) if id(n.operation) in ids]
    return names[-1] if names else None


def _input_like(tensor: Any) -> Any:
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
