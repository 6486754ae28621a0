"""Make the embedded sample from the original files.

    python -m mtlzoo.data.census_income.make_sample --source FILES --out FOLDER

A row is in the sample when the hash of its position is among the smallest of its official split.
That is a simple random sample without a random number generator, so it is the same everywhere and
always. Rows keep their order and all 42 columns.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
from pathlib import Path

from mtlzoo.data.census_income import original
from mtlzoo.data.census_income.columns import COLUMNS

#: Rows kept of each official split: large enough for a stable ranking of models in seconds of
#: training, small enough for a wheel (together under 1.5 MB).
SAMPLE_ROWS = {"train": 20_000, "test": 10_000}


def choose(split: str, total: int, size: int) -> list[int]:
    """Return the positions of the sampled rows, in order."""

    def key(index: int) -> bytes:
        return hashlib.sha256(f"{split}:{index}".encode()).digest()

    return sorted(sorted(range(total), key=key)[:size])


def sample_text(source: str | Path, split: str) -> bytes:
    """Return the sample of one split as comma-separated text with a header row."""
    rows = list(original.rows(original.find(source), split))
    chosen = choose(split, len(rows), SAMPLE_ROWS[split])
    return "".join(",".join(row) + "\n" for row in (COLUMNS, *(rows[i] for i in chosen))).encode()


def main(argv: list[str] | None = None) -> None:
    """Write `sample_train.csv.xz` and `sample_test.csv.xz`."""
    parser = argparse.ArgumentParser(prog="make_sample", description=__doc__.split("\n")[0])
    parser.add_argument("--source", required=True, help="folder or archive of original files")
    parser.add_argument("--out", required=True, type=Path, help="folder to write to")
    args = parser.parse_args(argv)
    for split in SAMPLE_ROWS:
        path = args.out / f"sample_{split}.csv.xz"
        packed = lzma.compress(sample_text(args.source, split), preset=9 | lzma.PRESET_EXTREME)
        path.write_bytes(packed)
        print(f"{path}: {len(packed)} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}")


if __name__ == "__main__":
    main()
