"""The command line of `six_runs`, and what must be equal of its results."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
from main_test import ENVIRONMENT, ROOT

CONFIG = ROOT / "tests/six_runs.py"
CLOCKS = ["train_seconds", "scoring_seconds"]


def command(workdir: pathlib.Path, *options: str, count: int = 3) -> list[str]:
  """Returns the command line of an experiment of some runs."""
  return [
    *(sys.executable, "-m", "alcurr.main", f"--config={CONFIG}:{count}"),
    f"--workdir={workdir}",
    f"--config.cache_dir={workdir}-cache",
    *options,
  ]


def environment(folder: pathlib.Path, **more: str) -> dict[str, str]:
  paths = [str(ROOT), ENVIRONMENT.get("PYTHONPATH", "")]
  own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "NPROC": "1"}
  programs = {"JAX_COMPILATION_CACHE_DIR": str(folder / "programs")}
  return ENVIRONMENT | own | programs | more


def run(
  workdir: pathlib.Path, *options: str, count: int = 3
) -> subprocess.CompletedProcess:
  return subprocess.run(
    command(workdir, *options, count=count),
    cwd=ROOT,
    env=environment(workdir.parent),
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )


def content(workdir: pathlib.Path, trials: int | None = None):
  """Returns all that must be equal, perhaps of the first trials: no clock."""
  found = {}
  for path in sorted((workdir / "runs").iterdir()):
    lines = (path / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for row in rows:
      del row["train_seconds"]
    kept = [row for row in rows if trials is None or row["trial"] < trials]
    # Trials that were added come later in the file.
    kept.sort(key=lambda row: (row["step"], row["trial"]))
    with np.load(path / "test.npz") as test:
      rank, loss = test["rank"][:trials], test["loss"][:trials]
    result = json.loads((path / "result.json").read_text())
    for trial in result["trials"]:
      trial.pop("train_seconds", None)
    found[path.name] = (
      kept,
      (rank.tobytes(), loss.tobytes()),
      result["trials"][:trials],
    )
  return found


def table(workdir: pathlib.Path, name: str = "results.csv") -> pd.DataFrame:
  text = pd.read_csv(workdir / name, dtype=str)
  return text.drop(columns=CLOCKS)


def assert_same(
  one: pathlib.Path, other: pathlib.Path, flops: float = 0.0
) -> None:
  """Compares experiments bit by bit, and their FLOPs to a tolerance."""
  assert content(one) == content(other)
  for name in ("results.csv", "summary.csv"):
    left, right = table(one, name), table(other, name)
    counts = [column for column in left if "flops" in column]
    pd.testing.assert_frame_equal(
      left[counts].astype(float), right[counts].astype(float), rtol=flops
    )
    pd.testing.assert_frame_equal(
      left.drop(columns=counts), right.drop(columns=counts)
    )
