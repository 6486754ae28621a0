"""The weights of models, matched variable by variable."""

import os
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo.ensembles import members as m
from mtlzoo.models.multi_task_model import MultiTaskModel

# What Keras appends to the names of layers that were given none.
_NUMBER = re.compile(r"_\d+(?=/|$)")


def _by_path(model: keras.Model) -> dict[str, keras.Variable]:
    """The weights by path; of several with one path the others have a number, in their order."""
    found: dict[str, keras.Variable] = {}
    for variable in m.weights_of(model):
        path, n = variable.path, 1
        while path in found:
            path, n = f"{variable.path} ({n})", n + 1
        found[path] = variable
    return found


def arrays_of(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights of a model by the path of the variable, without the state of balancers.

    Args:
        model: The model.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles.states import arrays_of

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=())
    list(arrays_of(model))  # ["stay/kernel", "stay/bias"]
    ```
    """
    return {path: keras.ops.convert_to_numpy(v) for path, v in _by_path(model).items()}


def in_order_of(
    first: tuple[str, dict[str, np.ndarray]], other: tuple[str, dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays of another model under the paths of the first.

    Variables belong together that have the same path; if models have paths of their own, since
    Keras numbered the layers, those at the same position whose paths are the same but for numbers.

    Args:
        first: What messages call the first model, and its arrays.
        other: The same of the other.

    Raises:
        ValueError: Naming variable and model, if they are not of one architecture.

    Example:
    ```python
    import numpy as np
    from mtlzoo.ensembles.states import in_order_of

    first = {"dense/kernel": np.zeros(3)}
    in_order_of(("first", first), ("other", {"dense_1/kernel": np.ones(3)}))  # "dense/kernel"
    ```
    """
    (name, wanted), (other_name, given) = first, other
    if wanted.keys() != given.keys():
        for path in wanted:
            if len(given) != len(wanted) and path not in given:
                raise ValueError(
                    f"Models should be of one architecture. Received: {other_name} without the "
                    f"variable `{path}` that {name} has"
                )
        if len(given) != len(wanted):
            path = next(path for path in given if path not in wanted)
            raise ValueError(
                f"Models should be of one architecture. Received: {other_name} with the variable "
                f"`{path}` that {name} has not"
            )
        for path, other_path in zip(wanted, given, strict=True):
            if _NUMBER.sub("", path) != _NUMBER.sub("", other_path):
                raise ValueError(
                    f"Models should be of one architecture. Received: the variable `{other_path}` "
                    f"of {other_name} where {name} has `{path}`"
                )
        given = dict(zip(wanted, given.values(), strict=True))
    for path, array in wanted.items():
        check_shape(path, (name, array), (other_name, given[path]))
    return {path: given[path] for path in wanted}


def check_shape(path: str, first: tuple[str, Any], other: tuple[str, Any]) -> None:
    """Refuse two arrays of one variable that have different shapes.

    Args:
        path: The path of the variable.
        first: What messages call the first model, and its array.
        other: The same of the other.

    Raises:
        ValueError: Naming variable and model.

    Example:
    ```python
    import numpy as np
    from mtlzoo.ensembles.states import check_shape

    check_shape("dense/kernel", ("first", np.ones(3)), ("other", np.zeros(3)))
    ```
    """
    if first[1].shape != other[1].shape:
        raise ValueError(
            f"Models should be of one architecture. Received: the variable `{path}` of shape "
            f"{other[1].shape} in {other[0]}, {first[1].shape} in {first[0]}"
        )


def statistics_of(model: keras.Model) -> set[str]:
    """The paths of what is counted or averaged instead of learned, as in `BatchNormalization`.

    Args:
        model: The model.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles.states import statistics_of

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=())
    statistics_of(model)  # set()
    ```
    """
    layers = model._flatten_layers(include_self=False)
    found = {id(v) for layer in layers for v in layer._non_trainable_variables}
    return {path for path, variable in _by_path(model).items() if id(variable) in found}


def assign(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Give the variables of a model these values, in their own dtype.

    Args:
        model: The model.
        arrays: By path of the variable; the others stay.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles.states import assign

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=())
    assign(model, {"stay/bias": np.ones(1)})
    ```
    """
    for path, variable in _by_path(model).items():
        if path in arrays:
            variable.assign(arrays[path])


def read_all(models: Sequence[Any], like: MultiTaskModel | None) -> list[Any]:
    """Models, and files that hold the weights of one, checked but not all read yet.

    Args:
        models: Models, paths of `.keras` files, or with `like` of `.weights.h5` files.
        like: The model that such files are of, or `None`.

    Raises:
        ValueError: For no list, an empty one, files that are not there or without `like`.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles.states import read_all

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=())
    len(read_all([model, model], None))  # 2
    ```
    """
    if like is not None:
        (like,) = m.read([like], "like")
    if not isinstance(models, list | tuple) or not models:
        raise ValueError(
            "`models` should be a list of one model at least, or of paths of files. "
            f"Received: models={models!r}"
        )
    for i, given in enumerate(models):
        is_path = isinstance(given, str | os.PathLike)
        if is_path and os.fspath(given).endswith(".weights.h5"):
            if like is None or not os.path.exists(given):
                raise ValueError(
                    "`models` should hold paths of `.weights.h5` files only if they are there and "
                    "`like` is the model that they are of. Received: "
                    f"models[{i}]={os.fspath(given)!r}, like={like!r}"
                )
        elif not is_path or not os.path.exists(given):
            m.read([given])
    return list(models)


def load(i: int, given: Any, like: MultiTaskModel | None) -> tuple[str, MultiTaskModel]:
    """What messages call a model, and the model.

    Args:
        i: Its position.
        given: A model or the path of a file.
        like: A model whose weights a `.weights.h5` file replaces.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.ensembles.states import load

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=(), name="small")
    load(0, model, None)[0]  # "model 0 (`small`)"
    ```
    """
    if like is not None and str(given).endswith(".weights.h5"):
        model = m.copy_of(like, preprocessor=True)
        model.load_weights(given)
        return f"model {i} ({os.fspath(given)!r})", model
    (model,) = m.read([given])
    return m.label(i, model), model
