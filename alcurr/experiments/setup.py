"""The data, networks and pools that the runs of an experiment share."""

import functools
import pathlib
from collections.abc import Mapping

import jax
import numpy as np
from absl import logging

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data import partitions, sources
from alcurr.data.pool import concatenate, host_pool
from alcurr.experiments.config import build
from alcurr.experiments.config.build import BuiltExperiment
from alcurr.experiments.sampler_run import ExperimentContext, Network
from alcurr.training.run import make_score
from alcurr.types import Pool


def load_context(
  experiment: BuiltExperiment, cache_dir: pathlib.Path
) -> ExperimentContext:
  """Loads the data, and builds the networks for it."""
  config = experiment.config
  parts, gather, lookup = sources.load(config.data, cache_dir)
  batch = jax.eval_shape(
    gather, host_pool(parts["valid"]), jax.ShapeDtypeStruct((1,), np.int32)
  )
  class_names = parts["train"].class_names
  networks = {}
  for run in (experiment.reference, *experiment.runs.values()):
    key = str(run.config.model)
    if key not in networks:
      model = build.make_model(
        run.config, batch.image.shape[1:], len(class_names)
      )
      score = make_score(
        model, gather, config.eval_batch_size, config.trials_by, experiment.loss
      )
      networks[key] = Network(model, score)
  sizes = [f"{len(part.label)} {name}" for name, part in parts.items()]
  logging.info(
    "%s of %d classes; device: %s; trials by %s.",
    ", ".join(sizes),
    len(class_names),
    jax.devices()[0].device_kind,
    config.trials_by,
  )
  return ExperimentContext(experiment, parts, gather, networks, lookup)


def needs_scores(experiment: BuiltExperiment) -> bool:
  """Returns whether a sampler reads a partition by difficulty."""
  return bool(experiment.partitions - partitions.UNSCORED)


def host_pools(
  context: ExperimentContext, difficulty: Mapping[str, np.ndarray] | None = None
) -> dict[str, Pool]:
  """Returns the pools by name, of NumPy arrays.

  Args:
    context: has the parts of the data.
    difficulty: of the examples of each part, [N]; None: not yet known.

  Raises:
    UserError: more arms than the smallest class has examples.
  """
  experiment = context.experiment
  num_arms = experiment.config.difficulty.num_arms
  if experiment.partitions & partitions.IN_CLASS:
    train = context.parts["train"]
    with specs.errors_in("difficulty.num_arms"):
      partitions.check_num_arms(train.label, num_arms, train.class_names)
  parts, difficulty = dict(context.parts), dict(difficulty or {})
  joint = "train_and_probe"
  if any(run.config.train_on == joint for run in experiment.runs.values()):
    parts[joint] = concatenate(parts["train"], parts["probe"])
    if difficulty:
      difficulty[joint] = np.concatenate(
        [difficulty["train"], difficulty["probe"]]
      )
  pools = {}
  for name, part in parts.items():
    score = difficulty.get(name, np.zeros(len(part.label), np.float32))
    by_name = {
      kind: partitions.PARTITIONS[kind](part.label, score, num_arms)
      for kind in experiment.partitions
    }
    pools[name] = host_pool(part, score, by_name)
  return with_probe(pools)


def with_probe(pools: dict[str, Pool]) -> dict[str, Pool]:
  """Adds the valid pool as the probe pool where there is no probe split."""
  return {"probe": pools["valid"]} | pools


def check_fit(context: ExperimentContext, pools: Mapping[str, Pool]) -> None:
  """Refuses numbers that do not fit the data, before anything is trained.

  Only shapes matter, so the pools may be on the host and not scored.

  Raises:
    UserError: at the field.
  """
  experiment = context.experiment
  size = len(context.parts["train"].label)
  if needs_scores(experiment):
    experiment.reference.num_steps(size)
  for name, run in experiment.runs.items():
    sampler = run.make_sampler(run.num_steps(size))
    init = functools.partial(sampler.init, pool=pools["train"])
    with specs.errors_in(f"samplers.{name}"):
      # Only shapes: a state may hold an entry for every step.
      state = jax.eval_shape(init, jax.random.key(0))
      key = jax.eval_shape(jax.random.key, 0)
      draw = jax.eval_shape(sampler.sample, key, state, pools["train"])
    # A sampler's record, unlike a spec, has a batch size of its own.
    expected = sampler.spec.num_candidates or run.config.batch_size
    if draw.index.shape != (expected,):
      text = f"expected {expected} drawn examples, got {list(draw.index.shape)}"
      raise UserError("conflict", f"samplers.{name}", text)
