"""Kernels in eight bits."""

from typing import Any

import keras

from mtlzoo.analysis.simplification.redrawing import check_model, redrawn, same_seeds_after
from mtlzoo.models import MultiTaskModel

MODES = ("int8", "int4")


@same_seeds_after()
def quantize(model: MultiTaskModel, mode: str = "int8") -> MultiTaskModel:
    """A copy whose kernels are integers with a scale for each unit, by Keras's `quantize`.

    Fully connected layers, `EinsumDense` and embeddings are quantized; convolutions, banks of
    `mtlzoo.layers.Experts` and an `EinsumDense` with `...` in its equation, as in an `SNR`, stay as
    they are, as Keras has no such form of them. A kernel then takes a quarter of its bytes, also in
    the `.keras` file and in the SavedModel, where masked zeros take as many as before. The graph of
    a SavedModel gets larger, so that only one with many weights in such layers gets smaller. On a
    CPU it is not faster: inputs are quantized for each row in each call. Do this last: a quantized
    model is not pruned or factored, and its kernels are not trained.

    Args:
        model: A multi-task model, which is left as it is. Models inside it are taken apart.
        mode: `"int8"` or `"int4"`. Defaults to `"int8"`.

    Returns:
        A plain `MultiTaskModel` with the same tasks and preprocessor, not compiled.

    Raises:
        ValueError: For another mode, a model that is quantized, and one without a layer that can
            be.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.analysis import quantize

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(16,))
    str(quantize(model).get_layer("shared_0")._kernel.dtype)  # "int8"
    ```
    """
    if mode not in MODES:
        raise ValueError(f"`mode` should be one of {list(MODES)}. Received: mode={mode!r}")
    new, _ = redrawn(check_model(model))
    new.quantize(mode, filters=_can_be)
    new._tracker.unlock()  # Keras leaves it locked, so that `compile` could add no balancer
    if not quantized_layers(new):
        raise ValueError(
            "`model` should have a layer that Keras can quantize, such as `Dense`. Received: "
            f"`{model.name}`, with the layers {[type(layer).__name__ for layer in new.layers]}"
        )
    return new


def _can_be(layer: Any) -> bool:
    """Whether it has a quantized form; Keras warns of every other one, or fails."""
    if isinstance(layer, keras.layers.EinsumDense) and "..." in layer.equation:
        return False
    return type(layer).quantize is not keras.layers.Layer.quantize


def quantized_layers(model: Any) -> list[str]:
    """The names of the layers whose kernels are quantized.

    Args:
        model: The model.
    """
    layers = model._flatten_layers(include_self=False)
    return [la.name for la in layers if getattr(la, "quantization_mode", None) is not None]
