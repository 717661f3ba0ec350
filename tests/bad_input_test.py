"""Every row of the table of bad input, through the command line."""

import pathlib
import sys

import pytest
from absl import app, flags
from bad_input import CASES, Case

from alcurr import main as main_module
from alcurr.core import cli
from alcurr.data import cache
from alcurr.experiments import predict
from alcurr.experiments.config import loader
from alcurr.experiments.tune import __main__ as tune

COMMANDS = {"tune": tune.main, "predict": predict.main}
ROOT = pathlib.Path(__file__).parents[1]


def _reset_flags() -> None:
  """Undoes what the previous case set."""
  for name in ("config", "workdir", "profile"):
    flags.FLAGS[name].unparse()


def run(case: Case, folder: pathlib.Path, monkeypatch) -> int | None:
  """Returns the exit status of the command, run in this process for speed."""
  monkeypatch.chdir(ROOT)
  args = [arg.replace("DIR", str(folder)) for arg in case.args]
  if case.command in COMMANDS:
    return COMMANDS[case.command](args)
  # A compilation cache would remain set for the next cases.
  defaults = [f"--workdir={folder}/run", "--nocompilation_cache"]
  monkeypatch.setattr(sys, "argv", ["alcurr", *defaults, *args])
  _reset_flags()
  with pytest.raises(SystemExit) as exited:
    app.run(main_module.main, flags_parser=loader.parse_flags)
  return exited.value.code


def _files(folder: pathlib.Path) -> set[str]:
  """Returns all files but complete entries of the cache."""
  entries = [path for path in folder.glob("cache/*") if path.is_dir()]
  assert all(cache.read_arrays(entry) for entry in entries)
  complete = {folder / "cache", *entries}
  complete |= {file for entry in entries for file in entry.iterdir()}
  rest = {*folder.rglob("*")} - complete
  return {str(p) for p in rest if "__pycache__" not in p.parts}


@pytest.mark.parametrize("case", CASES, ids=[c.given[:60] for c in CASES])
def test_a_mistake_is_one_error(case, tmp_path, monkeypatch, capfd):
  if "--config.tracking=mlflow" in case.args:
    pytest.importorskip("mlflow")
  case.make(tmp_path)
  before = _files(tmp_path)
  errors = []
  say = cli.say

  def record(error, exit_status):
    errors.append(error)
    return say(error, exit_status)

  monkeypatch.setattr(cli, "say", record)
  status = run(case, tmp_path, monkeypatch)
  lines = capfd.readouterr().err.strip().splitlines()
  assert len([line for line in lines if line.startswith("alcurr: ")]) == 1
  assert not any("Traceback" in line for line in lines)
  (error,) = errors
  place = error.place.replace(str(tmp_path), "DIR")
  assert (error.code, place) == (case.code, case.place), error
  assert status == 2
  assert _files(tmp_path) == before


def test_no_case_is_repeated():
  assert len({(case.kind, case.given) for case in CASES}) == len(CASES)
