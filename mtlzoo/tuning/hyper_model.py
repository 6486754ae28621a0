"""Models whose architecture, sharing, balancer and learning rate are what is searched for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import keras_tuner

from mtlzoo import MultiTaskModel, balancing
from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_number
from mtlzoo.models.architecture import Architecture
from mtlzoo.tasks import Task


class MultiTaskHyperModel(keras_tuner.HyperModel):
    """Builds and compiles the multi-task model of a trial, for any tuner of KerasTuner.

    Hyperparameters are `architecture`, `balancer`, `learning_rate`, and for each architecture its
    own, which count only where it is chosen: `MMoE/num_experts`, for instance.

    Args:
        inputs: The inputs of every model, a `keras.Input`, or a list or dict of them.
        tasks: List of tasks.
        architectures: What is chosen from. By class of the zoo a dict of constructor arguments: a
            list is what the search chooses from, a function gets the trial's hyperparameters and
            gives the argument (a new backbone, for instance), anything else is the argument. Or by
            a name a function from the trial's hyperparameters to a model that is not compiled.
        balancers: Balancers to choose from, names or objects. Defaults to `("equal",)`.
        learning_rate: The least and the greatest, between which it is drawn by its logarithm; or
            one number. Defaults to `(3e-4, 3e-3)`.
        optimizer: From the learning rate to the optimizer. Defaults to `None`, Adam.
        preprocessor: See `MultiTaskModel`; of models of the zoo.
        compile_options: Further arguments of `compile`. Defaults to none.

    Raises:
        ValueError: If there is nothing to choose from, or an argument is none of these.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, MMoE, Regression
    from mtlzoo.tuning import MultiTaskHyperModel

    tasks = [BinaryClassification("click"), Regression("stay")]
    space = {
        HardSharing: {"shared_units": [(16,), (32, 16)], "tower_units": (8,)},
        MMoE: {"num_experts": [2, 4], "expert_units": (16,)},
    }
    hyper = MultiTaskHyperModel(keras.Input((8,)), tasks, space, balancers=["equal", "pcgrad"])
    # keras_tuner.RandomSearch(hyper, objective=MultiTaskObjective(...), max_trials=10)
    ```

    A balancer that a model refuses, such as one of gradients where no variable is shared, fails its
    trial with the reason (`FailedTrialError`), and the search goes on. A tuner builds each
    architecture once when it is made, to know all hyperparameters before the first trial.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        architectures: Mapping[Any, Any],
        *,
        balancers: Sequence[Any] = ("equal",),
        learning_rate: float | Sequence[float] = (3e-4, 3e-3),
        optimizer: Callable[[float], keras.optimizers.Optimizer] | None = None,
        preprocessor: keras.Model | None = None,
        compile_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name="multi_task", tunable=True)
        self._inputs, self._tasks = inputs, list(task_kinds.by_name(tasks).values())
        self._makers = _checked(architectures)
        self._balancers = _named(balancers)
        self._rates = _rates(learning_rate)
        optimizer = keras.optimizers.Adam if optimizer is None else optimizer
        if not callable(optimizer):
            raise ValueError(
                "`optimizer` should be a function of the learning rate. "
                f"Received: optimizer={optimizer!r}"
            )
        self._optimizer, self._preprocessor = optimizer, preprocessor
        self._compile_options = dict(compile_options or {})
        self._first = (next(iter(self._makers)), next(iter(self._balancers)))

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """All hyperparameters of all architectures, as a tuner asks for when it is made.

        Args:
            hp: Where they are declared; an architecture or a balancer that is there already stays.

        Raises:
            ValueError: If no architecture goes together with a balancer.
        """
        names = [hp.values["architecture"]] if "architecture" in hp.values else list(self._makers)
        balancers = [hp.values["balancer"]] if "balancer" in hp.values else list(self._balancers)
        explored = hp.copy()
        built, reasons = [], []
        for name in names:
            for balancer in balancers:
                explored.values |= {"architecture": name, "balancer": balancer}
                try:
                    self.build(explored)
                except keras_tuner.errors.FailedTrialError as error:
                    reasons.append(f"{error}")
                else:
                    built.append((name, balancer))
                    break
        if not built:
            raise ValueError(
                "`architectures` and `balancers` should have two that go together. "
                f"Received: {names} and {balancers}, of which {reasons[0]}"
            )
        # A tuner builds what comes first outside of any trial, where nothing may be refused.
        self._first = built[0]
        self._choice(hp)
        hp.merge(explored, overwrite=False)

    def _choice(self, hp: keras_tuner.HyperParameters) -> tuple[str, str]:
        """The architecture and the balancer of a trial, by name."""
        name, balancer = self._first
        return (
            hp.Choice("architecture", list(self._makers), default=name),
            hp.Choice("balancer", list(self._balancers), default=balancer),
        )

    def build(self, hp: keras_tuner.HyperParameters) -> MultiTaskModel:
        """The model of a trial, compiled.

        Args:
            hp: The hyperparameters of the trial.

        Raises:
            keras_tuner.errors.FailedTrialError: If the model or `compile` refuses them.
        """
        name, balancer = self._choice(hp)
        low, high = self._rates
        if low == high:
            rate = hp.Fixed("learning_rate", low)
        else:
            rate = hp.Float("learning_rate", low, high, sampling="log")
        try:
            with hp.conditional_scope("architecture", [name]):
                model = self._made(name, hp)
            model.compile(
                self._optimizer(rate), _copied(self._balancers[balancer]), **self._compile_options
            )
        except ValueError as error:
            raise keras_tuner.errors.FailedTrialError(f"{name}: {error}") from error
        return model

    def _made(self, name: str, hp: keras_tuner.HyperParameters) -> MultiTaskModel:
        maker = self._makers[name]
        if not isinstance(maker, tuple):
            return maker(hp)
        cls, arguments = maker
        chosen = {key: _argument(f"{name}/{key}", each, hp) for key, each in arguments.items()}
        return cls(self._inputs, self._tasks, preprocessor=self._preprocessor, **chosen)


def _argument(name: str, given: Any, hp: keras_tuner.HyperParameters) -> Any:
    if isinstance(given, list):
        # KerasTuner chooses among numbers or text only; a tuple of widths is chosen as its text.
        if len({type(each) for each in given}) == 1 and type(given[0]) in (int, float, str, bool):
            return hp.Choice(name, given)
        by_text = {_text(each): each for each in given}
        return by_text[hp.Choice(name, list(by_text))]
    if callable(given) and not isinstance(given, keras.layers.Layer | type):
        return given(hp)
    return given


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _copied(balancer: Any) -> Any:
    """A balancer of its own for each model."""
    return type(balancer).from_config(balancer.get_config())


def _checked(architectures: Any) -> dict[str, Any]:
    """By name a class with its arguments, or a function."""
    if not isinstance(architectures, Mapping) or not architectures:
        raise ValueError(
            "`architectures` should be a dict of what is chosen from. "
            f"Received: architectures={architectures!r}"
        )
    found: dict[str, Any] = {}
    for key, given in architectures.items():
        if isinstance(key, type) and issubclass(key, Architecture) and isinstance(given, Mapping):
            for name, each in given.items():
                if isinstance(each, list) and not each:
                    raise ValueError(
                        f"`architectures` should have something to choose from for `{name}` of "
                        f"`{key.__name__}`. Received: []"
                    )
            found[key.__name__] = (key, dict(given))
        elif isinstance(key, str) and callable(given):
            found[key] = given
        else:
            raise ValueError(
                "`architectures` should have a class of the zoo with a dict of arguments, or a "
                f"name with a function. Received: {key!r}: {given!r}"
            )
    return found


def _named(balancers: Any) -> dict[str, Any]:
    """Balancers by the name that a table shows."""
    if isinstance(balancers, str) or not isinstance(balancers, list | tuple) or not balancers:
        raise ValueError(
            f"`balancers` should be a non-empty list. Received: balancers={balancers!r}"
        )
    return {_text(each): balancing.get(each, "balancers") for each in balancers}


def _rates(given: Any) -> tuple[float, float]:
    pair = tuple(given) if isinstance(given, list | tuple) else (given, given)
    if len(pair) != 2 or not 0 < check_number("learning_rate", pair[0]) <= check_number(
        "learning_rate", pair[1]
    ):
        raise ValueError(
            "`learning_rate` should be a positive number, or the least and the greatest. "
            f"Received: learning_rate={given!r}"
        )
    return pair
