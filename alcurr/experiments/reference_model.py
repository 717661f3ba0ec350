"""The reference model, whose scores of the examples are their difficulty."""

import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from alcurr.core import environment, files, specs
from alcurr.core.errors import FaultError
from alcurr.data import cache, clusters
from alcurr.data.pool import host_pool, on_device
from alcurr.experiments import sampler_trials, setup
from alcurr.experiments.config import build
from alcurr.training import compilation, exposure, loop
from alcurr.training.run import (
  CompiledRun,
  RunSpec,
  Score,
  compile_run,
  make_features,
  make_score,
)
from alcurr.types import Pool

_REMEDY = "a lower optimizer.learning_rate may help"


_CLUSTERS = "clusters."  # begins the name of the array of a pool's clusters


class Difficulty(NamedTuple):
  score: dict[str, np.ndarray]  # [N] float32 by pool
  seconds: float  # of training and scoring, without compilation
  clusters: dict[str, np.ndarray] | None = None  # [N] int32 by pool


def difficulty_of(
  run: RunSpec, score: Score, result: loop.Result, pools: Mapping[str, Pool]
) -> Difficulty:
  """Scores pools, by name, with a reference model: the result of a run.

  `score` is that of the run's model; its loss is the difficulty.

  Raises:
    FaultError: the run diverged, or a score is not finite.
  """
  if not exposure.active_trials(result.exposure):
    reason = exposure.describe_divergence(result.exposure, 0, run.name)
    text = f"{reason.rstrip('.')}; {_REMEDY}"
    raise FaultError("diverged", "difficulty", text)
  scores, seconds = {}, result.train_seconds
  for name, pool in pools.items():
    variables = (result.state.params, result.state.model_state)
    program = compilation.compile_once(score, variables, pool)
    started = time.perf_counter()
    scores[name] = jax.device_get(program(variables, pool)).loss[0]
    seconds += time.perf_counter() - started
    if not np.isfinite(scores[name]).all():
      text = f"scores of the {name} split are not finite; {_REMEDY}"
      raise FaultError("diverged", "difficulty", text)
  return Difficulty(scores, seconds)


def lacks_scores(context: setup.ExperimentContext) -> bool:
  """Returns whether the reference model has to be trained."""
  needed = setup.needs_scores(context.experiment)
  return needed and _read_scores(*_scores_request(context)) is None


def get_difficulty(
  context: setup.ExperimentContext, checkpoint_dir: pathlib.Path
) -> Difficulty:
  """Reads the scores from the cache, or trains the reference model for them.

  Its checkpoints are in their folder until it has scored.
  """
  folder, request = _scores_request(context)
  if cached := _read_scores(folder, request):
    arrays, manifest = cached
    logging.info("Difficulty scores from %s.", folder)
    # A kill may have come between the scores and this.
    shutil.rmtree(checkpoint_dir, ignore_errors=True)
    found = {
      name.removeprefix(_CLUSTERS): arrays.pop(name)
      for name in [*arrays]
      if name.startswith(_CLUSTERS)
    }
    return Difficulty(arrays, manifest["seconds"], found or None)
  run, compiled, pools = prepare(context)
  pools = on_device(pools)
  shown = run._replace(name="difficulty")
  result = sampler_trials.train(context, shown, compiled, pools, checkpoint_dir)
  experiment = context.experiment
  batch_size = experiment.config.eval_batch_size
  score = make_score(
    run.model, run.gather, batch_size, run.trials_by, experiment.scorer
  )
  difficulty = difficulty_of(run, score, result, pools)
  if "clusters" in experiment.partitions:
    difficulty = _with_clusters(context, run, difficulty, result, pools)
  manifest = {"request": request, "seconds": difficulty.seconds}
  found = (difficulty.clusters or {}).items()
  named = {f"{_CLUSTERS}{name}": array for name, array in found}
  cache.write_arrays(folder, difficulty.score | named, manifest)
  shutil.rmtree(checkpoint_dir)
  return difficulty


def _with_clusters(
  context: setup.ExperimentContext,
  run: RunSpec,
  difficulty: Difficulty,
  result: loop.Result,
  pools: Mapping[str, Pool],
) -> Difficulty:
  """Adds the clusters of the reference model's features, easiest first."""
  config = context.experiment.config
  make = make_features(
    run.model, run.gather, config.eval_batch_size, run.trials_by
  )
  variables = (result.state.params, result.state.model_state)
  seconds, features = difficulty.seconds, {}
  for name, pool in pools.items():
    program = compilation.compile_once(make, variables, pool)
    started = time.perf_counter()
    features[name] = jax.device_get(program(variables, pool))[0]
    seconds += time.perf_counter() - started
  started = time.perf_counter()
  num_arms, seed = config.difficulty.num_arms, config.difficulty.seed
  with specs.errors_in("difficulty.num_arms"):
    centres = clusters.k_means(features["train"], num_arms, seed)
  found = {name: clusters.nearest(x, centres) for name, x in features.items()}
  count = np.bincount(found["train"], minlength=num_arms)
  total = np.bincount(found["train"], difficulty.score["train"], num_arms)
  place = np.argsort(np.argsort(total / np.maximum(count, 1)))
  found = {name: place[x].astype(np.int32) for name, x in found.items()}
  seconds += time.perf_counter() - started
  return difficulty._replace(clusters=found, seconds=seconds)


def prepare(
  context: setup.ExperimentContext,
) -> tuple[RunSpec, CompiledRun, dict[str, Pool]]:
  """Compiles the run; returns its pools too, on the host and not scored."""
  pools = {name: host_pool(part) for name, part in context.parts.items()}
  pools = {"probe": pools["valid"]} | pools
  built = context.experiment.reference
  num_steps = built.num_steps(len(pools["train"].label))
  run = setup.make_run_spec(context, built, num_steps)
  return run, compile_run(run, pools), pools


def _scores_request(
  context: setup.ExperimentContext,
) -> tuple[pathlib.Path, dict[str, Any]]:
  """Returns the folder of the scores, and all that they depend on."""
  config = context.experiment.config
  fields = "model optimizer difficulty data batch_size augment loss"
  request = {field: config.to_dict()[field] for field in fields.split()}
  # The scores do not depend on the number of arms, or on where the data is.
  del request["difficulty"]["num_arms"]
  for field in ("dir", "groups", "pool"):
    del request["data"][field]
  for source in request["data"]["sources"].values():
    source.pop("dir", None)
  if "clusters" in context.experiment.partitions:
    request["clusters"] = config.difficulty.num_arms
  # The config names a weights file, but not its content.
  key = build.network_key(context.experiment.reference.config)
  weights = context.networks[key][0].fingerprint
  request |= {"examples": context.content, "weights": weights}
  request["environment"] = environment.current()
  return context.cache_dir / f"difficulty-{cache.digest(request)}", request


def _read_scores(
  folder: pathlib.Path, request: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
  """Returns the saved scores of a request and their manifest, if any."""
  saved = cache.read_arrays(folder)
  if saved and saved[1].get("request") != files.plain(request):
    return None  # a folder that was renamed
  return saved
