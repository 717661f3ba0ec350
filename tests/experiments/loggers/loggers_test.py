"""The fields of the config, and the command."""

import importlib.util
import json
import shutil

import pytest
import saved

from alcurr.core import lock
from alcurr.core.errors import FaultError, UserError
from alcurr.experiments import loggers
from alcurr.experiments.config import schema
from alcurr.experiments.loggers import __main__ as command
from alcurr.experiments.workdir import check_workdir
from configs import default


@pytest.fixture
def installed(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


@pytest.mark.parametrize(
  ("text", "names"),
  [
    ("none", []),
    ("tensorboard", ["tensorboard"]),
    ("mlflow, tensorboard,wandb", ["mlflow", "tensorboard", "wandb"]),
  ],
)
def test_names(text, names, installed):
  assert loggers.parse(text) == names


@pytest.mark.parametrize(
  ("text", "uri", "code", "place"),
  [
    ("tensorbord", "", "unknown", "tracking"),
    ("", "", "unknown", "tracking"),
    ("tensorboard,", "", "unknown", "tracking"),
    ("none,tensorboard", "", "conflict", "tracking"),
    ("tensorboard,tensorboard", "", "conflict", "tracking"),
    ("tensorboard", "http://x", "conflict", "tracking_uri"),
    ("mlflow", "htp://x", "syntax", "tracking_uri"),
    ("mlflow", "/tmp/x", "syntax", "tracking_uri"),
  ],
)
def test_mistakes(text, uri, code, place, installed):
  with pytest.raises(UserError) as mistake:
    loggers.parse(text, uri)
  assert (mistake.value.code, mistake.value.place) == (code, place)


def test_a_misspelt_logger_is_corrected(installed):
  with pytest.raises(UserError) as mistake:
    loggers.parse("tensorbord", "")
  assert "tensorboard?" in mistake.value.text


@pytest.mark.parametrize(
  ("name", "remedy"),
  [
    ("mlflow", "'alcurr[mlflow]'"),
    ("tensorboard", "'tensorboardX'"),
    ("wandb", "'alcurr[wandb]'"),
  ],
)
def test_a_missing_package_is_named(name, remedy, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(UserError) as mistake:
    loggers.parse(name, "")
  assert (mistake.value.code, mistake.value.place) == ("package", "tracking")
  assert remedy in mistake.value.text
  loggers.parse("none", "")


def test_trackers_decide_nothing(tmp_path):
  """An experiment without the fields can be resumed and predict."""
  config = default.get_config()
  record = config.to_dict()
  del record["tracking"], record["tracking_uri"]
  (tmp_path / "config.json").write_text(json.dumps(record))
  check_workdir(tmp_path, config)
  config.tracking = "none"
  check_workdir(tmp_path, config)
  del config.tracking, config.tracking_uri
  schema.check(config, finished=True)
  with pytest.raises(UserError):
    schema.check(config)
  del config.seed
  with pytest.raises(UserError):
    schema.check(config, finished=True)


def test_only_an_experiment_can_be_sent(tmp_path, capsys):
  for folder in (tmp_path, tmp_path / "none"):
    with pytest.raises(UserError) as mistake:
      command.send(folder, "tensorboard")
    assert mistake.value.code == "missing"
    assert mistake.value.place == str(folder / "config.json")
    assert command.main([str(folder)]) == 2
  (tmp_path / "config.json").write_text("[]")
  assert command.main([str(tmp_path)]) == 2
  assert not (tmp_path / "none").exists()
  assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
  capsys.readouterr()
  assert command.main([str(tmp_path), "--to=paper"]) == 2
  assert capsys.readouterr().err.count("\n") == 1


def test_a_running_experiment_is_refused(tmp_path):
  workdir = saved.write(tmp_path / "it")
  with lock.locked(workdir):
    assert command.main([str(workdir)]) == 2
  assert not (workdir / "tensorboard").exists()


def test_a_failure_is_one_line(tmp_path, capsys):
  workdir = saved.write(tmp_path / "it")
  (workdir / "tensorboard").write_text("a file")
  with pytest.raises(FaultError) as fault:
    command.send(workdir, "tensorboard")
  assert (fault.value.code, fault.value.place) == ("tracker", "tensorboard")
  assert command.main([str(workdir)]) == 1
  message = capsys.readouterr().err
  assert message.startswith("alcurr: tensorboard: FileExistsError: ")
  assert message.count("\n") == 1


def test_a_sampler_cannot_name_another_folder(tmp_path):
  workdir = saved.write(tmp_path / "it")
  config = json.loads((workdir / "config.json").read_text())
  config["samplers"]["../../out"] = {"name": "uniform"}
  (workdir / "config.json").write_text(json.dumps(config))
  shutil.copytree(workdir / "runs/uniform", tmp_path / "out")
  assert command.main([str(workdir)]) == 2
  assert not (workdir / "tensorboard").exists()
