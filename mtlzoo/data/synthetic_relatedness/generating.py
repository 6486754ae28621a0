"""Drawing the synthetic data."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np

from mtlzoo.data.from_arrays import check_options, from_arrays
from mtlzoo.data.loading import Loaded
from mtlzoo.data.pipeline import check_batching

DIMENSIONS = 100
NOISE = 0.1  # a standard deviation; its square is the loss of a perfect model
SINUSOIDS = 4


def generate(
    rows: int, correlation: float, seed: int | list[int], weights_seed: int | list[int]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw rows.

    Args:
        rows: how many.
        correlation: the cosine of the tasks' weight vectors, from -1 to 1.
        seed: of the rows and their noise.
        weights_seed: of the weight vectors and the sinusoids.

    Returns:
        The features `(rows, 100)`, and by task the labels `(rows,)`, all float32.

    Raises:
        ValueError: `correlation` is not from -1 to 1.

    Example:
        ```python
        from mtlzoo.data.synthetic_relatedness import generate

        x, y = generate(1000, correlation=0.9, seed=1, weights_seed=0)
        x.shape, sorted(y)  # (1000, 100), ["first", "second"]
        ```
    """
    is_number = isinstance(correlation, int | float) and not isinstance(correlation, bool)
    if not is_number or not -1 <= correlation <= 1:
        raise ValueError(
            f"`correlation` should be a number from -1 to 1. Received: correlation={correlation!r}"
        )
    of_tasks = np.random.default_rng(weights_seed)
    u1, u2 = np.linalg.qr(of_tasks.normal(size=(DIMENSIONS, 2)))[0].T
    frequencies, phases = of_tasks.normal(size=(2, SINUSOIDS))
    weights = {"first": u1, "second": correlation * u1 + np.sqrt(1 - correlation**2) * u2}
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, DIMENSIONS))
    y = {}
    for name, w in weights.items():
        z = x @ w
        waves = np.sin(z[:, None] * frequencies + phases).sum(axis=1)
        y[name] = (z + waves + NOISE * rng.normal(size=rows)).astype("float32")
    return x.astype("float32"), y


def load(
    *,
    correlation: float = 0.5,
    rows: int = 51_200,
    held_out_rows: int = 10_240,
    batch_size: int = 256,
    seed: int = 0,
    data_seed: int = 0,
    preprocessed: bool = True,
) -> Loaded:
    """Draw the synthetic data.

    Args:
        correlation: the cosine of the tasks' weight vectors, from -1 to 1. Defaults to 0.5.
        rows: training rows. Defaults to 51200.
        held_out_rows: rows to validate, and as many to test. Defaults to 10240.
        batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to 256.
        seed: of the order of the training rows, which differs from epoch to epoch. Defaults to 0.
        data_seed: of the weight vectors, the sinusoids and the rows. Defaults to 0.
        preprocessed: True gives `x` as one tensor, False as `{"features": ...}`. Defaults to
            `True`.

    Returns:
        The data set with the tasks `first` and `second`.

    Raises:
        ValueError: an option has an unusable value.

    Example:
        ```python
        from mtlzoo import data

        related = data.load("synthetic_relatedness", correlation=0.9, rows=1024)
        x, y, sample_weight = next(iter(related.train))  # x (256, 100), y first and second
        ```
    """
    import keras

    from mtlzoo.tasks import Regression

    check_batching(batch_size, seed)
    check_options(preprocessed, data_seed)
    for argument, value in {"rows": rows, "held_out_rows": held_out_rows}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(
                f"`{argument}` should be a positive integer. Received: {argument}={value!r}"
            )
    splits = {}
    counts = {"train": rows, "valid": held_out_rows, "test": held_out_rows}
    for number, (split, count) in enumerate(counts.items(), 1):
        x, y = generate(count, correlation, [data_seed, number], [data_seed, 0])
        splits[split] = ({"features": x}, y)
    raw = {"features": keras.Input((DIMENSIONS,), name="features")}
    preprocessor = keras.Model(raw, keras.layers.Identity()(raw["features"]), name="preprocessor")
    tasks = [Regression("first"), Regression("second")]
    return from_arrays(splits, tasks, preprocessor, batch_size, seed, preprocessed)


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> NoReturn:
    """Refuse: the data is drawn when it is loaded.

    Args:
        raw_files: unused, as are the others.
        data_dir: unused.
        download: unused.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "`name` should be a data set that has files to prepare. "
        "Received: name='synthetic_relatedness', which is drawn when it is loaded"
    )
