"""How large models are, how fast, and how good, side by side."""

import math
import pathlib
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo import export
from mtlzoo.analysis.simplification.redrawing import same_seeds_after
from mtlzoo.analysis.simplification.size_table import ModelSize, SimplificationTable
from mtlzoo.data.arguments import check_count
from mtlzoo.ensembles.members import copy_of, weights_of
from mtlzoo.models import MultiTaskModel


@same_seeds_after()
def compare_sizes(
    models: Mapping[str, MultiTaskModel],
    data: Any,
    *,
    batch_sizes: Sequence[int] = (1, 256),
    repeats: int = 15,
) -> SimplificationTable:
    """Measure models side by side: size, latency and each task's metrics.

    Of each model a copy without optimizer and balancer is saved as a `.keras` file, exported with
    `mtlzoo.export.save`, and the SavedModel's folder is packed by gzip: bytes are those on disk.
    Latency is that of the copy as a TensorFlow function, without preprocessor: the models are
    called in turns in one process, so that another job slows all of them down, and the median of
    the calls is divided by that of the first model. Metrics are those of the tasks on `data`.

    Args:
        models: Dict of multi-task models by name. The first is what the others are compared to.
        data: Batches `(x, y)` or `(x, y, sample_weight)` as for `evaluate`, a `tf.data.Dataset`.
            Labels of tasks that a model has not are left out for it. The metrics of a task without
            a label are NaN.
        batch_sizes: Numbers of rows for which latency is measured. Defaults to `(1, 256)`.
        repeats: Number of calls of each model and batch size. Defaults to 15.

    Returns:
        The table, a `Finding`.

    Raises:
        ValueError: For no models, models that are none or take other inputs than the first, other
            data, and numbers below 1.

    Example:
    ```python
    import keras
    import numpy as np
    import tensorflow as tf
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import compare_sizes, prune_units

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=(32,))
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    rows = tf.data.Dataset.from_tensor_slices((x, {"stay": x[:, :1]})).batch(32)
    table = compare_sizes(
        {"before": model, "pruned": prune_units(model, 0.5)}, rows, batch_sizes=(8,), repeats=3
    )
    table["pruned"].parameters  # 97 instead of 193
    ```
    """
    _check(models, data, batch_sizes, repeats)
    copies: dict[str, Any] = {
        name: copy_of(model, preprocessor=True) for name, model in models.items()
    }
    ratios = _latencies(copies, batch_sizes, repeats)
    found = {}
    for name, model in copies.items():
        kept = sum(int(np.count_nonzero(keras.ops.convert_to_numpy(v))) for v in weights_of(model))
        found[name] = ModelSize(
            parameters=sum(math.prod(v.shape) for v in weights_of(model)),
            nonzero=kept,
            array_bytes=sum(math.prod(v.shape) * _width(v) for v in weights_of(model)),
            **_bytes(model),
            latency=ratios[name],
            metrics=_metrics(model, data),
        )
    tasks = {name: task for model in copies.values() for name, task in model.tasks.items()}
    return SimplificationTable(found, tasks)


def _check(models: Any, data: Any, batch_sizes: Any, repeats: Any) -> None:
    if not isinstance(models, Mapping) or not models:
        raise ValueError(
            f"`models` should be a dict of models by name. Received: models={models!r}"
        )
    first: Any = None
    for name, model in models.items():
        if not isinstance(model, MultiTaskModel) or not model.tasks:
            raise ValueError(
                "`models` should be multi-task models with tasks. "
                f"Received: {name!r}, a {type(model).__name__}"
            )
        own = keras.tree.map_structure(lambda t: (tuple(t.shape), str(t.dtype)), model.input)
        first = own if first is None else first
        if own != first:
            raise ValueError(
                f"`models` should all take the inputs of the first, {first}. "
                f"Received: {name!r}, which takes {own}"
            )
    if not isinstance(data, tf.data.Dataset):
        raise ValueError(
            "`data` should be a `tf.data.Dataset` of batches with labels. "
            f"Received: a {type(data).__name__}"
        )
    if not isinstance(batch_sizes, list | tuple) or not batch_sizes:
        raise ValueError(
            f"`batch_sizes` should be a list of integers. Received: batch_sizes={batch_sizes!r}"
        )
    for i, size in enumerate(batch_sizes):
        check_count(f"batch_sizes[{i}]", size)
    check_count("repeats", repeats)


def _width(variable: Any) -> int:
    return tf.as_dtype(variable.dtype).size


def _bytes(model: MultiTaskModel) -> dict[str, int]:
    """Of the file, of the SavedModel and of what gzip makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        model.save(place / "model.keras")
        export.save(model, place / "served")
        with tarfile.open(place / "served.tar.gz", "w:gz") as packed:
            packed.add(place / "served", "served")
        return {
            "keras_bytes": (place / "model.keras").stat().st_size,
            "saved_model_bytes": sum(
                file.stat().st_size for file in (place / "served").rglob("*") if file.is_file()
            ),
            "compressed_bytes": (place / "served.tar.gz").stat().st_size,
        }


def _latencies(
    models: Mapping[str, Any], batch_sizes: Sequence[int], repeats: int
) -> dict[str, dict[int, float]]:
    """By name and number of rows, the median time in that of the first model."""
    ratios: dict[str, dict[int, float]] = {name: {} for name in models}
    for size in batch_sizes:
        calls = {}
        for name, model in models.items():
            calls[name] = _call(model, size)
        times: dict[str, list[float]] = {name: [] for name in models}
        for call in calls.values():
            call()  # traced now
        for _ in range(repeats):
            for name, call in calls.items():
                started = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - started)
        medians = {name: float(np.median(taken)) for name, taken in times.items()}
        first = next(iter(medians.values()))
        for name, median in medians.items():
            ratios[name][size] = median / first
    return ratios


def _call(model: Any, size: int) -> Any:
    rows = keras.tree.map_structure(lambda t: _some_rows(t, size), model.input)
    traced = tf.function(lambda x: model(x, training=False))

    def call():
        for output in traced(rows).values():
            output.numpy()

    return call


def _some_rows(tensor: Any, size: int) -> Any:
    shape = [size, *(1 if s is None else s for s in tensor.shape[1:])]
    if tensor.dtype == "string":
        return tf.fill(shape, "")
    return tf.zeros(shape, tensor.dtype)


def _metrics(model: Any, data: Any) -> dict[str, dict[str, float]]:
    """By task its loss and metrics."""

    def own(x, y, *weight):
        def chosen(of_tasks):
            if not isinstance(of_tasks, Mapping):  # one tensor of weights for all tasks
                return of_tasks
            return {name: of_tasks[name] for name in model.task_names if name in of_tasks}

        return (x, chosen(y), *map(chosen, weight))

    model.compile("sgd", jit_compile=False)
    logs = model.evaluate(data.map(own), return_dict=True, verbose=0)
    found = {}
    counts = keras.ops.convert_to_numpy(model._step.objectives.tracker.count)
    for name, count in zip(model.task_names, counts, strict=True):
        start = f"{name}_"
        others = [other for other in model.task_names if other.startswith(start)]
        found[name] = {
            key.removeprefix(start): float(value) if count else math.nan
            for key, value in logs.items()
            if key.startswith(start) and not any(key.startswith(f"{o}_") for o in others)
        }
    return found
