"""The reference model of an experiment, whose losses are its difficulties."""

import hashlib
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from alcurr.core.errors import FaultError
from alcurr.data import cache, partitions
from alcurr.data.pool import host_pool, on_device
from alcurr.experiments import preemption, sampler_run, setup
from alcurr.experiments.config import build
from alcurr.experiments.sampler_run import ExperimentContext
from alcurr.training import checkpoint, compilation, exposure, loop
from alcurr.training.checkpoint_writer import CheckpointWriter
from alcurr.training.run import RunSpec, Score, compile_run, make_score
from alcurr.types import Pool

# A run like the samplers'; none of them has a name with a space.
NAME = "the reference model"


class Difficulty(NamedTuple):
  score: dict[str, np.ndarray]  # [N] float32 for each pool
  seconds: float  # training and scoring, compilation left out


def difficulty_of(
  run: RunSpec,
  score: Score,
  result: loop.Result,
  pools: Mapping[str, Pool],
) -> Difficulty:
  """Scores every pool with a reference model that is trained.

  Args:
    run: of the reference model, one trial.
    score: whose loss is the scorer's.
    result: of the run.
    pools: by name.

  Raises:
    FaultError: its scores are not finite, and so no difficulties.
  """
  if not exposure.active_trials(result.exposure):
    raise FaultError(
      f"{exposure.describe_divergence(result.exposure, 0, run.name)[:-1]}; without it nothing "
      "has a difficulty; a lower optimizer.learning_rate may help."
    )
  found, seconds = {}, result.train_seconds
  for name, pool in pools.items():
    variables = (result.state.params, result.state.model_state)
    program = compilation.compile_once(score, variables, pool)
    started = time.perf_counter()
    found[name] = jax.device_get(program(variables, pool)).loss[0]
    seconds += time.perf_counter() - started
    if not np.isfinite(found[name]).all():
      raise FaultError(
        f"{run.name} gives examples of {name!r} a difficulty that is not "
        "finite; a lower optimizer.learning_rate may help."
      )
  return Difficulty(found, seconds)


def lacks_scores(
  config: ConfigDict, job: ExperimentContext, cache_dir: pathlib.Path
) -> bool:
  """Whether a reference model has to be trained."""
  if not setup.needed_partitions(config) - partitions.UNSCORED:
    return False
  request = _scores_request(config, job)
  return cache.read_arrays(_scores_folder(request, cache_dir)) is None


def get_difficulty(
  config: ConfigDict,
  job: ExperimentContext,
  cache_dir: pathlib.Path,
  kept: pathlib.Path,
  signals: preemption.Signals,
) -> Difficulty:
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
    return Difficulty(known, manifest["seconds"])
  pools = setup.with_probe(
    {n: host_pool(part) for n, part in job.parts.items()}
  )
  this = make_run(config, job, pools)
  plan = compile_run(this, pools)
  facts = sampler_run.fingerprint(this, plan, pools)
  pools = on_device(pools)
  start = checkpoint.restore(
    kept, loop.abstract_run_state(this, plan, pools["train"]), facts
  )
  with (
    signals.held() as stop,
    sampler_run.progress_bar("difficulty", this, start) as progress,
    CheckpointWriter(kept, config.checkpoint, facts) as checkpoints,
  ):
    result = loop.train(
      *(this, plan, pools, lambda row: None, progress),
      resume=loop.ResumeOptions(start, checkpoints, stop),
    )
  score = make_score(
    *(this.model, this.gather, config.eval_batch_size, this.trials_by),
    build.make_scorer(config),
  )
  difficulty = difficulty_of(this, score, result, pools)
  manifest = {"request": request, "seconds": difficulty.seconds}
  cache.write_arrays(folder, difficulty.score, manifest)
  shutil.rmtree(kept)
  return difficulty


def _scores_request(
  config: ConfigDict, job: ExperimentContext
) -> dict[str, Any]:
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


def make_run(
  config: ConfigDict, job: ExperimentContext, pools: dict[str, Pool]
) -> RunSpec:
  """Uniform sampling, one trial, on the seed of the difficulty."""
  reference = config.copy_and_resolve_references()
  reference.samplers = {"reference": {"name": "uniform"}}
  reference.budget = config.difficulty.budget
  reference.baseline = "reference"
  reference.budget_basis = "examples"
  this = sampler_run.make_run(reference, job, "reference", pools)
  return this._replace(seeds=(config.difficulty.seed,), name=NAME)
