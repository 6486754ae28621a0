"""Every architecture that fits, on two pieces of clothing in one picture.

    python -m mtlzoo.data multi_fashion --download
    python -m recipes.multi_fashion --out=runs/multi_fashion
    python -m recipes.multi_fashion --balancer=all --seeds=5 --out=runs/fashion_balancers

Trains one network for each task and all architectures of the zoo on Multi-Fashion, with the same
convolutions, optimizer and number of steps, and tasks weighted equally. Where an architecture has
experts or columns, the trunk is there once for each of them; sub-networks of SNR take the place of
its fully connected layer. The validation data chooses each model's epoch. Prints the accuracies
on the test data, parameters, training time, `delta_m` against the single tasks, and what the models
let one read; draws accuracy over parameters, and a few pictures with the answers of one model.

With `--balancer=all`, or several names, it compares balancers instead of architectures: one
architecture, `HardSharing` or that of `--models`, with each balancer, beside single tasks and fixed
weights that the validation data chose. One name is the balancer of all multi-task models.
"""

import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from absl import flags, logging

import mtlzoo as zoo
from mtlzoo import data
from mtlzoo.backbones import ConvNet
from mtlzoo.data.multi_fashion.original import CLASSES
from mtlzoo.layers import PositionEmbedding
from recipes import balancers, comparison, plots, strategies
from recipes import fashion as fashion_data
from recipes.training import Progress, print_aligned

_OUT = flags.DEFINE_string("out", "runs/multi_fashion", "Folder to write to.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data is, if not in the cache.")
_EPOCHS = flags.DEFINE_integer("epochs", 3, "Epochs of each model.", lower_bound=1)
_ROWS = flags.DEFINE_integer(
    "rows", 16_000, "Training pairs in an epoch, drawn anew for each from all 54,000."
)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Trainings of each model.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 2e-3, "Adam's learning rate.")
_MODELS = flags.DEFINE_list(
    "models", None, "Architectures. Defaults to all that fit; of balancers, to HardSharing."
)
_BALANCER = flags.DEFINE_list("balancer", [balancers.EQUAL], balancers.FLAG_HELP)

SHAPE, UNITS = (36, 36, 1), (50,)


def trunk() -> ConvNet:
    """Convolutions of 10 and 20 channels, and a fully connected layer of 50 units."""
    return ConvNet(SHAPE, dense_units=UNITS)


def convolutions() -> ConvNet:
    """The same without the fully connected layer."""
    return ConvNet(SHAPE, dense_units=())


def tokens() -> keras.Model:
    """The 6 x 6 places of the last convolution as tokens that know where they are.

    A convolution does not tell left from right: without positions neither would the queries.
    """
    network = convolutions()
    maps = network.get_layer("conv_1").output
    places = keras.layers.Reshape((-1, maps.shape[-1]), name="places")(maps)
    return keras.Model(network.input, PositionEmbedding(name="positions")(places))


# Which network each is drawn with, as which argument, and its other arguments, where the defaults
# are not used.
BACKBONE, EXPERT = "backbone", "expert_network"
_EXPERTS = {"num_experts": 4, "tower_units": ()}
_CGC = {"num_levels": 1, "num_shared_experts": 2, "num_task_experts": 1, "tower_units": ()}
ARCHITECTURES: dict[type, tuple[str, Callable[[], Any], dict[str, Any]]] = {
    zoo.HardSharing: (BACKBONE, trunk, {}),
    zoo.SoftSharing: (BACKBONE, trunk, {}),
    zoo.CrossStitch: (BACKBONE, trunk, {}),
    zoo.Sluice: (BACKBONE, trunk, {}),
    zoo.NDDR: (BACKBONE, trunk, {}),
    zoo.MMoE: (EXPERT, trunk, _EXPERTS),
    zoo.OMoE: (EXPERT, trunk, _EXPERTS),
    zoo.PLE: (EXPERT, trunk, _CGC),
    zoo.SNR: (BACKBONE, convolutions, {"subnetwork_units": UNITS * 2, "tower_units": ()}),
    zoo.MTAN: (BACKBONE, trunk, {}),
    zoo.TaskQueryAttention: (BACKBONE, tokens, {"tower_units": UNITS}),
    zoo.LearningToBranch: (BACKBONE, trunk, {}),
    zoo.DynamicSharing: (BACKBONE, trunk, {}),
    zoo.AdapterSharing: (BACKBONE, trunk, {}),
}
NOT_HERE = {
    zoo.AITM: "neither item comes before the other, so that there is no sequence to hand on along",
    zoo.DBMTLNet: "the items are drawn independently, and without relations it is HardSharing",
    zoo.ESMM: "needs the yes/no steps of a funnel",
    zoo.CrossModalFusion: "needs several modalities, and there is one picture",
}


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    out = pathlib.Path(_OUT.value)
    chosen = {a.__name__: a for a in ARCHITECTURES}
    if _MODELS.value:
        chosen = {name: chosen[name] for name in _MODELS.value}
    names = balancers.named(_BALANCER.value)
    if len(names) == 1:
        report, pictures = compare_architectures(out, chosen, names[0])
    else:
        found = train_balancers(chosen, names)
        report, pictures = balancers.compare(out, found), ["balancers.png"]
    comparison.write(out, report)
    print(f"\nWritten to {out}: {', '.join([*pictures, 'results.json'])}")


