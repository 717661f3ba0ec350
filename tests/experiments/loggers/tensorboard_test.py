"""The event files hold every number of metrics.jsonl, once."""

import io
import json
import os
import shutil

import matplotlib.image
import numpy as np
import pytest
import saved

from alcurr.experiments import loggers
from alcurr.experiments.loggers import __main__ as command
from alcurr.experiments.loggers import points


@pytest.fixture
def workdir(tmp_path):
  return saved.write(tmp_path / "it")


def _assert_equal(points, expected):
  """Compares points to the precision of float32."""
  assert points.keys() == expected.keys()
  for tag, curve in expected.items():
    assert [step for step, _ in points[tag]] == [step for step, _ in curve]
    values = [value for _, value in points[tag]]
    np.testing.assert_allclose(values, [v for _, v in curve], rtol=1e-6)


def _assert_complete(workdir):
  for name in saved.NAMES:
    for trial in (0, 1, saved.MEAN):
      folder = workdir / "tensorboard" / name / str(trial)
      _assert_equal(saved.points(folder), saved.expected(name, trial))


def test_every_number_is_a_point_and_repeating_changes_nothing(workdir, capsys):
  for _ in range(2):
    assert command.main([str(workdir)]) == 0
    _assert_complete(workdir)
  runs = {p.parent for p in (workdir / "tensorboard").rglob("events.*")}
  assert runs == {
    workdir / "tensorboard/experiment",
    *(
      workdir / "tensorboard" / name / trial
      for name in saved.NAMES
      for trial in ("0", "1", saved.MEAN)
    ),
  }
  output = capsys.readouterr()
  assert output.out == 2 * f"tensorboard --logdir={workdir}/tensorboard\n"
  assert not output.err


def test_trials_may_outnumber_the_open_files(workdir):
  before = len(os.listdir("/proc/self/fd"))
  config = json.loads((workdir / "config.json").read_text())
  config["trials"] = 50
  experiment = loggers.Experiment(workdir, config)
  logger = loggers.LOGGERS["tensorboard"].make(experiment)
  logger.begin("bandit", saved.rows("bandit"))
  assert len(os.listdir("/proc/self/fd")) <= before
  logger.close()
  folder = workdir / "tensorboard/bandit/1"
  assert saved.points(folder)["loss/valid"]


def test_tensorboard_reads_them(workdir):
  """Its own reader drops what it takes for a restart."""
  reader = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator"
  )
  assert command.main([str(workdir)]) == 0
  folder = workdir / "tensorboard/bandit/1"
  read = reader.EventAccumulator(str(folder)).Reload()
  _assert_equal(
    {
      tag: [(p.step, p.value) for p in read.Scalars(tag)]
      for tag in read.Tags()["scalars"]
    },
    saved.expected("bandit", 1),
  )
  # Replayed while it is open: the old points are dropped.
  assert command.main([str(workdir)]) == 0
  read.Reload()
  assert len(read.Scalars("loss/valid")) == 2
  assert read.Tags()["images"] == ["visual/policy"]
  seconds = [p.wall_time for p in read.Scalars("sampler/coverage")]
  np.testing.assert_allclose(np.diff(seconds), 2.5, atol=1e-3)


def test_images_come_after_all_curves(workdir):
  assert command.main([str(workdir)]) == 0
  curves, images = set(), set()
  for name in ("experiment", "uniform/0", "bandit/0", f"bandit/{saved.MEAN}"):
    folder = workdir / "tensorboard" / name
    curves |= saved.points(folder).keys()
    images |= saved.images(folder).keys()
  # Those of classes.
  assert curves == {tag for tag in points.CURVES if not tag.endswith("/r2")}
  assert images == {
    "visual/policy",
    *(f"visual/examples of {name}" for name in saved.CLASSES),
  }
  assert sorted(curves | images)[: len(curves)] == sorted(curves)


def test_the_policy_is_drawn_at_each_evaluation_if_it_moves(workdir):
  assert command.main([str(workdir)]) == 0
  folder = workdir / "tensorboard"
  assert not saved.images(folder / "uniform/0")
  drawn = saved.images(folder / "bandit/0")["visual/policy"]
  assert [step for step, _ in drawn] == [640, 1280]
  # Its colours and axes are those of the file of MLflow: see `pictures_test`.
  image = matplotlib.image.imread(io.BytesIO(drawn[-1][1]))
  assert image.ndim == 3 and len(np.unique(image)) > 100
  mean = saved.images(folder / "bandit" / saved.MEAN)["visual/policy"]
  assert [step for step, _ in mean] == [1280]


