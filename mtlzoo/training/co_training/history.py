"""What happened in the rounds of co-training."""

import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class CoTrainingHistory:
    """The rounds of co-training; `print` shows them as a table.

    Attributes:
        rounds: by round a dict. `tasks` has by task `agreement`, the share of the rows without a
            label of their own for which both views say the same; `kappa`, the same beyond chance
            (for regressions, where no agreement is counted, the concordance); and `views`, by view
            `pseudo_labels`, with how many labels of the other view it was trained in this round,
            `right`, how many of these are, `new`, how many it got after it, and `new_right`. What
            is right is the accuracy; of regressions it is the error, the root of the mean square in
            standard deviations of the given labels; and NaN where no truth is known. `validation`
            has by view the logs of the last epoch on the validation data, without `val_`.

    Example:
    ```python
    from mtlzoo.training import CoTrainingHistory

    view = {"pseudo_labels": 0, "right": float("nan"), "new": 8, "new_right": 0.75}
    task = {"agreement": 0.9, "kappa": 0.8, "views": {"image": view, "text": view}}
    print(CoTrainingHistory([{"tasks": {"kind": task}, "validation": {}}]))
    ```
    """

    rounds: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        """A line for each round and task."""
        if not self.rounds:
            return "no rounds"
        views = list(next(iter(self.rounds[0]["tasks"].values()))["views"])
        columns = ("labels got", "right", "new", "right")
        lines = [["round", "task", "agreement", "kappa"]]
        lines[0] += [f"{view}: {column}" for view in views for column in columns]
        for number, found in enumerate(self.rounds):
            for task, of_task in found["tasks"].items():
                line = [str(number), task, _number(of_task["agreement"]), _number(of_task["kappa"])]
                for each in of_task["views"].values():
                    line += [str(each["pseudo_labels"]), _number(each["right"])]
                    line += [str(each["new"]), _number(each["new_right"])]
                lines.append(line)
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join(
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
            for line in lines
        )


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
