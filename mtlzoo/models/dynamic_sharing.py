"""Soft sharing whose strength changes in training."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_rate, check_units
from mtlzoo.layers.blended_stage import BlendedStage, check_sharing
from mtlzoo.models.architecture import Architecture, dense_stack, policy_config
from mtlzoo.models.stages import stages_of
from mtlzoo.tasks import Task

# What the names of the layers that all tasks share begin with, as others do with a task's.
_SHARED = "shared"


@keras.saving.register_keras_serializable(package="mtlzoo")
class DynamicSharing(Architecture):
    r"""Each task's network runs on a blend of shared weights and weights of its own.

    Stage l of task t has the weights

    $$\alpha_t^{(l)} \theta^{(l)} + (1 - \alpha_t^{(l)}) \phi_t^{(l)},$$

    with $\theta$ shared by all tasks and $\phi_t$ the task's own: with $\alpha = 1$ this is hard
    sharing, with $\alpha = 0$ one network for each task. The gradient by $\theta$ is $\alpha$ times
    that by the weights in use, and the gradient by $\phi_t$ is $1 - \alpha$ times it. All state
    that is not trained, such as the averages of normalization, is each task's own.

    With `sharing="conflict"` the strength follows what the training step measures. With the
    Gramian $G$ of the tasks' gradients by the shared weights of one stage,

    $$\alpha_t \leftarrow 0.95\, \alpha_t + 0.05\, \frac{1 + c_t}{2}, \quad
    c_t = \mathrm{mean}_{s \neq t} \frac{G_{ts}}{\sqrt{G_{tt} G_{ss}}},$$

    over the other tasks with labels in the batch, so that tasks that pull apart come to share less.
    It stays where it is for a task without labels, without other tasks, or without a gradient.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a functional Keras model, a `Sequential` or a layer, which is copied for each
            task and once more for all, its weights with it. Without it the inputs are vectors of
            floats.
        stages: names of the layers of the backbone at which its stages end. Defaults to
            `backbone.stage_names`, or for a backbone without it the whole as one stage.
        units: widths of fully connected layers after the backbone, each a stage. Defaults to none.
        sharing: the strength $\alpha$: a number from 0 to 1; a tuple `(start, end, steps)`, linear
            over that many steps of training; a learning-rate schedule of Keras, or a registered
            function of the step, cut off at 0 and 1; `"learned"`, the sigmoid of one variable for
            each task and stage, which belongs to the task; or `"conflict"`. The last two start at
            0.5. Defaults to `"learned"`.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to none.
        activation: activation of all these layers. Defaults to `"relu"`.
        dropout: rate of the dropout after each of them. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, widths, rates, strengths (a function that is not
            registered, too) or dtypes, a backbone that cannot be copied in stages, or none at all.
            `compile` raises it for `sharing="conflict"` and a balancer that has no gradients by the
            shared weights.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, DynamicSharing, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = DynamicSharing(keras.Input((8,)), tasks, units=(32, 16), sharing="conflict")
    model.compile("adam", balancer="pcgrad")
    model.sharing_strengths()["units_0"]  # {"click": 0.5, "stay": 0.5}
    ```

    The callback `mtlzoo.models.LogSharing` adds the strengths to the logs of each epoch.

    Each of `units` has an independent draw for $\theta$ and each $\phi_t$, so that with
    $\alpha = 0.5$ the blended kernel starts with $1/\sqrt{2}$ of the standard deviation of its
    initializer. Copies of a backbone all start with its weights, and so does their blend.

    There is no paper. It is soft parameter sharing (Duong et al., *Low Resource Dependency
    Parsing*, ACL 2015) with the blend in place of a penalty; the measure of conflict is that of Yu
    et al., *Gradient Surgery for Multi-Task Learning*, NeurIPS 2020.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        stages: Sequence[str] | None = None,
        units: Sequence[int] = (),
        sharing: Any = "learned",
        tower_units: Sequence[int] = (),
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        if _SHARED in by_name:
            raise ValueError(
                "`tasks` should not have the name of the shared part. "
                f"Received: a task named {_SHARED!r}"
            )
        units = check_units("units", units)
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        sharing = _registered(check_sharing(sharing))
        dtype = policy_config(dtype)

        # --- Graph ---
        start, chain = stages_of(inputs, backbone, stages, units, activation, dropout, dtype)
        blended: dict[str, dict[str, BlendedStage]] = {}
        features = dict.fromkeys(by_name, start)
        for stage in chain:
            shared = stage.model(start, _SHARED)
            blended[stage.name] = {
                task_name: BlendedStage(
                    stage.model(start, task_name),
                    shared,
                    sharing,
                    name=f"{task_name}_{stage.name}_blend",
                    dtype=dtype,
                )
                for task_name in by_name
            }
            for task_name, layer in blended[stage.name].items():
                features[task_name] = layer(features[task_name])
            start = next(iter(features.values()))  # the form of what the next stage reads
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
            "sharing": sharing,
            "tower_units": list(tower_units),
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        super().__init__(inputs, outputs, list(by_name.values()), arguments, preprocessor, name)
        self._stage_names = [stage.name for stage in chain]

    def _blended(self, stage: str) -> dict[str, BlendedStage]:
        return {name: self.get_layer(f"{name}_{stage}_blend") for name in self.task_names}

    def sharing_strengths(self) -> dict[str, dict[str, float]]:
        """How strong the sharing is now.

        Returns:
            dict by stage of dicts by task of numbers from 0 to 1.
        """
        return {
            stage: {name: layer.strength() for name, layer in self._blended(stage).items()}
            for stage in self._stage_names
        }

    # -- what the training step measures ----------------------------------------------------

    def _measured(self) -> dict[str, list[keras.Variable]]:
        """By stage the shared variables whose gradients are compared."""
        if self._held.arguments["sharing"] != "conflict" or len(self.task_names) == 1:
            return {}
        first = self.task_names[0]
        groups = {s: self._blended(s)[first].shared.trainable_variables for s in self._stage_names}
        return {stage: group for stage, group in groups.items() if group}

    def measured_groups(self) -> list[list[keras.Variable]]:
        """The groups of shared variables of which a Gramian is wanted: by stage."""
        return list(self._measured().values())

    def observe_gramians(self, gramians: Sequence[tf.Tensor], present: tf.Tensor) -> None:
        """Let the strengths follow the conflicts.

        Args:
            gramians: those of the groups, `(T, T)` each, in the global batch.
            present: `(T,)` bool, the tasks that are to be looked at.
        """
        for stage, gramian in zip(self._measured(), gramians, strict=True):
            norms = tf.sqrt(tf.maximum(tf.linalg.diag_part(gramian), 0.0))
            known = present & (norms > 0) & tf.math.is_finite(norms)
            pairs = known[:, None] & known[None, :]
            pairs = tf.linalg.set_diag(pairs, tf.zeros_like(known))
            # Both branches of a `where` are computed.
            products = tf.where(pairs, norms[:, None] * norms[None, :], tf.ones_like(gramian))
            cosines = tf.where(pairs, gramian / products, tf.zeros_like(gramian))
            others = tf.reduce_sum(tf.cast(pairs, gramian.dtype), axis=1)
            mean = tf.reduce_sum(cosines, axis=1) / tf.maximum(others, 1.0)
            mean = tf.clip_by_value(mean, -1.0, 1.0)
            for i, layer in enumerate(self._blended(stage).values()):
                layer.observe(mean[i], others[i] > 0)


def _registered(sharing: Any) -> Any:
    """A strength that the model's config can name.

    Raises:
        ValueError: for a function that Keras cannot find by name.
    """
    try:
        if callable(sharing):
            keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sharing))
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`sharing` should be registered by `@keras.saving.register_keras_serializable()` where "
            "it is a function or a schedule of your own, so that saved models and students have "
            f"it, too. Received: sharing={sharing!r}"
        ) from error
    return sharing


class LogSharing(keras.callbacks.Callback):
    """Adds the strengths of a `DynamicSharing` to the logs of each epoch.

    The keys are `<task>_sharing_<stage>`. Callbacks that are to see them stand after this one.

    Example:
    ```python
    from mtlzoo.models import LogSharing

    callbacks = [LogSharing()]  # model.fit(..., callbacks=callbacks)
    ```
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the strengths."""
        if logs is None:
            return
        for stage, strengths in self.model.sharing_strengths().items():
            for name, strength in strengths.items():
                logs[f"{name}_sharing_{stage}"] = strength
