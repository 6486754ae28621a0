"""Smaller models: what may be cut away, what it costs, and what is left in words.

    python -m mtlzoo.data census_income --download
    python -m mtlzoo.data multi_fashion --download
    python -m recipes.simplification --out=runs/simplification

On Census-Income it trains an MMoE with more experts than it needs, and makes it smaller step by
step: without the experts that all gates leave idle, with half of the units, with kernels of low
rank, and with integers of eight bits, trained on for an epoch where something was cut. Beside them
stand eight bits and one task fewer alone. It prints parameters, bytes of files and of the
SavedModel, latency and metrics of the test data, from what size on eight bits make a SavedModel
smaller, and a decision tree that imitates the model on one task. On Multi-Fashion it sets more and
more weights of hard parameter sharing to zero, in the shared part or in the tasks' own parts, with
and without training on, and draws accuracy over sparsity. It writes `sizes.png`, `surrogate.png`,
`sparsity.png` and `results.json`.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

import mtlzoo as zoo
from mtlzoo import analysis, data
from mtlzoo.analysis import drawing
from mtlzoo.backbones import ConvNet
from mtlzoo.layers import SoftmaxGate
from mtlzoo.training import remove_task
from recipes import comparison, strategies
from recipes import fashion as fashion_data
from recipes.training import Progress, print_aligned

_OUT = flags.DEFINE_string("out", "runs/simplification", "Folder to write to.")
_SOURCE = flags.DEFINE_enum("source", "full", ["full", "sample"], "Census: all, or those embedded.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data is, if not in the cache.")
_SEED = flags.DEFINE_integer("seed", 0, "Of weights, dropout and the order of rows.")
_EPOCHS = flags.DEFINE_integer("epochs", 3, "Epochs before anything is cut.", lower_bound=1)
_TUNE_EPOCHS = flags.DEFINE_integer("tune_epochs", 1, "Epochs after each cut.", lower_bound=1)
_ROWS = flags.DEFINE_integer("rows", 6400, "Training pairs in an epoch of Multi-Fashion.")
_TEST_ROWS = flags.DEFINE_integer("test_rows", 2560, "Test pairs of Multi-Fashion at most.")
_CENSUS_BATCH = flags.DEFINE_integer("census_batch", 1024, "Rows in a batch of Census-Income.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Pairs in a batch of Multi-Fashion.")
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 2e-3, "Adam's; half of it after a cut.")
_TREE_ROWS = flags.DEFINE_integer("tree_rows", 20_000, "Rows that the tree sees.")

TASKS = ("income", "never_married")
SHAPE = (36, 36, 1)
SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98)
SCOPES = ("shared", "tasks")
WIDTHS = (32, 128, 512)  # of the layers that eight bits are measured on
IDLE, FRACTION, ENERGY = 0.05, 0.5, 0.9


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)  # TensorFlow warns of the tracing of several models
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    progress = Progress(5 + len(SPARSITIES) * len(SCOPES), 1)
    census = load_census()
    before = start(functools.partial(mixture, census), census, progress)
    table = analysis.compare_sizes(census_models(before, census, progress), census.test)
    tree = analysis.surrogate(before, TASKS[0], raw_rows(), max_depth=3, min_rows=50)
    print()
    print_aligned(table.rows())
    print(f"\n{table.words()}\n\n{tree.words()}\n", flush=True)
    by_width = eight_bits()
    print_aligned(by_width)
    fashion = load_fashion()
    dense = start(functools.partial(hard_sharing, fashion), fashion, progress)
    curves = pruning(dense, fashion, progress)

    print()
    print_aligned(curve_rows(curves))
    table.figure().savefig(out / "sizes.png")
    tree.figure().savefig(out / "surrogate.png")
    draw(curves).savefig(out / "sparsity.png")
    found: dict[str, Any] = {
        "census": {name: dataclasses.asdict(size) for name, size in table.models.items()},
        "eight_bits": by_width,
        "surrogate": {"fidelity": tree.fidelity, "rules": tree.rules()},
        "sparsity": curves,
    }
    comparison.write(out, found)
    print(f"\nWritten to {out}: sizes.png, surrogate.png, sparsity.png, results.json")


# --- Data and models ---------------------------------------------------------------------------


def load_census(**options: Any) -> data.Loaded:
    """Census-Income with two of its tasks."""
    if _SOURCE.value == "full":
        options["data_dir"] = _DATA_DIR.value
    options.setdefault("batch_size", _CENSUS_BATCH.value)
    loaded = data.load("census_income", source=_SOURCE.value, seed=_SEED.value, **options)
    return dataclasses.replace(loaded, tasks=[t for t in loaded.tasks if t.name in TASKS])


def raw_rows() -> dict[str, np.ndarray]:
    """Raw columns of rows that the tree learns from and is measured on."""
    raw = load_census(preprocessed=False, batch_size=_TREE_ROWS.value)
    columns, *_ = next(iter(raw.test))
    return {name: values.numpy() for name, values in columns.items()}


def load_fashion() -> data.Loaded:
    """Multi-Fashion with short epochs and some of the test data."""
    size = _BATCH_SIZE.value
    loaded = fashion_data.load(_SEED.value, size, _ROWS.value, _DATA_DIR.value)
    return dataclasses.replace(loaded, test=loaded.test.take(-(-_TEST_ROWS.value // size)).cache())


def mixture(census: data.Loaded) -> zoo.MultiTaskModel:
    """Eight experts, with gates that are to decide between them."""
    return zoo.MMoE(
        census.inputs,
        census.tasks,
        num_experts=8,
        expert_units=(32,),
        tower_units=(32,),
        gate=SoftmaxGate(entropy_weight=0.02),
        dropout=0.2,
        preprocessor=census.preprocessor,
        name="MMoE",
    )


def hard_sharing(fashion: data.Loaded) -> zoo.MultiTaskModel:
    """Convolutions and a layer that are shared, and a layer for each task."""
    return zoo.HardSharing(
        fashion.inputs,
        fashion.tasks,
        backbone=ConvNet(SHAPE, dense_units=(50,)),
        tower_units=(32,),
        name="HardSharing",
    )


def start(
    build: Callable[[], zoo.MultiTaskModel], loaded: data.Loaded, progress: Progress
) -> zoo.MultiTaskModel:
    """A trained model, before anything is cut."""
    keras.utils.set_random_seed(_SEED.value)
    with strategies.scope():
        model = build()
    return trained(model, loaded, _EPOCHS.value, _LEARNING_RATE.value, progress)


def trained(
    model: zoo.MultiTaskModel,
    loaded: data.Loaded,
    epochs: int,
    rate: float,
    progress: Progress,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> zoo.MultiTaskModel:
    """The model, trained in place; the learning rate falls to 0."""
    with strategies.scope():
        steps = epochs * int(loaded.train.cardinality())
        schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
        # Many short trainings, for each of which XLA would compile anew.
        model.compile(keras.optimizers.Adam(schedule), jit_compile=False)
    rows = comparison.labels_of(model, loaded.train)
    model.fit(rows, epochs=epochs, shuffle=False, callbacks=[*callbacks], verbose=0)
    progress.on_epoch_end(0)
    return model


# --- Census-Income: smaller step by step -------------------------------------------------------


def census_models(
    before: zoo.MultiTaskModel, census: data.Loaded, progress: Progress
) -> dict[str, zoo.MultiTaskModel]:
    """The models of the table, by name."""

    def tuned(model):
        return trained(model, census, _TUNE_EPOCHS.value, _LEARNING_RATE.value / 2, progress)

    rows = next(iter(census.valid.unbatch().batch(5000)))[0]
    experts = analysis.remove_idle_experts(before, rows, IDLE)
    units = tuned(analysis.prune_units(experts, FRACTION))
    low_rank = tuned(analysis.factorize(units, energy=ENERGY))
    return {
        "before": before,
        "1. no idle experts": experts,
        "2. half of the units": units,
        "3. low rank": low_rank,
        "4. int8": analysis.quantize(low_rank),
        "80 % zeros": tuned_with_zeros(before, census, progress),
        "int8 alone": analysis.quantize(before),
        f"without {TASKS[1]}": remove_task(before, TASKS[1]),
    }


def tuned_with_zeros(
    before: zoo.MultiTaskModel, census: data.Loaded, progress: Progress
) -> zoo.MultiTaskModel:
    """A fifth of the weights, and zeros in place of the others."""
    model = analysis.prune_weights(before, 0.8)
    rate = _LEARNING_RATE.value / 2
    return trained(model, census, _TUNE_EPOCHS.value, rate, progress, [analysis.KeepZeros()])


def eight_bits() -> list[list[str]]:
    """The SavedModels of narrow and wide layers, as floats and in eight bits; untrained."""
    rows = np.zeros((2, 16), "float32")
    labels = {"click": np.array([[0], [1]]), "stay": rows[:, :1]}
    batches = tf.data.Dataset.from_tensor_slices((rows, labels)).batch(2)
    table = [["two shared layers of", "parameters", "floats, kB", "int8, kB"]]
    for width in WIDTHS:
        tasks = [zoo.BinaryClassification("click"), zoo.Regression("stay")]
        model = zoo.HardSharing(
            keras.Input((16,)), tasks, shared_units=(width, width), tower_units=()
        )
        both = {"floats": model, "int8": analysis.quantize(model)}
        sizes = analysis.compare_sizes(both, batches, batch_sizes=(1,), repeats=1)
        kilobytes = [f"{sizes[name].saved_model_bytes / 1000:,.0f}" for name in both]
        table.append([f"{width} units", f"{model.count_params():,}", *kilobytes])
    return table


# --- Multi-Fashion: accuracy over sparsity -----------------------------------------------------


def pruning(
    dense: zoo.MultiTaskModel, fashion: data.Loaded, progress: Progress
) -> dict[str, dict[str, Any]]:
    """By scope and task the accuracies over sparsities, before and after training on."""
    start = accuracies(dense, fashion)
    found: dict[str, dict[str, Any]] = {"dense": start}
    for scope in SCOPES:
        curve: dict[str, Any] = {"sparsities": list(SPARSITIES), "pruned": [], "tuned": []}
        for sparsity in SPARSITIES:
            model = analysis.prune_weights(dense, sparsity, scope=scope)
            model.compile("sgd", jit_compile=False)
            curve["pruned"].append(accuracies(model, fashion))
            rate, zeros = _LEARNING_RATE.value / 2, analysis.KeepZeros(scope)
            trained(model, fashion, _TUNE_EPOCHS.value, rate, progress, [zeros])
            curve["tuned"].append(accuracies(model, fashion))
            left = analysis.sparsity_of(model, scope)
            progress.finish(
                f"{scope}, {left:.1%} zeros: "
                + ", ".join(f"{t} {v:.4f}" for t, v in curve["tuned"][-1].items())
            )
        found[scope] = curve
    return found


def accuracies(model: zoo.MultiTaskModel, fashion: data.Loaded) -> dict[str, float]:
    """By task, on the test data."""
    logs = model.evaluate(comparison.labels_of(model, fashion.test), return_dict=True, verbose=0)
    return {name: float(logs[f"{name}_accuracy"]) for name in model.task_names}


def curve_rows(curves: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The curves as a table."""
    rows = [["zeros", "task", "0 %", *(f"{s:.0%}" for s in SPARSITIES)]]
    for scope in SCOPES:
        for way in ("pruned", "tuned"):
            for task, value in curves["dense"].items():
                values = [each[task] for each in curves[scope][way]]
                cells = [f"{v:.4f}" for v in (value, *values)]
                rows.append([f"{scope}, {way}", task, *cells])
    return rows


def draw(curves: dict[str, dict[str, Any]]) -> Any:
    """Accuracy over sparsity, a panel for each task."""
    tasks = list(curves["dense"])
    figure = drawing.new_figure(9, 4.2)
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for panel, task in zip(panels, tasks, strict=True):
        panel.axhline(curves["dense"][task], color="grey", linewidth=1, label="nothing cut")
        for i, scope in enumerate(SCOPES):
            style = {"color": drawing.COLOURS[i], "marker": drawing.MARKERS[i], "markersize": 5}
            for way, line in (("pruned", ":"), ("tuned", "-")):
                values = [each[task] for each in curves[scope][way]]
                label = f"{scope}, {'trained on' if way == 'tuned' else 'only cut'}"
                panel.plot(100 * np.array(SPARSITIES), values, line, label=label, **style)
        panel.set_title(task)
        panel.set_xlabel("weights that are zero, % of the scope")
    panels[0].set_ylabel("accuracy on test data")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle("Accuracy of each task over sparsity, Multi-Fashion")
    return figure


if __name__ == "__main__":
    strategies.run(main)
