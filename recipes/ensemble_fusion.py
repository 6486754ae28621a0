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
import pathlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

import mtlzoo as zoo
from mtlzoo import data
from mtlzoo.backbones import ConvNet
from mtlzoo.data.multi_fashion.original import CLASSES
from mtlzoo.ensembles import Ensemble, Stacking, average_weights, greedy_soup
from mtlzoo.ensembles.members import weights_of
from mtlzoo.metrics import ExpectedCalibrationError
from recipes import comparison, ensemble_pictures, strategies
from recipes import fashion as fashion_data
from recipes.training import Progress, print_aligned

_OUT = flags.DEFINE_string("out", "runs/ensemble_fusion", "Folder to write to.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data is, if not in the cache.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Repetitions of the whole comparison.", lower_bound=1)
_MEMBERS = flags.DEFINE_integer("members", 5, "Models of each kind.", lower_bound=2)
_EPOCHS = flags.DEFINE_integer("epochs", 3, "Epochs of each model.", lower_bound=1)
_TUNE_EPOCHS = flags.DEFINE_integer("tune_epochs", 2, "Epochs of each fine-tuning.", lower_bound=1)
_FIT_EPOCHS = flags.DEFINE_integer("fit_epochs", 5, "Epochs of what is fitted.", lower_bound=1)
_ROWS = flags.DEFINE_integer("rows", 8000, "Training pairs in an epoch, drawn anew for each.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 2e-3, "Adam's learning rate.")
_TEST_ROWS = flags.DEFINE_integer("test_rows", 2500, "Test pairs at most.", lower_bound=1)

SHAPE = (36, 36, 1)
VALID_ROWS = 2000  # to choose an epoch, and as many others to fit what is fitted
# Fine-tunings differ in the order of rows and in Adam's learning rate, by these factors.
RATES = (0.25, 0.5, 0.75, 1.0, 1.25)
STEPS = 11  # points between two models
ONE, TUNED = "one model", "fine-tuned, one model"


@dataclasses.dataclass
class Fashion:
    """The data set, with the second half of the validation data apart."""

    loaded: data.Loaded
    held: tf.data.Dataset


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    out = pathlib.Path(_OUT.value)
    found: dict[str, list[dict[str, float]]] = {}
    lines: dict[str, list[list[float]]] = {}
    progress = Progress(_SEEDS.value * 2 * _MEMBERS.value, max(_EPOCHS.value, _TUNE_EPOCHS.value))
    costs: dict[str, dict[str, float]] = {}
    for seed in range(_SEEDS.value):
        fashion = load(seed)
        members = train_members(fashion, seed, progress)
        tuned = tune(members[0], fashion, seed, progress)
        for name, model in all_models(members, tuned, fashion):
            models = model if isinstance(model, list) else [model]
            scores = [evaluate(each, fashion.loaded.test) for each in models]
            found.setdefault(name, []).append(mean_of(scores))
            accuracy, error = (found[name][-1][key] for key in ("accuracy", "calibration error"))
            progress.finish(f"{name}: accuracy {accuracy:.4f}, calibration error {error:.4f}")
            if seed == 0:
                costs[name] = cost(models[0], members[0])
        for name, (one, other) in {
            "of two random starts": members[:2],
            "fine-tuned from one start": tuned[:2],
        }.items():
            lines.setdefault(name, []).append(between(one, other, fashion.loaded.test))
    report = {name: {**summary(runs), **costs[name]} for name, runs in found.items()}
    report["between two models"] = {name: {"values": runs} for name, runs in lines.items()}
    print_report(report)
    out.mkdir(parents=True, exist_ok=True)
    values = {k: v["metrics"] for k, v in report.items() if "metrics" in v}
    ensemble_pictures.fusions_and_lines(
        out / "fusion.png",
        {name: metrics["accuracy"]["values"] for name, metrics in values.items()},
        {name: metrics["calibration error"]["values"] for name, metrics in values.items()},
        lines,
    )
    comparison.write(out, report)
    print(f"\nWritten to {out}: fusion.png, results.json")


def load(seed: int) -> Fashion:
    """The data, with epochs of `--rows` pairs."""
    batch_size = _BATCH_SIZE.value
    loaded = fashion_data.load(seed, batch_size, _ROWS.value, _DATA_DIR.value, valid_rows=None)
    batches = -(-VALID_ROWS // batch_size)
    fashion = dataclasses.replace(
        loaded,
        valid=loaded.valid.take(batches).cache(),
        test=loaded.test.take(-(-_TEST_ROWS.value // batch_size)).cache(),
    )
    return Fashion(fashion, loaded.valid.skip(batches).take(batches).cache())


def build(fashion: Fashion, name: str) -> zoo.MultiTaskModel:
    """A new model with random weights."""
    loaded = fashion.loaded
    return zoo.HardSharing(loaded.inputs, loaded.tasks, backbone=ConvNet(SHAPE), name=name)


def train_members(fashion: Fashion, seed: int, progress: Progress) -> list[zoo.MultiTaskModel]:
    """Models of different random starts."""
    return [
        comparison.train(
            lambda i=i: build(fashion, f"start_{i}"),
            fashion.loaded,
            epochs=_EPOCHS.value,
            learning_rate=_LEARNING_RATE.value,
            seed=1000 * seed + i,
            progress=progress,
        )[0]
        for i in range(_MEMBERS.value)
    ]


def tune(
    start: zoo.MultiTaskModel, fashion: Fashion, seed: int, progress: Progress
) -> list[zoo.MultiTaskModel]:
    """Models that go on from one start, with other rows and learning rates."""
    models = []
    for i in range(_MEMBERS.value):
        rate = _LEARNING_RATE.value * RATES[i % len(RATES)]

        def begin(i=i):
            model = build(fashion, f"tuned_{i}")
            # Not `set_weights`, since the start has the state of its balancer too.
            for new, old in zip(model.trainable_variables, start.trainable_variables, strict=True):
                new.assign(old)
            return model

        settings: dict[str, Any] = {
            "epochs": _TUNE_EPOCHS.value,
            "learning_rate": rate,
            "seed": 1000 * seed + i,
            "progress": progress,
        }
        models.append(comparison.train(begin, fashion.loaded, **settings)[0])
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


def fused(members: Sequence[zoo.MultiTaskModel], fusion: Any, fashion: Fashion) -> Ensemble:
    """An ensemble, fitted if it has something to learn."""
    with strategies.scope():
        model = Ensemble(list(members), fusion)
        # Stacking has hundreds of numbers to learn, the others at most one for each model.
        rate = 0.002 if isinstance(fusion, Stacking) else 0.02
        model.compile(keras.optimizers.Adam(rate), jit_compile=False)  # it takes long to compile
    if model.trainable_variables:
        held = comparison.labels_of(model, fashion.held)
        model.fit(held, epochs=_FIT_EPOCHS.value, shuffle=False, verbose=0)
    return model


def all_models(members: list, tuned: list, fashion: Fashion):
    """Every row of the table, by name: a model, or several of which the mean is shown."""
    yield ONE, members
    yield "one model, temperature", fused(members[:1], "temperature", fashion)
    for name, fusion in fusions().items():
        yield name, fused(members, fusion, fashion)
    yield "weights averaged", average_weights(members)
    yield TUNED, tuned
    yield "fine-tuned, mean", fused(tuned, "mean", fashion)
    yield "fine-tuned, weights averaged", average_weights(tuned)
    valid = comparison.labels_of(tuned[0], fashion.loaded.valid)
    yield "fine-tuned, greedy soup", greedy_soup(tuned, valid).model


def evaluate(model: zoo.MultiTaskModel, part: tf.data.Dataset) -> dict[str, float]:
    """Accuracy and calibration error by task, and their means."""
    names = model.task_names
    with strategies.scope():
        model.compile(
            "sgd",
            jit_compile=False,
            weighted_metrics={
                n: [ExpectedCalibrationError(len(CLASSES), class_ids=True)] for n in names
            },
        )
    logs = model.evaluate(comparison.labels_of(model, part), return_dict=True, verbose=0)
    scores = {f"{n}, {m}": float(logs[f"{n}_{m}"]) for m in ("accuracy", "ece") for n in names}
    for metric, name in (("accuracy", "accuracy"), ("ece", "calibration error")):
        scores[name] = float(np.mean([logs[f"{task}_{metric}"] for task in names]))
    return scores


def between(
    one: zoo.MultiTaskModel, other: zoo.MultiTaskModel, part: tf.data.Dataset
) -> list[float]:
    """The accuracy of averages of the weights of two models, from one to the other."""
    model = average_weights([one, other])
    model.compile("sgd", jit_compile=False)
    part = comparison.labels_of(model, part)
    accuracies = []
    for share in np.linspace(0, 1, STEPS):
        found = average_weights([one, other], [1 - share, share])
        for variable, value in zip(
            model.trainable_variables, found.trainable_variables, strict=True
        ):
            variable.assign(value)
        logs = model.evaluate(part, return_dict=True, verbose=0)
        accuracies.append(float(np.mean([logs[f"{t}_accuracy"] for t in model.task_names])))
    return accuracies


def cost(model: zoo.MultiTaskModel, one: zoo.MultiTaskModel) -> dict[str, float]:
    """Parameters, the CPU time of a prediction in that of one model, bytes of the SavedModel."""
    rows = tf.zeros((_BATCH_SIZE.value, *SHAPE))
    calls = [tf.function(lambda x, m=m: m(x, training=False)) for m in (model, one)]
    times: list[list[float]] = [[], []]
    for call in calls:
        call(rows)
    for _ in range(7):  # in turns, since another job may slow any of them down
        for call, taken in zip(calls, times, strict=True):
            started = time.process_time()
            for _ in range(3):
                call(rows)["left"].numpy()
            taken.append(time.process_time() - started)
    with tempfile.TemporaryDirectory() as folder:
        model.export(pathlib.Path(folder) / "served", verbose=False)
        size = sum(f.stat().st_size for f in pathlib.Path(folder).rglob("*") if f.is_file())
    return {
        "parameters": int(sum(np.prod(v.shape) for v in weights_of(model))),
        "time": float(np.median(times[0]) / np.median(times[1])),
        "bytes": size,
    }


def mean_of(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each number."""
    return {key: float(np.mean([each[key] for each in scores])) for key in scores[0]}


def summary(runs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Mean and standard deviation over repetitions of each number."""
    return {"metrics": {k: comparison.spread([run[k] for run in runs]) for k in runs[0]}}


def print_report(report: Mapping[str, dict]) -> None:
    """Print a line for each model, and what lies between two."""
    names = [name for name in report if "metrics" in report[name]]
    columns = [c for c in report[ONE]["metrics"] if "," in c]
    rows = [["", *columns, "parameters", "CPU time, one model = 1", "SavedModel, kB"]]
    for name in names:
        found = report[name]
        cells = []
        for column in columns:
            metric = found["metrics"][column]
            spread = "" if metric["std"] is None else f" ± {metric['std']:.4f}"
            cells.append(f"{metric['mean']:.4f}{spread}")
        cells += [f"{found['parameters']:,}", f"{found['time']:.2f}"]
        cells.append(f"{found['bytes'] / 1000:.0f}")
        rows.append([name, *cells])
    print()
    print_aligned(rows)
    rows = [["accuracy between two models", *[f"{s:.1f}" for s in np.linspace(0, 1, STEPS)]]]
    for name, found in report["between two models"].items():
        rows.append([name, *[f"{value:.3f}" for value in np.mean(found["values"], 0)]])
    print()
    print_aligned(rows)


if __name__ == "__main__":
    strategies.run(main)
