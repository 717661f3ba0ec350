"""What the runs of an experiment share: its data, networks and pools."""

import functools
import pathlib
from collections.abc import Mapping

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data import partitions, sources
from alcurr.data.pool import concatenate, host_pool
from alcurr.experiments.config import build
from alcurr.experiments.sampler_run import ExperimentContext, Network
from alcurr.training.run import make_score
from alcurr.types import Pool


def load_context(
  config: ConfigDict, cache_dir: pathlib.Path
) -> ExperimentContext:
  """Loads the data and builds what all runs share."""
  job = make_context(config, sources.load(config.data, cache_dir))
  logging.info(
    "%s of %d classes; device: %s; trials by %s.",
    ", ".join(f"{len(part.label)} {name}" for name, part in job.parts.items()),
    len(job.parts["train"].class_names),
    jax.devices()[0].device_kind,
    job.trials_by,
  )
  return job


def make_context(
  config: ConfigDict, data: sources.LoadedData
) -> ExperimentContext:
  """Builds what all runs share, for data that is loaded."""
  parts, gather, lookup = data
  one = jax.eval_shape(
    gather, host_pool(parts["valid"]), jax.ShapeDtypeStruct((1,), np.int32)
  )
  num_classes = len(parts["train"].class_names)
  trials_by = config.trials_by
  loss = build.make_loss(config)
  networks = {}
  for mine in (config, *(build.of_run(config, n) for n in config.samplers)):
    if str(mine.model) not in networks:
      model = build.make_model(mine, one.image.shape[1:], num_classes)
      score = make_score(model, gather, config.eval_batch_size, trials_by, loss)
      networks[str(mine.model)] = Network(model, score)
  return ExperimentContext(parts, gather, networks, trials_by, lookup)


def needed_partitions(config: ConfigDict) -> set[str]:
  """The names of the partitions that this experiment's samplers read."""
  samplers = (
    build.make_sampler(config, name, build.MOST_STEPS)
    for name in config.samplers
  )
  return {
    partition for sampler in samplers for partition in sampler.spec.partitions
  }


def host_pools(
  config: ConfigDict,
  job: ExperimentContext,
  loss: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Pool]:
  """The pools by name, of NumPy arrays.

  Args:
    config: of the experiment.
    job: likewise.
    loss: the difficulty of the parts, where it is known.
  """
  needed, num_arms = needed_partitions(config), config.difficulty.num_arms
  if needed & partitions.IN_CLASS:
    part = job.parts["train"]
    with specs.errors_in("difficulty"):
      partitions.check_num_arms(part.label, num_arms, part.class_names)
  parts, loss = dict(job.parts), dict(loss or {})
  mine = [build.of_run(config, name) for name in config.samplers]
  if any(one.train_on == "train_and_probe" for one in mine):
    both = ("train", "probe")
    parts["train_and_probe"] = concatenate(*(parts[name] for name in both))
    if loss:
      loss["train_and_probe"] = np.concatenate([loss[name] for name in both])
  pools = {}
  for name, part in parts.items():
    difficulty = loss.get(name, np.zeros(len(part.label), np.float32))
    partition = {
      kind: partitions.PARTITIONS[kind](part.label, difficulty, num_arms)
      for kind in needed
    }
    pools[name] = host_pool(part, difficulty, partition)
  return with_probe(pools)


def with_probe(pools: dict[str, Pool]) -> dict[str, Pool]:
  """Without a probe split of their own, samplers learn from the valid one."""
  return {"probe": pools["valid"]} | pools


def check_fit(
  config: ConfigDict, job: ExperimentContext, pools: dict[str, Pool]
) -> None:
  """Refuses numbers that do not fit the data, before anything is trained.

  Args:
    config: of the experiment.
    job: likewise.
    pools: on the host; the arms' sizes do not depend on the scores.
  """
  size = len(job.parts["train"].label)
  if needed_partitions(config) - partitions.UNSCORED:
    build.num_steps(
      *(config.difficulty.budget, config.batch_size, size),
      field="difficulty.budget",
    )
  for name in config.samplers:
    mine = build.of_run(config, name)
    steps = build.num_steps(mine.budget, mine.batch_size, size)
    sampler = build.make_sampler(config, name, steps)
    init = functools.partial(sampler.init, pool=pools["train"])
    with specs.errors_in(f"samplers.{name}"):
      # Its checks alone: a state may hold something for every step.
      state = jax.eval_shape(init, jax.random.key(0))
      key = jax.eval_shape(jax.random.key, 0)
      draw = jax.eval_shape(sampler.sample, key, state, pools["train"])
    # A sampler that is not built for each run draws what it draws.
    if draw.index.shape != (mine.batch_size,):
      raise UserError(
        f"samplers.{name} draws {list(draw.index.shape)} examples a step, and "
        f"batch_size is {mine.batch_size}; make them equal."
      )
