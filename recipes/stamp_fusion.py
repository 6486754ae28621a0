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
from collections.abc import Iterator, Sequence

import keras
import numpy as np
from absl import flags

from mtlzoo import CrossModalFusion, data
from recipes.parts import job, stamps, strategies
from recipes.parts.comparison import Result, fit
from recipes.parts.fusion_pictures import scores_without
from recipes.parts.stamps import MODALITIES, WIDTH, without_modality
from recipes.parts.tables import print_spreads, print_table, summarize
from recipes.parts.training import Progress, Restart

FUSIONS = ("concatenation", "gated", "low_rank", "cross_attention", "bottleneck")

FLAGS = job.define_flags(
    out="runs/stamp_fusion",
    data_dir=(None, "Where prepared data is kept."),
    seeds=3,
    epochs=15,
    batch_size=64,
    learning_rate=3e-3,
)
flags.DEFINE_list("fusions", [*FUSIONS], "The fusions to compare.")
flags.DEFINE_list(
    "dropped", ["concatenation", "gated", "cross_attention"], "Those to train with dropout too."
)
flags.DEFINE_list("aligned", ["gated"], "Those to train with alignment too.")

MODALITY_DROPOUT, ALIGNMENT = 0.3, 0.3
NEAREST = 5  # images of a caption


@dataclasses.dataclass(frozen=True)
class Setting:
    """One model of the comparison."""

    modalities: Sequence[str] = MODALITIES
    fusion: str = "concatenation"
    modality_dropout: float = 0.0
    alignment: float = 0.0


def main(_) -> None:
    out = job.begin()
    divisions = [stamps.load(seed, FLAGS.data_dir, FLAGS.batch_size) for seed in range(FLAGS.seeds)]
    progress = Progress(len(settings()) * len(divisions), FLAGS.epochs)
    results: dict[str, list[Result]] = {}
    without: dict[str, dict[str, list[float]]] = {}
    found: dict[str, list[float]] = {}
    for name, setting in settings().items():
        for model, result, division in train_all(name, setting, divisions, progress):
            results.setdefault(name, []).append(result)
            if len(setting.modalities) == 1:
                continue
            for missing in (None, *MODALITIES):
                key = f"without {missing}" if missing else "with all"
                score = mean_score(model, division, missing)
                without.setdefault(name, {}).setdefault(key, []).append(score)
            if setting.fusion in FLAGS.aligned and not setting.modality_dropout:
                found.setdefault(name, []).append(share_found(model, division))

    report = summarize(results, divisions[0].tasks)
    print_table(report)
    print("\nMean of the three metrics, with a modality removed at test time")
    print_spreads("%", without, digits=1, factor=100)
    chance = NEAREST / sum(len(y["category"]) for _, y, _ in divisions[0].test)
    shares = {name: {"share": values} for name, values in found.items()}
    print(f"\nTest captions with their own image among the {NEAREST} nearest")
    print_spreads("%", {"by chance": {"share": [chance]}} | shares, digits=1, factor=100)
    scores_without(out / "missing.png", without)
    report = {"models": report, "without": without, "retrieval": found}
    job.end(out, report, "missing.png")


def settings() -> dict[str, Setting]:
    """What is compared, by name."""
    named = {f"{modality} alone": Setting([modality]) for modality in MODALITIES}
    named |= {fusion: Setting(fusion=fusion) for fusion in FLAGS.fusions}
    for fusion in FLAGS.dropped:
        dropped = Setting(fusion=fusion, modality_dropout=MODALITY_DROPOUT)
        named[f"{fusion}, dropout"] = dropped
    for fusion in FLAGS.aligned:
        named[f"{fusion}, alignment"] = Setting(fusion=fusion, alignment=ALIGNMENT)
    return named


def build(name: str, setting: Setting, division: data.Loaded) -> CrossModalFusion:
    """A new model."""
    return CrossModalFusion(
        division.inputs,
        division.tasks,
        encoders=stamps.encoders(division.inputs, setting.modalities, moved=True),
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
        model = build(name, setting, stamps.only(setting.modalities, divisions[0]))
        model.compile(keras.optimizers.Adam(FLAGS.learning_rate))
    restart = Restart(model)
    for seed, whole in enumerate(divisions):
        division = stamps.only(setting.modalities, whole)
        keras.utils.set_random_seed(seed)
        restart.begin(build(name, setting, division))
        result = fit(model, division, epochs=FLAGS.epochs, seed=seed, progress=progress)
        yield model, result, division


def mean_score(model: CrossModalFusion, division: data.Loaded, missing: str | None) -> float:
    """The mean of the tasks' deciding metrics on the test data, which are all from 0 to 1."""
    logs = model.evaluate(without_modality(missing, division.test), return_dict=True, verbose=0)
    return float(np.mean([logs[f"{t.name}_{t.monitor}"] for t in model.tasks.values()]))


def share_found(model: CrossModalFusion, division: data.Loaded) -> float:
    """The share of the test captions whose own image is among the nearest."""
    joint = model.joint_representation(division.test.map(lambda x, y, weight: x))
    cosines = joint["caption"] @ joint["image"].T
    nearer = np.sum(cosines > np.diag(cosines)[:, None], axis=1)
    return float(np.mean(nearer < NEAREST))


if __name__ == "__main__":
    strategies.run(main)
