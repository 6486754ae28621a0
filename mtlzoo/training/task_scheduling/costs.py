"""What each task costs: seconds and bytes of a training step."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.training import model_state
from mtlzoo.training.task_scheduling.live_bytes import most_live_bytes

# How `temporaries` came about.
GRAPH, DEVICE = "graph", "device"
_WARM_UPS = 2  # calls: in the first the step is traced, in the second memory is laid out


@dataclasses.dataclass(frozen=True)
class TaskCosts:
    r"""What a training step costs, for each task alone and for all together.

    `measure_task_costs` measures them. Made by hand, or out of numbers that were measured once,
    they make a `ResourceBudget` deterministic; what is measured anew never is. Tasks that are
    balanced as one have the name of their row. `dataclasses.asdict` makes a dict of them.

    What several tasks have in common in a step is counted once:
    $c = (\sum_t c_t - c_{all}) / (T - 1)$, but no more than the cheapest step. A step of the tasks
    $S$ costs $\sum_{t \in S} c_t - (|S| - 1) c$, and one of all tasks $c_{all}$.

    Args:
        seconds: By task the seconds of a step that computes it alone.
        all_seconds: Those of a step of all tasks. Defaults to the sum: nothing in common.
        parameters: By task the bytes of its own variables. Defaults to `None`: 0 for each.
        shared_parameters: The bytes of all other variables of the model, the balancer's among them.
            Defaults to 0.
        slots: By task the bytes that the optimizer keeps for its own variables. Defaults to `None`:
            0 for each.
        shared_slots: The bytes of all else that the optimizer keeps. Defaults to 0.
        temporaries: By task the bytes that a step of it alone needs beside these. Defaults to
            `None`: 0 for each.
        all_temporaries: Those of a step of all tasks. Defaults to the sum.
        temporaries_by: How they were found. `"graph"`: computed, the most bytes that tensors of the
            step's graph have at a time, were its operations run in the order in which they were
            traced; without what is inside branches and loops, and before a compiler fuses anything.
            `"device"`: measured, the peak of the GPU's memory above what is allocated before the
            step. `""`: not known. Defaults to `""`.

    Attributes:
        tasks: The names of the tasks, sorted.
        shared_seconds: The part of a step that tasks have in common.

    Raises:
        ValueError: If a number is negative or none, `seconds` is empty, or names differ.

    Example:
    ```python
    from mtlzoo.training import TaskCosts

    costs = TaskCosts({"click": 0.004, "stay": 0.006}, all_seconds=0.007)
    print(costs.shared_seconds)  # 0.003
    print(costs.seconds_of(["click"]))  # 0.004
    ```
    """

    seconds: Mapping[str, float]
    all_seconds: float | None = None
    parameters: Mapping[str, int] | None = None
    shared_parameters: int = 0
    slots: Mapping[str, int] | None = None
    shared_slots: int = 0
    temporaries: Mapping[str, int] | None = None
    all_temporaries: int | None = None
    temporaries_by: str = ""

    def __post_init__(self) -> None:
        for name in ("seconds", "parameters", "slots", "temporaries"):
            given = getattr(self, name)
            if given is None and name != "seconds":
                continue
            if not isinstance(given, Mapping) or not given:
                raise ValueError(f"`{name}` should be a dict by task. Received: {name}={given!r}")
            if sorted(given) != sorted(self.seconds):
                raise ValueError(
                    f"`{name}` should have a number for each of the tasks {self.tasks}. "
                    f"Received: {name}={dict(given)!r}"
                )
            for task, number in given.items():
                _check(f"{name}` of task `{task}", number, name)
        for name in ("all_seconds", "shared_parameters", "shared_slots", "all_temporaries"):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), name)

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks, sorted."""
        return sorted(self.seconds)

    @property
    def shared_seconds(self) -> float:
        """The part of a step that tasks have in common."""
        return _common(self.seconds, self.all_seconds)

    def seconds_of(self, tasks: Iterable[str]) -> float:
        """The seconds of a step of some of the tasks.

        Args:
            tasks: Their names; none is a step that costs nothing.

        Raises:
            ValueError: If a name is unknown.
        """
        return _together(self.seconds, self.all_seconds, self._known(tasks))

    def memory_of(self, tasks: Iterable[str]) -> int:
        """The bytes of a step of some of the tasks: the whole model, its optimizer, temporaries.

        Args:
            tasks: Their names.

        Raises:
            ValueError: If a name is unknown.
        """
        chosen = self._known(tasks)
        kept = sum((self.parameters or {}).values()) + sum((self.slots or {}).values())
        temporaries = 0.0
        if self.temporaries is not None:
            temporaries = _together(self.temporaries, self.all_temporaries, chosen)
        return round(kept + self.shared_parameters + self.shared_slots + temporaries)

    def _known(self, tasks: Iterable[str]) -> list[str]:
        chosen = sorted(set(tasks))
        for name in chosen:
            if name not in self.seconds:
                raise ValueError(
                    f"`tasks` should be among {self.tasks}, of which the costs are known. "
                    f"Received: {name!r}"
                )
        return chosen


