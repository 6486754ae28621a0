"""Census-Income (KDD): three tasks on the data of the MMoE paper.

Answers of 299 285 people to the Current Population Surveys of 1994 and 1995, split by its
publishers into 199 523 training and 99 762 test rows. The package holds a random sample of 20 000
and 10 000 of them; the full data is prepared on demand.

Tasks:
  income         binary, income above 50 000 dollars (6.2 % of the rows)
  never_married  binary, never married (43.3 %)
  education      five ordered groups, from children to a bachelor's degree or higher

Inputs: 35 raw columns (28 categories, 7 quantities), or one preprocessed float tensor `features`.
Columns that state a label in words are left out. The instance weight is never an input.

Options of `load`: batch_size=256, seed=0, preprocessed=True, weighted=False, extra_columns=(),
num_bins=0, source="sample" or "full", and for the full data raw_files, data_dir, download=False.

Columns, leaks, licence and citation: README.md beside this file.
"""

from mtlzoo.data.census_income.loading import load, prepare, raw_rows

__all__ = ["load", "prepare", "raw_rows"]
