"""What the presets are worth, in a table and a picture, from their cards."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mtlzoo.analysis.drawing import COLOURS
from mtlzoo.presets import Card
from mtlzoo.presets.model_card import markdown_table, with_spread


def by_data_set(cards: Sequence[Card]) -> list[Card]:
    """Cards by data set, in the order in which the sets come first.

    Args:
        cards: the cards.
    """
    sets = list(dict.fromkeys(card.data_set for card in cards))
    return sorted(cards, key=lambda card: sets.index(card.data_set))


def task_table(cards: Sequence[Card]) -> str:
    """A table of Markdown with a line for each task of each trained preset.

    Args:
        cards: the cards.
    """
    head = ["preset", "task", "metric", "these weights", "over seeds", "single-task mean"]
    head += ["`delta_m` over seeds, %", "parameters", "kB"]
    rows = []
    for card in by_data_set(cards):
        gain = with_spread(card.delta_m, "+.2f")
        size = f"{card.size_bytes / 1000:.0f}, {card.storage}"
        of_preset = [gain, f"{card.parameters:,}", size]
        for i, (task, found) in enumerate(card.metrics.items()):
            values = [f"{found['value']:.4f}", with_spread(found), f"{found['single_task']:.4f}"]
            first = f"`{card.name}`" if i == 0 else ""
            rest = of_preset if i == 0 else ["", "", ""]
            rows.append([first, f"`{task}`", found["metric"], *values, *rest])
    return markdown_table(head, rows)


def draw_gains(path: Path, cards: Sequence[Card]) -> None:
    """Draw the `delta_m` of presets: the mean over seeds, and a standard deviation on both sides.

    Args:
        path: the PNG file to write.
        cards: those of trained presets.
    """
    sets = list(dict.fromkeys(card.data_set for card in cards))
    ordered = by_data_set(cards)
    figure = Figure(figsize=(8, 1.6 + 0.36 * len(cards)), dpi=110, layout="constrained")
    panel = figure.subplots()
    for place, card in enumerate(ordered):
        found, colour = card.delta_m, COLOURS[sets.index(card.data_set) % len(COLOURS)]
        spread = found["std"] or 0.0
        panel.errorbar(found["mean"], place, xerr=spread, fmt="o", color=colour, capsize=4)
        panel.plot(found["value"], place, "D", color=colour, fillstyle="none", markersize=9)
    panel.axvline(0, color="grey", linestyle="--", linewidth=1)
    panel.set_yticks(range(len(ordered)), [card.name for card in ordered], fontsize=9)
    panel.invert_yaxis()
    panel.set_xlabel("delta_m on the test data, %; right of 0 is better than single-task networks")
    panel.set_title(
        "Dot and bar: mean and standard deviation over seeds. Diamond: the preset's own weights",
        fontsize=9,
    )
    panel.grid(alpha=0.3, axis="x")
    figure.savefig(path)
