"""A killed and resumed experiment has the results of an undisturbed one."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from main_test import ENVIRONMENT, ROOT

CONFIG = """
from configs import quickstart
def get_config():
  config = quickstart.get_config()
  del config.samplers.uniform, config.samplers.label_trust
  config.baseline = "bandit"
  config.data.num_examples = 1200
  config.data.classes = "4"
  config.data.image_size = 16
  config.data.render = "precompute"
  config.trials = 2
  config.batch_size = 8
  config.budget = "200 steps"
  config.chunk_steps = 10
  config.checkpoint.steps = 10
  config.difficulty.budget = "200 steps"
  config.difficulty.num_arms = 3
  return config
"""


def _checkpoints(folder: pathlib.Path) -> set[str]:
  return {p.name for p in folder.glob("*") if p.name.isdecimal()}


class Experiment:
  """A workdir and its command."""

  def __init__(self, folder: pathlib.Path, name: str):
    config = folder / "one.py"
    config.write_text(CONFIG)
    self.workdir = folder / name
    self.run = self.workdir / "runs/bandit"
    self._command = (
      *(sys.executable, "-m", "alcurr.main", f"--config={config}"),
      f"--workdir={self.workdir}",
      f"--config.cache_dir={folder / name}-cache",
    )

  def start(self) -> subprocess.Popen:
    # The compiled programs are shared, the difficulty scores are not.
    programs = {"JAX_COMPILATION_CACHE_DIR": str(self.workdir.parent / "xla")}
    return subprocess.Popen(
      self._command,
      cwd=ROOT,
      env=ENVIRONMENT | programs,
      stderr=subprocess.PIPE,
    )

  def finish(self) -> str:
    with self.start() as process:
      err = process.communicate(timeout=200)[1].decode()
    assert process.returncode == 0, err
    return err

  def cut(self, folder: str, number: int) -> tuple[int, str]:
    """Sends a signal as soon as a folder has a new checkpoint."""
    path = self.workdir / folder
    with self.start() as process:
      try:
        before = _checkpoints(path)
        while not _checkpoints(path) - before:
          assert process.poll() is None, process.communicate()[1].decode()
          time.sleep(0.01)
        process.send_signal(number)
        err = process.communicate(timeout=60)[1].decode()
      finally:
        process.kill()
    assert "Traceback" not in err
    return process.returncode, err

  def results(self):
    """Returns all that must be equal, without the seconds."""
    rows = [json.loads(line) for line in (self.run / "metrics.jsonl").open()]
    for row in rows:
      del row["train_seconds"]
    result = json.loads((self.run / "result.json").read_text())
    test = np.load(self.run / "test.npz")
    return rows, result["trials"], {n: test[n].tobytes() for n in test}


@pytest.mark.slow  # the quick faults do so too
def test_an_experiment_that_was_cut_ends_like_one_that_was_not(tmp_path):
  """Cuts the training of the reference model and that of the sampler."""
  cut, whole = Experiment(tmp_path, "cut"), Experiment(tmp_path, "whole")
  cut.cut("scores/difficulty/0", signal.SIGKILL)
  status, err = cut.cut("runs/bandit/checkpoints", signal.SIGTERM)
  assert re.search(r"difficulty: \w+.* from step \d+ of", err)
  assert status == 128 + signal.SIGTERM
  assert "stopped by SIGTERM" in err.strip().splitlines()[-1]
  text = (cut.run / "metrics.jsonl").read_text()
  step = json.loads(text.splitlines()[-1])["step"]
  status, err = cut.cut("runs/bandit/checkpoints", signal.SIGKILL)
  assert status == -signal.SIGKILL
  assert re.search(rf"bandit: \w+.* from step {step} of 200", err)
  cut.finish()
  whole.finish()
  assert cut.results() == whole.results()
  assert not list(cut.workdir.rglob(".*"))
  assert not (cut.workdir / "scores").exists()
