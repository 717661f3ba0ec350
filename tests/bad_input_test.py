"""Every row of the table of bad input, through the command line."""

import pathlib
import re
import sys

import pytest
from absl import app, flags
from bad_input import CASES, Case

from alcurr import main as cli
from alcurr.data import cache
from alcurr.experiments import predict
from alcurr.experiments.tune import __main__ as tune

COMMANDS = {"tune": tune.main, "predict": predict.main}
ROOT = pathlib.Path(__file__).parents[1]


def _forget_flags() -> None:
  """What the case before has set."""
  for name in list(flags.FLAGS):
    if name.startswith("config."):
      delattr(flags.FLAGS, name)
    elif name in ("config", "workdir", "profile"):
      flags.FLAGS[name].unparse()


def run(case: Case, folder: pathlib.Path, monkeypatch) -> int | None:
  """The exit status of the case's command, in this process for speed."""
  monkeypatch.chdir(ROOT)
  args = [arg.replace("DIR", str(folder)) for arg in case.args]
  if case.command in COMMANDS:
    return COMMANDS[case.command](args)
  # A folder of programs would stay this process's.
  own = [f"--workdir={folder}/run", "--nocompilation_cache"]
  monkeypatch.setattr(sys, "argv", ["alcurr", *own, *args])
  _forget_flags()
  with pytest.raises(SystemExit) as stopped:
    app.run(cli.main, flags_parser=cli.parse)
  return stopped.value.code


def _files(folder: pathlib.Path) -> set[str]:
  """All that lies there, but for whole entries of the cache."""
  entries = [path for path in folder.glob("cache/*") if path.is_dir()]
  assert all(cache.read_arrays(entry) for entry in entries)
  whole = {folder / "cache", *entries}
  whole |= {file for entry in entries for file in entry.iterdir()}
  found = {*folder.rglob("*")} - whole
  return {str(p) for p in found if "__pycache__" not in p.parts}


@pytest.mark.parametrize("case", CASES, ids=[c.given[:60] for c in CASES])
def test_a_mistake_is_one_sentence(case, tmp_path, monkeypatch, capfd):
  case.make(tmp_path)
  before = _files(tmp_path)
  status = run(case, tmp_path, monkeypatch)
  lines = capfd.readouterr().err.strip().splitlines()
  said = [line for line in lines if line.startswith("alcurr: ")]
  assert len(said) == 1 and not any("Traceback" in line for line in lines)
  expected = re.sub(r"\bDIR\b", str(tmp_path), f"alcurr: {case.said}")
  pattern = ".*".join(map(re.escape, expected.split("…")))
  assert re.fullmatch(pattern, said[0]), said[0]
  assert status == 2
  assert _files(tmp_path) == before


def test_the_table_has_every_kind():
  kinds = [case.kind for case in CASES]
  assert len(CASES) >= 80
  for kind, least in (("config", 40), ("data", 30), ("weights", 8)):
    assert kinds.count(kind) >= least
  assert len({(case.kind, case.given) for case in CASES}) == len(CASES)
