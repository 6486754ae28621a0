"""Pictures that several recipes draw, with matplotlib."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtlzoo.analysis.drawing import COLOURS, MARKERS

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.ticker import LogLocator
    from matplotlib.transforms import Bbox
except ImportError as error:
    raise ImportError(
        "The recipes draw pictures and should have matplotlib. "
        "Install it with `pip install 'mtlzoo[recipes]'`"
    ) from error

# How far above its point a name may stand, the nearest first.
_OFFSETS = sorted(range(-60, 61, 6), key=abs)


def metrics_of_seeds(
    path: Path, report: Mapping[str, Mapping], reference: Mapping[str, float], label: str
) -> None:
    """Draw every deciding metric of every model, a point for each seed and a line for the mean.

    Args:
        path: the PNG file to write.
        report: by model, as of `recipes.parts.tables.summarize`.
        reference: by metric a number to compare with, a broken line; may be empty.
        label: what the reference is called.
    """
    metrics = [m for m in next(iter(report.values()))["metrics"] if m != "delta_m, %"]
    figure = Figure(figsize=(4.6 * len(metrics), 3.8), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for panel, metric in zip(panels, metrics, strict=True):
        for i, found in enumerate(report.values()):
            spread, colour = found["metrics"][metric], COLOURS[i % len(COLOURS)]
            values = spread["values"]
            places = i + np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [i]
            panel.plot(places, values, "o", color=colour, markersize=5, alpha=0.8)
            panel.hlines(spread["mean"], i - 0.3, i + 0.3, color=colour, linewidth=1.6)
        if metric in reference:
            panel.axhline(reference[metric], color="grey", linestyle="--", linewidth=1, label=label)
            panel.legend(frameon=False, fontsize=8)
        panel.set_xticks(range(len(report)), list(report), rotation=20, fontsize=8)
        panel.set_ylabel(f"test {metric}")
        panel.grid(alpha=0.3, axis="y")
    seeds = len(next(iter(next(iter(report.values()))["metrics"].values()))["values"])
    figure.suptitle(f"Each of {seeds} seeds, and their mean")
    figure.savefig(path)


def metrics_over_parameters(path: Path, report: Mapping[str, Mapping]) -> None:
    """Draw every deciding metric of models over their parameters, a panel for each.

    Args:
        path: the PNG file to write.
        report: by model, as of `recipes.parts.tables.summarize`.
    """
    metrics = [m for m in next(iter(report.values()))["metrics"] if m != "delta_m, %"]
    figure = Figure(figsize=(7.5, 4.0 * len(metrics)), dpi=110)
    panels = figure.subplots(len(metrics), 1, squeeze=False)[:, 0]
    for panel, metric in zip(panels, metrics, strict=True):
        points = {}
        for i, (name, found) in enumerate(report.items()):
            spread = found["metrics"][metric]
            points[name] = (found["parameters"], spread["mean"])
            panel.errorbar(
                *points[name],
                yerr=spread["std"],
                fmt=MARKERS[i % len(MARKERS)],
                color=COLOURS[i % len(COLOURS)],
            )
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.minorticks_off()
        panel.margins(x=0.15, y=0.15)
        panel.set_ylabel(f"test {metric}")
        panel.set_xlabel("parameters")
        panel.grid(alpha=0.3)
        _name_points(panel, points)
    figure.savefig(path, bbox_inches="tight")


def _name_points(panel, points: Mapping[str, tuple[float, float]]) -> None:
    """Write names beside points, each in the first place where nothing stands yet."""
    renderer = FigureCanvasAgg(panel.figure).get_renderer()
    places = panel.transData.transform(list(points.values()))
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    for name, point in points.items():
        text = panel.annotate(
            name,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            verticalalignment="center",
            fontsize=7.5,
            arrowprops={"arrowstyle": "-", "color": "grey", "linewidth": 0.5, "shrinkB": 3},
        )
        for dy, dx in itertools.product(_OFFSETS, (7, -7)):
            text.set_position((dx, dy))
            text.set_horizontalalignment("left" if dx > 0 else "right")
            text.update_positions(renderer)
            extent = Text.get_window_extent(text, renderer)
            if not extent.count_overlaps(taken):
                break
        taken.append(extent)
