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
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

from mtlzoo import CrossModalFusion, HardSharing, analysis, data
from mtlzoo.backbones import AudioEncoder, ConvNet, TextEncoder
from mtlzoo.data.multi_fashion.original import CLASSES
from mtlzoo.data.pipeline import batches
from mtlzoo.data.stamps.loading import CATEGORIES
from recipes import comparison, explanation_pictures, fashion, strategies
from recipes import explanation_report as report
from recipes.training import Progress, print_aligned

_OUT = flags.DEFINE_string("out", "runs/explanations", "Folder to write to.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data is, if not in the cache.")
_EPOCHS = flags.DEFINE_integer("epochs", 3, "Epochs on Multi-Fashion.", lower_bound=1)
_ROWS = flags.DEFINE_integer("rows", 16_000, "Training pairs in an epoch.", lower_bound=1)
_STAMP_EPOCHS = flags.DEFINE_integer("stamp_epochs", 15, "Epochs on stamps.", lower_bound=1)
_EXPLAINED = flags.DEFINE_integer("explained", 100, "Test pictures to explain.", lower_bound=2)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights, order and division.")

METHODS = (
    *("integrated_gradients", "saliency", "smooth_grad"),
    *("grad_cam", "grad_cam_pp", "layer_cam", "score_cam"),
)
MODALITIES = ("caption", "image", "speech")
WIDTH = 32  # of each modality, and of what they are fused into
DROPOUT, MODALITY_DROPOUT = 0.3, 0.3
VOCABULARY = 320  # no division has more words in two or more training captions
FEW = 24  # rows of the sanity test


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    found = {"fashion": explain_fashion(out), "stamps": explain_stamps(out)}
    comparison.write(out, found)
    print(f"\nWritten to {out}: {', '.join(sorted(p.name for p in out.iterdir()))}")


# --- Pictures of clothes -----------------------------------------------------------------------


