"""Do pictures, captions and speech say more together? And what if one of them is missing?

    python -m mtlzoo.data stamps --download   # once: 160.9 MB
    python -m recipes.stamp_fusion --out=runs/stamp_fusion

Trains `CrossModalFusion` on stamps, with each fusion of image, caption and speech and with each of
the three alone, for three tasks: which category a stamp has, whether it has a sound, and whether it
must stay upright. Then:

* the models of all three answer without one of them, trained with everything that is there and
  trained with `modality_dropout`;
* captions look for their own images, with and without the contrastive loss (`alignment`).

Every seed draws another division into training, validation and test stamps, the same for all
models. The validation data chooses each model's epoch. With 550 training and 115 test stamps
results differ much from seed to seed: the spread is printed beside every mean.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

from mtlzoo import CrossModalFusion, data
from mtlzoo.backbones import AudioEncoder, ConvNet, TextEncoder
from mtlzoo.data.pipeline import batches
from recipes import strategies
from recipes.comparison import Result, fit, print_table, summarize, write
from recipes.fusion_pictures import scores_without
from recipes.training import Progress, print_aligned

MODALITIES = ("caption", "image", "speech")
FUSIONS = ("concatenation", "gated", "low_rank", "cross_attention", "bottleneck")

_OUT = flags.DEFINE_string("out", "runs/stamp_fusion", "Folder to write to.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data is kept.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each model.", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 15, "Epochs of each model.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 3e-3, "Adam's learning rate.")
_FUSIONS = flags.DEFINE_list("fusions", [*FUSIONS], "The fusions to compare.")
_DROPPED = flags.DEFINE_list(
    "dropped", ["concatenation", "gated", "cross_attention"], "Those to train with dropout too."
)
_ALIGNED = flags.DEFINE_list("aligned", ["gated"], "Those to train with alignment too.")

WIDTH = 32  # of each modality, and of what they are fused into
DROPOUT, MODALITY_DROPOUT, ALIGNMENT = 0.3, 0.3, 0.3
VOCABULARY = 320  # no division has more words in two or more training captions
NEAREST = 5  # images of a caption


@dataclasses.dataclass(frozen=True)
class Setting:
    """One model of the comparison."""

    modalities: Sequence[str] = MODALITIES
    fusion: str = "concatenation"
    modality_dropout: float = 0.0
    alignment: float = 0.0


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    divisions = [load(seed) for seed in range(_SEEDS.value)]
    progress = Progress(len(settings()) * len(divisions), _EPOCHS.value)
    results: dict[str, list[Result]] = {}
    without: dict[str, dict[str, list[float]]] = {}
    found: dict[str, list[float]] = {}
    for name, setting in settings().items():
        for model, result, stamps in train_all(name, setting, divisions, progress):
            results.setdefault(name, []).append(result)
            if len(setting.modalities) == 1:
                continue
            for missing in (None, *MODALITIES):
                key = f"without {missing}" if missing else "with all"
                score = mean_score(model, stamps, missing)
                without.setdefault(name, {}).setdefault(key, []).append(score)
            if setting.fusion in _ALIGNED.value and not setting.modality_dropout:
                found.setdefault(name, []).append(share_found(model, stamps))

    report = summarize(results, divisions[0].tasks)
    print_table(report)
    print_spread("Mean of the three metrics, with a modality removed at test time", without)
    stamps = sum(len(y["category"]) for _, y, _ in divisions[0].test)
    title = f"Test captions with their own image among the {NEAREST} nearest"
    chance = {"by chance": {"share": [NEAREST / stamps]}}
    print_spread(title, chance | {name: {"share": shares} for name, shares in found.items()})
    scores_without(out / "missing.png", without)
    write(out, {"models": report, "without": without, "retrieval": found})
    print(f"\nWritten to {out}: missing.png, results.json")


def settings() -> dict[str, Setting]:
    """What is compared, by name."""
    named = {f"{modality} alone": Setting([modality]) for modality in MODALITIES}
    named |= {fusion: Setting(fusion=fusion) for fusion in _FUSIONS.value}
    for fusion in _DROPPED.value:
        dropped = Setting(fusion=fusion, modality_dropout=MODALITY_DROPOUT)
        named[f"{fusion}, dropout"] = dropped
    for fusion in _ALIGNED.value:
        named[f"{fusion}, alignment"] = Setting(fusion=fusion, alignment=ALIGNMENT)
    return named


# --- Data --------------------------------------------------------------------------------------


def load(seed: int) -> data.Loaded:
    """The division of this seed, preprocessed once and not in every epoch."""
    stamps = data.load("stamps", batch_size=10_000, data_seed=seed, data_dir=_DATA_DIR.value)

    def in_memory(part: tf.data.Dataset, order: int | None = None) -> tf.data.Dataset:
        (rows,) = part
        return batches(rows, _BATCH_SIZE.value, order)

    return dataclasses.replace(
        stamps,
        train=in_memory(stamps.train, seed),
        valid=in_memory(stamps.valid),
        test=in_memory(stamps.test),
    )


def only(modalities: Sequence[str], stamps: data.Loaded) -> data.Loaded:
    """The same stamps with some of the inputs."""
    keys = [key for m in modalities for key in (m, f"{m}_present")]

    def choose(x, y, weight):
        return {key: x[key] for key in keys}, y, weight

    parts = {name: getattr(stamps, name).map(choose) for name in ("train", "valid", "test")}
    return dataclasses.replace(stamps, inputs={key: stamps.inputs[key] for key in keys}, **parts)


def without_modality(missing: str | None, part: tf.data.Dataset) -> tf.data.Dataset:
    """The same rows with one modality declared missing. What it holds is not looked at then."""

    def remove(x, y, weight):
        if missing is None:
            return x, y, weight
        flag = f"{missing}_present"
        return x | {flag: tf.zeros_like(x[flag])}, y, weight

    return part.map(remove)


# --- Models ------------------------------------------------------------------------------------


def encoders(modalities: Sequence[str], inputs: Mapping[str, Any]) -> dict[str, keras.Model]:
    """New encoders, all of which give tokens: of words, places in the image, and moments."""
    layers = keras.layers

    def caption():
        (words,) = inputs["caption"].shape[1:]
        return TextEncoder(VOCABULARY, words, width=WIDTH, num_layers=1, dropout=DROPOUT)

    def image():
        pixels = keras.Input(inputs["image"].shape[1:])
        half = layers.AveragePooling2D(2)(pixels)
        moved = layers.RandomTranslation(0.1, 0.1, fill_mode="nearest")(half)
        trunk = ConvNet(half.shape[1:], (8, 16, WIDTH), kernel_size=3, dense_units=())
        maps = keras.Model(trunk.input, trunk.get_layer("conv_2").output)(moved)
        return keras.Model(pixels, layers.SpatialDropout2D(DROPOUT)(maps), name="image_encoder")

    def speech():
        (samples,) = inputs["speech"].shape[1:]
        return AudioEncoder(
            samples,
            8000,
            fft_length=256,
            sequence_stride=256,
            num_mel_bins=32,
            blocks=(1, 1),
            widths=(16, WIDTH),
            norm="group",  # those without speech are no part of any statistics
            pooled=False,
        )

    make = {"caption": caption, "image": image, "speech": speech}
    return {modality: make[modality]() for modality in modalities}


def build(name: str, setting: Setting, stamps: data.Loaded) -> CrossModalFusion:
    """A new model."""
    return CrossModalFusion(
        stamps.inputs,
        stamps.tasks,
        encoders=encoders(setting.modalities, stamps.inputs),
        fusion=setting.fusion,
        projection_units=WIDTH,
        fusion_units=WIDTH,
        modality_dropout=setting.modality_dropout,
        alignment=setting.alignment,
        name=name.replace(", ", "_").replace(" ", "_"),
    )


def train_all(
    name: str, setting: Setting, divisions: Sequence[data.Loaded], progress: Progress
) -> Iterator[tuple[CrossModalFusion, Result, data.Loaded]]:
    """One model, trained anew on each division: tracing it takes longer than an epoch."""
    keras.utils.set_random_seed(0)
    with strategies.scope():
        model = build(name, setting, only(setting.modalities, divisions[0]))
        model.compile(keras.optimizers.Adam(_LEARNING_RATE.value))
    start = [keras.ops.convert_to_numpy(v) for v in model.optimizer.variables]
    for seed, division in enumerate(divisions):
        stamps = only(setting.modalities, division)
        keras.utils.set_random_seed(seed)
        begin(model.trained_variables, build(name, setting, stamps).trained_variables)
        begin(model.optimizer.variables, start)
        yield model, fit(model, stamps, epochs=_EPOCHS.value, seed=seed, progress=progress), stamps


def begin(variables: Sequence[Any], values: Sequence[Any]) -> None:
    """Give variables the values that they begin with."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


