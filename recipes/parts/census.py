"""Census-Income as recipes take it: all rows, or those that the package has."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from mtlzoo import data

#: Columns that say much the same, together.
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


def load(
    source: str, data_dir: str | None, tasks: Sequence[str] | None = None, **options: Any
) -> data.Loaded:
    """The data set.

    Args:
        source: `"full"`, or `"sample"` for the rows that the package has.
        data_dir: where the full data is prepared, if not in the cache.
        tasks: those that are wanted. Defaults to all.
        **options: further ones of `data.load`.
    """
    if source == "full":
        options["data_dir"] = data_dir
    loaded = data.load("census_income", source=source, **options)
    wanted = [task for task in loaded.tasks if tasks is None or task.name in tasks]
    return dataclasses.replace(loaded, tasks=wanted)