def measure_task_costs(
    model: Any,
    batch: tuple,
    repeats: int = 10,
    *,
    memory: bool = True,
) -> TaskCosts:
    """Measure what a training step costs for each task alone and for all tasks.

    The steps of all cases run in turns, so that a noisy machine disturbs all of them alike; each
    number of seconds is the median. Seconds are those of the wall clock, and no two measurements
    are the same. Afterwards everything is as before: weights, optimizer, metrics, random
    generators, the balancer's state, and which tasks are selected. What stays are the traced
    steps, so that a training that follows need not trace them again.

    Args:
        model: A compiled multi-task model.
        batch: `(x, y)` or `(x, y, sample_weight)` of the size that will be trained with; it should
            have labels of all tasks.
        repeats: How often each case is timed. Defaults to 10.
        memory: Whether bytes are measured too, for which each step is traced once more on a CPU.
            Temporaries are not measured on several replicas. Defaults to `True`.

    Returns:
        The costs.

    Raises:
        ValueError: If the model is not compiled, or an argument is out of its range.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.training import measure_task_costs

    tasks = [Regression("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(16,))
    model.compile("adam")
    x = np.ones((32, 8), "float32")
    costs = measure_task_costs(model, (x, {"click": x[:, 0], "stay": x[:, 1]}), repeats=3)
    print(costs.seconds, costs.parameters)
    ```
    """
    check_count("repeats", repeats)
    if not isinstance(batch, tuple) or len(batch) not in (2, 3):
        raise ValueError(
            "`batch` should be a tuple (x, y) or (x, y, sample_weight). "
            f"Received: batch of type {type(batch).__name__}"
        )
    if not isinstance(memory, bool):
        raise ValueError(f"`memory` should be a bool. Received: memory={memory!r}")
    if not hasattr(model, "select_tasks"):
        raise ValueError(
            "`model` should be a multi-task model. Received: a model of type "
            f"{type(model).__name__}"
        )
    labels = batch[1]
    if not isinstance(labels, Mapping):
        raise ValueError(
            "`batch` should have labels as a dict by task. "
            f"Received: labels of type {type(labels).__name__}"
        )
    for name, of_task in labels.items():
        if of_task is None:
            raise ValueError(f"`batch` should have labels of task `{name}`. Received: None")
    batch = batch if batch[-1] is not None else batch[:-1]  # no weights
    batch = tf.nest.map_structure(tf.convert_to_tensor, batch)
    model._step.objectives.check_batches(batch)
    rows = model._step.rows.names
    cases = {**{name: [name] for name in rows}, None: list(rows)}
    selected = model.selected_tasks
    model_state.build_metrics(model)
    before = model_state.read(model)
    try:
        times = _time(model, batch, repeats, cases, before)
        sizes = _sizes(model, rows) if memory else {}
        if memory and model.distribute_strategy.num_replicas_in_sync == 1:
            sizes |= _temporaries(model, batch, cases)
    finally:
        _put_back(model, before)
        model.select_tasks(selected)
    return TaskCosts(seconds={name: times[name] for name in rows}, all_seconds=times[None], **sizes)


def _put_back(model: Any, before: Mapping[str, Any]) -> None:
    model_state.restore(model, before)
    model_state.restore_metrics(model, before)


