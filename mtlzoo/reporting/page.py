"""The page: what frames the parts, and the data in it for machines to read."""

import json
import math
from collections.abc import Sequence
from typing import Any

from mtlzoo.reporting.markup import Html, join, tag
from mtlzoo.reporting.style import STYLE

# Nothing may be loaded, and no program may run.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
DATA_ID = "report-data"


def page(title: str, lead: Sequence[Html], sections: Sequence[tuple[str, Html]], data: Any) -> str:
    """A whole HTML file.

    Args:
        title: Its headline.
        lead: What stands below it.
        sections: Headings and what stands below them; empty ones are left out.
        data: What machines read, of what JSON can hold.
    """
    filled = [(heading, body) for heading, body in sections if body]
    anchors = [f"part-{i}" for i in range(1, len(filled) + 1)]
    links = [
        tag("li", tag("a", heading, href=f"#{anchor}"))
        for anchor, (heading, _) in zip(anchors, filled, strict=True)
    ]
    parts = [
        tag("section", tag("h2", heading, id=anchor), body, aria_labelledby=anchor)
        for anchor, (heading, body) in zip(anchors, filled, strict=True)
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        Html(f"<style>{STYLE}</style>"),
    )
    body = tag(
        "body",
        tag("header", tag("h1", title), *lead),
        tag("nav", tag("ul", links), aria_label="Contents"),
        tag("main", join(parts, "\n")),
        tag("footer", tag("p", "Made by mtlzoo.report.")),
        Html(f'<script type="application/json" id="{DATA_ID}">{_as_json(data)}</script>'),
    )
    return f'<!doctype html>\n<html lang="en">{head}\n{body}</html>\n'


def _as_json(data: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(_finite(data), allow_nan=False).replace("<", "\\u003c")


def _finite(thing: Any) -> Any:
    """The same with `None` for numbers that JSON has not."""
    if isinstance(thing, dict):
        return {str(key): _finite(each) for key, each in thing.items()}
    if isinstance(thing, list | tuple):
        return [_finite(each) for each in thing]
    if isinstance(thing, float) and not math.isfinite(thing):
        return None
    return thing
