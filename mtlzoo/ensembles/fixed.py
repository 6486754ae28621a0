"""Fusions without anything to learn: means, the maximum, votes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.ensembles.fusion import Fusion, named
from mtlzoo.tasks import Task

# What the mean of the probabilities is worth in a vote.
_CASTING_VOTE = 1e-3


@named("mean")
@keras.saving.register_keras_serializable(package="mtlzoo")
class Mean(Fusion):
    r"""The mean: of probabilities where there are classes, of values elsewhere.

    $$p(c) = \frac1M \sum_m p_m(c), \qquad \hat y = \frac1M \sum_m \hat y_m$$

    The raw output is the logarithm (for yes and no, the logit) of the mean probability, formed
    without leaving logarithms, so that it is exact for logits of any size. Of normals it is the
    mean of the vectors in length 1, in length 1 again; of detections that of the raw values of the
    grid: class logits, distances before the softplus, centre-ness.

    Args:
        task: The task whose outputs are fused; `Ensemble` sets it. Defaults to `None`.
        **kwargs: Those of a Keras layer.

    Example:
    ```python
    import numpy as np
    from mtlzoo.ensembles import Mean
    from mtlzoo.tasks import BinaryClassification

    task = BinaryClassification("click")
    task.serve(Mean().of(task)(list(np.array([[[-1e4]], [[1e4]]]))))["click"]  # [[0.5]]
    ```
    """

    def fuse(self, values: Any) -> Any:
        """The mean over the first axis."""
        if self.scale.axis is None:
            return ops.mean(values, axis=0)
        return ops.logsumexp(values, axis=0)


@named("geometric_mean")
@keras.saving.register_keras_serializable(package="mtlzoo")
class GeometricMean(Fusion):
    r"""The normalized geometric mean of probabilities, which is the mean of the logits.

    $$p(c) \propto \prod_m p_m(c)^{1/M}$$

    Also called the logarithmic opinion pool (Hinton, *Training Products of Experts by Minimizing
    Contrastive Divergence*, 2002, without the $1/M$). One model that is sure that a class is
    wrong outvotes the others, which it does not in `Mean`.

    Args:
        task: The task whose outputs are fused; `Ensemble` sets it. Defaults to `None`.
        **kwargs: Those of a Keras layer.

    Raises:
        ValueError: For a task without classes.

    Example:
    ```python
    import numpy as np
    from mtlzoo.ensembles import GeometricMean
    from mtlzoo.tasks import BinaryClassification

    mean = GeometricMean().of(BinaryClassification("click"))
    mean(list(np.array([[[-1.0]], [[4.0]]])))  # [[1.5]]
    ```
    """

    needs_classes = True

    def fuse(self, values: Any) -> Any:
        """The mean of logarithms over the first axis."""
        return ops.mean(values, axis=0)


@named("maximum")
@keras.saving.register_keras_serializable(package="mtlzoo")
class Maximum(Fusion):
    r"""The largest probability of each class, normalized; elsewhere the largest value.

    $$p(c) \propto \max_m p_m(c)$$

    The maximum rule of Kittler et al., *On Combining Classifiers*, IEEE PAMI 20 (1998).

    Args:
        task: The task whose outputs are fused; `Ensemble` sets it. Defaults to `None`.
        **kwargs: Those of a Keras layer.

    Raises:
        ValueError: For normals and detections, in which a larger value is not more.

    Example:
    ```python
    import numpy as np
    from mtlzoo.ensembles import Maximum
    from mtlzoo.tasks import Regression

    Maximum().of(Regression("price"))(list(np.array([[[2.0]], [[5.0]]])))  # [[5.]]
    ```
    """

    needs_order = True

    def fuse(self, values: Any) -> Any:
        """The maximum over the first axis."""
        return ops.max(values, axis=0)


class Weighted(Fusion):
    """Base of the fusions with given weights, one for each model of the ensemble.

    Args:
        weights: A number for each model, not negative, of any sum but 0. Models without a task have
            no part in it; the weights of the others count there in proportion.
        task: The task whose outputs are fused; `Ensemble` sets it. Defaults to `None`.
        **kwargs: Those of a Keras layer.

    Raises:
        ValueError: For weights that are not such numbers.

    Example:
    ```python
    import numpy as np
    from mtlzoo.ensembles import WeightedMean

    WeightedMean([3, 1]).weights_given  # (3.0, 1.0)
    ```
    """

    def __init__(
        self, weights: Sequence[float], task: Task | dict | None = None, **kwargs: Any
    ) -> None:
        super().__init__(task, **kwargs)
        of_task = f" of task `{self._task.name}`" if self._task is not None else ""
        try:
            given = np.asarray(weights, "float64")
        except (TypeError, ValueError):
            given = np.asarray(float("nan"))
        if given.ndim != 1 or not given.size or not np.isfinite(given).all() or (given < 0).any():
            raise ValueError(
                f"`weights`{of_task} should be a list of numbers that are not negative, one for "
                f"each model. Received: weights={weights!r}"
            )
        if not given.any():
            raise ValueError(
                f"`weights`{of_task} should not all be 0. Received: weights={weights!r}"
            )
        self.weights_given = tuple(given.tolist())

    def config_for(self, task: Task, members: Sequence[int], models: int | None) -> dict[str, Any]:
        """The weights of the models that have the task.

        Args:
            task: The task.
            members: Which of the models have the task, from 0; empty for all.
            models: How many there are in all, or `None`.

        Raises:
            ValueError: Naming the task, if there are not as many weights, or only zeros.
        """
        given = list(self.weights_given)
        if models is not None and len(given) != models:
            raise ValueError(
                f"`weights` of task `{task.name}` should be one for each of the {models} models. "
                f"Received: weights={given}"
            )
        chosen = [given[i] for i in members] or given
        if not any(chosen):
            raise ValueError(
                f"`weights` of task `{task.name}` should not be 0 for all models that have it, "
                f"here those of positions {list(members)}. Received: weights={given}"
            )
        return {"weights": chosen}

    def shares(self, values: Any) -> Any:
        """The weights with the sum 1, in a shape that broadcasts with `values`.

        Args:
            values: `(M, B, ...)`.
        """
        weights = np.asarray(self.weights_given) / np.sum(self.weights_given)
        weights = weights.reshape(-1, *[1] * (len(values.shape) - 1))
        return ops.convert_to_tensor(weights, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"weights": list(self.weights_given), **super().get_config()}


@keras.saving.register_keras_serializable(package="mtlzoo")
class WeightedMean(Weighted):
    r"""The mean with given weights: of probabilities where there are classes, of values elsewhere.

    $$p(c) = \sum_m w_m p_m(c), \qquad \hat y = \sum_m w_m \hat y_m, \qquad \sum_m w_m = 1$$

    Args:
        weights: A number for each model of the ensemble, not negative, of any sum but 0. Models
            without a task have no part in it; the weights of the others count in proportion.
        task: The task whose outputs are fused; `Ensemble` sets it. Defaults to `None`.
        **kwargs: Those of a Keras layer.

    Raises:
        ValueError: For weights that are not such numbers, or not one for each model.

    Example:
    ```python
    import numpy as np
    from mtlzoo.ensembles import WeightedMean
    from mtlzoo.tasks import Regression

    WeightedMean([3, 1]).of(Regression("price"))(list(np.array([[[4.0]], [[8.0]]])))  # [[5.]]
    ```
    """

    def fuse(self, values: Any) -> Any:
        """The weighted mean over the first axis."""
        shares = self.shares(values)
        if self.scale.axis is None:
            return ops.sum(shares * values, axis=0)
        return ops.logsumexp(ops.log(shares) + values, axis=0)


@keras.saving.register_keras_serializable(package="mtlzoo")
class WeightedVote(Weighted):
    r"""A vote with given weights: each model votes for its most probable class.

    $$p(c) = \frac{1}{1 + \varepsilon} \Big(\sum_m w_m [c = \arg\max p_m]
    + \varepsilon\, \bar p(c)\Big), \qquad \sum_m w_m = 1$$

    with the weighted mean of probabilities $\bar p$, worth a thousandth of all votes
    ($\varepsilon$): it decides between classes of the same number of votes, and the logarithm of a
    class without a vote stays finite. Pixels, tokens, labels of a multi-label task, starts and ends
    of spans are voted on one by one. The answer of one model alone stays as it is.

    Args:
        weights: A number for each model of the ensemble, see `WeightedMean`.
        task: The task whose outputs are fused; `Ensemble` sets it. Defaults to `None`.
        **kwargs: Those of a Keras layer.

    Raises:
        ValueError: For a task without classes, or weights as in `WeightedMean`.

    Example:
    ```python
    import numpy as np
    from mtlzoo.ensembles import WeightedVote
    from mtlzoo.tasks import Classification

    task = Classification("colour", 2)
    fused = WeightedVote([3, 1]).of(task)(list(np.array([[[1.0, 0.0]], [[0.0, 9.0]]])))
    task.serve(fused)["colour"]  # [[0.75, 0.25]], to 1e-3
    ```
    """

    needs_classes = True

    def fuse(self, values: Any) -> Any:
        """The logarithm of the votes."""
        return _votes(values, self.shares(values), self.scale.axis)


@named("majority_vote")
@keras.saving.register_keras_serializable(package="mtlzoo")
class MajorityVote(Fusion):
    r"""A vote: each model votes for its most probable class, see `WeightedVote`.

    $$p(c) = \frac{1}{1 + \varepsilon} \Big(\frac1M \sum_m [c = \arg\max p_m]
    + \varepsilon\, \bar p(c)\Big)$$

    Args:
        task: The task whose outputs are fused; `Ensemble` sets it. Defaults to `None`.
        **kwargs: Those of a Keras layer.

    Raises:
        ValueError: For a task without classes.

    Example:
    ```python
    import numpy as np
    from mtlzoo.ensembles import MajorityVote
    from mtlzoo.tasks import Classification

    task = Classification("colour", 2)
    fused = MajorityVote().of(task)(list(np.array([[[1.0, 0.0]], [[2.0, 0.0]], [[0.0, 9.0]]])))
    task.serve(fused)["colour_class"]  # [0]
    ```
    """

    needs_classes = True

    def fuse(self, values: Any) -> Any:
        """The logarithm of the votes."""
        shares = ops.full((values.shape[0], *[1] * (len(values.shape) - 1)), 1 / values.shape[0])
        return _votes(values, ops.cast(shares, values.dtype), self.scale.axis)


def _votes(values, shares, axis):
    ids = ops.argmax(values, axis=axis)
    votes = ops.one_hot(ids, values.shape[axis] or ops.shape(values)[axis], dtype=values.dtype)
    votes = ops.sum(shares * ops.moveaxis(votes, -1, axis), axis=0)
    means = ops.logsumexp(ops.log(shares) + values, axis=0)
    return ops.logaddexp(ops.log(votes), means + float(np.log(_CASTING_VOTE)))
