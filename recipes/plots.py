"""The pictures of the recipes, drawn with matplotlib."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Text
    from matplotlib.ticker import LogLocator
    from matplotlib.transforms import Bbox
except ImportError as error:
    raise ImportError(
        "The recipes draw pictures and should have matplotlib. "
        "Install it with `pip install 'mtlzoo[recipes]'`"
    ) from error

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
# Behind numbers, so that a line does not strike them out.
_PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
# Two points that may be one and the same: the second fits into the first.
_SIGNS = tuple(
    {
        "marker": marker,
        "markersize": size,
        "markerfacecolor": "white",
        "markeredgecolor": "black",
        "markeredgewidth": 0.6,
    }
    for marker, size in (("*", 10), ("d", 5))
)
# How far above its point a name may stand, the nearest first.
_OFFSETS = sorted(range(-60, 61, 6), key=abs)


def learning_curves(
    path: Path,
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    best: Mapping[str, Mapping[str, int]],
    metrics: Mapping[str, str],
) -> None:
    """Draw how well each model did on the validation data after each epoch.

    Args:
        path: the PNG file to write.
        curves: by task, then by model, the deciding metric of each epoch.
        best: by task, then by model, the epoch that was kept, from 1.
        metrics: by task, what its axis is called.
    """
    figure = Figure(figsize=(4.2 * len(curves), 4.0), dpi=120, layout="constrained")
    figure.get_layout_engine().set(wspace=0.04)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (task, models) in zip(panels, curves.items(), strict=True):
        for i, (model, values) in enumerate(models.items()):
            epochs = np.arange(1, len(values) + 1)
            kept = best[task][model]
            panel.plot(
                epochs,
                values,
                color=COLOURS[i],
                label=model,
                linewidth=1.6,
                marker=MARKERS[i],
                markevery=[kept - 1],
                markersize=9,
                markeredgecolor="white",
            )
        panel.set_title(task)
        panel.set_xlabel("epoch")
        panel.set_ylabel(f"validation {metrics[task]}")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle("Learning curves on the validation data; the marked epoch was kept")
    figure.savefig(path)


def gate_use(path: Path, gates: Mapping[str, np.ndarray]) -> None:
    """Draw how much each task uses each expert.

    Args:
        path: the PNG file to write.
        gates: by task the weight of each expert, its mean over rows, shape `(num_experts,)`.
    """
    experts = len(next(iter(gates.values())))
    figure = Figure(
        figsize=(max(6.0, 0.45 * experts * (len(gates) + 1)), 4.0), dpi=120, layout="constrained"
    )
    panel = figure.subplots()
    width, handles = 0.8 / len(gates), []
    for i, (task, weights) in enumerate(gates.items()):
        places = np.arange(experts) + (i - (len(gates) - 1) / 2) * width
        bars = panel.bar(places, weights, 0.92 * width, color=COLOURS[i], label=task)
        panel.bar_label(bars, fmt="%.2f", fontsize=7, padding=2, bbox=_PLAIN)
        handles.append(bars)
    even = panel.axhline(1 / experts, color="grey", linestyle="--", linewidth=1, zorder=0)
    even.set_label("even use")
    handles.append(even)
    top = max(float(np.max(weights)) for weights in gates.values())
    panel.set_ylim(0, math.ceil(11 * top) / 10)
    panel.set_xticks(range(experts), [f"expert {k + 1}" for k in range(experts)])
    panel.set_ylabel("mean gate weight over the test rows")
    panel.set_title("Which experts each task uses")
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.savefig(path)


def losses_over_steps(
    path: Path, curves: Mapping[tuple[str, float], np.ndarray], steps: Sequence[int], label: str
) -> None:
    """Draw the mean loss over steps for each p, and between which quartiles the seeds lie.

    Args:
        path: the PNG file to write.
        curves: by model and p, the losses `(seeds, evaluations)`.
        steps: the step of each evaluation.
        label: what the vertical axis is called.
    """
    names = list(dict.fromkeys(name for name, _ in curves))
    correlations = list(dict.fromkeys(p for _, p in curves))
    figure = Figure(figsize=(4.0 * len(correlations), 3.8), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(correlations), squeeze=False, sharey=True)[0]
    for panel, p in zip(panels, correlations, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            runs = curves[name, p]
            low, high = np.quantile(runs, [0.25, 0.75], axis=0)
            panel.plot(steps, runs.mean(0), color=colour, label=name, linewidth=1.6)
            panel.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.set_title(f"p = {p}")
        panel.set_xlabel("steps")
        panel.set_yscale("log")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(label)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    seeds = len(next(iter(curves.values())))
    figure.suptitle(f"Mean over {seeds} seeds; the band holds the middle half of them")
    figure.savefig(path)


def metrics_of_seeds(
    path: Path, report: Mapping[str, Mapping], reference: Mapping[str, float], label: str
) -> None:
    """Draw every deciding metric of every model, a point for each seed and a line for the mean.

    Args:
        path: the PNG file to write.
        report: by model, as of `recipes.comparison.summarize`.
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


