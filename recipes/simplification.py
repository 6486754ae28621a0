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
from collections.abc import Callable
from typing import Any

import keras
from absl import flags, logging

import mtlzoo as zoo
from mtlzoo import analysis, data
from mtlzoo.layers import SoftmaxGate
from mtlzoo.training import remove_task
from recipes.parts import census as census_data
from recipes.parts import eight_bits, job, sparsity, strategies
from recipes.parts import fashion as fashion_data
from recipes.parts.rows import first_rows
from recipes.parts.tables import print_aligned
from recipes.parts.training import Progress

FLAGS = job.define_flags(
    out="runs/simplification",
    source=("full", "Census: all, or those embedded."),
    data_dir=None,
    seed=(0, "Of weights, dropout and the order of rows."),
    epochs=(3, "Epochs before anything is cut."),
    batch_size=(64, "Pairs in a batch of Multi-Fashion."),
    learning_rate=(2e-3, "Adam's; half of it after a cut."),
)
flags.DEFINE_integer("tune_epochs", 1, "Epochs after each cut.", lower_bound=1)
flags.DEFINE_integer("rows", 6400, "Training pairs in an epoch of Multi-Fashion.")
flags.DEFINE_integer("test_rows", 2560, "Test pairs of Multi-Fashion at most.")
flags.DEFINE_integer("census_batch", 1024, "Rows in a batch of Census-Income.")
flags.DEFINE_integer("tree_rows", 20_000, "Rows that the tree sees.")

TASKS = ("income", "never_married")
SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98)
WIDTHS = (32, 128, 512)  # of the layers that eight bits are measured on


def main(_) -> None:
    out = job.begin(logging.ERROR)  # TensorFlow warns of the tracing of several models
    progress = Progress(5 + len(SPARSITIES) * len(sparsity.SCOPES), 1)
    census = load_census()
    before = start(mixture, census, progress)
    tune = functools.partial(trained, tuning=True, progress=progress)
    models = census_models(before, census, functools.partial(tune, census))
    table = analysis.compare_sizes(models, census.test)
    raw, _, _ = first_rows(load_census(preprocessed=False).test, FLAGS.tree_rows)
    tree = analysis.surrogate(before, TASKS[0], raw, max_depth=3, min_rows=50)
    print()
    print_aligned(table.rows())
    print(f"\n{table.words()}\n\n{tree.words()}\n", flush=True)
    by_width = eight_bits.by_width(WIDTHS)
    print_aligned(by_width)
    fashion = fashion_data.load(
        FLAGS.seed, FLAGS.batch_size, FLAGS.rows, FLAGS.data_dir, test_rows=FLAGS.test_rows
    )
    dense = start(sparsity.network, fashion, progress)
    tune_pairs = functools.partial(tune, fashion)
    curves = sparsity.curves(dense, fashion, SPARSITIES, tune_pairs, progress)
    print()
    print_aligned(sparsity.rows(curves))
    table.figure().savefig(out / "sizes.png")
    tree.figure().savefig(out / "surrogate.png")
    sparsity.draw(curves).savefig(out / "sparsity.png")
    report = {
        "census": {name: dataclasses.asdict(size) for name, size in table.models.items()},
        "eight_bits": by_width,
        "surrogate": {"fidelity": tree.fidelity, "rules": tree.rules()},
        "sparsity": curves,
    }
    job.end(out, report, "sizes.png", "surrogate.png", "sparsity.png")


def load_census(**options: Any) -> data.Loaded:
    """Census-Income with two of its tasks."""
    options |= {"tasks": TASKS, "batch_size": FLAGS.census_batch, "seed": FLAGS.seed}
    return census_data.load(FLAGS.source, FLAGS.data_dir, **options)


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


def start(
    build: Callable[[data.Loaded], zoo.MultiTaskModel], loaded: data.Loaded, progress: Progress
) -> zoo.MultiTaskModel:
    """A trained model, before anything is cut."""
    keras.utils.set_random_seed(FLAGS.seed)
    with strategies.scope():
        model = build(loaded)
    return trained(loaded, model, progress=progress)


def trained(
    loaded: data.Loaded,
    model: zoo.MultiTaskModel,
    *callbacks: keras.callbacks.Callback,
    tuning: bool = False,
    progress: Progress,
) -> zoo.MultiTaskModel:
    """The model, trained in place; the learning rate falls to 0, and begins lower after a cut."""
    epochs = FLAGS.tune_epochs if tuning else FLAGS.epochs
    rate = FLAGS.learning_rate / 2 if tuning else FLAGS.learning_rate
    with strategies.scope():
        steps = epochs * int(loaded.train.cardinality())
        schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
        # Many short trainings, for each of which XLA would compile anew.
        model.compile(keras.optimizers.Adam(schedule), jit_compile=False)
    rows = data.labels_of(loaded.train, model.task_names)
    model.fit(rows, epochs=epochs, shuffle=False, callbacks=[*callbacks], verbose=0)
    progress.on_epoch_end(0)
    return model


def census_models(
    before: zoo.MultiTaskModel, census: data.Loaded, tuned: Callable[..., zoo.MultiTaskModel]
) -> dict[str, zoo.MultiTaskModel]:
    """The models of the table, by name; `tuned` trains one on."""
    rows, _, _ = first_rows(census.valid, 5000)
    experts = analysis.remove_idle_experts(before, rows, 0.05)
    units = tuned(analysis.prune_units(experts, 0.5))
    low_rank = tuned(analysis.factorize(units, energy=0.9))
    return {
        "before": before,
        "1. no idle experts": experts,
        "2. half of the units": units,
        "3. low rank": low_rank,
        "4. int8": analysis.quantize(low_rank),
        "80 % zeros": tuned(analysis.prune_weights(before, 0.8), analysis.KeepZeros()),
        "int8 alone": analysis.quantize(before),
        f"without {TASKS[1]}": remove_task(before, TASKS[1]),
    }


if __name__ == "__main__":
    strategies.run(main)
