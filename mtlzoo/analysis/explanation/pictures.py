"""Pictures of explanations."""

import math
from typing import Any

import numpy as np

from mtlzoo.analysis import drawing

MOST_COLUMNS = 60  # of a table; a longer vector is drawn as a sequence
_MOST_ROWS = 5  # that are drawn
MOST_BARS = 15  # of a table
_POSITIVE, _NEGATIVE = drawing.COLOURS[0], drawing.COLOURS[1]


def draw(explanation: Any) -> Any:
    """The first rows of an `Explanation`: pictures, sequences and columns, one below the other."""
    count = min(len(explanation), _MOST_ROWS)
    drawn_by, heights, columns = [], [], False
    for name, values in explanation.attributions.items():
        if values.ndim > 2:
            is_picture = explanation.shown[name].ndim > 3
            drawn_by.append((name, _pictures if is_picture else _planes))
            heights.append(2.6 if is_picture else 1.7)
        elif is_sequence(explanation, name):
            drawn_by.append((name, _sequences))
            heights.append(1.8)
        else:
            columns = True
    bars = min(len(explanation.columns()), MOST_BARS) if columns else 0
    heights += [0.8 + 0.24 * bars] if columns else []
    width = max(6.0, 2.1 * count) if drawn_by else 6.4
    figure = drawing.new_figure(width, sum(heights) + 0.6)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (name, function) in zip(parts, drawn_by, strict=False):
        function(part, explanation, name, count)
    if columns:
        _bars(parts[-1].subplots(), explanation, bars)
    figure.suptitle(explanation.title, fontsize=11)
    return figure


def is_sequence(explanation: Any, name: str) -> bool:
    """Whether attributions `(B, S)` are those of steps or words rather than of columns."""
    size = explanation.attributions[name].shape[1:]
    if len(size) != 1 or size[0] == 1:
        return False
    called = explanation.names.get(name)
    by_row = called is not None and len(called) > 0 and not isinstance(called[0], str)
    shown = explanation.shown[name]
    ids = shown.dtype.kind in "iu" or shown.shape != explanation.attributions[name].shape
    return by_row or (called is None and (ids or size[0] > MOST_COLUMNS))


def show_picture(panel: Any, image: np.ndarray) -> None:
    """Draw `(H, W, C)`, of three channels in colour, of others the mean, scaled to its range."""
    image = _middle(image).astype("float64")
    low, high = image.min(), image.max()
    image = (image - low) / ((high - low) or 1.0)
    if image.shape[-1] != 3:
        image = image.mean(-1)
    panel.imshow(image, cmap="gray", vmin=0, vmax=1)
    panel.set(xticks=[], yticks=[])


def show_map(panel: Any, values: np.ndarray, image: np.ndarray | None, signed: bool) -> Any:
    """Draw `(H, W)` in shades of its own range, with the outlines of the picture.

    Args:
        panel: the axes.
        values: `(H, W)`, or `(D, H, W)`, of which the sum is drawn.
        image: `(H, W, C)` of the same size; `None` for no outlines.
        signed: whether zero is in the middle of the shades.

    Returns:
        What was drawn.
    """
    values = values if values.ndim == 2 else values.sum(0)
    top = float(np.abs(values).max()) or 1.0
    shades = drawing.SIGNED if signed else drawing.SEQUENTIAL
    drawn = panel.imshow(values, cmap=shades, vmin=-top if signed else 0.0, vmax=top)
    if image is not None and _middle(image).shape[:2] == values.shape:
        grey = _middle(image).mean(-1)
        if grey.max() > grey.min():
            middle = (grey.max() + grey.min()) / 2
            panel.contour(grey, levels=[middle], colors="grey", linewidths=0.5)
    panel.set(xticks=[], yticks=[])
    return drawn


def _middle(image):
    """The middle one of a volume's pictures."""
    return image if image.ndim == 3 else image[len(image) // 2]


def _pictures(part, explanation, name, count):
    panels = part.subplots(2, count, squeeze=False)
    for i in range(count):
        image, values = explanation.shown[name][i], explanation.attributions[name][i]
        show_picture(panels[0, i], image)
        panels[0, i].set_title(f"answer: {explanation.answers[i]}", fontsize=8)
        drawn = show_map(panels[1, i], values, image, explanation.signed)
        panels[1, i].set_title(f"for: {explanation.asked[i]}", fontsize=8)
    panels[0, 0].set_ylabel(name, fontsize=8)
    panels[1, 0].set_ylabel("attribution", fontsize=8)
    explain_shades(part, drawn, list(panels.ravel()), explanation.signed)


def _planes(part, explanation, name, count):
    """Steps and bands, such as spectrograms."""
    panels = part.subplots(1, count, squeeze=False)[0]
    for i, panel in enumerate(panels):
        values = explanation.attributions[name][i]
        top = float(np.abs(values).max()) or 1.0
        drawn = panel.imshow(
            values.T,
            cmap=drawing.SIGNED if explanation.signed else drawing.SEQUENTIAL,
            vmin=-top if explanation.signed else 0.0,
            vmax=top,
            origin="lower",
            aspect="auto",
        )
        panel.set_title(f"for: {explanation.asked[i]}", fontsize=8)
        panel.set_xlabel("step", fontsize=8)
        panel.tick_params(labelsize=7)
    panels[0].set_ylabel(f"{name}\nband", fontsize=8)
    explain_shades(part, drawn, list(panels), explanation.signed)


def explain_shades(figure: Any, drawn: Any, panels: list, signed: bool) -> None:
    """Say beside the panels what the shades of maps mean, of which each has its own range."""
    bar = figure.colorbar(drawn, ax=panels, shrink=0.6, aspect=25)
    low, high = drawn.get_clim()
    ends = ["against", "none", "for"] if signed else ["none", "most"]
    bar.set_ticks([low, 0, high] if signed else [low, high], labels=ends, fontsize=7)


def _sequences(part, explanation, name, count):
    panels = part.subplots(1, count, squeeze=False)[0]
    called = explanation.names.get(name)
    for i, panel in enumerate(panels):
        values = explanation.attributions[name][i]
        words = None if called is None else [str(word) for word in called[i]][: len(values)]
        panel.set_title(f"for: {explanation.asked[i]}", fontsize=8)
        panel.tick_params(labelsize=7)
        if words is None:
            panel.plot(values, color=_POSITIVE, linewidth=0.8)
            panel.set_xlabel("step", fontsize=8)
        else:
            _horizontal(panel, words, values[: len(words)])
            panel.set_xlabel("attribution", fontsize=8)
        panel.axvline(0, color="grey", linewidth=0.6) if words else panel.axhline(
            0, color="grey", linewidth=0.6
        )
    panels[0].set_ylabel(name, fontsize=8)


def _bars(panel, explanation, bars):
    found = explanation.columns()[:bars]
    _horizontal(panel, [name for name, *_ in found], [size for _, size, _ in found])
    for i, (_, size, mean) in enumerate(found):
        if explanation.signed and math.isfinite(mean):
            panel.text(size, i, f" mean {mean:+.2g}", va="center", fontsize=7)
    panel.set_xlabel(f"mean absolute attribution in {len(explanation)} rows", fontsize=8)
    panel.margins(x=0.2)


def _horizontal(panel, names, values):
    colours = [_POSITIVE if value >= 0 else _NEGATIVE for value in values]
    panel.barh(range(len(names)), values, color=colours)
    panel.set_yticks(range(len(names)), names, fontsize=7)
    panel.invert_yaxis()
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=7)
