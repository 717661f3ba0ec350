"""Samplers x trials of one config: check, prepare, run, report.

What can be checked is checked before anything is built; what is finished is
on disk before the next run begins.
"""

import hashlib
import pathlib

import jax
import numpy as np
import pandas as pd
from absl import logging
from ml_collections import ConfigDict

from alcurr import runs, settings, specs, train, writer
from alcurr.data import cache, sources
from alcurr.data.pool import Dataset, concatenate, make_pool
from alcurr.difficulty import arms, scores
from alcurr.report import gallery, page, tables
from alcurr.runs import Job, Network
from alcurr.types import Pool


def run(
  config: ConfigDict, workdir: pathlib.Path, profile: bool = False
) -> pd.DataFrame:
  """Runs an experiment, or what is left of it, and reports it.

  Args:
    config: see configs/default.py.
    workdir: the experiment's own folder, made if need be.
    profile: each run leaves where the time of its steps goes, in `profile` of
      its folder.

  Returns:
    The summary, a row per sampler.

  Raises:
    UserError: a mistake in the config, the data or the workdir.
  """
  settings.check(config)
  writer.check_workdir(workdir, config)
  cache_dir = settings.cache_dir(config, workdir)
  job = make_job(config, cache_dir)
  check_fit(config, job)
  pools, scoring_seconds = make_pools(config, job, cache_dir)
  writer.write_json(workdir / "config.json", config.to_dict())
  class_names = job.parts["train"].class_names
  gallery.write_gallery(workdir, pools["train"], job.gather, class_names)
  for name in config.samplers:
    folder = workdir / "runs" / name
    if (folder / "result.json").exists():
      rest = "; nothing is left to profile" if profile else ""
      logging.info("%s: finished before, kept%s.", name, rest)
    else:
      runs.run_sampler(
        config, job, name, pools, scoring_seconds, folder, profile
      )
  summary = tables.write_tables(workdir, config.baseline)
  page.write_report([workdir], workdir / "report.html")
  return summary


def make_job(config: ConfigDict, cache_dir: pathlib.Path) -> Job:
  """Loads the data and builds what all runs share."""
  parts, gather = sources.load(config.data, cache_dir)
  one = jax.eval_shape(
    gather, make_pool(parts["valid"]), jax.ShapeDtypeStruct((1,), np.int32)
  )
  num_classes = len(parts["train"].class_names)
  trials_by = config.trials_by
  if trials_by == "auto":
    trials_by = train.fastest_trials_by()
  logging.info(
    "%s of %d classes; device: %s; trials by %s.",
    ", ".join(f"{len(part.label)} {name}" for name, part in parts.items()),
    num_classes,
    jax.devices()[0].device_kind,
    trials_by,
  )
  networks = {}
  for mine in (config, *(settings.of_run(config, n) for n in config.samplers)):
    if str(mine.model) not in networks:
      model = settings.make_model(mine, one.image.shape[1:], num_classes)
      score = train.make_score(model, gather, config.eval_batch_size, trials_by)
      networks[str(mine.model)] = Network(model, score)
  return Job(parts, gather, networks, trials_by)


def _partitions(config: ConfigDict) -> set[str]:
  """The names of the partitions that this experiment's samplers read."""
  samplers = (
    settings.make_sampler(config, name, steps=1) for name in config.samplers
  )
  return {partition for sampler in samplers for partition in sampler.needs}


def check_fit(config: ConfigDict, job: Job) -> None:
  """Refuses numbers that do not fit the data, before anything is trained."""
  part = job.parts["train"]
  needed, num_arms = _partitions(config), config.difficulty.num_arms
  if needed - arms.UNSCORED:
    budget = config.difficulty.budget
    settings.num_steps(budget, config.batch_size, len(part.label))
  if needed & arms.IN_CLASS:
    with specs.mistakes_in("difficulty"):
      arms.check_num_arms(part.label, num_arms, part.class_names)
  # The arms' sizes depend on the labels alone, so zeros stand for scores.
  zeros = np.zeros(len(part.label), np.float32)
  pool = make_pool(part, zeros, _make_arms(part, zeros, needed, num_arms))
  for name in config.samplers:
    mine = settings.of_run(config, name)
    settings.num_steps(mine.budget, mine.batch_size, len(part.label))
    with specs.mistakes_in(f"samplers.{name}"):
      settings.make_sampler(config, name, steps=1).init(jax.random.key(0), pool)


def _make_arms(part: Dataset, difficulty: np.ndarray, names, num_arms: int):
  return {
    name: arms.ARMS[name](part.label, difficulty, num_arms) for name in names
  }


def make_pools(
  config: ConfigDict, job: Job, cache_dir: pathlib.Path
) -> tuple[dict[str, Pool], float]:
  """Scores the pools if any sampler asks for it, and puts them on the device.

  Returns:
    The pools by name, and the seconds that scoring took (when it was done).
  """
  needed = _partitions(config)
  loss: dict[str, np.ndarray] = {}
  seconds = 0.0
  if needed - arms.UNSCORED:
    loss, seconds = get_difficulty(config, job, cache_dir)
  parts = dict(job.parts)
  runs = [settings.of_run(config, name) for name in config.samplers]
  if any(mine.train_on == "train_and_probe" for mine in runs):
    both = ("train", "probe")
    parts["train_and_probe"] = concatenate(*(parts[name] for name in both))
    if loss:
      loss["train_and_probe"] = np.concatenate([loss[name] for name in both])
  pools = {}
  for name, part in parts.items():
    difficulty = loss.get(name, np.zeros(len(part.label), np.float32))
    partition = _make_arms(part, difficulty, needed, config.difficulty.num_arms)
    pools[name] = make_pool(part, difficulty, partition)
  return _with_probe(pools), seconds


def _with_probe(pools: dict[str, Pool]) -> dict[str, Pool]:
  """Without a probe split of their own, samplers learn from the valid one."""
  return {"probe": pools["valid"]} | pools


def get_difficulty(
  config: ConfigDict, job: Job, cache_dir: pathlib.Path
) -> scores.Difficulty:
  """The scores of this data by this reference model, from disk if there."""
  content = hashlib.blake2b()
  for part in job.parts.values():
    content.update(part.label.tobytes() + part.key.tobytes())
  fields = ("model", "optimizer", "difficulty", "data", "batch_size")
  request = {field: config.to_dict()[field] for field in fields}
  # The number of arms is not part of the scores, nor where the files lay.
  del request["difficulty"]["num_arms"], request["data"]["dir"]
  # A file of weights is named in the config, but its content may change.
  weights = job.networks[str(config.model)].model.fingerprint
  request |= {"examples": content.hexdigest(), "weights": weights, "version": 1}
  folder = cache_dir / f"difficulty-{cache.digest(request)}"
  if found := cache.read_arrays(folder):
    loss, manifest = found
    logging.info("Difficulty scores from %s.", folder)
    return scores.Difficulty(loss, manifest["seconds"])
  pools = {name: make_pool(part) for name, part in job.parts.items()}
  reference = config.copy_and_resolve_references()
  reference.samplers = {"reference": {"name": "uniform"}}
  reference.budget = config.difficulty.budget
  reference.baseline = "reference"
  reference.equal = "examples"
  this = runs.make_run(reference, job, "reference", pools)._replace(
    seeds=(config.difficulty.seed,)
  )
  with runs.progress_bar("difficulty", this) as progress:
    difficulty = scores.reference_loss(this, _with_probe(pools), progress)
  manifest = {"request": request, "seconds": difficulty.seconds}
  cache.write_arrays(folder, difficulty.loss, manifest)
  return difficulty
