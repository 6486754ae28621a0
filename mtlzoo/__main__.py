"""The command line: `python -m mtlzoo --help`."""

from mtlzoo.command_line import run

if __name__ == "__main__":
    run()
