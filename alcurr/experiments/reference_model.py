"""The reference model, whose scores of the examples are their difficulty."""

import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from alcurr.core import environment, files
from alcurr.core.errors import FaultError
from alcurr.data import cache
from alcurr.data.pool import host_pool, on_device
from alcurr.experiments import sampler_trials, setup
from alcurr.training import compilation, exposure, loop
from alcurr.training.run import (
  CompiledRun,
  RunSpec,
  Score,
  compile_run,
  make_score,
)
from alcurr.types import Pool

_REMEDY = "a lower optimizer.learning_rate may help"


class Difficulty(NamedTuple):
  score: dict[str, np.ndarray]  # [N] float32 by pool
  seconds: float  # of training and scoring, without compilation


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
    score, manifest = cached
    logging.info("Difficulty scores from %s.", folder)
    # A kill may have come between the scores and this.
    shutil.rmtree(checkpoint_dir, ignore_errors=True)
    return Difficulty(score, manifest["seconds"])
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
  manifest = {"request": request, "seconds": difficulty.seconds}
  cache.write_arrays(folder, difficulty.score, manifest)
  shutil.rmtree(checkpoint_dir)
  return difficulty


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
  # The config names a weights file, but not its content.
  weights = context.networks[str(config.model)][0].fingerprint
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
