"""Models that learn from the labels and from each other at the same time."""

import inspect
import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mtlzoo.models import MultiTaskModel
from mtlzoo.tasks import SoftTargets, Task
from mtlzoo.tasks.configs import check_config
from mtlzoo.tasks.names import check_name
from mtlzoo.training import teaching
from mtlzoo.training.co_training import checks, peers
from mtlzoo.training.co_training.inputs import joined


@keras.saving.register_keras_serializable(package="mtlzoo")
class MutualLearning(MultiTaskModel):
    r"""Several models trained in one `fit`, each towards the labels and towards its peers' answers.

    Zhang et al., *Deep Mutual Learning*, CVPR 2018. Model $k$ of $K$ has for each task that another
    model has too, besides its loss, a second one: how far its answers are from those of its peers,
    which are labels there and get no gradient,

    $$L_k = L^\text{task}_k + w \, \frac{T^2}{K - 1} \sum_{l \ne k}
    \mathrm{KL}\big(p_l \,\|\, p_k\big), \qquad p_k = \mathrm{softmax}(z_k / T),$$

    or the distance that the kind of task has, see `SoftTargets`. Every row has these labels: rows
    without labels of their own are learned from peers alone.

    It is a `MultiTaskModel` over the graphs of all members: the task `kind` of the member `image`
    is called `image_kind`, and its way to its peers `image_kind_soft`. Balancers see all of them.
    Labels, sample weights, losses, loss weights and metrics may have the name that the members use,
    `kind`, for all of them, or `image_kind` for one. A task that one member alone has is learned
    from its labels.

    The members are not copied. After `fit` each is trained, and can be used, saved and exported by
    itself; `members[name]` is that of a loaded model.

    Args:
        members: dict by name of at least two `MultiTaskModel`s. Names begin those of tasks. Inputs
            of one name are one input; the model takes a dict of all inputs by name, or, where all
            members take the same inputs, what they take.
        temperature: T, positive. Defaults to 1.0.
        weight: loss weight of the soft tasks, of all or as a dict by the members' task name, where
            a task without one has 1. Defaults to 1.0.
        name: name of the model, `"mutual_learning"` if there is none given.
        preprocessor: a Keras model from raw columns to the inputs, see `MultiTaskModel`.

    Raises:
        ValueError: for fewer than two models, tasks of one name that mean something else, no task
            in common, inputs of one name that differ, or an argument out of its range.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, HardSharing
    from mtlzoo.training import MutualLearning

    members = {
        view: HardSharing(keras.Input((4,), name=view), [BinaryClassification("kind")])
        for view in ("image", "text")
    }
    model = MutualLearning(members)
    model.compile("adam")
    x = {view: np.random.normal(size=(32, 4)) for view in members}
    model.fit(x, {"kind": np.where(np.arange(32) < 8, np.arange(32) % 2, -1)}, verbose=0)
    members["image"].predict(x["image"], verbose=0)["kind"].shape  # (32, 1)
    ```

    References:
        Zhang et al., arXiv:1706.00384.

    *Differences from the paper*: all members are updated in one step, from answers of before it,
    and not in turn; these answers are given as in `predict`, without dropout and with the moving
    statistics of batch normalization, by one more forward pass; there is a temperature (1 in the
    paper); several tasks, some of which not all members have, and missing labels.
    """

    def __init__(
        self,
        members: Mapping[str, MultiTaskModel],
        *,
        temperature: float = 1.0,
        weight: float | Mapping[str, float] = 1.0,
        name: str | None = None,
        preprocessor: keras.Model | None = None,
    ) -> None:
        members = dict(sorted(checks.check_models("members", members, 2).items()))
        having = _having(members)
        weights = _weights(weight, having)
        inputs, read = joined(members)

        outputs: dict[str, Any] = {}
        tasks: list[Task] = []
        peers_of: dict[str, list[str]] = {}  # by soft task, the peers' outputs
        for member, model in members.items():
            raw = model(read[member])
            for task_name, task in model.tasks.items():
                full = f"{member}_{task_name}"
                check_name(full)
                twin = type(task).from_config({**task.get_config(), "name": full})
                found = [twin]
                if len(having[task_name]) > 1:
                    soft = SoftTargets(twin, temperature)
                    others = [m for m in having[task_name] if m != member]
                    peers_of[soft.name] = [f"{m}_{task_name}" for m in others]
                    found.append(soft)
                for each in found:
                    tensor = raw[task_name]
                    as_output = keras.layers.Identity(name=each.name, dtype=tensor.dtype)
                    outputs[each.name] = as_output(tensor)
                    tasks.append(each)
        super().__init__(
            inputs, outputs, name or "mutual_learning", tasks=tasks, preprocessor=preprocessor
        )
        self._held.arguments = {
            "members": members,
            "temperature": float(temperature),
            "weight": weights,
            "having": having,
            "peers": peers_of,
        }

    @property
    def members(self) -> dict[str, MultiTaskModel]:
        """The models by name; they have the variables of this one."""
        return dict(self._held.arguments["members"])

    def compile(
        self,
        optimizer: Any = "rmsprop",
        balancer: Any = "equal",
        *,
        loss: Mapping | None = None,
        loss_weights: Mapping[str, float] | None = None,
        metrics: Mapping | None = None,
        weighted_metrics: Mapping | None = None,
        **kwargs: Any,
    ) -> None:
        """Configure training, see `MultiTaskModel.compile`.

        Args:
            optimizer: a Keras optimizer or its name. Defaults to `"rmsprop"`.
            balancer: a balancer or its name, of all tasks of all members. Defaults to `"equal"`.
            loss: dict by task, of the members or of one of them.
            loss_weights: the same. That of a soft task is `weight`, unless it is given here.
            metrics: the same.
            weighted_metrics: the same.
            **kwargs: the other arguments of `MultiTaskModel.compile`.
        """
        given = self.by_member(loss_weights) if isinstance(loss_weights, Mapping) else loss_weights
        if given is None or isinstance(given, Mapping):
            given = {**self._soft_weights(), **(given or {})}
        super().compile(
            optimizer,
            balancer,
            loss=self.by_member(loss),
            loss_weights=given,
            metrics=self.by_member(metrics),
            weighted_metrics=self.by_member(weighted_metrics),
            **kwargs,
        )

    def _soft_weights(self) -> dict[str, float]:
        arguments = self._held.arguments
        return {
            f"{member}_{task}_soft": arguments["weight"].get(task, 1.0)
            for task, members in arguments["having"].items()
            if len(members) > 1
            for member in members
        }

    # -- labels ---------------------------------------------------------------------------------

    def by_member(self, given: Any) -> Any:
        """What is given by the members' task names, by those of this model.

        Args:
            given: a dict by task; anything else is returned as it is.
        """
        if not isinstance(given, Mapping):
            return given
        having = self._held.arguments["having"]
        found: dict[str, Any] = {}
        for name, value in given.items():
            if name in having and name not in self.task_names:
                for member in having[name]:
                    found.setdefault(f"{member}_{name}", value)
            else:
                found[name] = value
        return found

    def _with_peers(self, data: Any) -> tuple:
        """A batch with the peers' answers among its labels."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y, sample_weight = self.by_member(y), self.by_member(sample_weight)
        if isinstance(y, Mapping):  # else it is refused later
            y, sample_weight = teaching.take_back(y, sample_weight)
            peers_of = self._held.arguments["peers"]
            outputs = self.runner()(x, training=False)
            temperature = self._held.arguments["temperature"]
            for name, others in peers_of.items():
                answers = [outputs[other] for other in others]
                if self.tasks[name].loss_rank == 2:
                    answers = [teaching.without_padding(answer) for answer in answers]
                soft = peers.together(self.tasks[name].of, answers, temperature)  # type: ignore[attr-defined]
                y[name] = keras.ops.stop_gradient(soft)
        return x, y, sample_weight

    def train_step(self, data: Any) -> Any:
        """One training step, with what the peers answer before it; used by `fit`."""
        return super().train_step(self._with_peers(data))

    def test_step(self, data: Any) -> Any:
        """One evaluation step, the distances of the members among its losses."""
        return super().test_step(self._with_peers(data))

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train all members, see `MultiTaskModel.fit`; labels are by the members' tasks."""
        given = inspect.signature(keras.Model.fit).bind(self, x, y, *args, **kwargs).arguments
        given.pop("self")
        validation = given.get("validation_data")
        if isinstance(validation, tf.data.Dataset):
            given["validation_data"] = validation.map(
                lambda x, *others: (x, *(self.by_member(each) for each in others))
            )
        return super().fit(**given)

    def _arrays(self, y: Any, sample_weight: Any) -> Any:
        y, sample_weight = self.by_member(y), self.by_member(sample_weight)
        found = super()._arrays(y, sample_weight)
        return teaching.put_aside(self._held.arguments["peers"], y, sample_weight, found)

    def _checked(self, batches: Any) -> Any:
        for x, *others in batches:
            batch = (x, *(self.by_member(each) for each in others))
            self._step.objectives.check_batches(batch)
            yield batch

    # -- saving ---------------------------------------------------------------------------------

    def export(self, filepath: Any, format: Any = "tf_saved_model", **kwargs: Any) -> Any:
        """Export all members as one, see `MultiTaskModel.export`; soft tasks are left out."""
        if format == "tf_saved_model" and kwargs.get("tasks") is None:
            soft = self._held.arguments["peers"]
            kwargs["tasks"] = [name for name in self.task_names if name not in soft]
        return super().export(os.fspath(filepath), format, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        serialize = keras.saving.serialize_keras_object
        return {
            "members": {name: serialize(model) for name, model in self.members.items()},
            "temperature": self._held.arguments["temperature"],
            "weight": dict(self._held.arguments["weight"]),
            "name": self.name,
            "preprocessor": serialize(self.preprocessor) if self.preprocessor else None,
            **self._added_later(),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "MutualLearning":
        """The model of a config, with new variables."""
        config = check_config(f"a `{cls.__name__}`", config, "members", "preprocessor")
        later = cls._take_later(config)
        for key in ("members", "preprocessor"):
            config[key] = keras.saving.deserialize_keras_object(config[key], custom_objects)
        return cls(**config)._add_again(*later)


def _having(members: Mapping[str, MultiTaskModel]) -> dict[str, list[str]]:
    """By task the members that have it."""
    names = sorted({name for model in members.values() for name in model.task_names})
    found = {n: [m for m, model in members.items() if n in model.task_names] for n in names}
    for name, having in found.items():
        checks.check_same_task("members", name, {m: members[m].tasks[name] for m in having})
    if all(len(having) < 2 for having in found.values()):
        raise ValueError(
            "`members` should have a task in common, of which they learn from each other. "
            f"Received: { ({m: list(model.task_names) for m, model in members.items()}) }"
        )
    return found


def _weights(weight: Any, having: Mapping[str, list[str]]) -> dict[str, float]:
    """The loss weights of soft tasks by the members' tasks."""
    common = [name for name, members in having.items() if len(members) > 1]
    given = weight if isinstance(weight, Mapping) else dict.fromkeys(common, weight)
    for name in given:
        if name not in common:
            raise ValueError(
                f"`weight` should have only the tasks {common}, which several members have, as "
                f"keys. Received: {name!r}"
            )
    return {n: checks.check_weight(f"weight` of task `{n}", w) for n, w in given.items()}
