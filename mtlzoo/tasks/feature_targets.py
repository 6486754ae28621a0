"""What a teacher has inside, as labels."""

from typing import Any

import keras
from keras import ops

from mtlzoo.tasks.configs import check_config
from mtlzoo.tasks.task import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class FeatureTargets(Task):
    r"""The features of another model as labels of a task of its own.

    The loss of a row is the mean of the squared differences of its features, as of the hints of
    Romero et al., or their sum, as of the attention maps of Zagoruyko and Komodakis, which have
    length 1. Features of a sequence, `(B, S, F)`, count by step.

    Args:
        name: Name of the task.
        shape: Shape of the features without the batch.
        reduce: `"mean"` or `"sum"` of the squares. Defaults to `"mean"`.

    Shapes:
        Labels and outputs `(B, *shape)`; NaN where the other model has no features.

    Raises:
        ValueError: If `name` cannot name a task, or `shape` or `reduce` is none.

    Example:
    ```python
    from mtlzoo.tasks import FeatureTargets

    task = FeatureTargets("hint", (2,))
    labels = task.read_labels([[1.0, 2.0]])
    task.loss_values(task.loss, labels.values, labels.values + 1)  # [1.]
    ```

    References:
        Romero et al., *FitNets: Hints for Thin Deep Nets*, ICLR 2015.
        Zagoruyko and Komodakis, *Paying More Attention to Attention*, ICLR 2017.
    """

    served = ()

    def __init__(self, name: str, shape: Any, reduce: str = "mean") -> None:
        super().__init__(name, output_shape=shape)
        if reduce not in ("mean", "sum"):
            raise ValueError(
                f"`reduce` of task `{name}` should be 'mean' or 'sum'. Received: reduce={reduce!r}"
            )
        self.reduce = reduce
        self.loss_rank = 2 if len(self.output_shape) == 2 else 1

    def default_loss(self) -> Any:
        """The mean or the sum of the squared differences."""
        return self._distance

    def _distance(self, values, outputs):
        squares = ops.square(outputs - values)
        reduce = ops.mean if self.reduce == "mean" else ops.sum
        return reduce(squares, axis=tuple(range(self.loss_rank, len(squares.shape))))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"name": self.name, "shape": list(self.output_shape), "reduce": self.reduce}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FeatureTargets":
        """A task with the arguments of `config`."""
        return cls(**check_config(f"a `{cls.__name__}`", config, "name", "shape", "reduce"))
