"""Updates as often as they are needed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtlzoo.data.arguments import check_count, check_positive_or_none, is_number
from mtlzoo.online.complexity import Complexity
from mtlzoo.online.drift import DriftDetector
from mtlzoo.online.running import Running
from mtlzoo.online.updating import Decision, Moment, UpdatePolicy

# How much each part counts where nothing else is said.
WEIGHTS = {"drift": 1.0, "trend": 0.5, "complexity": 0.5, "load": 1.0}
# Below this need an update counts as one in calm.
CALM = 0.25
# A rise of the recent losses below so many standard errors is noise.
DEVIATIONS = 2.0


class Adaptive(UpdatePolicy):
    r"""Updates often where something changes, and seldom where nothing does.

    After each mini-batch the need is, from 0 to 1,

    $$n = \min(1,\; w_d D + w_t T + w_c C),$$

    and the rows that wait are trained on when they fill a window of $W$ rows, in $P$ passes:

    $$W = W_0 (W_1 / W_0)^{\max(\beta (1 - n),\; w_l L)}, \qquad
    P = 1 + \mathrm{round}\big((P_1 - 1)\, n\, (1 - w_l L)\big).$$

    * **Drift** $D$: a detector for each task is shown the losses of the task's rows. When it finds
      a rise, the task's drift is 1, and falls to 0 along a line within the next `hold` rows.
    * **Trend** $T$: by how much of itself the mean loss of a task has risen, that of about the last
      `short` rows over that of the last `long`, without what noise may be (two standard errors);
      at most 1.
    * **Complexity** $C$: twice what the mean score of the last `short` rows is above the usual
      half; see `Complexity`.
    * **Load** $L$: how full the intake is. The fuller, the larger the windows and the fewer the
      passes, whatever the need, so that the learner does not fall behind.
    * **Calm** $\beta$: 0 at first. It grows by 1/`patience` after each update with a need below
      0.25, up to 1, so that windows grow from `rows[0]` to `rows[1]`; a drift takes it back to 0.
    * **Importance** of tasks: $D$ and $T$ are the largest of all tasks, each times its importance
      over the largest importance, and a drift takes back that share of $\beta$.

    Args:
        rows: The smallest window $W_0$ and the largest $W_1$, in rows. Defaults to `(256, 4096)`.
        passes: The most passes over a window, $P_1$. Defaults to 3.
        importance: By task a number of at least 0. Tasks that are not named have 1. Defaults to
            `None`.
        weights: By `"drift"`, `"trend"`, `"complexity"` and `"load"` how much each counts, from 0,
            which switches it off. Those not named are 1, 0.5, 0.5 and 1. Defaults to `None`.
        detector: A `DriftDetector`, of which each task gets a new one with the same arguments, or
            the name of one. Defaults to `None`, `DriftDetector("adwin", chunk=4, clock=8)`.
        complexity: What scores rows, or `None` for no such part. Defaults to `None`.
        hold: For how many rows a drift counts. Defaults to 2048.
        short: Rows of the recent mean. Defaults to 256.
        long: Rows of the long mean. Defaults to 4096.
        patience: After how many updates in calm windows are the largest. Defaults to 8.
        seconds: Waiting rows are trained on at the latest so long after the first mini-batch since
            the last update, or `None`. Defaults to `None`.

    Attributes:
        need: The need $n$ after the last mini-batch.
        window: The window $W$ that was in force then.

    Raises:
        ImportError: If river is not installed and drift is not switched off.
        ValueError: If an argument is out of its range, or a task that `importance` or `complexity`
            names is unknown to the learner.

    Example:
    ```python
    from mtlzoo.online import Adaptive, Complexity
    from mtlzoo.tasks import BinaryClassification, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    Adaptive(rows=(128, 2048), importance={"click": 2.0}, complexity=Complexity(tasks))
    Adaptive(weights={"drift": 0.0})  # by the trend of the losses alone, without river
    ```
    """

    def __init__(
        self,
        rows: tuple[int, int] = (256, 4096),
        passes: int = 3,
        *,
        importance: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
        detector: str | DriftDetector | None = None,
        complexity: Complexity | None = None,
        hold: int = 2048,
        short: int = 256,
        long: int = 4096,
        patience: int = 8,
        seconds: float | None = None,
    ) -> None:
        if not isinstance(rows, list | tuple) or len(rows) != 2 or rows[0] > rows[1]:
            raise ValueError(
                f"`rows` should be the smallest window and the largest. Received: rows={rows!r}"
            )
        for count in rows:
            check_count("rows", count)
        self.rows = (rows[0], rows[1])
        self.passes = check_count("passes", passes)
        self.importance = _numbers("importance", importance)
        given = _numbers("weights", weights)
        if not set(given) <= set(WEIGHTS):
            raise ValueError(
                f"`weights` should have keys among {list(WEIGHTS)}. Received: weights={weights!r}"
            )
        self.weights = {**WEIGHTS, **given}
        self.hold = check_count("hold", hold)
        self.short, self.long = check_count("short", short), check_count("long", long)
        self.patience = check_count("patience", patience)
        if short >= long:
            raise ValueError(
                f"`short` should be below `long`. Received: short={short}, long={long}"
            )
        self.seconds = check_positive_or_none("seconds", seconds)
        self.complexity = complexity if self.weights["complexity"] else None
        self.needs_features = self.complexity is not None and self.complexity.features
        self._pattern: DriftDetector | None = None
        if self.weights["drift"]:
            if detector is None:
                # Averages of four and a look at every eighth of them: on losses with long tails a
                # tenth of the false alarms of single losses, as soon (`benchmarks.drift`).
                detector = DriftDetector("adwin", chunk=4, clock=8)
            self._pattern = DriftDetector(detector) if isinstance(detector, str) else detector
        self.need, self.window = 0.0, float(rows[0])
        self._seen, self._calm = 0, 0.0
        self._began: float | None = None
        self._hard = Running(short)
        self._tasks: dict[str, _Watch] = {}

    def start(self, names: list[str]) -> None:
        """Be told the names of the tasks.

        Args:
            names: sorted.
        """
        unknown = sorted(set(self.importance) - set(names))
        if unknown:
            raise ValueError(
                f"`importance` should have keys among the tasks {names}. Received: {unknown}"
            )
        scored = [] if self.complexity is None else list(self.complexity.tasks)
        if not set(scored) <= set(names):
            raise ValueError(
                f"`complexity` should be of tasks among {names}. Received: tasks {scored}"
            )
        self._tasks = {name: self._watch() for name in names}

    def decide(self, moment: Moment) -> Decision:
        """Whether the need is such that the waiting rows are trained on now.

        Args:
            moment: what can be known now.
        """
        if self._began is None:
            self._began = moment.time
        self._seen += moment.rows
        drifts = self._look(moment)
        parts, causes = self._parts(moment)
        self.need = min(1.0, sum(parts.values()))
        load = min(1.0, self.weights["load"] * moment.load)
        least, most = self.rows
        self.window = least * (most / least) ** max(self._calm * (1 - self.need), load)
        # Half a row less, so that a window of 4096 is not one of 4096.0000001.
        full = moment.waiting >= self.window - 0.5
        late = self.seconds is not None and moment.time - self._began >= self.seconds
        if not moment.waiting or not (full or late):
            return Decision(0, drifts=drifts)
        self._began = None
        if self.need < CALM:
            self._calm = min(1.0, self._calm + 1 / self.patience)
        passes = 1 + round((self.passes - 1) * self.need * (1 - load))
        reason = f"{self.window:.0f} rows" if full else f"{self.seconds:g} seconds"
        reason += f", need {self.need:.2f}"
        for part, value in {**parts, "load": load}.items():
            if value:
                reason += f"; {part} {value:.2f}"
                reason += f" ({causes[part]})" if part in causes else ""
        return Decision(passes, reason, drifts)

    def _look(self, moment: Moment) -> tuple[str, ...]:
        """Take in the losses; the tasks in which drift is found."""
        found = []
        for name, share in self._shares(moment).items():
            watch = self._tasks.setdefault(name, self._watch())
            if share and watch.look(moment.losses.get(name, ()), self._seen):
                self._calm *= 1 - share
                found.append(name)
        return tuple(found)

    def _parts(self, moment: Moment) -> tuple[dict[str, float], dict[str, str]]:
        """What the need is made of, weighted; and by part the task that it is because of."""
        parts = {"drift": 0.0, "trend": 0.0}
        causes: dict[str, str] = {}
        for name, share in self._shares(moment).items():
            watch = self._tasks[name]
            found = {"drift": watch.drift(self._seen, self.hold), "trend": watch.trend()}
            for part, value in found.items():
                if share * value > parts[part]:
                    parts[part], causes[part] = share * value, name
        parts["complexity"] = self._complexity(moment)
        return {part: self.weights[part] * value for part, value in parts.items()}, causes

    def settings(self) -> dict[str, Any]:
        """The detector, the memories of losses and what scores rows."""
        pattern, complexity = self._pattern, self.complexity
        return {
            "detector": pattern and [pattern.name, pattern.chunk, pattern.memory, pattern.options],
            "short": self.short,
            "long": self.long,
            "complexity": complexity
            and [sorted(complexity.tasks), complexity.features, complexity.memory],
        }

    def get_state(self) -> dict[str, Any]:
        """What it remembers."""
        return {
            "seen": self._seen,
            "calm": self._calm,
            "began": self._began,
            "need": self.need,
            "window": self.window,
            "hard": self._hard.get_state(),
            "complexity": self.complexity.get_state() if self.complexity else None,
            "tasks": {name: watch.get_state() for name, watch in self._tasks.items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` of a policy with the same arguments gave.
        """
        self._seen, self._calm, self._began = state["seen"], state["calm"], state["began"]
        self.need, self.window = state["need"], state["window"]
        self._hard.set_state(state["hard"])
        if self.complexity is not None and state["complexity"] is not None:
            self.complexity.set_state(state["complexity"])
        self._tasks = {name: self._watch() for name in state["tasks"]}
        for name, watch in self._tasks.items():
            watch.set_state(state["tasks"][name])

    def _watch(self) -> "_Watch":
        detector = None if self._pattern is None else self._pattern.new()
        return _Watch(detector, self.short, self.long)

    def _shares(self, moment: Moment) -> dict[str, float]:
        """By task its importance over the largest one."""
        names = self._tasks or moment.losses
        numbers = {name: self.importance.get(name, 1.0) for name in names}
        most = max(numbers.values(), default=0.0)
        return {name: value / most if most else 0.0 for name, value in numbers.items()}

    def _complexity(self, moment: Moment) -> float:
        if self.complexity is None:
            return 0.0
        if moment.rows:  # else labels alone have come
            scores = self.complexity.score(moment.outputs, moment.features)
            self._hard.remember(scores[:, None])
        elif not self._hard.count:
            return 0.0
        return max(0.0, 2 * float(self._hard.mean[0]) - 1)


