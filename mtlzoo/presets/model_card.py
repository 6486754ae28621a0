"""What is known of a preset, for people and for programs."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

# What a card without trained weights cannot say.
_OF_TRAINED = (
    *("split", "metrics", "delta_m", "flops", "latency_ms", "size_bytes", "storage"),
    "fingerprint",
)
# What is empty where there is nothing to say.
_OPTIONAL = ("groups", "load", "data_set")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """A model card: plain data, which JSON takes as it is.

    Whoever saves a preset fills in what only they know: `title`, `data`, `licence`, `command`,
    `limits`, `metrics` and the like. What can be read from the model (`name`, `model`, `tasks`,
    `parameters`, `size_bytes`, `storage`, `fingerprint`, `trained`) is filled in when it is saved.
    Each is empty unless it is given.

    Attributes:
        name: the preset's name, that of its folder.
        title: what it is, in a few words.
        model: name of the model's class.
        tasks: by task its `kind`, `metric` (the deciding one), `mode` (`"max"` or `"min"`) and
            `classes` (their number, or None).
        data: where the data comes from, with rows and terms.
        data_set: its name for `mtlzoo.data.load`.
        load: arguments of `data.load`.
        split: which rows the metrics are of.
        metrics: by task the `metric`, its `value` with these weights, and, if there are some, over
            several trainings its `mean`, `std` and the number of `seeds`, and the mean of
            `single_task` networks.
        delta_m: the gain over single-task networks in percent: the `value` with these weights over
            the mean of these networks, and over several trainings, each beside the networks of its
            seed, `mean` and `std`.
        groups: by column and group its `rows` and by task the `metrics`, None where they would say
            nothing.
        parameters: how many numbers are learned.
        flops: floating-point operations for one row; a multiplication and an addition are two.
        latency_ms: milliseconds of a call by rows in it, as `batch_1` and `batch_256`, and the
            `machine`.
        size_bytes: of the weights and the configuration.
        storage: how weights are stored, one of `"float32"`, `"float16"`, `"bfloat16"`, `"int8"`.
        command: the command that makes it.
        limits: sentences on what it is not good for, and on biases.
        licence: that of the data and the weights.
        fingerprint: what the model answers to a few rows, by task.
        trained: whether there are weights.

    Raises:
        ValueError: for a value that JSON cannot say, limits that are one text, and metrics or
            groups without what is shown of them.

    Example:
        ```python
        from mtlzoo.presets import Card

        card = Card(title="Clicks and stays", limits=["Trained on a hundred rows."])
        print(card.markdown())
        ```
    """

    name: str = ""
    title: str = ""
    model: str = ""
    tasks: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    data: str = ""
    data_set: str | None = None
    load: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    split: str = ""
    metrics: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    delta_m: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    parameters: int | None = None
    flops: int | None = None
    latency_ms: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    size_bytes: int | None = None
    storage: str | None = None
    command: str = ""
    limits: Sequence[str] = ()
    licence: str = ""
    fingerprint: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trained: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.limits, str):
            raise ValueError(
                "`limits` of a card should be a list of sentences. "
                f"Received: limits={self.limits!r}"
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            try:
                # As it will be read again: a tuple is a list.
                same = json.loads(json.dumps(value, allow_nan=False))
                object.__setattr__(self, field.name, same)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"`{field.name}` of a card should be plain data that JSON can say. "
                    f"Received: {field.name}={value!r}"
                ) from error

        for task, found in self.metrics.items():
            _check_keys(f"metrics[{task!r}]", found, "metric", "value")
        if self.delta_m:
            _check_keys("delta_m", self.delta_m, "value")
        for column, groups in self.groups.items():
            for group, found in groups.items():
                _check_keys(f"groups[{column!r}][{group!r}]", found, "rows", "metrics")

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Card":
        """The card of which `to_dict` made this.

        Args:
            values: what `to_dict` gave.

        Raises:
            ValueError: for an unknown key, or a value that JSON cannot say.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(values, Mapping) or set(values) - set(known):
            raise ValueError(
                f"A card should be a dict with some of the keys {known}. Received: {values!r}"[:500]
            )
        return cls(**values)

    def missing(self) -> list[str]:
        """The names of what the card does not say, though it should."""
        optional = _OPTIONAL if self.trained else (*_OPTIONAL, *_OF_TRAINED)
        empty = (field.name for field in dataclasses.fields(self))
        return [
            name
            for name in empty
            if getattr(self, name) in ("", None, {}, []) and name not in optional
        ]

    def markdown(self) -> str:
        """The card as a page of Markdown."""
        parts = [
            f"# {self.title or self.name or 'A preset'}",
            self._use(),
            self._tasks(),
            self._metrics(),
            self._groups(),
            self._costs(),
            self._data(),
            f"## How it is made\n\n```bash\n{self.command}\n```" if self.command else "",
            "## Limits\n\n" + "\n".join(f"* {each}" for each in self.limits) if self.limits else "",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    # -- the parts of the page ----------------------------------------------------------------

    def _use(self) -> str:
        if not self.model or not self.name:
            return ""
        without = "" if self.trained else ", load_weights=False"
        text = (
            "```python\nfrom mtlzoo import presets\n\n"
            f'model = presets.load("{self.name}"{without})  # a {self.model}\n```'
        )
        if not self.trained:
            text += "\n\n**There are no trained weights**: this is a configuration only."
        return text

    def _tasks(self) -> str:
        rows = [
            [f"`{name}`", task["kind"], _shown(task["classes"]), task["metric"], _better(task)]
            for name, task in self.tasks.items()
        ]
        head = ["task", "kind", "classes", "metric", "better is"]
        return _section("Tasks", markdown_table(head, rows))

    def _metrics(self) -> str:
        if not self.metrics:
            return ""
        rows = []
        for name, found in self.metrics.items():
            seeds = with_spread(found)
            if "seeds" in found:
                seeds += f" ({found['seeds']} seed{'' if found['seeds'] == 1 else 's'})"
            single = _shown(found.get("single_task"))
            rows.append([f"`{name}`", found["metric"], _shown(found["value"]), seeds, single])
        head = ["task", "metric", "these weights", "mean ± standard deviation", "single-task mean"]
        text = f"Of {self.split}.\n\n" if self.split else ""
        text += markdown_table(head, rows)
        if self.delta_m:
            text += (
                f"\n\n`delta_m`, the mean gain over single-task networks: "
                f"{self.delta_m['value']:+.2f} % with these weights"
            )
            if "mean" in self.delta_m:
                text += f", {with_spread(self.delta_m, '+.2f')} % over seeds"
            text += "."
        return _section("Metrics", text)

    def _groups(self) -> str:
        rows = []
        for column, groups in self.groups.items():
            for group, found in groups.items():
                values = [_shown(found["metrics"].get(task)) for task in self.metrics]
                rows.append([column, group, f"{found['rows']:,}", *values])
        head = [
            "column",
            "group",
            "rows",
            *(f"`{t}`, {m['metric']}" for t, m in self.metrics.items()),
        ]
        return _section("By group of people", markdown_table(head, rows))

    def _costs(self) -> str:
        latency = self.latency_ms
        facts = {
            "parameters": self.parameters,
            "FLOPs for one row": self.flops,
            "bytes": self.size_bytes,
            "weights stored as": self.storage,
        }
        for key, value in latency.items():
            if key != "machine":
                machine = f", {latency['machine']}" if "machine" in latency else ""
                label = f"latency, {key.replace('batch_', 'batch of ')}{machine}"
                facts[label] = f"{value:.2f} ms"
        rows = [[key, _shown(value)] for key, value in facts.items() if value is not None]
        return _section("Size and cost", markdown_table(["what", "how much"], rows))

    def _data(self) -> str:
        parts = [self.data, f"Licence: {self.licence}" if self.licence else ""]
        if self.data_set:
            given = "".join(f", {key}={value!r}" for key, value in self.load.items())
            parts.append(f'Loaded by `data.load("{self.data_set}"{given})`.')
        return _section("Data", "\n\n".join(part for part in parts if part))


def with_spread(found: Mapping[str, Any], form: str = ".4f") -> str:
    """A mean over seeds with its standard deviation, if there are several.

    Args:
        found: a dict with `mean` and `std`.
        form: how numbers are written. Defaults to `".4f"`.
    """
    if found.get("mean") is None:
        return "-"
    text = format(found["mean"], form)
    return (
        text if found.get("std") is None else f"{text} ± {format(found['std'], form.lstrip('+'))}"
    )


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, or nothing if it has no rows.

    Args:
        head: what stands above the columns.
        rows: the cells.
    """
    lines = [head, ["---"] * len(head), *rows] if rows else []
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _check_keys(name: str, found: Any, *needed: str) -> None:
    if not isinstance(found, Mapping) or set(needed) - set(found):
        raise ValueError(
            f"`{name}` of a card should be a dict with {' and '.join(map(repr, needed))}. "
            f"Received: {found!r}"
        )


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _better(task: Mapping[str, Any]) -> str:
    return "higher" if task["mode"] == "max" else "lower"
