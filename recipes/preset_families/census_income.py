"""Presets of the embedded sample of Census-Income."""

import keras
import numpy as np

from mtlzoo import PLE, CrossStitch, HardSharing, MMoE, data
from mtlzoo.data.census_income.loading import read_sample
from recipes.preset_families import Family, Planned

# The settings of `recipes/quickstart.py`, where they were chosen on the validation data. Right
# after the inputs, where nearly all parameters are, every network has 256 units or about as many
# in all experts or columns.
UNITS, EXPERT_UNITS, TOWER, DROPOUT = 256, (64,), (32,), 0.4
TASKS, NUM_EXPERTS = 3, 6


def groups(census: data.Loaded) -> dict[str, np.ndarray]:
    """By column the group of each test row."""
    columns = read_sample("test")
    return {name: columns[name].astype(str) for name in ("sex", "race")}


def model(cls, **arguments):
    """What builds a model of all tasks with the dropout of all networks."""

    def build(census: data.Loaded):
        return cls(
            census.inputs,
            census.tasks,
            dropout=DROPOUT,
            preprocessor=census.preprocessor,
            **arguments,
        )

    return build


FAMILY = Family(
    data_set="census_income",
    load={"batch_size": 256},
    data=(
        "Census-Income (KDD): answers to the Current Population Surveys of 1994 and 1995 of the US "
        "Census Bureau. The sample in the package, 20,000 of the 199,523 official training rows "
        "(about a fifth of them for validation) and 10,000 of the 99,762 official test rows; 35 "
        "columns, without those that state a label in words."
    ),
    licence=(
        "the data is reported to be under CC BY 4.0 at the UCI repository (DOI 10.24432/C5N30T); "
        "the weights are under that of this package, Apache-2.0"
    ),
    split="the 10,000 test rows of the sample",
    models={
        "hard_sharing_census_income": Planned(
            title="Hard parameter sharing on Census-Income",
            build=model(HardSharing, shared_units=(UNITS,), tower_units=TOWER, name="hard_sharing"),
        ),
        "mmoe_census_income": Planned(
            title="MMoE on Census-Income",
            build=model(
                MMoE,
                num_experts=NUM_EXPERTS,
                expert_units=EXPERT_UNITS,
                tower_units=TOWER,
                name="mmoe",
            ),
        ),
        "ple_census_income": Planned(
            title="PLE on Census-Income",
            build=model(
                PLE,
                num_shared_experts=NUM_EXPERTS - TASKS,
                num_task_experts=1,
                expert_units=EXPERT_UNITS,
                tower_units=TOWER,
                name="ple",
            ),
        ),
        "cross_stitch_census_income": Planned(
            title="A cross-stitch network on Census-Income",
            build=model(CrossStitch, units=(UNITS // TASKS, *TOWER), name="cross_stitch"),
        ),
    },
    single_task=lambda census, task: HardSharing(
        census.inputs,
        [task],
        shared_units=(UNITS,),
        tower_units=TOWER,
        dropout=DROPOUT,
        name=f"single_task_{task.name}",
    ),
    epochs=10,
    optimizer=lambda steps: keras.optimizers.Adam(1e-3),
    groups=groups,
    limits=[
        "Sex, race, origin and citizenship are among the inputs: answers differ by them, and "
        "copy what was so in 1994 and 1995, unequal pay for one. The metrics by group above "
        "show where the model is worse. An AUC rests on the rarer class, and there is a dash where "
        "that has fewer than ten rows: 4 of 115 and 5 of 206 people of two races have a high "
        "income. With 15 and 30 of them, as in two others, it says little.",
        "It shows methods and must not decide about anybody.",
        "The rows are of the United States in 1994 and 1995; incomes are not adjusted to today.",
        "It was trained on a tenth of the data, unweighted: the probabilities are those of the "
        "sample, not of the population, and they are not calibrated.",
        "Whoever is below 15 has the education class `children` and is nearly always unmarried, "
        "so that these two metrics owe much to the age alone.",
    ],
)
