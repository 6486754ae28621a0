"""Names that are nearly what was typed."""

import difflib
from collections.abc import Iterable


def bare(name: str) -> str:
    """A name without what people leave out: `"hard_sharing"` and `"HardSharing"` are the same."""
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def known_as(word: str, known: Iterable[str]) -> str | None:
    """The name that a word stands for, in any spelling of cases and underscores, or `None`."""
    names = list(known)
    if word in names:
        return word
    found = [name for name in names if bare(name) == bare(word)]
    return found[0] if len(found) == 1 else None


def hint(word: str, known: Iterable[str]) -> str:
    """A sentence with the nearest names, with a space before it; empty if none is near."""
    names = {bare(name): name for name in known}
    near = difflib.get_close_matches(bare(word), names, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(names[each]) for each in near)}?" if near else ""
