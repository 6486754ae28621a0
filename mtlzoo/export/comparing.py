"""How far the answers of a written model are from those of the model that it was made of."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.export.exported import arrays
from mtlzoo.export.formats import load
from mtlzoo.export.parts import parts
from mtlzoo.export.saved_model import served
from mtlzoo.models.multi_task_model import MultiTaskModel


@dataclass(frozen=True)
class Comparison:
    """A written model beside the model that it was made of; `compare` makes it.

    Attributes:
        format: that of the file.
        num_rows: how many rows were answered.
        differences: by task the largest difference of a real number in its answers.
        scales: by task the largest such number, without its sign.
        changed: by task the share of whole numbers in its answers (classes, positions) that are
            others; NaN where a task answers none.
        missing: by task the share of real numbers in its answers that are NaN by the model and by
            the file, so that they compare nothing. Defaults to none.

    Example:
    ```python
    from mtlzoo.export import Comparison

    found = Comparison("onnx", 100, {"click": 1e-7}, {"click": 0.98}, {"click": 0.0})
    found.worst  # 1e-7
    print(found.words())
    ```
    """

    format: str
    num_rows: int
    differences: dict[str, float]
    scales: dict[str, float]
    changed: dict[str, float]
    missing: dict[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What it is about, as a headline."""
        return f"Answers of the {self.format} file beside the model's"

    @property
    def worst(self) -> float:
        """The largest difference of all tasks."""
        return max(self.differences.values())

    def words(self) -> str:
        """How far the file's answers are from the model's."""
        task = max(self.differences, key=lambda name: self.differences[name])
        others = [name for name, share in self.changed.items() if share > 0]
        said = (
            f"Over {self.num_rows} rows the {self.format} file differs from the model by "
            f"{self.worst:.1e} at most, in `{task}`, whose answers are up to "
            f"{self.scales[task]:.3g}."
        )
        if missing := {name: share for name, share in self.missing.items() if share > 0}:
            shares = ", ".join(f"`{name}` ({share:.2%})" for name, share in missing.items())
            said += f" Some numbers are NaN in both and compare nothing: {shares}."
        if others:
            shares = ", ".join(f"`{name}` ({self.changed[name]:.2%})" for name in others)
            return f"{said} It answers some other classes in {shares}."
        return f"{said} No answered class differs."

    def rows(self) -> list[list[str]]:
        """A row for each task."""
        table = [["task", "largest difference", "largest answer", "other classes"]]
        for name, value in self.differences.items():
            share = self.changed[name]
            shown = "–" if np.isnan(share) else f"{share:.2%}"
            table.append([name, f"{value:.1e}", f"{self.scales[name]:.3g}", shown])
        return table

    def figure(self) -> Any:
        """The differences of the tasks as points, beside the rounding of float32.

        Raises:
            ImportError: if matplotlib is not installed.
        """
        from mtlzoo.analysis import drawing

        names = list(self.differences)
        figure = drawing.new_figure(6.5, 1.6 + 0.4 * len(names))
        panel = figure.subplots()
        places = np.arange(len(names))[::-1]
        rounding = [np.spacing(np.float32(self.scales[name])) for name in names]
        least = min([*(x for x in self.differences.values() if x > 0), *rounding]) / 4
        shown = [max(self.differences[name], least) for name in names]
        panel.plot(
            shown, places, drawing.MARKERS[0], color=drawing.COLOURS[0], label="largest difference"
        )
        panel.plot(
            rounding,
            places,
            "|",
            markersize=14,
            color=drawing.COLOURS[1],
            label="one step of float32 at the largest answer",
        )
        for name, x, place in zip(names, shown, places, strict=True):
            if not self.differences[name]:
                panel.annotate("0", (x, place), (6, 4), textcoords="offset points")
        panel.set_xscale("log")
        panel.set_yticks(places, names)
        panel.set_ylim(-0.6, len(names) - 0.4)
        panel.set_xlabel("difference of an answer (in its own unit)")
        panel.set_title(self.title)
        panel.grid(axis="x", alpha=0.3)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return figure


