"""Tables leave out what is the same for every sampler."""

import math

import pandas as pd

from alcurr.report import formatting


def _summary(**changes):
  """Two samplers of the same baseline, batch size and trials."""
  table = pd.DataFrame(
    {
      "sampler": ["u", "a"],
      "baseline": ["u", "u"],
      "batch_size": [32, 32],
      "trials": [3, 3],
      "trials_diverged": [0, 0],
      "test_examples": [50, 50],
      "top1": [0.5, 0.6],
      "top3": [0.8, 0.9],
      "balanced_accuracy": [0.5, 0.6],
      "loss": [1.0, 2.0],
    }
  )
  for metric in ("top1", "top3", "balanced_accuracy"):
    table[f"{metric}_std"] = 0.01
    for part in ("difference", "low", "high"):
      table[f"{metric}_{part}"] = [math.nan, 0.1]
  return table.assign(**changes)


def test_a_summary_has_what_differs():
  shown = ["sampler"]
  for metric in ("top-1", "top-3"):
    shown += [f"{metric} %", f"{metric} difference, 95 %"]
  assert [*formatting.compact(_summary())] == [*shown, "loss"]
  sizes = formatting.compact(_summary(batch_size=[32, 64]))
  assert sizes["batch"].tolist() == ["32", "64"]
  other = formatting.compact(_summary(baseline=["u", "v"]))
  assert "compared with" not in other  # a single one has another baseline
  both = pd.concat([_summary(), _summary(sampler=["b", "c"], baseline="b")])
  compared = formatting.compact(both)["compared with"]
  assert compared.tolist() == ["-", "u", "-", "b"]


def test_balanced_accuracy_and_diverged_trials_are_shown_if_there_are_any():
  table = _summary(balanced_accuracy=[0.4, 0.6], trials_diverged=[1, 1])
  shown = formatting.compact(table)
  assert shown["balanced %"][0].startswith("40.00")
  assert shown["trials"].tolist() == ["3 of 4", "3 of 4"]


def test_nothing_is_said_of_scores_where_there_are_none():
  row = {
    "sampler": "a",
    "baseline": "u",
    "train_seconds": 1.0,
    "compile_seconds": 1.0,
    "scoring_seconds": 0.0,
    "flops_ratio": 1.0,
    "total_flops_ratio": 1.0,
    "scores_share": 0.0,
    "level": 0.5,
    "saved_seconds": 1.0,
    "payback_runs": math.nan,
  }
  assert not any("scor" in x for x in formatting.costs(pd.DataFrame([row])))
  scored = formatting.costs(pd.DataFrame([row, row | {"scoring_seconds": 2.0}]))
  assert scored["runs to pay back scoring"][0] == "nothing scored"


def test_numbers_of_a_column_line_up():
  table = pd.DataFrame(
    {
      "points": [-6.0824, 0.2339, 0.0],
      "wide": [0.00012345, 23144.0, 1.0],
      "name": ["a", "b", "c"],
      "none": [math.nan, math.nan, math.nan],
    }
  )
  text = formatting.any_table(table)
  assert text["points"].tolist() == ["-6.082", "0.234", "0.000"]
  assert text["wide"].tolist() == ["0.0001234", "2.314e+04", "1"]
  assert text["name"].tolist() == ["a", "b", "c"]
  assert text["none"].tolist() == ["-"] * 3


def test_experiments_of_other_metrics_leave_no_gaps():
  numbers = _summary().filter(regex="^(?!top|balanced)")
  numbers["r2"] = [0.5, 0.6]
  numbers["r2_std"] = 0.01
  for part in ("difference", "low", "high"):
    numbers[f"r2_{part}"] = [math.nan, 0.1]
  text = formatting.combined({"classes": _summary(), "numbers": numbers})
  assert text["experiment"].tolist() == ["classes", "numbers"] * 2
  assert text["R² %"].tolist() == ["-", "50.00 ± 1.00", "-", "60.00 ± 1.00"]
  assert text["top-1 %"].tolist() == ["50.00 ± 1.00", "-", "60.00 ± 1.00", "-"]
  # All have three trials, and the same baseline.
  assert not {"trials", "compared with"} & {*text}
