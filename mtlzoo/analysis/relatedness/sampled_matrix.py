"""A matrix of tasks that was measured several times."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtlzoo.analysis.statistics import mean_and_error
from mtlzoo.analysis.task_matrix import TaskMatrix


class SampledMatrix(TaskMatrix):
    """The mean of several measurements of a `TaskMatrix`, with how sure it is.

    Args:
        names: The T tasks.
        samples: (N, T, T), a measurement each. NaN where a measurement says nothing.
        measure: What the numbers are, such as `"gain in percent"`.
        sampled: What the measurements are, such as `"seeds"`.
        directed: As in `TaskMatrix`. Defaults to `True`.
        signed: As in `TaskMatrix`. Defaults to `True`.
        title: A headline. Defaults to the measure.

    Attributes:
        samples: (N, T, T), in the order of `names`.
        standard_errors: (T, T), the standard deviation over the samples, divided by the root of
            their number; NaN where there are fewer than two.

    Raises:
        ValueError: As `TaskMatrix`, or if there is no sample.

    Example:
    ```python
    import numpy as np
    from mtlzoo.analysis import SampledMatrix

    samples = [[[0, 1.0], [0.2, 0]], [[0, 1.2], [-0.2, 0]]]
    gains = SampledMatrix(["buy", "click"], samples, "gain in percent", sampled="seeds")
    gains["buy", "click"], gains.standard_errors[0, 1]  # 1.1, 0.1
    gains.sure("buy", "click"), gains.sure("click", "buy")  # True, False
    ```
    """

    def __init__(
        self,
        names: Sequence[str],
        samples: Any,
        measure: str,
        *,
        sampled: str,
        directed: bool = True,
        signed: bool = True,
        title: str | None = None,
    ) -> None:
        samples = np.asarray(samples, "float64")
        if samples.ndim != 3 or not len(samples):
            raise ValueError(
                "`samples` should be one or more squares of the tasks. "
                f"Received: samples of the shape {samples.shape}"
            )
        means, errors = mean_and_error(samples)
        super().__init__(names, means, measure, directed=directed, signed=signed, title=title)
        order = [list(names).index(name) for name in self.names]
        self.samples = samples[:, order][:, :, order]
        self.standard_errors = errors[np.ix_(order, order)]
        self._sampled = sampled

    def sure(self, first: str, second: str) -> bool:
        """Whether the mean is more than two standard errors from zero.

        Args:
            first: The task that acts.
            second: The task that it acts on.
        """
        error = self.standard_errors[self.names.index(first), self.names.index(second)]
        return bool(abs(self[first, second]) > 2 * error)

    def words(self) -> str:
        """Which tasks have most and least to do with each other, and which of it is sure."""
        said, count = super().words(), len(self.samples)
        if count < 2:
            return f"{said} It was measured once, so nothing is known of its spread."
        said += f" It is the mean over {count} {self._sampled}"
        pairs = self.ranked()
        if self.signed and pairs:
            sure = sum(self.sure(first, second) for first, second, _ in pairs)
            said += f"; {sure} of {len(pairs)} pairs are more than two standard errors from zero"
        return f"{said}."

    def rows(self) -> list[list[str]]:
        """A row for each task, with standard errors where they are known."""
        table = super().rows()
        for row, errors in zip(table[1:], self.standard_errors, strict=True):
            for column, error in enumerate(errors, 1):
                if np.isfinite(error) and row[column] != "nan":
                    row[column] += f" ± {error:.2g}"
        return table
