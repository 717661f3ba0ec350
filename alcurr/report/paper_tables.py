"""The tables of the paper, next to ours.

"Data Sampling Algorithms for Active Learning", Mantica and Hellerstein. Its
numbers are in the config, as `paper`: see configs/paper.py.
"""

import pathlib
from collections.abc import Mapping

import pandas as pd

from alcurr.report import tables

# (field of config.paper, title)
TABLES = (
  ("table_1", "Table I of the paper: batch 512"),
  ("table_2", "Table II of the paper: batch 32"),
)
TEXT = (
  "The paper's numbers are means of three trials on the same 1,000 validation "
  "images, with a binomial standard error of about 0.95 points each."
)


def paper_table(
  workdir: pathlib.Path, summary: pd.DataFrame, numbers: Mapping[str, float]
) -> pd.DataFrame:
  """Returns the rows of summary.csv that the paper has too, in its order.

  Args:
    workdir: of the experiment.
    summary: its summary.csv.
    numbers: the paper's top-3 in [0, 1] by sampler.

  Returns:
    The columns of summary.csv, the paper's as `paper_top3`, and `low` and
    `high`, the 95 % bounds of our mean over trials and test examples.
  """
  names = [name for name in numbers if name in set(summary["sampler"])]
  table = summary.set_index("sampler").loc[names].reset_index()
  intervals = [
    tables.paired_bootstrap(tables.per_example(workdir, name)["top3"])
    for name in names
  ]
  return table.assign(
    paper_top3=[numbers[name] for name in names],
    low=[interval.low for interval in intervals],
    high=[interval.high for interval in intervals],
  )
