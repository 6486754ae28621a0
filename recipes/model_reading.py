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

import json
import pathlib
from typing import Any

import keras
import numpy as np
from absl import flags, logging

from mtlzoo import MTAN, PLE, CrossStitch, MMoE, MultiTaskModel, analysis, data
from mtlzoo.backbones import ConvNet
from recipes import fashion as fashion_data
from recipes import strategies
from recipes.training import Progress, print_aligned

_OUT = flags.DEFINE_string("out", "runs/model_reading", "Folder to write to.")
_PARTS = flags.DEFINE_list("parts", ["census", "fashion"], "Which data sets.")
_SOURCE = flags.DEFINE_enum("source", "full", ["full", "sample"], "Census rows: all, or embedded.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data is, if not in the cache.")
_EPOCHS = flags.DEFINE_integer("epochs", 3, "Epochs on the census.", lower_bound=1)
_PAIRS = flags.DEFINE_integer("pairs", 16_000, "Pairs of clothes to train on, once.", lower_bound=1)
_ROWS = flags.DEFINE_integer("rows", 5000, "Test rows that are read.", lower_bound=4)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Permutations of each group.", lower_bound=3)
_EXPLAINED = flags.DEFINE_integer(
    "explained", 60, "Rows that SHAP explains, by half as many others; 0 for none."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of weights, dropout and permutations.")

# Columns that say much the same, together.
GROUPS = {
    "age": ["age"],
    "sex": ["sex"],
    "job": [
        *("class_of_worker", "detailed_industry_recode", "detailed_occupation_recode"),
        *("major_industry_code", "major_occupation_code", "own_business_or_self_employed"),
        *("num_persons_worked_for_employer", "member_of_a_labor_union"),
    ],
    "hours and pay": [
        *("wage_per_hour", "weeks_worked_in_year", "full_or_part_time_employment_stat"),
        "reason_for_unemployment",
    ],
    "capital": ["capital_gains", "capital_losses", "dividends_from_stocks"],
    "family": ["family_members_under_18"],
    "at school": ["enroll_in_edu_inst_last_wk"],
    "origin": [
        *("race", "hispanic_origin", "citizenship", "country_of_birth_self"),
        *("country_of_birth_father", "country_of_birth_mother"),
    ],
    "residence": [
        *("region_of_previous_residence", "state_of_previous_residence"),
        *("live_in_this_house_1_year_ago", "migration_prev_res_in_sunbelt"),
        *("migration_code_change_in_msa", "migration_code_change_in_reg"),
        "migration_code_move_within_reg",
    ],
    "veteran": ["fill_inc_questionnaire_for_veterans_admin", "veterans_benefits"],
    "year": ["year"],
}
SHAPE, UNITS = (36, 36, 1), (50,)


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)  # TensorFlow warns of the tracing of several models
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    if "census" in _PARTS.value:
        found |= read_census()
    if "fashion" in _PARTS.value:
        found |= read_fashion()
    for name, finding in found.items():
        print(f"\n{name}: {finding.title}\n{finding.words()}")
        finding.figure().savefig(out / f"{name}.png")
    report = {name: {"words": f.words(), "rows": f.rows()} for name, f in found.items()}
    (out / "results.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nWritten to {out}: {', '.join(f'{name}.png' for name in found)}, results.json")


# --- Census-Income -----------------------------------------------------------------------------


def read_census() -> dict[str, Any]:
    """The findings on the census, by the name of their picture."""
    options: dict[str, Any] = {"source": _SOURCE.value, "batch_size": 1024, "seed": _SEED.value}
    if _SOURCE.value == "full":
        options["data_dir"] = _DATA_DIR.value
    census = data.load("census_income", **options)
    raw = data.load("census_income", preprocessed=False, **options)
    x, y, _ = rows_of(raw.test, _ROWS.value)
    read = census.preprocessor({name: keras.ops.convert_to_tensor(v) for name, v in x.items()})
    experts = {"expert_units": (32,), "tower_units": (32,), "dropout": 0.1}
    given = {"preprocessor": census.preprocessor, **experts}
    keras.utils.set_random_seed(_SEED.value)
    with strategies.scope():
        models = {
            "mmoe": MMoE(census.inputs, census.tasks, num_experts=4, name="MMoE", **given),
            "ple": PLE(census.inputs, census.tasks, num_task_experts=1, name="PLE", **given),
        }
    found: dict[str, Any] = {}
    for name, model in models.items():
        history = train(model, census.train, _EPOCHS.value)
        tables = analysis.read_attention(model, read)
        compare(model.name, tables, history)
        found |= {f"{name}_{table.place or 'gates'}": table for table in tables}
    importance = analysis.permutation_importance(
        models["mmoe"], x, y, groups=GROUPS, repeats=_REPEATS.value, seed=_SEED.value
    )
    print(f"\n{importance.similarity().words()}")
    found["importance"] = importance
    if _EXPLAINED.value:
        known, _, _ = rows_of(raw.train, _EXPLAINED.value // 2)
        shown = {name: column[: _EXPLAINED.value] for name, column in x.items()}
        found["shap_income"] = analysis.shap_values(
            models["mmoe"], "income", known, shown, groups=GROUPS, seed=_SEED.value
        )
    return found


def rows_of(part: Any, count: int) -> tuple[Any, Any, Any]:
    """The first rows of a data set, as arrays."""
    (element,) = part.unbatch().batch(count).take(1)
    return keras.tree.map_structure(np.asarray, element)


def train(model: MultiTaskModel, part: Any, epochs: int) -> analysis.GramianHistory:
    """Train with equal weights, and measure the gradients of every tenth step."""
    with strategies.scope():
        model.compile(keras.optimizers.Adam(2e-3), track_gramian="shared")
    history, progress = analysis.GramianHistory(), Progress(1, epochs)
    model.fit(part, epochs=epochs, verbose=0, callbacks=[history, progress])
    progress.finish(f"{model.name} trained")
    return history


def compare(name: str, tables: list, history: analysis.GramianHistory) -> None:
    """Print for each pair of tasks how alike they read and what their gradients say.

    Args:
        name: that of the model.
        tables: what was read from it.
        history: what training measured.
    """
    cosines = history.matrix("cosine")
    matrices = {t.place or "gates": t.similarity() for t in tables if len(t.tasks) > 1}
    pairs = [(a, b) for i, a in enumerate(cosines.names) for b in cosines.names[i + 1 :]]
    lines = [[f"{name}: likeness", *(f"{a} and {b}" for a, b in pairs), "agreement"]]
    for place, matrix in matrices.items():
        agreement = f"{matrix.agreement(cosines):.2f}" if len(pairs) > 1 else "-"
        lines.append([place, *(f"{matrix[pair]:.3f}" for pair in pairs), agreement])
    lines.append(["cosine of the gradients", *(f"{cosines[pair]:.3f}" for pair in pairs), ""])
    print()
    print_aligned(lines)


# --- Multi-Fashion -----------------------------------------------------------------------------


def read_fashion() -> dict[str, Any]:
    """The findings on pairs of clothes, by the name of their picture."""
    keras.utils.set_random_seed(_SEED.value)
    fashion = fashion_data.load(_SEED.value, 64, _PAIRS.value, _DATA_DIR.value)
    pictures, _, _ = rows_of(fashion.test, min(_ROWS.value, 500))
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
    found: dict[str, Any] = {}
    for name, model in models.items():
        history = train(model, fashion.train, 1)
        tables = analysis.read_attention(model, pictures)
        compare(model.name, tables, history)
        found |= {f"{name}_{table.place}": table for table in tables}
    return found


if __name__ == "__main__":
    strategies.run(main)
