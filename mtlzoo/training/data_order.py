"""To bring data to where they were: their order depends on how often they were begun."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from mtlzoo.training.data_functions import Functions

# Data sets that give in each iteration what their inputs do, whatever was read in earlier ones.
PLAIN = {
    *("AssertCardinality", "Batch", "Cache", "Filter", "FixedLengthRecord", "FlatMap"),
    *("Interleave", "Map", "Options", "PaddedBatch", "ParallelBatch", "ParallelInterleave"),
    *("ParallelMap", "Prefetch", "Random", "Range", "Rebatch", "Restructured", "Shard"),
    *("Shuffle", "Skip", "Take", "Tensor", "TensorSlice", "TextLine", "TFRecord", "Unbatch"),
    "Zip",
}


def check(dataset: tf.data.Dataset) -> None:
    """Refuse data of which another process has another order.

    Args:
        dataset: the data.

    Raises:
        ValueError: if something in it, or in one of its functions, is random without a seed, or
            not in a fixed order.
    """
    for part in _parts(dataset):
        seeds = getattr(part, "_seed", 1), getattr(part, "_seed2", 1)
        if not any(int(seed) for seed in seeds):
            raise ValueError(
                "`x` should be shuffled with a seed, so that its order is the same in another "
                "process: `shuffle(..., seed=0)`, or `keras.utils.set_random_seed(0)` before it is "
                f"made. Received: a {_kind(part)} data set without a seed"
            )
        if getattr(part, "_deterministic", None) == "false":
            raise ValueError(
                "`x` should be in the same order in another process. "
                f"Received: a {_kind(part)} data set with deterministic=False"
            )
        _check_functions(part)
    if dataset.options().deterministic is False:
        raise ValueError(
            "`x` should be in the same order in another process. "
            "Received: a data set with the option deterministic=False"
        )


def seeds(dataset: tf.data.Dataset) -> list[list]:
    """What the order of data is drawn from, which must be the same in another process.

    Args:
        dataset: the data.
    """
    return [
        [_kind(part), int(part._seed), int(part._seed2)]
        for part in _parts(dataset)
        if hasattr(part, "_seed")
    ]


def draws_anew(dataset: tf.data.Dataset) -> bool:
    """Whether reading a data set changes what the next reading, or another user of it, gets.

    Args:
        dataset: the data.
    """
    for part in _parts(dataset):
        found = Functions(part)
        if _draws(part) or (found.remembers and found.changing):
            return True
    return False


def iterations(
    epochs: int, batches: int | None, steps: int | None, at_once: int
) -> tuple[list[bool], int]:
    """The iterations of a data set that Keras's `fit` has begun before an epoch.

    Args:
        epochs: how many epochs are over.
        batches: how many batches the data set has; `None` if it has no end, or none is known.
        steps: the argument `steps_per_epoch`.
        at_once: `steps_per_execution`.

    Returns:
        The iterations that are over, in order, each `True` if it was read; and how many batches
        were read of the one that the epoch goes on with.
    """
    if steps is None:  # where Keras knows the end, it begins one more at the end of an epoch
        return ([True] if batches is None else [True, False]) * epochs, 0
    if batches is None:
        return [], epochs * -(-steps // at_once) * at_once
    return [True] * epochs, 0


def repeat(
    dataset: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    begun: Sequence[bool],
    steps: int | None = None,
) -> None:
    """Begin iterations again, so that the next one has the order that it would have had.

    A shuffled data set draws a seed each time that it is begun; one below another is begun when
    that one is first read. So each iteration is read as far as is needed to draw all seeds: not at
    all, for one batch, or, where it cannot be known, to its end. What is cached is read once.

    Args:
        dataset: the data.
        strategy: what it is distributed by.
        begun: for each iteration whether it was read.
        steps: how many batches were read of each; defaults to all.
    """
    parts = list(_parts(dataset))
    draws = sum(_draws(part) for part in parts)
    whole = not all(_in_sight(part) for part in parts)
    if not begun or not (draws or whole):
        return
    cached = any(_kind(part) == "Cache" for part in parts)
    distributed = strategy.experimental_distribute_dataset(dataset)
    for i, read in enumerate(begun):
        iterator = iter(distributed)
        if not read:
            continue
        if whole or (cached and i == 0):
            pass_over(iterator, steps)
        elif draws > 1:
            pass_over(iterator, 1)


def pass_over(iterator: Iterator[Any], count: int | None) -> int:
    """Read batches and drop them.

    Args:
        iterator: gives the batches.
        count: how many; `None` for all.

    Returns:
        How many there were.
    """
    read = 0
    while (count is None or read < count) and next(iterator, None) is not None:
        read += 1
    return read


def _parts(dataset: Any) -> Iterator[Any]:
    """A data set and all that it is made of."""
    yield dataset
    for part in dataset._inputs():
        yield from _parts(part)


def _kind(part: Any) -> str:
    return type(part).__name__.strip("_").removesuffix("V2").removesuffix("Dataset")


def _draws(part: Any) -> bool:
    """Whether a data set draws something each time that it is begun."""
    if _kind(part) == "Shuffle":
        return bool(part._reshuffle_each_iteration)
    return _kind(part) == "Random" and bool(part._rerandomize)


def _check_functions(part: Any) -> None:
    found = Functions(part)
    if found.unseeded:
        raise ValueError(
            "`x` should be the same in another process: what the functions of its data sets draw "
            "should have seeds, `shuffle(..., seed=0)` or `tf.random.stateless_uniform` with one "
            "that the data give. "
            f"Received: a {_kind(part)} data set whose function has `{found.unseeded}` without a "
            "seed"
        )
    if found.unordered:
        raise ValueError(
            "`x` should be in the same order in another process. Received: a "
            f"{_kind(part)} data set whose function makes one with deterministic=False"
        )
    if found.changing and (found.parallel or _kind(part).startswith("Parallel")):
        raise ValueError(
            "`x` should be the same in another process, where several threads call a function in "
            "another order: `num_parallel_calls` should be left out with what changes in each "
            "call, such as a Keras layer that draws random numbers. "
            f"Received: a {_kind(part)} data set whose function has `{found.changing}`"
        )


def _in_sight(part: Any) -> bool:
    """Whether all that its order depends on is known."""
    return _kind(part) in PLAIN and not Functions(part).remembers
