"""The picture of the toy problem: paths of methods on the surface of a function."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from recipes.parts.plots import COLOURS, Figure
from recipes.parts.toy_problem import PROTOCOLS, Front, losses_of

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


def draw(
    path: Path,
    key: str,
    paths: Mapping[str, np.ndarray],
    front: Front,
    found: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Draw the paths of all methods of a protocol."""
    grid = np.stack(np.meshgrid(np.linspace(-12, 12, 361), np.linspace(-12, 12, 361)), axis=-1)
    means = losses_of(tf.constant(grid), front.scale).numpy().mean(-1)
    paths_in_the_plane(
        path,
        paths,
        {name: [end["end"] == "front" for end in of_starts] for name, of_starts in found.items()},
        (grid[..., 0], grid[..., 1], means),
        front.points,
        {
            "least mean loss": front.points[front.least_mean],
            "balanced middle": front.points[front.middle],
        },
        f"Paths from {len(PROTOCOLS[key].starts)} starts on the mean of both losses, "
        f"k = {front.scale:g}",
    )


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


def _meanings(marked: Mapping[str, np.ndarray]) -> list[Any]:
    """What the signs of `paths_in_the_plane` mean, for its legend."""
    from matplotlib.lines import Line2D

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
