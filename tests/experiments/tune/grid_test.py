"""The grid against runs of one rate each, and the command."""

import argparse

import numpy as np
import pandas as pd
import pytest
import tiny
import toy
from refusal import refused

from alcurr.core.errors import UserError
from alcurr.experiments.tune import __main__ as command
from alcurr.experiments.tune import grid, trials
from alcurr.training import loop
from alcurr.training.optimizers import get_optimizer
from alcurr.training.run import compilation, compile_run, score_pool
from configs import default


def test_a_killed_command_resumes_in_its_folder(tmp_path):
  """Its checkpoints are recognized; a folder of the user's is not touched."""
  tiny.write(tmp_path)
  out = tmp_path / "out"
  config = str(tmp_path / "tiny.py")
  args = argparse.Namespace(config=config, sampler="", out=out, resumes=None)
  folder = out / "scores/difficulty/0"
  for name in ("8", "16", "24.orbax-checkpoint-tmp-0"):
    (folder / name).mkdir(parents=True)
    trials.load_config(args, [])
  for path in (folder / "notes", folder.parent / "x", out / "scores/x"):
    path.touch()
    with refused("exists", "--out"):
      trials.load_config(args, [])
    path.unlink()
  (folder / "9").symlink_to(tmp_path)
  with refused("exists", "--out"):
    trials.load_config(args, [])
  (folder / "9").unlink()
  (out / "grid.csv").touch()
  with refused("exists", "--out"):
    trials.load_config(args, [])


RATES = (0.003, 0.1, 1e38)


def _optimizer(name, schedule, backbone=1.0):
  return {
    "name": name,
    "learning_rate": 0.1,
    "schedule": schedule,
    "backbone_lr_multiplier": backbone,
  }


@pytest.fixture
def pools():
  pool = toy.make_pool()
  return {"train": pool, "probe": pool, "valid": toy.make_pool(200, seed=1)}


@pytest.mark.parametrize(
  "optimizer",
  [
    _optimizer("adam", "exponential(end=0.001)"),
    pytest.param(
      _optimizer("sgd(momentum=0.9)", "cosine"), marks=pytest.mark.slow
    ),
    pytest.param(
      _optimizer("adamw(weight_decay=0.1)", "constant", backbone=0.5),
      marks=pytest.mark.slow,
    ),
  ],
)
def test_every_rate_is_as_in_a_run_of_its_own(pools, optimizer, monkeypatch):
  """They are trained by `loop.train`, with `get_optimizer` at the rate."""
  compiled = []
  compile_once = compilation.compile_once
  monkeypatch.setattr(
    compilation,
    "compile_once",
    lambda *args, **options: (
      compiled.append(args) or compile_once(*args, **options)
    ),
  )
  run = toy.make_run(num_steps=20)
  scores, diverged = grid.run_rates(run, optimizer, RATES[:2], pools)
  assert len(compiled) == 2  # the steps and the evaluation
  assert scores.loss.shape == (2, 2, 200) and not diverged.any()
  for i, rate in enumerate(RATES[:2]):
    alone = run._replace(
      tx=get_optimizer({**optimizer, "learning_rate": rate}, 20)
    )
    plan = compile_run(alone, pools)
    ignore = lambda *args: None  # noqa: E731
    result = loop.train(alone, plan, pools, ignore, ignore)
    expected = score_pool(alone, result.state, pools["valid"])
    np.testing.assert_allclose(scores.loss[i], expected.loss, rtol=2e-4)
    assert (scores.rank[i] == expected.rank).mean() > 0.99
  assert np.abs(scores.loss[0] - scores.loss[1]).max() > 0.1


def test_a_rate_that_diverges_does_not_stop_the_others(pools):
  run = toy.make_run(num_steps=20)
  sgd = _optimizer("sgd", "constant")
  scores, diverged = grid.run_rates(run, sgd, RATES, pools)
  assert not diverged[:2].any() and diverged[2].all()
  row = trials.summarize(scores.rank[2], scores.loss[2], diverged[2])
  assert (row["trials"], row["trials_diverged"]) == (0, 2)
  assert np.isnan(row["top1"]) and np.isnan(row["loss_low"])


def test_a_row_by_hand():
  """The second of three trials diverged: the means are of the others."""
  rank = np.array([[0, 1, 3, 0], [9, 9, 9, 9], [0, 0, 2, 0]])
  loss = np.array([[1.0, 2, 3, 4], [np.nan] * 4, [1, 1, 1, 1]])
  row = trials.summarize(rank, loss, np.array([0, 5, 0]))
  assert (row["trials"], row["trials_diverged"]) == (2, 1)
  assert row["top1"] == 5 / 8
  assert row["map3"] == pytest.approx((5 + 1 / 2 + 1 / 3) / 8)
  assert row["loss"] == 14 / 8
  for metric in ("top1", "map3", "loss"):
    assert row[f"{metric}_low"] < row[metric] < row[f"{metric}_high"]


