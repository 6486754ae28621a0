"""Several models as one: fused answers, averaged weights, calibration.

    python -m mtlzoo.data multi_fashion --download
    python -m recipes.ensemble_fusion --out=runs/ensemble_fusion

Trains one architecture from several random starts on Multi-Fashion, and fuses the models in every
way of `mtlzoo.ensembles`; what a fusion has to learn is fitted on half of the validation data, the
half that chose no epoch. Then it fine-tunes the first of the models several times, and averages
weights: of the models of different starts, and of those of one start. Prints on the test data
accuracy and expected calibration error of both tasks, parameters, CPU time of a prediction and size
of the SavedModel; draws them, and what lies between two models.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from mtlzoo import HardSharing, MultiTaskModel, data
from mtlzoo.backbones import ConvNet
from mtlzoo.ensembles import Ensemble, Stacking, average_weights, greedy_soup
from recipes.parts import comparison, ensemble_report, job, strategies
from recipes.parts import fashion as fashion_data
from recipes.parts.ensemble_measures import between, cost, evaluate
from recipes.parts.training import Progress

FLAGS = job.define_flags(
    out="runs/ensemble_fusion",
    data_dir=None,
    seeds=(1, "Repetitions of the whole comparison."),
    epochs=3,
    batch_size=64,
    learning_rate=2e-3,
)
flags.DEFINE_integer("members", 5, "Models of each kind.", lower_bound=2)
flags.DEFINE_integer("tune_epochs", 2, "Epochs of each fine-tuning.", lower_bound=1)
flags.DEFINE_integer("fit_epochs", 5, "Epochs of what is fitted.", lower_bound=1)
flags.DEFINE_integer("rows", 8000, "Training pairs in an epoch, drawn anew for each.")
flags.DEFINE_integer("test_rows", 2500, "Test pairs at most.", lower_bound=1)

SHAPE = (36, 36, 1)
VALID_ROWS = 2000  # to choose an epoch, and as many others to fit what is fitted
# Fine-tunings differ in the order of rows and in Adam's learning rate, by these factors.
RATES = (0.25, 0.5, 0.75, 1.0, 1.25)
STEPS = 11  # points between two models


def main(_) -> None:
    out = job.begin()
    found: dict[str, list[dict[str, float]]] = {}
    lines: dict[str, list[list[float]]] = {}
    costs: dict[str, dict[str, float]] = {}
    progress = Progress(FLAGS.seeds * 2 * FLAGS.members, max(FLAGS.epochs, FLAGS.tune_epochs))
    for seed in range(FLAGS.seeds):
        fashion, held = load(seed)
        members = train_members(fashion, seed, progress)
        tuned = train_members(fashion, seed, progress, start=members[0])
        for name, model in all_models(members, tuned, fashion.valid, held):
            models = model if isinstance(model, list) else [model]
            scores = [evaluate(each, fashion.test) for each in models]
            means = {key: float(np.mean([each[key] for each in scores])) for key in scores[0]}
            found.setdefault(name, []).append(means)
            accuracy, error = means["accuracy"], means["calibration error"]
            progress.finish(f"{name}: accuracy {accuracy:.4f}, calibration error {error:.4f}")
            if seed == 0:
                rows = tf.zeros((FLAGS.batch_size, *SHAPE))
                costs[name] = cost(models[0], members[0], rows)
        pairs = {"of two random starts": members[:2], "fine-tuned from one start": tuned[:2]}
        for name, pair in pairs.items():
            lines.setdefault(name, []).append(between(*pair, fashion.test, STEPS))
    report = ensemble_report.summarize(found, costs)
    ensemble_report.print_report(report, lines)
    ensemble_report.draw(out / "fusion.png", report, lines)
    report["between two models"] = {name: {"values": runs} for name, runs in lines.items()}
    job.end(out, report, "fusion.png")


def load(seed: int) -> tuple[data.Loaded, tf.data.Dataset]:
    """The data, with epochs of `--rows` pairs, and the second half of the validation data apart."""
    settings = {"valid_rows": None, "test_rows": FLAGS.test_rows}
    loaded = fashion_data.load(seed, FLAGS.batch_size, FLAGS.rows, FLAGS.data_dir, **settings)
    batches = -(-VALID_ROWS // FLAGS.batch_size)
    chosen, held = loaded.valid.take(batches), loaded.valid.skip(batches).take(batches)
    return dataclasses.replace(loaded, valid=chosen.cache()), held.cache()


def build(fashion: data.Loaded, name: str) -> MultiTaskModel:
    """A new model with random weights."""
    return HardSharing(fashion.inputs, fashion.tasks, backbone=ConvNet(SHAPE), name=name)


def train_members(
    fashion: data.Loaded, seed: int, progress: Progress, start: MultiTaskModel | None = None
) -> list[MultiTaskModel]:
    """Models of random starts, or such as go on from one start with other rows and rates."""
    models = []
    for i in range(FLAGS.members):

        def begin(i=i):
            if start is None:
                return build(fashion, f"start_{i}")
            model = build(fashion, f"tuned_{i}")
            # Not `set_weights`, since the start has the state of its balancer too.
            for new, old in zip(model.trainable_variables, start.trainable_variables, strict=True):
                new.assign(old)
            return model

        model, _ = comparison.train(
            begin,
            fashion,
            epochs=FLAGS.epochs if start is None else FLAGS.tune_epochs,
            learning_rate=FLAGS.learning_rate * (1 if start is None else RATES[i % len(RATES)]),
            seed=1000 * seed + i,
            progress=progress,
        )
        models.append(model)
    return models


def fusions() -> dict[str, Any]:
    """What is compared, by name."""
    return {
        "mean": "mean",
        "geometric mean": "geometric_mean",
        "maximum": "maximum",
        "majority vote": "majority_vote",
        "fitted weights": "fitted_weights",
        "stacking": Stacking(l2=1e-3),
        "mean, temperature": "temperature",
    }


def fused(members: Sequence[MultiTaskModel], fusion: Any, held: tf.data.Dataset) -> Ensemble:
    """An ensemble, fitted on rows that were held back if it has something to learn."""
    with strategies.scope():
        model = Ensemble(list(members), fusion)
        # Stacking has hundreds of numbers to learn, the others at most one for each model.
        rate = 0.002 if isinstance(fusion, Stacking) else 0.02
        model.compile(keras.optimizers.Adam(rate), jit_compile=False)  # it takes long to compile
    if model.trainable_variables:
        rows = data.labels_of(held, model.task_names)
        model.fit(rows, epochs=FLAGS.fit_epochs, shuffle=False, verbose=0)
    return model


def all_models(members: list, tuned: list, valid: tf.data.Dataset, held: tf.data.Dataset):
    """Every row of the table, by name: a model, or several of which the mean is shown."""
    yield "one model", members
    yield "one model, temperature", fused(members[:1], "temperature", held)
    for name, fusion in fusions().items():
        yield name, fused(members, fusion, held)
    yield "weights averaged", average_weights(members)
    yield "fine-tuned, one model", tuned
    yield "fine-tuned, mean", fused(tuned, "mean", held)
    yield "fine-tuned, weights averaged", average_weights(tuned)
    rows = data.labels_of(valid, tuned[0].task_names)
    yield "fine-tuned, greedy soup", greedy_soup(tuned, rows).model


if __name__ == "__main__":
    strategies.run(main)
