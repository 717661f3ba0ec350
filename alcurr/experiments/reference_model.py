"""Reference models, whose scores of the examples samplers may read."""

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
from alcurr.data import cache, clusters, given_splits
from alcurr.data.pool import Dataset, host_pool, on_device
from alcurr.experiments import charges, fits, sampler_trials, setup
from alcurr.experiments.config import build
from alcurr.experiments.config.scores import DIFFICULTY, BuiltScore
from alcurr.experiments.fits import Fit
from alcurr.training import (
  compilation,
  exposure,
  loop,
  meshes,
  parallel,
  processes,
)
from alcurr.training.run import CompiledRun, RunSpec, compile_run
from alcurr.training.scoring import Score, make_features, make_score
from alcurr.types import Pool

_REMEDY = "a lower optimizer.learning_rate may help"
_CLUSTERS = "clusters."  # begins the name of the array of a split's clusters


class MadeScores(NamedTuple):
  """The scores that an experiment reads, by name, and what they took."""

  values: dict[str, dict[str, np.ndarray]]  # by split, [N] float32
  seconds: dict[str, float]  # of training and scoring, without compilation
  costs: dict[str, charges.Cost]
  # Of the difficulty's model, by split, [N] int32; {} if nothing reads them
  clusters: dict[str, np.ndarray]


def score_pools(
  run: RunSpec,
  score: Score,
  result: loop.Result,
  pools: Mapping[str, Pool],
  place: str = "difficulty",
) -> tuple[dict[str, np.ndarray], float]:
  """Scores pools, by name, with reference models: the trials of a run.

  `score` is that of the run's model. Returns the mean of its losses over the
  trials, [N] by pool, and the seconds that the scoring took.

  Raises:
    FaultError: a trial diverged, or a score is not finite; at `place`.
  """
  _check_converged(run, result, place)
  values, seconds = {}, 0.0
  for name, pool in pools.items():
    variables = (result.state.params, result.state.model_state)
    program = compilation.compile_once(score, variables, pool, mesh=run.mesh)
    started = time.perf_counter()
    loss = jax.device_get(program(variables, pool)).loss
    seconds += time.perf_counter() - started
    values[name] = loss.mean(0, dtype=np.float64).astype(np.float32)
    if not np.isfinite(values[name]).all():
      text = f"scores of the {name} split are not finite; {_REMEDY}"
      raise FaultError("diverged", place, text)
  return values, seconds


def _check_converged(run: RunSpec, result: loop.Result, place: str) -> None:
  """Raises FaultError if a trial of reference models diverged."""
  active = exposure.active_trials(result.exposure)
  for trial in sorted(set(range(len(run.seeds))) - set(active)):
    reason = exposure.describe_divergence(result.exposure, trial, run.name)
    text = f"{reason.rstrip('.')}; {_REMEDY}"
    raise FaultError("diverged", place, text)


def _collected_scores(
  run: RunSpec,
  result: loop.Result,
  score: BuiltScore,
  parts: Mapping[str, Dataset],
) -> dict[str, np.ndarray]:
  """Returns the scores that a run's sampler collected, [N] by split.

  An example of another split than train has the mean of those.
  """
  _check_converged(run, result, score.place)
  state = parallel.on_host(result.state.sampler_state)
  collected = jax.vmap(run.sampler.running_scores)(state)
  train = np.asarray(collected[score.config.scorer]).mean(0, dtype=np.float64)
  values = {
    name: np.full(len(part.label), train.mean(), np.float32)
    for name, part in parts.items()
  }
  return values | {"train": train.astype(np.float32)}


def missing_fits(context: setup.ExperimentContext) -> list[Fit]:
  """Returns what has to be trained for the scores that samplers read."""
  return [
    fit
    for score in context.experiment.trained_scores
    if _read_scores(*_request(context, score)) is None
    for fit in fits.make_fits(score, context.parts)
  ]


