"""The fields of a config, the registry, and the command."""

import importlib.util
import json
import shutil

import left
import pytest

from alcurr.core import lock
from alcurr.core.errors import UserError
from alcurr.experiments import loggers
from alcurr.experiments.config import schema
from alcurr.experiments.loggers import __main__ as main__
from alcurr.experiments.workdir import check_workdir
from configs import default


@pytest.mark.parametrize(
  ("text", "names"),
  [
    ("none", []),
    ("tensorboard", ["tensorboard"]),
    ("mlflow, tensorboard", ["mlflow", "tensorboard"]),
  ],
)
def test_names(text, names, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
  assert loggers.parse(text) == names


@pytest.mark.parametrize(
  ("text", "uri", "said"),
  [
    (
      "tensorbord",
      "",
      "no 'tensorbord'. Known: mlflow, none, tensorboard. Did",
    ),
    ("", "", "no ''. Known"),
    ("tensorboard,", "", "no ''. Known"),
    ("none,tensorboard", "", "or none alone"),
    ("tensorboard,tensorboard", "", "name each tracker once"),
    ("tensorboard", "http://x", "add --config.tracking=mlflow"),
    ("mlflow", "htp://x", "write an address such as"),
    ("mlflow", "/tmp/x", "write an address such as"),
  ],
)
def test_mistakes(text, uri, said, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
  with pytest.raises(UserError) as mistake:
    loggers.check(text, uri)
  assert said in str(mistake.value)


def test_what_is_not_installed_is_told_before_anything_is_built(
  monkeypatch, tmp_path
):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(UserError, match=r"pip install 'alcurr\[mlflow\]'"):
    loggers.check("mlflow", "")
  with pytest.raises(UserError, match="pip install 'tensorboardX'"):
    loggers.check("tensorboard", "")
  loggers.check("none", "")


def test_where_it_is_shown_decides_nothing(tmp_path):
  """Nor does an experiment from before the fields refuse to go on."""
  config = default.get_config()
  there = config.to_dict()
  del there["tracking"], there["tracking_uri"]
  (tmp_path / "config.json").write_text(json.dumps(there))
  check_workdir(tmp_path, config)
  config.tracking = "none"
  check_workdir(tmp_path, config)
  del config.tracking, config.tracking_uri
  schema.check(config, finished=True)  # its runs can be asked to predict
  with pytest.raises(UserError, match=r"config\.tracking is missing"):
    schema.check(config)
  del config.seed
  with pytest.raises(UserError, match=r"config\.seed is missing"):
    schema.check(config, finished=True)


def test_the_command_refuses_what_is_no_experiment(tmp_path, capsys):
  for folder in (tmp_path, tmp_path / "none"):
    assert main__.main([str(folder)]) == 2
    said = capsys.readouterr().err
    assert "is no experiment: it has no config.json of one" in said
  (tmp_path / "config.json").write_text("[]")
  assert main__.main([str(tmp_path)]) == 2
  assert not (tmp_path / "none").exists()
  assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
  capsys.readouterr()
  assert main__.main([str(tmp_path), "--to=paper"]) == 2
  assert capsys.readouterr().err.count("\n") == 1


def test_the_command_leaves_alone_what_runs(tmp_path, capsys):
  workdir = left.write(tmp_path / "it")
  with lock.locked(workdir):
    assert main__.main([str(workdir)]) == 2
  assert "is in use by process" in capsys.readouterr().err
  assert not (workdir / "tensorboard").exists()


def test_the_command_tells_why_it_failed(tmp_path, capsys):
  workdir = left.write(tmp_path / "it")
  (workdir / "tensorboard").write_text("a file")
  assert main__.main([str(workdir)]) == 1
  said = capsys.readouterr().err
  assert said.startswith("alcurr: tensorboard: FileExistsError: ")
  assert said.endswith("mend that and run it again.\n")
  assert said.count("\n") == 1


def test_a_sampler_whose_name_leads_elsewhere_is_refused(tmp_path, capsys):
  workdir = left.write(tmp_path / "it")
  config = json.loads((workdir / "config.json").read_text())
  config["samplers"]["../../out"] = {"name": "uniform"}
  (workdir / "config.json").write_text(json.dumps(config))
  shutil.copytree(workdir / "runs/uniform", tmp_path / "out")
  assert main__.main([str(workdir)]) == 2
  assert "names another folder" in capsys.readouterr().err
  assert not (workdir / "tensorboard").exists()
