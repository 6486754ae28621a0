"""A callback that says in plain words what goes wrong."""

from dataclasses import asdict
from typing import Any

import keras
import numpy as np
from absl import logging

from mtlzoo.analysis import drawing
from mtlzoo.analysis.health import checks, states
from mtlzoo.analysis.health.checks import HealthLimits, HealthWarning
from mtlzoo.balancing import GradientBalancer
from mtlzoo.models import MultiTaskModel
from mtlzoo.models.gramian_record import GramianSums

KINDS = (
    *("vanishing", "exploding", "conflict", "dominated", "non_finite"),
    *("drift", "dead_units", "experts"),
)


class TrainingHealth(keras.callbacks.Callback):
    """Warns, after each epoch, of what goes wrong in a training without an error.

    | kind | what is seen | in |
    |---|---|---|
    | `vanishing` | a task's gradient is zero, or far shorter than in another layer | Gramian |
    | `exploding` | it is far longer than the variables, or than before | Gramian |
    | `conflict` | two tasks' gradients are opposed in most steps | Gramian |
    | `dominated` | a task's weighed gradient is far shorter than another's | Gramian |
    | `non_finite` | a gradient or a variable has a value that is not finite | Gramian, variables |
    | `drift` | the statistics of a batch normalization move far in an epoch | variables |
    | `dead_units` | most units of a layer with `relu` are zero for every row | probe |
    | `experts` | an expert is dead, used by no task, or all that a task uses | probe |

    A warning names the task, the layer and a remedy. It goes to the log when it comes up, once in a
    training, and to `warnings` in each epoch. What looks at gradients needs
    `compile(track_gramian="groups")` (or `"shared"`, with which layers are not told apart).

    It adds to the logs of each epoch `<task>_gradient_norm`, the root mean square of the norm, and
    `<task>_lowest_cosine`, the lowest mean cosine with another task; callbacks that are to see them
    stand after this one.

    Args:
        probe: A batch of inputs, some hundred rows, of which dead units and experts are judged.
            Defaults to `None`, by which they are not.
        limits: What is out of bounds. Defaults to `HealthLimits()`.

    Attributes:
        warnings: All `HealthWarning`s, in order of epochs, which a second training counts on.

    Raises:
        ValueError: If `limits` are no `HealthLimits`; when training begins, for a model that tracks
            no Gramian or is not one of several tasks, and for a probe that it does not take.

    Example:
    ```python
    import keras
    import numpy as np
    import mtlzoo as zoo
    from mtlzoo.analysis import TrainingHealth

    inputs = keras.Input((4,))
    model = zoo.HardSharing(inputs, [zoo.Regression("a"), zoo.Regression("b")], shared_units=[8])
    model.compile("sgd", balancer="pcgrad", track_gramian="groups")
    x = np.random.default_rng(0).normal(size=(64, 4))
    health = TrainingHealth(probe=x)
    model.fit(x, {"a": x[:, :1], "b": -x[:, :1]}, epochs=2, verbose=0, callbacks=[health])
    print(health.words())
    ```
    """

    def __init__(self, probe: Any = None, limits: HealthLimits | None = None) -> None:
        super().__init__()
        if not isinstance(limits, HealthLimits | None):
            raise ValueError(
                f"`limits` should be `HealthLimits` or None. Received: limits={limits!r}"
            )
        self.probe, self.limits = probe, limits or HealthLimits()
        self.warnings: list[HealthWarning] = []
        self._norms: list[np.ndarray] = []
        self._recent: GramianSums | None = None
        self._statistics: dict[str, tuple[np.ndarray, np.ndarray]] | None = None
        self._epochs = self._measured = 0
        self._before = 0  # how many warnings are of an earlier training

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See that the model can be judged."""
        if not isinstance(self.model, MultiTaskModel):
            raise ValueError(
                "`TrainingHealth` should be a callback of a `MultiTaskModel`. "
                f"Received: {self.model!r}"
            )
        self.model.gramian_record  # noqa: B018, an error that says what to do
        self._before, self._statistics = len(self.warnings), None
        if self.probe is not None:
            states.check_probe(self.model, self.probe)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Judge the epoch."""
        model, limits = self.model, self.limits
        self._epochs += 1
        number = self._epochs
        owners = model._step.readers
        seen = self._seen(number)
        found = [*checks.gradients(seen, limits), *states.variables(model, owners, number)]
        now = states.statistics(model)
        if self._statistics is not None:  # the first epoch comes from nowhere
            found += states.drift(model, owners, self._statistics, now, number, limits)
        self._statistics = now
        if self.probe is not None:
            found += states.dead_units(model, owners, self.probe, number, limits)
            found += states.experts(model, self.probe, number)
        known = {warning.key for warning in self.warnings[self._before :]}
        for warning in found:
            if warning.key not in known:
                logging.warning("Epoch %d: %s Remedy: %s.", number, warning.message, warning.remedy)
        self.warnings += found
        self._norms.append(seen.sums.norms)
        if logs is not None:
            self._add_to(logs, seen)

    def _seen(self, epoch):
        record = self.model.gramian_record
        sums = record.sums()
        self._measured += int(sums.steps.max())
        if self._recent is None or self._recent.pairs.max() >= self.limits.steps:
            self._recent = sums
        else:
            self._recent += sums
        groups = [record.shared, *record.variables_of]
        return checks.Seen(
            epoch,
            record.names,
            record.groups,
            sums,
            np.array([_length(group) for group in groups]),
            np.array([sum(int(np.prod(v.shape)) for v in group) for group in groups]),
            record.reached,
            self._weights(record.names),
            self._recent,
            " ".join(type(part).__name__.lower() for part in self.model.balancer.whole),
            self._norms,
        )

    def _weights(self, names):
        """Those of the last step that are not in the gradients already."""
        method = self.model._step.method
        if method.loss_part is not None and method.gradient_part is not None:
            # Gradients are those of the losses as the first of both has weighed them.
            if not isinstance(method.gradient_part, GradientBalancer):
                return np.ones(len(names))
            weights = keras.ops.convert_to_numpy(method.gradient_part.task_weights)
            return weights.reshape(-1, len(names)).mean(0)
        by_name = self.model.task_weights
        return np.array([by_name[name] for name in names])

    @staticmethod
    def _add_to(logs, seen):
        cosines = seen.sums.cosines[0].copy()
        np.fill_diagonal(cosines, np.nan)
        for t, name in enumerate(seen.names):
            logs[f"{name}_gradient_norm"] = float(seen.sums.norms[0, t])
            known = cosines[t][~np.isnan(cosines[t])]
            logs[f"{name}_lowest_cosine"] = float(known.min()) if known.size else float("nan")

    def get_state(self) -> dict[str, Any]:
        """What a training that goes on after a kill needs."""
        statistics = self._statistics
        return {
            "warnings": [{**vars(w), "tasks": list(w.tasks)} for w in self.warnings],
            "norms": list(self._norms),
            "statistics": None
            if statistics is None
            else {k: list(v) for k, v in statistics.items()},
            "recent": self._recent and asdict(self._recent),
            "epochs": self._epochs,
            "measured": self._measured,
            "before": self._before,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        self.warnings = [
            HealthWarning(**{**each, "tasks": tuple(each["tasks"])}) for each in state["warnings"]
        ]
        self._norms = [np.asarray(norms) for norms in state["norms"]]
        kept = state["statistics"]
        self._statistics = None if kept is None else {k: (v[0], v[1]) for k, v in kept.items()}
        self._recent = state["recent"] and GramianSums(**state["recent"])
        self._epochs, self._measured = state["epochs"], state["measured"]
        self._before = state["before"]

    # -- what was found ---------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What it is about, as a headline."""
        return "Health of the training"

    def words(self) -> str:
        """Each fault once, as it was last seen, with its remedy."""
        if not self._epochs:
            return "Nothing was trained yet."
        latest = {warning.key: warning for warning in self.warnings}
        how = f"Gradients were measured in {self._measured} steps."
        if not latest:
            return f"Nothing went wrong in {self._epochs} epochs that these checks can see. {how}"
        epochs = {key: [w.epoch for w in self.warnings if w.key == key] for key in latest}
        said = [
            f"{w.message} Seen in epochs {_ranges(epochs[key])}. Remedy: {w.remedy}."
            for key, w in latest.items()
        ]
        return " ".join([*said, how])

    def rows(self) -> list[list[str]]:
        """A row for each warning."""
        head = ["epoch", "kind", "tasks", "where", "value"]
        return [
            head,
            *(
                [str(w.epoch), w.kind, ", ".join(w.tasks), w.where, f"{w.value:.3g}"]
                for w in self.warnings
            ),
        ]

    def figure(self) -> Any:
        """Which kind of fault was seen in which epoch, and how often.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        epochs = max(1, self._epochs)
        counts = np.zeros((len(KINDS), epochs))
        for warning in self.warnings:
            counts[KINDS.index(warning.kind), warning.epoch - 1] += 1
        figure = drawing.new_figure(3.5 + 0.45 * epochs, 4.0)
        panel = figure.subplots()
        columns = [str(epoch + 1) for epoch in range(epochs)]
        drawing.heat_map(panel, counts, KINDS, columns, label="warnings", form="{:.0f}")
        panel.set_xlabel("epoch")
        panel.set_title(self.title)
        return figure


def _ranges(numbers):
    """1, 2, 3, 5 as "1-3, 5"."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _length(variables):
    """The norm of all of them together."""
    squares = [keras.ops.sum(keras.ops.square(keras.ops.cast(v, "float32"))) for v in variables]
    return float(np.sqrt(sum(float(keras.ops.convert_to_numpy(square)) for square in squares)))