def test_the_config_is_text_and_settings_are_hyperparameters(workdir):
  assert command.main([str(workdir)]) == 0
  text = saved.texts(workdir / "tensorboard/experiment")["config/text_summary"]
  assert text.startswith("```json\n") and text.endswith("\n```")
  config = json.loads(text.removeprefix("```json").removesuffix("```"))
  assert config == json.loads((workdir / "config.json").read_text())
  folder = workdir / "tensorboard/bandit/1"
  settings, metrics = saved.hparams(folder)
  assert settings["sampler"] == "bandit" and settings["setting.trial"] == 1
  assert settings["sampler.epsilon"] == "0.2"
  assert settings["setting.optimizer.learning_rate"] == pytest.approx(1e-3)
  # The table shows the first by name.
  of_sampler = [name for name in settings if name.startswith("sampler")]
  assert sorted(settings)[: len(of_sampler)] == sorted(of_sampler)
  assert not [name for name in settings if "cache_dir" in name]
  # The table shows the last points of these curves.
  assert (
    {"accuracy/top1", "test/top1"} <= metrics <= saved.points(folder).keys()
  )


def _logger(workdir):
  config = json.loads((workdir / "config.json").read_text())
  experiment = loggers.Experiment(workdir, config)
  return loggers.LOGGERS["tensorboard"].make(experiment)


def test_a_resumed_run_neither_loses_nor_repeats_points(workdir):
  shutil.rmtree(workdir / "runs")
  saved.write_rows(workdir, "bandit", 0)
  rows = saved.rows("bandit")
  first = _logger(workdir)
  first.begin("bandit", [])
  for row in rows[:5]:
    first.write(row)
  # It is killed; its checkpoint was saved before the third row.
  again = _logger(workdir)
  again.begin("bandit", rows[:2])
  for row in rows[2:]:
    again.write(row)
  saved.write_rows(workdir, "bandit")
  saved.write_result(workdir, "bandit")
  again.end(json.loads((workdir / "runs/bandit/result.json").read_text()))
  again.close()
  for trial in (0, 1):
    folder = workdir / "tensorboard/bandit" / str(trial)
    _assert_equal(saved.points(folder), saved.expected("bandit", trial))
  # Later, from the files alone.
  _logger(workdir).replay(workdir / "runs/bandit")
  _assert_equal(saved.points(folder), saved.expected("bandit", 1))


def test_pictures_of_long_runs_are_few(workdir):
  """At powers of two of the evaluations, and at the end."""
  rows = [
    row | {"examples_seen": row["examples_seen"] + 2000 * turn}
    for turn in range(5)
    for row in saved.rows("bandit")
  ]
  logger = _logger(workdir)
  logger.begin("bandit", rows)
  (workdir / "runs/bandit/metrics.jsonl").write_text("")
  result = json.loads((workdir / "runs/bandit/result.json").read_text())
  logger.end(result | {"examples_seen": 9280})
  drawn = saved.images(workdir / "tensorboard/bandit/0")["visual/policy"]
  assert [step for step, _ in drawn] == [640, 1280, 3280, 7280, 9280]


def test_a_diverged_trial_has_a_text(workdir):
  saved.write_result(workdir, "bandit", diverged=True)
  assert command.main([str(workdir)]) == 0
  folder = workdir / "tensorboard/bandit"
  assert "test/top1" in saved.points(folder / "0")
  assert "test/top1" not in saved.points(folder / "1")
  text = saved.texts(folder / "1")["divergence/text_summary"]
  assert text == "Diverged at step 35: the loss."
  # One trial has no mean over trials.
  assert not (folder / saved.MEAN).exists()
  assert not saved.texts(folder / "0")


def test_a_deleted_workdir_is_not_created_again(workdir):
  logger = _logger(workdir)
  shutil.rmtree(workdir)
  with pytest.raises(FileNotFoundError):
    logger.begin("bandit", saved.rows("bandit"))
  assert not workdir.exists()
