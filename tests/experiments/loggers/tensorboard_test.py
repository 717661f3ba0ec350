"""TensorBoard's event files hold what metrics.jsonl holds, once."""

import io
import json
import shutil

import left
import matplotlib
import matplotlib.image
import numpy as np
import pytest

from alcurr.experiments import loggers
from alcurr.experiments.loggers import __main__ as main__
from alcurr.experiments.loggers import background, scalars


@pytest.fixture
def workdir(tmp_path):
  return left.write(tmp_path / "it")


def _close(found, expected):
  """The same points, as far as a float32 tells them apart."""
  assert found.keys() == expected.keys()
  for tag, points in expected.items():
    assert [step for step, _ in found[tag]] == [step for step, _ in points]
    values = [value for _, value in found[tag]]
    np.testing.assert_array_equal(values, np.float32([v for _, v in points]))


def _all_told(workdir):
  for name in left.NAMES:
    for trial in (0, 1):
      folder = workdir / "tensorboard" / name / str(trial)
      _close(left.points(folder), left.expected(name, trial))


def test_every_number_is_a_point_and_again_changes_nothing(workdir, capsys):
  for _ in range(2):
    assert main__.main([str(workdir)]) == 0
    _all_told(workdir)
  runs = {p.parent for p in (workdir / "tensorboard").rglob("events.*")}
  assert runs == {
    workdir / "tensorboard/experiment",
    *(workdir / "tensorboard" / n / t for n in left.NAMES for t in "01"),
  }
  said = capsys.readouterr()
  assert said.out == 2 * f"tensorboard --logdir={workdir}/tensorboard\n"
  assert not said.err


def test_tensorboard_reads_them(workdir):
  """By its own reader, which drops what it takes for a restart."""
  reader = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator"
  )
  assert main__.main([str(workdir)]) == 0
  folder = workdir / "tensorboard/bandit/1"
  read = reader.EventAccumulator(str(folder)).Reload()
  _close(
    {
      tag: [(p.step, p.value) for p in read.Scalars(tag)]
      for tag in read.Tags()["scalars"]
    },
    left.expected("bandit", 1),
  )
  # Again while it is looked at: what was there is dropped.
  assert main__.main([str(workdir)]) == 0
  read.Reload()
  assert len(read.Scalars("loss/valid")) == 2
  assert read.Tags()["images"] == ["visual/policy"]
  seconds = [p.wall_time for p in read.Scalars("sampler/coverage")]
  np.testing.assert_allclose(np.diff(seconds), 2.5, atol=1e-3)


def test_pictures_come_after_all_curves(workdir):
  assert main__.main([str(workdir)]) == 0
  curves, images = set(), set()
  for name in ("experiment", "uniform/0", "bandit/0"):
    folder = workdir / "tensorboard" / name
    curves |= left.points(folder).keys()
    images |= left.pictures(folder).keys()
  assert curves == scalars.DESCRIPTIONS.keys()
  assert images == {
    "visual/policy",
    *(f"visual/drawings of {name}" for name in left.CLASSES),
  }
  assert sorted(curves | images)[: len(curves)] == sorted(curves)


def test_the_policy_is_drawn_at_each_evaluation_if_it_moves(workdir):
  assert main__.main([str(workdir)]) == 0
  folder = workdir / "tensorboard"
  assert not left.pictures(folder / "uniform/0")
  drawn = left.pictures(folder / "bandit/0")["visual/policy"]
  assert [step for step, _ in drawn] == [640, 1280]
  image = matplotlib.image.imread(io.BytesIO(drawn[-1][1]))
  # Three arms of 6 + 2 pixels each, four drawings before them.
  assert image.shape == (24, 4 * 8 + 600, 3)
  # At the end all is on the third arm, the upper one; at first a third less.
  policy = np.array([r["policy"] for r in left.rows("bandit")[::2]])
  colors = matplotlib.colormaps["viridis"](policy / policy.max())[..., :3]
  for chunk in range(4):
    x = 4 * 8 + 150 * chunk + 75
    for arm in range(3):
      y = 24 - 8 * arm - 4
      np.testing.assert_allclose(image[y, x], colors[chunk, arm], atol=0.01)


def test_the_config_is_text_and_the_table_of_hyperparameters_is_live(workdir):
  assert main__.main([str(workdir)]) == 0
  text = left.texts(workdir / "tensorboard/experiment")["config/text_summary"]
  assert text.startswith("```json\n") and text.endswith("\n```")
  config = json.loads(text.removeprefix("```json").removesuffix("```"))
  assert config == json.loads((workdir / "config.json").read_text())
  folder = workdir / "tensorboard/bandit/1"
  settings, metrics = left.hparams(folder)
  assert settings["sampler"] == "bandit" and settings["setting.trial"] == 1
  assert settings["sampler.epsilon"] == "0.2"
  assert settings["setting.optimizer.learning_rate"] == pytest.approx(1e-3)
  # The table shows the first by the alphabet.
  assert sorted(settings)[0] == "sampler"
  assert sorted(settings)[4] == "sampler.epsilon"
  assert not [name for name in settings if "cache_dir" in name]
  # What the table shows of them is the last point of these curves.
  assert {"accuracy/top1", "test/top1"} <= metrics <= left.points(folder).keys()


def _tracker(workdir):
  config = json.loads((workdir / "config.json").read_text())
  experiment = loggers.Experiment(workdir, config)
  return loggers.TRACKERS["tensorboard"].load()(experiment)


def test_a_run_that_was_cut_off_loses_and_doubles_nothing(workdir):
  shutil.rmtree(workdir / "runs")
  left.write_rows(workdir, "bandit", 0)
  rows = left.rows("bandit")
  first = _tracker(workdir)
  first.begin("bandit", [])
  first.write("bandit", rows[:5])
  # It is killed; its checkpoint is of before the third row.
  again = _tracker(workdir)
  again.begin("bandit", rows[:2])
  again.write("bandit", rows[2:4])
  again.write("bandit", rows[4:])
  left.write_rows(workdir, "bandit")
  left.write_result(workdir, "bandit")
  again.end(
    "bandit", json.loads((workdir / "runs/bandit/result.json").read_text())
  )
  again.close()
  for trial in (0, 1):
    folder = workdir / "tensorboard/bandit" / str(trial)
    _close(left.points(folder), left.expected("bandit", trial))
  # And later from the files alone.
  background.replay(_tracker(workdir), workdir, ["bandit"])
  _close(left.points(folder), left.expected("bandit", 1))


def test_a_trial_that_went_wrong_says_so(workdir):
  left.write_result(workdir, "bandit", wrong=True)
  assert main__.main([str(workdir)]) == 0
  folder = workdir / "tensorboard/bandit"
  assert "test/top1" in left.points(folder / "0")
  assert "test/top1" not in left.points(folder / "1")
  text = left.texts(folder / "1")["went wrong/text_summary"]
  assert text == "Not finite at step 35: the loss."
  assert not left.texts(folder / "0")


def test_a_workdir_that_was_deleted_is_not_made_again(workdir):
  tracker = _tracker(workdir)
  shutil.rmtree(workdir)
  with pytest.raises(FileNotFoundError):
    tracker.begin("bandit", left.rows("bandit"))
  assert not workdir.exists()
