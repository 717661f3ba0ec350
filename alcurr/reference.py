"""The reference model of an experiment, whose losses are its difficulties."""

import hashlib
import pathlib
import shutil
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from alcurr import (
  checkpoint,
  jobs,
  keeping,
  plans,
  runs,
  settings,
  stopping,
  train,
)
from alcurr.data import cache
from alcurr.data.pool import host_pool, on_device
from alcurr.difficulty import arms, scores
from alcurr.runs import Job
from alcurr.types import Pool

# A run like the samplers'; none of them has a name with a space.
NAME = "the reference model"


def lacks_scores(config: ConfigDict, job: Job, cache_dir: pathlib.Path) -> bool:
  """Whether a reference model has to be trained."""
  if not jobs.partitions(config) - arms.UNSCORED:
    return False
  request = _scores_request(config, job)
  return cache.read_arrays(_scores_folder(request, cache_dir)) is None


def get_difficulty(
  config: ConfigDict,
  job: Job,
  cache_dir: pathlib.Path,
  kept: pathlib.Path,
  signals: stopping.Signals,
) -> scores.Difficulty:
  """The scores of this data by this reference model, from disk if there.

  Args:
    config: of the experiment.
    job: likewise.
    cache_dir: where the scores are, or are left.
    kept: where the model's checkpoints are until it has scored.
    signals: those that are to stop its training.
  """
  request = _scores_request(config, job)
  folder = _scores_folder(request, cache_dir)
  if found := cache.read_arrays(folder):
    known, manifest = found
    logging.info("Difficulty scores from %s.", folder)
    shutil.rmtree(kept, ignore_errors=True)  # where a kill came in between
    return scores.Difficulty(known, manifest["seconds"])
  pools = jobs.with_probe({n: host_pool(part) for n, part in job.parts.items()})
  this = make_run(config, job, pools)
  plan = plans.make_plan(this, pools)
  facts = runs.facts(this, plan, pools)
  pools = on_device(pools)
  start = checkpoint.restore(
    kept, train.kept_at_first(this, plan, pools["train"]), facts
  )
  with (
    signals.held() as stop,
    runs.progress_bar("difficulty", this, start) as progress,
    keeping.Checkpoints(kept, config.checkpoint, facts) as checkpoints,
  ):
    result = train.train(
      *(this, plan, pools, lambda row: None, progress),
      keep=train.Keep(start, checkpoints, stop),
    )
  score = plans.make_score(
    *(this.model, this.gather, config.eval_batch_size, this.trials_by),
    settings.make_scorer(config),
  )
  difficulty = scores.difficulty_of(this, score, result, pools)
  manifest = {"request": request, "seconds": difficulty.seconds}
  cache.write_arrays(folder, difficulty.score, manifest)
  shutil.rmtree(kept)
  return difficulty


def _scores_request(config: ConfigDict, job: Job) -> dict[str, Any]:
  """All that the scores depend on."""
  content = hashlib.blake2b()
  for part in job.parts.values():
    content.update(part.label.tobytes() + part.key.tobytes())
  fields = (
    *("model", "optimizer", "difficulty", "data", "batch_size", "augment"),
    "loss",
  )
  request = {field: config.to_dict()[field] for field in fields}
  # The number of arms is not part of the scores, nor where the data lies.
  del request["difficulty"]["num_arms"]
  del request["data"]["dir"], request["data"]["pool"]
  # A file of weights is named in the config, but its content may change.
  weights = job.networks[str(config.model)].model.fingerprint
  return request | {
    "examples": content.hexdigest(),
    "weights": weights,
    "version": 1,
  }


def _scores_folder(request: dict[str, Any], cache_dir: pathlib.Path):
  return cache_dir / f"difficulty-{cache.digest(request)}"


def make_run(config: ConfigDict, job: Job, pools: dict[str, Pool]) -> plans.Run:
  """Uniform sampling, one trial, on the seed of the difficulty."""
  reference = config.copy_and_resolve_references()
  reference.samplers = {"reference": {"name": "uniform"}}
  reference.budget = config.difficulty.budget
  reference.baseline = "reference"
  reference.equal = "examples"
  this = runs.make_run(reference, job, "reference", pools)
  return this._replace(seeds=(config.difficulty.seed,), name=NAME)
