"""The best setting of each sampler, on experiments written by hand."""

import json

import numpy as np
import pytest

from alcurr.report import selection

N = 50


def _write(workdir, runs, families, baseline):
  """`runs` maps a name to (top-1 on valid, examples right on test)."""
  config = {
    "samplers": {name: {"name": "uniform"} for name in runs},
    "baseline": baseline,
    "best_setting": families,
  }
  (workdir / "config.json").write_text(json.dumps(config))
  for name, (valid, right) in runs.items():
    folder = workdir / "runs" / name
    folder.mkdir(parents=True)
    rows = [{"step": 9, "trial": t, "valid": {"top1": valid}} for t in range(3)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines)
    rank = np.tile(np.where(np.arange(N) < right, 0, 2), (3, 1))
    loss = np.ones(rank.shape, np.float32)
    np.savez(folder / "test.npz", rank=rank.astype(np.int32), loss=loss)
    result = {"sampler": name, "trials": [{}] * len(rank)}
    (folder / "result.json").write_text(json.dumps(result))


def test_the_setting_is_chosen_on_valid(tmp_path):
  """Also the baseline's, and even if another is better on test."""
  runs = {
    "uniform-a": (0.5, 40),
    "uniform-b": (0.6, 30),
    "bandit-a": (0.7, 35),
    "bandit-b": (0.2, 50),
    "alone": (0.1, 30),
  }
  families = {
    "uniform": ["uniform-a", "uniform-b"],
    "bandit": ["bandit-a", "bandit-b"],
    "alone": ["alone"],
  }
  _write(tmp_path, runs, families, "uniform-a")
  table = selection.best_setting_table(tmp_path).set_index("sampler")
  assert table["setting"].to_dict() == {
    "bandit": "bandit-a",
    "uniform": "uniform-b",
    "alone": "alone",
  }
  assert table["test top-1 %"].tolist() == pytest.approx([70, 60, 60])
  difference = table["difference to uniform"]
  assert difference.tolist() == pytest.approx([10, 0, 0])
  # Always better on five of fifty: 0.9^50 of 2,000 resamples have none of them.
  expected = 2 * (2000 * 0.9**50 + 1) / 2001 * 2
  assert table.loc["bandit", "Holm p"] == pytest.approx(expected, abs=0.02)
  assert table.loc["alone", "Holm p"] == 1
  assert np.isnan(table.loc["uniform", "Holm p"])
  assert selection.best_setting_table(tmp_path).shape == (3, 9)


def test_holm_by_hand():
  np.testing.assert_allclose(
    selection.holm(np.array([0.04, 0.01, 0.03, 0.5])),
    [0.09, 0.04, 0.09, 0.5],
  )
  np.testing.assert_allclose(selection.holm(np.array([0.9, 0.8])), [1, 1])


def test_without_settings_there_is_no_section(tmp_path):
  _write(tmp_path, {"uniform": (0.5, 10)}, None, "uniform")
  assert selection.best_setting_table(tmp_path).empty


def test_a_setting_at_an_end_of_the_range_is_marked(tmp_path):
  valid = {"low": 0.3, "middle": 0.5, "high": 0.4}
  runs = {f"uniform-{name}": (v, 30) for name, v in valid.items()}
  runs |= {f"bandit-{name}": (1 - v, 30) for name, v in valid.items()}
  families = {
    sampler: [f"{sampler}-{name}" for name in valid]
    for sampler in ("uniform", "bandit")
  }
  _write(tmp_path, runs, families, "uniform-low")
  table = selection.best_setting_table(tmp_path).set_index("sampler")
  assert table["at an end"].to_dict() == {"uniform": "", "bandit": "yes"}