def _time(
    model: Any, batch: tuple, repeats: int, cases: Mapping, before: Mapping
) -> dict[Any, float]:
    """By case the median of the seconds of a step."""
    data = tf.data.Dataset.from_tensors(batch).repeat()
    iterator = iter(model.distribute_strategy.experimental_distribute_dataset(data))
    model.make_train_function()
    for names in cases.values():
        model.select_tasks(names)
        for _ in range(_WARM_UPS):
            model.train_function(iterator)
    times: dict[Any, list[float]] = {case: [] for case in cases}
    order = np.random.default_rng(0)
    for _ in range(repeats):
        _put_back(model, before)  # many steps on one batch may lead anywhere
        # In another order each time: what runs before leaves its mark on the caches.
        for i in order.permutation(len(cases)):
            case, names = list(cases.items())[i]
            model.select_tasks(names)
            start = time.perf_counter()
            model.train_function(iterator)  # returns when it is known whether the step failed
            times[case].append(time.perf_counter() - start)
    return {c: float(np.median(each)) / model.steps_per_execution for c, each in times.items()}


def _sizes(model: Any, rows: Sequence[str]) -> dict[str, Any]:
    """Bytes of variables and of what the optimizer keeps for them."""
    step = model._step
    own: dict[str, list[keras.Variable]] = {name: [] for name in rows}
    for variable in model.variables:
        tasks = step.ownership.of(variable)
        if len(tasks) == 1:
            own[next(iter(tasks))].append(variable)
    parameters = {name: _bytes(variables) for name, variables in own.items()}
    slots = {
        name: _bytes(slot for variable in variables for slot in step.slots.of(variable))
        for name, variables in own.items()
    }
    return {
        "parameters": parameters,
        "shared_parameters": _bytes(model.variables) - sum(parameters.values()),
        "slots": slots,
        "shared_slots": _bytes(model.optimizer.variables) - sum(slots.values()),
    }


def _temporaries(model: Any, batch: tuple, cases: Mapping) -> dict[str, Any]:
    """Bytes that a step needs beside variables."""
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    found = {}
    for case, names in cases.items():
        model.select_tasks(names)
        if gpus:
            found[case] = _peak_of_device(_run_once(model, batch), gpus[0])
        else:
            traced = tf.function(model.train_step).get_concrete_function(batch)
            found[case] = most_live_bytes(traced.graph)
    everything = found.pop(None)
    return {
        "temporaries": found,
        "all_temporaries": everything,
        "temporaries_by": DEVICE if gpus else GRAPH,
    }


def _run_once(model: Any, batch: tuple) -> Callable[[], Any]:
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    return lambda: model.train_function(iterator)


def _peak_of_device(run: Callable[[], Any], device: str) -> int:
    """The peak of a device's memory above what is allocated before, in bytes."""
    device = ":".join(device.split(":")[-2:])
    tf.config.experimental.reset_memory_stats(device)
    before = tf.config.experimental.get_memory_info(device)["current"]
    run()
    return max(0, tf.config.experimental.get_memory_info(device)["peak"] - before)


def _bytes(variables: Iterable[keras.Variable]) -> int:
    sizes = {id(v): int(np.prod(v.shape)) * tf.as_dtype(v.dtype).size for v in variables}
    return sum(sizes.values())


def _common(alone: Mapping[str, float], everything: float | None) -> float:
    """What tasks have in common, counted once; no more than any step takes."""
    if everything is None or len(alone) < 2:
        return 0.0
    found = (sum(alone.values()) - everything) / (len(alone) - 1)
    return max(0.0, min(found, everything, *alone.values()))


def _together(alone: Mapping[str, float], everything: float | None, tasks: Sequence[str]) -> float:
    """What some tasks take in one step; all of them what was measured."""
    if not tasks:
        return 0.0
    if everything is not None and 1 < len(tasks) == len(alone):
        return everything
    return sum(alone[name] for name in tasks) - (len(tasks) - 1) * _common(alone, everything)


def _check(where: str, number: Any, name: str) -> None:
    if not is_number(number) or number < 0:
        raise ValueError(
            f"`{where}` should be a number that is not negative. Received: {name}={number!r}"
        )