def compare_architectures(
    out: pathlib.Path, chosen: Mapping[str, type], balancer: str
) -> tuple[dict[str, dict], list[str]]:
    """Train, print and draw architectures.

    Args:
        out: the folder for pictures.
        chosen: the architectures by name.
        balancer: that of all of them.

    Returns:
        What belongs into `results.json`, and the names of the pictures.
    """
    results: dict[str, list] = {comparison.SINGLE: [], **{name: [] for name in chosen}}
    progress = Progress(_SEEDS.value * (len(chosen) + 2), _EPOCHS.value)
    first: dict[str, zoo.MultiTaskModel] = {}
    for seed in range(_SEEDS.value):
        fashion = load(seed)
        settings: dict[str, Any] = {
            "epochs": _EPOCHS.value,
            "learning_rate": _LEARNING_RATE.value,
            "seed": seed,
            "progress": progress,
        }
        _, result = comparison.train_single_tasks(
            functools.partial(single_task, fashion), fashion, **settings
        )
        results[comparison.SINGLE].append(result)
        for name, architecture in chosen.items():
            model, result = comparison.train(
                lambda a=architecture, f=fashion: build(a, f.inputs, f.tasks),
                fashion,
                balancer=balancer,
                **settings,
            )
            results[name].append(result)
            first.setdefault(name, model)
    report = comparison.summarize(results, fashion.tasks)
    comparison.print_table(report)
    print("\nNot here:")
    for architecture, reason in NOT_HERE.items():
        print(f"  {architecture.__name__}: {reason}")
    pictures, labels, _ = next(iter(fashion.test.unbatch().batch(1000)))
    print_readings(first, pictures)
    out.mkdir(parents=True, exist_ok=True)
    plots.metrics_over_parameters(out / "accuracy.png", report)
    name, model = next(iter(first.items()))
    draw_answers(out / "answers.png", name, model, pictures[:6], labels)
    return report, ["accuracy.png", "answers.png"]


def train_balancers(chosen: Mapping[str, type], names: list[str]) -> balancers.Found:
    """One architecture with each of the balancers, with the same settings."""
    architecture = balancers.the_one(_MODELS.value, chosen, "HardSharing")
    return balancers.train_all(
        names,
        load,
        single_task,
        lambda fashion, name: build(architecture, fashion.inputs, fashion.tasks, name),
        seeds=_SEEDS.value,
        epochs=_EPOCHS.value,
        learning_rate=_LEARNING_RATE.value,
    )


def load(seed: int) -> data.Loaded:
    """The data, with epochs of `--rows` pairs."""
    return fashion_data.load(seed, _BATCH_SIZE.value, _ROWS.value, _DATA_DIR.value)


def single_task(fashion: data.Loaded, task: zoo.Task) -> zoo.MultiTaskModel:
    """The network of one task."""
    return zoo.HardSharing(
        fashion.inputs, [task], backbone=trunk(), name=f"single_task_{task.name}"
    )


