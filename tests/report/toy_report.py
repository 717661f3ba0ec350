"""The files of a small experiment, written by hand."""

import json
import pathlib

import numpy as np

# Names of classes that are HTML, or a formula in a legend.
EVIL = ("<script>alert(1)</script>", 'a<b>&"c"', "$x_1", "plain")
BANDIT = EVIL[1]


def metrics_rows(trials: int, arms: int, rise: float) -> list[dict]:
  """4 chunks of 10 steps; every second is evaluated: top-1 is `rise` * step."""
  return [
    {
      "step": step,
      "examples_seen": 32 * step,
      "trial": trial,
      "train_loss": 40 / step,
      "train_seconds": 0.5 * step,
      "coverage": step / 50,
      "effective_sample_size": 10.0 * step,
    }
    # From uniform to the last arm only.
    | (
      {
        "policy": [(1 - step / 40) / arms] * (arms - 1)
        + [1 - (1 - step / 40) * (arms - 1) / arms]
      }
      if arms
      else {}
    )
    | (
      {"valid": {"top1": rise * step, "top3": 0.9, "map3": 0.8, "loss": 1.5}}
      if step % 20 == 0
      else {}
    )
    for step in (10, 20, 30, 40)
    for trial in range(trials)
  ]


def write_run(
  workdir: pathlib.Path, name: str, arms: int, rise: float, **changes
) -> None:
  """Writes metrics, test.npz and result.json of a sampler of 0 or more arms."""
  folder = workdir / "runs" / name
  folder.mkdir(parents=True)
  rows = metrics_rows(2, arms, rise)
  lines = "".join(json.dumps(row) + "\n" for row in rows)
  (folder / "metrics.jsonl").write_text(lines)
  rank = np.tile(np.arange(50) % 5, (2, 1)).astype(np.int32)
  np.savez(folder / "test.npz", rank=rank, loss=np.ones((2, 50), np.float32))
  trial = {"top1": 0.2, "top3": 0.6, "map3": 0.3, "loss": 1.0}
  result = {
    "sampler": name,
    "batch_size": 32,
    "steps": 40,
    "examples_seen": 1280,
    "train_seconds": 20.0,
    "compile_seconds": 1.0,
    "scoring_seconds": 5.0 if arms else 0.0,
    "flops_per_step": 100.0 * max(arms, 1),
    "trials": [trial, trial],
    "environment": {"jax": "0.0", "device": "<cpu>", "date": "2026-01-01"},
  }
  (folder / "result.json").write_text(json.dumps(result | changes))
  spec = {"arm_partition": "difficulty" if arms else None}
  (folder / "sampler_spec.json").write_text(json.dumps(spec))


def write_config(workdir: pathlib.Path) -> None:
  """Writes config.json of uniform and a bandit whose name is HTML."""
  bandit = {
    "name": "active_bandit",
    "epsilon": "0.2",
    "partition": "difficulty",
  }
  config = {
    "samplers": {"uniform": {"name": "uniform"}, BANDIT: bandit},
    "baseline": "uniform",
    "thresholds": "0.2 0.4 0.9",
    "paper": {"table_1": {"uniform": 0.8983, "curriculum": 0.8450}},
    "budget": "1 epoch",
    "model": {"name": "cnn"},
    "data": {
      "source": "npz",
      "classes": "30",
      "dir": "</pre><script>alert(2)</script>",
    },
  }
  (workdir / "config.json").write_text(json.dumps(config))
