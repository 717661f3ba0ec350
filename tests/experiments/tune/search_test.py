"""The search against one by Optuna alone, and the command."""

import re
import signal
import sys

import numpy as np
import pandas as pd
import pytest
import tiny
from matplotlib.figure import Figure

from alcurr.core import environment
from alcurr.core.errors import UserError
from alcurr.experiments.tune import __main__ as command
from alcurr.experiments.tune import grid, search
from configs import default

_MULTIPLIER = "optimizer.backbone_lr_multiplier"
RANGES = (
  "optimizer.learning_rate=1e-3..1e-1:log",
  "batch_size=8..32",
  "optimizer.name=sgd,adam",
)


def test_ranges():
  optuna = pytest.importorskip("optuna")
  kinds = optuna.distributions
  assert search.parse_ranges(optuna, default.get_config(), RANGES) == {
    "optimizer.learning_rate": kinds.FloatDistribution(1e-3, 1e-1, log=True),
    "batch_size": kinds.IntDistribution(8, 32),
    "optimizer.name": kinds.CategoricalDistribution(["sgd", "adam"]),
  }
  texts = ["data.dir=../a,../b", f"{_MULTIPLIER}=0..1", "batch_size=8,16"]
  assert search.parse_ranges(optuna, default.get_config(), texts) == {
    "data.dir": kinds.CategoricalDistribution(["../a", "../b"]),
    _MULTIPLIER: kinds.FloatDistribution(0.0, 1.0),
    "batch_size": kinds.CategoricalDistribution([8, 16]),
  }


@pytest.mark.parametrize(
  ("texts", "code", "place"),
  [
    (["batch_size=8..4"], "range", "batch_size"),
    ([f"{_MULTIPLIER}=0..inf"], "range", _MULTIPLIER),
    ([f"{_MULTIPLIER}=0..1:log"], "range", _MULTIPLIER),
    (["batch_size=8..16:ln"], "syntax", "batch_size"),
    (["batch_size=8", "batch_size=9"], "conflict", "batch_size"),
    (["trials=1..3"], "unsupported", "trials"),
    (["batch_size"], "syntax", "batch_size"),
  ],
)
def test_wrong_ranges(texts, code, place):
  optuna = pytest.importorskip("optuna")
  with pytest.raises(UserError) as mistake:
    search.parse_ranges(optuna, default.get_config(), texts)
  assert (mistake.value.code, mistake.value.place) == (code, place)


@pytest.mark.parametrize(
  "text", ["batch_size=8..x", "batch_size=..8", "batch_sise=8..9"]
)
def test_wrong_values(text):
  optuna = pytest.importorskip("optuna")
  with pytest.raises(UserError) as mistake:
    search.parse_ranges(optuna, default.get_config(), [text])
  assert text.split("=")[0] in str(mistake.value)


@pytest.fixture
def command_line(tmp_path):
  tiny.write(tmp_path, budget="160 examples", seed=3)
  return ["search", f"--config={tmp_path / 'tiny.py'}", *RANGES]


@pytest.fixture
def oracle(monkeypatch):
  """A closed form instead of training: the best is 0.01, 20 and adam."""
  pytest.importorskip("optuna")
  asked = []

  def try_rates(config, name, rates, out):
    (rate,) = rates
    asked.append((rate, config.batch_size, config.optimizer.name))
    top1 = 0.9 - 0.1 * np.log10(rate / 0.01) ** 2
    top1 -= ((config.batch_size - 20) / 40) ** 2
    top1 -= 0.2 * (config.optimizer.name == "sgd")
    diverged = len(asked) == 4
    return [
      {
        "steps": 1,
        "trials": 0 if diverged else 2,
        "trials_diverged": 2 * diverged,
      }
      | {
        f"{metric}{end}": np.nan if diverged else top1
        for metric in ("top1", "map3", "loss")
        for end in ("", "_low", "_high")
      }
    ]

  monkeypatch.setattr(grid, "try_rates", try_rates)
  monkeypatch.setattr(search, "plot", lambda *args: Figure((1, 1)))  # for speed
  return asked


def _table(out):
  return pd.read_csv(out / "search.csv")


