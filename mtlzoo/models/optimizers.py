"""What the training step has to know about Keras's optimizers, wrappers of others included."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf


def leaves(optimizer: keras.optimizers.Optimizer) -> Iterator[keras.optimizers.Optimizer]:
    """The optimizers inside a `LossScaleOptimizer` or `MultiOptimizer`, or itself."""
    if scales_dynamically(optimizer):
        yield from leaves(optimizer.inner_optimizer)
    elif isinstance(getattr(optimizer, "optimizers", None), list | tuple):
        for inner in optimizer.optimizers:
            yield from leaves(inner)
    else:
        yield optimizer


def scales_dynamically(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether `optimizer` is a `LossScaleOptimizer`, which handles overflows by itself."""
    return hasattr(optimizer, "inner_optimizer")


def scaled(optimizer: Any, model: keras.Model) -> Any:
    """The optimizer with dynamic loss scaling, if layers compute in float16 and it has none.

    Keras looks at the policy of the model, which is the global one, and not at those of its layers.
    """
    optimizer = keras.optimizers.get(optimizer)
    in_half = any(layer.compute_dtype == "float16" for layer in model._flatten_layers())
    if not in_half or scales_dynamically(optimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale_optimizer")


def check(optimizer: keras.optimizers.Optimizer, replicas: int) -> None:
    """Refuse what would go wrong without a word.

    Raises:
        ValueError: for what Keras cannot do on several replicas, and for accumulation inside a
            `MultiOptimizer`.
    """
    for leaf in leaves(optimizer):
        steps = leaf.gradient_accumulation_steps
        if steps and replicas > 1:
            raise ValueError(
                "`gradient_accumulation_steps` should be None on several replicas, where Keras's "
                f"optimizers cannot accumulate. Received: gradient_accumulation_steps={steps}"
            )
        if steps and leaf is not getattr(optimizer, "inner_optimizer", optimizer):
            raise ValueError(
                "`gradient_accumulation_steps` should be None inside a `MultiOptimizer`, whose "
                f"optimizers count on their own. Received: gradient_accumulation_steps={steps} of "
                f"`{leaf.name}`"
            )
        frequency = leaf.ema_overwrite_frequency
        if leaf.use_ema and frequency and replicas > 1:
            raise ValueError(
                "`ema_overwrite_frequency` should be None on several replicas, where Keras's "
                "optimizers cannot overwrite variables by their averages in the step; at the end "
                "of training they do it without it. "
                f"Received: ema_overwrite_frequency={frequency}"
            )


def unknown(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> list[keras.Variable]:
    """Those of `variables` that `optimizer` was not built for."""
    built = [leaf for leaf in leaves(optimizer) if leaf.built]
    known = {id(v) for leaf in built for v in leaf._trainable_variables}
    return [v for v in variables if id(v) not in known]


def average_what_is_trained(optimizer: keras.optimizers.Optimizer) -> None:
    """Have averages (`use_ema`) overwrite the variables that they are of, but for frozen ones.

    At the end of `fit` Keras takes what is trainable then for what the optimizer was built for, one
    after the other: with something frozen in between, variables would get each other's averages.
    """
    for leaf in leaves(optimizer):
        if leaf.use_ema:
            leaf._overwrite_model_variables_with_average_value = functools.partial(_overwrite, leaf)


def _overwrite(leaf: Any, given: Any) -> None:
    """What Keras does, whatever variables it gives."""
    for variable, average in zip(
        leaf._trainable_variables, leaf._model_variables_moving_average, strict=True
    ):
        if variable.trainable:
            leaf._distribution_strategy.extended.update(
                variable.value, lambda v, new: v.assign(new), args=(average,)
            )


def accumulates(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether `optimizer` applies the gradients of several steps together."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return bool(getattr(inner, "gradient_accumulation_steps", None))


def moves_all(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether a step changes something of variables that have no gradient in it: their averages, or
    themselves by gradients that were accumulated before.
    """
    return accumulates(optimizer) or any(leaf.use_ema for leaf in leaves(optimizer))


def loss_scale(optimizer: keras.optimizers.Optimizer) -> tf.Tensor | None:
    """The factor by which `optimizer` expects gradients to be too large; `None` for 1."""
    if scales_dynamically(optimizer):
        return tf.convert_to_tensor(optimizer.scale_loss(tf.constant(1.0)))
    factor = optimizer.loss_scale_factor
    return None if factor is None else tf.constant(float(factor))


def exclude_from_weight_decay(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> None:
    """Let weight decay pass over `variables`, besides those that the user excluded."""
    for leaf in leaves(optimizer):
        # The public method forgets what was excluded before.
        excluded: set = getattr(leaf, "_exclude_from_weight_decay", set())
        leaf._exclude_from_weight_decay = {*excluded, *map(leaf._var_key, variables)}


def takes_slices(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether `optimizer` does nothing with a gradient that Keras cannot do with its slices."""
    return not scales_dynamically(optimizer) and not any(
        _clips(leaf) or leaf.gradient_accumulation_steps or leaf.loss_scale_factor is not None
        for leaf in leaves(optimizer)
    )


def needs_global_gradients(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether `optimizer` looks at gradients before it sums them over replicas."""
    return scales_dynamically(optimizer) or any(map(_clips, leaves(optimizer)))


def _clips(leaf: keras.optimizers.Optimizer) -> bool:
    return bool(leaf.clipnorm or leaf.global_clipnorm or leaf.clipvalue)


def exact_clip(
    gradients: Sequence,
    variables: Sequence[keras.Variable],
    optimizer: keras.optimizers.Optimizer,
    scale: tf.Tensor | None = None,
) -> list:
    """Clip the gradients of the global batch as `optimizer` would on one replica.

    Keras clips each replica's gradient before it sums them, which is another operation. Clipping
    here first is exact, and leaves Keras's own with nothing to do.

    Args:
        gradients: one tensor for each variable, or `None`.
        variables: the variables.
        optimizer: the optimizer, built.
        scale: its loss scale, which the gradients carry.
    """
    clipped = list(gradients)
    places = {id(v): i for i, v in enumerate(variables)}
    for leaf in leaves(optimizer):
        if _clips(leaf):
            own = [places[id(v)] for v in leaf._trainable_variables if id(v) in places]
            own = [i for i in own if gradients[i] is not None]
            for i, gradient in zip(
                own, _clip(leaf, [gradients[i] for i in own], scale), strict=True
            ):
                clipped[i] = gradient
    return clipped


def _clip(leaf: keras.optimizers.Optimizer, gradients: list, scale: tf.Tensor | None) -> list:
    limit = leaf.clipnorm or leaf.global_clipnorm or leaf.clipvalue
    if scale is not None and gradients:
        limit = limit * tf.cast(scale, gradients[0].dtype)
    if leaf.clipnorm:
        return [tf.clip_by_norm(g, limit) for g in gradients]
    if leaf.global_clipnorm:
        return tf.clip_by_global_norm(gradients, limit)[0]
    return [tf.clip_by_value(g, -limit, limit) for g in gradients]
