"""Small pictures as inline SVG, which take their colors from the page."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtlzoo.reporting.markup import Html, tag

WIDTH, HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 42
_COLORS = 6


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        name: What it is, for those who cannot see it.
        style: Which color and marker, from 0.
        x: (N,).
        y: (N,), NaN where there is nothing.
        low: (N,), the lower end of the band; `None` for no band.
        high: (N,), its upper end.
        dashed: Whether it is of the training data.
        sizes: (N,), the radius of each marker; `None` for one marker at the end.
    """

    name: str
    style: int
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    dashed: bool = False
    sizes: np.ndarray | None = None


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from below `low` to above `high`.

    Args:
        low: The least value.
        high: The greatest; at least `low`.
        count: About how many. Defaults to 5.
    """
    if high - low <= max(1e-12 * max(abs(low), abs(high)), 1e-300):  # one number, but for rounding
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread, high + spread
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = 12 - math.floor(math.log10(step))
    return [round(i * step, digits) for i in range(first, last + 1)]


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    *,
    square: bool = False,
    whole: bool = False,
) -> Html:
    """Lines over an axis.

    Args:
        title: What it shows, for those who cannot see it.
        x_label: Under the horizontal axis.
        y_label: Above the vertical one.
        lines: What is drawn.
        square: Whether both axes go from 0 to 1, with the diagonal drawn. Defaults to `False`.
        whole: Whether the horizontal axis has whole numbers only. Defaults to `False`.
    """
    spans = [a for line in lines for a in (line.y, line.low, line.high) if a is not None]
    every = np.concatenate([np.asarray(a, "float64") for a in spans])
    every = every[np.isfinite(every)]
    if square:
        x_ticks, y_ticks = (ticks(0.0, 1.0) for _ in range(2))
    else:
        last = max(float(line.x.max()) for line in lines)
        first = min(float(line.x.min()) for line in lines)
        x_ticks = [t for t in ticks(first, last) if not whole or t == int(t)]
        y_ticks = ticks(float(every.min()), float(every.max())) if every.size else [0.0, 1.0]
        x_ticks = [t for t in x_ticks if first <= t <= last] or [first]
    x_low, x_high = (0.0, 1.0) if square else (first, max(last, first + 1e-9))
    frame = _Frame(x_low, x_high, y_ticks[0], y_ticks[-1])
    drawn = [*_axes(frame, x_ticks, y_ticks, x_label, y_label)]
    if square:
        drawn.append(tag("polyline", points=frame.points([0, 1], [0, 1]), class_="ideal"))
    drawn += [_band(frame, line) for line in lines if line.low is not None]
    for line in lines:
        drawn += _curve(frame, line)
    said = "; ".join(_say(line) for line in lines)
    return picture(title, said, drawn, WIDTH, HEIGHT)


def interval_chart(title: str, label: str, rows: Sequence[tuple[str, float, float, float]]) -> Html:
    """A point with an interval for each row.

    Args:
        title: What it shows, for those who cannot see it.
        label: Under the axis.
        rows: A name, the value, and both ends of its interval, NaN for none.
    """
    values = np.array([row[1:] for row in rows], "float64")
    known = values[np.isfinite(values)]
    marks = ticks(float(known.min()), float(known.max()), 4) if known.size else [0.0, 1.0]
    step, top = 40, 4
    height = top + step * len(rows) + 40
    place = _Frame(marks[0], marks[-1], 0, 1, left=26, right=26)
    bottom = top + step * len(rows)
    drawn = []
    for mark in marks:
        x = place.x(mark)
        drawn.append(tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="rule"))
        drawn.append(tag("text", _number(mark), x=x, y=bottom + 16, text_anchor="middle"))
    drawn.append(tag("text", label, x=WIDTH / 2, y=bottom + 34, text_anchor="middle"))
    said = []
    for i, (name, value, low, high) in enumerate(rows):
        y, kind = top + step * i + 30, i % _COLORS
        drawn.append(tag("text", _shortened(name, 52), x=28, y=y - 13))
        if math.isfinite(low) and math.isfinite(high):
            ends = {"x1": place.x(low), "x2": place.x(high), "y1": y, "y2": y}
            drawn.append(tag("line", **ends, class_=f"curve s{kind}"))
        if math.isfinite(value):
            drawn.append(_marker(place.x(value), y, 5, i))
        said.append(f"{name}: {value:.4g}, from {low:.4g} to {high:.4g}")
    return picture(title, "; ".join(said), drawn, WIDTH, height)


def sample(style: int, *, dashed: bool = False) -> Html:
    """A short line as charts have it, for a legend.

    Args:
        style: Which color and marker, from 0.
        dashed: Whether it is of the training data. Defaults to `False`.
    """
    kind = f"curve s{style % _COLORS}" + (" train" if dashed else "")
    parts = [tag("line", x1=2, x2=38, y1=7, y2=7, class_=kind)]
    if not dashed:
        parts.append(_marker(20, 7, 4.5, style))
    return tag("svg", parts, viewBox="0 0 40 14", aria_hidden="true")


def picture(title: str, said: str, drawn: Sequence[Html], width: float, height: float) -> Html:
    """An SVG element that has its title and its description.

    Args:
        title: What it shows.
        said: The same in words.
        drawn: What is in it.
        width: Of the view box.
        height: Of the view box.
    """
    inside = [tag("title", title), tag("desc", said), *drawn]
    return tag("svg", inside, viewBox=f"0 0 {width} {height}", role="img", aria_label=title)


class _Frame:
    """From values to places in the picture."""

    def __init__(self, x_low, x_high, y_low, y_high, left=_LEFT, right=_RIGHT):
        self._x, self._y = (x_low, x_high), (y_low, y_high)
        self._left, self._right = left, WIDTH - right

    def x(self, value: float) -> float:
        low, high = self._x
        return round(self._left + (value - low) / (high - low) * (self._right - self._left), 2)

    def y(self, value: float) -> float:
        low, high = self._y
        return round(HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _BOTTOM - _TOP), 2)

    def points(self, xs, ys) -> str:
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in zip(xs, ys, strict=True))


def _axes(frame, x_ticks, y_ticks, x_label, y_label):
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    for value in y_ticks:
        y = frame.y(value)
        yield tag("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="rule")
        yield tag("text", _number(value), x=_LEFT - 6, y=y + 4, text_anchor="end")
    for value in x_ticks:
        yield tag("text", _number(value), x=frame.x(value), y=bottom + 17, text_anchor="middle")
    yield tag("line", x1=_LEFT, x2=right, y1=bottom, y2=bottom, class_="axis")
    middle = (_LEFT + right) / 2
    yield tag("text", x_label, x=middle, y=HEIGHT - 6, text_anchor="middle")
    turned = f"rotate(-90 12 {(_TOP + bottom) / 2})"
    at = {"x": 12, "y": (_TOP + bottom) / 2, "text_anchor": "middle", "transform": turned}
    yield tag("text", y_label, **at)


def _band(frame, line):
    known = np.isfinite(line.low) & np.isfinite(line.high)
    xs, low, high = line.x[known], line.low[known], line.high[known]
    around = frame.points([*xs, *xs[::-1]], [*low, *high[::-1]])
    return tag("polygon", points=around, class_=f"band f{line.style % _COLORS}")


def _curve(frame, line):
    kind = f"curve s{line.style % _COLORS}" + (" train" if line.dashed else "")
    known = np.isfinite(line.y)
    # A gap where a value is not known.
    for part in np.split(np.arange(len(known)), np.flatnonzero(~known)):
        part = part[known[part]]
        if len(part):
            yield tag("polyline", points=frame.points(line.x[part], line.y[part]), class_=kind)
    at = np.flatnonzero(known)
    if line.sizes is not None:
        for i in at:
            yield _marker(frame.x(line.x[i]), frame.y(line.y[i]), line.sizes[i], line.style)
    elif not line.dashed and len(at):
        yield _marker(frame.x(line.x[at[-1]]), frame.y(line.y[at[-1]]), 4.5, line.style)


def _marker(x: float, y: float, size: float, style: int) -> Html:
    """A circle, square, triangle, diamond, cross or turned triangle, in turn."""
    s, kind = round(float(size), 2), f"f{style % _COLORS}"
    shapes: dict[int, list[tuple[float, float]]] = {
        1: [(-1, -1), (1, -1), (1, 1), (-1, 1)],
        2: [(0, -1.2), (1.2, 1), (-1.2, 1)],
        3: [(0, -1.4), (1.2, 0), (0, 1.4), (-1.2, 0)],
        4: [(-1, -0.4), (-0.4, -0.4), (-0.4, -1.3), (0.4, -1.3), (0.4, -0.4), (1, -0.4), (1, 0.4),
            (0.4, 0.4), (0.4, 1.3), (-0.4, 1.3), (-0.4, 0.4), (-1, 0.4)],
        5: [(0, 1.2), (1.2, -1), (-1.2, -1)],
    }  # fmt: skip
    # Shifted by one in each round of colors, so that no two lines have both in common.
    corners = shapes.get((style + style // _COLORS) % _COLORS)
    if corners is None:
        return tag("circle", cx=x, cy=y, r=s, class_=kind)
    points = " ".join(f"{round(x + a * s, 2)},{round(y + b * s, 2)}" for a, b in corners)
    return tag("polygon", points=points, class_=kind)


def _say(line: Line) -> str:
    known = np.flatnonzero(np.isfinite(line.y))
    if not len(known):
        return f"{line.name}: nothing known"
    first, last = known[0], known[-1]
    return (
        f"{line.name}: {line.y[first]:.4g} at {line.x[first]:.4g}, "
        f"{line.y[last]:.4g} at {line.x[last]:.4g}"
    )


def _number(value: float) -> str:
    return f"{value:.6g}"


def _shortened(text: str, most: int) -> str:
    """A name that fits; the table beside the chart has all of it."""
    return text if len(text) <= most else text[: most - 1] + "…"
