"""HTML that is escaped unless it was made here."""

import html
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Html(str):
    """Text that is HTML already."""


class Shaded(NamedTuple):
    """A cell of a table that is darker where its share is greater.

    Attributes:
        text: What stands in it.
        share: From 0 to 1.
    """

    text: Html
    share: float


# Elements without an end.
_VOID = {"br", "img", "meta", "circle", "line", "path", "polygon", "polyline", "rect"}
Child = str | Html
Children = Child | Iterable["Children"]


def tag(name: str, /, *children: Children, **attributes: object) -> Html:
    """An element; text in it is escaped.

    Args:
        name: Of the element, such as `"p"`.
        children: Text or elements, or lists of them.
        **attributes: Their values are escaped. `class_` is `class`, other underscores are hyphens;
            `True` is an attribute without a value, and `None` none at all.
    """
    opened = name
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        opened += f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'
    if name in _VOID:
        return Html(f"<{opened}>" if name in ("br", "img", "meta") else f"<{opened}/>")
    return Html(f"<{opened}>{join(children)}</{name}>")


def join(children: Iterable[Children], between: str = "") -> Html:
    """Elements and text, one after the other; text is escaped.

    Args:
        children: Text or elements, or lists of them.
        between: What stands between two. Defaults to `""`.
    """
    parts = []
    for child in children:
        if isinstance(child, Html):
            parts.append(str(child))
        elif isinstance(child, str):
            parts.append(html.escape(child))
        else:
            parts.append(str(join(child)))
    return Html(between.join(parts))


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[Any]],
) -> Html:
    """A table whose first row and first column are headers, which scrolls sideways by itself.

    Args:
        caption: What it shows.
        head: The names of the columns.
        rows: Each as long as `head`, of text, elements and `Shaded` cells.
    """
    header = tag("tr", [tag("th", cell, scope="col") for cell in head])
    body = [
        tag("tr", tag("th", row[0], scope="row"), [_cell(cell) for cell in row[1:]]) for row in rows
    ]
    made = tag(
        "table",
        tag("caption", caption),
        tag("thead", header),
        tag("tbody", body),
    )
    # What scrolls can be reached with the keyboard.
    return tag("div", made, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _cell(cell: Child | Shaded) -> Html:
    if not isinstance(cell, Shaded):
        return tag("td", cell)
    # At most so dark that the text stays readable.
    return tag("td", cell.text, class_="shade", style=f"--part:{0.55 * cell.share:.3f}")


def fold(summary: str, *children: Child, open_: bool = False) -> Html:
    """What is shown when its summary is opened; it is always printed.

    Args:
        summary: What is always shown.
        children: What is inside.
        open_: Whether it is open at first. Defaults to `False`.
    """
    return tag("details", tag("summary", summary), *children, open_=open_)
