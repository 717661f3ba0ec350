"""The tables of "Data Sampling Algorithms for Active Learning", beside ours.

Mantica and Hellerstein; mean top-3 accuracy of three trials on 1,000
validation drawings of 30 classes, 500,000 examples seen.
"""

import pathlib

import numpy as np
import pandas as pd

from alcurr.core import files
from alcurr.report import tables

# Top-3 by the sampler's name in configs/paper.py.
TABLE_1 = {
  "uniform": 0.8983,
  "bandit": 0.8947,
  "exp_decay": 0.8927,
  "class_reweighting": 0.8810,
  "bucketed_curriculum": 0.8503,
  "curriculum": 0.8450,
  "full_exploration": 0.8367,
}
TABLE_2 = {"bandit_32": 0.9367, "uniform_32": 0.9140}

# (stem, title, the paper's numbers)
TABLES = (
  ("paper_table_1", "Table I of the paper: batch 512", TABLE_1),
  ("paper_table_2", "Table II of the paper: batch 32", TABLE_2),
)

STANDING = (
  "The paper's numbers are means of three trials on the same 1,000 validation "
  "images, with a binomial standard error of about 0.95 points each."
)


def paper_table(
  workdir: pathlib.Path, summary: pd.DataFrame, numbers: dict[str, float]
) -> pd.DataFrame | None:
  """One of the paper's tables with this experiment's numbers beside it.

  Args:
    workdir: of the experiment.
    summary: its summary.csv.
    numbers: the paper's top-3 by sampler.

  Returns:
    A row per sampler that both have, in the paper's order; top-3 accuracies
    in [0, 1]. `low` and `high` bound the mean at 95 %, over trials and test
    examples; `difference` is to the sampler's baseline, NaN for one itself.
    None where the experiment has no such sampler, or its config does not say
    that it has the paper's protocol (`paper`).
  """
  if not files.read_json(workdir / "config.json").get("paper"):
    return None
  ours = summary.set_index("sampler")
  rows = []
  for name, number in numbers.items():
    if name not in ours.index:
      continue
    row = ours.loc[name]
    right = tables.per_example(workdir, name)["top3"]
    interval = tables.paired_bootstrap(right)
    rows.append(
      {
        "sampler": name,
        "paper_top3": number,
        "top3": row["top3"],
        "top3_variance": row["top3_std"] ** 2,
        "batch_size": row["batch_size"],
        "trials": row["trials"],
        "trials_wrong": row.get("trials_wrong", 0),
        "test_examples": row["test_examples"],
        "low": interval.low,
        "high": interval.high,
        "difference": row.get("top3_difference", np.nan),
        "difference_low": row.get("top3_low", np.nan),
        "difference_high": row.get("top3_high", np.nan),
      }
    )
  return pd.DataFrame(rows) if rows else None
