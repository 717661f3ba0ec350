"""The search against one that Optuna makes by itself, and as a command."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
import tiny
from matplotlib.figure import Figure

from alcurr.core.errors import UserError
from alcurr.experiments.tune import __main__ as command
from alcurr.experiments.tune import grid, search
from configs import default

RANGES = (
  "optimizer.learning_rate=1e-3..1e-1:log",
  "batch_size=8..32",
  "optimizer.name=sgd,adam",
)


def test_ranges():
  assert search.parse_ranges(default.get_config(), RANGES) == {
    "optimizer.learning_rate": ((1e-3, 1e-1), True, True),
    "batch_size": ((8, 32), True, False),
    "optimizer.name": (("sgd", "adam"), False, False),
  }
  texts = [
    "data.dir=../a,../b",
    "optimizer.backbone_lr_multiplier=0..1",
    "batch_size=8,16",
  ]
  assert search.parse_ranges(default.get_config(), texts) == {
    "data.dir": (("../a", "../b"), False, False),
    "optimizer.backbone_lr_multiplier": ((0.0, 1.0), True, False),
    "batch_size": ((8, 16), False, False),
  }


@pytest.mark.parametrize(
  ("texts", "message"),
  [
    (["batch_size=8..x"], "--config.batch_size=x: write a whole number"),
    (["batch_size=..8"], "--config.batch_size=: write a whole number"),
    (["batch_size=8..4"], "'batch_size=8..4': a range rises"),
    (
      ["optimizer.backbone_lr_multiplier=0..inf"],
      "a range rises, such as 1e-4..1e-1",
    ),
    (
      ["optimizer.backbone_lr_multiplier=0..1:log"],
      "numbers above 0 have a logarithm",
    ),
    (["batch_size=8..16:ln"], "after the range there may be :log alone"),
    (["batch_size=8", "batch_size=9"], "batch_size comes twice"),
    (["batch_sise=8..9"], "Did you mean --config.batch_size?"),
    (["trials=1..3"], "trials is the same for all"),
    (["batch_size"], "write each field once, with its values"),
  ],
)
def test_wrong_ranges(texts, message):
  with pytest.raises(UserError) as mistake:
    search.parse_ranges(default.get_config(), texts)
  assert message in str(mistake.value)


@pytest.fixture
def command_line(tmp_path):
  tiny.write(tmp_path, budget="160 examples", seed=3)
  return ["search", f"--config={tmp_path / 'tiny.py'}", *RANGES]


@pytest.fixture
def oracle(monkeypatch):
  """A closed form in the place of training: the best is 0.01, 20 and adam."""
  pytest.importorskip("optuna")
  asked = []

  def try_rates(config, name, rates, out):
    (rate,) = rates
    asked.append((rate, config.batch_size, config.optimizer.name))
    top1 = 0.9 - 0.1 * np.log10(rate / 0.01) ** 2
    top1 -= ((config.batch_size - 20) / 40) ** 2
    top1 -= 0.2 * (config.optimizer.name == "sgd")
    wrong = len(asked) == 4
    return [
      {"steps": 1, "trials": 0 if wrong else 2, "trials_wrong": 2 * wrong}
      | {
        f"{metric}{end}": np.nan if wrong else top1
        for metric in ("top1", "map3", "loss")
        for end in ("", "_low", "_high")
      }
    ]

  monkeypatch.setattr(grid, "try_rates", try_rates)
  monkeypatch.setattr(search, "plot", lambda *args: Figure((1, 1)))  # for speed
  return asked


def _table(out):
  return pd.read_csv(out / "search.csv")


def test_it_searches_and_goes_on(command_line, oracle, tmp_path, capsys):
  whole, parts = tmp_path / "whole", tmp_path / "parts"
  assert command.main([*command_line, f"--out={whole}", "--count=25"]) == 0
  said = capsys.readouterr().out
  asked = list(oracle)
  assert len(asked) == len(set(asked)) == 25
  table = _table(whole)
  assert table["number"].tolist() == list(range(1, 26))
  assert np.isnan(table["top1"][3]) and table["trials_wrong"][3] == 2
  best = table.loc[table["top1"].idxmax()]
  rate = re.search(r"Best top-1: --config.optimizer.learning_rate=(\S+)", said)
  assert float(rate[1]) == pytest.approx(
    best["optimizer.learning_rate"], rel=1e-4
  )
  # It finds what is good: after the random first ten, it is often adam.
  assert (table["optimizer.name"][10:] == "adam").mean() > 0.6
  assert table["top1"].max() > 0.88
  assert {path.name for path in whole.iterdir()} == {
    "search.csv",
    "search.png",
    "study.db",
  }

  oracle.clear()
  for count in (3, 12, 25, 25):
    status = command.main([*command_line, f"--out={parts}", f"--count={count}"])
    assert status == 0
  assert oracle == asked
  pd.testing.assert_frame_equal(_table(parts), table)
  other = [*command_line, f"--out={parts}", "--config.seed=4"]
  assert command.main(other) == 2
  assert "holds a search of other settings" in capsys.readouterr().err


def test_a_stopped_one_is_proposed_again(
  command_line, oracle, tmp_path, monkeypatch
):
  whole, stopped = tmp_path / "whole", tmp_path / "stopped"
  command.main([*command_line, f"--out={whole}", "--count=3"])
  asked, good = list(oracle), grid.try_rates
  oracle.clear()

  def stop(*args):
    if len(oracle) == 2:
      raise KeyboardInterrupt
    return good(*args)

  line = [*command_line, f"--out={stopped}", "--count=3"]
  monkeypatch.setattr(grid, "try_rates", stop)
  with pytest.raises(KeyboardInterrupt):
    command.main(line)
  monkeypatch.setattr(grid, "try_rates", good)
  assert command.main(line) == 0
  assert oracle == asked
  pd.testing.assert_frame_equal(_table(stopped), _table(whole))


def test_proposals_are_those_of_optuna(command_line, oracle, tmp_path):
  """Its own loop, a study in memory and a sampler of a seed for each."""
  import optuna

  study = optuna.create_study(direction="maximize")
  for number in range(12):
    study.sampler = optuna.samplers.TPESampler(seed=3 + number)
    trial = study.ask()
    rate = trial.suggest_float("optimizer.learning_rate", 1e-3, 1e-1, log=True)
    size = trial.suggest_int("batch_size", 8, 32)
    name = trial.suggest_categorical("optimizer.name", ["sgd", "adam"])
    top1 = 0.9 - 0.1 * np.log10(rate / 0.01) ** 2 - ((size - 20) / 40) ** 2
    top1 -= 0.2 * (name == "sgd")
    study.tell(trial, 0.0 if number == 3 else top1)
  out = tmp_path / "out"
  command.main([*command_line, f"--out={out}", "--count=12"])
  expected = [tuple(trial.params.values()) for trial in study.trials]
  for mine, theirs in zip(oracle, expected, strict=True):
    assert mine[0] == pytest.approx(theirs[0]) and mine[1:] == theirs[1:]


def test_it_trains(tmp_path, capsys):
  pytest.importorskip("optuna")
  tiny.write(tmp_path, budget="160 examples", trials=2)
  out = tmp_path / "runs" / "search"
  line = ["search", f"--config={tmp_path / 'tiny.py'}", f"--out={out}"]
  line += ["optimizer.learning_rate=1e-3..1e-1:log", "--count=2"]
  assert command.main(line) == 0
  table = _table(out)
  assert (table["trials"] == 2).all() and (table["steps"] == 5).all()
  assert table["optimizer.learning_rate"].between(1e-3, 1e-1).all()
  assert table["top1"].between(0, 1).all()


def test_without_optuna(command_line, tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, "optuna", None)
  assert command.main([*command_line, f"--out={tmp_path / 'out'}"]) == 2
  said = capsys.readouterr().err
  assert (
    "search needs Optuna; install it with pip install 'alcurr[tune]'" in said
  )


def test_mistakes_leave_nothing(command_line, tmp_path, capsys):
  pytest.importorskip("optuna")
  out = tmp_path / "out"
  for more, message in (
    ("--count=0", "--count must be at least 1, got 0."),
    ("eval_batch_size=0..4", "eval_batch_size must be at least 1, got 0."),
  ):
    assert command.main([*command_line, more, f"--out={out}"]) == 2
    assert message in capsys.readouterr().err
  assert not out.exists()