def explain_fashion(out: pathlib.Path) -> dict[str, Any]:
    """Train, explain by every method, test the methods, and write pictures to `out`."""
    loaded = fashion.load(_SEED.value, 64, _ROWS.value, _DATA_DIR.value)
    model, result = comparison.train(
        lambda: HardSharing(
            loaded.inputs, loaded.tasks, backbone=ConvNet((36, 36, 1), dense_units=(50,))
        ),
        loaded,
        epochs=_EPOCHS.value,
        learning_rate=2e-3,
        seed=_SEED.value,
        progress=Progress(1, _EPOCHS.value),
    )
    x, labels, _ = next(iter(loaded.test.unbatch().batch(_EXPLAINED.value)))
    x = np.asarray(x)
    # The item of the right stands 8 pixels further to the right, and lower, than that of the left.
    half = np.zeros(x.shape[1:3], bool)
    half[:, half.shape[1] // 2 :] = True
    ink = np.asarray(x)[..., 0]
    of_ink = list((ink * half).sum((1, 2)) / ink.sum((1, 2)))
    shares = {"the picture itself": dict.fromkeys(model.task_names, of_ink)}
    alike = {}
    for method in METHODS:
        both = analysis.explain_tasks(model, x, method=method)
        shares[method] = {task: list(both[task].share(half)) for task in model.task_names}
        alike[method] = next(iter(both.overlap().values()))
    tests = {
        method: {
            task: analysis.randomization_test(model, task, x[:FEW], method=method)
            for task in model.task_names
        }
        for method in METHODS
    }
    print(f"\nTest accuracy: {', '.join(f'{t} {v:.3f}' for t, v in result.test.items())}")
    report.print_shares(shares, alike)
    report.print_tests(tests)
    classes = dict.fromkeys(model.task_names, CLASSES)
    few = {task: np.asarray(labels[task])[:4] for task in model.task_names}
    for method in ("grad_cam", "integrated_gradients", "layer_cam"):
        side = analysis.explain_tasks(model, x[:4], method=method, labels=few, classes=classes)
        side.figure().savefig(out / f"fashion_{method}.png")
        print(f"\n{side.words()}")
    explanation_pictures.shares_in_half(out / "fashion_shares.png", shares)
    explanation_pictures.sanity(
        out / "fashion_sanity.png",
        {m: {t: test.similarities[-1] for t, test in of.items()} for m, of in tests.items()},
    )
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
    stamps = data.load("stamps", batch_size=10_000, data_seed=_SEED.value, data_dir=_DATA_DIR.value)
    known = stamps.preprocessor.get_layer("words").get_vocabulary() if stamps.preprocessor else []
    # Preprocessed once and not in every epoch.
    parts = {n: batches(*getattr(stamps, n), 64, _SEED.value) for n in ("train", "valid", "test")}
    loaded = dataclasses.replace(stamps, **parts)
    model, result = comparison.train(
        lambda: build(loaded),
        loaded,
        epochs=_STAMP_EPOCHS.value,
        learning_rate=3e-3,
        seed=_SEED.value,
        progress=Progress(1, _STAMP_EPOCHS.value),
    )
    x, _, _ = next(iter(loaded.test.unbatch().batch(10_000)))
    x = {name: np.asarray(values) for name, values in x.items()}
    words = [[known[i] if i < len(known) else str(i) for i in row if i] for row in x["caption"]]
    shares, lost, speaking = {}, {}, []
    for task in model.task_names:
        found = analysis.explain(model, task, x, names={"caption": words})
        shares[task] = {m: found.shares()[m] for m in MODALITIES}
        lost[task] = losses_without(model, loaded.test, task)
        if task == "has_sound":
            found = analysis.explain(model, task, x, target=1, wrt="caption")
            speaking = report.ranked_words(words, found.attributions["caption"])
    report.print_modalities(shares, lost)
    rows = [["word", "captions", "mean attribution to `has_sound`"]]
    print()
    print_aligned(rows + [[word, str(n), f"{mean:+.2f}"] for word, n, mean in speaking])
    explanation_pictures.modalities(out / "stamps_modalities.png", shares, lost)
    draw_stamps(out, model, x, words)
    return {
        "test": result.test,
        "share": report.spreads(shares),
        "lost_without": lost,
        "words_for_a_sound": [[w, n, float(v)] for w, n, v in speaking],
    }


def build(stamps: data.Loaded) -> CrossModalFusion:
    """A new model of three encoders, all of which give tokens."""
    inputs = stamps.inputs
    shape = inputs["image"].shape[1:]
    pixels = keras.Input(shape)
    half = keras.layers.AveragePooling2D(2)(pixels)
    trunk = ConvNet(half.shape[1:], (8, 16, WIDTH), kernel_size=3, dense_units=())
    maps = keras.Model(trunk.input, trunk.get_layer("conv_2").output)(half)
    (words,), (samples,) = inputs["caption"].shape[1:], inputs["speech"].shape[1:]
    encoders = {
        "caption": TextEncoder(VOCABULARY, words, width=WIDTH, num_layers=1, dropout=DROPOUT),
        "image": keras.Model(pixels, keras.layers.SpatialDropout2D(DROPOUT)(maps)),
        "speech": AudioEncoder(
            samples,
            8000,
            fft_length=256,
            sequence_stride=256,
            num_mel_bins=32,
            blocks=(1, 1),
            widths=(16, WIDTH),
            norm="group",  # those without speech are no part of any statistics
            pooled=False,
        ),
    }
    return CrossModalFusion(
        inputs,
        stamps.tasks,
        encoders=encoders,
        projection_units=WIDTH,
        fusion_units=WIDTH,
        modality_dropout=MODALITY_DROPOUT,
    )


def losses_without(model: Any, test: tf.data.Dataset, task: str) -> dict[str, float]:
    """By modality, how much of the task's deciding metric is lost when it is declared missing."""
    metric = f"{task}_{model.tasks[task].monitor}"

    def score(missing):
        def remove(x, y, weight):
            absent = {key: tf.zeros_like(x[key]) for key in x if key == f"{missing}_present"}
            return x | absent, y, weight

        return model.evaluate(test.map(remove), return_dict=True, verbose=0)[metric]

    with_all = score(None)
    return {modality: float(with_all - score(modality)) for modality in MODALITIES}


def draw_stamps(out: pathlib.Path, model: Any, x: Mapping, words: list) -> None:
    """Draw what some stamps with all three modalities are explained by, for one task each."""
    there = np.all([x[f"{m}_present"] for m in MODALITIES], axis=0)
    few = np.flatnonzero(there)[:3] if there.any() else np.arange(min(3, len(there)))
    rows = {name: values[few] for name, values in x.items()}
    names = {"caption": [words[i] for i in few]}
    for task in model.task_names:
        classes = CATEGORIES if len(CATEGORIES) == model.output[task].shape[-1] else None
        options: dict[str, Any] = {"names": names, "classes": classes}
        found = analysis.explain(model, task, rows, wrt=["caption", "image"], **options)
        found.figure().savefig(out / f"stamps_{task}.png")
        found = analysis.explain(model, task, rows, layer="log_mel", classes=classes)
        found.figure().savefig(out / f"stamps_{task}_speech.png")


if __name__ == "__main__":
    strategies.run(main)
