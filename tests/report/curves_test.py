"""Tables from the logs, against tables computed by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import toy_report

from alcurr.report import curves


def _logs(name, top1, batch_size=32):
  """top1 [S, T] at steps 10, 20, ...; 3 FLOPs and 2 s a step, trial 1 4 s."""
  rows = [
    {
      "sampler": name,
      "batch_size": batch_size,
      "trial": trial,
      "step": 10 * t,
      "examples_seen": 10 * t * batch_size,
      "flops": 30.0 * t,
      "seconds": 20.0 * t * (1 + (trial == 1)),
      "top1": value,
      "top3": value,
    }
    for trial, values in enumerate(top1)
    for t, value in enumerate(values, start=1)
  ]
  return pd.DataFrame(rows)


def test_a_log_has_its_costs_and_the_valid_metrics():
  valid = {"top1": 0.5, "top3": 0.75, "map3": 0.6, "loss": 1.25}
  metrics = pd.DataFrame(
    {
      "trial": [0, 0],
      "step": [10, 40],
      "examples_seen": [320, 1280],
      "train_seconds": [3.0, 8.0],
      "train_loss": [2.0, None],
      "coverage": [0.5, 1.0],
      "effective_sample_size": [320.0, 1280.0],
      "valid": [math.nan, valid],
    }
  )
  result = {"sampler": "a", "batch_size": 32, "flops_per_step": 7.0}
  log = curves.tidy_log(metrics, result)
  assert log["seconds"].tolist() == [3.0, 8.0]
  assert log["flops"].tolist() == [70.0, 280.0]
  assert math.isnan(log["top1"][0])
  assert log["top3"][1] == 0.75
  unknown = curves.tidy_log(metrics, result | {"flops_per_step": None})
  assert unknown["flops"].isna().all()


def test_mean_curves_have_the_sample_deviation():
  nan = math.nan
  means = curves.mean_curves(_logs("a", [[0.1, nan, 0.5], [0.3, nan, 0.9]]))
  assert means["step"].tolist() == [10, 30]
  np.testing.assert_allclose(means["top1"], [0.2, 0.7])
  np.testing.assert_allclose(means["top1_std"], [0.02**0.5, 0.08**0.5])
  assert means["seconds"].tolist() == [30.0, 90.0]
  assert means["trials"].tolist() == [2, 2]


def test_a_trial_that_never_reaches_a_level_counts_as_infinite():
  top1 = [[0.2, 0.5, 0.7], [0.1, 0.6, 0.4], [0.3, 0.3, 0.3]]
  table = curves.reach_table(_logs("a", top1), [0.5, 0.7, 0.3])
  by_level = table.set_index("top1")
  assert by_level["reached"].to_dict() == {0.5: 2, 0.7: 1, 0.3: 3}
  assert set(by_level["trials"]) == {3}
  # 0.5 at step 20, 20 and never: seconds 40, 80, inf.
  assert by_level.loc[0.5, "examples_seen"] == 640
  assert by_level.loc[0.5, "flops"] == 60
  assert by_level.loc[0.5, "seconds"] == 80
  assert by_level.loc[0.7, "seconds"] == math.inf
  # 0.3 at step 20, 20 and 10.
  assert by_level.loc[0.3, "examples_seen"] == 640


def _result(name, scoring, flops=100.0):
  return {
    "sampler": name,
    "baseline": "base",
    "batch_size": 32,
    "train_seconds": 1.0,
    "compile_seconds": 1.0,
    "scoring_seconds": scoring,
    "flops_per_step": flops,
  }


def test_scoring_pays_back_by_the_seconds_saved():
  """At 0.5, the highest level that both reach, the baseline takes 60 s."""
  logs = pd.concat(
    [
      _logs("base", [[0.1, 0.2, 0.5]]),
      _logs("fast", [[0.5, 0.6, 0.9]]),
      _logs("slow", [[0.1, 0.2, 0.5]]),
      _logs("lost", [[0.0, 0.0, 0.0]]),
      _logs("free", [[0.1, 0.5, 0.5]]),
    ]
  )
  reach = curves.reach_table(logs, [0.2, 0.5, 0.9])
  names = ("base", "fast", "slow", "lost", "free")
  scoring = {"base": 0.0, "free": 0.0}
  results = [_result(n, scoring.get(n, 100.0)) for n in names]
  results[1] |= {"flops_per_step": 300.0, "batch_size": 64}
  table = curves.cost_table(results, reach)
  table = table.set_index("sampler")
  assert table.loc["fast", "level"] == 0.5
  assert table.loc["fast", "saved_seconds"] == 40
  assert table.loc["fast", "payback_runs"] == 2.5
  assert table.loc["fast", "flops_ratio"] == 1.5
  assert table.loc["slow", "payback_runs"] == math.inf
  assert math.isnan(table.loc["lost", "payback_runs"])
  assert table.loc["free", "saved_seconds"] == 20
  assert math.isnan(table.loc["free", "payback_runs"])
  assert math.isnan(table.loc["base", "saved_seconds"])


@pytest.mark.parametrize(
  ("config", "levels"),
  [
    ({"thresholds": "0.8 0.5, 0.7"}, [0.5, 0.7, 0.8]),
    ({"thresholds": ""}, [0.5, 0.6, 0.7, 0.8, 0.9]),
    ({}, [0.5, 0.6, 0.7, 0.8, 0.9]),
  ],
)
def test_thresholds_of_a_config(config, levels):
  assert curves.thresholds(config) == levels


def test_an_experiments_logs_are_read(make_experiment):
  workdir = make_experiment()
  logs = curves.read_logs(workdir)
  assert logs.groupby("sampler", sort=False).size().tolist() == [8, 8]
  assert logs["sampler"][0] == "uniform"  # the baseline first
  assert logs["seconds"].tolist() == (0.5 * logs["step"]).tolist()


def test_a_constant_policy_has_no_map(tmp_path):
  """Uniform has no arms, a fixed policy is constant, the bandit's changes."""
  toy_report.write_config(tmp_path)
  toy_report.write_run(tmp_path, "uniform", 0, 0.01)
  toy_report.write_run(tmp_path, toy_report.BANDIT, 3, 0.01)
  assert list(curves.changing_policies(tmp_path)) == [toy_report.BANDIT]
  table = curves.changing_policies(tmp_path)[toy_report.BANDIT]
  np.testing.assert_allclose(table.iloc[-1], [0, 0, 1])
  path = tmp_path / "runs" / toy_report.BANDIT / "metrics.jsonl"
  rows = [json.loads(line) for line in path.open()]
  fixed = (json.dumps(row | {"policy": [0.2, 0.3, 0.5]}) for row in rows)
  path.write_text("\n".join(fixed))
  assert curves.changing_policies(tmp_path) == {}


def test_a_level_that_no_trial_reached_is_left_out():
  logs = pd.concat([_logs("a", [[0.1, 0.5]]), _logs("b", [[0.1, 0.7]])])
  reach = curves.reach_table(logs, [0.3, 0.6, 0.9])
  shown = curves.reached(reach)
  assert [*zip(shown["sampler"], shown["top1"], strict=True)] == [
    *(("a", 0.3), ("a", 0.6), ("b", 0.3), ("b", 0.6))
  ]
