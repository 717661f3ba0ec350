"""Policies at the end of a run, by trial and by the names of the arms."""

import json

import numpy as np
import pandas as pd
import pytest
import toy_report
from refusal import refused

from alcurr.experiments.comparison import Comparison
from alcurr.report import figures, page, policies, sections, verdict


def _rewrite(workdir, name, change):
  """Changes each row of a sampler's metrics."""
  path = workdir / "runs" / name / "metrics.jsonl"
  rows = [change(json.loads(line)) for line in path.open()]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def grouped(make_experiment):
  """An experiment whose bandit has four groups, and trials that differ."""
  workdir = make_experiment()
  spec = workdir / "runs" / toy_report.BANDIT / "sampler_spec.json"
  spec.write_text(json.dumps({"arm_partition": "groups"}))
  info = json.loads((workdir / "gallery.json").read_text())
  names = ["web", "=1+1", "shop", "<b>"]
  info["partitions"]["groups"] = {
    "size": [20] * 4,
    "drawings": [],
    "names": names,
  }
  (workdir / "gallery.json").write_text(json.dumps(info))

  def last(row):
    if row["step"] == 40:
      row["policy"] = [[0.1, 0.2, 0.3, 0.4], [0.3, 0.2, 0.1, 0.4]][row["trial"]]
    return row

  _rewrite(workdir, toy_report.BANDIT, last)
  return workdir


def test_shares_at_the_end_are_those_of_the_last_chunk(grouped):
  table = Comparison(grouped).policy()
  assert set(table["sampler"]) == {toy_report.BANDIT}
  shares = table.pivot(index="trial", columns="arm", values="share")
  np.testing.assert_allclose(shares["web"], [0.1, 0.3])
  np.testing.assert_allclose(shares["shop"], [0.3, 0.1])
  with refused("unsupported", "name"):
    Comparison(grouped).policy("uniform")
  with refused("unknown", "name"):
    Comparison(grouped).policy("nobody")


def test_arms_without_names_are_numbers(experiment):
  table = Comparison(experiment).policy(toy_report.BANDIT)
  assert table["arm"].tolist() == [1, 2, 3, 4] * 2


def test_a_table_has_the_spread_over_trials(grouped):
  shares = policies.final_shares(grouped, toy_report.BANDIT)
  table = policies.shares_table(shares, "group").set_index("group")
  cells = table.loc["web"].tolist()
  # Of 10 and 30: the sample's standard deviation is 20 / sqrt(2).
  assert cells == ["20.0 ± 14.1", "10.0", "30.0"]
  single = policies.shares_table(shares[shares["trial"] == 0], "group")
  assert single.set_index("group").loc["web"].tolist()[0] == "10.0"


def test_the_file_of_a_policy_names_the_groups(grouped):
  page.write_report([grouped], grouped / "report.html")
  (path,) = (grouped / "figures").glob("policy_*.csv")
  data = pd.read_csv(path)
  assert data["arm"].tolist() == ["web", "'=1+1", "shop", "<b>"] * 4
  np.testing.assert_allclose(data["probability"][-4:], [0.2, 0.2, 0.2, 0.4])


@pytest.mark.parametrize(("count", "said"), [(39, True), (40, False)])
def test_too_few_measurements_are_said(count, said, grouped):
  """Ten for each of the four arms are enough."""
  path = grouped / "runs" / toy_report.BANDIT / "result.json"
  result = json.loads(path.read_text())
  path.write_text(json.dumps(result | {"measurements": count, "arms": 4}))
  summary = page.read_summary(grouped)
  (text,) = [
    section.text
    for section in sections.make_sections(grouped, summary)
    if section.stem.startswith("policy_")
  ]
  assert (str(count) in text) == said
  assert (f"{count} times" in verdict.describe(grouped, summary)) == said


def test_shares_in_words_are_of_samplers_that_measure(grouped):
  assert policies.in_words(grouped) == []
  path = grouped / "runs" / toy_report.BANDIT / "result.json"
  result = json.loads(path.read_text())
  path.write_text(json.dumps(result | {"measurements": 40, "arms": 4}))
  (line,) = policies.in_words(grouped, most=2)
  # Of 20 +- 14, 20, 20 +- 14 and 40.
  assert toy_report.BANDIT in line and "<b> 40 ± 0 %, " in line
  assert "and 2 more" in line
  assert line.count("±") == 2


def test_labels_of_too_many_arms_have_no_table():
  arms = pd.DataFrame({"arm": range(41), "share": 1 / 41, "trial": 0})
  assert policies.shares_table(arms, "class") is None
  assert figures.ArmLabels().names is None
