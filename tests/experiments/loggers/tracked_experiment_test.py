"""A real experiment, stopped and resumed, with working and failing loggers."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import saved
from PIL import Image

from alcurr.core import files
from alcurr.experiments import experiment_runner, loggers, preemption
from alcurr.experiments.loggers import pictures
from configs import default

# `main_test` runs the command line with the default logger.
pytestmark = pytest.mark.slow


def _config():
  config = default.get_config()
  config.data.num_examples = 1200
  config.data.classes = "4"
  config.data.image_size = 16
  config.data.render = "precompute"
  config.trials = 2
  config.batch_size = 8
  config.budget = "60 steps"
  config.chunk_steps = 10
  config.num_evals = 3
  config.difficulty.budget = "24 steps"
  config.difficulty.num_arms = 3
  config.baseline = "bandit"
  config.samplers.bandit.warmup = 4
  del config.samplers.uniform
  return config


class Broken:
  """Raises at every event."""

  how_to_view = "nowhere"

  def __init__(self, experiment):
    pass

  def __getattr__(self, name):
    raise OSError(28, "No space left on device")


@pytest.fixture(scope="module", autouse=True)
def quick_page():
  """The page takes longer than the rest, and is not tested here."""

  def write_page(workdirs, out):
    assert (workdirs[0] / "results.csv").exists()
    out.write_text("a page")

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(experiment_runner.page, "write_report", write_page)
    yield


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
  """A workdir whose run was stopped after some chunks, then finished."""
  workdir = tmp_path_factory.mktemp("runs") / "it"
  signals = preemption.Signals()
  write = files.Lines.write

  def stop_soon(lines, row):
    write(lines, row)
    if row["step"] == 20:
      signals._received = 15

  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(loggers.LOGGERS, "mlflow", loggers.LoggerKind(Broken, "json"))
    patch.setattr(files.Lines, "write", stop_soon)
    config = _config()
    config.tracking = "tensorboard,mlflow"
    with pytest.raises(preemption.Stopped):
      experiment_runner.run(config, workdir, signals=signals)
    before = shutil.copytree(workdir, workdir.parent / "before")
    patch.undo()
    experiment_runner.run(_config(), workdir)
  return before, workdir


def _check(workdir, last):
  rows = loggers.read_rows(workdir / "runs/bandit/metrics.jsonl")
  assert [(r["step"], r["trial"]) for r in rows] == [
    (step, trial) for step in range(10, last + 1, 10) for trial in (0, 1)
  ]
  for trial in (0, 1):
    own = [row for row in rows if row["trial"] == trial]
    folder = workdir / "tensorboard/bandit" / str(trial)
    points = saved.points(folder)
    for tag, column in (
      *(("loss/train", "train_loss"), ("sampler/gain", "gain")),
      ("sampler/coverage", "coverage"),
    ):
      assert points[tag] == [
        (row["examples_seen"], np.float32(row[column])) for row in own
      ]
    assert points["accuracy/top1"] == [
      (row["examples_seen"], np.float32(row["valid"]["top1"]))
      for row in own
      if "valid" in row
    ]


def test_a_stopped_run_has_sent_every_row(stopped):
  before, _ = stopped
  # A further chunk was on the device when the signal came.
  _check(before, 30)
  assert not (before / "runs/bandit/result.json").exists()
  assert "test/top1" not in saved.points(before / "tensorboard/bandit/0")


def test_a_live_picture_of_the_policy_shows_the_arms(stopped):
  before, _ = stopped
  _, png = saved.images(before / "tensorboard/bandit/0")["visual/policy"][-1]
  # Drawings of the arms are at the right of the map.
  plain = pictures.draw_policy([1], np.ones((1, 3)) / 3, "bandit")
  assert Image.open(io.BytesIO(png)).width > plain.shape[1]


def test_a_resumed_run_has_every_point_once(stopped):
  _, workdir = stopped
  _check(workdir, 60)
  results = pd.read_csv(workdir / "results.csv")
  for trial in (0, 1):
    points = saved.points(workdir / "tensorboard/bandit" / str(trial))
    assert points["test/top1"] == [
      (480, pytest.approx(results.top1[trial], abs=1e-5))
    ]
  images = saved.images(workdir / "tensorboard/experiment")
  info = json.loads((workdir / "gallery.json").read_text())
  assert images.keys() == {
    f"visual/examples of {name}" for name in info["class_names"]
  }


def test_rerunning_restores_lost_points(stopped, tmp_path):
  workdir = shutil.copytree(stopped[1], tmp_path / "it")
  shutil.rmtree(workdir / "tensorboard")
  config = _config()
  config.cache_dir = str(stopped[1].parent / "cache")
  experiment_runner.run(config, workdir)
  _check(workdir, 60)


def test_failing_loggers_do_not_stop_the_experiment(
  stopped, tmp_path, monkeypatch, caplog
):
  workdir = shutil.copytree(stopped[1], tmp_path / "it")
  shutil.rmtree(workdir / "tensorboard")
  (workdir / "tensorboard").write_text("a file")
  (workdir / "report.html").unlink()
  monkeypatch.setitem(
    loggers.LOGGERS, "mlflow", loggers.LoggerKind(Broken, "json")
  )
  config = _config()
  config.cache_dir = str(stopped[1].parent / "cache")
  config.tracking = "tensorboard,mlflow"
  summary = experiment_runner.run(config, workdir)
  assert summary["trials"].tolist() == [2]
  assert (workdir / "report.html").exists()
  messages = sorted(
    record.getMessage()
    for record in caplog.records
    if record.levelname == "WARNING"
  )
  assert [line.split(":")[:2] for line in messages] == [
    ["mlflow", " OSError"],
    ["tensorboard", " FileExistsError"],
  ]
