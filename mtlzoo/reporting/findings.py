"""The part of a page that shows what analyses found."""

import base64
import io
from collections.abc import Sequence
from typing import Any

from mtlzoo.analysis import Finding
from mtlzoo.reporting.markup import Html, fold, table, tag


def check(findings: Any) -> list[Finding]:
    """A list of findings, if it is one.

    Args:
        findings: What was given.

    Raises:
        ValueError: If it is no list, or something in it is no finding.
    """
    if not isinstance(findings, list | tuple):
        raise ValueError(
            f"`findings` should be a list of `analysis.Finding`s. Received: findings={findings!r}"
        )
    for finding in findings:
        if not isinstance(finding, Finding):
            raise ValueError(
                "`findings` should hold what analyses give, with `title`, `words()`, `rows()` and "
                f"`figure()`. Received: {finding!r}"
            )
    return list(findings)


def section(finding: Finding, anchor: str) -> Html:
    """Its title, words, picture and table.

    Args:
        finding: What an analysis found.
        anchor: The id of its heading.

    Raises:
        ImportError: If the picture needs a package that is not there.
    """
    words = [line for line in finding.words().splitlines() if line.strip()]
    shown = [tag("h3", finding.title, id=anchor), *(tag("p", line) for line in words)]
    figure = finding.figure()
    if figure is not None:
        said = f"{finding.title}. {' '.join(words)}"
        source = f"data:image/png;base64,{base64.b64encode(png(figure)).decode()}"
        shown.append(tag("figure", tag("img", src=source, alt=said)))
    rows = finding.rows()
    if len(rows) > 1:
        body = fold(f"Numbers: {finding.title}", table(finding.title, rows[0], rows[1:]))
        shown.append(body)
    return tag("section", shown)


def png(figure: Any) -> bytes:
    """A picture as a PNG file, the same bytes for the same picture.

    Args:
        figure: A `matplotlib.figure.Figure`.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def in_data(findings: Sequence[Finding]) -> list[dict]:
    """The findings for machines to read.

    Args:
        findings: What analyses found.
    """
    return [{"title": f.title, "words": f.words(), "rows": f.rows()} for f in findings]
