"""Trainings in TensorBoard: curves by task, weights, and what analyses found."""

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from mtlzoo.analysis import Finding, drawing
from mtlzoo.distribution import is_chief
from mtlzoo.models import MultiTaskModel
from mtlzoo.reporting import findings as found_by_analyses


class TensorBoard(keras.callbacks.Callback):
    """Writes what TensorBoard shows of a multi-task training, sorted by task.

    At the end of each epoch it writes the logs under `<task>/<metric>`, those of the training data
    to the folder `train` and those of the validation data to `validation`, so that both are lines
    of one chart; also the weights that the balancer gave the tasks (`weights/<task>`), and the
    learning rate. The page *Custom Scalars* has a layout with a part for each task. When the
    training ends it writes the pictures and the words of findings.

    Look at them by `tensorboard --logdir <log_dir>`. A training that goes on after a kill goes on
    in the same folder.

    Args:
        log_dir: The folder. Each training should have one of its own.
        findings: What analyses find while the model trains or have found before, such as a
            `GramianHistory` that is among the callbacks before this one. One that cannot be written
            when the training ends is logged as an error. Defaults to none.

    Raises:
        ImportError: If TensorBoard is not installed, or matplotlib, which pictures of findings
            need, when this is made.
        ValueError: If an argument is none of what it should be; in `fit`, before the first step, if
            the model has no tasks.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.reporting import TensorBoard

    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=[8])
    model.compile("adam", balancer="pcgrad")
    x = np.ones((16, 4), "float32")
    y = {"a": x[:, 0], "b": x[:, 1]}
    model.fit(x, y, callbacks=[TensorBoard("logs/pcgrad")], verbose=0)
    ```
    """

    def __init__(self, log_dir: str | os.PathLike, findings: Sequence[Finding] = ()) -> None:
        super().__init__()
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError(
                "`TensorBoard` should have the package that TensorFlow does not bring along any "
                "more. Install it with `pip install 'mtlzoo[tensorboard]'`"
            )
        if not isinstance(log_dir, str | os.PathLike) or not str(log_dir):
            raise ValueError(f"`log_dir` should be that of a folder. Received: log_dir={log_dir!r}")
        if Path(log_dir).is_file():
            raise ValueError(
                f"`log_dir` should be a folder, and not a file. Received: log_dir={str(log_dir)!r}"
            )
        self.log_dir = Path(log_dir)
        self.findings = found_by_analyses.check(findings)
        if self.findings:
            drawing.new_figure(1, 1)  # fails now rather than after the training
        self._writers: dict[str, Any] = {}
        self._epoch = 0

    # -- in training ----------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the files, and write the layout."""
        model: Any = self.model
        if not isinstance(model, MultiTaskModel):
            raise ValueError(
                "`TensorBoard` should be given to `fit` of a multi-task model; "
                "`keras.callbacks.TensorBoard` is for others. "
                f"Received: a model of type {type(model).__name__}"
            )
        self._close()
        if not is_chief(model.distribute_strategy):
            return
        self._writers = {
            part: tf.summary.create_file_writer(str(self.log_dir / part))
            for part in ("train", "validation")
        }
        with self._writers["train"].as_default():
            summary = layout(model._step.objectives.metric_names)
            tf.summary.experimental.write_raw_pb(summary, step=0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the logs of the epoch."""
        self._epoch = epoch + 1
        if not self._writers:
            return
        model: Any = self.model
        tags = _tags(model)
        for key, value in (logs or {}).items():
            part = "validation" if key.startswith("val_") else "train"
            key = key.removeprefix("val_")
            self._scalar(part, tags.get(key, f"epoch/{key}"), value)
        for name, weight in model.task_weights.items():
            self._scalar("train", f"weights/{name}", weight)
        rate = getattr(model.optimizer, "learning_rate", None)
        if rate is not None:
            self._scalar("train", "epoch/learning_rate", float(keras.ops.convert_to_numpy(rate)))
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        """Write the findings, and close the files."""
        written: list[str] = []
        for finding in self.findings if self._writers else []:
            try:
                self._write(self._writers["train"], finding, self._epoch, written)
            except Exception:  # a training that is over should not be lost
                logging.exception("The finding %s was not written.", type(finding).__name__)
        self._close()

    def write_findings(self, findings: Sequence[Finding], step: int = 0) -> None:
        """Write pictures, words and tables, in a training or at any other time.

        Args:
            findings: What analyses found.
            step: Where they stand among the epochs. Defaults to 0.

        Raises:
            ValueError: If they are no findings.
            ImportError: If a picture needs a package that is not there.
        """
        found = found_by_analyses.check(findings)
        if not found:
            return
        own = self._writers.get("train")
        writer = own or tf.summary.create_file_writer(str(self.log_dir / "train"))
        try:
            written: list[str] = []
            for finding in found:
                self._write(writer, finding, step, written)
        finally:
            if own is None:
                writer.close()

    def _write(self, writer, finding, step, written):
        """Write a finding; those of one title are numbered."""
        written.append(finding.title)
        count = written.count(finding.title)
        title = finding.title if count == 1 else f"{finding.title} ({count})"
        with writer.as_default():
            # A tag is either text or a picture.
            tf.summary.text(f"words/{title}", _markdown(finding), step=step)
            figure = finding.figure()
            if figure is not None:
                tf.summary.image(f"findings/{title}", _pixels(figure), step=step)
        writer.flush()

    def _scalar(self, part, tag, value):
        with self._writers[part].as_default():
            tf.summary.scalar(tag, float(value), step=self._epoch)

    def _close(self):
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    # -- after a kill ---------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """What a training that goes on after a kill needs."""
        return {"epoch": self._epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        self._epoch = state["epoch"]


def layout(metrics: Mapping[str, Sequence[str]]) -> bytes:
    """The layout of the page *Custom Scalars*: for each task its loss and its metrics, then all
    losses, then the weights of the tasks.

    Args:
        metrics: By task the names of its metrics.

    Returns:
        A serialized `Summary`.
    """
    from tensorboard.plugins.custom_scalar import layout_pb2, summary

    def chart(title, patterns):
        lines = layout_pb2.MultilineChartContent(tag=patterns)
        return layout_pb2.Chart(title=title, multiline=lines)

    def of_tag(tag):
        return f"^{re.escape(tag)}$"

    parts = [
        layout_pb2.Category(
            title=f"Task {name}",
            chart=[chart(each, [of_tag(f"{name}/{each}")]) for each in ("loss", *of_task)],
        )
        for name, of_task in metrics.items()
    ]
    together = layout_pb2.Category(
        title="All tasks",
        chart=[
            chart("losses", [of_tag(f"{name}/loss") for name in metrics]),
            chart("weights of the tasks", [of_tag(f"weights/{name}") for name in metrics]),
        ],
    )
    return summary.pb(layout_pb2.Layout(category=[*parts, together])).SerializeToString()


def _tags(model: Any) -> dict[str, str]:
    """By key of the logs its tag."""
    metrics = model._step.objectives.metric_names
    return {f"{n}_{m}": f"{n}/{m}" for n, of_task in metrics.items() for m in ("loss", *of_task)}


def _markdown(finding: Finding) -> str:
    """Its words, and its numbers as a table."""
    rows = [[re.sub(r"([|\\])", r"\\\1", cell) for cell in row] for row in finding.rows()]
    lines = [finding.words(), ""]
    for i, row in enumerate(rows):
        lines.append("| " + " | ".join(row) + " |")
        if i == 0:
            lines.append("|" + " --- |" * len(row))
    return "\n".join(lines)


def _pixels(figure: Any) -> Any:
    """One picture as a batch of pixels."""
    return tf.image.decode_png(found_by_analyses.png(figure), channels=3)[None]
