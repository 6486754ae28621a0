"""Boxes, arrows and words as SVG: text that stays text, in colors that also differ in grey."""

from collections.abc import Sequence
from html import escape

INK, SOFT, LINE = "#1b1f24", "#57606a", "#8c959f"
# From light to dark also in grey, each with ink that can be read on it.
FILLS = {
    "plain": "#ffffff",
    "sand": "#fbf3df",
    "sky": "#dcebf9",
    "sea": "#b7d7ef",
    "deep": "#7fb2dd",
    "sun": "#f6c65b",
}
FONT = "Helvetica, Arial, sans-serif"


def box(
    x: float,
    y: float,
    width: float,
    height: float,
    lines: Sequence[str] | str,
    fill: str = "plain",
    *,
    size: float = 14,
    bold: bool = False,
    dashed: bool = False,
) -> str:
    """A rectangle with lines of text in its middle.

    Args:
        x: The left edge.
        y: The upper edge.
        width: Its width.
        height: Its height.
        lines: The text.
        fill: A name of `FILLS`.
        size: Of the text.
        bold: Whether the first line is bold.
        dashed: Whether the edge is dashed.
    """
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    shape = (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" '
        f'fill="{FILLS[fill]}" stroke="{INK}" stroke-width="1.2"{dash}/>'
    )
    lines = [lines] if isinstance(lines, str) else list(lines)
    top = y + height / 2 - (len(lines) - 1) * size * 0.62
    texts = [
        text(x + width / 2, top + i * size * 1.24, line, size=size, bold=bold and i == 0)
        for i, line in enumerate(lines)
    ]
    return "\n".join([shape, *texts])


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: float = 14,
    bold: bool = False,
    anchor: str = "middle",
    color: str = INK,
) -> str:
    """A line of text, its middle at the height `y`.

    Args:
        x: Where the anchor is.
        y: The height.
        words: The text.
        size: In pixels.
        bold: Whether it is bold.
        anchor: `"start"`, `"middle"` or `"end"`.
        color: Of the letters.
    """
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="{color}" '
        f'dominant-baseline="central"{weight}>{escape(words)}</text>'
    )


def arrow(
    points: Sequence[tuple[float, float]], label: str = "", *, at: tuple[float, float] | None = None
) -> str:
    """A line with a head at its end.

    Args:
        points: Its corners.
        label: Words beside it.
        at: Where the words begin.
    """
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    line = (
        f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.4" '
        'marker-end="url(#head)"/>'
    )
    words = text(*at, label, size=13, anchor="start", color=SOFT) if label and at else ""
    return "\n".join(part for part in (line, words) if part)


def polygon(points: Sequence[tuple[float, float]], fill: str) -> str:
    """A closed shape.

    Args:
        points: Its corners.
        fill: A name of `FILLS`.
    """
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polygon points="{path}" fill="{FILLS[fill]}" stroke="{INK}" stroke-width="1.2"/>'


def picture(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A whole SVG, on white, so that it can be read on a dark page too.

    Args:
        width: Of the picture.
        height: Of the picture.
        title: What it shows, for those who cannot see it.
        parts: What is in it.
    """
    head = (
        '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="{INK}"/></marker>'
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" role="img" font-family="{FONT}">',
            f"<title>{escape(title)}</title>",
            f"<defs>{head}</defs>",
            f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )
