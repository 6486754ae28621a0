"""Entire space multi-task model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_rate, check_units
from mtlzoo.layers.product_of_probabilities import ProductOfProbabilities
from mtlzoo.models.architecture import Architecture, dense_stack, features_of, policy_config
from mtlzoo.tasks import BinaryClassification, Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class ESMM(Architecture):
    r"""The steps of a funnel as products of conditional probabilities (Ma et al., SIGIR 2018).

    A label of step $t$ says whether the row got as far as this step, so that it is there for every
    row, and no step is learned from the few rows of the step before alone. With a tower and a
    logit $a_t$ for each step,

    $$p(\text{step } t \mid \text{step } t - 1) = \sigma(a_t(f(x))), \quad
    p(\text{step } t) = \prod_{i \le t} \sigma(a_i(f(x))).$$

    The outputs are the logits of the products, without a product being formed
    (`mtlzoo.layers.ProductOfProbabilities`). The conditional probabilities have no loss of their
    own: `conversion_rates` shows them, `conversion_model` serves them.

    The tower of a step serves this step and all after it, so that only the last step has variables
    of its own. Tasks outside of the funnel have a tower and a head of their own.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        funnel: names of `BinaryClassification` tasks, from the first step to the last. Defaults to
            `("click", "purchase")`.
        backbone: a Keras model or layer from the inputs to features, such as embeddings that are
            joined. Without it the inputs are vectors of floats.
        tower_units: widths of the fully connected layers of each tower. Defaults to `(200, 80)`, as
            in the paper.
        activation: activation of the towers. Defaults to `"relu"`.
        dropout: rate of the dropout after each layer of a tower. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, widths, rates or dtypes, and for a funnel of other
            than `BinaryClassification` tasks.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import ESMM, BinaryClassification

    sizes = {"user": 1000, "item": 500, "hour": 24}  # of the vocabularies of ids
    inputs = {key: keras.Input((), dtype="int32", name=key) for key in sizes}
    embedded = [
        keras.layers.Embedding(size, 8, name=f"{key}_embedding")(inputs[key])
        for key, size in sizes.items()
    ]
    bottom = keras.Model(inputs, keras.layers.Concatenate()(embedded), name="bottom")

    tasks = [BinaryClassification("click"), BinaryClassification("purchase")]
    model = ESMM(inputs, tasks, funnel=("click", "purchase"), backbone=bottom)
    model.compile("adam")

    rng = np.random.default_rng(0)
    x = {key: rng.integers(0, size, 64) for key, size in sizes.items()}
    click = rng.integers(0, 2, 64)
    model.fit(x, {"click": click, "purchase": click * rng.integers(0, 2, 64)}, verbose=0)
    model.conversion_rates(x)["purchase"].shape  # (64, 1): of a purchase after a click
    ```

    References:
        Ma et al., *Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click
        Conversion Rate*, SIGIR 2018.

    *Differences from the paper*: funnels of any length, further tasks, and the logit of the product
    in place of the product. The shared embeddings are the backbone.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        funnel: Sequence[str] = ("click", "purchase"),
        backbone: Any = None,
        tower_units: Sequence[int] = (200, 80),
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        funnel = check_sequence("funnel", funnel, by_name)
        for step in funnel:
            if not isinstance(by_name[step], BinaryClassification):
                raise ValueError(
                    "`funnel` should name `BinaryClassification` tasks. "
                    f"Received: funnel={funnel!r}, with {by_name[step]!r}"
                )
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)

        # --- Graph ---
        features = features_of(inputs, backbone, dtype)
        towers = {
            task_name: dense_stack(
                features, tower_units, f"{task_name}_tower", activation, dropout, dtype
            )
            for task_name in by_name
        }
        logits: dict[str, Any] = {}  # of each step, given the one before
        for step in funnel:
            logits[step] = BinaryClassification(f"{step}_logit").head(towers[step])
        outputs = {}
        for task_name, task in by_name.items():
            if isinstance(task, BinaryClassification) and task_name in funnel:
                so_far = [logits[step] for step in funnel[: funnel.index(task_name) + 1]]
                product = ProductOfProbabilities(
                    task.from_logits, name=task_name, dtype=so_far[0].dtype
                )
                outputs[task_name] = product(so_far)
            else:
                outputs[task_name] = task.head(towers[task_name])

        # --- Config ---
        arguments = {
            "funnel": list(funnel),
            "backbone": backbone,
            "tower_units": list(tower_units),
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        inside = {"conversion_rates": {s: keras.ops.sigmoid(a) for s, a in logits.items()}}
        super().__init__(
            inputs, outputs, list(by_name.values()), arguments, preprocessor, name, inside
        )

    @property
    def conversion_model(self) -> keras.Model:
        """A plain Keras model from the inputs to what `conversion_rates` returns, which shares the
        variables: to be saved, exported or put after a preprocessor.
        """
        return self._held.inside["conversion_rates"]

    def conversion_rates(self, x: Any, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """How likely each step is, given the one before.

        Args:
            x: inputs of the model, a batch of them or as for `predict`.
            batch_size: as for `predict`.

        Returns:
            dict by step of the funnel of arrays `(rows, 1)` of probabilities. That of the first
            step is given nothing.
        """
        return self._read("conversion_rates", x, batch_size)


def check_sequence(argument: str, names: Sequence[str], tasks: dict[str, Task]) -> tuple[str, ...]:
    """A tuple of names of tasks, each once.

    Raises:
        ValueError: naming the argument, for anything else.
    """
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(
            f"`{argument}` should be a non-empty tuple of names of tasks. "
            f"Received: {argument}={names!r}"
        )
    for name in names:
        if not isinstance(name, str) or name not in tasks:
            raise ValueError(
                f"`{argument}` should name some of the tasks {list(tasks)}. "
                f"Received: {name!r} in {argument}={names!r}"
            )
        if list(names).count(name) > 1:
            raise ValueError(
                f"`{argument}` should name each task once. "
                f"Received: {name!r} twice in {argument}={names!r}"
            )
    return tuple(names)
