"""What pages and pictures take from the code, so that they cannot say something else.

    python -m docs.making          # writes what has changed
    python -m docs.making --check  # says what has changed, with exit status 1, and writes nothing

A page says where a table goes:

    <!-- table: balancers -->
    <!-- end of table -->
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.S)


def filled(text: str) -> str:
    """The text of a page with its tables as they are now.

    Args:
        text: The page.

    Raises:
        KeyError: If a table has a name that is not known.
    """
    from docs.making.tables import TABLES

    return TABLE.sub(lambda found: found[1] + TABLES[found[2]]() + "\n" + found[3], text)


def bring_up_to_date() -> list[Path]:
    """Write the pages and pictures that are not as they should be; which they are."""
    changed = outdated()
    for path, text in changed.items():
        path.write_text(text)
    return list(changed)


def outdated() -> dict[Path, str]:
    """The pages and pictures that are not as they should be, with what should be in them."""
    from docs.making.pictures import PICTURES

    wanted = {page: filled(page.read_text()) for page in sorted(DOCS.rglob("*.md"))}
    wanted |= {DOCS / f"{name}.svg": draw() for name, draw in PICTURES.items()}
    return {
        path: text for path, text in wanted.items() if not path.exists() or path.read_text() != text
    }
