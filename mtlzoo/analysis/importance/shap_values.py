"""SHAP values of a task."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.analysis.explanation.task_view import task_view
from mtlzoo.analysis.importance.feature_importance import NOTE, FeatureImportance
from mtlzoo.analysis.importance.features import Groups, Table, chosen_tasks
from mtlzoo.data.arguments import check_count
from mtlzoo.models import MultiTaskModel

_REST = "all else"


class ShapValues(FeatureImportance):
    """What each feature adds to a task's output, row by row; a `FeatureImportance` of their sizes.

    Args:
        features: The F features.
        task: The task.
        contributions: (N, F): what each adds, in units of the raw output.
        base: The mean output of the background.
        outputs: (N,), the raw outputs.
        confidence: Of the intervals of the mean absolute contributions. Defaults to 0.95.

    Example:
    ```python
    import numpy as np
    from mtlzoo.analysis.importance.shap_values import ShapValues

    contributions = np.array([[0.5, 0.1], [-0.4, 0.0], [0.6, -0.1]])
    found = ShapValues(["age", "hours"], "buy", contributions, 0.2, contributions.sum(1) + 0.2)
    found.top("buy", 1)[0][:2]  # ("age", 0.5)
    ```
    """

    def __init__(
        self,
        features: Any,
        task: str,
        contributions: Any,
        base: float,
        outputs: Any,
        confidence: float = 0.95,
    ) -> None:
        self.contributions = np.asarray(contributions, "float64")
        self.base, self.outputs = float(base), np.asarray(outputs, "float64")
        super().__init__(
            features,
            [task],
            np.abs(self.contributions)[..., None],
            {task: "mean |SHAP|"},
            confidence=confidence,
            title=f"What moves the output of {task}",
            how=f"Contributions are to the raw output of {len(self.contributions)} rows, beside "
            f"the mean output {self.base:.3g} of the background.",
        )

    def words(self) -> str:
        """What moves the output most, and in which direction in how many rows."""
        said = []
        for feature, value, low, high in self.top(self.tasks[0], 3):
            up = (self.contributions[:, self.features.index(feature)] > 0).mean()
            said.append(
                f"{feature} by {value:.3g} ({low:.3g} to {high:.3g}), up in {up:.0%} of rows"
            )
        return (
            f"The output of {self.tasks[0]} is moved most by {'; '.join(said)}. {self._how} {NOTE}"
        )


def shap_values(
    model: MultiTaskModel,
    task: str,
    background: Any,
    x: Any,
    *,
    groups: Mapping[str, Any] | None = None,
    names: Any = None,
    output: int | None = None,
    permutations: int = 1,
    confidence: float = 0.95,
    seed: int = 0,
    batch_size: int = 4096,
    raw: bool | None = None,
) -> ShapValues:
    """SHAP values of a task's raw output, by `shap.PermutationExplainer` on the task's view.

    A feature, or a group of features, is left out by putting the values of background rows in its
    place. Of each permutation of the features both directions are taken, which is exact where no
    more than two of them act together. Contributions and the base add up to the output.

    Args:
        model: A trained model.
        task: The task.
        background: Inputs, or raw columns, of the rows that stand for "not known": 20 to 100 of
            the training rows.
        x: Those of the rows to explain, three at least.
        groups: As for `permutation_importance`; no column may be in two of them. Columns in none
            are one more group.
        names: As for `permutation_importance`.
        output: Which number of the output, where there are several: the class of `Classification`.
            Defaults to `None`, the only one.
        permutations: How many of each row. Defaults to 1.
        confidence: Of the intervals. Defaults to 0.95.
        seed: Of the permutations, from 0. Defaults to 0.
        batch_size: Rows that the model runs on at once. For each of `x` it sees those of the
            background times two times the groups and once more, times `permutations`. Defaults to
            4096.
        raw: As for `permutation_importance`. Defaults to `None`, what the names say.

    Returns:
        A `FeatureImportance` with the attributes `contributions` (N, F), `base` and `outputs` (N,).

    Raises:
        ValueError: If the task is unknown or dense, or an argument is unusable.
        ImportError: If shap is not installed.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import shap_values

    model = HardSharing(keras.Input((3,)), [Regression("a"), Regression("b")], shared_units=(8,))
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    found = shap_values(model, "a", x[:8], x[8:])
    found.contributions.sum(1) + found.base - found.outputs  # zeros, but for rounding
    ```

    References:
        Lundberg and Lee, *A Unified Approach to Interpreting Model Predictions*, NeurIPS 2017.
    """
    (task,) = chosen_tasks(model, [task])
    check_count("permutations", permutations)
    check_count("batch_size", batch_size)
    check_count("seed", seed, least=0)
    shown, behind = Table(model, x, raw), Table(model, background, raw)
    if shown.raw != behind.raw or set(shown.columns) != set(behind.columns):
        raise ValueError(
            "`background` should have the same inputs as `x`. "
            f"Received: {sorted(behind.columns)} and {sorted(shown.columns)}"
        )
    chosen = _apart(shown, shown.groups(groups, names))
    unit = _unit(model, task, output)
    try:
        import shap
    except ImportError as error:
        raise ImportError(
            "SHAP values should have shap. Install it with `pip install 'mtlzoo[shap]'`"
        ) from error
    game = _Game(model, task, unit, shown, behind, chosen, batch_size)
    # SHAP sees the numbers of rows in place of values, so that these may be text, and groups of
    # columns. Number 0 is the background.
    numbers = np.tile(np.arange(1, shown.length + 1)[:, None], (1, len(chosen.names)))
    with _own_randomness():
        explainer = shap.PermutationExplainer(game.means, _Masker(len(chosen.names)), seed=seed)
        # SHAP runs as many permutations as go into the number of evaluations.
        evaluations = (2 * len(chosen.names) + 1) * permutations
        explained = explainer(numbers, max_evals=evaluations, silent=True)
    base = float(game.means(np.zeros_like(numbers[:1]))[0])
    outputs = game.outputs(shown.columns)
    return ShapValues(chosen.names, task, explained.values, base, outputs, confidence)


class _Game:
    """The mean output where some groups are those of a row and the others of the background."""

    def __init__(
        self,
        model: MultiTaskModel,
        task: str,
        unit: int,
        shown: Table,
        behind: Table,
        groups: Groups,
        batch_size: int,
    ) -> None:
        view = task_view(model, task)
        self._call = tf.function(lambda x: view(x, training=False), reduce_retracing=True)
        self._unit, self._batch_size, self._groups = unit, batch_size, groups
        self._shown, self._behind = shown, behind.columns
        self._count = behind.length

    def means(self, numbers: np.ndarray) -> np.ndarray:
        """(n, G) to (n,): 0 for the background, else one more than the number of the row."""
        columns = {
            name: np.tile(array, (len(numbers),) + (1,) * (array.ndim - 1))
            for name, array in self._behind.items()
        }
        rows = np.repeat(numbers.max(1).astype("int64") - 1, self._count)
        for group, part in enumerate(self._groups.parts):
            of_row = np.repeat(numbers[:, group] > 0, self._count)
            source = {}
            for name in part:
                source[name] = columns[name].copy()
                source[name][of_row] = self._shown.columns[name][rows[of_row]]
            self._groups.put(group, columns, source)
        return self.outputs(columns).reshape(len(numbers), self._count).mean(1)

    def outputs(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """The explained number of the raw output, for each row."""
        inputs = self._shown.inputs(columns)
        found = []
        for first in range(0, len(next(iter(columns.values()))), self._batch_size):
            batch = keras.tree.map_structure(
                lambda array, i=first: tf.convert_to_tensor(array[i : i + self._batch_size]), inputs
            )
            found.append(np.asarray(self._call(batch), "float64"))
        return np.concatenate([raw.reshape(len(raw), -1)[:, self._unit] for raw in found])


class _Masker:
    """Zeros in place of what is left out. SHAP's own would be compiled by Numba for seconds."""

    def __init__(self, groups: int) -> None:
        self.shape = (1, groups)

    def __call__(self, mask: np.ndarray, row: np.ndarray) -> np.ndarray:
        return np.where(mask, row, 0)[None]


@contextlib.contextmanager
def _own_randomness() -> Iterator[None]:
    """Explainers seed NumPy's global generator: put back what it was."""
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)


def _unit(model: MultiTaskModel, task: str, output: int | None) -> int:
    """Which number of a flat output is explained."""
    shape = model.output[task].shape
    if len(shape) > 2:
        raise ValueError(
            f"`task` should be one of whole rows. Received: task={task!r}, whose output has the "
            f"shape {shape}. Heat maps explain pixels and steps"
        )
    width = shape[-1] if len(shape) == 2 else 1
    if output is None and width == 1:
        return 0
    if isinstance(output, int) and not isinstance(output, bool) and 0 <= output < width:
        return output
    raise ValueError(
        f"`output` should be the number of one of the {width} outputs of task `{task}`. "
        f"Received: output={output!r}"
    )


def _apart(table: Table, groups: Groups) -> Groups:
    """The groups with one more of what is in none, if there is any.

    Raises:
        ValueError: if something is in two.
    """
    left = {name: np.ones(array.shape[1:], bool) for name, array in table.columns.items()}
    for name, part in zip(groups.names, groups.parts, strict=True):
        for column, mask in part.items():
            if (mask & ~left[column]).any():
                raise ValueError(
                    f"`groups` should not overlap. Received: {name!r}, which has places of "
                    f"`{column}` that are in another group"
                )
            left[column] = left[column] & ~mask
    rest = {name: mask for name, mask in left.items() if mask.any()}
    if not rest:
        return groups
    return Groups((*groups.names, _REST), (*groups.parts, rest))
