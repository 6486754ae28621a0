"""What a task's answers rest on, row by row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtlzoo.analysis.explanation import pictures

TITLES = {
    "grad_cam": "Grad-CAM",
    "grad_cam_pp": "Grad-CAM++",
    "integrated_gradients": "Integrated gradients",
    "layer_cam": "Layer-CAM",
    "saliency": "Saliency",
    "score_cam": "Score-CAM",
    "smooth_grad": "SmoothGrad",
}


class Explanation:
    """How much each part of the input has to do with what a task answers, for some rows.

    `explain` makes it.

    Args:
        task: The task.
        method: Name of the method.
        attributions: By input, or layer, `(B, ...)`: a number for each pixel, word, column or step,
            of several channels together.
        shown: By the same names what is drawn beside them, `(B, ...)`.
        scores: `(B,)`, the number that is explained: a logit, or the task's value.
        targets: B indices of what is explained, as `explain` takes them.
        asked: What is explained in each row, in words.
        answers: What the model answers, in words.
        baseline_scores: `(B,)`, the number at the baseline, of integrated gradients. Defaults to
            `None`.
        signed: Whether attributions below zero speak against what is explained.
        names: By input, what its columns are called, or for each row its words. Defaults to none.
        notes: What else should be said. Defaults to `""`.

    Attributes:
        title: A headline.
        attributions: By input or layer, float arrays.
        gaps: `(B,)`, by how much the attributions of integrated gradients miss the difference
            between score and baseline score, which is their sum in theory; `None` for others.
    """

    def __init__(
        self,
        task: str,
        method: str,
        attributions: Mapping[str, np.ndarray],
        shown: Mapping[str, np.ndarray],
        scores: np.ndarray,
        targets: Sequence[int],
        asked: Sequence[str],
        answers: Sequence[str],
        *,
        baseline_scores: np.ndarray | None = None,
        signed: bool = False,
        names: Mapping[str, Sequence] | None = None,
        notes: str = "",
    ) -> None:
        self.task, self.method, self.signed, self.notes = task, method, signed, notes
        self.attributions, self.shown = dict(attributions), dict(shown)
        self.scores, self.asked, self.answers = scores, list(asked), list(answers)
        self.targets = list(targets)
        self.baseline_scores = baseline_scores
        self.names = dict(names or {})
        self.gaps = None
        if baseline_scores is not None:
            total = sum(_flat(a).sum(1) for a in self.attributions.values())
            self.gaps = scores - baseline_scores - total

    @property
    def title(self) -> str:
        """A headline."""
        return f"{TITLES[self.method]} of task {self.task}"

    def __len__(self) -> int:
        return len(self.scores)

    def share(self, region: Any, name: str | None = None) -> np.ndarray:
        """Which part of all attribution, by absolute value, lies in a region.

        Args:
            region: Bools of the shape of the attributions of a row, or one for each row.
            name: The input or layer. Defaults to `None`, the only one.

        Returns:
            `(B,)`, from 0 to 1; NaN for a row without any attribution.

        Raises:
            ValueError: If there are several inputs and none is named, or the shape is another.
        """
        if (name is None and len(self.attributions) > 1) or name not in (None, *self.attributions):
            raise ValueError(
                f"`name` should be one of {list(self.attributions)}. Received: name={name!r}"
            )
        values = np.abs(
            next(iter(self.attributions.values())) if name is None else self.attributions[name]
        )
        region = np.asarray(region, bool)
        if region.shape not in (values.shape, values.shape[1:]):
            raise ValueError(
                f"`region` should have the shape {values.shape[1:]}. Received: shape={region.shape}"
            )
        return _quotient(_flat(values * region).sum(1), _flat(values).sum(1))

    def shares(self) -> dict[str, np.ndarray]:
        """By input or layer, its part of all attribution, `(B,)`.

        What counts is the absolute value of an input's sum, if attributions have a sign: those of
        the many samples of a sound, for instance, mostly cancel.
        """
        sums = {name: np.abs(_flat(a).sum(1)) for name, a in self.attributions.items()}
        return {name: _quotient(part, sum(sums.values())) for name, part in sums.items()}

    def columns(self) -> list[tuple[str, float, float]]:
        """For each column of a table its name, and means over the rows: absolute, and signed.

        The most important first. Pictures and sequences count as one column each.
        """
        found = []
        for name, values in self.attributions.items():
            if values.ndim == 2 and values.shape[1] > 1 and not pictures.is_sequence(self, name):
                labels = self.names.get(name) or [f"{name} {i}" for i in range(values.shape[1])]
                pairs = list(zip(labels, values.T, strict=True))
            else:
                pairs = [(name, _flat(values).sum(1))]
            found += [(str(label), float(np.abs(v).mean()), float(v.mean())) for label, v in pairs]
        return sorted(found, key=lambda column: -column[1])

    def words(self) -> str:
        """What is explained, which inputs matter, and what does not follow."""
        count = len(self)
        asked = sorted({*self.asked}, key=self.asked.count, reverse=True)
        what = f"`{asked[0]}`" if len(asked) == 1 else "what the model answers"
        said = [f"{TITLES[self.method]} explains {what} of task {self.task} in {count} rows."]
        if len(columns := self.columns()) > 1:
            most = ", ".join(f"{name} ({size:.3g})" for name, size, _ in columns[:3])
            said.append(f"Most of it, by mean absolute attribution, lies in {most}.")
        sums = sum(np.abs(_flat(a)).sum(1) for a in self.attributions.values())
        empty = int(np.sum(sums == 0))
        if empty:
            said.append(
                f"In {empty} of them it is zero everywhere: nothing there raises this number."
            )
        if self.gaps is not None:
            said.append(
                "The attributions of a row add up to its score less that of the baseline, but for "
                f"at most {np.abs(self.gaps).max():.2g}."
            )
        said += [self.notes] if self.notes else []
        said.append("It says what this model uses, not what causes what it predicts.")
        return " ".join(said)

    def rows(self) -> list[list[str]]:
        """The columns of a table, most important first; of one picture or text, its rows."""
        columns = self.columns()
        if len(columns) > 1:
            head = ["input", "mean absolute attribution", "mean attribution"]
            return [head, *([n, f"{size:.3g}", f"{mean:.3g}"] for n, size, mean in columns)]
        head = ["row", "explained", "answer", "score"]
        ends: list[list[str]] = [[] for _ in self.scores]
        if self.baseline_scores is not None and self.gaps is not None:
            head += ["baseline score", "gap"]
            pairs = zip(self.baseline_scores, self.gaps, strict=True)
            ends = [[f"{start:.3g}", f"{gap:.2g}"] for start, gap in pairs]
        found = []
        for i, score in enumerate(self.scores):
            row = [str(i), self.asked[i], self.answers[i], f"{score:.3g}"]
            found.append(row + ends[i])
        return [head, *found]

    def figure(self) -> Any:
        """The first rows: pictures beside their maps, words and steps with bars; columns' means.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        return pictures.draw(self)


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _quotient(part: np.ndarray, whole: Any) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole != 0)
