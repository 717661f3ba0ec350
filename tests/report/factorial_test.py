"""Effects of the factors, on designs with effects in closed form."""

import itertools
import json

import numpy as np
import pytest

from alcurr.report import bootstrap, factorial

N = 100


def _write(workdir, factors, right, finished=None):
  """Writes an experiment; `right` maps a sampler to [S, N] bool.

  `factors` maps a cell to its levels, in order of appearance. The baseline is
  right on 37 examples, which no effect may depend on.
  """
  trials = len(next(iter(right.values())))
  finished = [*(finished or right), "base"]
  right = right | {"base": _first(37, trials)}
  levels = {}
  for cell in (factors or {}).values():
    for factor, level in cell.items():
      known = levels.setdefault(factor, [])
      if level not in known:
        known.append(level)
  config = {
    "samplers": {name: {"name": "uniform"} for name in right},
    "baseline": "base",
    "factors": levels,
    "cells": factors,
  }
  (workdir / "config.json").write_text(json.dumps(config))
  for name in finished:
    folder = workdir / "runs" / name
    folder.mkdir(parents=True)
    rank = np.where(right[name], 0, 2).astype(np.int32)
    loss = np.ones(rank.shape, np.float32)
    np.savez(folder / "test.npz", rank=rank, loss=loss)
    result = {"sampler": name, "trials": [{}] * len(rank)}
    (folder / "result.json").write_text(json.dumps(result))


def _first(count, trials=2):
  return np.tile(np.arange(N) < count, (trials, 1))


# 2 x 2 x 2; "without" gains 10, norm 20 where it is "without" and 5 else.
DESIGN = {
  f"{batches}_{replacement}_{norm}": {
    "batches": batches,
    "replacement": replacement,
    "norm": norm,
  }
  for batches, replacement, norm in itertools.product(
    ("one", "each"), ("with", "without"), ("batch", "group")
  )
}


def _count(cell):
  without = cell["replacement"] == "without"
  group = cell["norm"] == "group"
  return 40 + 10 * without + 5 * group + 15 * (without and group)


def _rows(workdir):
  table = factorial.make_table(workdir)
  keys = zip(table["factor"], table["level"], table["where"], strict=True)
  values = zip(table["pairs"], table["effect, points"], strict=True)
  return dict(zip(keys, values, strict=True))


def test_main_and_two_way_effects_in_closed_form(tmp_path):
  right = {name: _first(_count(cell)) for name, cell in DESIGN.items()}
  _write(tmp_path, DESIGN, right)
  rows = _rows(tmp_path)
  expected = {
    ("batches", "each", ""): (4, 0),
    ("replacement", "without", ""): (4, 17.5),
    ("replacement", "without", "batches=one"): (2, 17.5),
    ("replacement", "without", "norm=batch"): (2, 10),
    ("replacement", "without", "norm=group"): (2, 25),
    ("norm", "group", ""): (4, 12.5),
    ("norm", "group", "replacement=with"): (2, 5),
    ("norm", "group", "replacement=without"): (2, 20),
    ("norm", "group", "batches=each"): (2, 12.5),
  }
  assert len(rows) == 3 * (1 + 2 * 2)
  for key, (pairs, effect) in expected.items():
    assert rows[key][0] == pairs
    assert rows[key][1] == pytest.approx(effect, abs=1e-5)
  table = factorial.make_table(tmp_path)
  assert table["factor"].unique().tolist() == ["batches", "replacement", "norm"]
  assert set(table["instead of"]) == {"one", "with", "batch"}
  # Cells that are right on the same examples: no noise in their difference.
  none = table[table["factor"] == "batches"]
  assert (none[["low", "high"]] == 0).all(axis=None)


def test_the_interval_is_of_the_mean_difference_of_the_pairs(tmp_path):
  rng = np.random.default_rng(0)
  right = {name: rng.random((3, N)) < 0.5 for name in DESIGN}
  _write(tmp_path, DESIGN, right)
  table = factorial.make_table(tmp_path)
  row = table[(table["factor"] == "norm") & (table["where"] == "")].iloc[0]
  mean = np.mean(
    [
      1.0 * right[f"{a}_{b}_group"] - right[f"{a}_{b}_batch"]
      for a in ("one", "each")
      for b in ("with", "without")
    ],
    axis=0,
  )
  expected = bootstrap.paired_bootstrap(mean)
  assert row[["effect, points", "low", "high"]].tolist() == pytest.approx(
    [100 * x for x in expected], abs=1e-4
  )


def test_every_level_is_compared_with_the_first_to_appear(tmp_path):
  factors = {
    "c": {"gain": "trained", "size": 32},
    "a": {"gain": "fresh", "size": 32},
    "b": {"gain": "none", "size": 32},
    "d": {"gain": "none", "size": 512},  # matches no other in gain
  }
  right = {"c": 10, "a": 30, "b": 0, "d": 90}
  _write(tmp_path, factors, {k: _first(v) for k, v in right.items()})
  rows = _rows(tmp_path)
  assert rows.keys() == {
    ("gain", "fresh", ""),
    ("gain", "none", ""),
    ("size", "512", ""),
  }
  assert [rows[key][1] for key in rows] == pytest.approx([20, -10, 90])
  assert {pairs for pairs, _ in rows.values()} == {1}


def test_cells_with_baselines_of_their_own(tmp_path):
  """Batch 512 gains 20 and its uniform 25: a lead smaller by 5."""
  cells = {"a": {"size": "32"}, "b": {"size": "512"}}
  _write(tmp_path, cells, {"a": _first(30), "b": _first(50), "c": _first(62)})
  result = {"sampler": "b", "baseline": "c", "trials": [{}] * 2}
  (tmp_path / "runs/b/result.json").write_text(json.dumps(result))
  rows = _rows(tmp_path)
  assert rows == {("size", "512", ""): (1, pytest.approx(-5, abs=1e-5))}


def test_an_unfinished_cell_takes_its_pairs_along(tmp_path):
  """And the first level stays the first."""
  right = {name: _first(_count(cell)) for name, cell in DESIGN.items()}
  finished = [name for name in DESIGN if name != "one_with_batch"]
  _write(tmp_path, DESIGN, right, finished)
  rows = _rows(tmp_path)
  assert rows["norm", "group", ""] == (3, pytest.approx(15, abs=1e-5))
  assert rows["norm", "group", "replacement=with"][0] == 1
  assert ("norm", "batch", "") not in rows


def test_samplers_outside_the_design_do_not_count(tmp_path):
  right = {name: _first(_count(cell)) for name, cell in DESIGN.items()}
  _write(tmp_path, DESIGN, right | {"uniform": _first(99)})
  assert len(_rows(tmp_path)) == 15


@pytest.mark.parametrize("factors", [None, {}])
def test_without_factors_there_are_no_effects(tmp_path, factors):
  _write(tmp_path, factors, {"a": _first(1), "b": _first(2)})
  assert factorial.make_table(tmp_path).empty


def test_without_pairs_there_are_no_effects(tmp_path):
  factors = {"a": {"x": "1", "y": "1"}, "b": {"x": "2", "y": "2"}}
  _write(tmp_path, factors, {"a": _first(1), "b": _first(2)})
  assert factorial.make_table(tmp_path).empty