def test_the_best_setting_is_given_as_options():
  """As they would be typed: a batch size is an integer."""
  row = trials.summarize(
    np.array([[0, 1]]), np.array([[1.0, 2.0]]), np.array([0])
  )
  fields = ["optimizer.learning_rate", "batch_size"]
  rows = [dict(zip(fields, x, strict=True)) | row for x in ((0.1, 8), (0.2, 8))]
  rows[1]["top1"] = 0.75
  table = pd.DataFrame(rows)
  options = "--config.optimizer.learning_rate=0.2 --config.batch_size=8"
  assert trials.render(table, fields).endswith(f"Best top-1: {options}")
  assert trials.is_at_end(table, fields)
  assert not trials.is_at_end(table, fields[1:])


def test_fields_and_their_combinations():
  texts = (
    "optimizer.learning_rate=1e-3, 3e-3",
    "model.name=cnn(width=0.5, norm='group'),mobilenet",
    "data.recognized_only=true,false",
  )
  fields = grid.parse_fields(default.get_config(), texts)
  assert fields == {
    "optimizer.learning_rate": [0.001, 0.003],
    "model.name": ["cnn(width=0.5, norm='group')", "mobilenet"],
    "data.recognized_only": [True, False],
  }
  settings = grid.combinations(fields)
  assert len(settings) == 8
  assert settings[1] == {
    "optimizer.learning_rate": 0.001,
    "model.name": "cnn(width=0.5, norm='group')",
    "data.recognized_only": False,
  }


@pytest.mark.parametrize(
  ("texts", "code", "place"),
  [
    (["batch_size"], "syntax", "batch_size"),
    (["batch_size=8", "batch_size=9"], "syntax", "batch_size"),
    (["batch_size=8,8"], "conflict", "batch_size"),
    (["trials=1,2"], "unsupported", "trials"),
  ],
)
def test_wrong_fields(texts, code, place):
  with pytest.raises(UserError) as mistake:
    grid.parse_fields(default.get_config(), texts)
  assert (mistake.value.code, mistake.value.place) == (code, place)


@pytest.mark.parametrize(
  "text", ["batch_size=1,x", "batch_size=", "batch_sise=1", "data=1"]
)
def test_wrong_values(text):
  with pytest.raises(UserError) as mistake:
    grid.parse_fields(default.get_config(), [text])
  assert text.split("=")[0] in str(mistake.value)


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
  tiny.write(tmp_path, trials=2)
  out = tmp_path / "runs" / "grid"
  options = ("grid", f"--config={tmp_path / 'tiny.py'}", f"--out={out}")
  options += ("--config.budget=160 examples",)
  fields = ("optimizer.learning_rate=1e-3,1e-2", "batch_size=8,16")
  assert command.main([*options, *fields]) == 0
  output = capsys.readouterr().out
  assert "Best top-1: --config.optimizer.learning_rate=0.0" in output
  assert {path.name for path in out.iterdir()} == {
    f"{stem}.{end}"
    for stem in ("grid", "noise_scale")
    for end in ("csv", "png")
  }
  assert "Simple noise scale at the end, by batch size: 8: " in output
  scales = pd.read_csv(out / "noise_scale.csv")
  assert scales["batch_size"].tolist() == [8] * 5 + [16] * 5
  assert scales["examples"].tolist() == [32, 64, 96, 128, 160] * 2
  assert (scales["noise"] > 0).all()
  table = pd.read_csv(out / "grid.csv")
  assert table["optimizer.learning_rate"].tolist() == [0.001, 0.01] * 2
  assert table["batch_size"].tolist() == [8, 8, 16, 16]
  assert table["steps"].tolist() == [20, 20, 10, 10]
  assert (table["trials"] == 2).all()
  assert (table["top1"] <= table["map3"]).all()
  assert (table["top1_low"] <= table["top1"]).all()


def test_all_values_are_checked_before_anything_is_run(tmp_path, capsys):
  tiny.write(tmp_path, budget="160 examples", trials=2)
  out = tmp_path / "grid"
  options = ("grid", f"--config={tmp_path / 'tiny.py'}", f"--out={out}")
  for values in (
    "batch_size=8,0",
    "optimizer.learning_rate=0.1,-1",
    "optimizer.name=adam,adma",
  ):
    assert command.main([*options, values]) == 2
    assert values.split("=")[0] in capsys.readouterr().err
  assert not out.exists()
