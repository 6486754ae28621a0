"""List the data sets, describe one, prepare its full data: `python -m mtlzoo.data --help`."""

from __future__ import annotations

import argparse

from mtlzoo.data import packages
from mtlzoo.data.cache import Prepared
from mtlzoo.data.loading import module, names


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m mtlzoo.data", description=__doc__)
    parser.add_argument("name", nargs="?", choices=names(), help="the data set to describe")
    parser.add_argument(
        "--download", action="store_true", help="prepare the full data, fetching its files"
    )
    parser.add_argument("--raw_files", help="prepare the full data from this folder or archive")
    parser.add_argument("--data_dir", help="the folder that prepared data is kept in")
    args = parser.parse_args(argv)
    if args.name is None:
        if args.download or args.raw_files:
            parser.error("--download and --raw_files need the name of a data set")
        for name in names():
            print(f"{name}  {module(name).__doc__.splitlines()[0]}")
    elif args.download or args.raw_files:
        packages.show_progress = True
        prepared = module(args.name).prepare(args.raw_files, args.data_dir, args.download)
        if isinstance(prepared, Prepared):
            rows = prepared.rows
        else:  # a builder of TensorFlow Datasets
            rows = {split: info.num_examples for split, info in prepared.info.splits.items()}
        for split, count in rows.items():
            print(f"{split}: {count} rows")
        print(f"in {prepared.data_dir}")
    else:
        print(module(args.name).__doc__)


if __name__ == "__main__":
    main()
