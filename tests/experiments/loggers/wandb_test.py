"""W&B's own reader finds every number of metrics.jsonl, once, offline."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import saved

from alcurr.experiments import loggers
from alcurr.experiments.loggers import __main__ as command

pytest.importorskip("wandb", reason="the extra `wandb` brings it")


@pytest.fixture
def workdir(tmp_path, monkeypatch):
  for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "WANDB_API_KEY"):
    monkeypatch.delenv(name, raising=False)
  return saved.write(tmp_path / "it")


def _read(folder, *options):
  """Returns what W&B's own command prints of a run."""
  program = [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]
  done = subprocess.run(
    [*program, *options, str(folder)],
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout


def _summaries(workdir):
  """Returns W&B's summary of each run by its name; names are unique."""
  runs = {}
  for folder in (workdir / "wandb").glob("offline-run-*"):
    summary = json.loads(_read(folder, "--summary"))
    assert summary["name"] not in runs
    runs[summary["name"]] = summary | {"folder": folder}
  return runs


def _points(folder):
  points = {}
  for line in _read(folder).splitlines():
    record = json.loads(line)
    if record["type"] == "history":
      step = record["history"]["step"]["num"]
      for tag, value in record["history"]["item"].items():
        is_ours = not tag.startswith(("_", "visual/"))
        if is_ours and tag != "train_seconds":
          points.setdefault(tag, []).append((step, value))
  return points


def _assert_complete(runs, name, trial):
  found = _points(runs[f"{name} {trial}"]["folder"])
  expected = saved.expected(name, trial)
  assert found.keys() == expected.keys()
  for tag, curve in expected.items():
    np.testing.assert_allclose(found[tag], curve, rtol=1e-9)


def test_every_number_is_a_point_and_repeating_changes_nothing(workdir, capsys):
  for _ in range(2):
    assert command.main([str(workdir), "--to=wandb"]) == 0
  output = capsys.readouterr()
  assert output.out.startswith(f"wandb leet {workdir}/wandb")
  assert output.out.count("\n") == 2 and not output.err
  runs = _summaries(workdir)
  trials = [f"{n} {t}" for n in saved.NAMES for t in (0, 1, saved.MEAN)]
  assert runs.keys() == {"report", *trials}
  for trial in (1, saved.MEAN):
    _assert_complete(runs, "bandit", trial)
  _assert_complete(runs, "uniform", 0)
  run = runs["bandit 1"]
  facts = run["project"], run["state"], run["exit_code"]
  assert facts == ("it", "finished", 0)
  config = run["config"]
  assert config["sampler"] == "bandit" and config["trial"] == 1
  assert config["seed"] == 8 and config["sampler.gain"] == "prediction_gain"
  assert not {"cache_dir", "checkpoint.steps", "tracking"} & config.keys()
  picture = run["summary"]["visual/policy"]
  assert (run["folder"] / "files" / picture["path"]).is_file()
  assert "visual/policy" not in runs["uniform 1"]["summary"]
  page = runs["report"]["summary"]["report"]["path"]
  text = (runs["report"]["folder"] / "files" / page).read_text()
  assert "<p>report</p>" in text


def test_nothing_of_the_machine_is_recorded(workdir):
  (workdir / "report.html").unlink()
  shutil.rmtree(workdir / "runs/uniform")
  assert command.main([str(workdir), "--to=wandb"]) == 0
  run = _summaries(workdir)["bandit 0"]
  for line in _read(run["folder"]).splitlines():
    record = json.loads(line)
    assert not record.get("run", {}).get("host")
  files = {path.name for path in (run["folder"] / "files").rglob("*.*")}
  assert len(files) == 1 and files.pop().startswith("policy_")


def _logger(workdir):
  config = json.loads((workdir / "config.json").read_text())
  return loggers.LOGGERS["wandb"].make(loggers.Experiment(workdir, config))


def test_a_resumed_run_neither_loses_nor_repeats_points(workdir):
  rows = saved.rows("bandit")
  first = _logger(workdir)
  first.begin("bandit", [])
  for row in rows[:5]:
    first.write(row)
  first.close()
  stopped = _summaries(workdir)
  assert stopped.keys() == {"bandit 0", "bandit 1"}
  assert stopped["bandit 0"]["exit_code"] == 130
  second = _logger(workdir)
  second.begin("bandit", rows[:2])
  for row in rows[2:]:
    second.write(row)
  second.end(json.loads((workdir / "runs/bandit/result.json").read_text()))
  runs = _summaries(workdir)
  assert len(runs) == 3
  for trial in (0, 1, saved.MEAN):
    _assert_complete(runs, "bandit", trial)


def test_a_diverged_trial_has_failed(workdir):
  saved.write_result(workdir, "bandit", diverged=True)
  shutil.rmtree(workdir / "runs/uniform")
  assert command.main([str(workdir), "--to=wandb"]) == 0
  runs = _summaries(workdir)
  assert runs.keys() == {"bandit 0", "bandit 1", "report"}
  assert runs["bandit 0"]["exit_code"] == 0
  assert runs["bandit 1"]["exit_code"] == 1
  assert runs["bandit 1"]["summary"]["divergence"] == "step 35: the loss"


def test_a_deleted_workdir_is_not_created_again(workdir):
  config = json.loads((workdir / "config.json").read_text())
  shutil.rmtree(workdir)
  with pytest.raises(FileNotFoundError):
    loggers.LOGGERS["wandb"].make(loggers.Experiment(workdir, config))
  assert not workdir.exists()
