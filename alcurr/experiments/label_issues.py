"""Wrong labels in one call: `alcurr.find_label_issues`.

issues = alcurr.find_label_issues(inputs, labels)
issues[issues["probability"] > 0.5]
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from alcurr.experiments.comparison import compare

# The valid and test pools are of examples trained on, and of little use.
SETTINGS = {
  "data.hold_out": False,
  "data.valid_fraction": 0.02,
  "data.test_fraction": 0.02,
  "num_evals": 1,
}


def find_label_issues(
  inputs: Any = None,
  labels: Any = None,
  *,
  class_names: Sequence[str] | None = None,
  model: Any = "cnn",
  budget: str = "10 epochs",
  trials: int = 3,
  config: Mapping[str, Any] | None = None,
  value_range: Sequence[float] | None = None,
  channels_first: bool = False,
  workdir: str | pathlib.Path | None = None,
  verbose: bool = True,
) -> pd.DataFrame:
  """Returns every row of the data, the most probably mislabelled first.

  Trains `samplers.label_trust` on all rows, and judges all of them: none is
  held out. A label is judged by predictions before each update, when the
  network has not yet memorized it.

  Args:
    inputs: as of `alcurr.compare`. None: the data that `config` describes, such
      as {"data.source": "folder", "data.dir": "photos"}.
    labels: [N] strings, bools or whole numbers; None with a Dataset of PyTorch.
    class_names: names of the labels 0, 1, ...; for strings, their order.
    model: as of `alcurr.compare`; it should learn most of the data in `budget`.
    budget: of each trial; below three epochs hardly anything is found.
    trials: networks whose judgements are averaged.
    config: other fields, as of `alcurr.compare`.
    value_range: as of `alcurr.compare`.
    channels_first: as of `alcurr.compare`.
    workdir: the experiment's folder, with a report; None: a temporary one.
    verbose: as of `alcurr.compare`.

  Returns:
    Columns by which you find a row in your data: `index` into the arrays; for
    folders of images `path`; for drawings `file`, `line` and `key`. Then
    `given_label`; `suggested_label`, the likeliest other; `probability`, that
    the given label is wrong; and `score`, by which equal probabilities are
    sorted. Each trial ranks the labels, and gives all but those near its
    estimated rate 0 or 1. `probability` is the mean over the trials, and so
    mostly the share of trials that take the label for wrong. `attrs` has
    `rate`, the estimated share of wrong labels, with the bounds `rate_low` and
    `rate_high` of its 95 % interval: 0 and 1 if the budget was too small for an
    estimate.

  Raises:
    UserError: a mistake in an argument, before anything is trained; or all
      trials diverged.
  """
  result = compare(
    inputs,
    labels,
    class_names=class_names,
    samplers=["label_trust"],
    model=model,
    budget=budget,
    trials=trials,
    config=SETTINGS | dict(config or {}),
    value_range=value_range,
    channels_first=channels_first,
    workdir=workdir,
    verbose=verbose,
  )
  return result.suspects()