def build(
    architecture: type, inputs: Any, tasks: list, name: str | None = None
) -> zoo.MultiTaskModel:
    """A new model, with new variables, named as its architecture unless it is given a name."""
    argument, network, arguments = ARCHITECTURES[architecture]
    drawn = {argument: network(), **arguments}
    return architecture(inputs, tasks, name=name or architecture.__name__, **drawn)


# --- What can be read --------------------------------------------------------------------------


def print_readings(models: Mapping[str, zoo.MultiTaskModel], pictures: Any) -> None:
    """Print what the first seed's models have learned about sharing.

    Args:
        models: trained models by name.
        pictures: a batch, for what depends on the input; it is averaged.
    """
    order = ("left", "right")
    rows = [["first seed", *order]]
    for name, model in models.items():
        for what, of_task in readings(model, pictures):
            cells = [" ".join(f"{v:.2f}" for v in np.ravel(of_task[task])) for task in order]
            rows.append([f"{name}: {what}", *cells])
    print()
    print_aligned(rows)


def readings(model: Any, pictures: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a model lets one read: a text and by task one or several numbers."""
    tasks = model.task_names
    match model:
        case zoo.SoftSharing():
            for stage, distances in model.distances().items():
                yield f"distance to the other, {stage}", dict.fromkeys(tasks, distances[0, 1])
        case zoo.CrossStitch():
            for stage, matrix in model.stitch_matrices().items():
                yield f"received of left, right, {stage}", dict(zip(tasks, matrix, strict=True))
        case zoo.Sluice():
            mixtures = model.layer_mixtures()
            yield (
                "parts of " + ", ".join(mixtures["left"]),
                {task: list(mixture.values()) for task, mixture in mixtures.items()},
            )
        case zoo.NDDR():
            for stage, matrix in model.fusion_matrices().items():
                lengths = np.sqrt(np.square(matrix).sum((2, 3)))
                yield (
                    f"length of weights of left, right, {stage}",
                    dict(zip(tasks, lengths, strict=True)),
                )
        case zoo.MMoE() | zoo.OMoE():
            gates = model.gate_weights(pictures)
            yield "mean use of experts", {task: gates[task].mean(0) for task in tasks}
        case zoo.PLE():
            for level, gates in model.gate_weights(pictures).items():
                yield f"use of own and 2 shared, {level}", {t: gates[t].mean(0) for t in tasks}
        case zoo.SNR():
            found = model.routing_probabilities()
            yield "connections to the task", {task: found[f"{task}_routing"] for task in tasks}
        case zoo.MTAN():
            masks = model.attention_masks(pictures)
            for stage in masks["left"]:
                yield f"mean of the mask, {stage}", {t: masks[t][stage].mean() for t in tasks}
        case zoo.TaskQueryAttention():
            weights = model.attention_weights(pictures)
            yield "mean row and column of 0 to 5", {t: center(weights[t]) for t in tasks}
        case zoo.LearningToBranch():
            for i, path in enumerate(zip(*model.paths().values(), strict=True)):
                yield f"node of stage {i}", dict(zip(tasks, path, strict=True))
        case zoo.DynamicSharing():
            for stage, strengths in model.sharing_strengths().items():
                yield f"strength, {stage}", strengths


def center(weights: np.ndarray) -> list[float]:
    """The mean row and column of places with weights `(rows, heads, queries, places)`."""
    side = round(weights.shape[-1] ** 0.5)
    at = weights.mean((0, 1, 2)).reshape(side, side)
    return [float(at.sum(axis) @ np.arange(side)) for axis in (1, 0)]


def draw_answers(
    path: pathlib.Path, name: str, model: zoo.MultiTaskModel, pictures: Any, labels: Mapping
) -> None:
    """Draw pictures with the true classes and the model's."""
    outputs = model.predict_on_batch(pictures)
    captions = []
    for i in range(len(pictures)):
        lines = []
        for task in model.task_names:
            true, found = CLASSES[int(labels[task][i])], CLASSES[int(outputs[task][i].argmax())]
            lines.append(f"{task}: {true}" + ("" if found == true else f"\n    not {found}"))
        captions.append("\n".join(lines))
    plots.captioned(path, np.asarray(pictures)[..., 0], captions, f"Answers of {name}")


if __name__ == "__main__":
    strategies.run(main)
