"""The table of models before and after they were made smaller."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtlzoo.analysis import drawing
from mtlzoo.metrics import delta_m
from mtlzoo.tasks import Task


@dataclass
class ModelSize:
    """What was measured of one model.

    Attributes:
        parameters: Numbers in its weights, zeros among them.
        nonzero: Those that are not zero.
        array_bytes: Of its weights in memory.
        keras_bytes: Of the `.keras` file, without optimizer.
        saved_model_bytes: Of the exported folder.
        compressed_bytes: Of that folder packed by gzip.
        latency: By number of rows, the time of a call as a ratio to the first model.
        metrics: By task its loss and metrics, NaN where it had no labels.
    """

    parameters: int
    nonzero: int
    array_bytes: int
    keras_bytes: int
    saved_model_bytes: int
    compressed_bytes: int
    latency: dict[int, float]
    metrics: dict[str, dict[str, float]]


class SimplificationTable:
    """Models side by side, as `compare_sizes` measures them; the first is what counts as before.

    Args:
        models: What was measured, by name of the model.
        tasks: The tasks by name.

    Example:
    ```python
    from mtlzoo import Regression
    from mtlzoo.analysis.simplification.size_table import ModelSize, SimplificationTable

    def size(count, rmse):
        return ModelSize(count, count, 4 * count, 900, 800, 500, {1: 1.0}, {"stay": {"rmse": rmse}})

    table = SimplificationTable(
        {"before": size(100, 2.0), "after": size(50, 2.1)}, {"stay": Regression("stay")}
    )
    table.delta_m("after")  # -5.0: its error is 5 % greater
    ```
    """

    title = "Smaller models: size, latency and metrics"

    def __init__(self, models: Mapping[str, ModelSize], tasks: Mapping[str, Task]) -> None:
        self.models, self.tasks = dict(models), dict(tasks)
        self.first = next(iter(self.models))

    def __getitem__(self, name: str) -> ModelSize:
        if name not in self.models:
            raise KeyError(f"There should be a model {name!r} among {list(self.models)}.")
        return self.models[name]

    def metric(self, name: str, task: str) -> float:
        """The deciding metric of a task, NaN where the model has not the task.

        Args:
            name: Of the model.
            task: Of the task.
        """
        return self[name].metrics.get(task, {}).get(self.tasks[task].monitor, math.nan)

    def delta_m(self, name: str) -> float:
        """The mean relative gain over the first model, in percent.

        It is over the tasks that both have, without those that had no labels.

        Args:
            name: Of the model.

        Returns:
            NaN if there are none, or a metric is not finite, or that of the first model is 0.
        """
        pairs = self._pairs(name)
        usable = all(math.isfinite(a) and math.isfinite(b) and b for a, b in pairs.values())
        if not pairs or not usable:
            return math.nan
        return delta_m(
            {task: pair[0] for task, pair in pairs.items()},
            {task: pair[1] for task, pair in pairs.items()},
            [self.tasks[task] for task in pairs],
        )

    def _pairs(self, name: str) -> dict[str, tuple[float, float]]:
        """By task that both have, with labels, the metric of a model and that of the first."""
        before = self[self.first].metrics
        pairs = {
            task: (self.metric(name, task), self.metric(self.first, task))
            for task in self[name].metrics
            if task in before
        }
        return {task: pair for task, pair in pairs.items() if not all(map(math.isnan, pair))}

    def words(self) -> str:
        """For each model what became of size and metrics, and what that size is worth."""
        before = self[self.first]
        said = [
            f"`{self.first}` has {before.parameters:,} parameters and a SavedModel of "
            f"{before.saved_model_bytes / 1000:,.0f} kB."
        ]
        for name, own in list(self.models.items())[1:]:
            share = own.saved_model_bytes / before.saved_model_bytes
            text = (
                f"`{name}`: {own.parameters / before.parameters:.0%} of the parameters, "
                f"{own.array_bytes / before.array_bytes:.0%} of the bytes of weights, "
                f"{share:.0%} of the SavedModel"
            )
            if own.nonzero < 0.9 * own.parameters:
                packed = own.compressed_bytes / before.compressed_bytes
                text += f" (packed by gzip {packed:.0%}, since zeros pack well)"
            times = ", ".join(f"{r:.2f} for {size}" for size, r in own.latency.items())
            text += f"; time of a call {times} rows"
            gain = self.delta_m(name)
            gone = [task for task in before.metrics if task not in own.metrics]
            if gone:
                text += f"; without {', '.join(f'`{task}`' for task in gone)}"
            if not math.isnan(gain):
                worst = self._worst(name)
                text += f"; delta_m {gain:+.2f} %"
                text += (
                    f", worst for `{worst[0]}` ({worst[1]:+.2f} %)"
                    if len(self._pairs(name)) > 1
                    else ""
                )
            said.append(f"{text}.")
        empty = [task for task, own in before.metrics.items() if all(map(math.isnan, own.values()))]
        if empty:
            said.append(f"The data had no labels of {', '.join(f'`{task}`' for task in empty)}.")
        said.append(
            "Times are of this machine, and gains of one evaluation: small ones may be chance."
        )
        return "\n".join(said)

    def _worst(self, name: str) -> tuple[str, float]:
        gains = {}
        for task, (own, before) in self._pairs(name).items():
            sign = 1 if self.tasks[task].mode == "max" else -1
            gains[task] = 100 * sign * (own - before) / abs(before)
        return min(gains.items(), key=lambda item: item[1])

    def rows(self) -> list[list[str]]:
        """A row for each model."""
        sizes = list(self[self.first].latency)
        head = [
            "",
            "parameters",
            "not zero",
            "weights, kB",
            ".keras, kB",
            "SavedModel, kB",
            "SavedModel.tar.gz, kB",
        ]
        head += [f"time, {size} rows" for size in sizes]
        head += [f"{name}, {task.monitor}" for name, task in self.tasks.items()]
        table = [[*head, "delta_m, %"]]
        for name, own in self.models.items():
            cells = [name, f"{own.parameters:,}", f"{own.nonzero:,}"]
            for count in (
                own.array_bytes,
                own.keras_bytes,
                own.saved_model_bytes,
                own.compressed_bytes,
            ):
                cells.append(f"{count / 1000:,.0f}")
            cells += [f"{own.latency[size]:.2f}" for size in sizes]
            values = [self.metric(name, task) for task in self.tasks]
            cells += ["–" if math.isnan(value) else f"{value:.4f}" for value in values]
            gain = self.delta_m(name)
            cells.append("–" if math.isnan(gain) else f"{gain:+.2f}")
            table.append(cells)
        return table

    def figure(self) -> Any:
        """Bytes and gain of each model.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        names = list(self.models)[::-1]
        figure = drawing.new_figure(9, 1.6 + 0.45 * len(names))
        left, right = figure.subplots(1, 2, sharey=True)
        places = range(len(names))
        for shift, color, label, key in (
            (0.2, drawing.COLOURS[0], "SavedModel", "saved_model_bytes"),
            (-0.2, drawing.COLOURS[4], "packed by gzip", "compressed_bytes"),
        ):
            values = [getattr(self[name], key) / 1000 for name in names]
            left.barh([p + shift for p in places], values, 0.38, color=color, label=label)
        left.set_yticks(places, names)
        left.set_xlabel("kB (1,000 bytes) on disk")
        left.set_title("Size of what is served", fontsize=10)
        gains = [self.delta_m(name) for name in names]
        bars = right.barh(places, gains, 0.6, color=drawing.COLOURS[2])
        labels = ["–" if math.isnan(gain) else f"{gain:+.2f}" for gain in gains]
        right.bar_label(bars, labels, padding=2, fontsize=8)
        right.margins(x=0.2)
        right.locator_params(axis="x", nbins=5)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        right.axvline(0, color="black", linewidth=0.8)
        right.set_xlabel(f"delta_m against “{self.first}”, % (higher is better)")
        right.set_title("Metrics of all tasks", fontsize=10)
        figure.suptitle("Smaller models: size and metrics")
        return figure