def compare(
    path: str | os.PathLike,
    model: MultiTaskModel,
    rows: Any,
    *,
    preprocessor: keras.Model | str | None = "own",
) -> Comparison:
    """Run a written model, by the runtime of its format, beside the model that it was made of.

    Each signature is asked for all rows together and for the first one alone, so that a number of
    rows that was written into a file by mistake shows. Compared is with `Task.serve` on `model(x)`.

    Args:
        path: what `save` has written.
        model: the model.
        rows: inputs as the file takes them, raw columns where there is a preprocessor in it: an
            array, or a list or dict of arrays.
        preprocessor: as it was given to `save`. Defaults to `"own"`.

    Returns:
        A `Comparison`, by task.

    Raises:
        ValueError: if the file or the rows do not fit the model.
        ImportError: if the runtime is not installed.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, HardSharing, Regression, export

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,), name="features"), tasks, shared_units=(16,))
    path = export.save(model, "model.tflite", format="litert")
    found = export.compare(path, model, np.zeros((4, 8)))
    found.worst  # about 1e-7
    print(found.words())
    ```
    """
    exported, whole = load(path), parts(model, None, preprocessor)
    if set(exported.inputs) != set(whole.named()):
        raise ValueError(
            f"`path` should be a file with the inputs {sorted(whole.named())} of the model. "
            f"Received: one with {sorted(exported.inputs)}; was it written with another "
            "`preprocessor`?"
        )
    given = arrays(whole.rows_by_name(rows), exported.inputs)
    x = whole.in_structure({name: tf.constant(value) for name, value in given.items()})
    if whole.front is not None:
        x = whole.front(x, training=False)
    outputs = model(x, training=False)
    expected = {
        name: {key: np.asarray(value) for key, value in served(outputs, {name: task}).items()}
        for name, task in whole.tasks.items()
    }
    differences: dict[str, float] = {}
    scales: dict[str, float] = {}
    changed: dict[str, float] = {}
    missing: dict[str, float] = {}
    for name, own in expected.items():
        pairs = list(_pairs(exported, given, name, own))
        if not pairs:
            continue
        real = [(a, b) for a, b in pairs if a.dtype.kind == "f"]
        whole_numbers = [(a, b) for a, b in pairs if a.dtype.kind != "f"]
        differences[name] = max((_difference(a, b) for a, b in real), default=0.0)
        scales[name] = float(max((np.nanmax(np.abs(a), initial=0.0) for a, _ in real), default=0.0))
        missing[name] = max(
            (float(np.mean(np.isnan(a) & np.isnan(b))) for a, b in real if a.size), default=0.0
        )
        shares = [float(np.mean(a != b)) if a.size else 0.0 for a, b in whole_numbers]
        changed[name] = max(shares, default=float("nan"))
    if not differences:
        raise ValueError(
            f"`path` should be a file that answers some of the tasks {list(expected)}. "
            f"Received: path={os.fspath(path)!r}"
        )
    num_rows = len(next(iter(given.values())))
    return Comparison(exported.format, num_rows, differences, scales, changed, missing)


def _pairs(
    exported: Any, given: Mapping[str, np.ndarray], name: str, own: Mapping[str, np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What the model answers for a task, and what the file does, by each signature that has it."""
    for signature in exported.signatures.keys() & {"serve", name}:
        for count in (None, 1):
            found = exported.answer({k: v[:count] for k, v in given.items()}, signature)
            for key, value in own.items():
                if key not in found:
                    continue
                if found[key].shape != value[:count].shape:
                    raise ValueError(
                        f"`path` should be a file that answers `{key}` in the shape "
                        f"{value[:count].shape}. Received: {found[key].shape}"
                    )
                yield value[:count], found[key]


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference; infinite where one only is not a number."""
    both = np.isnan(expected) & np.isnan(found)
    gaps = np.where(both, 0.0, np.abs(expected.astype("float64") - found))
    gaps = np.where(expected == found, 0.0, gaps)  # two infinities
    return float(np.max(np.where(np.isnan(gaps), np.inf, gaps), initial=0.0))
