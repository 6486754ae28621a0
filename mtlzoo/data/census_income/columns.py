"""The columns of the census files: what they are called, which are inputs, which are labels.

Every decision about a column is made here once. The measurements behind them stand in the
`README.md` of this package.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: The 42 columns in file order; the files have no header. Names follow `census-income.names`.
COLUMNS = (
    "age",
    "class_of_worker",
    "detailed_industry_recode",
    "detailed_occupation_recode",
    "education",
    "wage_per_hour",
    "enroll_in_edu_inst_last_wk",
    "marital_stat",
    "major_industry_code",
    "major_occupation_code",
    "race",
    "hispanic_origin",
    "sex",
    "member_of_a_labor_union",
    "reason_for_unemployment",
    "full_or_part_time_employment_stat",
    "capital_gains",
    "capital_losses",
    "dividends_from_stocks",
    "tax_filer_stat",
    "region_of_previous_residence",
    "state_of_previous_residence",
    "detailed_household_and_family_stat",
    "detailed_household_summary_in_household",
    "instance_weight",
    "migration_code_change_in_msa",
    "migration_code_change_in_reg",
    "migration_code_move_within_reg",
    "live_in_this_house_1_year_ago",
    "migration_prev_res_in_sunbelt",
    "num_persons_worked_for_employer",
    "family_members_under_18",
    "country_of_birth_father",
    "country_of_birth_mother",
    "country_of_birth_self",
    "citizenship",
    "own_business_or_self_employed",
    "fill_inc_questionnaire_for_veterans_admin",
    "veterans_benefits",
    "weeks_worked_in_year",
    "year",
    "income",
)

#: How many people a row stands for: a property of the survey, never an input.
WEIGHT = "instance_weight"

#: Dollars (and cents per hour): mostly zero with a long tail, so the logarithm is taken first.
MONEY = ("wage_per_hour", "capital_gains", "capital_losses", "dividends_from_stocks")

#: Quantities. Every other column is a category, also where its values look like numbers
#: (`detailed_industry_recode`, `own_business_or_self_employed`, `year` ... are codes).
NUMBERS = ("age", *MONEY, "num_persons_worked_for_employer", "weeks_worked_in_year")

#: The columns that the tasks' labels are made from.
LABELS = ("income", "marital_stat", "education")

#: Columns whose values say in words that a person is, or is not, never married.
LEAKS = (
    "detailed_household_and_family_stat",
    "detailed_household_summary_in_household",
    "tax_filer_stat",
)

#: What a model may see, in file order.
INPUTS = tuple(c for c in COLUMNS if c not in (*LABELS, *LEAKS, WEIGHT))
NUMBER_INPUTS = tuple(c for c in INPUTS if c in NUMBERS)
CATEGORY_INPUTS = tuple(c for c in INPUTS if c not in NUMBERS)

#: Columns left out of `INPUTS` that `load(extra_columns=...)` can add; all are categories.
EXTRA_COLUMNS = ("education", *LEAKS)

#: The five classes of the `education` task, lowest first, and the levels that each holds.
EDUCATION_GROUPS = {
    "children": ("Children",),
    "no high school diploma": (
        "Less than 1st grade",
        "1st 2nd 3rd or 4th grade",
        "5th or 6th grade",
        "7th and 8th grade",
        "9th grade",
        "10th grade",
        "11th grade",
        "12th grade no diploma",
    ),
    "high school graduate": ("High school graduate",),
    "some college or associate degree": (
        "Some college but no degree",
        "Associates degree-occup /vocational",
        "Associates degree-academic program",
    ),
    "bachelor's degree or higher": (
        "Bachelors degree(BA AB BS)",
        "Masters degree(MA MS MEng MEd MSW MBA)",
        "Prof school degree (MD DDS DVM LLB JD)",
        "Doctorate degree(PhD EdD)",
    ),
}

_EDUCATION = {
    level: group for group, levels in enumerate(EDUCATION_GROUPS.values()) for level in levels
}
_INCOME = {"- 50000.": 0, "50000+.": 1}  # the dot belongs to the files' label format
_MARITAL = {
    "Never married": 1,
    "Married-civilian spouse present": 0,
    "Married-A F spouse present": 0,
    "Married-spouse absent": 0,
    "Divorced": 0,
    "Separated": 0,
    "Widowed": 0,
}


def labels(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Make the labels of the three tasks from the raw columns.

    Args:
        columns: the raw columns by name, each of shape `(n,)`.

    Returns:
        By task name an `int32` array `(n,)`: `income` 1 above 50 000 dollars, `never_married`
        1 for a person never married, `education` 0 to 4 in the order of `EDUCATION_GROUPS`.

    Raises:
        ValueError: a label column holds a value that the files do not have.
    """
    return {
        "income": _codes(columns, "income", _INCOME),
        "never_married": _codes(columns, "marital_stat", _MARITAL),
        "education": _codes(columns, "education", _EDUCATION),
    }


def to_arrays(rows: list[list[str]], names: tuple[str, ...] = COLUMNS) -> dict[str, np.ndarray]:
    """Turn rows of text into one array per column.

    Args:
        rows: rows of text, one field per name.
        names: the columns' names in order. Defaults to `COLUMNS`.

    Returns:
        By column `float32` for the quantities and the weight, else `object` (Python strings,
        so that equal values share memory: the full data has millions of them).
    """
    known: dict[str, str] = {}
    arrays = {}
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        if name in NUMBERS or name == WEIGHT:
            arrays[name] = np.array([float(v) for v in values], "float32")
        else:
            arrays[name] = np.array([known.setdefault(v, v) for v in values], object)
    return arrays


def _codes(columns: Mapping[str, np.ndarray], name: str, table: Mapping[str, int]) -> np.ndarray:
    try:
        return np.array([table[value] for value in columns[name]], "int32")
    except KeyError as error:
        raise ValueError(
            f"Column `{name}` should hold one of {sorted(table)}. "
            f"Received: {name}={error.args[0]!r}"
        ) from None