class _Watch:
    """What is known of the losses of one task."""

    def __init__(self, detector: DriftDetector | None, short: int, long: int) -> None:
        self._detector = detector
        self._short, self._long = Running(short), Running(long)
        self._drifted: int | None = None  # the number of rows at which drift was found

    def look(self, losses: Any, seen: int) -> bool:
        """Whether drift is found in losses `(n,)`, after `seen` rows of the stream."""
        losses = np.asarray(losses, "float64")
        if not losses.size:
            return False
        self._short.remember(losses[:, None])
        self._long.remember(losses[:, None])
        found = self._detector is not None and bool(self._detector.update(losses))
        if found:
            self._drifted = seen
        return found

    def drift(self, seen: int, hold: int) -> float:
        """1 where drift was found, and less and less within the next `hold` rows."""
        return 0.0 if self._drifted is None else max(0.0, 1 - (seen - self._drifted) / hold)

    def trend(self) -> float:
        """By how much of itself the mean loss has risen, from 0 to 1."""
        rows = self._short.memory
        if self._long.count < 2 * rows:  # there are no two means yet
            return 0.0
        usual = float(self._long.mean[0])
        noise = DEVIATIONS * float(np.sqrt(self._long.variance[0] / rows))
        rise = float(self._short.mean[0]) - usual - noise
        return min(1.0, max(0.0, rise / abs(usual))) if usual else float(rise > 0)

    def get_state(self) -> dict[str, Any]:
        return {
            "detector": self._detector.get_state() if self._detector else None,
            "short": self._short.get_state(),
            "long": self._long.get_state(),
            "drifted": self._drifted,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        if self._detector is not None and state["detector"] is not None:
            self._detector.set_state(state["detector"])
        self._short.set_state(state["short"])
        self._long.set_state(state["long"])
        self._drifted = state["drifted"]


def _numbers(argument: str, given: Mapping[str, float] | None) -> dict[str, float]:
    """Numbers of at least 0 by name."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(is_number(n) and n >= 0 for n in given.values()):
        raise ValueError(
            f"`{argument}` should be a dict of numbers of at least 0. "
            f"Received: {argument}={given!r}"
        )
    return {name: float(value) for name, value in given.items()}
