"""GLUE: nine sets of sentences and pairs of sentences, each with a task of its own.

The benchmark of Wang et al. (2018), as one data set: each row has the label of the set that it
comes from, and those of the other tasks are missing.

Tasks, as the class 1 says:
  cola  binary, whether a sentence is acceptable English
  sst2  binary, whether a piece of a movie review is positive
  mrpc  binary, whether two sentences say the same
  qqp   binary, whether two questions ask the same
  stsb  regression, how alike two sentences are, from 0 to 5
  mnli  three classes: whether the first sentence entails the second (0), is neutral (1), or
        contradicts it (2)
  qnli  binary, whether the second does not answer the first, a question
  rte   binary, whether the first does not entail the second
  wnli  binary, whether the first entails the second, in which a pronoun is replaced

Inputs: `first` and `second` (64,), ids of the first 64 words of a text; `second` is empty where a
set has one sentence. 0 is padding, 1 a word that is not known; known are the 20 000 most frequent
ones of the first 10 000 training rows of each set, if they are in two texts or more.

Splits: the last tenth of the official training data of each set is `valid`, the rest `train`; both
may have the same sentence in other pairs. The official validation data is `test` (of mnli, the
matched one), since the labels of the official test data are not published. That makes about
854 800, 95 000 and 59 900 rows, most of them of mnli and qqp.

Options of `load`: configs (all nine), words=64, vocabulary_size=20000, batch_size=128, seed=0,
preprocessed=True, raw_files, data_dir, download=False. An epoch has each row of all sets once.
TensorFlow Datasets prepares them of eleven files (376 MB), which it fetches or takes from the
folder `raw_files`. Rows are read from the disk as they are needed.

Each set has its own terms: https://gluebenchmark.com/tasks
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlzoo.data.arguments import check_count
from mtlzoo.data.cache import Prepared
from mtlzoo.data.from_arrays import check_options
from mtlzoo.data.from_tfds import reading
from mtlzoo.data.loading import Loaded
from mtlzoo.data.pipeline import check_batching
from mtlzoo.data.words import to_ids, vocabulary

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from mtlzoo.tasks import Task


@dataclasses.dataclass(frozen=True)
class _Set:
    """One of the sets: the features with its texts, its classes (0 for a real value), its files."""

    texts: tuple[str, ...]
    classes: int
    files: tuple[str, ...]


_PAIR = ("sentence1", "sentence2")
_SETS = {
    "cola": _Set(("sentence",), 2, ("CoLA.zip",)),
    "sst2": _Set(("sentence",), 2, ("SST-2.zip",)),
    "mrpc": _Set(
        _PAIR,
        2,
        ("data_mrpc_dev_ids.tsv", "msr_paraphrase_train.txt", "msr_paraphrase_test.txt"),
    ),
    "qqp": _Set(("question1", "question2"), 2, ("QQP.zip",)),
    "stsb": _Set(_PAIR, 0, ("STS-B.zip",)),
    "mnli": _Set(("premise", "hypothesis"), 3, ("MNLI.zip",)),
    "qnli": _Set(("question", "sentence"), 2, ("QNLIv2.zip",)),
    "rte": _Set(_PAIR, 2, ("RTE.zip",)),
    "wnli": _Set(_PAIR, 2, ("WNLI.zip",)),
}
CONFIGS = tuple(_SETS)
URL = "https://dl.fbaipublicfiles.com"
SPLITS = {"train": "train[:90%]", "valid": "train[90%:]", "test": "validation"}
#: Training rows of each set that the vocabulary is learned from.
ROWS = 10_000


def load(
    *,
    configs: Sequence[str] = CONFIGS,
    words: int = 64,
    vocabulary_size: int = 20_000,
    batch_size: int = 128,
    seed: int = 0,
    preprocessed: bool = True,
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Loaded:
    """Load sets of GLUE as one data set.

    Args:
        configs: the sets, a list of some of those of `CONFIGS`. Defaults to `CONFIGS`.
        words: how many words of a text are read; shorter ones are padded. Defaults to 64.
        vocabulary_size: the most words that are known. Defaults to 20000.
        batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to 128.
        seed: of the order of the training rows, which differs from epoch to epoch. Defaults to 0.
        preprocessed: True gives `first` and `second` as ids `(batch, words)` in `int32`; False as
            strings. Defaults to `True`.
        raw_files: only until the data is prepared: a folder that holds the files of the sets.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether files may be fetched if the data is not prepared. Defaults to `False`.

    Returns:
        The data set with a task for each set, of its name. What is missing is -1, and NaN for
        `stsb`.

    Raises:
        ValueError: an option has an unusable value, or the data is not there and may not be
            fetched.
        ImportError: the extra `datasets` is not installed.

    Example:
        ```python
        from mtlzoo import data

        pairs = data.load("glue", configs=["rte", "stsb"], download=True)
        x, y, sample_weight = next(iter(pairs.train))  # x["first"] (128, 64), y rte and stsb
        ```
    """
    check_batching(batch_size, seed)
    check_options(preprocessed)
    check_count("words", words)
    check_count("vocabulary_size", vocabulary_size)
    is_list = isinstance(configs, list | tuple) and configs
    if not is_list or set(configs) - set(_SETS) or len(set(configs)) < len(configs):
        raise ValueError(
            f"`configs` should be a list of some of {list(CONFIGS)}, each once. "
            f"Received: configs={configs!r}"
        )
    builders = {name: _prepared(name, raw_files, data_dir, download) for name in configs}
    tasks = [task_of(name) for name in configs]
    rows = {
        part: [_rows(name, builder, part, tasks) for name, builder in builders.items()]
        for part in SPLITS
    }
    known = vocabulary(_texts(rows["train"]), most=vocabulary_size)
    model = preprocessor(known, words)
    return reading.loaded(rows, tasks, model, batch_size, seed, preprocessed)


def task_of(name: str) -> Task:
    """Make the task of a set.

    Args:
        name: of the set.
    """
    from mtlzoo.tasks import BinaryClassification, Classification, Regression

    classes = _SETS[name].classes
    if classes == 0:
        return Regression(name)
    return BinaryClassification(name) if classes == 2 else Classification(name, classes)


def preprocessor(known: list[str], words: int) -> keras.Model:
    """Make the model that turns both texts into ids of words.

    Args:
        known: the words, those of the training rows.
        words: how many words of a text are read.

    Returns:
        A model from the dict of `first` and `second`, each `(batch,)` strings, to the dict of
        `(batch, words)` in `int32`.
    """
    import keras

    raw = {name: keras.Input((), name=name, dtype="string") for name in ("first", "second")}
    layer = to_ids(known, words, "words")
    ids = {name: keras.ops.cast(layer(text), "int32") for name, text in raw.items()}
    return keras.Model(raw, ids, name="preprocessor")


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Prepared:
    """Have TensorFlow Datasets prepare the nine sets, once.

    Args:
        raw_files: a folder that holds the files of the sets.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether files may be fetched. Defaults to `False`.

    Returns:
        Where the data is, and how many rows a split has.

    Raises:
        ValueError: the data is not prepared and there is nothing to prepare it from.
        ImportError: the extra `datasets` is not installed.
    """
    builders = {name: _prepared(name, raw_files, data_dir, download) for name in CONFIGS}
    rows = {
        part: sum(b.info.splits[_split(name, part)].num_examples for name, b in builders.items())
        for part in SPLITS
    }
    return Prepared(Path(builders["cola"].data_dir).parents[1], rows)


def _prepared(
    name: str, raw_files: str | Path | None, data_dir: str | Path | None, download: bool
) -> Any:
    files = _SETS[name].files
    return reading.prepared(f"glue/{name}", files, URL, raw_files, data_dir, download)


def _split(name: str, part: str) -> str:
    """What TensorFlow Datasets calls a part of a set."""
    is_matched = name == "mnli" and part == "test"
    return "validation_matched" if is_matched else SPLITS[part]


def _rows(name: str, builder: Any, part: str, tasks: Sequence[Task]) -> tf.data.Dataset:
    """Rows of one set, of the form that those of all sets have."""
    import tensorflow as tf

    texts = _SETS[name].texts
    dtypes = {task.name: "int32" if _SETS[task.name].classes else "float32" for task in tasks}

    def row(example: dict[str, Any]) -> tuple:
        first, second = [*(example[text] for text in texts), tf.constant("")][:2]
        y = {task.name: tf.constant(task.missing, dtypes[task.name]) for task in tasks}
        y[name] = tf.cast(example["label"], dtypes[name])
        return {"first": first, "second": second}, y, dict.fromkeys(y, tf.ones(()))

    features = dict.fromkeys([*texts, "label"], True)
    examples = reading.examples(builder, _split(name, part), features)
    return examples.map(row, num_parallel_calls=tf.data.AUTOTUNE)


def _texts(sets: Sequence[tf.data.Dataset]) -> Iterator[str]:
    """The texts that the vocabulary is learned from."""
    for rows in sets:
        for x, _, _ in rows.take(ROWS).batch(1000).as_numpy_iterator():
            for texts in x.values():
                yield from (text.decode("utf-8", "replace") for text in texts)
