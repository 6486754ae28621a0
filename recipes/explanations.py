"""What do a model's answers rest on, task by task? And do the explanations depend on the model?

    python -m mtlzoo.data multi_fashion --download   # once
    python -m mtlzoo.data stamps --download          # once: 160.9 MB
    python -m recipes.explanations --out=runs/explanations

Trains `HardSharing` on Multi-Fashion, where one item stands further to the left and another, that
overlaps it, further to the right, and asks of every method of `mtlzoo.analysis.explain` how much of
each task's attribution lies in the right half of the picture. Puts the weights' numbers in a random
order and looks whether the maps change.

Trains `CrossModalFusion` on stamps, and asks by integrated gradients how much of each task's answer
comes from the caption, the image and the speech; compares that with what a task loses without each;
and lists the words that speak most for a sound.
"""

import dataclasses
import pathlib
from typing import Any

from absl import flags

from mtlzoo import CrossModalFusion, HardSharing, analysis, data
from mtlzoo.backbones import ConvNet
from mtlzoo.data.multi_fashion.original import CLASSES
from mtlzoo.data.pipeline import batches
from recipes.parts import comparison, explanation_pictures, fashion, job, stamps, strategies
from recipes.parts import explanation_measures as measures
from recipes.parts import explanation_report as report
from recipes.parts.rows import first_rows
from recipes.parts.stamps import MODALITIES, WIDTH
from recipes.parts.training import Progress

FLAGS = job.define_flags(
    out="runs/explanations",
    data_dir=None,
    epochs=(3, "Epochs on Multi-Fashion."),
    seed=(0, "Seed of weights, order and division."),
)
flags.DEFINE_integer("rows", 16_000, "Training pairs in an epoch.", lower_bound=1)
flags.DEFINE_integer("stamp_epochs", 15, "Epochs on stamps.", lower_bound=1)
flags.DEFINE_integer("explained", 100, "Test pictures to explain.", lower_bound=2)

METHODS = (
    *("integrated_gradients", "saliency", "smooth_grad"),
    *("grad_cam", "grad_cam_pp", "layer_cam", "score_cam"),
)
MODALITY_DROPOUT = 0.3
FEW = 24  # rows of the sanity test


def main(_) -> None:
    out = job.begin()
    found = {"fashion": explain_fashion(out), "stamps": explain_stamps(out)}
    job.end(out, found, *sorted(path.name for path in out.glob("*.png")))


def train(build: Any, loaded: data.Loaded, epochs: int, learning_rate: float) -> tuple:
    """A model at its best epoch, and how good it is."""
    settings = {"epochs": epochs, "learning_rate": learning_rate, "seed": FLAGS.seed}
    return comparison.train(build, loaded, progress=Progress(1, epochs), **settings)


# --- Pictures of clothes -----------------------------------------------------------------------


def explain_fashion(out: pathlib.Path) -> dict[str, Any]:
    """Train, explain by every method, test the methods, and write pictures to `out`."""
    loaded = fashion.load(FLAGS.seed, 64, FLAGS.rows, FLAGS.data_dir)

    def build():
        trunk = ConvNet((36, 36, 1), dense_units=(50,))
        return HardSharing(loaded.inputs, loaded.tasks, backbone=trunk)

    model, result = train(build, loaded, FLAGS.epochs, 2e-3)
    x, labels, _ = first_rows(loaded.test, FLAGS.explained)
    shares, alike = measures.in_right_half(model, x, METHODS)
    tests = measures.randomization_tests(model, x[:FEW], METHODS)
    print(f"\nTest accuracy: {', '.join(f'{t} {v:.3f}' for t, v in result.test.items())}")
    report.print_shares(shares, alike)
    report.print_tests(tests)
    classes = dict.fromkeys(model.task_names, CLASSES)
    few = {task: values[:4] for task, values in labels.items()}
    for method in ("grad_cam", "integrated_gradients", "layer_cam"):
        side = analysis.explain_tasks(model, x[:4], method=method, labels=few, classes=classes)
        side.figure().savefig(out / f"fashion_{method}.png")
        print(f"\n{side.words()}")
    explanation_pictures.shares_in_half(out / "fashion_shares.png", shares)
    explanation_pictures.sanity(out / "fashion_sanity.png", tests)
    return {
        "accuracy": result.test,
        "share_in_right_half": report.spreads(shares),
        "rank_correlation_of_tasks": alike,
        "rank_correlation_after_randomization": {
            m: {t: float(test.means[-1]) for t, test in of.items()} for m, of in tests.items()
        },
    }


# --- Stamps ------------------------------------------------------------------------------------


def explain_stamps(out: pathlib.Path) -> dict[str, Any]:
    """Train on captions, images and speech, explain all three, and write pictures to `out`."""
    raw = data.load("stamps", batch_size=10_000, data_seed=FLAGS.seed, data_dir=FLAGS.data_dir)
    known = raw.preprocessor.get_layer("words").get_vocabulary() if raw.preprocessor else []
    # Preprocessed once and not in every epoch.
    parts = {n: batches(*getattr(raw, n), 64, FLAGS.seed) for n in ("train", "valid", "test")}
    loaded = dataclasses.replace(raw, **parts)
    model, result = train(lambda: build(loaded), loaded, FLAGS.stamp_epochs, 3e-3)
    x, _, _ = first_rows(loaded.test, 10_000)
    words = [[known[i] if i < len(known) else str(i) for i in row if i] for row in x["caption"]]
    shares, lost, speaking = {}, {}, []
    for task in model.task_names:
        found = analysis.explain(model, task, x, names={"caption": words})
        shares[task] = {m: found.shares()[m] for m in MODALITIES}
        lost[task] = measures.losses_without(model, loaded.test, task)
        if task == "has_sound":
            found = analysis.explain(model, task, x, target=1, wrt="caption")
            speaking = report.ranked_words(words, found.attributions["caption"])
    report.print_modalities(shares, lost)
    report.print_words(speaking)
    explanation_pictures.modalities(out / "stamps_modalities.png", shares, lost)
    explanation_pictures.some_stamps(out, model, x, words)
    return {
        "test": result.test,
        "share": report.spreads(shares),
        "lost_without": lost,
        "words_for_a_sound": [[w, n, float(v)] for w, n, v in speaking],
    }


def build(loaded: data.Loaded) -> CrossModalFusion:
    """A new model of three encoders, all of which give tokens."""
    maps = stamps.image_maps(loaded.inputs)
    encoders = {
        "caption": stamps.caption_encoder(loaded.inputs),
        "image": stamps.dropped(*maps),
        "speech": stamps.speech_encoder(loaded.inputs),
    }
    units = {"projection_units": WIDTH, "fusion_units": WIDTH}
    options = {"encoders": encoders, "modality_dropout": MODALITY_DROPOUT, **units}
    return CrossModalFusion(loaded.inputs, loaded.tasks, **options)


if __name__ == "__main__":
    strategies.run(main)