# --- Look --------------------------------------------------------------------------------------


def mean_score(model: CrossModalFusion, stamps: data.Loaded, missing: str | None) -> float:
    """The mean of the tasks' deciding metrics on the test data, which are all from 0 to 1."""
    logs = model.evaluate(without_modality(missing, stamps.test), return_dict=True, verbose=0)
    return float(np.mean([logs[f"{t.name}_{t.monitor}"] for t in model.tasks.values()]))


def share_found(model: CrossModalFusion, stamps: data.Loaded) -> float:
    """The share of the test captions whose own image is among the nearest."""
    joint = model.joint_representation(stamps.test.map(lambda x, y, weight: x))
    cosines = joint["caption"] @ joint["image"].T
    nearer = np.sum(cosines > np.diag(cosines)[:, None], axis=1)
    return float(np.mean(nearer < NEAREST))


def print_spread(title: str, values: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Print the mean and the standard deviation over the seeds, in percent."""
    columns = list(next(iter(values.values())))
    rows = [["%", *columns]]
    for name, found in values.items():
        cells = [100 * np.array(found[column]) for column in columns]
        spread = [f" ± {c.std(ddof=1):.1f}" if len(c) > 1 else "" for c in cells]
        means = [f"{c.mean():.1f}" for c in cells]
        rows.append([name, *(m + s for m, s in zip(means, spread, strict=True))])
    print(f"\n{title}")
    print_aligned(rows)


if __name__ == "__main__":
    strategies.run(main)