def test_it_searches_and_resumes(command_line, oracle, tmp_path, capsys):
  whole, parts = tmp_path / "whole", tmp_path / "parts"
  assert command.main([*command_line, f"--out={whole}", "--count=25"]) == 0
  output = capsys.readouterr().out
  asked = list(oracle)
  assert len(asked) == len(set(asked)) == 25
  table = _table(whole)
  assert table["number"].tolist() == list(range(1, 26))
  assert np.isnan(table["top1"][3]) and table["trials_diverged"][3] == 2
  best = table.loc[table["top1"].idxmax()]
  rate = re.search(
    r"Best top-1: --config.optimizer.learning_rate=(\S+)", output
  )
  assert float(rate[1]) == pytest.approx(
    best["optimizer.learning_rate"], rel=1e-4
  )
  # After the random first ten, the proposals are good: often adam.
  assert (table["optimizer.name"][10:] == "adam").mean() > 0.6
  assert table["top1"].max() > 0.88
  assert {path.name for path in whole.iterdir()} == {
    "search.csv",
    "search.png",
    "study.journal",
  }

  oracle.clear()
  for count in (3, 12, 25, 25):
    status = command.main([*command_line, f"--out={parts}", f"--count={count}"])
    assert status == 0
  assert oracle == asked
  pd.testing.assert_frame_equal(_table(parts), table)
  other = [*command_line, f"--out={parts}", "--config.seed=4"]
  assert command.main(other) == 2
  assert f"{parts} holds a search" in capsys.readouterr().err


def test_a_search_is_not_resumed_elsewhere(
  command_line, oracle, tmp_path, monkeypatch, capsys
):
  line = [*command_line, f"--out={tmp_path / 'out'}"]
  assert command.main([*line, "--count=2"]) == 0
  other = environment.current() | {"threads": "99"}
  monkeypatch.setattr(environment, "current", lambda: other)
  assert command.main([*line, "--count=2"]) == 0  # it is finished
  assert command.main([*line, "--count=3"]) == 2
  assert "threads was" in capsys.readouterr().err and len(oracle) == 2


def test_an_interrupted_combination_is_proposed_again(
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
  assert command.main(line) == 128 + signal.SIGINT
  monkeypatch.setattr(grid, "try_rates", good)
  assert command.main(line) == 0
  assert oracle == asked
  pd.testing.assert_frame_equal(_table(stopped), _table(whole))


def test_two_processes_search_together(
  command_line, oracle, tmp_path, monkeypatch
):
  """The second runs while the first tries its third combination."""
  line = [*command_line, f"--out={tmp_path / 'out'}"]
  good, statuses = grid.try_rates, []

  def meet(*args):
    if len(oracle) == 2 and not statuses:
      statuses.append(None)
      statuses[0] = command.main([*line, "--count=8"])
    return good(*args)

  monkeypatch.setattr(grid, "try_rates", meet)
  assert command.main([*line, "--count=8"]) == 0
  assert statuses == [0]
  # The combination of the first, which was running, was not proposed again.
  assert len(oracle) == len(set(oracle)) == 8
  table = _table(tmp_path / "out")
  assert table["number"].tolist() == [*range(1, 9)]
  rates = {round(rate, 6) for rate, _, _ in oracle}
  assert {round(x, 6) for x in table["optimizer.learning_rate"]} == rates


def test_proposals_are_those_of_optuna(command_line, oracle, tmp_path):
  """Its own loop: a study in memory, and a seed for each proposal."""
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
  for (rate, *rest), params in zip(oracle, expected, strict=True):
    assert rate == pytest.approx(params[0]) and rest == [*params[1:]]


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
  assert "pip install 'alcurr[tune]'" in capsys.readouterr().err


def test_mistakes_write_nothing(command_line, tmp_path, capsys):
  pytest.importorskip("optuna")
  out = tmp_path / "out"
  for argument in ("--count=0", "eval_batch_size=0..4"):
    assert command.main([*command_line, argument, f"--out={out}"]) == 2
    assert argument.split("=")[0] in capsys.readouterr().err
  assert not out.exists()
