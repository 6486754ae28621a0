"""Several models as one."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo.ensembles import members as m
from mtlzoo.ensembles.fitted import FittedWeights, Temperature
from mtlzoo.ensembles.fixed import Weighted
from mtlzoo.ensembles.fusion import Fusion, get
from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.tasks.configs import check_config


@keras.saving.register_keras_serializable(package="mtlzoo")
class Ensemble(MultiTaskModel):
    r"""One multi-task model that answers what several models answer together.

    Each task is fused over the models that have it, by a `Fusion`; the answer of one that only one
    model has stays as it is. Outputs are raw ones, as those of every model: `evaluate`, metrics,
    `task.serve`, `.keras` files and `export` work as ever, in one graph.

    The models are copied: they stay as they are, and training them on changes nothing here. The
    copies are frozen, and run as in `predict`. What a fusion has to learn (`"fitted_weights"`,
    `"stacking"`, `"temperature"`) is trained by `compile` and `fit`, on data that the models
    were not trained on; the loss is that of the fused output.

    Args:
        models: List of multi-task models, or paths of `.keras` files. They may be of different
            architectures and have different tasks, but all take the same inputs.
        fusion: A `Fusion` or its name, see `ensembles.names()`, for all tasks; or a dict of them by
            task, where the others have `"mean"`. Defaults to `"mean"`.
        name: Name of the model. Defaults to `"ensemble"`.
        preprocessor: The Keras model from raw columns to the inputs, as for `MultiTaskModel`.
            Defaults to `"own"`: that of the models, if all have one and the same object, or none.
        copy: Whether the models are copied. With `False` they become part of the ensemble and are
            frozen, which saves memory. Defaults to `True`.

    Attributes:
        members: The models inside, in the order given.
        members_of: By task, which of them have it, from 0.

    Raises:
        ValueError: For no models, models without tasks or with other inputs, tasks of one name that
            are not the same, or a fusion that a task cannot have.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.ensembles import Ensemble

    tasks = [BinaryClassification("click"), Regression("stay")]
    models = [HardSharing(keras.Input((8,)), tasks, shared_units=(16,)) for _ in range(3)]
    model = Ensemble(models, fusion={"click": "majority_vote"})
    model.predict(np.ones((2, 8)), verbose=0)  # {"click": (2, 1), "stay": (2, 1)}
    ```
    """

    def __init__(
        self,
        models: Sequence[Any],
        fusion: str | Fusion | Mapping[str, Any] = "mean",
        *,
        name: str | None = "ensemble",
        preprocessor: keras.Model | str | None = "own",
        copy: bool = True,
    ) -> None:
        given = m.read(models)
        m.check_inputs(given)
        tasks = m.tasks_of(given)
        chosen = _by_task(fusion, list(tasks))
        if preprocessor == "own":
            preprocessor = _common_preprocessor(given)

        inside = [m.copy_of(model) if copy else model for model in given]
        layers = [m.Member(model, name=f"member_{i}") for i, model in enumerate(inside)]
        inputs = keras.tree.map_structure(_new_input, given[0].input)
        found = [layer(inputs) for layer in layers]
        outputs = {}
        for task, (kind, having) in tasks.items():
            fused = chosen[task].of(kind, having, len(given))
            outputs[task] = fused([found[i][task] for i in having])

        super().__init__(
            inputs,
            outputs,
            name=name,
            tasks=[kind for kind, _ in tasks.values()],
            preprocessor=preprocessor,
        )
        members_of = {task: list(having) for task, (_, having) in tasks.items()}
        self._held.arguments = {"fusion": chosen, "members_of": members_of}
        self._member_layers = layers

    # -- what is inside ---------------------------------------------------------------------

    @property
    def members(self) -> list[MultiTaskModel]:
        """The models inside, in the order given."""
        return [layer.model for layer in self._member_layers]

    @property
    def members_of(self) -> dict[str, list[int]]:
        """By task, which of the models have it, from 0."""
        return {task: list(having) for task, having in self._held.arguments["members_of"].items()}

    def fusion_weights(self) -> dict[str, dict[int, float]]:
        """By task that has such weights, those of the models, by position, of sum 1."""
        found: dict[str, dict[int, float]] = {}
        for task, having in self.members_of.items():
            fusion = self.get_layer(task)
            fusion = fusion.inner if isinstance(fusion, Temperature) else fusion
            if isinstance(fusion, FittedWeights):
                shares = keras.ops.convert_to_numpy(fusion.shares())
            elif isinstance(fusion, Weighted):
                shares = np.asarray(fusion.weights_given) / np.sum(fusion.weights_given)
            else:
                continue
            found[task] = dict(zip(having, shares.tolist(), strict=True))
        return found

    def temperatures(self) -> dict[str, float]:
        """By task that has one, the temperature; above 1 the models were too sure."""
        layers = {task: self.get_layer(task) for task in self.task_names}
        return {
            task: float(keras.ops.exp(layer.log_temperature))
            for task, layer in layers.items()
            if isinstance(layer, Temperature)
        }

    # -- training and saving ----------------------------------------------------------------

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train what the fusions have to learn, see `MultiTaskModel.fit`.

        Raises:
            ValueError: If they have nothing to learn.
        """
        if not self.trainable_variables:
            raise ValueError(
                "`fusion` should have something to learn for one task at least, as 'fitted_weights'"
                ", 'stacking' and 'temperature' have, for `fit`. Received: "
                f"{ {t: type(f).__name__ for t, f in self._held.arguments['fusion'].items()} }"
            )
        return super().fit(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`; and what was done to the model since."""
        serialize = keras.saving.serialize_keras_object
        return {
            "models": serialize(self.members),
            "fusion": {t: serialize(f) for t, f in self._held.arguments["fusion"].items()},
            "name": self.name,
            "preprocessor": serialize(self.preprocessor) if self.preprocessor else None,
            **self._added_later(),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "Ensemble":
        """The model of a config, with new variables."""
        config = check_config(f"a `{cls.__name__}`", config, "models", "fusion", "preprocessor")
        later = cls._take_later(config)
        for key in ("models", "fusion", "preprocessor"):
            config[key] = keras.saving.deserialize_keras_object(config[key], custom_objects)
        return cls(**config, copy=False)._add_again(*later)


def _by_task(fusion, names):
    """A fusion for each task."""
    if not isinstance(fusion, Mapping):
        return dict.fromkeys(names, get(fusion))
    for name in fusion:
        if name not in names:
            raise ValueError(
                f"`fusion` should have only the tasks {names} as keys. "
                f"Received: {name!r} in fusion={dict(fusion)!r}"
            )
    chosen = {}
    for name in names:
        try:
            chosen[name] = get(fusion.get(name, "mean"))
        except ValueError as error:
            raise ValueError(f"The fusion of task `{name}`: {error}") from None
    return chosen


def _common_preprocessor(models):
    """That of the models, if it is one and the same."""
    first = models[0].preprocessor
    for i, model in enumerate(models):
        if model.preprocessor is not first:
            raise ValueError(
                "`preprocessor` should be given where the models have not one and the same: the "
                "Keras model that stands in front of all of them, or None. Received: "
                f"{m.label(i, model)} with another one than {m.label(0, models[0])}"
            )
    return first


def _new_input(tensor):
    operation = tensor._keras_history.operation
    return keras.layers.InputLayer.from_config(operation.get_config()).output
