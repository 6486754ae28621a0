"""When what a task's losses are like has changed, by the detectors of the library river."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtlzoo.data.arguments import check_count

# By name, the class of river; those of its module `binary` look at errors, yes or no.
DETECTORS = {
    "adwin": "ADWIN",
    "ddm": "binary.DDM",
    "hddm_a": "binary.HDDMA",
    "hddm_w": "binary.HDDMW",
    "kswin": "KSWIN",
    "page_hinkley": "PageHinkley",
}
# Where river's own default is another: it would find falling losses too, and draw at random.
OPTIONS: dict[str, dict[str, Any]] = {"kswin": {"seed": 0}, "page_hinkley": {"mode": "up"}}
# The first values after a start say what is usual, and nothing is found in them.
USUAL = 100


class DriftDetector:
    """Finds out when the values of a stream, such as the losses of a task, have risen.

    Values are divided by the mean of the first 100 after each start, so that a detector does not
    depend on the unit of a loss. The detectors of errors get "above that mean" as the error. After
    a change of either direction the detector starts anew.

    It remembers the values since its last start, at most `memory` of them: when there are more, the
    older half is forgotten, and the detector starts anew from the younger one. So its state is a
    list of numbers, and one that goes on from it finds exactly what it would have found.

    Args:
        name: `"adwin"`, `"page_hinkley"`, `"kswin"`, or one of those of errors: `"ddm"`,
            `"hddm_a"`, `"hddm_w"`. Defaults to `"adwin"`.
        chunk: How many values are averaged to one before they are looked at. `"kswin"` takes about
            a millisecond for each. Defaults to 1.
        memory: The most averages that are remembered, at least 400. Defaults to 8192.
        **options: Arguments of river's class, such as `delta=0.002` of `"adwin"`.

    Attributes:
        found: The number of rises found so far.
        seen: The number of values seen so far.

    Raises:
        ImportError: If river is not installed, which the extra `online` installs.
        ValueError: If an argument is out of its range, or river does not take an option.

    Example:
    ```python
    import numpy as np
    from mtlzoo.online import DriftDetector

    rng = np.random.default_rng(0)
    detector = DriftDetector("adwin")
    detector.update(rng.exponential(0.1, 2000))  # []
    detector.update(rng.exponential(0.3, 2000))  # soon after the rise: about [63]
    ```

    References:
        Bifet and Gavaldà, *Learning from Time-Changing Data with Adaptive Windowing*, SDM 2007.
        Page, *Continuous Inspection Schemes*, Biometrika 1954.
        Raab, Heusinger and Schleif, *Reactive Soft Prototype Computing for Concept Drift Streams*,
        Neurocomputing 2020.
        Gama et al., *Learning with Drift Detection*, SBIA 2004.

    *Differences from the papers*: the mathematics are river's. Values are scaled as said above,
    falling ones are not reported, and the window of ADWIN is at most `memory` long.
    """

    def __init__(
        self, name: str = "adwin", *, chunk: int = 1, memory: int = 8192, **options: Any
    ) -> None:
        if name not in DETECTORS:
            raise ValueError(
                f"`name` should be one of {sorted(DETECTORS)}. Received: name={name!r}"
            )
        self.name = name
        self.chunk = check_count("chunk", chunk)
        self.memory = check_count("memory", memory, least=4 * USUAL)
        self.options = {**OPTIONS.get(name, {}), **options}
        self.found = self.seen = 0
        self._part: list[float] = []
        self._values: list[float] = []
        self._replay()

    def update(self, values: Sequence[float] | np.ndarray) -> list[int]:
        """Look at values.

        Args:
            values: `(n,)`, in the order in which they came; none is allowed.

        Returns:
            The places among them at which a rise was found, mostly none.

        Raises:
            ValueError: If a value is not finite, or there is more than one axis.
        """
        given = np.asarray(values, "float64")
        if given.ndim != 1 or not np.isfinite(given).all():
            raise ValueError(
                f"`values` should be finite numbers, `(n,)`. Received: shape {given.shape}, "
                f"{np.count_nonzero(~np.isfinite(given))} not finite"
            )
        places = []
        for place, value in enumerate(given.tolist()):
            self._part.append(value)
            if len(self._part) == self.chunk:
                average = sum(self._part) / self.chunk
                self._part = []
                if self._look(average):
                    places.append(place)
        self.found += len(places)
        self.seen += len(given)
        return places

    def new(self) -> "DriftDetector":
        """Another one with the same arguments, which has seen nothing."""
        return DriftDetector(self.name, chunk=self.chunk, memory=self.memory, **self.options)

    def get_state(self) -> dict[str, Any]:
        """What it remembers."""
        return {
            "name": self.name,
            "chunk": self.chunk,
            "options": self.options,
            "values": np.array(self._values, "float64"),
            "part": np.array(self._part, "float64"),
            "found": self.found,
            "seen": self.seen,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` of a detector with the same arguments gave.

        Raises:
            ValueError: If it is that of another detector.
        """
        for key, mine in {"name": self.name, "chunk": self.chunk, "options": self.options}.items():
            if state[key] != mine:
                raise ValueError(
                    f"`state` should be that of a detector with {key}={mine!r}. "
                    f"Received: that of one with {key}={state[key]!r}"
                )
        self._values = np.asarray(state["values"], "float64").tolist()
        self._part = np.asarray(state["part"], "float64").tolist()
        self.found, self.seen = int(state["found"]), int(state["seen"])
        self._replay()

    def _look(self, value: float) -> bool:
        """Whether a rise is found with this value."""
        self._values.append(value)
        count = len(self._values)
        if count <= USUAL:
            if count == USUAL:
                self._replay()
            return False
        self._feed(value)
        if self._detector.drift_detected:
            before, now = sum(self._values) / count, self._level()
            self._values = []
            self._replay()
            return now > before
        if count == self.memory:
            self._values = self._values[self.memory // 2 :]
            self._replay()
        return False

    def _replay(self) -> None:
        """Make the detector anew, and show it what is remembered.

        What it finds there has been looked at before, or belongs to the first values.
        """
        self._detector = _make(self.name, self.options)
        usual = self._values[:USUAL]
        # Where the losses are 0 so far, there is no unit to take.
        self._scale = sum(map(abs, usual)) / len(usual) if any(usual) else 1.0
        if len(self._values) >= USUAL:
            for value in self._values:
                self._feed(value)

    def _feed(self, value: float) -> None:
        scaled = value / self._scale
        self._detector.update(scaled > 1 if "." in DETECTORS[self.name] else scaled)

    def _level(self) -> float:
        """The mean after the change that was found; infinite where only rises are looked for."""
        match self.name:
            case "adwin":
                return self._detector.estimation * self._scale
            case "kswin":
                recent = self._detector.window
                return sum(recent) / len(recent) * self._scale
        return math.inf


def _make(name: str, options: dict[str, Any]) -> Any:
    try:
        from river import drift
    except ImportError as error:
        raise ImportError("`DriftDetector` needs river: pip install 'mtlzoo[online]'") from error
    found: Any = drift
    for part in DETECTORS[name].split("."):
        found = getattr(found, part)
    try:
        return found(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`options` should be arguments of river's `drift.{DETECTORS[name]}`. "
            f"Received: options={options!r}, of which it says: {error}"
        ) from error
