"""Trials that are added to a finished run, from files written by hand."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from refusal import refused

from alcurr.core import files
from alcurr.experiments import added_trials
from alcurr.experiments.added_trials import Block
from alcurr.experiments.workdir import check_workdir
from alcurr.report import tables

CONFIG = ConfigDict(
  {
    "trials": 2,
    "seed": 0,
    "baseline": "a",
    "samplers": {"a": {"name": "uniform"}, "b": {"name": "curriculum"}},
    "scores": {},
  }
)


def _write_block(folder, trials, rank):
  folder.mkdir(parents=True, exist_ok=True)
  rows = [
    {"step": step, "trial": trial, "loss": 0.1 * (step + trial)}
    for step in (4, 8)
    for trial in range(trials)
  ]
  lines = "".join(json.dumps(row) + "\n" for row in rows)
  (folder / "metrics.jsonl").write_text(lines)
  ranks = np.full((trials, 5), rank, np.int32)
  arrays = {"rank": ranks, "loss": np.ones((trials, 5), np.float32)}
  np.savez(folder / "test.npz", label=np.arange(5), **arrays)
  result = {
    "sampler": "a",
    "steps": 8,
    "train_seconds": float(rank),
    "trials": [{"top1": 0.5}] * trials,
  }
  (folder / "result.json").write_text(json.dumps(result))
  added_trials.write_record(folder, CONFIG.samplers.a, trials)


@pytest.fixture
def workdir(tmp_path):
  """A finished run of two trials, in an experiment that has three now."""
  _write_block(tmp_path / "runs/a", 2, rank=0)
  files.write_json(tmp_path / "config.json", {**CONFIG.to_dict(), "trials": 3})
  return tmp_path


def test_what_is_to_be_trained(workdir):
  unfinished = added_trials.unfinished_blocks
  assert unfinished(workdir, "a", 2) == []
  assert unfinished(workdir, "a", 5) == [Block("a", 2, 3)]
  assert unfinished(workdir, "b", 5) == [Block("b", 0, 5)]
  # A block that has begun ends as it began, and a further one follows.
  begun = workdir / "runs/a/trials-2"
  (begun / "checkpoints/4").mkdir(parents=True)
  added_trials.write_record(begun, CONFIG.samplers.a, 1)
  assert unfinished(workdir, "a", 5) == [Block("a", 2, 1), Block("a", 3, 2)]


def test_blocks_are_joined_once(workdir):
  run, block = workdir / "runs/a", Block("a", 2, 1)
  before = (run / "metrics.jsonl").read_text()
  _write_block(block.folder(workdir), 1, rank=7)
  for _ in range(2):  # as if it had been interrupted
    added_trials.join(workdir, block)
    text = (run / "metrics.jsonl").read_text()
    assert text.startswith(before)
    added = [json.loads(x) for x in text.removeprefix(before).splitlines()]
    assert [(row["step"], row["trial"]) for row in added] == [(4, 2), (8, 2)]
    assert [row["loss"] for row in added] == [0.4, 0.8]
    with np.load(run / "test.npz") as test:
      assert test["rank"][:, 0].tolist() == [0, 0, 7]
      assert test["loss"].shape == (3, 5) and test["label"].shape == (5,)
    trials = json.loads((run / "result.json").read_text())["trials"]
    assert trials[:2] == [{"top1": 0.5}] * 2
    assert trials[2] == {"top1": 0.5, "train_seconds": 7.0}
  assert added_trials.unfinished_blocks(workdir, "a", 3) == []


def test_blocks_of_other_examples_or_steps_are_refused(workdir):
  block = Block("a", 2, 1)
  folder = block.folder(workdir)
  _write_block(folder, 1, rank=7)
  with refused("mismatch", workdir / "runs/a"):
    added_trials.check_steps(workdir, block, 9)
  added_trials.check_steps(workdir, block, 8)
  arrays = dict(np.load(folder / "test.npz"))
  np.savez(folder / "test.npz", **arrays | {"label": np.zeros(5, int)})
  with refused("mismatch", folder):
    added_trials.join(workdir, block)


def test_a_trial_that_is_missing_counts_as_none(workdir):
  """Its pair is not compared; that of a diverged trial is not either."""
  top1 = tables.per_example(workdir, "a")["top1"]
  assert top1.shape == (3, 5)
  assert (top1[:2] == 1).all() and np.isnan(top1[2]).all()


def test_an_experiment_may_grow_but_not_change(workdir):
  config = CONFIG.copy_and_resolve_references()
  with refused("mismatch", "--workdir"):
    check_workdir(workdir, config)  # fewer trials
  for config.trials in (3, 4):
    check_workdir(workdir, config)
  config.samplers.c = {"name": "rs2"}
  check_workdir(workdir, config)
  config.seed = 1
  with refused("mismatch", "--workdir"):
    check_workdir(workdir, config)


def test_a_sampler_that_comes_back_is_the_same(workdir):
  """The experiment lost it meanwhile, but its run is there."""
  config = ConfigDict({**CONFIG.to_dict(), "trials": 3})
  lost = config.copy_and_resolve_references()
  del lost.samplers.a
  check_workdir(workdir, lost)
  files.write_json(workdir / "config.json", lost.to_dict())
  check_workdir(workdir, config)
  config.samplers.a.replacement = True
  with refused("mismatch", "--workdir"):
    check_workdir(workdir, config)
