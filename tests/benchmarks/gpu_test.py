"""The parts of the measurement on a GPU: how they run, end and resume."""

import importlib
import os
import pathlib

import pandas as pd
import pytest

from alcurr.core import files
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import parts, runner, summary, trace
from benchmarks.gpu.parts import Part

HERE = pathlib.Path(__file__).parent


@pytest.fixture
def toy_parts(monkeypatch):
  """Returns a function from behaviours to parts, named after them."""
  monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)

  def make(*behaviours, **more):
    # As `parts` does, but of a module of the tests.
    return [
      Part(x, ("toy_part", x), **{"seconds": 60} | more) for x in behaviours
    ]

  return make


def is_alive(pid):
  status = pathlib.Path(f"/proc/{pid}/status")
  return status.exists() and "State:\tZ" not in status.read_text()


@pytest.mark.parametrize("small", [False, True])
def test_every_part_is_a_command_that_its_module_understands(small):
  made = parts.make_parts(small)
  names = [part.name for part in made]
  assert len({*names}) == len(names)
  assert {*names} <= {part.name for part in parts.make_parts(False)}
  for part in made:
    module, *options = part.command
    more = ["--workdir", "w"] if part.workdir else []
    parse = importlib.import_module(module).parse
    args = parse([*options, *more, "--out", "x.csv"])
    assert args.out == pathlib.Path("x.csv")
    assert any(part.name.startswith(name) for name in summary.SHOWN)


def test_a_part_that_fails_or_hangs_costs_no_other_its_result(
  toy_parts, tmp_path
):
  made = [
    *toy_parts("fails"),
    *toy_parts("hangs", seconds=2),
    *toy_parts("writes"),
  ]
  out, scratch = tmp_path / "out", tmp_path / "scratch"
  records = list(runner.run_parts(made, out, scratch, seconds=600))
  statuses = [record.status for record in records]
  assert statuses == [runner.FAILED, runner.TIMED_OUT, runner.DONE]
  assert "out of memory" in records[0].reason
  # The table of a part that was stopped stays, and its processes do not.
  assert not is_alive(int((out / "hangs.csv").read_text().split()[1]))
  assert (out / "writes.csv").read_text().count("floor") == 1


def test_what_is_done_is_not_run_again(toy_parts, tmp_path):
  made = toy_parts("writes", "fails")

  def run(made):
    records = runner.run_parts(made, tmp_path, tmp_path, seconds=600)
    return [record.status for record in records]

  for _ in range(2):
    assert run(made) == [runner.DONE, runner.FAILED]
  table = tmp_path / "writes.csv"
  assert table.read_text().count("floor") == 1
  # Neither without its record, nor as another command.
  (tmp_path / "writes.json").unlink()
  run(made[:1])
  run([made[0]._replace(command=("toy_part", "writes "))])
  assert table.read_text().count("floor") == 3


def test_parts_without_time_or_packages_are_not_started(toy_parts, tmp_path):
  [late] = toy_parts("writes")
  [lacking] = toy_parts("fails", packages=("json", "no_such_package"))
  found = list(runner.run_parts([late, lacking], tmp_path, tmp_path, 0))
  assert [r.status for r in found] == [runner.NOT_RUN, runner.SKIPPED]
  assert "no_such_package" in found[1].reason
  assert not list(tmp_path.glob("*.csv"))
  assert summary.unfinished(found) == [f"writes: not run ({found[0].reason})"]


def test_the_command_names_what_failed(
  toy_parts, tmp_path, monkeypatch, capsys
):
  made = toy_parts("fails", "writes")
  monkeypatch.setattr(parts, "make_parts", lambda small: made)
  monkeypatch.setattr(
    command, "find_device", lambda: ("gpu", "Some GPU (80GB)")
  )
  monkeypatch.setitem(summary.SHOWN, "writes", ("contestant", "ratio"))
  options = ["--out", str(tmp_path / "out"), "--scratch", str(tmp_path / "s")]
  assert command.main([*options, "--parts", "fails,writes"]) == 1
  assert "fails: failed" in capsys.readouterr().err
  folder = tmp_path / "out" / "some_gpu_80gb"
  assert files.read_json(folder / "fails.json")["status"] == runner.FAILED
  text = (folder / "summary.md").read_text()
  assert "# Some GPU (80GB)" in text and "out of memory" in text
  assert "| floor | 1 |" in text