def gains(path: Path, gains: Mapping[str, Mapping], references: Sequence[str]) -> None:
    """Draw the mean of `delta_m` of every method and its spread, the best on top.

    A method far behind would press all others together: it is written at the left edge. One whose
    gain is not known (NaN) is left out.

    Args:
        path: the PNG file to write.
        gains: by method, as of `recipes.comparison.spread`.
        references: methods at which a line is drawn.
    """
    means = {name: found["mean"] for name, found in gains.items()}
    known = sorted((m, n) for n, m in means.items() if math.isfinite(m))
    low, high = np.quantile([m for m, _ in known], [0.25, 0.75]) if known else (0.0, 0.0)
    # Twice as far as the whiskers of a box plot reach, or as far as the lines.
    edge = min([low - 3 * (high - low), *(m for m, n in known if n in references)])
    figure = Figure(figsize=(8, 1.6 + 0.21 * len(known)), dpi=110, layout="constrained")
    panel = figure.subplots()
    lines = dict(zip(references, COLOURS, strict=False))
    for i, (mean, name) in enumerate(known):
        std, colour = gains[name]["std"] or 0.0, lines.get(name, "black")
        if mean < edge:
            style = {"color": colour, "fontsize": 8, "verticalalignment": "center"}
            where = panel.get_yaxis_transform()
            panel.text(0.01, i, f"\u25c0 {mean:.3g} ± {std:.2g}", transform=where, **style)
        else:
            panel.errorbar(mean, i, xerr=std, fmt="o", color=colour, markersize=4, linewidth=1.3)
    for (name, colour), dashes in zip(lines.items(), ("--", ":"), strict=False):
        panel.axvline(means[name], color=colour, linestyle=dashes, linewidth=1.2, label=name)
    panel.set_yticks(range(len(known)), [name for _, name in known], fontsize=8)
    panel.set_ylim(-0.7, len(known) - 0.3)
    panel.set_xlabel("delta_m against single tasks, %")
    panel.grid(alpha=0.3)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    seeds = len(next(iter(gains.values()))["values"])
    title = f"Mean and standard deviation of {seeds} seeds" if seeds > 1 else "One seed"
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def metrics_over_parameters(path: Path, report: Mapping[str, Mapping]) -> None:
    """Draw every deciding metric of models over their parameters, a panel for each.

    Args:
        path: the PNG file to write.
        report: by model, as of `recipes.comparison.summarize`.
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


def captioned(path: Path, images: np.ndarray, captions: Sequence[str], title: str) -> None:
    """Draw grey images in a row, each with lines of text below.

    Args:
        path: the PNG file to write.
        images: shape `(number, height, width)`.
        captions: what stands below each.
        title: what stands above all.
    """
    figure = Figure(figsize=(1.9 * len(images), 2.8), dpi=90, layout="constrained")
    panels = figure.subplots(1, len(images), squeeze=False)[0]
    for panel, image, caption in zip(panels, images, captions, strict=True):
        panel.imshow(image, cmap="gray")
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_xlabel(caption, fontsize=8, loc="left")
    figure.suptitle(title)
    figure.savefig(path, bbox_inches="tight")


def paths_in_the_plane(
    path: Path,
    paths: Mapping[str, np.ndarray],
    arrived: Mapping[str, Sequence[bool]],
    surface: tuple[np.ndarray, np.ndarray, np.ndarray],
    front: np.ndarray,
    marked: Mapping[str, np.ndarray],
    title: str,
) -> None:
    """Draw the paths of methods on the surface of a function, a panel for each method.

    Args:
        path: the PNG file to write.
        paths: by method, the points `(looks, starts, 2)`.
        arrived: by method, for each start whether the path ends on the front.
        surface: both coordinates of a grid, and the function there.
        front: the Pareto front, points `(size, 2)`.
        marked: by name, at most two points to be shown in every panel.
        title: what stands above all.
    """
    columns = min(6, max(3, math.ceil(math.sqrt(len(paths)))))
    lines = math.ceil(len(paths) / columns)
    figure = Figure(figsize=(2.2 * columns, 2.35 * lines + 0.9), dpi=100, layout="constrained")
    figure.get_layout_engine().set(wspace=0.03, hspace=0.03)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    x, y, heights = surface
    # As much area between every two levels, so that both the valleys and the slopes show.
    levels = np.quantile(heights, np.linspace(0, 1, 16))
    for panel, (name, points) in zip(panels, paths.items(), strict=False):
        panel.contourf(x, y, heights, levels, colors=_greys(len(levels) - 1))
        panel.plot(*front.T, color="black", linewidth=4, solid_capstyle="round")
        for where, signs in zip(marked.values(), _SIGNS, strict=False):
            panel.plot(*where, **signs, zorder=5)
        for i, ends in enumerate(arrived[name]):
            _draw_path(panel, points[:, i], COLOURS[i % len(COLOURS)], ends)
        panel.set_title(name, fontsize=9, pad=4)
        panel.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()), aspect="equal")
        panel.set(xticks=[-10, 0, 10], yticks=[-10, 0, 10])
        panel.tick_params(labelsize=7, length=2)
        panel.spines[:].set_visible(False)
    # The last row may be short: the panels above its gap are the lowest of their columns.
    for panel in panels[len(paths) :]:
        panel.set_visible(False)
    for panel in panels[max(0, len(paths) - columns) : len(paths)]:
        panel.tick_params(labelbottom=True)
    figure.legend(
        handles=_meanings(marked), loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    figure.suptitle(title, fontsize=11)
    figure.savefig(path)


def _greys(number: int) -> list[tuple[float, float, float]]:
    """Greys from a middle one to nearly white: lower is darker."""
    return [(grey, grey, grey) for grey in np.linspace(0.6, 0.97, number)]


def _draw_path(panel, points: np.ndarray, colour: str, arrived: bool) -> None:
    panel.plot(*points.T, color="white", linewidth=3)
    panel.plot(*points.T, color=colour, linewidth=1.7)
    panel.plot(*points[0], "o", color="white", markeredgecolor=colour, markersize=5)
    style = {"color": colour, "markeredgecolor": "white", "zorder": 4}
    panel.plot(*points[-1], "o" if arrived else "X", markersize=7 if arrived else 8, **style)


def _meanings(marked: Mapping[str, np.ndarray]) -> list[Line2D]:
    """What the signs of `paths_in_the_plane` mean, for its legend."""
    grey = {"linestyle": "none", "color": "grey"}
    found = [
        Line2D([], [], color="black", linewidth=4, label="Pareto front"),
        Line2D([], [], marker="o", markerfacecolor="white", **grey, label="start"),
        Line2D([], [], marker="o", markersize=8, **grey, label="end on the front"),
        Line2D([], [], marker="X", markersize=8, **grey, label="end elsewhere"),
    ]
    return found + [
        Line2D([], [], **signs, linestyle="none", label=label)
        for label, signs in zip(marked, _SIGNS, strict=False)
    ]
