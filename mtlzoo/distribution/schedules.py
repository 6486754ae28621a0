"""The order in which the stages of a pipeline work through the micro-batches of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

GPIPE, ONE_F_ONE_B = "gpipe", "1f1b"
SCHEDULES = (GPIPE, ONE_F_ONE_B)

FORWARD, BACKWARD = "forward", "backward"


class Work(NamedTuple):
    """One stage's work on one micro-batch.

    Attributes:
        kind: `"forward"` or `"backward"`.
        stage: number of the stage, from 0.
        micro_batch: number of the micro-batch, from 0.
    """

    kind: str
    stage: int
    micro_batch: int


@dataclass(frozen=True)
class Schedule:
    r"""Which stage works on what, and when.

    A pipeline of $p$ stages fills and drains: of the time that a pass of $m$ micro-batches takes,
    each stage idles at least the *bubble*

    $$\frac{p - 1}{m + p - 1}.$$

    Both schedules have it; they differ in how many micro-batches have activations in memory.
    **GPipe** runs all micro-batches forward and then all backward, so that all $m$ are in flight.
    **1F1B** begins with the backward pass of a micro-batch as soon as the last stage has seen it:
    stage $s$ has at most $p - s$ in flight.

    Here a pass backward can begin only after the losses of the whole batch are known, since a
    balancer makes its weights of all of them. So 1F1B runs all micro-batches forward once without
    keeping anything, and then once more, one forward and one backward in turns: its memory is that
    of the paper, for one forward pass more.

    Papers: Huang et al., *GPipe* (2019), https://arxiv.org/abs/1811.06965; Narayanan et al.,
    *PipeDream* (2019), https://arxiv.org/abs/1806.03377, and Fan et al., *DAPPLE* (2021),
    https://arxiv.org/abs/2007.01045, for 1F1B without stale weights.

    Args:
        name: `"gpipe"` or `"1f1b"`.
        stages: number of stages.
        micro_batches: number of micro-batches.

    Raises:
        ValueError: for an unknown name, or a number below 1.

    Example:
    ```python
    from mtlzoo.distribution import Schedule

    schedule = Schedule("1f1b", stages=3, micro_batches=6)
    print(schedule.in_flight())  # [3, 2, 1]
    print(round(schedule.bubble(), 3))  # 0.25
    ```
    """

    name: str
    stages: int
    micro_batches: int

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise ValueError(
                f"`schedule` should be one of {list(SCHEDULES)}. Received: schedule={self.name!r}"
            )
        for argument in ("stages", "micro_batches"):
            value = getattr(self, argument)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"`{argument}` should be an integer of at least 1. "
                    f"Received: {argument}={value!r}"
                )

    @property
    def replays(self) -> bool:
        """Whether the backward pass runs forward once more."""
        return self.name == ONE_F_ONE_B

    def of_stage(self, stage: int) -> list[Work]:
        """What a stage does in the pass that goes backward, in order.

        Args:
            stage: number of the stage.
        """
        forward = [Work(FORWARD, stage, m) for m in range(self.micro_batches)]
        backward = [Work(BACKWARD, stage, m) for m in range(self.micro_batches)]
        if not self.replays:
            return backward[::-1]
        warm_up = min(self.stages - stage - 1, self.micro_batches)
        works, rest = forward[:warm_up], forward[warm_up:]
        for ahead, back in zip(rest, backward, strict=False):
            works += [ahead, back]
        return works + backward[len(rest) :]

    def _orders(self) -> tuple[list[list[Work]], list[list[Work]]]:
        """By stage what it does, in the first pass and in the one that goes backward."""
        stages = range(self.stages)
        first = [[Work(FORWARD, s, m) for m in range(self.micro_batches)] for s in stages]
        return first, [self.of_stage(s) for s in stages]

    def forward_pass(self) -> list[Work]:
        """The first pass, as `backward_pass`."""
        first, _ = self._orders()
        return [work for work, _, _ in _timed(first, self.stages, 1.0, 1.0)]

    def backward_pass(self) -> list[Work]:
        """The pass that goes backward: the work of all stages, each after what it needs."""
        _, second = self._orders()
        return [work for work, _, _ in _timed(second, self.stages, 1.0, 1.0)]

    def makespan(self, forward: float = 1.0, backward: float = 2.0) -> float:
        """How long a step takes if each stage does one thing at a time, and nothing else does.

        Args:
            forward: time of a stage for one micro-batch forward. Defaults to `1.0`.
            backward: the same backward. Defaults to `2.0`.
        """
        return sum(
            max(end for _, _, end in _timed(orders, self.stages, forward, backward))
            for orders in self._orders()
        )

    def bubble(self, forward: float = 1.0, backward: float = 2.0) -> float:
        """The part of the makespan in which a stage idles, on average over the stages.

        Args:
            forward: time of a stage for one micro-batch forward. Defaults to `1.0`.
            backward: the same backward. Defaults to `2.0`.
        """
        busy = self.micro_batches * (forward * (2 if self.replays else 1) + backward)
        return 1 - busy / self.makespan(forward, backward)

    def in_flight(self) -> list[int]:
        """By stage, of how many micro-batches it holds activations at most."""
        most = []
        for stage in range(self.stages):
            held = 0 if self.replays else self.micro_batches
            peak = held
            for work in self.of_stage(stage):
                held += 1 if work.kind == FORWARD else -1
                peak = max(peak, held)
            most.append(peak)
        return most


def _timed(
    orders: Sequence[list[Work]], stages: int, forward: float, backward: float
) -> list[tuple[Work, float, float]]:
    """When each work begins and ends if every stage keeps its order, sorted by the beginning."""
    replayed = any(work.kind == FORWARD for order in orders for work in order)
    done: dict[Work, float] = {}
    free = [0.0] * stages
    waiting = [list(order) for order in orders]
    found = []
    while any(waiting):
        for stage, order in enumerate(waiting):
            while order and all(need in done for need in _needs(order[0], stages, replayed)):
                work = order.pop(0)
                ready = [done[need] for need in _needs(work, stages, replayed)]
                begin = max([free[stage], *ready])
                free[stage] = done[work] = begin + (forward if work.kind == FORWARD else backward)
                found.append((work, begin, done[work]))
    return sorted(found, key=lambda each: (each[1], each[0].stage))


def _needs(work: Work, stages: int, replayed: bool) -> list[Work]:
    """What must be done before: the neighbour's part, and one's own pass forward."""
    if work.kind == FORWARD:
        return [work._replace(stage=work.stage - 1)] if work.stage else []
    needs = [work._replace(stage=work.stage + 1)] if work.stage < stages - 1 else []
    return [*needs, work._replace(kind=FORWARD)] if replayed else needs