def test_a_cpu_is_only_for_small_runs(monkeypatch, capsys):
  monkeypatch.setattr(command, "find_device", lambda: ("cpu", "cpu"))
  assert command.main([]) == 2
  assert "--small" in capsys.readouterr().err


def test_aims_by_hand():
  spread = {"ratio_10%": 0.9, "ratio_90%": 1.5}
  shared = {"model": "mobilenet", "dtype": "bfloat16", "batch": 512, **spread}
  tables = {
    "step_512_bfloat16": pd.DataFrame(
      [
        {"contestant": "floor", "ratio": 1.0} | shared,
        {"contestant": "uniform", "ratio": 1.03} | shared,
        {"contestant": "prediction_gain", "ratio": 1.3} | shared,
      ]
    ),
    "peers_32": pd.DataFrame(
      [
        {"contestant": "alcurr uniform", "trials": 3} | shared,
        {"contestant": "PyTorch", "trials": 3, "ratio": 3.2} | shared,
        {"contestant": "torch.compile", "trials": 3, "ratio": 2.9} | shared,
      ]
    ),
    "suite_tenth": pd.DataFrame(
      [
        {
          "model": "mobilenet",
          "pixels": 64,
          "full_s_least": 540.0,
          "full_s_most": 660.0,
          "wall_s": 90.0,
          "finished": True,
        }
      ]
    ),
  }
  aims = {a.aim.split(" at ")[0]: a for a in summary.find_aims(tables)}
  assert {name: aim.verdict for name, aim in aims.items()} == {
    "27 runs in 10 min": "open",
    "uniform": "missed",
    "prediction_gain": "met",
    "3 x PyTorch, 3 trials": "met",
    "3 x torch.compile, 3 trials": "missed",
  }
  assert "9.0 to 11.0 min" in aims["27 runs in 10 min"].measured
  # The whole suite counts as it was measured.
  whole = tables["suite_tenth"].assign(wall_s=601.0)
  [aim] = summary.find_aims({"suite": whole})
  assert aim.verdict == "missed"


def test_gaps_by_hand():
  """One operation lasts longer than the next two begin and end."""
  events = [
    trace.Event(0, 10e6, "a"),
    trace.Event(2e6, 4e6, "b"),
    trace.Event(5e6, 8e6, "c"),
    trace.Event(12e6, 13e6, "b"),
    trace.Event(13e6, 14e6, "a"),
    trace.Event(17e6, 18e6, "b"),
  ]
  gaps = list(trace.find_gaps(events[::-1]))
  assert gaps == [
    (pytest.approx(2e-3), "a", "b"),
    (pytest.approx(3e-3), "a", "b"),
  ]
  rows = trace.summarise(events, {"a": "loss"}, seconds=0.02, steps=2)
  found = {(row["kind"], row["name"]): row for row in rows}
  assert found["total", "operations"]["ms"] == pytest.approx(13 / 2)
  assert found["gap", "a -> b"]["ms"] == pytest.approx(5 / 2)
  assert found["gap", "a -> b"]["calls"] == 2
  first = found["operation", "a"]
  assert first["ms"] == pytest.approx(11 / 2) and first["source"] == "loss"


@pytest.mark.slow
def test_everything_runs_in_small(tmp_path):
  options = ["--out", str(tmp_path / "out"), "--scratch", str(tmp_path / "s")]
  status = command.main([*options, "--small", "--minutes", "60"])
  [folder] = (tmp_path / "out").iterdir()
  records = [files.read_json(path) for path in folder.glob("*.json")]
  failed = [r for r in records if r["status"] != runner.DONE]
  assert (status, failed) == (0, [])
  for record in records:
    table = pd.read_csv(folder / f"{record['part']}.csv")
    assert {"device", "date", "jax", "command"} <= {*table.columns}
    assert "note" not in table or table["note"].isna().all()
