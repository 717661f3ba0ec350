"""The command `alcurr`: what it lists, what it refuses, and shipped configs."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from refusal import refused

from alcurr import __main__, models, samplers
from alcurr.experiments import listing
from alcurr.experiments.config import loader, shipped

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"


def test_every_command_has_a_function_that_returns_a_status(capsys):
  assert __main__.run(["--help"]) == 0
  usage = capsys.readouterr().out
  for name in __main__.COMMANDS:
    assert f"\n  {name} " in usage


HELPS = [
  *__main__.COMMANDS,
  *(f"data {name}" for name in ("download", "prepare", "tfds", "inspect")),
  *(f"tune {name}" for name in ("lr", "grid", "search")),
]


@pytest.mark.parametrize("name", HELPS)
def test_a_help_has_the_call_the_options_and_an_example(name, capsys):
  with pytest.raises(SystemExit) as stopped:
    __main__.run([*name.split(), "--help"])
  assert not stopped.value.code
  text, example = capsys.readouterr().out.split("\nexample:\n")
  assert text.startswith(f"usage: alcurr {name}") and "\noptions:\n" in text
  assert example.strip().startswith(f"alcurr {name} ")
  if name != "data":  # whose example is that of download
    used = re.findall(r"--[a-z-]+", example.replace("--config.trials", ""))
    assert {*used} <= {*re.findall(r"--[a-z-]+", text)}


def test_help_is_asked_for_after_a_config_too(capsys):
  """It has what the config's file says, and the options."""
  texts = []
  for words in (["--help"], [], ["sources", "--help"], ["sources:dir=x", "-h"]):
    with pytest.raises(SystemExit) as stopped:
      __main__.run(["run", *words])
    assert not stopped.value.code
    texts.append(capsys.readouterr().out)
  assert len({*texts}) == 2 and texts[0] == texts[1]
  doc = shipped.docstring(CONFIGS / "sources.py")
  assert texts[2].startswith(doc) and "--workdir" in texts[2]


def test_the_list_has_every_name_and_a_line(capsys):
  assert listing.main([]) == 0
  lines = dict(
    line.split(maxsplit=1)
    for line in capsys.readouterr().out.splitlines()
    if line.startswith("  ")
  )
  names = {path.stem for path in CONFIGS.glob("*.py")} - {"__init__"}
  assert lines.keys() == names | {*samplers.SAMPLERS} | {*models.MODELS}


def test_a_command_or_kind_that_is_not_there(capsys):
  assert __main__.run(["trian"]) == 2
  assert __main__.run(["list", "sampler"]) == 2
  assert "trian" in capsys.readouterr().err


def test_a_config_by_its_name():
  by_name = loader.load("evidence:regime=noise30")
  by_path = loader.load(f"{CONFIGS}/evidence.py:regime=noise30")
  assert by_name.to_dict() == by_path.to_dict()
  assert by_name.data.label_noise == 0.3


def test_a_file_of_the_user_goes_before_a_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert shipped.find("quickstart") == str(CONFIGS / "quickstart.py")
  pathlib.Path("quickstart").write_text("")
  assert shipped.find("quickstart") == "quickstart"


def test_a_name_that_no_config_has():
  with refused("missing", "--config=quikstart"):
    loader.load("quikstart")


def test_a_config_imports_those_beside_it_and_shipped_ones(tmp_path):
  """Another folder `configs` is on the process's path, and not this one."""
  folder = tmp_path / "configs"
  folder.mkdir()
  (folder / "base.py").write_text("TRIALS = 7\n")
  (folder / "mine.py").write_text(
    "from configs import base, default\n\n\n"
    "def get_config():\n"
    "  config = default.get_config()\n"
    "  config.trials = base.TRIALS\n"
    "  return config\n"
  )
  program = "from alcurr.experiments.config import loader\n"
  program += f"print(loader.load({str(folder / 'mine.py')!r}).trials)"
  root = str(CONFIGS.parent)
  program = (
    f"import sys; sys.path.insert(0, {root!r}); import alcurr\n" + program
  )
  done = subprocess.run(
    [sys.executable, "-P", "-c", program],
    cwd=tmp_path,
    env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.strip() == "7"
