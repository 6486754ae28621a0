"""Write what is made from code, or say what is out of date: see `docs.making`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import sys

from docs.making import ROOT, bring_up_to_date, outdated


def main(arguments: list[str]) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name: none, or `--check`.

    Returns:
        The exit status.
    """
    if arguments not in ([], ["--check"]):
        print("usage: python -m docs.making [--check]", file=sys.stderr)
        return 2
    changed = list(outdated()) if arguments else bring_up_to_date()
    for path in changed:
        print(path.relative_to(ROOT))
    return 1 if arguments and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
