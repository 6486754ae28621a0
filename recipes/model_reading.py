"""What trained models let one read: gates, stitches and masks, and what each task depends on.

    python -m mtlzoo.data census_income --download   # once: 9 MB
    python -m mtlzoo.data multi_fashion --download   # once: 31 MB
    python -m recipes.model_reading --out=runs/model_reading

Trains MMoE and PLE on the three tasks of Census-Income, and MTAN and a cross-stitch network on
Multi-Fashion. Reads from each how much its tasks use of which expert, channel or column, how alike
they are in that, and what has collapsed; compares this likeness with the cosines of the gradients
that training measured. Then permutes groups of the raw census columns to see which of them each
task of MMoE depends on, and explains single answers on one task by SHAP values (needs shap). All
readings are of test rows. Prints the findings in words and draws a picture of each.
"""

from collections.abc import Mapping
from typing import Any

import keras
from absl import flags, logging

from mtlzoo import MTAN, PLE, CrossStitch, MMoE, MultiTaskModel, analysis
from mtlzoo.backbones import ConvNet
from recipes.parts import census as census_data
from recipes.parts import fashion as fashion_data
from recipes.parts import job, strategies
from recipes.parts.census import GROUPS
from recipes.parts.model_reading_report import print_likeness
from recipes.parts.rows import first_rows
from recipes.parts.training import Progress

FLAGS = job.define_flags(
    out="runs/model_reading",
    source="full",
    data_dir=None,
    epochs=(3, "Epochs on the census."),
    seed=(0, "Of weights, dropout and permutations."),
)
flags.DEFINE_list("parts", ["census", "fashion"], "Which data sets.")
flags.DEFINE_integer("pairs", 16_000, "Pairs of clothes to train on, once.", lower_bound=1)
flags.DEFINE_integer("rows", 5000, "Test rows that are read.", lower_bound=4)
flags.DEFINE_integer("repeats", 5, "Permutations of each group.", lower_bound=3)
flags.DEFINE_integer(
    "explained", 60, "Rows that SHAP explains, by half as many others; 0 for none."
)

SHAPE, UNITS = (36, 36, 1), (50,)


def main(_) -> None:
    out = job.begin(logging.ERROR)  # TensorFlow warns of the tracing of several models
    found: dict[str, Any] = {}
    if "census" in FLAGS.parts:
        found |= read_census()
    if "fashion" in FLAGS.parts:
        found |= read_fashion()
    for name, finding in found.items():
        print(f"\n{name}: {finding.title}\n{finding.words()}")
        finding.figure().savefig(out / f"{name}.png")
    report = {name: {"words": f.words(), "rows": f.rows()} for name, f in found.items()}
    job.end(out, report, *(f"{name}.png" for name in found))


def read_census() -> dict[str, Any]:
    """The findings on the census, by the name of their picture."""
    options: dict[str, Any] = {"batch_size": 1024, "seed": FLAGS.seed}
    census = census_data.load(FLAGS.source, FLAGS.data_dir, **options)
    raw = census_data.load(FLAGS.source, FLAGS.data_dir, preprocessed=False, **options)
    x, y, _ = first_rows(raw.test, FLAGS.rows)
    read = census.preprocessor({name: keras.ops.convert_to_tensor(v) for name, v in x.items()})
    experts = {"expert_units": (32,), "tower_units": (32,), "dropout": 0.1}
    given = {"preprocessor": census.preprocessor, **experts}
    keras.utils.set_random_seed(FLAGS.seed)
    with strategies.scope():
        models = {
            "mmoe": MMoE(census.inputs, census.tasks, num_experts=4, name="MMoE", **given),
            "ple": PLE(census.inputs, census.tasks, num_task_experts=1, name="PLE", **given),
        }
    found = read_models(models, census.train, read, FLAGS.epochs)
    importance = analysis.permutation_importance(
        models["mmoe"], x, y, groups=GROUPS, repeats=FLAGS.repeats, seed=FLAGS.seed
    )
    print(f"\n{importance.similarity().words()}")
    found["importance"] = importance
    if FLAGS.explained:
        known, _, _ = first_rows(raw.train, FLAGS.explained // 2)
        shown = {name: column[: FLAGS.explained] for name, column in x.items()}
        found["shap_income"] = analysis.shap_values(
            models["mmoe"], "income", known, shown, groups=GROUPS, seed=FLAGS.seed
        )
    return found


def read_fashion() -> dict[str, Any]:
    """The findings on pairs of clothes, by the name of their picture."""
    keras.utils.set_random_seed(FLAGS.seed)
    fashion = fashion_data.load(FLAGS.seed, 64, FLAGS.pairs, FLAGS.data_dir)
    pictures, _, _ = first_rows(fashion.test, min(FLAGS.rows, 500))
    with strategies.scope():
        models: dict[str, MultiTaskModel] = {
            name: architecture(
                fashion.inputs,
                fashion.tasks,
                backbone=ConvNet(SHAPE, dense_units=UNITS),
                name=architecture.__name__,
            )
            for name, architecture in {"mtan": MTAN, "cross_stitch": CrossStitch}.items()
        }
    return read_models(models, fashion.train, pictures, epochs=1)


def read_models(
    models: Mapping[str, MultiTaskModel], part: Any, rows: Any, epochs: int
) -> dict[str, Any]:
    """Train each model, and read from it what its tasks use for some rows."""
    found: dict[str, Any] = {}
    for name, model in models.items():
        history = train(model, part, epochs)
        tables = analysis.read_attention(model, rows)
        print_likeness(model.name, tables, history)
        found |= {f"{name}_{table.place or 'gates'}": table for table in tables}
    return found


def train(model: MultiTaskModel, part: Any, epochs: int) -> analysis.GramianHistory:
    """Train with equal weights, and measure the gradients of every tenth step."""
    with strategies.scope():
        model.compile(keras.optimizers.Adam(2e-3), track_gramian="shared")
    history, progress = analysis.GramianHistory(), Progress(1, epochs)
    model.fit(part, epochs=epochs, verbose=0, callbacks=[history, progress])
    progress.finish(f"{model.name} trained")
    return history


if __name__ == "__main__":
    strategies.run(main)
