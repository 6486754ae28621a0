"""What tasks gain from each other, measured by training pairs."""

import itertools

import numpy as np

from mtlzoo.analysis.relatedness.group_trainings import GroupTrainings
from mtlzoo.analysis.relatedness.sampled_matrix import SampledMatrix

MEASURE = "gain in percent"


def pairwise_gains(trainings: GroupTrainings) -> SampledMatrix:
    """How much each task gains when it is trained together with each other one.

    Standley et al., *Which Tasks Should Be Learned Together in Multi-task Learning?*, ICML 2020.
    The gain is that of the deciding metric in percent, with the sign of `delta_m`: above zero is
    better than alone. Of T tasks T single ones and T (T - 1) / 2 pairs are trained for each seed.

    Args:
        trainings: What trains the tasks.

    Returns:
        A directed matrix with a sample for each seed: the row is the task that was added, the
        column the one whose gain it is.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import GroupTrainings, pairwise_gains

    def build(names):
        model = HardSharing(keras.Input((4,)), [Regression(n) for n in names], shared_units=[4])
        model.compile("adam", jit_compile=False)
        return model

    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    data = x, {"a": x[:, 0], "b": x[:, 1]}
    gains = pairwise_gains(GroupTrainings(build, ["a", "b"], data, data, seeds=[0]))
    gains["a", "b"]  # what a does for b
    ```

    *Differences from the paper*: Networks of pairs are as large as `build` makes them, where the
    paper gives each the same cost.
    """
    names = trainings.names
    samples = np.full((len(trainings.seeds), len(names), len(names)), np.nan)
    for i, j in itertools.combinations(range(len(names)), 2):
        gains = trainings.gains((names[i], names[j]))
        samples[:, j, i], samples[:, i, j] = gains.T
    return SampledMatrix(
        names, samples, MEASURE, sampled="seeds", title="What tasks gain from each other in pairs"
    )
