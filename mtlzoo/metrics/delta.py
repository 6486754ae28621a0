"""One number for a multi-task model: its relative gain over single-task baselines."""

import numbers
from collections.abc import Iterable, Mapping
from typing import Any


def delta_m(
    results: Mapping[str, float], baselines: Mapping[str, float], tasks: Iterable[Any]
) -> float:
    r"""Mean relative gain over single-task models, in percent; positive is better.

    Maninis et al., *Attentive Single-Tasking of Multiple Tasks*, CVPR 2019, arXiv:1904.08918.

    $$\Delta_m = \frac{100}{T} \sum_t s_t \frac{m_t - b_t}{|b_t|}, \qquad
    s_t = +1 \text{ if higher is better, } -1 \text{ if lower is}$$

    Args:
        results: The deciding metric of the multi-task model, by task name.
        baselines: The deciding metric of each task's single-task model, by task name; not 0.
        tasks: The tasks, whose `name` and `mode` are read; `model.tasks`, too.

    Returns:
        The mean gain in percent.

    Raises:
        ValueError: If there are no tasks or two of one name, a task has no or a non-finite number,
            a dict has an unknown name, or a baseline is 0, against which no relative gain exists.

    Example:
    ```python
    from mtlzoo.metrics import delta_m
    from mtlzoo.tasks import BinaryClassification, Regression

    tasks = [BinaryClassification("click"), Regression("price")]  # auc: higher, rmse: lower
    delta_m({"click": 0.84, "price": 9.0}, {"click": 0.80, "price": 10.0}, tasks)  # 7.5
    ```

    *Differences from the paper*: none in the number; the paper calls it the average per-task drop
    and some later papers turn its sign, so that there lower is better.
    """
    if not isinstance(tasks, Iterable):
        raise ValueError(f"`tasks` should be a list of tasks. Received: tasks={tasks!r}")
    tasks = list(tasks.values() if isinstance(tasks, Mapping) else tasks)
    if not tasks:
        raise ValueError(f"`tasks` should have at least one task. Received: tasks={tasks!r}")
    for task in tasks:
        if not hasattr(task, "name") or not hasattr(task, "mode"):
            raise ValueError(f"`tasks` should hold tasks only. Received: {task!r}")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ValueError(f"`tasks` should have different names. Received: {names}")
    for argument, given in (("results", results), ("baselines", baselines)):
        if not isinstance(given, Mapping):
            raise ValueError(
                f"`{argument}` should be a dict by task name. Received: {argument}={given!r}"
            )
        for name in given:
            if name not in names:
                raise ValueError(
                    f"`{argument}` should have only the tasks {names} as keys. Received: {name!r}"
                )
        for name in names:
            value = given.get(name)
            if not _is_finite(value):
                raise ValueError(
                    f"`{argument}` should have a finite number for task `{name}`. "
                    f"Received: {value!r}"
                )
    gains = []
    for task in tasks:
        result, baseline = float(results[task.name]), float(baselines[task.name])
        if baseline == 0:
            raise ValueError(
                f"`baselines` should not be 0 for task `{task.name}`, since the gain is relative "
                f"to it. Received: {baseline!r}"
            )
        sign = 1 if task.mode == "max" else -1
        gains.append(100 * sign * (result - baseline) / abs(baseline))
    return sum(gains) / len(gains)


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, numbers.Real) or getattr(value, "shape", None) == ()
    return is_number and not isinstance(value, bool) and abs(float(value)) < float("inf")
