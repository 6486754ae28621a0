"""The papers that docstrings cite: read out of the code, and put beside `papers.csv`.

The file has what docstrings leave out: all of a title, who wrote it, where it can be read.
"""

import ast
import csv
import functools
import re
from dataclasses import dataclass
from pathlib import Path

from docs.making import ROOT

PAPERS = Path(__file__).with_name("papers.csv")
SURNAME = r"[A-ZÉ][\w'éÉí-]*(?:-[A-Z]\w+)*"
OTHERS = rf"(?: et al\.|(?:, {SURNAME})* (?:and|&) {SURNAME})"
# `Yu et al., *Title*`, `Caruana, *Title*`: a title in asterisks, after names.
TITLED = re.compile(rf"({SURNAME}){OTHERS}?, \*((?:[A-Z]|mixup)[^*`]+)\*")
# `arXiv:1234.56789` or its address.
NUMBERED = re.compile(r"arxiv(?:\.org/abs/|:)(\d{4}\.\d{4,5})", re.I)
# `Yu et al., 2020`, `Tan and Le (2019)`, `(Caruana, 1997)`, `Rezatofighi et al., CVPR 2019`.
DATED = re.compile(
    rf"(?:\b({SURNAME}){OTHERS},? (?:([A-Z][A-Za-z]{{2,}}) )?\(?|\(({SURNAME}), )((?:19|20)\d\d)\b"
)


@dataclass(frozen=True)
class Paper:
    """One line of `papers.csv`.

    Attributes:
        title: All of it.
        authors: The surnames, or the first one and "et al.".
        venue: Conference, journal, book's publisher, or "arXiv" for what is there only.
        year: Of the venue.
        link: `arXiv:...`, `doi:...`, an address, or nothing.
    """

    title: str
    authors: str
    venue: str
    year: str
    link: str

    @property
    def first_author(self) -> str:
        """The surname that it is cited by."""
        return re.match(SURNAME, self.authors)[0]

    @property
    def short(self) -> str:
        """As tables cite it."""
        names = self.authors.split(", ")
        authors = self.authors if len(names) < 2 else f"{names[0]} et al."
        return f"{authors}, {self.venue_and_year}"

    @property
    def venue_and_year(self) -> str:
        """Where and when, a volume's number apart from the year."""
        return f"{self.venue}{',' if self.venue[-1].isdigit() else ''} {self.year}"

    @property
    def address(self) -> str:
        """Where it can be read, or a search for it."""
        kind, _, number = self.link.partition(":")
        if kind == "arXiv":
            return f"https://arxiv.org/abs/{number}"
        if kind == "doi":
            return f"https://doi.org/{number}"
        words = re.sub(r"\W+", "+", self.title)
        return self.link or f"https://scholar.google.com/scholar?q={words}"


@dataclass(frozen=True)
class Citation:
    """That a docstring cites a paper.

    Attributes:
        place: The name of the class, the function or the module.
        author: The first author's surname, or nothing.
        title: The title, or its beginning, or nothing.
        venue: The venue, or nothing.
        year: The year, or nothing.
        number: That of arXiv, or nothing.
    """

    place: str
    author: str = ""
    title: str = ""
    venue: str = ""
    year: str = ""
    number: str = ""

    def means(self, paper: Paper) -> bool:
        """Whether this may be that paper."""
        if self.number:
            return paper.link == f"arXiv:{self.number}"
        if self.title:
            titles = (paper.title, paper.title.split(":")[0])
            return letters(self.title) in map(letters, titles)
        same = (self.author, self.year) == (paper.first_author, paper.year)
        return same and paper.venue.startswith(self.venue)


def letters(title: str) -> str:
    """What tells a title from another one, however it is written.

    Args:
        title: All or a part of it.
    """
    return re.sub(r"[^\w+]", "", title.lower())  # Grad-CAM++ is not Grad-CAM


@functools.cache
def papers() -> list[Paper]:
    """All of `papers.csv`."""
    with PAPERS.open() as file:
        return [Paper(**row) for row in csv.DictReader(file)]


@functools.cache
def citations() -> list[Citation]:
    """What the docstrings of the package cite, in the order of files."""
    found = []
    for path in sorted((ROOT / "mtlzoo").rglob("*.py")):
        for place, text in _docstrings(path):
            found += cited(place, " ".join(text.split()))
    return found


def _docstrings(path: Path) -> list[tuple[str, str]]:
    module = path.parent.name if path.stem == "__init__" else path.stem
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    named = [(getattr(node, "name", module), ast.get_docstring(node)) for node in nodes]
    return [(place, text) for place, text in named if text]


def cited(place: str, text: str) -> list[Citation]:
    """What a text cites, in its order.

    Args:
        place: Whose docstring it is.
        text: The docstring, on one line.
    """
    at = [(m.start(), Citation(place, m[1], title=m[2])) for m in TITLED.finditer(text)]
    at += [(m.start(), Citation(place, number=m[1])) for m in NUMBERED.finditer(text)]
    # Who is cited in full further down is not cited twice.
    full = {citation.author for _, citation in at}
    for m in DATED.finditer(text):
        author, venue, year = m[1] or m[3], m[2] or "", m[4]
        if author not in full:
            at.append((m.start(), Citation(place, author, venue=venue, year=year)))
    return [citation for _, citation in sorted(at, key=lambda pair: pair[0])]


@functools.cache
def meant() -> dict[Citation, Paper]:
    """The paper of each citation; of an author's papers of one year, one that has no other place.

    Citations of what is not in `papers.csv` are left out.
    """
    found, dated = {}, []
    for citation in citations():
        matching = [paper for paper in papers() if citation.means(paper)]
        if matching and citation.year:
            dated.append((citation, matching))
        elif matching:
            found[citation] = matching[0]
    exact = set(found.values())
    for citation, matching in dated:
        found[citation] = next((p for p in matching if p not in exact), matching[0])
    return found


def cited_by(place: str) -> list[Paper]:
    """The papers that a docstring cites, in its order, each once.

    Args:
        place: The name of the class, the function or the module.
    """
    return list(dict.fromkeys(meant()[c] for c in citations() if c.place == place and c in meant()))


def places(paper: Paper) -> list[str]:
    """Where a paper is cited, sorted.

    Args:
        paper: One of `papers()`.
    """
    return sorted({c.place for c, p in meant().items() if p == paper}, key=str.lower)