def get_scores(
  context: setup.ExperimentContext, folder: pathlib.Path
) -> MadeScores:
  """Reads the scores from the cache, or trains reference models for them.

  `folder` has the models' checkpoints, until they have scored.
  """
  made = MadeScores({}, {}, {}, {})
  for score in context.experiment.trained_scores:
    values, manifest = _get_score(context, score, folder / score.name)
    for name in [*values]:
      if name.startswith(_CLUSTERS):
        made.clusters[name.removeprefix(_CLUSTERS)] = values.pop(name)
    made.values[score.name] = values
    made.seconds[score.name] = manifest["seconds"]
    made.costs[score.name] = charges.Cost(**manifest["cost"])
  # Empty, unless a kill came between a score and the end of its folder.
  if processes.is_first():
    shutil.rmtree(folder, ignore_errors=True)
  return made


def _get_score(
  context: setup.ExperimentContext, score: BuiltScore, folder: pathlib.Path
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns a score by split, with its clusters, and its manifest."""
  entry, request = _request(context, score)
  if cached := _read_scores(entry, request):
    name = score.name.capitalize()
    logging.info("%s scores from %s.", name, entry)
    return cached
  planned = fits.make_fits(score, context.parts)
  if processes.is_first():
    files.make_folder(folder.parent)
    files.make_folder(folder)
  scored = [
    _train_and_score(context, fit, folder / str(number))
    for number, fit in enumerate(planned)
  ]
  values = [fit.values for fit in scored]
  combined = fits.combine(planned, values, context.parts)
  found = scored[0].clusters.items()
  combined |= {f"{_CLUSTERS}{name}": array for name, array in found}
  run = setup.make_run_spec(context, score.run, planned[0].num_steps)
  flops = scored[0].flops_per_step
  cost = charges.make_cost(context, planned, run, flops)
  manifest = {
    "request": request,
    "seconds": sum(fit.seconds for fit in scored),
    "cost": cost._asdict(),
  }
  if processes.is_first():
    cache.write_arrays(entry, combined, manifest)
    shutil.rmtree(folder)
  return combined, files.plain(manifest)


class _Scored(NamedTuple):
  """The result of a fit."""

  values: dict[str, np.ndarray]  # by split, [m] float32
  seconds: float
  flops_per_step: float  # of one model
  clusters: dict[str, np.ndarray]  # by split, [N] int32; {}: not asked for


def _train_and_score(
  context: setup.ExperimentContext, fit: Fit, checkpoint_dir: pathlib.Path
) -> _Scored:
  """Trains the models of a fit, and scores the examples that it is for."""
  run, compiled, pools = prepare(context, fit)
  put = parallel.replicator(run.mesh)
  pools = on_device(pools, put)
  result = sampler_trials.train(context, run, compiled, pools, checkpoint_dir)
  seconds = result.train_seconds * len(run.seeds)
  if fit.score.score is None:
    values = _collected_scores(run, result, fit.score, context.parts)
  else:
    scored = {name: pools[name] for name in context.parts}
    if not fit.scores_what_it_saw:
      part = fits.take_part(context.parts["train"], fit.scored["train"])
      scored |= on_device({"train": host_pool(part)}, put)
    place = fit.score.place
    values, taken = score_pools(run, run.score, result, scored, place)
    seconds += taken
  found = {}
  if _makes_clusters(context, fit.score):
    found, taken = _find_clusters(context, run, result, pools, values["train"])
    seconds += taken
  return _Scored(values, seconds, compiled.flops_per_step, found)


def _makes_clusters(
  context: setup.ExperimentContext, score: BuiltScore
) -> bool:
  is_read = "clusters" in context.experiment.partitions
  return is_read and score.name == DIFFICULTY


def _find_clusters(
  context: setup.ExperimentContext,
  run: RunSpec,
  result: loop.Result,
  pools: Mapping[str, Pool],
  difficulty: np.ndarray,
) -> tuple[dict[str, np.ndarray], float]:
  """Returns the clusters of the first model's features, and the seconds taken.

  They are [N] int32 by split, easiest first. `difficulty` is of the training
  examples.
  """
  config = context.experiment.config
  make = make_features(
    run.model, run.gather, config.eval_batch_size, run.trials_by
  )
  variables = (result.state.params, result.state.model_state)
  variables = jax.tree.map(lambda x: x[:1], parallel.on_host(variables))
  mesh = meshes.fit_mesh(run.mesh, 1, ())
  variables = parallel.put(mesh, variables, parallel.BY_TRIAL)
  programs = {
    name: compilation.compile_once(make, variables, pools[name], mesh=mesh)
    for name in context.parts
  }
  started = time.perf_counter()
  features = {
    name: jax.device_get(program(variables, pools[name]))[0]
    for name, program in programs.items()
  }
  num_arms, seed = config.difficulty.num_arms, config.difficulty.seed
  with specs.errors_in("difficulty.num_arms"):
    centres = clusters.k_means(features["train"], num_arms, seed)
  found = {name: clusters.nearest(x, centres) for name, x in features.items()}
  count = np.bincount(found["train"], minlength=num_arms)
  total = np.bincount(found["train"], difficulty, num_arms)
  place = np.argsort(np.argsort(total / np.maximum(count, 1)))
  found = {name: place[x].astype(np.int32) for name, x in found.items()}
  return found, time.perf_counter() - started


def prepare(
  context: setup.ExperimentContext, fit: Fit
) -> tuple[RunSpec, CompiledRun, dict[str, Pool]]:
  """Compiles a fit's run; returns its pools too, on the host and not scored."""
  pools = {name: host_pool(part) for name, part in context.parts.items()}
  pools = {"probe": pools["valid"]} | pools
  if not fit.scores_what_it_saw:
    part = fits.take_part(context.parts[fit.split], fit.train)
    pools["train"] = host_pool(part)
  run = setup.make_run_spec(context, fit.score.run, fit.num_steps)
  run = run._replace(name=fit.name)
  if loss := fit.score.score:
    # Its evaluation is the scoring, so that both are one program.
    size, by = context.experiment.config.eval_batch_size, run.trials_by
    score = make_score(run.model, run.gather, size, by, loss, counted=False)
    run = run._replace(score=score)
  scored = context.parts if fit.score.score else ()
  return run, compile_run(run, pools, scored), pools


def _request(
  context: setup.ExperimentContext, score: BuiltScore
) -> tuple[pathlib.Path, dict[str, Any]]:
  """Returns the folder of a score, and all that it depends on."""
  config = score.run.config
  fields = "model optimizer data batch_size augment loss on_nonfinite"
  request = {field: config.to_dict()[field] for field in fields.split()}
  request["score"] = score.config.to_dict()
  # The scores do not depend on the number of arms, or on where the data is.
  request["score"].pop("num_arms", None)
  given = [f"{split}_dir" for split in given_splits.GIVEN]
  for field in ("dir", "groups", "pool", *given):
    del request["data"][field]
  for source in request["data"]["sources"].values():
    source.pop("dir", None)
  if _makes_clusters(context, score):
    request["clusters"] = score.config.num_arms
  if score.config.seeds > 1:
    request["trials_by"] = config.trials_by
  # The config names a weights file, but not its content.
  key = build.network_key(config)
  weights = context.networks[key][0].fingerprint
  request |= {"examples": context.content, "weights": weights}
  request["environment"] = environment.current()
  return context.cache_dir / f"scores-{cache.digest(request)}", request


def _read_scores(
  folder: pathlib.Path, request: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
  """Returns the saved scores of a request and their manifest, if any."""

  def read() -> processes.Shared | None:
    saved = cache.read_arrays(folder)
    if saved and saved[1].get("request") != files.plain(request):
      return None  # a folder that was renamed
    return saved

  return processes.from_first(read)
