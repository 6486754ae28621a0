"""Tables and the picture of the recipe on co-training."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from mtlzoo.tasks import Task
from recipes.parts.plots import COLOURS, Figure
from recipes.parts.tables import print_aligned, spread, text

WAYS = ("alone", "co-trained", "mutual", "all labels")
READERS = ("caption", "image", "mean", "fused")

Scores = Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]


def print_scores(scores: Scores, tasks: Sequence[Task]) -> None:
    """Print for each condition a table: deciding metrics, their mean, and the gain of that.

    Args:
        scores: by condition and way, for each seed the metrics by task.
        tasks: the tasks.
    """
    for condition, by_way in scores.items():
        rows = [[condition, *(f"{t.name}, {t.monitor}" for t in tasks), "mean", "than alone"]]
        for way in order(by_way):
            found = by_way[way]
            columns = [[seed[t.name] for seed in found] for t in tasks]
            gains = np.array(means(found)) - means(by_way[f"{way.split(', ')[0]}, alone"])
            cells = [text(spread(column), 3) for column in (*columns, means(found))]
            gain = "" if way.endswith("alone") else text(spread(gains), 3, "+")
            rows.append([way, *cells, gain])
        print()
        print_aligned(rows)


def print_rounds(rounds: Mapping[str, Sequence], views: Sequence[str]) -> None:
    """Print the means over seeds of what co-training says of its rounds.

    Args:
        rounds: by condition, for each seed the history.
        views: the names of the views.
    """
    head = [f"{view}: {column}" for view in views for column in ("labels got", "right")]
    rows = [["round", "task", "agreement", "kappa", *head]]
    for condition, histories in rounds.items():
        rows.append([condition, *[""] * (len(rows[0]) - 1)])
        for number in range(max(map(len, histories))):
            # A seed whose rounds ended early has what it ended with.
            each = [history[min(number, len(history) - 1)] for history in histories]
            for task in each[0]["tasks"]:
                found = [of_round["tasks"][task] for of_round in each]
                line = [_mean([f[what] for f in found]) for what in ("agreement", "kappa")]
                for view in views:
                    of_view = [f["views"][view] for f in found]
                    line.append(f"{np.mean([v['pseudo_labels'] for v in of_view]):.0f}")
                    line.append(_mean([v["right"] for v in of_view]))
                rows.append([str(number), task, *line])
    print("\nRounds of co-training, means over the seeds")
    print_aligned(rows)


def draw(path: pathlib.Path, scores: Scores) -> None:
    """Draw the mean of the metrics, a panel for each condition.

    Args:
        path: the PNG file to write.
        scores: as for `print_scores`.
    """
    figure = Figure(figsize=(3.0 * len(scores), 3.8), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(scores), squeeze=False, sharey=True)[0]
    for panel, (condition, by_way) in zip(panels, scores.items(), strict=True):
        for i, way in enumerate(WAYS):
            for j, reader in enumerate(READERS):
                values = means(by_way.get(f"{reader}, {way}", ()))
                if values:
                    ways = [w for w in WAYS if f"{reader}, {w}" in by_way]
                    place = j + (ways.index(way) - (len(ways) - 1) / 2) * 0.19
                    style = {"color": COLOURS[i], "label": way if j == 0 else None}
                    panel.bar(place, np.mean(values), 0.17, **style)
                    panel.plot([place] * len(values), values, ".", color="black", markersize=2.5)
        panel.set_xticks(range(len(READERS)), READERS)
        panel.set_title(condition, fontsize=10)
        panel.grid(axis="y", alpha=0.3)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    lowest = min(min(means(found)) for by_way in scores.values() for found in by_way.values())
    panels[0].set_ylim(max(0, lowest - 0.05), None)
    panels[0].set_ylabel("mean of the three test metrics")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle("Bars are means over seeds, dots the seeds", fontsize=10)
    figure.savefig(path)


def order(by_way: Mapping) -> list[str]:
    """The ways in the order of tables."""
    named = [f"{reader}, {way}" for reader in READERS for way in WAYS]
    return [name for name in named if name in by_way]


def means(found: Sequence[Mapping[str, float]]) -> list[float]:
    """By seed the mean of the metrics."""
    return [float(np.mean(list(seed.values()))) for seed in found]


def _mean(values: Sequence[float]) -> str:
    known = [value for value in values if not np.isnan(value)]
    return f"{np.mean(known):.2f}" if known else "-"
